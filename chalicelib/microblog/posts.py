"""Posts: write, list, delete."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.models import User
from chalicelib.errors import NotFound, QuotaExceeded
from chalicelib.imports.publication import bytes_of
from chalicelib.microblog.models import Post
from chalicelib.microblog.tasks import IMPORT_POSTS
from chalicelib.values.paging import Page


def write_post(
    session: so.Session, user_id: int, body: str, *, now: datetime, quota_bytes: int = 0
) -> Post:
    """Add a post.

    Args:
        session: A writing session.
        user_id: Whose post it is.
        body: Its text, valid already.
        now: The time.
        quota_bytes: How much text a user may have, in bytes of UTF-8; 0 for any amount.

    Raises:
        QuotaExceeded: It would be more than that.
    """
    if quota_bytes:
        # Two posts at once must see each other; imports lock the user's row, too.
        session.get(User, user_id, with_for_update=True)
        stored = bytes_of(session, IMPORT_POSTS.target, user_id=user_id)
        if stored + len(body.encode()) > quota_bytes:
            raise QuotaExceeded
    post = Post(user_id=user_id, body=body, timestamp=now)
    session.add(post)
    session.flush()
    return post


def list_posts(session: so.Session, user_id: int, *, page: Page) -> tuple[Sequence[Post], bool]:
    """A page of a user's posts, the newest first, and whether more follow."""
    statement = sa.select(Post).where(Post.user_id == user_id)
    found = session.scalars(page.of(statement, Post.timestamp, Post.id)).all()
    return page.cut(found, size=lambda post: len(msgspec.json.encode(post.body)))


def count_posts(session: so.Session, user_id: int) -> int:
    """How many posts a user has."""
    statement = sa.select(sa.func.count()).select_from(Post).where(Post.user_id == user_id)
    return session.scalar(statement) or 0


def delete_post(session: so.Session, user_id: int, post_id: int) -> None:
    """Delete a post of a user.

    Raises:
        NotFound: The user has no such post.
    """
    statement = (
        sa.delete(Post).where(Post.id == post_id, Post.user_id == user_id).returning(Post.id)
    )
    if session.scalar(statement) is None:
        raise NotFound
