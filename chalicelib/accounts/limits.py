"""All limits in one table, from which SECURITY.md's is made; a test holds every route to it."""

from dataclasses import dataclass

from chalicelib.accounts import accounts, passwords, rate_limits
from chalicelib.accounts.rate_limits import Rate
from chalicelib.imports import uploads
from chalicelib.outbox import allowances

ALL = "every route but /healthz"
SIGN_IN = ("POST /v1/tokens", "POST /sign-in")
PROOFS = (
    "PATCH /v1/me",
    "POST /v1/me/erasure",
    "PUT /v1/me/password",
    "POST /account",
    "POST /account/erase",
    "POST /account/password",
)
SIGN_UP = ("POST /v1/users", "POST /sign-up", "POST /try")
RESET = ("POST /v1/passwords", "POST /new-password")
FORGOT = ("POST /v1/password-resets", "POST /forgot")
CONFIRM = ("POST /v1/me/confirmation", "POST /account/confirmation")
LAUNCH = (
    "POST /v1/exports",
    "POST /v1/tasks",
    "POST /v1/tasks/{task_id}/retry",
    "POST /exports",
    "POST /tasks/{task_id}/retry",
)
EMAIL_AGAIN = ("POST /v1/exports/{task_id}/mail", "POST /exports/{task_id}/mail")
IMPORT = ("POST /v1/imports", "POST /imports")
START = ("POST /v1/imports/{import_id}/start", "POST /imports/{import_id}/start")
DELIVER = tuple(
    f"POST {folder}/{{webhook_id}}/{act}"
    for folder in ("/v1/webhooks", "/webhooks")
    for act in ("test", "deliveries/{number}/redeliver")
)
HELD = ("GET /v1/tasks/{task_id}", "GET /v1/notifications")


@dataclass(frozen=True)
class Limit:
    """A limit.

    Attributes:
        what: What is counted.
        by: Whom it is counted by.
        most: How much there may be, with its window.
        answer: What comes of one more.
        without_redis: What counts while Redis is away.
        routes: The routes that it holds.
        topics: The topics of emails that it holds.
        counted: What its refusals are called where they are counted; nothing where they are not.
    """

    what: str
    by: str
    most: str
    answer: str
    without_redis: str
    routes: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()


def _of(rate: Rate) -> str:
    return _in(rate.most, rate.window_s)


def _in(most: int, window_s: int) -> str:
    minutes = window_s // 60
    return f"{most:,} in {'a minute' if minutes == 1 else f'{minutes} minutes'}"


_429, _NOBODY, _LEDGER, _PROCESS = "429", "nobody", "the ledger", "the process"

