"""Sends the mails about accounts: what a job called `letter` runs."""

import logging
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.accounts import link_keys
from chalicelib.db.models import Letter, User
from chalicelib.logs import metrics
from chalicelib.wiring import Wiring
from worker.attempts import process_wiring
from worker.outbox.account_email import compose
from worker.outbox.sender import send, what_became

log = logging.getLogger(__name__)

PAGES = {"confirm": "/confirm", "reset": "/new-password"}


def deliver(_letter_id: str) -> None:
    """Send every letter that is due, whichever one it was that rang."""
    wiring = process_wiring()
    for letter, user in link_keys.claim_due(wiring.database):
        try:
            _deliver(letter, user, wiring)
        except (BotoCoreError, ClientError) as error:
            state = what_became(error)
            log.warning("letter", extra=_facts(letter, state))
            if state == "refused" and letter.tries < link_keys.MAX_TRIES:
                continue  # its claim runs out, and the sweeper rings again
        except Exception:
            # One that cannot be written must not be in the way of the others.
            log.warning("no letter written", extra=_facts(letter, "failed"), exc_info=True)
        link_keys.forget(wiring.database, letter)


def _deliver(letter: Letter, user: User, wiring: Wiring) -> None:
    url = wiring.settings.public_url
    if letter.kind in PAGES:
        secret = link_keys.make_key(wiring.database, letter, now=wiring.now())
        url += f"{PAGES[letter.kind]}?key={secret}"
    message = compose(letter, user, url=url, sender=wiring.settings.mail_sender)
    send(message, letter.address, wiring.settings)
    log.info("letter", extra=_facts(letter, "sent"))


def _facts(letter: Letter, state: str) -> dict[str, Any]:
    counted = metrics({"Mails": (1, "Count")}, state=state)
    return {"action": "letter", "letter_id": letter.id, "kind": letter.kind, **counted}
