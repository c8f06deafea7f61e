"""Posts: write, list, delete."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.errors import NotFound
from chalicelib.microblog.models import Post
from chalicelib.values.paging import Page


def write_post(session: so.Session, user_id: int, body: str, *, now: datetime) -> Post:
    """Add a post."""
    post = Post(user_id=user_id, body=body, timestamp=now)
    session.add(post)
    session.flush()
    return post


def list_posts(session: so.Session, user_id: int, *, page: Page) -> tuple[Sequence[Post], bool]:
    """A page of a user's posts, the newest first, and whether more follow."""
    statement = (
        sa.select(Post)
        .where(Post.user_id == user_id)
        .order_by(Post.timestamp.desc(), Post.id.desc())
        .limit(page.limit + 1)
    )
    if page.before is not None:
        statement = statement.where(sa.tuple_(Post.timestamp, Post.id) < page.before)
    return page.cut(session.scalars(statement).all())


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