LIMITS = (
    Limit(
        "connections to a server of one's own",
        "network, without a proxy",
        "256 at a time",
        "the one that has waited longest is closed",
        _PROCESS,
        (ALL,),
    ),
    Limit(
        "connections to a server of one's own",
        "all",
        "4,000 at a time",
        "the one that has waited longest is closed",
        _PROCESS,
        (ALL,),
    ),
    Limit(
        "seconds for a head, and for each 64 KiB of a body or an answer",
        "connection",
        "20",
        "closed",
        _PROCESS,
        (ALL,),
    ),
    Limit(
        "unfinished bodies",
        "all",
        "256 MiB at a time",
        "the longest is closed",
        _PROCESS,
        (ALL,),
    ),
    Limit(
        "answers that nobody takes",
        "all",
        "64 MiB at a time",
        "the one that has waited longest is closed",
        _PROCESS,
        (ALL,),
    ),
    Limit(
        "requests",
        "user",
        _of(rate_limits.REQUESTS_PER_USER),
        _429,
        _NOBODY,
        (ALL,),
        counted=(rate_limits.REQUESTS_PER_USER.name, rate_limits.REQUESTS_PER_TOKEN.name),
    ),
    Limit(
        "requests",
        "network",
        _of(rate_limits.REQUESTS_PER_ADDRESS),
        _429,
        _NOBODY,
        (ALL,),
        counted=(rate_limits.REQUESTS_PER_ADDRESS.name,),
    ),
    Limit(
        "held requests",
        "user",
        f"{rate_limits.LONG_POLLS_PER_USER} at a time",
        "answered at once",
        _PROCESS,
        HELD,
    ),
    Limit(
        "held requests",
        "network",
        f"{rate_limits.LONG_POLLS_PER_NETWORK} at a time",
        "answered at once",
        _PROCESS,
        HELD,
    ),
    Limit("held requests", "all", "2,000 at a time", "answered at once", _PROCESS, HELD),
    Limit(
        "wrong passwords",
        "account and network",
        _in(rate_limits.PER_ACCOUNT, rate_limits.WINDOW_S),
        _429,
        _LEDGER,
        SIGN_IN + PROOFS,
        counted=("wrong-passwords:pair",),
    ),
    Limit(
        "wrong passwords",
        "network",
        _in(rate_limits.PER_ADDRESS, rate_limits.WINDOW_S),
        _429,
        _LEDGER,
        SIGN_IN + PROOFS,
        counted=("wrong-passwords:network",),
    ),
    Limit(
        "wrong passwords",
        "account, from networks where it was not signed in to for 30 days",
        f"{_in(rate_limits.ANYWHERE, rate_limits.WINDOW_S)}, then pauses that double up to "
        f"{rate_limits.LONGEST_PAUSE_S} s",
        _429,
        _NOBODY,
        SIGN_IN + PROOFS,
        counted=("wrong-passwords:account",),
    ),
    Limit(
        "passwords hashed",
        "network",
        _of(rate_limits.HASHES_PER_NETWORK),
        _429,
        _NOBODY,
        SIGN_IN + PROOFS + SIGN_UP + RESET,
        counted=(rate_limits.HASHES_PER_NETWORK.name,),
    ),
    Limit(
        "passwords hashed",
        "all",
        f"two for each core at a time, {passwords.MOST_WAITING} that wait",
        "503",
        _PROCESS,
        SIGN_IN + PROOFS + SIGN_UP + RESET,
    ),
    Limit("tokens", "user", str(accounts.MOST_TOKENS), "the oldest ends", _LEDGER, SIGN_IN),
    Limit(
        "accounts created",
        "network",
        _of(rate_limits.SIGN_UPS_PER_NETWORK),
        _429,
        _NOBODY,
        SIGN_UP,
        counted=(rate_limits.SIGN_UPS_PER_NETWORK.name,),
    ),
    Limit(
        "resets",
        "network",
        _of(rate_limits.RESETS_PER_NETWORK),
        _429,
        _NOBODY,
        FORGOT,
        counted=(rate_limits.RESETS_PER_NETWORK.name,),
    ),
    Limit(
        "emails about accounts",
        "mailbox (without `+label`) that nobody has confirmed",
        _in(allowances.TO_STRANGER, allowances.WINDOW_S),
        "429, or none is sent",
        _LEDGER,
        SIGN_UP + FORGOT + CONFIRM + ("PATCH /v1/me", "POST /account"),
        ("confirm", "reset", "moved"),
    ),
    Limit(
        "emails about accounts",
        "confirmed mailbox",
        f"{_in(allowances.TO_OWNER, allowances.WINDOW_S)}, "
        f"{allowances.TO_OWNER_FROM_NETWORK} of them because of one network",
        "none is sent",
        _LEDGER,
        FORGOT,
        ("reset",),
    ),
    Limit(
        "emails about accounts",
        "user",
        _in(allowances.BY_USER, allowances.WINDOW_S),
        _429,
        _LEDGER,
        (*CONFIRM, "PATCH /v1/me", "POST /account"),
        ("confirm", "moved"),
    ),
    Limit(
        "emails about accounts",
        "network",
        _in(allowances.FROM_NETWORK, allowances.WINDOW_S),
        "429, or none is sent",
        _LEDGER,
        SIGN_UP + FORGOT + CONFIRM + ("PATCH /v1/me", "POST /account"),
        ("confirm", "reset", "moved"),
    ),
    Limit(
        "exports, retries among them",
        "user",
        _of(rate_limits.EXPORTS_PER_USER),
        _429,
        _NOBODY,
        LAUNCH,
        ("export",),
        counted=(rate_limits.EXPORTS_PER_USER.name,),
    ),
    Limit(
        "tasks in progress",
        "account without a confirmed address",
        "one at a time",
        "409",
        _LEDGER,
        LAUNCH,
    ),
    Limit(
        "emails asked for",
        "user",
        _of(rate_limits.EMAILS_PER_USER),
        _429,
        _NOBODY,
        EMAIL_AGAIN + CONFIRM,
        ("export", "confirm"),
        counted=(rate_limits.EMAILS_PER_USER.name,),
    ),
    Limit(
        "uploads",
        "user",
        _of(rate_limits.IMPORTS_PER_USER),
        _429,
        _NOBODY,
        IMPORT,
        counted=(rate_limits.IMPORTS_PER_USER.name,),
    ),
    Limit(
        "tasks",
        "user",
        _of(rate_limits.TASKS_PER_USER),
        _429,
        _NOBODY,
        LAUNCH + START,
        counted=(rate_limits.TASKS_PER_USER.name,),
    ),
    Limit(
        "deliveries asked for",
        "user",
        _of(rate_limits.DELIVERIES_PER_USER),
        _429,
        _NOBODY,
        DELIVER,
        counted=(rate_limits.DELIVERIES_PER_USER.name,),
    ),
    Limit(
        "uploads that wait to be started",
        "user",
        str(uploads.MOST_WAITING),
        "the oldest is given up",
        _LEDGER,
        IMPORT,
    ),
)


def table() -> str:
    """The table as SECURITY.md has it."""
    rows = [
        "| what | by | how much | one more | while Redis is away |",
        "|---|---|---|---|---|",
        *(
            f"| {one.what} | {one.by} | {one.most} | {one.answer} | {one.without_redis} |"
            for one in LIMITS
        ),
    ]
    return "\n".join(rows)
