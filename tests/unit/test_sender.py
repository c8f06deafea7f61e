"""What became of an email, and that SES is never asked twice."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ReadTimeoutError,
    SSLError,
)

from chalicelib.accounts import accounts
from chalicelib.adapters import email_service
from chalicelib.adapters.email_service import EmailService
from chalicelib.db.engine import db_clock
from chalicelib.db.models import OutboxMessage
from chalicelib.outbox import messages
from chalicelib.wiring import Wiring
from tests.harness.fakes import FakeObjectStore, FakeSes
from tests.harness.ledgers import lapse, launch, make_user, now, publish, put_email, the_email
from tests.harness.waiting import wait_until
from worker.outbox.sender import send_due, send_of_task


def answer(code: str, status: int) -> ClientError:
    """A refusal by SES."""
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "SendEmail")


URL = {"endpoint_url": "http://ses"}

OUTCOMES = [
    # SES answered that it did not take the email and will perhaps later.
    (answer("TooManyRequestsException", 429), "refused"),
    (answer("ThrottlingException", 400), "refused"),
    (answer("LimitExceededException", 400), "refused"),
    (answer("SendingPausedException", 400), "refused"),
    # It answered that it will never take it.
    (answer("MessageRejected", 400), "failed"),
    (answer("MailFromDomainNotVerifiedException", 400), "failed"),
    (answer("AccountSuspendedException", 400), "failed"),
    (answer("BadRequestException", 400), "failed"),
    (answer("AccessDeniedException", 403), "failed"),
    # It answered that it does not know itself.
    (answer("InternalFailure", 500), "unknown"),
    (answer("InternalError", 500), "unknown"),
    (answer("ServiceUnavailable", 503), "unknown"),
    (answer("BadGateway", 502), "unknown"),
    # It was never reached.
    (EndpointConnectionError(**URL), "refused"),
    (ConnectTimeoutError(**URL), "refused"),
    (NoCredentialsError(), "refused"),
    # It was reached, and then nothing was heard.
    (ReadTimeoutError(**URL), "unknown"),
    (ConnectionClosedError(**URL), "unknown"),
    (HTTPClientError(error=OSError()), "unknown"),
    (SSLError(**URL, error="unexpected EOF"), "unknown"),
]


@pytest.fixture
def ses(wired: Wiring) -> FakeSes:
    fake: FakeSes = vars(wired.email_service)["ses"]
    return fake


@pytest.fixture
def task_id(wired: Wiring) -> str:
    """An export that succeeded; its email is due."""
    task_id = launch(wired.database, make_user(wired.database))
    publish(wired, task_id)
    return task_id


def email(wired: Wiring, task_id: str) -> OutboxMessage:
    found = the_email(wired.database, task_id)
    assert found is not None
    return found


def test_sent(wired: Wiring, ses: FakeSes, task_id: str) -> None:
    """One email goes out, and the ledger says when and under which number."""
    send_of_task(task_id, wired)
    send_of_task(task_id, wired)
    found = email(wired, task_id)
    assert (found.state, found.message_id, found.address) == ("sent", "0102", "susan@example.com")
    assert found.sent_at is not None
    (request,) = ses.sent
    assert request["Destination"] == {"ToAddresses": ["susan@example.com"]}
    assert b"posts.json" in request["Content"]["Raw"]["Data"]


def test_how_long_a_sender_has(
    wired: Wiring, task_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody takes a sender for dead that waits for SES as long as it may."""
    left_s: list[float] = []

    def send_email(**_request: object) -> dict[str, str]:
        lease_until = email(wired, task_id).lease_until
        assert lease_until is not None
        left_s.append((lease_until - now()).total_seconds())
        return {"MessageId": "0102"}

    monkeypatch.setattr(vars(wired.email_service)["ses"], "send_email", send_email)
    send_of_task(task_id, wired)
    (left,) = left_s
    assert left > email_service.READ_TIMEOUT_S


def test_no_email_is_due(wired: Wiring, ses: FakeSes) -> None:
    """A task that is not over, and one that is gone, email nothing."""
    send_of_task(launch(wired.database, make_user(wired.database)), wired)
    send_of_task("00000000-0000-4000-8000-000000000000", wired)
    assert ses.sent == []


@pytest.mark.parametrize(("error", "state"), OUTCOMES, ids=repr)
def test_the_ledger_says_so(
    wired: Wiring, ses: FakeSes, task_id: str, error: Exception, state: str
) -> None:
    """What became of an email is written down; only a refused one is due again, after a pause."""
    ses.error, before = error, now()
    send_of_task(task_id, wired)
    found = email(wired, task_id)
    assert found.state == ("pending" if state == "refused" else state)
    assert found.message_id is None
    if state == "refused":
        assert found.due_at > before + timedelta(seconds=0.9)
        put_email(wired.database, task_id, due_at=db_clock(60))  # the pause may be over by now
    send_of_task(task_id, wired)
    assert len(ses.sent) == 1


