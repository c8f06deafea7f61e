"""The product with one fence, lease, order or step of the ledger taken out.

Each mutation replaces a piece of source that must be there exactly once, in a copy of the tree; a
test of the copy must fail. One that survives says that nothing tests that piece.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = (".venv*", ".git", ".local", "build", "__pycache__", ".*_cache", "node_modules")

CLAIMS = "tests/integration/test_claims.py"
SWEEPER = "tests/integration/test_sweeper.py"
ENGINE = "tests/integration/test_export_engine.py"
EXPORTS = "tests/integration/test_exports.py"
TASKS = "tests/integration/test_tasks.py"
ATTEMPTS = "tests/unit/test_attempts.py"
REMOVALS = "tests/integration/test_removals.py"
POSTMAN = "tests/unit/test_postman.py"
BOUNDARIES = "tests/faults/test_boundaries.py"


@dataclass(frozen=True)
class Mutation:
    """A piece of source and what stands there instead.

    Attributes:
        name: What is taken out.
        path: The file.
        old: The piece, which is there once.
        new: What replaces it.
        tests: Where to look first for a test that fails.
    """

    name: str
    path: str
    old: str
    new: str
    tests: Sequence[str]


MUTATIONS = (
    Mutation(
        "a writer's claim is compared",
        "chalicelib/tasks/transitions.py",
        "task.claim != claim or task.status not in HELD",
        "task.status not in HELD",
        (CLAIMS,),
    ),
    Mutation(
        "a writer's task is held",
        "chalicelib/tasks/transitions.py",
        "task.claim != claim or task.status not in HELD",
        "task.claim != claim",
        (CLAIMS, ATTEMPTS),
    ),
    Mutation(
        "a cancelled task takes no other ending",
        "chalicelib/tasks/transitions.py",
        'if task.status == "cancelling" and not cancelling:',
        "if False:",
        (CLAIMS,),
    ),
    Mutation(
        "notifications are numbered under a lock",
        "chalicelib/tasks/notifications.py",
        """sa.update(users)
        .where(users.c.id == (sa.bindparam("of") if of is None else of))
        .values(notification_seq=users.c.notification_seq + 1)
        .returning(users.c.notification_seq, *more)
""",
        """sa.select(users.c.notification_seq + 1, *more)
        .where(users.c.id == (sa.bindparam("of") if of is None else of))
""",
        (CLAIMS, TASKS, "tests/integration/test_notifications.py"),
    ),
    Mutation(
        "a change looks again under the lock",
        "chalicelib/tasks/transitions.py",
        "task_table).where(*when)",
        "task_table).where(when[0], *when[2:])",
        (CLAIMS,),
    ),
    Mutation(
        "a claim has a number of its own",
        "chalicelib/tasks/leases.py",
        "claim=ROW.claim + 1",
        "claim=ROW.claim",
        (CLAIMS,),
    ),
    Mutation(
        "a pause is waited for",
        "chalicelib/tasks/leases.py",
        "    ROW.due_at <= db_clock(1),\n",
        "",
        (CLAIMS,),
    ),
    Mutation(
        "who finishes a task holds it",
        "chalicelib/tasks/outcomes.py",
        'ROW.claim == sa.bindparam("held")',
        'sa.bindparam("held") > 0',
        (CLAIMS,),
    ),
    Mutation(
        "a cancelled task is not finished",
        "chalicelib/tasks/outcomes.py",
        'ROW.status == "running"',
        'ROW.status.in_(("running", "cancelling"))',
        (CLAIMS, ATTEMPTS),
    ),
    Mutation(
        "a lease that was renewed is not taken away",
        "chalicelib/tasks/leases.py",
        "if overdue and not session.scalar(late):",
        "if False:",
        (CLAIMS, SWEEPER),
    ),
    Mutation(
        "only the claim's own lease is renewed",
        "chalicelib/tasks/leases.py",
        '        Task.claim == sa.bindparam("held"),\n',
        '        sa.bindparam("held") > 0,\n',
        (CLAIMS,),
    ),
    Mutation(
        "a lease goes by the database's clock",
        "chalicelib/tasks/leases.py",
        '    lease_until=db_clock(sa.bindparam("lease_s", type_=sa.Float())),\n    last',
        '    lease_until=sa.case((sa.bindparam("lease_s", type_=sa.Float()) > 0,'
        ' sa.bindparam("now", type_=UtcDateTime()))),\n    last',
        ("tests/integration/test_clocks.py",),
    ),
    Mutation(
        "crashes are counted",
        "chalicelib/tasks/leases.py",
        "task.failures += 1",
        "task.failures += 0",
        (CLAIMS,),
    ),
    Mutation(
        "a hand-back is free",
        "chalicelib/tasks/leases.py",
        "            _queue_again(task, pause_s=0)",
        "            task.failures += 1\n            _queue_again(task, pause_s=0)",
        (CLAIMS,),
    ),
    Mutation(
        "progress never falls",
        "chalicelib/tasks/leases.py",
        "task.percent = max(task.percent, min(",
        "task.percent = max(0, min(",
        (CLAIMS,),
    ),
    Mutation(
        "only success is 100 %",
        "chalicelib/tasks/leases.py",
        "min(99, 100 * done",
        "min(100, 100 * done",
        (CLAIMS,),
    ),
    Mutation(
        "the first attempt fixes the cutoff",
        "chalicelib/tasks/leases.py",
        "        ROW.cutoff, sa",
        "        sa.cast(None, sa.BigInteger), sa",
        (CLAIMS,),
    ),
    Mutation(
        "posts after the cutoff are left out",
        "worker/export/pages.py",
        ', Post.id <= sa.bindparam("cutoff")',
        ', sa.bindparam("cutoff", type_=sa.BigInteger) >= 0',
        (ENGINE, "tests/unit/test_rows.py"),
    ),
    Mutation(
        "what a claim began is kept before it is in the ledger",
        "chalicelib/exports/removals.py",
        "return named | begun",
        "return named",
        (SWEEPER,),
    ),
    Mutation(
        "what a dead claim began is not kept",
        "chalicelib/exports/removals.py",
        "task.id, task.claim) for task in tasks if",
        "task.id, number) for task in tasks for number in range(1, task.claim + 1) if",
        (SWEEPER,),
    ),
    Mutation(
        "a part is followed by a checkpoint",
        "worker/tasks/export_posts.py",
        """                _upload_part(attempt, state, draft, page.cursor)
                attempt.checkpoint(state.posts, total, state.to_json(), key=state.upload.key)
