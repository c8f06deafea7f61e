"""The export of the Flask Mega-Tutorial's chapter 22, by its description, without its pause.

For each post a commit of the task's progress and of a notification, and the job's `meta` in Redis;
all posts in one list, and one call of `json.dumps` with an indent. It has tables of its own, with
no more in them than it needs, and a SQLite that is set up as Carryout's is.
"""

import json
import sqlite3
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from redis import Redis
from rq import Queue
from rq.job import Job
from sqlalchemy import orm as so

from chalicelib.microblog.models import Post as OurPost
from chalicelib.wiring import Wiring

FIRST_POST = datetime(2024, 3, 1, tzinfo=UTC).replace(tzinfo=None)
"""The chapter's times are naive."""


class Base(so.DeclarativeBase):
    """The tables of the chapter."""


class User(Base):
    __tablename__ = "user"

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    username: so.Mapped[str] = so.mapped_column(sa.String(64), index=True, unique=True)
    posts: so.WriteOnlyMapped["Post"] = so.relationship(back_populates="author")
    notifications: so.WriteOnlyMapped["Notification"] = so.relationship(back_populates="user")
    tasks: so.WriteOnlyMapped["Task"] = so.relationship(back_populates="user")


class Post(Base):
    __tablename__ = "post"

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    body: so.Mapped[str] = so.mapped_column(sa.String(140))
    timestamp: so.Mapped[datetime] = so.mapped_column(index=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey(User.id), index=True)
    author: so.Mapped[User] = so.relationship(back_populates="posts")


class Notification(Base):
    """How far the task is, for the page that asks every ten seconds."""

    __tablename__ = "notification"

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    name: so.Mapped[str] = so.mapped_column(sa.String(128), index=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey(User.id), index=True)
    timestamp: so.Mapped[float] = so.mapped_column(index=True, default=time.time)
    payload_json: so.Mapped[str] = so.mapped_column(sa.Text)
    user: so.Mapped[User] = so.relationship(back_populates="notifications")


class Task(Base):
    __tablename__ = "task"

    id: so.Mapped[str] = so.mapped_column(sa.String(36), primary_key=True)
    name: so.Mapped[str] = so.mapped_column(sa.String(128), index=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey(User.id))
    complete: so.Mapped[bool] = so.mapped_column(default=False)
    user: so.Mapped[User] = so.relationship(back_populates="tasks")


class Export:
    """One run of the chapter's job.

    Args:
        session: A session as Flask-SQLAlchemy makes it: a commit expires whatever was loaded.
        job: The job in RQ.
    """

    def __init__(self, session: so.Session, job: Job) -> None:
        self._session = session
        self._job = job

    def run(self, user_id: int) -> str:
        user = self._session.get_one(User, user_id)
        self._set_progress(0)
        data = []
        total = self._session.scalar(
            sa.select(sa.func.count()).select_from(user.posts.select().subquery())
        )
        posts = self._session.scalars(user.posts.select().order_by(Post.timestamp.asc()))
        for number, post in enumerate(posts, 1):
            data.append({"body": post.body, "timestamp": post.timestamp.isoformat() + "Z"})
            self._set_progress(100 * number // (total or 1))
        return json.dumps({"posts": data}, indent=4)

    def _set_progress(self, progress: int) -> None:
        self._job.meta["progress"] = progress
        self._job.save_meta()  # type: ignore[no-untyped-call]
        task = self._session.get_one(Task, self._job.id)
        payload = {"task_id": task.id, "progress": progress}
        old = task.user.notifications.delete().where(Notification.name == "task_progress")
        self._session.execute(old)
        self._session.add(
            Notification(name="task_progress", payload_json=json.dumps(payload), user=task.user)
        )
        task.complete = progress >= 100
        self._session.commit()


def measure(wiring: Wiring, file: str, user_id: int) -> dict[str, Any]:
    """Run the chapter's job on copies of one of our users' posts.

    Args:
        wiring: Where those posts are, and Redis.
        file: A SQLite file, made anew.
        user_id: The user.
    """
    with wiring.database.read() as session:
        statement = sa.select(OurPost.body).where(OurPost.user_id == user_id)
        bodies = session.scalars(statement.order_by(OurPost.id)).all()
    engine = sa.create_engine(f"sqlite:///{file}")
    sa.event.listen(engine, "connect", _prepare)
    Base.metadata.create_all(engine)
    queue = Queue("chapter", connection=Redis.from_url(wiring.settings.redis_url))
    job = queue.enqueue("app.tasks.export_posts", 1, job_id=str(uuid4()))
    with so.Session(engine) as session:
        _fill(session, job.id, bodies)
        began = time.perf_counter()
        Export(session, job).run(1)
        seconds = time.perf_counter() - began
    engine.dispose()
    return {"seconds": seconds, "posts": len(bodies)}


def _fill(session: so.Session, job_id: str, bodies: Sequence[str]) -> None:
    session.add(User(id=1, username="susan"))
    session.flush()
    session.add(Task(id=job_id, name="export_posts", user_id=1))
    posts = [
        {"user_id": 1, "body": body, "timestamp": FIRST_POST + timedelta(seconds=number)}
        for number, body in enumerate(bodies)
    ]
    session.execute(sa.insert(Post), posts)
    session.commit()


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    # With SQLite's defaults, each commit would wait for the disk twice.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
