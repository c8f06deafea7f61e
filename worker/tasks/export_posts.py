"""Writes all of a user's posts into one file in S3."""

import sqlalchemy as sa

from chalicelib.db.models import User
from chalicelib.errors import ClaimLost
from chalicelib.microblog.datasets import POSTS
from chalicelib.tasks.leases import File
from worker.attempts import Attempt, task
from worker.export import statements
from worker.export.document import Document
from worker.export.pages import Source
from worker.export.publication import publish

# As the worker imports this, before it forks: no work horse has to build them again.
statements.prepare(POSTS)


@task
def export_posts(attempt: Attempt) -> File:
    """Export the posts there were when the first attempt began."""
    source = Source(attempt.wiring.database, POSTS, attempt.task.user_id, attempt.task.cutoff)
    with attempt.wiring.database.read() as session:
        username = session.scalar(_USERNAME, {"of": attempt.task.user_id})
    if username is None or attempt.task.started_at is None:
        raise ClaimLost
    return publish(attempt, Document(source, username, attempt.task.started_at))


_USERNAME = sa.select(User.username).where(User.id == sa.bindparam("of"))
