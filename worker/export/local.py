"""An export straight to a file, without a task."""

from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.db.models import User
from chalicelib.microblog.models import Post
from worker.export import document
from worker.export.pages import Source


def write_file(
    database: Database,
    user_id: int,
    out: Path,
    *,
    now: datetime,
    progress: Callable[[int], None],
) -> int:
    """Write a user's posts to a file; it appears under its name only when it is whole.

    Args:
        database: The ledger.
        user_id: Whose posts.
        out: The file; an old one is replaced.
        now: When the export is taken.
        progress: Called with a percentage after each page.

    Returns:
        How many posts it holds.
    """
    with database.read() as session:
        cutoff = session.scalar(sa.select(sa.func.max(Post.id))) or 0
        username = session.get_one(User, user_id).username
    source = Source(database, user_id, cutoff)
    total, count = source.count(), 0
    partial = out.with_name(f".{out.name}.partial")
    with partial.open("wb") as file, closing(source.pages(None)) as pages:
        file.write(document.head(username, now))
        for page in pages:
            file.write(document.BETWEEN if count else document.BEFORE)
            file.write(page.lines)
            count += page.posts
            progress(100 * count // max(total, count))
        file.write(document.tail(count))
    partial.replace(out)
    return count
