"""Which kinds of task there are, and what each declares about itself.

The API reads this table to validate what users ask for, the worker to find the function, the
kernel to call the hooks. It is empty until the application's kinds are registered, which
`chalicelib.wiring` does; `chalicelib.microblog.tasks` lists them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, get_args

import msgspec
from sqlalchemy import orm as so

from chalicelib.db.models import Task
from chalicelib.errors import DeclarationError, Fault


@dataclass(frozen=True, kw_only=True)
class TaskKind:
    """One kind of task.

    The hooks write what must be in the database if and only if the task's own change is: each runs
    in the transaction of that change, with the user and the task locked. By default they do
    nothing.

    Attributes:
        name: What users, the ledger and the worker's function call it.
        title: What it is doing, for people: a message, marked with `N_` for translation.
        params: The parameters it takes: a type, or `Annotated` with `msgspec.Meta`, by name. They
            are stored as JSON and given to the function as the declared types.
        defaults: By name, what a parameter is that a request leaves out; others are required.
        function: The import string of the function that does it, `package.module.function`; by
            default the one of the same name in `worker/tasks/NAME.py`.
        follow_up: The import string of a function that a worker calls right after an attempt's
            outcome is committed, for what the reconciler and the outbox would do a little later.
        time_limit_s: How long an attempt may take, in seconds; None for `TASK_TIMEOUT_S`. One that
            has moved its checkpoint by then is released and goes on in another attempt.
        resumable: Whether its function notes with `Attempt.checkpoint` where to go on. Then the
            task makes room, at a checkpoint, when it has run for `FAIR_SLICE_S` and others wait.
        unique_by: The parameters that tell tasks of this kind apart: a user may have one in
            progress for each combination of their values. With none, one of the kind.
        share: The share of the workers that tasks of this kind may hold at a time; one worker
            always, and 1 for all of them. For tasks that are long and cannot make room.
        repeatable: Whether a schedule may launch it: not if its parameters are good for one task.
    """

    name: str
    title: str
    params: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    function: str = ""
    follow_up: str = ""
    time_limit_s: int | None = None
    resumable: bool = False
    unique_by: tuple[str, ...] = ()
    share: float = 1
    repeatable: bool = True

    def __post_init__(self) -> None:
        """Refuse a declaration that would only fail when somebody uses it.

        Raises:
            DeclarationError: It would fail at a launch, in the database or in silence.
        """
        if not self.function:
            default = f"worker.tasks.{self.name}.{self.name}"
            object.__setattr__(self, "function", default)  # as dataclasses do in a frozen one
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", self.name):
            raise DeclarationError(f"the task's name {self.name!r} must be a_lower_case_name")
        if not 0 < self.share <= 1:
            raise DeclarationError(f"{self.name}: a share is more than 0 and at most 1")
        for given in ("unique_by", "defaults"):
            if unknown := set(getattr(self, given)) - set(self.params):
                raise DeclarationError(
                    f"{self.name}: {given} names no parameter: {sorted(unknown)}"
                )
        for name, declared in self.params.items():
            _refuse_bare_dollar(f"{self.name}.{name}", declared)
        try:
            msgspec.json.schema(self.model)
        except (TypeError, ValueError) as error:
            raise DeclarationError(f"{self.name}: a parameter is no JSON: {error}") from error

    def on_launch(self, session: so.Session, task: Task, *, now: datetime) -> None:
        """The task is created: tie to it what it needs, or raise to refuse the request.

        Raises:
            RequestError: What the parameters name cannot be used; no task is created.
        """
        del session, task, now

    def on_claim(self, session: so.Session, task: Task, *, now: datetime) -> Any:
        """A worker has claimed the task: fix what all its attempts must agree on.

        Returns:
            Facts for the attempt, of whatever type its function expects in `attempt.facts`.
        """
        del session, task, now

    def before_success(
        self, session: so.Session, task: Task, outcome: Any, *, now: datetime
    ) -> Any:
        """Write what takes long, in the transaction of the success but before the task is locked.

        Meanwhile others may look at the task, and cancel it; then nothing of this is kept.

        Returns:
            The outcome as `on_success` gets it.

        Raises:
            TaskError: The task fails after all.
        """
        del session, task, now
        return outcome

    def on_success(
        self, session: so.Session, task: Task, outcome: Any, *, lease_s: int, now: datetime
    ) -> None:
        """The task has succeeded: publish what its function returned.

        A kind refuses what it does not publish: lost in silence, it would be a task that succeeded
        and left nothing behind. A dict is kept as the task's result already.

        Raises:
            TypeError: The function returned something else than a task of this kind does.
        """
        del session, task, lease_s, now
        self.refuse_outcome(outcome)

    def on_end(self, session: so.Session, task: Task, *, lease_s: int, now: datetime) -> None:
        """The task has failed or was cancelled.

        Args:
            session: The transaction.
            task: The task as it ends.
            lease_s: How long a worker that does not know yet may go on, in seconds.
            now: The time.
        """
        del session, task, lease_s, now

    def on_retry(self, session: so.Session, task: Task, *, now: datetime) -> None:
        """The task is queued anew, with nothing of the past but its name."""
        del session, task, now

    def refuse_outcome(self, outcome: Any) -> None:
        """Refuse what a function returned, unless there are hooks that publish it.

        Raises:
            TypeError: It is neither a dict nor None.
        """
        if outcome is not None and not isinstance(outcome, dict):
            raise TypeError(f"{self.name} returned a {type(outcome).__name__}, not a dict or None")

    def has(self, hook: str) -> bool:
        """Whether this kind declares a hook; one that does not needs no transaction for it."""
        return getattr(type(self), hook) is not getattr(TaskKind, hook)

    @cached_property
    def model(self) -> type[msgspec.Struct]:
        """The parameters as a structure."""
        fields = [
            (name, kind, self.defaults[name]) if name in self.defaults else (name, kind)
            for name, kind in self.params.items()
        ]
        # By name only, so that one with a default may stand before one without.
        return msgspec.defstruct(
            self.name, fields, forbid_unknown_fields=True, frozen=True, kw_only=True
        )

    def faults(self, given: Mapping[str, Any]) -> Iterable[Fault]:
        """What is wrong with parameters beyond the type of each: how they go together.

        Args:
            given: The parameters as JSON, of which the types are not checked yet.

        Returns:
            Faults with pointers within the parameters.
        """
        del given
        return ()

    def store(self, params: msgspec.Struct) -> dict[str, Any]:
        """The parameters as JSON can hold them: a UUID or a Decimal as text."""
        stored: dict[str, Any] = msgspec.to_builtins(params)
        return stored

    def load(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The stored parameters as the declared types.

        Raises:
            msgspec.ValidationError: They were stored by code that declared others.
        """
        return msgspec.structs.asdict(msgspec.convert(stored, self.model))

    def unique_key(self, stored: Mapping[str, Any]) -> str:
        """What tells two tasks of this kind apart that may be in progress side by side."""
        if not self.unique_by:
            return ""
        return msgspec.json.encode(
            [stored[name] for name in self.unique_by], order="sorted"
        ).decode()


