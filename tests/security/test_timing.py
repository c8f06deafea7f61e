import statistics
import time
from itertools import product

import pytest
from chalice.test import Client

from chalicelib.accounts import accounts
from chalicelib.accounts.accounts import NewUser
from chalicelib.wiring import Wiring
from tests.harness.ledgers import now
from tests.harness.people import Person, refused

TRIES = 200


def spent(person: Person, username: str) -> float:
    """How long the API computes on a sign-in that fails, in seconds.

    Of its own thread only: what others do on this machine would hide a difference.
    """
    started = time.thread_time()
    answer = person.post("/v1/tokens", {"username": username, "password": "wrong guess"})
    duration_s = time.thread_time() - started
    refused(answer, 401, "wrong_credentials")
    return duration_s


def likelihood(these: list[float], those: list[float]) -> float:
    """How likely one of these takes longer than one of those: a half when there is no telling."""
    pairs = list(product(these, those))
    return sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)


def test_an_unknown_name_takes_as_long_as_a_wrong_password(client: Client, wiring: Wiring) -> None:
    """Nobody can find out by the time of an answer who has an account.

    If there were no difference at all, the likelihood would be within 0.5 ± 0.15 in all but one of
    4,000 runs (the Mann-Whitney statistic of twice 100 has a deviation of 0.041). What is not
    alike is unlike each time, what a neighbour of this machine does is not: so one of three runs
    has to tell no difference.
    """
    new = NewUser("susan", "susan@example.com", "correct horse")
    with wiring.database.write() as session:
        accounts.sign_up(session, new, now=now())
    person = Person(client)
    for name in ("susan", "nobody"):
        spent(person, name)  # the first ones import what is not there yet
    told = []
    for _run in range(3):
        told.append(tell_apart(person))
        likely, ratio = told[-1]
        if 0.35 < likely < 0.65 and abs(ratio - 1) < 0.1:
            return
    pytest.fail(f"likelihoods and ratios: {told}")


def tell_apart(person: Person) -> tuple[float, float]:
    """How likely one of both takes longer, and the ratio of their medians."""
    wrong, unknown = [], []
    for _ in range(TRIES // 2):  # by turns, so that the machine's moods meet both alike
        wrong.append(spent(person, "susan"))
        unknown.append(spent(person, "nobody"))
    return likelihood(wrong, unknown), statistics.median(wrong) / statistics.median(unknown)


def test_the_answers_are_alike(client: Client, wiring: Wiring) -> None:
    """An unknown name, a wrong password and an impossible name get the same bytes."""
    new = NewUser("susan", "susan@example.com", "correct horse")
    with wiring.database.write() as session:
        accounts.sign_up(session, new, now=now())
    person = Person(client)
    answers = {
        person.post("/v1/tokens", {"username": name, "password": "wrong guess"}).body
        for name in ("susan", "SUSAN", "nobody", "", "ü", "a" * 5000, "../x")
    }
    assert len(answers) == 1
