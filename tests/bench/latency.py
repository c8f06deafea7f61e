"""How long people wait: for an answer of the API, and for their mail."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from app import app
from chalicelib.wiring import Wiring
from tests.bench.bench import NAMES, Bench, Environment
from tests.bench.figures import Bound, Row
from tests.bench.worker_pool import Carryout
from tests.harness import seeds
from tests.harness.events import proxy_event
from tests.harness.ledgers import the_email
from tests.harness.proxies import Proxy, to_port, to_socket
from tests.harness.waiting import wait_until

POSTS = 100
MEDIAN_MS = 30.0
P99_MS = 60.0
WARM_UP = 3

DELAY_S = 0.001
"""What a round trip takes between two zones of a region of AWS, about."""

POST_FACTOR = 1.5
"""How many times a bare route that authenticates, too, `POST /v1/exports` may take."""

BARE_FACTOR = 2.0
"""How many times a bare route that asks nobody who they are."""

BARE = "bare Chalice: SELECT, INSERT, COMMIT, enqueue"

ANSWERS: Sequence[tuple[str, str, str, str, float | None]] = (
    ("POST /v1/exports", "post", BARE + "; token, too", "bare_known_post", POST_FACTOR),
    ("POST /v1/exports", "post", BARE, "bare_post", BARE_FACTOR),
    ("GET /v1/tasks/{id}", "poll", "bare Chalice: SELECT", "bare_poll", None),
    ("GET /v1/notifications", "news", "bare Chalice: SELECT", "bare_news", None),
)


def rows(bench: Bench) -> Iterator[Row]:
    """Answers beside bare routes, on both databases; then from the request to the email."""
    for database, name in NAMES.items():
        bench.say(f"{name}: answers beside bare routes")
        with bench.child(bench.environment(database)) as child:
            figures = child("answers.compare", count=bench.sizes.answers)
        for what, key, peer, peer_key, factor in ANSWERS:
            yield Row(
                group="latency",
                name=f"{what} as Lambda calls it, {name}",
                unit="ms",
                samples=figures[key],
                peer=peer,
                peer_samples=figures[peer_key],
                bound=Bound(factor) if factor else None,
                note="authentication included",
            )
    for name in bench.sizes.against:
        bench.say(f"from request to mail against {name}")
        environment = bench.environment("postgresql", aws=name)
        yield from _idle(bench, environment, f"idle stack, {name}")
    bench.say("from request to mail, servers that are far away")
    with _far_away(bench.environment("postgresql")) as far:
        what = f"idle stack, stub, {1000 * DELAY_S:.0f} ms more on each round trip"
        yield from _idle(bench, far, what, bounded=False)


@contextmanager
def _far_away(environment: Environment) -> Iterator[Environment]:
    """Settings with proxies before PostgreSQL and Redis, which answer later, as on AWS."""
    database = sa.make_url(environment["DATABASE_URL"])
    redis = urlsplit(environment["REDIS_URL"])
    socket = f"{database.query['host']}/.s.PGSQL.{database.port or 5432}"
    with (
        closing(Proxy(to_socket(socket))) as sql,
        closing(Proxy(to_port(redis.port or 0))) as hints,
    ):
        sql.delay_s = hints.delay_s = DELAY_S
        through = database.set(host="127.0.0.1", port=sql.port, query={})
        yield {
            **environment,
            "DATABASE_URL": through.render_as_string(hide_password=False),
            "REDIS_URL": redis._replace(netloc=f"127.0.0.1:{hints.port}").geturl(),
        }


def _idle(
    bench: Bench, environment: Environment, where: str, *, bounded: bool = True
) -> Iterator[Row]:
    wiring = bench.wiring(environment)
    user_id = seeds.make_users(wiring.database, 1)[0]
    seeds.make_posts(wiring.database, [user_id], POSTS)
    token = seeds.make_tokens(wiring.database, [user_id])[0]
    warm_up = min(WARM_UP, bench.sizes.idle)
    pool = Carryout(bench, environment, workers=1)
    try:
        pool.start()
        samples = [_mailed_after_ms(wiring, token) for _ in range(warm_up + bench.sizes.idle)]
    finally:
        pool.stop()
    samples = samples[warm_up:]
    ordered = sorted(samples)
    p99 = ordered[math.ceil(0.99 * len(ordered)) - 1]
    what = f"from request to mail, {POSTS} posts, {where}"
    bounds = (("median", samples, MEDIAN_MS), ("99th percentile", [p99], P99_MS))
    for figure, found, limit in bounds:
        yield Row(
            group="latency",
            name=f"{what}: {figure}",
            unit="ms",
            samples=found,
            bound=Bound(limit, of="value") if bounded else None,
            facts={"of": len(ordered)},
        )


def _mailed_after_ms(wiring: Wiring, token: str) -> float:
    """Ask for an export as Lambda would; return when SES took its email, by the ledger."""
    app.wiring = wiring
    headers = {"Authorization": f"Bearer {token}"}
    began = datetime.now(UTC)
    answer = app(proxy_event("POST", "/v1/exports", headers=headers), None)
    task_id = json.loads(answer["body"])["id"]

    def sent_at() -> Any:
        email = the_email(wiring.database, task_id)
        return email and email.sent_at

    moment: datetime = wait_until(sent_at, "the email is out", within_s=60)
    return 1000 * (moment - began).total_seconds()