""",
        "                _upload_part(attempt, state, draft, page.cursor)\n",
        (ENGINE,),
    ),
    Mutation(
        "an upload that is gone is begun anew",
        "worker/tasks/export_posts.py",
        "except UploadGoneError:",
        "except ZeroDivisionError:",
        (ENGINE,),
    ),
    Mutation(
        "who begins anew still holds the task",
        "worker/tasks/export_posts.py",
        "        attempt.confirm()\n",
        "",
        (ENGINE,),
    ),
    Mutation(
        "a resumed file is read back",
        "worker/tasks/export_posts.py",
        "    if resumed:",
        "    if False:",
        (ENGINE,),
    ),
    Mutation(
        "an attempt's key has its claim",
        "chalicelib/exports/removals.py",
        "{task_prefix(user_id, task_id)}{claim}/{FILENAME}",
        "{task_prefix(user_id, task_id)}{FILENAME}",
        (SWEEPER, ENGINE, BOUNDARIES),
    ),
    Mutation(
        "an upload is begun once",
        "chalicelib/adapters/object_store.py",
        "self._s3_once.create_multipart_upload",
        "self._s3.create_multipart_upload",
        (BOUNDARIES,),
    ),
    Mutation(
        "who lost the claim cleans up",
        "worker/attempts.py",
        '{"cancelled", "failed", "claim_lost"}',
        '{"cancelled", "failed"}',
        (BOUNDARIES,),
    ),
    Mutation(
        "a removal keeps what is published",
        "chalicelib/exports/removals.py",
        "bucket.clear(prefix, keep=keep)",
        "bucket.clear(prefix, keep=set)",
        (SWEEPER, EXPORTS),
    ),
    Mutation(
        "a removal looks before it asks what to keep",
        "chalicelib/exports/removals.py",
        "    bucket.clear(prefix, keep=keep)",
        "    kept = keep()\n    bucket.clear(prefix, keep=lambda: kept)",
        (REMOVALS,),
    ),
    Mutation(
        "a deleted file is not kept",
        "chalicelib/exports/removals.py",
        ", Task.gone_at.is_(None)\n",
        "\n",
        (SWEEPER, EXPORTS),
    ),
    Mutation(
        "a removal comes a second time",
        "chalicelib/exports/removals.py",
        "    session.add(Removal(prefix=prefix, due_at=now + timedelta(seconds=2 * lease_s)))\n",
        "",
        (SWEEPER, EXPORTS),
    ),
    Mutation(
        "what attempts left behind is removed",
        "chalicelib/tasks/outcomes.py",
        "    removals.wish(session, removals.task_prefix(user_id, task_id),"
        " now=now, lease_s=lease_s)\n",
        "",
        (SWEEPER, CLAIMS),
    ),
    Mutation(
        "what attempts before the last left behind is removed",
        "chalicelib/tasks/leases.py",
        "self.claim > 1:",
        "self.claim < 0:",
        (SWEEPER, CLAIMS, ENGINE),
    ),
    Mutation(
        "an erased account's files are removed",
        "chalicelib/accounts/accounts.py",
        "    removals.wish(session, removals.user_prefix(user_id), now=now, lease_s=lease_s)\n",
        "",
        (REMOVALS,),
    ),
    Mutation(
        "a mail's claim is compared",
        "chalicelib/outbox/messages.py",
        'ROW.mail_claim == sa.bindparam("held")',
        'sa.bindparam("held") > 0',
        ("tests/integration/test_mail_fence.py",),
    ),
    Mutation(
        "a mail that is settled stays so",
        "chalicelib/outbox/messages.py",
        '    ROW.mail_state == "sending",\n',
        "",
        (CLAIMS, SWEEPER),
    ),
    Mutation(
        "a mail is claimed once",
        "chalicelib/outbox/messages.py",
        'ROW.mail_state == "pending"',
        'ROW.mail_state.in_(("pending", "sending"))',
        (CLAIMS,),
    ),
    Mutation(
        "a lost answer is not asked for again",
        "worker/outbox/sender.py",
        'return "refused" if isinstance(error, NEVER_ASKED) else "unknown"',
        'return "refused"',
        (POSTMAN,),
    ),
    Mutation(
        "an error of SES is not asked about again",
        "worker/outbox/sender.py",
        'return "unknown" if status >= 500',
        'return "refused" if status >= 500',
        (POSTMAN,),
    ),
    Mutation(
        "SES is asked once",
        "worker/outbox/sender.py",
        '"total_max_attempts": 1',
        '"total_max_attempts": 3',
        (POSTMAN, BOUNDARIES),
    ),
    Mutation(
        "a mail whose sender died is unknown",
        "chalicelib/operations/reconciler.py",
        '.settle("unknown", now=now)',
        ".postpone(pause_s=0, now=now)",
        (SWEEPER,),
    ),
    Mutation(
        "a sweep recovers what died",
        "chalicelib/operations/reconciler.py",
        "self._recover(now),",
        "0,",
        (SWEEPER,),
    ),
    Mutation(
        "a sweep rings for what waits",
        "chalicelib/operations/reconciler.py",
        "self._ring(),",
        "0,",
        (SWEEPER,),
    ),
    Mutation(
        "a sweep removes files",
        "chalicelib/operations/reconciler.py",
        "self._remove(now),",
        "0,",
        (SWEEPER,),
    ),
    Mutation(
        "a removal is forgotten only after it was carried out",
        "chalicelib/exports/removals.py",
        "        return error\n    with",
        "        del error\n    with",
        (SWEEPER,),
    ),
    Mutation(
        "a task that begins anew has a new start and cutoff",
        "chalicelib/tasks/requests.py",
        "task.started_at = task.finished_at = ",
        "task.finished_at = ",
        (TASKS, CLAIMS),
    ),
)


def copy_tree(folder: Path) -> Path:
    """Copy the project; return where."""
    copy = folder / "tree"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return copy


def killers(tree: Path, mutation: Mutation) -> str:
    """Apply a mutation, run its tests, take it back.

    Returns:
        The first test that fails, or nothing when the mutation survives.

    Raises:
        ValueError: The piece is not there, or not once.
    """
    path = tree / mutation.path
    source = path.read_text("utf-8")
    if source.count(mutation.old) != 1:
        raise ValueError(f"{mutation.path} does not hold once: {mutation.old}")
    path.write_text(source.replace(mutation.old, mutation.new), "utf-8")
    try:
        return _first_failure(tree, mutation.tests)
    finally:
        path.write_text(source, "utf-8")


def _first_failure(tree: Path, tests: Sequence[str]) -> str:
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    run = subprocess.run(
        command, cwd=tree, env=os.environ | {"PYTHONPATH": "."}, capture_output=True, check=False
    )
    lines = run.stdout.decode(errors="replace").splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    if run.returncode not in {0, 1}:
        raise ValueError(f"pytest ended with {run.returncode}: {lines[-1:]}")
    return failed[0] if failed else ""