TASKS: dict[str, TaskKind] = {}
"""Every kind of task there is, by name."""


def kinds_without(hook: str) -> list[str]:
    """The names of the kinds that do not declare a hook."""
    return [name for name, kind in TASKS.items() if not kind.has(hook)]


def repeatable_kinds() -> list[str]:
    """The names of the kinds that a schedule may launch."""
    return [name for name, kind in TASKS.items() if kind.repeatable]


def register(*kinds: TaskKind) -> None:
    """Add kinds of task to the table.

    Raises:
        DeclarationError: There is another kind of the same name.
    """
    for kind in kinds:
        if TASKS.setdefault(kind.name, kind) != kind:
            raise DeclarationError(f"there are two kinds of task called {kind.name}")


def _refuse_bare_dollar(name: str, declared: Any) -> None:
    """Refuse a pattern that lets one more character through than its author sees.

    In Python `$` also matches before a final newline, and in ECMA 262, which is what the OpenAPI
    document means, it does not.
    """
    for meta in getattr(declared, "__metadata__", ()):
        pattern = getattr(meta, "pattern", None)
        if pattern is not None and re.search(r"(?<!\\)\$$", pattern):
            raise DeclarationError(
                f"{name}: `$` also matches before a final newline;"
                f" end the pattern {pattern!r} with `$(?!\\n)`"
            )
    for part in get_args(declared):
        _refuse_bare_dollar(name, part)


def kind_of(task: Task) -> TaskKind:
    """The kind of a task; one that this code does not know, as after a rollback, has no hooks."""
    return TASKS.get(task.name) or TaskKind(name=task.name, title=task.name)
