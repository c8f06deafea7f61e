"""A sender so slow that the mail is somebody else's by now has no say in what became of it."""

from chalicelib.exports import files
from chalicelib.outbox import messages
from chalicelib.outbox.messages import MailHolder
from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from tests.harness.ledgers import LEASE_S, launch, make_user, now, publish, the_task


def claim(wiring: Wiring, task_id: str) -> MailHolder:
    """Take the duty to send a mail that is due."""
    claimed = messages.claim(wiring.database, task_id, lease_s=LEASE_S, now=now())
    assert claimed is not None
    return claimed[0]


@both_databases
def test_a_late_sender_settles_nothing(wiring: Wiring) -> None:
    """The first sender was given up, the user asked again, and a second one is at it."""
    task_id = launch(wiring.database, make_user(wiring.database))
    publish(wiring, task_id)
    first = claim(wiring, task_id)
    first.settle("unknown", now=now())
    with wiring.database.write() as session:
        files.mail_again(session, task_id, now=now())
    second = claim(wiring, task_id)
    first.settle("failed", now=now())
    first.postpone(pause_s=0, now=now())
    assert the_task(wiring.database, task_id).mail_state == "sending"
    second.settle("sent", now=now(), message_id="second")
    task = the_task(wiring.database, task_id)
    assert (task.mail_state, task.mail_message_id) == ("sent", "second")
