"""The product with one fence, lease, order or step of the ledger taken out.

Each mutation replaces a piece of source that must be there exactly once, in a copy of the tree; a
test of the copy must fail. One that survives says that nothing tests that piece.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from tests.faults import warm

ROOT = Path(__file__).parents[2]
LEFT_OUT = (".venv*", ".git", ".local", "build", "__pycache__", ".*_cache", "node_modules")

NOTHING_SELECTED = 5
"""https://docs.pytest.org/en/stable/reference/exit-codes.html"""

LEASES = "tests/integration/test_leases.py"
RECONCILER = "tests/integration/test_reconciler.py"
ENGINE = "tests/integration/test_export_engine.py"
EXPORTS = "tests/integration/test_exports.py"
TASKS = "tests/integration/test_tasks.py"
ATTEMPTS = "tests/unit/test_attempts.py"
REMOVALS = "tests/integration/test_removals.py"
OUTBOX = "tests/integration/test_outbox.py"
SENDER = "tests/unit/test_sender.py"
SENDER_PROCESS = "tests/integration/test_sender_process.py"
RECOVERY = "tests/integration/test_recovery.py"
FORGED_JOBS = "tests/integration/test_forged_jobs.py"
AUDIT = "tests/integration/test_audit_trail.py"
HOSTILE = "tests/hostile/test_limits.py"
BOUNDARIES = "tests/faults/test_boundaries.py"
SCHEDULES = "tests/integration/test_schedules.py"
PAUSES = "tests/integration/test_pauses.py"
WORK_HORSE = "tests/integration/test_work_horse.py"
WEBHOOKS = "tests/integration/test_webhooks.py"
WEBHOOK_API = "tests/integration/test_webhook_api.py"
WEBHOOK_PROCESS = "tests/integration/test_webhook_process.py"
HTTP_CLIENT = "tests/integration/test_http_client.py"
ADDRESSES = "tests/unit/test_addresses.py"
IMPORTS = "tests/integration/test_imports.py"
RACES = "tests/integration/test_races.py"
PIPELINES = "tests/integration/test_pipelines.py"
BATCHES = "tests/integration/test_batches.py"


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
        "a batch compares each task's claim",
        "chalicelib/tasks/batches.py",
        "return ROW.claim == given.fence, ROW.status",
        "return ROW.claim >= 0, ROW.status",
        (BATCHES,),
    ),
    Mutation(
        "a batch ends and releases nothing that was cancelled",
        "chalicelib/tasks/batches.py",
        'ROW.status == "running"',
        "ROW.lease_until.is_not(None)",
        (BATCHES,),
    ),
    Mutation(
        "a batch leaves out a task that has failed before",
        "chalicelib/tasks/batches.py",
        "ROW.failures == 0",
        "ROW.failures >= 0",
        (BATCHES,),
    ),
    Mutation(
        "a batch checks of what kind a task is",
        "chalicelib/tasks/batches.py",
        "ROW.name == given.kind",
        "given.kind != ''",
        (BATCHES,),
    ),
    Mutation(
        "a batch leaves a schedule's task to those who tell the schedule",
        "chalicelib/tasks/batches.py",
        "when=lambda given: (*_mine(given), UNSCHEDULED)",
        "when=_mine",
        (BATCHES,),
    ),
    Mutation(
        "a batch gives each notification a number of its own",
        "chalicelib/tasks/transitions.py",
        "(changed.c.last + 1 - place)",
        "(changed.c.last + 0 * place)",
        (BATCHES, RACES),
    ),
    Mutation(
        "a batch raises a user's number by all of their tasks",
        "chalicelib/tasks/transitions.py",
        "notification_seq=notifications.USER.notification_seq + counted.c.tasks",
        "notification_seq=notifications.USER.notification_seq + 1",
        (BATCHES, RACES),
    ),
    Mutation(
        "a batch waits for no user whom somebody else has locked",
        "chalicelib/tasks/transitions.py",
        "key_share=True, skip_locked=True",
        "key_share=True",
        (BATCHES,),
    ),
    Mutation(
        "the tasks of a batch that a dead horse had not begun are released",
        "worker/runner.py",
        'cause = "waited"',
        "pass",
        (BATCHES,),
    ),
    Mutation(
        "a batch parts with a task that takes long",
        "worker/batch.py",
        """            self._part()
        except Exception""",
        """            pass
        except Exception""",
        (BATCHES,),
    ),
    Mutation(
        "a batch begins nothing more when its worker must stop",
        "worker/batch.py",
        "if not self._waiting or self._must_stop():",
        "if not self._waiting:",
        (BATCHES,),
    ),
    Mutation(
        "a batch that has to wait keeps its leases",
        "worker/batch.py",
        "            batches.renew(self._wiring.database, leases)",
        "            pass",
        (BATCHES,),
    ),
    Mutation(
        "a batch renews no lease that it has lost",
        "chalicelib/tasks/batches.py",
        "ROW.claim == _given.c.fence, ROW.status",
        "ROW.status",
        (BATCHES,),
    ),
    Mutation(
        "nothing is taken ahead beside an idle worker",
        "chalicelib/adapters/job_queue.py",
        "if state == 'idle' then return 1 end",
        "",
        (BATCHES,),
    ),
    Mutation(
        "a writer's task has a lease",
        "chalicelib/tasks/leases.py",
        "_LEASED = (_THIS, ROW.status.in_(LEASED), _MINE)",
        "_LEASED = (_THIS, _MINE)",
        (LEASES, ATTEMPTS),
    ),
    Mutation(
        "whoever goes on with a cancelled task is told",
        "chalicelib/tasks/leases.py",
        "if session.scalar(_CANCELLING, self._fence):",
        "if False:",
        (LEASES,),
    ),
    Mutation(
        "every change is announced",
        "chalicelib/tasks/transitions.py",
        "    with session.no_autoflush:",
        "    if True:",
        (LEASES, TASKS, "tests/integration/test_notifications.py", BOUNDARIES),
    ),
    Mutation(
        "notifications are numbered under a lock",
        "chalicelib/tasks/notifications.py",
        """sa.update(_users)
        .where(USER.id == (sa.bindparam("of") if of is None else of))
        .values(notification_seq=USER.notification_seq + 1)
        .returning(USER.notification_seq, *more)
""",
        """sa.select((USER.notification_seq + 1).label("notification_seq"), *more)
        .where(USER.id == (sa.bindparam("of") if of is None else of))
""",
        (LEASES, TASKS, "tests/integration/test_notifications.py"),
    ),
    Mutation(
        "a change looks again under the lock",
        "chalicelib/tasks/transitions.py",
        "task_table).where(*when)",
        "task_table).where(when[0], *when[2:])",
        (LEASES,),
    ),
    Mutation(
        "a claim has a number of its own",
        "chalicelib/tasks/leases.py",
        '"claim": ROW.claim + 1',
        '"claim": ROW.claim',
        (LEASES,),
    ),
    Mutation(
        "a pause is waited for",
        "chalicelib/tasks/leases.py",
        "    ROW.due_at <= db_clock(1),\n",
        "",
        (LEASES,),
    ),
    Mutation(
        "a task of an unknown kind is not claimed",
        "chalicelib/tasks/leases.py",
        "if row.name not in TASKS:",
        "if False:",
        (LEASES,),
    ),
    Mutation(
        "whoever finishes a task has the lease",
        "chalicelib/tasks/leases.py",
        'ROW.claim == sa.bindparam("fence")',
        'sa.bindparam("fence") > 0',
        (LEASES,),
    ),
    Mutation(
        "a cancelled task does not succeed",
        "chalicelib/tasks/leases.py",
        'ROW.status == "running"',
        'ROW.status.in_(("running", "cancelling"))',
        (LEASES, ATTEMPTS),
    ),
    Mutation(
        "a lease that was renewed is not recovered",
        "chalicelib/tasks/leases.py",
        "ROW.lease_until < db_clock())",
        "ROW.claim > 0)",
        (LEASES, RECONCILER),
    ),
    Mutation(
        "only the claim's own lease is renewed",
        "chalicelib/tasks/leases.py",
        '        Task.claim == sa.bindparam("fence"),\n',
        '        sa.bindparam("fence") > 0,\n',
        (LEASES,),
    ),
    Mutation(
        "a lease goes by the database's clock",
        "chalicelib/tasks/leases.py",
        '    "worker": sa.bindparam("by"),\n    "lease_until":'
        ' db_clock(sa.bindparam("lease_s", type_=sa.Float())),\n',
        '    "worker": sa.bindparam("by"),\n    "lease_until": sa.case((sa.bindparam("lease_s",'
        ' type_=sa.Float()) > 0, sa.bindparam("now", type_=UtcDateTime()))),\n',
        ("tests/integration/test_clocks.py",),
    ),
    Mutation(
        "crashes are counted",
        "chalicelib/tasks/leases.py",
        'failures=ROW.failures + sa.case((ROW.status == "cancelling", 0), else_=1)',
        "failures=ROW.failures",
        (LEASES,),
    ),
    Mutation(
        "a release is free",
        "chalicelib/tasks/leases.py",
        'RELEASED: dict[str, Any] = {"status": "queued",',
        'RELEASED: dict[str, Any] = {"failures": ROW.failures + 1, "status": "queued",',
        (LEASES,),
    ),
    Mutation(
        "progress never falls",
        "chalicelib/tasks/leases.py",
        '"percent": _at_least(ROW.percent, "hundredths"),',
        '"percent": sa.bindparam("hundredths"),',
        (LEASES,),
    ),
    Mutation(
        "only success is 100 %",
        "chalicelib/tasks/leases.py",
        "min(99, 100 * done",
        "min(100, 100 * done",
        (LEASES,),
    ),
    Mutation(
        "success is published with it",
        "chalicelib/tasks/leases.py",
        "kind_of(task).on_success(session, task, outcome, lease_s=self.lease_s, now=now)",
        "kind_of(task)",
        (LEASES, EXPORTS),
    ),
    Mutation(
        "a failure is told with it",
        "chalicelib/tasks/outcomes.py",
        "    kind_of(task).on_end(session, task, lease_s=lease_s, now=now)\n",
        "    kind_of(task)\n",
        (LEASES, EXPORTS),
    ),
    Mutation(
        "the first attempt fixes the snapshot",
        "chalicelib/exports/publication.py",
        "    if snapshot is None:\n",
        "    if True:\n",
        (LEASES, ENGINE),
    ),
    Mutation(
        "rows after the snapshot are left out",
        "worker/export/statements.py",
        'snapshot <= sa.bindparam("snapshot", type_=snapshot.type)',
        'sa.bindparam("snapshot", type_=snapshot.type).is_not(None)',
        (ENGINE, "tests/unit/test_export_pages.py"),
    ),
    Mutation(
        "what a claim began is kept before it is in the ledger",
        "chalicelib/exports/removals.py",
        "key in published | resumed or key.startswith(begun)",
        "key in published | resumed",
        (RECONCILER, REMOVALS),
    ),
    Mutation(
        "what a dead claim began is not kept",
        "chalicelib/exports/removals.py",
        "attempt_prefix(user_id, task.id, task.claim) for",
        "prefix(user_id, task.id) for",
        (RECONCILER, REMOVALS),
    ),
    Mutation(
        "what a checkpoint names is kept",
        "chalicelib/exports/removals.py",
        "key in published | resumed or",
        "key in published or",
        (RECONCILER, REMOVALS),
    ),
    Mutation(
        "a removal keeps what is published",
        "chalicelib/exports/removals.py",
        "key in published | resumed or",
        "key in resumed or",
        (RECONCILER, EXPORTS, REMOVALS),
    ),
    Mutation(
        "a removal looks before it asks what is needed",
        "chalicelib/exports/removals.py",
        "    bucket.clear(prefix(user_id, task_id), needed=needed)",
        "    is_needed = needed()\n"
        "    bucket.clear(prefix(user_id, task_id), needed=lambda: is_needed)",
        (REMOVALS,),
    ),
    Mutation(
        "a deleted file is not kept",
        "chalicelib/exports/removals.py",
        "            ExportFile.gone_at.is_(None),\n",
        "",
        (RECONCILER, EXPORTS),
    ),
    Mutation(
        "a removal comes a second time",
        "chalicelib/exports/removals.py",
        "in (now, now + timedelta(seconds=2 * lease_s)):",
        "in (now,):",
        (RECONCILER, EXPORTS, REMOVALS),
    ),
    Mutation(
        "a removal is forgotten only after it was executed",
        "chalicelib/exports/removals.py",
        "        return error\n    with",
        "        del error\n    with",
        (RECONCILER,),
    ),
    Mutation(
        "what attempts left behind is removed",
        "chalicelib/exports/kinds.py",
        "        if task.claim:\n",
        "        if False:\n",
        (RECONCILER, LEASES),
    ),
    Mutation(
        "what attempts before the last left behind is removed",
        "chalicelib/exports/kinds.py",
        "if task.claim > 1:",
        "if False:",
        (RECONCILER, LEASES, ENGINE),
    ),
    Mutation(
        "a file is where removals look for it",
        "chalicelib/exports/kinds.py",
        "if not outcome.key.startswith(removals.prefix(task.user_id, task.id)):",
        "if False:",
        (EXPORTS, LEASES, ATTEMPTS),
    ),
    Mutation(
        "an erased account's files are removed",
        "chalicelib/accounts/accounts.py",
        "    removals.request_removal(session, user_id, now=now, lease_s=lease_s)\n",
        "",
        (REMOVALS,),
    ),
    Mutation(
        "a part is followed by a checkpoint",
        "worker/export/publication.py",
        "                attempt.checkpoint(writer.done(draft.rows), total, draft.to_json())\n",
        "",
        (ENGINE,),
    ),
    Mutation(
        "an upload that is gone is begun anew",
        "worker/export/publication.py",
        "except UploadGoneError:",
        "except ZeroDivisionError:",
        (ENGINE,),
    ),
    Mutation(
        "whoever begins anew still has the lease",
        "worker/export/publication.py",
        "        attempt.confirm()\n",
        "",
        (ENGINE,),
    ),
    Mutation(
        "the end is no place to go on",
        "worker/export/publication.py",
        "            if cursor is not None:\n"
        "                _upload_part(attempt, draft, cursor())",
        "            if len(draft.pending) >= draft.upload.part_bytes:\n"
        "                _upload_part(attempt, draft, cursor and cursor())",
        (ENGINE,),
    ),
    Mutation(
        "rows of a page that is too large are not left out",
        "worker/export/pages.py",
        "not (row.fits and row.rows",
        "not (row.rows",
        ("tests/unit/test_export_pages.py", "tests/integration/test_datasets.py"),
    ),
    Mutation(
        "what verify reads fast is written again",
        "worker/export/row_checks.py",
        """        if written.replace(b"\\n", b",\\n") != lines + b",\\n":
            return False
""",
        "",
        ("tests/unit/test_verify.py",),
    ),
    Mutation(
        "a resumed file has the digest of all of it",
        "worker/export/publication.py",
        'digest = taken_up(note.get("sha256"))',
        "digest = sha256()",
        (ENGINE,),
    ),
    Mutation(
        "an attempt's key has its claim",
        "chalicelib/exports/removals.py",
        'return f"{prefix(user_id, task_id)}{claim}/"',
        "return prefix(user_id, task_id)",
        (
            f"{RECONCILER}::test_removals_keep_what_a_live_task_names",
            RECONCILER,
            ENGINE,
            BOUNDARIES,
        ),
    ),
    Mutation(
        "an upload is begun once",
        "chalicelib/adapters/object_store.py",
        "self._s3_once.create_multipart_upload",
        "self._s3.create_multipart_upload",
        (BOUNDARIES,),
    ),
    Mutation(
        "whoever lost the claim cleans up",
        "worker/attempts.py",
        '{"cancelled", "failed", "claim_lost"}',
        '{"cancelled", "failed"}',
        (BOUNDARIES,),
    ),
    Mutation(
        "a job runs one function only",
        "chalicelib/adapters/job_queue.py",
        "self.func_name != FUNCTION or ",
        "",
        (f"{FORGED_JOBS}::test_forgeries_run_nothing", FORGED_JOBS),
    ),
    Mutation(
        "a job carries its task's id",
        "chalicelib/adapters/job_queue.py",
        "if list(self.args) != [self.id]:",
        "if False:",
        ("tests/integration/test_job_queue.py",),
    ),
    Mutation(
        "a message's claim is compared",
        "chalicelib/outbox/messages.py",
        'ROW.claim == sa.bindparam("fence")',
        'sa.bindparam("fence") > 0',
        (f"{OUTBOX}::test_a_late_sender_settles_nothing", OUTBOX),
    ),
    Mutation(
        "a message that is settled stays so",
        "chalicelib/outbox/messages.py",
        '    ROW.state == "sending",\n)',
        '    ROW.state != "",\n)',
        (f"{OUTBOX}::test_settled_for_good", OUTBOX, SENDER, RECONCILER),
    ),
    Mutation(
        "a message is claimed once",
        "chalicelib/outbox/messages.py",
        '.where(ROW.state == "pending", *which)',
        '.where(ROW.state.in_(("pending", "sending")), *which)',
        (f"{LEASES}::test_one_of_ten_emails", LEASES),
    ),
    Mutation(
        "a message's pause is waited for",
        "chalicelib/outbox/messages.py",
        "sa.or_(ROW.tries == 0, _IS_DUE))",
        "sa.true())",
        (f"{LEASES}::test_email_tried_again", SENDER, OUTBOX, LEASES),
    ),
    Mutation(
        "no more messages are claimed than asked for",
        "chalicelib/outbox/messages.py",
        "ROW.id.in_(sa.select(_DUE.c.id))",
        "ROW.id.in_(_DUE.element)",
        (f"{OUTBOX}::test_no_more_is_claimed_than_was_asked_for", OUTBOX),
    ),
    Mutation(
        "a message whose sender died is unknown",
        "chalicelib/outbox/messages.py",
        "if topic in REPEATABLE and tries < MAX_TRIES:",
        "if tries < MAX_TRIES:",
        (f"{OUTBOX}::test_a_sender_that_died", OUTBOX, RECONCILER),
    ),
    Mutation(
        "a link whose sender died is sent again",
        "chalicelib/outbox/messages.py",
        "if topic in REPEATABLE and tries < MAX_TRIES:",
        "if False:",
        (f"{OUTBOX}::test_a_sender_that_died", OUTBOX, RECONCILER),
    ),
    Mutation(
        "a link is not sent without end",
        "chalicelib/outbox/messages.py",
        "if topic in REPEATABLE and tries < MAX_TRIES:",
        "if topic in REPEATABLE:",
        (f"{OUTBOX}::test_a_sender_that_died", OUTBOX),
    ),
    Mutation(
        "a sender that is slow is not taken for dead",
        "chalicelib/outbox/messages.py",
        'ROW.state == "sending", ROW.lease_until < db_clock()',
        'ROW.state == "sending"',
        (OUTBOX, RECONCILER),
    ),
    Mutation(
        "a sender's lease is longer than its time limits",
        "worker/outbox/sender.py",
        "return max(wiring.settings.lease_s, LONGEST_S)",
        "return wiring.settings.lease_s",
        (f"{SENDER}::test_how_long_a_sender_has", SENDER),
    ),
    Mutation(
        "an email of unknown fate is not sent again",
        "worker/outbox/sender.py",
        'elif sent.state == "unknown" and message.topic in REPEATABLE:',
        'elif sent.state == "unknown":',
        (f"{SENDER}::test_asked_once", SENDER),
    ),
    Mutation(
        "a link of unknown fate is sent again",
        "worker/outbox/sender.py",
        'elif sent.state == "unknown" and message.topic in REPEATABLE:',
        "elif False:",
        (f"{SENDER}::test_a_link_is_sent_again", SENDER),
    ),
    Mutation(
        "an address is confirmed first",
        "worker/outbox/sender.py",
        "if needs_confirmed and not message.confirmed:",
        "if False:",
        (f"{RECOVERY}::test_unconfirmed_addresses_get_no_export", RECOVERY, OUTBOX),
    ),
    Mutation(
        "a confirmation since the claim counts",
        "chalicelib/outbox/messages.py",
        'sa.case((_of_user(_USER.confirmed_at.is_(None)), "unconfirmed"), else_="pending")',
        '"unconfirmed"',
        (f"{OUTBOX}::test_an_address_that_was_confirmed_just_now", OUTBOX),
    ),
    Mutation(
        "a confirmation releases what waits",
        "chalicelib/accounts/link_keys.py",
        "    messages.release_unconfirmed(session, user.id)\n",
        "",
        (f"{RECOVERY}::test_unconfirmed_addresses_get_no_export", RECOVERY),
    ),
    Mutation(
        "a confirmation releases the user's own",
        "chalicelib/outbox/messages.py",
        'ROW.user_id == user_id, ROW.state == "unconfirmed"',
        'ROW.state == "unconfirmed"',
        (f"{OUTBOX}::test_a_confirmation_releases_what_waits", RECOVERY, OUTBOX),
    ),
    Mutation(
        "a confirmation releases what waits alone",
        "chalicelib/outbox/messages.py",
        'ROW.user_id == user_id, ROW.state == "unconfirmed"',
        "ROW.user_id == user_id",
        (f"{OUTBOX}::test_a_confirmation_releases_what_waits", RECOVERY, OUTBOX),
    ),
    Mutation(
        "the email about a deleted file is withdrawn",
        "chalicelib/exports/files.py",
        "                messages.withdraw(session, export.email_id)",
        "                pass",
        (EXPORTS, OUTBOX, RECONCILER),
    ),
    Mutation(
        "the email about the past is withdrawn",
        "chalicelib/exports/publication.py",
        "        messages.withdraw(session, export.email_id)\n",
        "        pass\n",
        (f"{LEASES}::test_email_about_the_past_is_withdrawn", LEASES),
    ),
    Mutation(
        "what was sent is not withdrawn",
        "chalicelib/outbox/messages.py",
        'ROW.id == message_id, ROW.state.in_(("pending", "unconfirmed"))',
        "ROW.id == message_id",
        (f"{OUTBOX}::test_withdrawn", EXPORTS, TASKS, OUTBOX),
    ),
    Mutation(
        "an email goes where its owner is now",
        "chalicelib/outbox/messages.py",
        "sa.case((ROW.task_id.is_(None), ROW.address), else_=_of_user(_USER.email))",
        "sa.func.coalesce(ROW.address, _of_user(_USER.email))",
        (f"{OUTBOX}::test_addressed_anew", RECOVERY, OUTBOX, SENDER),
    ),
    Mutation(
        "a link goes where it was asked for",
        "chalicelib/outbox/messages.py",
        "sa.case((ROW.task_id.is_(None), ROW.address), else_=_of_user(_USER.email))",
        "_of_user(_USER.email)",
        (f"{RECOVERY}::test_the_old_address_is_told", RECOVERY, SENDER),
    ),
    Mutation(
        "a settled email is announced",
        "chalicelib/outbox/messages.py",
        "            elif self.task_id is not None and seq is not None:\n",
        "            elif False:\n",
        (f"{OUTBOX}::test_watchers_hear_what_became_of_an_email", OUTBOX),
    ),
    Mutation(
        "a lost answer is not asked for again",
        "chalicelib/adapters/email_service.py",
        'return "refused" if isinstance(error, never_asked) else "unknown"',
        'return "refused"',
        (f"{SENDER}::test_the_ledger_says_so", SENDER),
    ),
    Mutation(
        "an error of SES is not asked about again",
        "chalicelib/adapters/email_service.py",
        'return "unknown" if status >= 500',
        'return "refused" if status >= 500',
        (f"{SENDER}::test_the_ledger_says_so", SENDER),
    ),
    Mutation(
        "SES is asked once",
        "chalicelib/adapters/email_service.py",
        '"total_max_attempts": 1',
        '"total_max_attempts": 3',
        (f"{SENDER}::test_asked_once", SENDER, BOUNDARIES),
    ),
    Mutation(
        "a worker that stops finishes its email",
        "worker/child_process.py",
        """    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
""",
        "    try:\n",
        (f"{SENDER_PROCESS}::test_stopped_while_it_sends", SENDER_PROCESS),
    ),
    Mutation(
        "a pass recovers what died",
        "chalicelib/operations/reconciler.py",
        "self._recover(now),",
        "0,",
        (f"{RECONCILER}::test_dead_workers_task_is_recovered", RECONCILER),
    ),
    Mutation(
        "a pass recovers messages",
        "chalicelib/operations/reconciler.py",
        "messages.recover(self.database, now=now, most=MOST),",
        "0,",
        (f"{RECONCILER}::test_email_of_a_dead_sender_is_unknown", RECONCILER),
    ),
    Mutation(
        "a pass expires files",
        "chalicelib/operations/reconciler.py",
        "self._expire(now) +",
        "0 +",
        (f"{RECONCILER}::test_expired_file_is_removed", RECONCILER, EXPORTS),
    ),
    Mutation(
        "a pass enqueues what waits",
        "chalicelib/operations/reconciler.py",
        "self._enqueue(),",
        "0,",
        (f"{RECONCILER}::test_queued_task_without_a_job_gets_one", RECONCILER),
    ),
    Mutation(
        "a pass removes files",
        "chalicelib/operations/reconciler.py",
        "self._remove(now) +",
        "0 +",
        (f"{RECONCILER}::test_expired_file_is_removed", RECONCILER),
    ),
    Mutation(
        "a retry behind a request of the same kind is refused",
        "chalicelib/tasks/requests.py",
        "        _refuse_other(error, UNIQUE_VIOLATION)\n        return False",
        "        raise error",
        (RACES,),
    ),
    Mutation(
        "an export is not tried again without its hook",
        "chalicelib/tasks/requests.py",
        'ROW.status.in_(("failed", "cancelled")), SILENT)',
        'ROW.status.in_(("failed", "cancelled")), sa.or_(SILENT, sa.true()))',
        (TASKS, ENGINE),
    ),
    Mutation(
        "a task that begins anew has a new start",
        "chalicelib/tasks/requests.py",
        'dict.fromkeys(("started_at", "finished_at"',
        'dict.fromkeys(("finished_at"',
        (f"{TASKS}::test_retry", TASKS, LEASES),
    ),
    Mutation(
        "a task that begins anew has a new snapshot",
        "chalicelib/exports/publication.py",
        "    export.snapshot = export.object_key =",
        "    export.object_key =",
        (f"{TASKS}::test_retry_takes_the_export_anew", TASKS, LEASES, EXPORTS, ENGINE),
    ),
    Mutation(
        "whoever makes room goes to the end of the queue",
        "chalicelib/tasks/leases.py",
        "_RELEASE_TO_END if to_end else _RELEASE",
        "_RELEASE",
        (LEASES, ATTEMPTS),
    ),
    Mutation(
        "who cannot be claimed yet is no reason to make room",
        "chalicelib/tasks/leases.py",
        "        Task.due_at <= db_clock(),\n        ~is_paused",
        "        ~is_paused",
        (LEASES,),
    ),
    Mutation(
        "only a kind that can resume makes room",
        "worker/attempts.py",
        "self.kind.resumable and self._others",
        "self._others",
        (ATTEMPTS,),
    ),
    Mutation(
        "the checkpoint of another attempt saves none that is out of time",
        "chalicelib/tasks/leases.py",
        'may=ROW.checkpoint_claim == sa.bindparam("fence")',
        "may=ROW.checkpoint_claim.is_not(None)",
        (f"{LEASES}::test_out_of_time", LEASES),
    ),
    Mutation(
        "a checkpoint that stays where it is gets nobody on",
        "chalicelib/tasks/leases.py",
        "sa.case((_MOVED, ",
        "sa.case((sa.true(), ",
        (f"{LEASES}::test_out_of_time", LEASES),
    ),
    Mutation(
        "a claim without a hook is one of the kind that was named",
        "chalicelib/tasks/leases.py",
        '*CLAIMABLE, ROW.name == sa.bindparam("kind")), **',
        '*CLAIMABLE, sa.bindparam("kind") != ""), **',
        (f"{LEASES}::test_a_job_that_names_another_kind", LEASES),
    ),
    Mutation(
        "who gives up a task for good has its kind told",
        "chalicelib/tasks/leases.py",
        'if row is not None and row.status != "queued":',
        "if False:",
        (LEASES, EXPORTS),
    ),
    Mutation(
        "what a kind has to know of is not done at once",
        "chalicelib/tasks/leases.py",
        "sa.Boolean()), sa.and_(SILENT, UNSCHEDULED))",
        "sa.Boolean()), sa.and_(SILENT, UNSCHEDULED), sa.true())",
        (LEASES, EXPORTS),
    ),
    Mutation(
        "a scheduled task does not fail at once",
        "chalicelib/tasks/leases.py",
        "sa.and_(SILENT, UNSCHEDULED))",
        "SILENT)",
        (LEASES, SCHEDULES),
    ),
    Mutation(
        "a scheduled task does not succeed at once",
        "chalicelib/tasks/leases.py",
        'ROW.name == sa.bindparam("kind"), UNSCHEDULED, **',
        'ROW.name == sa.bindparam("kind"), **',
        (LEASES, SCHEDULES),
    ),
    Mutation(
        "on PostgreSQL, a change is announced",
        "chalicelib/tasks/transitions.py",
        "(changed.c[one.key] for one in columns)).add_cte(_posting(changed.c))",
        "(changed.c[one.key] for one in columns))",
        (f"{LEASES}::test_every_change_is_told", LEASES),
    ),
    Mutation(
        "of two requests with one key one launches a task",
        "chalicelib/tasks/requests.py",
        "sa.case((key.created_at <= old, statement.excluded[name]))",
        "statement.excluded[name]",
        (RACES,),
    ),
    Mutation(
        "a statement leaves with its Sync",
        "chalicelib/db/pipelines.py",
        "pipeline.command_queue[-1] == pipeline.pgconn.pipeline_sync:",
        "True:",
        (f"{PIPELINES}::test_a_statement_and_its_sync_are_one_message", PIPELINES),
    ),
    Mutation(
        "nothing follows the Sync of a pipeline",
        "chalicelib/db/pipelines.py",
        "flush=False",
        "flush=flush",
        (f"{PIPELINES}::test_nothing_follows_a_sync", PIPELINES),
    ),
    Mutation(
        "rows that are sent together leave with their Sync",
        "chalicelib/db/bounded.py",
        "super()._pipeline_nolock() as pipeline:\n            say_all_at_once(pipeline)",
        "super()._pipeline_nolock() as pipeline:",
        (f"{PIPELINES}::test_the_server_counts_the_silence_of_its_client", PIPELINES),
    ),
    Mutation(
        "what failed unanswered is not committed in silence",
        "chalicelib/db/pipelines.py",
        'raise _as_others("COMMIT", error, connection) from error',
        "pass",
        (PIPELINES,),
    ),
    Mutation(
        "on PostgreSQL, a settled email is announced",
        "chalicelib/outbox/messages.py",
        "return sa.select(changed.c.user_id).add_cte(told)",
        "return sa.select(changed.c.user_id)",
        (f"{OUTBOX}::test_watchers_hear_what_became_of_an_email", OUTBOX, LEASES),
    ),
    Mutation(
        "pauses double",
        "chalicelib/tasks/leases.py",
        "sa.case(_DOUBLED, value=ROW.failures, else_=MAX_PAUSE_S)",
        "sa.case((ROW.failures >= 0, 1))",
        (LEASES,),
    ),
    Mutation(
        "a cancelled task is not tried again",
        "chalicelib/tasks/leases.py",
        "goes_on = sa.and_(~is_cancelled, may)",
        "goes_on = may",
        (LEASES,),
    ),
    Mutation(
        "what a task does after its time is no outcome",
        "worker/attempts.py",
        "if attempt.clock() > attempt.deadline:",
        "if False:",
        (f"{ATTEMPTS}::test_whatever_comes_after_its_time", ATTEMPTS),
    ),
    Mutation(
        "a child that a task forked writes no outcome",
        "worker/attempts.py",
        "if os.getpid() != process:",
        "if False:",
        (f"{HOSTILE}::test_a_fork_that_returns",),
    ),
    Mutation(
        "a work horse that swallows the alarm is killed",
        "worker/runner.py",
        "now > watch.work.deadline + OVERTIME_S",
        "False",
        (f"{HOSTILE}::test_out_of_time",),
    ),
    Mutation(
        "a work horse that shows no sign of life is killed",
        "worker/runner.py",
        "watch.silent_s > self._wiring.settings.lease_s",
        "False",
        (f"{HOSTILE}::test_a_stopped_horse",),
    ),
    Mutation(
        "a worker that must stop waits for no task that does not hear it",
        "worker/runner.py",
        "now > self._stop_at",
        "False",
        (f"{HOSTILE}::test_sigterm_is_ignored",),
    ),
    Mutation(
        "what a task forked ends with its work horse",
        "worker/runner.py",
        "os.killpg(self.horse_pid, signal.SIGKILL)",
        "pass",
        (f"{HOSTILE}::test_a_fork_that_never_ends",),
    ),
    Mutation(
        "a job that is stopped is not tried again",
        "worker/runner.py",
        'if cause == "stop_job":',
        "if False:",
        (f"{HOSTILE}::test_stop_job",),
    ),
    Mutation(
        "a publication is in the audit",
        "infra/migrations/versions/0002_audit.py",
        "NEW.sha256 IS NOT NULL AND OLD.sha256 IS NULL",
        "1 = 0",
        (AUDIT,),
    ),
    Mutation(
        "a file that is gone is in the audit",
        "infra/migrations/versions/0002_audit.py",
        "NEW.gone_at IS NOT NULL AND OLD.gone_at IS NULL",
        "1 = 0",
        (AUDIT,),
    ),
    Mutation(
        "the fate of an email is in the audit",
        "infra/migrations/versions/0002_audit.py",
        "NEW.state IN ('sent', 'failed', 'unknown')",
        "NEW.state IN ('sent')",
        (AUDIT,),
    ),
    Mutation(
        "what is due is looked at again under the lock",
        "chalicelib/tasks/schedules.py",
        "_of(schedule_id, user_id).where(_DUE).with_for_update()",
        "_of(schedule_id, user_id)",
        (f"{SCHEDULES}::test_paused_after_it_was_seen_to_be_due", SCHEDULES),
    ),
    Mutation(
        "a run that was launched is settled",
        "chalicelib/tasks/schedules.py",
        "            schedule.settled_at = now\n        _plan_next(schedule)\n    if task_id",
        "            schedule.settled_at = planned[0]\n"
        "        _plan_next(schedule)\n    if task_id",
        (SCHEDULES,),
    ),
    Mutation(
        "a run is due by today's rules of its zone",
        "chalicelib/tasks/schedules.py",
        "if planned and planned[0] <= now:",
        "if planned:",
        (f"{SCHEDULES}::test_zone_whose_rules_have_changed", SCHEDULES),
    ),
    Mutation(
        "a paused schedule's runs are not caught up with",
        "chalicelib/tasks/schedules.py",
        "schedule.enabled, schedule.failures, schedule.settled_at = enabled, 0, now",
        "schedule.enabled, schedule.failures = enabled, 0",
        (f"{SCHEDULES}::test_time_while_paused_is_not_caught_up", SCHEDULES),
    ),
    Mutation(
        "one run fails once",
        "chalicelib/tasks/schedule_runs.py",
        '        ROW.counted_task_id.is_distinct_from(sa.bindparam("task")),\n',
        "",
        (f"{SCHEDULES}::test_one_run_fails_once", SCHEDULES),
    ),
    Mutation(
        "only its last task counts for a schedule",
        "chalicelib/tasks/schedule_runs.py",
        '    .where(ROW.id == sa.bindparam("about"), ROW.last_task_id == sa.bindparam("task"))\n',
        '    .where(ROW.id == sa.bindparam("task"))\n',
        (f"{SCHEDULES}::test_tasks_of_their_own_do_not_count", SCHEDULES),
    ),
    Mutation(
        "a failure is counted with the outcome",
        "chalicelib/tasks/outcomes.py",
        "    schedule_runs.note_end(session, task, now=now)\n",
        "",
        (f"{SCHEDULES}::test_three_failures_in_a_row", SCHEDULES),
    ),
    Mutation(
        "a paused kind is not claimed",
        "chalicelib/tasks/leases.py",
        "    ~is_paused(ROW.name),\n",
        "",
        (f"{PAUSES}::test_a_paused_kind_is_not_claimed", PAUSES),
    ),
    Mutation(
        "who is paused is no reason to make room",
        "chalicelib/tasks/leases.py",
        "        ~is_paused(Task.name),\n",
        "",
        (f"{PAUSES}::test_paused_tasks_make_nobody_wait", PAUSES),
    ),
    Mutation(
        "a suspended work horse takes no job",
        "worker/work_horse.py",
        "if suspended or self._must_end():",
        "if self._must_end():",
        (f"{WORK_HORSE}::test_suspended_while_a_horse_listens",),
    ),
    Mutation(
        "a suspended worker puts its job back",
        "worker/runner.py",
        "if is_suspended(self.connection):",
        "if False:",
        (f"{WORK_HORSE}::test_suspended_worker", WORK_HORSE),
    ),
    Mutation(
        "a paused kind is not enqueued",
        "chalicelib/operations/reconciler.py",
        "                ~is_paused(Task.name),\n",
        "",
        (f"{PAUSES}::test_resumed_at_once", PAUSES),
    ),
    Mutation(
        "a delivery's claim is compared",
        "chalicelib/outbox/deliveries.py",
        '    ROW.claim == sa.bindparam("fence"),\n',
        '    sa.bindparam("fence") > 0,\n',
        (f"{WEBHOOKS}::test_settled_for_good", WEBHOOKS),
    ),
    Mutation(
        "a delivery that is settled stays so",
        "chalicelib/outbox/deliveries.py",
        '    ROW.state == "sending",\n)',
        '    ROW.state != "",\n)',
        (f"{WEBHOOKS}::test_settled_for_good", WEBHOOKS),
    ),
    Mutation(
        "a delivery's claim has a number of its own",
        "chalicelib/outbox/deliveries.py",
        "claim=ROW.claim + 1",
        "claim=ROW.claim",
        (f"{WEBHOOKS}::test_made_again_after_its_sender_died", WEBHOOKS),
    ),
    Mutation(
        "a delivery's pause is waited for",
        "chalicelib/outbox/deliveries.py",
        "DUE_DELIVERIES, ROW.due_at <= db_clock(), ~_TO",
        "DUE_DELIVERIES, ~_TO",
        (f"{WEBHOOKS}::test_retried_with_growing_pauses_for_a_day", WEBHOOKS),
    ),
    Mutation(
        "one delivery at a time goes to a webhook",
        "chalicelib/outbox/deliveries.py",
        "~_TO_THE_SAME, ",
        "",
        (f"{WEBHOOKS}::test_one_at_a_time", WEBHOOKS),
    ),
    Mutation(
        "few deliveries at a time go to a user",
        "chalicelib/outbox/deliveries.py",
        ", _IN_PARALLEL < MOST_OF_A_USER",
        "",
        (f"{WEBHOOKS}::test_a_slow_receiver_holds_up_itself_alone", WEBHOOKS),
    ),
    Mutation(
        "whoever makes a delivery slowly is not taken for dead",
        "chalicelib/outbox/deliveries.py",
        "DELIVERIES_ON_THEIR_WAY, ROW.lease_until < db_clock()",
        "DELIVERIES_ON_THEIR_WAY",
        (f"{WEBHOOKS}::test_made_again_after_its_sender_died", WEBHOOKS),
    ),
    Mutation(
        "on PostgreSQL, a success forgives failures",
        "chalicelib/outbox/deliveries.py",
        "settled.c.first != is_sent",
        "~is_sent",
        (WEBHOOKS,),
    ),
    Mutation(
        "on PostgreSQL, a failure of a disabled webhook waits",
        "chalicelib/outbox/deliveries.py",
        "        locked.c.enabled,\n        sa.or_",
        "        sa.or_",
        (WEBHOOKS,),
    ),
    Mutation(
        "on PostgreSQL, a day of failures disables a webhook",
        "chalicelib/outbox/deliveries.py",
        "sa.or_(first_failure, locked",
        "sa.or_(sa.true(), locked",
        (WEBHOOKS,),
    ),
    Mutation(
        "on PostgreSQL, a delivery is given up after a day",
        "chalicelib/outbox/deliveries.py",
        '        ROW.created_at > db_clock(sa.bindparam("late_s", type_=sa.Float())),\n',
        '        sa.bindparam("late_s", type_=sa.Float()) < 0,\n',
        (WEBHOOKS,),
    ),
    Mutation(
        "a delivery is given up after a day",
        "chalicelib/outbox/deliveries.py",
        "pause_s = min(_pause_s(delivery.tries, answer), left.total_seconds())",
        "pause_s = _pause_s(delivery.tries, answer)",
        (f"{WEBHOOKS}::test_retried_with_growing_pauses_for_a_day", WEBHOOKS),
    ),
    Mutation(
        "a day of failures disables a webhook",
        "chalicelib/outbox/deliveries.py",
        "elif clock - webhook.failing_since >= DISABLED_AFTER:",
        "elif False:",
        (f"{WEBHOOKS}::test_a_success_forgives", WEBHOOKS),
    ),
    Mutation(
        "a success forgives failures",
        "chalicelib/outbox/deliveries.py",
        "        webhook.failing_since = None\n        return",
        "        return",
        (f"{WEBHOOKS}::test_a_success_forgives", WEBHOOKS),
    ),
    Mutation(
        "410 disables a webhook",
        "chalicelib/outbox/deliveries.py",
        "    if answer.status == GONE:\n",
        "    if False:\n",
        (f"{WEBHOOKS}::test_gone", WEBHOOKS),
    ),
    Mutation(
        "a failure of a disabled webhook waits",
        "chalicelib/outbox/deliveries.py",
        'if state == "pending" and not webhook.enabled:',
        "if False:",
        (f"{WEBHOOKS}::test_a_pause_keeps_what_is_on_its_way", WEBHOOKS),
    ),
    Mutation(
        "a pass recovers deliveries",
        "chalicelib/operations/reconciler.py",
        "deliveries.recover(self.database, now=now, most=MOST),",
        "0,",
        (f"{WEBHOOKS}::test_made_again_after_its_sender_died", WEBHOOKS),
    ),
    Mutation(
        "who sends emails makes no deliveries",
        "chalicelib/outbox/messages.py",
        "ROW.due_at <= db_clock(), _EMAILS)",
        "ROW.due_at <= db_clock())",
        (f"{WEBHOOKS}::test_emails_and_deliveries_do_not_mix", WEBHOOKS),
    ),
    Mutation(
        "who recovers emails recovers no deliveries",
        "chalicelib/outbox/messages.py",
        "ROW.lease_until < db_clock(), _EMAILS)",
        "ROW.lease_until < db_clock())",
        (f"{WEBHOOKS}::test_emails_and_deliveries_do_not_mix", WEBHOOKS),
    ),
    Mutation(
        "a delivery waits while its webhook is disabled",
        "chalicelib/outbox/webhooks.py",
        '    _move(session, webhook.id, "pending", "paused")\n',
        "",
        (f"{WEBHOOKS}::test_gone", WEBHOOKS),
    ),
    Mutation(
        "deliveries go with their webhook",
        "chalicelib/outbox/webhooks.py",
        "sa.delete(OutboxMessage).where(OutboxMessage.webhook_id == webhook_id)",
        "sa.delete(OutboxMessage).where(sa.false())",
        (WEBHOOKS,),
    ),
    Mutation(
        "webhooks are counted under the user's lock",
        "chalicelib/outbox/webhooks.py",
        "if (session.scalar(counted) or 0) >= MOST:",
        "if False:",
        (f"{WEBHOOK_API}::test_as_many_as_there_may_be", WEBHOOK_API),
    ),
    Mutation(
        "an event is an ending, not a task",
        "chalicelib/outbox/webhooks.py",
        "event_id = f\"{task['id']}-{timestamp:%Y%m%d%H%M%S%f}\"",
        'event_id = task["id"]',
        (f"{WEBHOOKS}::test_the_same_event_has_the_same_id", WEBHOOKS),
    ),
    Mutation(
        "only what was asked for is delivered",
        "infra/migrations/versions/0007_webhooks.py",
        """ AND instr(events, '\\"task.' || NEW.status || '\\"') > 0""",
        "",
        (f"{WEBHOOKS}::test_only_what_was_asked_for", WEBHOOKS),
    ),
    Mutation(
        "nothing is noted for a disabled webhook",
        "infra/migrations/versions/0007_webhooks.py",
        '"user_id = NEW.user_id AND enabled AND instr',
        '"user_id = NEW.user_id AND instr',
        (f"{WEBHOOKS}::test_only_what_was_asked_for", WEBHOOKS),
    ),
    Mutation(
        "what becomes of deliveries is in the audit",
        "infra/migrations/versions/0007_webhooks.py",
        "NEW.state IN ('sent', 'failed')",
        "1 = 0",
        (f"{WEBHOOKS}::test_the_audit", WEBHOOKS),
    ),
    Mutation(
        "every address of a name is checked",
        "worker/outbox/http_client.py",
        "not all(is_public(address) for address in addresses)",
        "not any(is_public(address) for address in addresses)",
        (f"{HTTP_CLIENT}::test_a_name_with_such_an_address", HTTP_CLIENT),
    ),
    Mutation(
        "addresses are checked",
        "worker/outbox/http_client.py",
        "if not self.private and not all",
        "if False and not all",
        (f"{HTTP_CLIENT}::test_no_spelling_is_connected_to", HTTP_CLIENT),
    ),
    Mutation(
        "what was checked is connected to",
        "worker/outbox/http_client.py",
        "self.connect(address, to.port, deadline.left_s())",
        "self.connect(self.resolve(to.host, to.port)[0], to.port, deadline.left_s())",
        (f"{HTTP_CLIENT}::test_a_name_that_changes_its_mind", HTTP_CLIENT),
    ),
    Mutation(
        "an answer is read up to a limit",
        "worker/outbox/http_client.py",
        "        self._left -= count\n",
        "",
        (f"{HTTP_CLIENT}::test_an_answer_without_end", HTTP_CLIENT),
    ),
    Mutation(
        "the limit is for the whole answer",
        "worker/outbox/http_client.py",
        "        self._connection.settimeout(self._deadline.left_s())\n",
        "",
        (f"{HTTP_CLIENT}::test_a_receiver_that_drips", HTTP_CLIENT),
    ),
    Mutation(
        "certificates are verified",
        "worker/outbox/http_client.py",
        "    context.set_alpn_protocols",
        "    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE\n"
        "    context.set_alpn_protocols",
        (f"{HTTP_CLIENT}::test_tls", HTTP_CLIENT),
    ),
    Mutation(
        "mapped addresses are unwrapped",
        "chalicelib/values/addresses.py",
        "        return _is_public_v4(address.ipv4_mapped)",
        "        return True",
        (ADDRESSES,),
    ),
    Mutation(
        "NAT64 is unwrapped",
        "chalicelib/values/addresses.py",
        "        return _is_public_v4(IPv4Address(int(address) & 0xFFFFFFFF))",
        "        return True",
        (ADDRESSES,),
    ),
    Mutation(
        "multicast is refused",
        "chalicelib/values/addresses.py",
        "if address.is_multicast or address.is_reserved:",
        "if address.is_reserved:",
        (ADDRESSES,),
    ),
    Mutation(
        "a URL has no user name",
        "chalicelib/values/addresses.py",
        'if "@" in parts.netloc:',
        "if False:",
        (ADDRESSES,),
    ),
    Mutation(
        "plain http is refused when a delivery is made, too",
        "worker/outbox/webhook.py",
        'if destination.scheme != "https" and not',
        "if False and not",
        (f"{WEBHOOK_API}::test_a_setting_that_changes", WEBHOOK_API),
    ),
    Mutation(
        "the time is signed",
        "worker/outbox/webhook.py",
        'f"{event_id}.{at}.".encode()',
        'f"{event_id}.".encode()',
        (f"{WEBHOOKS}::test_verified_by_its_own_library", WEBHOOKS),
    ),
    Mutation(
        "a worker that stops finishes its deliveries",
        "worker/outbox/webhook_process.py",
        "        wait(self._on_their_way, timeout=FINISH_S)",
        "        pass",
        (f"{WEBHOOK_PROCESS}::test_stopped_while_it_delivers", WEBHOOK_PROCESS),
    ),
    Mutation(
        "what the account holds of the file's time is compared",
        "chalicelib/imports/publication.py",
        "    if not _meets(session, target, user_id=user_id, number=number):\n",
        "    if True:\n",
        (f"{IMPORTS}::test_again_adds_nothing", IMPORTS),
    ),
    Mutation(
        "equal rows are counted by the indexes",
        "chalicelib/imports/publication.py",
        "enough <= before.correlate(ImportRow).scalar_subquery()",
        "enough >= 0",
        (f"{IMPORTS}::test_again_adds_nothing", IMPORTS),
    ),
    Mutation(
        "equal rows are counted where many share a moment",
        "chalicelib/imports/publication.py",
        "ranked.c.rank > 2 * ranked.c.held",
        "ranked.c.rank > ranked.c.held",
        (f"{IMPORTS}::test_many_at_one_moment", IMPORTS),
    ),
    Mutation(
        "two imports of a user publish one after another",
        "chalicelib/imports/publication.py",
        "        session.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK | user_id)))\n",
        "",
        (f"{IMPORTS}::test_two_publications", IMPORTS),
    ),
    Mutation(
        "rows are staged with the checkpoint that covers them",
        "worker/tasks/import_file.py",
        "attempt.checkpoint(*progress, staged.to_json(), write=write)",
        "attempt.checkpoint(*progress, staged.to_json())",
        (f"{IMPORTS}::test_it_goes_on_where_it_was_killed", IMPORTS),
    ),
    Mutation(
        "an import goes on from its checkpoint",
        "worker/tasks/import_file.py",
        "Staged.from_json(attempt.task.checkpoint)",
        "Staged.from_json(None)",
        (f"{IMPORTS}::test_it_goes_on_where_it_was_killed", IMPORTS),
    ),
    Mutation(
        "what is read is what was started",
        "chalicelib/adapters/object_store.py",
        ", IfMatch=etag\n",
        "\n",
        (f"{IMPORTS}::test_another_file_in_its_place", IMPORTS),
    ),
    Mutation(
        "an import beyond the quota is none",
        "chalicelib/imports/kinds.py",
        "if held > outcome.quota_bytes:",
        "if False:",
        (f"{IMPORTS}::test_quota", IMPORTS),
    ),
    Mutation(
        "an import that failed is over",
        "chalicelib/imports/kinds.py",
        "        raise ImportGone\n",
        "",
        (f"{IMPORTS}::test_an_import_is_not_tried_again", IMPORTS),
    ),
    Mutation(
        "an import that succeeded has its upload removed",
        "chalicelib/imports/kinds.py",
        """        super().on_success(session, task, outcome, lease_s=lease_s, now=now)
        uploads.end(session, _upload_of(session, task), now=now, lease_s=lease_s)
""",
        """        super().on_success(session, task, outcome, lease_s=lease_s, now=now)
""",
        (f"{IMPORTS}::test_posts_come_in", IMPORTS),
    ),
    Mutation(
        "an import that ended badly has its upload removed",
        "chalicelib/imports/kinds.py",
        """        \"\"\"Keep nothing.\"\"\"
        uploads.end(session, _upload_of(session, task), now=now, lease_s=lease_s)
""",
        """        \"\"\"Keep nothing.\"\"\"
""",
        (f"{IMPORTS}::test_unknown_formats_fail", IMPORTS),
    ),
    Mutation(
        "a cancelled publication is interrupted",
        "worker/attempts.py",
        "            if heartbeat.reason is not None:\n                stop()",
        "            if False:\n                stop()",
        ("tests/integration/test_import_interruption.py",),
    ),
)


def copy_tree(folder: Path) -> Path:
    """Copy the project; return where."""
    copy = folder / "tree"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return copy


def killers(tree: Path, ready: Path, mutation: Mutation) -> str:
    """Apply a mutation, run its tests, take it back.

    Args:
        tree: A copy of the project.
        ready: What runs its tests; see `warm`.
        mutation: What to take out.

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
        return _first_failure(ready, mutation.tests)
    finally:
        path.write_text(source, "utf-8")


def _first_failure(ready: Path, tests: Sequence[str]) -> str:
    # Most that a test on PostgreSQL notices one on SQLite does, in a fraction of the time.
    for test, which in product(tests, ("not postgresql", "postgresql")):
        arguments = ["-x", "-q", "-p", "no:cacheprovider", "-k", which, test]
        status, lines = warm.run(ready, arguments)
        if status not in {0, 1, NOTHING_SELECTED}:
            raise ValueError(f"pytest ended with {status}: {lines[-1:]}")
        failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
        if failed:
            return failed[0]
    return ""
