"""The least that a Chalice route can do: what Carryout's answers are measured against."""

from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from chalice.app import Chalice, Response
from redis import Redis
from rq import Queue
from sqlalchemy import orm as so

from chalicelib.accounts.secrets import digest
from chalicelib.adapters.job_queue import FUNCTION
from chalicelib.db.models import Notification, Task, Token, User


class Base(so.DeclarativeBase):
    """A table of the bare route's own."""


class BareTask(Base):
    """A task, with no more in it than the chapter's."""

    __tablename__ = "bare_tasks"

    id: so.Mapped[str] = so.mapped_column(sa.String(36), primary_key=True)
    name: so.Mapped[str] = so.mapped_column(sa.String(128))
    user_id: so.Mapped[int]
    complete: so.Mapped[bool] = so.mapped_column(default=False)


def make(engine: sa.Engine, redis: Redis) -> Chalice:
    """The application, on a ledger of ours with users, tasks and tokens."""
    Base.metadata.create_all(engine)
    new_session = so.sessionmaker(engine)
    queue = Queue("bare", connection=redis)
    bare = Chalice("bare")

    def authenticated() -> bool:
        token = bare.current_request.headers["authorization"].removeprefix("Bearer ")
        statement = sa.select(User).join(Token).where(Token.digest == digest(token))
        with new_session() as session:
            return session.scalar(statement) is not None

    def launch(user_id: str) -> Response:
        with new_session() as session:
            user = session.get_one(User, int(user_id))
            task = BareTask(id=str(uuid4()), name="export_posts", user_id=user.id)
            session.add(task)
            session.commit()
            queue.enqueue(FUNCTION, task.id, job_id=task.id)
            return _json({"id": task.id, "name": task.name}, status=202)

    @bare.route("/launch/{user_id}", methods=["POST"], name="launch")
    def launch_openly(user_id: str) -> Response:
        return launch(user_id)

    @bare.route("/launch-known/{user_id}", methods=["POST"], name="launch_known")
    def launch_known(user_id: str) -> Response:
        return launch(user_id) if authenticated() else _json({}, status=401)

    @bare.route("/tasks/{task_id}", methods=["GET"], name="task")
    def show_task(task_id: str) -> Response:
        with new_session() as session:
            task = session.get_one(Task, task_id)
            return _json({"id": task.id, "status": task.status, "percent": task.percent})

    @bare.route("/notifications/{user_id}", methods=["GET"], name="notifications")
    def list_notifications(user_id: str) -> Response:
        statement = sa.select(Notification).where(Notification.user_id == int(user_id))
        with new_session() as session:
            found = session.scalars(statement.order_by(Notification.seq)).all()
            return _json({"items": [one.data for one in found]})

    return bare


def _json(shown: dict[str, Any], *, status: int = 200) -> Response:
    return Response(shown, {"Content-Type": "application/json"}, status)
