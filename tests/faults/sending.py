"""Faults done to SES and to those who send."""

import json
import signal
import time
from http.server import BaseHTTPRequestHandler
from random import Random
from typing import Any

import psutil
import sqlalchemy as sa

from chalicelib.db.models import OutboxMessage
from tests.faults.actions import all_stopped_well, kill_worker, recover, stop
from tests.faults.aws import Answer, Call, Fault, Lost, Slow, well
from tests.faults.hooks import Received
from tests.faults.lab import SETTLED_WITHIN_S, Lab, Plan, send
from tests.faults.oracle import delivery_faults
from tests.faults.settling import Ledger
from tests.faults.trial import Trial, scenario
from tests.harness.receivers import Receiver, answer, close, receiving
from tests.harness.servers import DATABASES
from tests.harness.waiting import wait_until

SES_TIMEOUT_S = 60
SES_SLOW_S = 3


@scenario("email-refused")
def email_refused(trial: Trial) -> None:
    """SES is throttled, then paused: it is asked again, and one email arrives."""
    with trial.lab(Plan(workers=2, aws_proxy=True)) as lab:
        assert lab.aws
        refusals = [
            Answer(429, "TooManyRequestsException"),
            Answer(400, "SendingPausedException"),
            Answer(429, "LimitExceededException"),
        ]

        def rule(call: Call) -> Fault | None:
            return refusals.pop() if call.is_email and refusals else None

        lab.aws.rule = rule
        tasks = [lab.join(50).export() for _ in range(3)]
        recover(trial, lab, tasks)
        began = time.monotonic()
        _emails_are_settled(lab, tasks)
        trial.result.recovered_s.append(time.monotonic() - began)
        trial.result.runs = lab.aws.injected
        assert _email_states(lab, tasks) == {"sent"}


def _emails_are_settled(lab: Lab, tasks: list[str], *, within_s: float = 90) -> None:
    wait_until(
        lambda: all(lab.watch.latest[one].is_settled for one in tasks),
        "the emails are settled",
        within_s=within_s,
    )


def _email_states(lab: Lab, tasks: list[str]) -> set[str | None]:
    return {lab.watch.latest[one].email_state for one in tasks}


@scenario("email-unanswered")
def email_unanswered(trial: Trial) -> None:
    """SES accepts an email and its answer is lost: at once, and after the time limit."""
    with trial.lab(Plan(workers=2, aws_proxy=True)) as lab:
        assert lab.aws
        losses = [Lost(), Lost(SES_TIMEOUT_S + 5)][: trial.few(2, 1)]

        def rule(call: Call) -> Fault | None:
            return losses.pop() if call.is_email and losses else None

        lab.aws.rule = rule
        tasks = [lab.join(50).export() for _ in range(trial.few(2, 1))]
        recover(trial, lab, tasks)
        _emails_are_settled(lab, tasks, within_s=SES_TIMEOUT_S + 30)
        assert _email_states(lab, tasks) == {"unknown"}
        trial.result.runs = lab.aws.injected


@scenario("link-unanswered")
def link_unanswered(trial: Trial) -> None:
    """SES does not say whether it accepted a link, or fails: another one is sent."""
    with trial.lab(Plan(workers=2, aws_proxy=True)) as lab:
        assert lab.aws
        faults: list[Fault] = [
            Lost(),
            Answer(500, "InternalFailure"),
            Answer(503, "ServiceUnavailable"),
        ]

        def rule(call: Call) -> Fault | None:
            return faults.pop() if call.is_email and faults else None

        lab.aws.rule = rule
        for _ in range(3):
            lab.join().forget_password()
        _links_are_sent(lab)
        trial.result.runs = lab.aws.injected


def _links_are_sent(lab: Lab) -> None:
    statement = sa.select(OutboxMessage.state).where(OutboxMessage.task_id.is_(None))

    def are_sent() -> bool:
        with lab.wiring.database.read() as session:
            return set(session.scalars(statement)) <= {"sent"}

    wait_until(are_sent, "the links are sent", within_s=SETTLED_WITHIN_S)


@scenario("sender-killed", *DATABASES)
def sender_killed(trial: Trial) -> None:
    """Kill -9 of a sender in the act: a link is sent again, an email about an export is not."""
    with trial.lab(Plan(workers=2, aws_proxy=True)) as lab:
        for _ in range(trial.few(2, 1)):
            (task_id,) = _leave_to_senders(lab, 1)
            lab.join().forget_password()
            for _ in range(2):
                trial.result.kills += _while_sending(lab, signal.SIGKILL)
                trial.result.runs += 1
            lab.aws.rule = well  # type: ignore[union-attr]
            _emails_are_settled(lab, [task_id], within_s=SETTLED_WITHIN_S)
            assert _email_states(lab, [task_id]) <= {"unknown", "sent"}
            _links_are_sent(lab)


