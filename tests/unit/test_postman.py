"""What became of a mail, and that SES is never asked twice."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
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
from chalicelib.db.engine import Database
from chalicelib.db.models import Task
from chalicelib.wiring import Wiring
from tests.harness.fakes import FakeSes, FakeStorage
from tests.harness.ledgers import FILE, lapse, launch, make_user, now, put, take, the_task
from tests.harness.servers import wait_until
from worker.outbox import sender
from worker.outbox.sender import deliver, what_became


def answer(code: str, status: int) -> ClientError:
    """A refusal by SES."""
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "SendEmail")


URL = {"endpoint_url": "http://ses"}

OUTCOMES = [
    # SES answered that it did not take the mail and will perhaps later.
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


@pytest.mark.parametrize(("error", "state"), OUTCOMES, ids=repr)
def test_what_became(error: Exception, state: str) -> None:
    """Only a mail that was certainly not taken is sent again."""
    assert what_became(error) == state


@pytest.fixture
def ses(monkeypatch: pytest.MonkeyPatch) -> FakeSes:
    """SES in memory."""
    fake = FakeSes()
    monkeypatch.setattr(sender, "ses", lambda _endpoint_url: fake)
    return fake


@pytest.fixture
def task_id(wired: Wiring) -> str:
    """An export that succeeded; its mail is due."""
    task_id = launch(wired.database, make_user(wired.database))
    holder = take(wired.database, task_id)
    wired.storage.put(FILE.key, b"{}")
    holder.succeed(now=now(), file=FILE, expires_at=now())
    return task_id


def mail(database: Database, task_id: str) -> Task:
    """The task, for its mail."""
    return the_task(database, task_id)


def test_sent(wired: Wiring, ses: FakeSes, task_id: str) -> None:
    """One mail goes out, and the ledger says when and under which number."""
    deliver(task_id, wired)
    deliver(task_id, wired)
    task = mail(wired.database, task_id)
    assert (task.mail_state, task.mail_message_id) == ("sent", "0102")
    assert task.mail_sent_at is not None
    (request,) = ses.sent
    assert request["Destination"] == {"ToAddresses": ["susan@example.com"]}
    assert b"posts.json" in request["Content"]["Raw"]["Data"]


def test_no_mail_is_due(wired: Wiring, ses: FakeSes) -> None:
    """A task that is not over, and one that is gone, mail nothing."""
    deliver(launch(wired.database, make_user(wired.database)), wired)
    deliver("00000000-0000-4000-8000-000000000000", wired)
    assert ses.sent == []


@pytest.mark.parametrize(("error", "state"), OUTCOMES, ids=repr)
def test_the_ledger_says_so(
    wired: Wiring, ses: FakeSes, task_id: str, error: Exception, state: str
) -> None:
    """What became of a mail is written down; only a refused one is due again, after a pause."""
    ses.error = error
    deliver(task_id, wired)
    deliver(task_id, wired)
    task = mail(wired.database, task_id)
    assert task.mail_state == ("pending" if state == "refused" else state)
    assert len(ses.sent) == 1
    assert task.mail_message_id is None
    if state == "refused":
        assert task.mail_due_at is not None
        assert task.mail_due_at > now()


def test_refused_for_ever(wired: Wiring, ses: FakeSes, task_id: str) -> None:
    """A mail that is refused again and again has failed in the end."""
    ses.error = answer("TooManyRequestsException", 429)
    for _ in range(12):
        deliver(task_id, wired)
        lapse(wired.database, task_id)
    assert mail(wired.database, task_id).mail_state == "failed"
    assert len(ses.sent) == 10


@pytest.mark.parametrize("error", [ReadTimeoutError(**URL), answer("SlowDown", 503), OSError()])
def test_the_storage_is_down(wired: Wiring, ses: FakeSes, task_id: str, error: Exception) -> None:
    """A mail that could not be written was certainly not sent: it is due again."""

    def fail(operation: str) -> None:
        if operation == "read":
            raise error

    storage = wired.storage
    assert isinstance(storage, FakeStorage)
    storage.before = fail
    deliver(task_id, wired)
    assert mail(wired.database, task_id).mail_state == "pending"
    assert ses.sent == []
    storage.before = lambda _operation: None
    lapse(wired.database, task_id)
    deliver(task_id, wired)
    assert mail(wired.database, task_id).mail_state == "sent"


def test_an_impossible_recipient(wired: Wiring, ses: FakeSes, task_id: str) -> None:
    """A mail that cannot be written at all fails in the end, and harms nobody else's."""
    with wired.database.write() as session:
        email = "susan@example.com\r\nBcc: all@example.com"
        accounts.change_user(session, 1, {"email": email}, now=now()).confirmed_at = now()
    for _ in range(12):
        deliver(task_id, wired)
        lapse(wired.database, task_id)
    assert mail(wired.database, task_id).mail_state == "failed"
    assert ses.sent == []


def test_too_large_to_attach(wired: Wiring, ses: FakeSes, task_id: str) -> None:
    """A large file is not even read; the mail leads to the page."""
    put(wired.database, task_id, size_bytes=10_000_000)
    deliver(task_id, wired)
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
    """After a silence nobody knows whether the mail was sent, so it is not sent again."""
    monkeypatch.setattr(sender, "READ_TIMEOUT_S", 0.2)
    client = sender.ses.__wrapped__(deaf_ses[0])
    monkeypatch.setattr(sender, "ses", lambda _endpoint_url: client)
    deliver(task_id, wired)
    lapse(wired.database, task_id)
    deliver(task_id, wired)
    assert mail(wired.database, task_id).mail_state == "unknown"
    url = urlsplit(deaf_ses[0])
    with socket.create_connection((str(url.hostname), int(url.port or 0))) as connection:
        connection.sendall(b"LAST")
        wait_until(lambda: b"LAST" in deaf_ses[1], "all requests are noted")
    assert [request.split()[0] for request in deaf_ses[1]] == [b"POST", b"LAST"]


@pytest.mark.usefixtures("wired")
@pytest.mark.parametrize("endpoint_url", ["", None])
def test_on_aws(endpoint_url: str | None) -> None:
    """Without an endpoint of its own, the worker asks AWS's."""
    client = sender.ses.__wrapped__(endpoint_url)
    assert client.meta.endpoint_url == "https://email.us-east-1.amazonaws.com"
