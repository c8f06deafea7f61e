"""Posts and tasks of particular kinds, put straight into the ledger."""

from collections.abc import Sequence
from datetime import UTC, datetime

from chalicelib.db.engine import Database
from chalicelib.microblog.models import Post
from tests.harness.ledgers import launch

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def write_posts(
    database: Database, user_id: int, bodies: Sequence[str], *, at: datetime = START
) -> list[int]:
    """Write posts of one moment; return their numbers."""
    with database.write() as session:
        posts = [Post(user_id=user_id, body=body, timestamp=at) for body in bodies]
        session.add_all(posts)
        session.flush()
        return [post.id for post in posts]


def launch_example(database: Database, user_id: int, *, seconds: int, max_attempts: int = 5) -> str:
    """Queue a task that counts seconds; return its id."""
    return launch(database, user_id, "example", max_attempts=max_attempts, seconds=seconds)
