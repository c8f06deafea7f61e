"""Counts the words in all posts of a user, and goes on wherever it was interrupted."""

import sqlalchemy as sa

from chalicelib.microblog.models import Post
from chalicelib.values.fields import format_time, parse_time
from worker.attempts import Attempt

PAGE_ROWS = 2000
"""So many posts are read at once, and are the most that an interruption repeats."""


def count_words(attempt: Attempt) -> dict[str, int]:
    """Go through the posts there are, page by page, in the order of their index."""
    mine = Post.user_id == attempt.task.user_id
    key = sa.tuple_(Post.timestamp, Post.id)
    page = sa.select(Post.body, Post.timestamp, Post.id).where(mine).order_by(*key.clauses)
    with attempt.wiring.database.read() as session:
        total = attempt.task.total or session.scalar(sa.select(sa.func.count()).where(mine)) or 0
    state = attempt.task.checkpoint or {"posts": 0, "words": 0, "after": None}
    while True:
        after = state["after"] and (parse_time(state["after"][0]), state["after"][1])
        following = page if after is None else page.where(key > after)
        with attempt.wiring.database.read() as session:
            rows = session.execute(following.limit(PAGE_ROWS)).all()
        if not rows:
            return {"posts": state["posts"], "words": state["words"]}
        state = {
            "posts": state["posts"] + len(rows),
            "words": state["words"] + sum(len(body.split()) for body, *_ in rows),
            "after": [format_time(rows[-1].timestamp), rows[-1].id],
        }
        attempt.checkpoint(state["posts"], total, state)
