"""Nobody can have strangers emailed, or keep an account whose owner objects."""

import re
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from chalicelib.db.engine import Database
from chalicelib.db.models import User
from chalicelib.outbox.allowances import Cause, recipient_of, wait_for
from chalicelib.values.addresses import network_of
from chalicelib.wiring import Wiring
from tests.conftest import Rewire, both_databases
from tests.harness import ledgers
from tests.harness.people import Person, refused
from tests.harness.stacks import emails_in
from worker.outbox import sender

PASSWORD = "correct horse"


@pytest.fixture
def strict(rewire: Rewire) -> Wiring:
    """The app as it is deployed: with limits, and with addresses to be confirmed."""
    return rewire(LIMITS="on", VERIFY_EMAIL="on")


@pytest.fixture
def mallory(nobody: Person, strict: Wiring) -> Person:
    """Somebody with an account, a password and a confirmed address."""
    person = Person.sign_up(nobody.client, "mallory")
    confirm(strict.database, person)
    return person


def confirm(database: Database, person: Person) -> None:
    """Have an address confirmed as its owner would."""
    with database.write() as session:
        session.get_one(User, person.user_id).confirmed_at = ledgers.now()


def sent(wiring: Wiring, mail_dir: Path) -> Counter[str]:
    """How many emails each mailbox has got, once all that waits are sent."""
    while sender.send_due(wiring):
        pass
    addresses = [str(mail["To"]).partition("<")[2].rstrip(">") for mail in emails_in(mail_dir)]
    return Counter(map(recipient_of, addresses))


def key_to(mail_dir: Path, address: str, page: str) -> str:
    """The key of the newest link to a page that somebody got."""
    for mail in reversed(emails_in(mail_dir)):
        body = mail.get_body(("plain",))
        text = body.get_content() if body else ""
        if (found := re.search(rf"{page}\?key=(\S+)", text)) and address in str(mail["To"]):
            return found[1]
    raise AssertionError(f"{address} got no link to {page}")


@both_databases
def test_changes_of_address(mallory: Person, strict: Wiring, mail_dir: Path) -> None:
    """An address that is changed again and again reaches a stranger three times an hour."""
    statuses = Counter(
        mallory.patch(
            "/v1/me", {"email": f"victim+{n}@example.com", "current_password": PASSWORD}
        ).status_code
        for n in range(12)
    )
    assert statuses == {200: 3, 429: 9}
    counted = sent(strict, mail_dir)
    assert counted["victim@example.com"] == 3
    assert counted["mallory@example.com"] <= 2  # to confirm it, and that it was changed


@both_databases
def test_sign_ups(nobody: Person, strict: Wiring, mail_dir: Path) -> None:
    """So do accounts that are made of one mailbox's many addresses, erased ones among them."""
    for n in range(6):
        new = {"username": f"user{n}", "email": f"target+{n}@example.com", "password": PASSWORD}
        assert nobody.post("/v1/users", new).status_code == 201
        with strict.database.write() as session:
            session.delete(session.query(User).filter_by(username=f"user{n}").one())
    new = {"username": "last", "email": "TARGET@example.com", "password": PASSWORD}
    assert nobody.post("/v1/users", new).status_code == 201
    assert sent(strict, mail_dir)["target@example.com"] == 0  # the first three went with them


@both_databases
def test_one_confirmation_at_a_time(nobody: Person, strict: Wiring, mail_dir: Path) -> None:
    """While a link is still to be sent, another request for one adds nothing."""
    rita = Person.sign_up(nobody.client, "rita")
    assert {rita.post("/v1/me/confirmation").status_code for _ in range(5)} == {202}
    assert sent(strict, mail_dir) == {"rita@example.com": 1}


def test_resets_for_a_stranger(nobody: Person, strict: Wiring, mail_dir: Path) -> None:
    """No password is reset by an address that nobody has confirmed, and the answer is the same."""
    Person.sign_up(nobody.client, "rita")
    before = sent(strict, mail_dir)
    assert nobody.post("/v1/password-resets", {"email": "rita@example.com"}).status_code == 202
    assert sent(strict, mail_dir) == before