def test_refused_for_ever(wired: Wiring, ses: FakeSes, task_id: str) -> None:
    """An email that is refused again and again has failed in the end."""
    ses.error = answer("TooManyRequestsException", 429)
    for _ in range(12):
        send_of_task(task_id, wired)
        lapse(wired.database, task_id)
    assert email(wired, task_id).state == "failed"
    assert len(ses.sent) == 10


@pytest.mark.parametrize(
    ("error", "tries", "state"),
    [
        (ReadTimeoutError(**URL), 10, "unknown"),
        (answer("InternalFailure", 500), 10, "unknown"),
        (answer("ThrottlingException", 400), 10, "failed"),
        (answer("MessageRejected", 400), 1, "failed"),
    ],
    ids=repr,
)
def test_a_link_is_sent_again(
    wired: Wiring, ses: FakeSes, error: Exception, tries: int, state: str
) -> None:
    """A link that may not have been sent is sent again, for a second one does no harm."""
    user_id = make_user(wired.database)
    with wired.database.write() as session:
        outbox_id = messages.put(session, user_id, "reset", {}, now=now(), address="a@example.com")
    ses.error = error
    for _ in range(12):
        send_due(wired)
        with wired.database.write() as session:
            session.execute(sa.update(OutboxMessage).values(due_at=db_clock(-1)))
    assert len(ses.sent) == tries
    with wired.database.read() as session:
        assert session.get_one(OutboxMessage, outbox_id).state == state


@pytest.mark.parametrize("error", [ReadTimeoutError(**URL), answer("SlowDown", 503), OSError()])
def test_the_storage_is_down(wired: Wiring, ses: FakeSes, task_id: str, error: Exception) -> None:
    """An email that could not be written was certainly not sent: it is due again."""

    def fail(operation: str) -> None:
        if operation == "read":
            raise error

    storage = wired.object_store
    assert isinstance(storage, FakeObjectStore)
    storage.before = fail
    send_of_task(task_id, wired)
    assert email(wired, task_id).state == "pending"
    assert ses.sent == []
    storage.before = lambda _operation: None
    lapse(wired.database, task_id)
    send_of_task(task_id, wired)
    assert email(wired, task_id).state == "sent"


def test_an_impossible_recipient(wired: Wiring, ses: FakeSes, task_id: str) -> None:
    """An email that cannot be written at all fails in the end, and harms nobody else's."""
    with wired.database.write() as session:
        address = "susan@example.com\r\nBcc: all@example.com"
        accounts.change_user(session, 1, {"email": address}, now=now()).confirmed_at = now()
    for _ in range(12):
        send_of_task(task_id, wired)
        lapse(wired.database, task_id)
    assert email(wired, task_id).state == "failed"
    assert ses.sent == []


def test_too_large_to_attach(wired: Wiring, ses: FakeSes, task_id: str) -> None:
    """A large file is not even read; the email leads to the page."""
    payload = {**email(wired, task_id).payload, "size_bytes": 10_000_000}
    put_email(wired.database, task_id, payload=payload)
    send_of_task(task_id, wired)
    message = ses.sent[0]["Content"]["Raw"]["Data"]
    assert len(message) < 20_000
    assert f"https://carryout.example.com/exports/{task_id}".encode() in message


@pytest.fixture
def deaf_ses() -> Iterator[tuple[str, list[bytes]]]:
    """A server that takes requests, reads them and never answers; and what it was sent."""
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    requests.append(connection.recv(64))
                    kept.append(connection)

        kept: list[socket.socket] = []
        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", requests
        server.shutdown(socket.SHUT_RDWR)
    for connection in kept:
        connection.close()


def test_asked_once(
    wired: Wiring,
    task_id: str,
    deaf_ses: tuple[str, list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a silence nobody knows whether the email was sent, so it is not sent again."""
    monkeypatch.setattr(email_service, "READ_TIMEOUT_S", 0.2)
    real = EmailService("carryout@example.com", endpoint_url=deaf_ses[0])
    vars(wired)["email_service"] = real
    send_of_task(task_id, wired)
    lapse(wired.database, task_id)
    send_of_task(task_id, wired)
    assert email(wired, task_id).state == "unknown"
    url = urlsplit(deaf_ses[0])
    with socket.create_connection((str(url.hostname), int(url.port or 0))) as connection:
        connection.sendall(b"LAST")
        wait_until(lambda: b"LAST" in deaf_ses[1], "all requests are noted")
    assert [request.split()[0] for request in deaf_ses[1]] == [b"POST", b"LAST"]


@pytest.mark.usefixtures("wired")
def test_on_aws() -> None:
    """Without an endpoint of its own, the worker asks AWS's."""
    client = EmailService("carryout@example.com", endpoint_url=None)._ses
    assert client.meta.endpoint_url == "https://email.us-east-1.amazonaws.com"