@scenario("sender-stopped", *DATABASES)
def sender_stopped(trial: Trial) -> None:
    """SIGSTOP of a sender past its lease, then CONT: the fate of the email is settled by then."""
    with trial.lab(Plan(workers=2, aws_proxy=True)) as lab:
        (task_id,) = _leave_to_senders(lab, 1)
        process = _sender(lab)
        process.suspend()
        trial.result.runs += 1
        try:
            _emails_are_settled(lab, [task_id], within_s=SETTLED_WITHIN_S)
            assert _email_states(lab, [task_id]) == {"unknown"}
        finally:
            process.resume()


@scenario("sender-stopping", *DATABASES)
def sender_stopping(trial: Trial) -> None:
    """SIGTERM of a worker whose sender is in the act: the email is sent, and the ledger knows."""
    with trial.lab(Plan(workers=2, aws_proxy=True)) as lab:
        for _ in range(trial.few(4, 2)):
            tasks = _leave_to_senders(lab, 1)
            lab.join().forget_password()
            parent = _sender(lab).ppid()
            stop(lab, parent, trial)
            lab.aws.rule = well  # type: ignore[union-attr]
            _emails_are_settled(lab, tasks)
            assert _email_states(lab, tasks) == {"sent"}
        all_stopped_well(lab)


def _leave_to_senders(lab: Lab, count: int) -> list[str]:
    """Have work horses finish exports, and SES refuse their emails once; then it is slow."""
    assert lab.aws
    left = [Answer(429, "TooManyRequestsException")] * count

    def rule(call: Call) -> Fault | None:
        if not call.is_email:
            return None
        return left.pop() if left else Slow(SES_SLOW_S)

    lab.aws.rule = rule
    tasks = [lab.join(50).export() for _ in range(count)]
    for task_id in tasks:
        lab.wait_for_end(task_id)
    wait_until(lambda: not left, "the emails were refused")
    return tasks


def _sender(lab: Lab) -> psutil.Process:
    found: list[psutil.Process] = []

    def is_there() -> bool:
        found.extend(filter(None, [lab.sender()]))
        return bool(found)

    wait_until(is_there, "an email is being sent")
    return found[0]


def _while_sending(lab: Lab, number: int) -> int:
    return send(_sender(lab).pid, number)


@scenario("webhooks", *DATABASES)
def webhooks(trial: Trial) -> None:
    """Kill -9 of workers that deliver to a moody receiver: each event comes, under one id."""
    with receiving() as receiver, trial.lab(Plan(workers=2)) as lab:
        _be_moody(receiver, trial.chance)
        person = lab.join()
        person.call("POST", "/v1/webhooks", {"url": receiver.url}, 201)
        for number in range(trial.few(40, 12)):
            task_id = person.count_seconds(0)
            if number % 4 == 3:
                time.sleep(trial.chance.uniform(0, 1.5))
                trial.result.kills += kill_worker(lab, trial.chance)
                trial.result.runs += 1
            lab.wait_for_end(task_id)
        receiver.answers(204)
        wait_until(
            lambda: not any(" delivery " in one for one in _left(lab)),
            "the deliveries are made",
            within_s=SETTLED_WITHIN_S,
        )
        ledger = Ledger.read(lab.wiring.database)
        got = [_received(one) for one in receiver.requests]
        trial.result.count(list(delivery_faults(lab.wiring.database, ledger, got)))
        trial.result.notes["deliveries"] = len(ledger.deliveries)
        trial.result.notes["requests"] = len(got)


def _left(lab: Lab) -> list[str]:
    return list(Ledger.read(lab.wiring.database).unsettled())


def _received(request: Any) -> Received:
    body = request.body.decode()
    return Received(request.id, json.loads(body)["type"], body)


def _be_moody(receiver: Receiver, chance: Random) -> None:
    """Fail, hang up or take a while, now and then; but take what comes."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        mood = chance.random()
        if mood < 0.15:
            answer(handler, 500)
        elif mood < 0.25:
            close(handler)
        else:
            receiver.closing.wait(0.5 if mood < 0.5 else 0)
            answer(handler, 204)

    receiver.behave = behave