def test_resets_for_an_owner(mallory: Person, strict: Wiring, mail_dir: Path) -> None:
    """From one network three an hour; from another the owner still gets theirs."""
    nobody = Person(mallory.client)
    before = sent(strict, mail_dir)["mallory@example.com"]
    for _ in range(6):
        nobody.post("/v1/password-resets", {"email": "mallory@example.com"})
    assert sent(strict, mail_dir)["mallory@example.com"] == before + 3
    with strict.database.write() as session:
        address, elsewhere = "mallory@example.com", Cause("192.0.2.1")
        assert wait_for(session, address, elsewhere, confirmed=True, now=ledgers.now()) == 0


@both_databases
def test_a_change_is_taken_back(mallory: Person, strict: Wiring, mail_dir: Path) -> None:
    """Whoever has the old mailbox gets the account back from whoever has its password."""
    nobody = Person(mallory.client)
    stolen = {"email": "thief@example.com", "current_password": PASSWORD}
    assert mallory.patch("/v1/me", stolen).status_code == 200
    sent(strict, mail_dir)
    key = key_to(mail_dir, "mallory@example.com", "/restore-address")
    assert nobody.get(f"/restore-address?key={key}").status_code == 200  # looking changes nothing
    assert mallory.get("/v1/me").json_body["email"] == "thief@example.com"
    assert nobody.post("/v1/address-restorations", {"key": key}).status_code == 204
    refused(mallory.get("/v1/me"), 401, "unauthenticated")
    credentials = {"username": "mallory", "password": PASSWORD}
    refused(nobody.post("/v1/tokens", credentials), 401, "wrong_credentials")
    sent(strict, mail_dir)
    reset = {"key": key_to(mail_dir, "mallory@example.com", "/new-password"), "password": "b" * 8}
    assert nobody.post("/v1/passwords", reset).status_code == 204
    again = Person(mallory.client)
    again.token = again.call("POST", "/v1/tokens", credentials | {"password": "b" * 8})["token"]
    assert again.get("/v1/me").json_body["email"] == "mallory@example.com"
    refused(nobody.post("/v1/address-restorations", {"key": key}), 403, "link_over")


def test_a_thief_takes_nothing_back(mallory: Person, strict: Wiring, mail_dir: Path) -> None:
    """The link to an address of a later change is over once an earlier change is taken back."""
    nobody = Person(mallory.client)
    proof = {"current_password": PASSWORD}
    mallory.patch("/v1/me", {"email": "thief@example.com"} | proof)
    sent(strict, mail_dir)
    confirm(strict.database, mallory)
    mallory.patch("/v1/me", {"email": "other@example.com"} | proof)
    sent(strict, mail_dir)
    theirs = key_to(mail_dir, "thief@example.com", "/restore-address")
    owners = key_to(mail_dir, "mallory@example.com", "/restore-address")
    assert nobody.post("/v1/address-restorations", {"key": owners}).status_code == 204
    refused(nobody.post("/v1/address-restorations", {"key": theirs}), 403, "link_over")


def test_a_link_to_take_a_change_back_expires(
    mallory: Person, strict: Wiring, mail_dir: Path, rewire: Rewire
) -> None:
    """After seven days the change stands."""
    nobody = Person(mallory.client)
    mallory.patch("/v1/me", {"email": "new@example.com", "current_password": PASSWORD})
    sent(strict, mail_dir)
    key = key_to(mail_dir, "mallory@example.com", "/restore-address")
    rewire(later=timedelta(days=7, minutes=1))
    refused(nobody.post("/v1/address-restorations", {"key": key}), 403, "link_over")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no address", "no address"),
    ],
)
def test_networks(address: str, network: str) -> None:
    """A provider gives each subscriber 2^64 addresses of IPv6; they count as one."""
    assert network_of(address) == network


@both_databases
def test_the_oldest_tokens_end(mallory: Person, strict: Wiring) -> None:
    """One user has twenty tokens, however often they sign in."""
    assert strict
    nobody = Person(mallory.client)
    credentials = {"username": "mallory", "password": PASSWORD}
    first = mallory.token
    for _ in range(20):
        newest = nobody.call("POST", "/v1/tokens", credentials, 201)["token"]
    refused(mallory.get("/v1/me"), 401, "unauthenticated")
    assert first != newest
    assert Person(mallory.client, newest).get("/v1/me").status_code == 200
