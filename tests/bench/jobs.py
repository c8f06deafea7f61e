"""Whole exports in a warm worker's place: beside their own parts, and beside the chapter's."""

import functools
from collections.abc import Iterator
from dataclasses import replace

from tests.bench import seeds
from tests.bench.bench import Bench
from tests.bench.figures import Bound, Row
from tests.bench.ground import Child, Environment, in_turns
from worker.attempts import PROGRESS_INTERVAL_S

DATABASE = "postgresql"
CHAPTER_FACTOR = 500
CHAPTER_AT = 5_000
"""At so many posts the bound holds; the chapter's algorithm is quadratic."""

BIG = 1_000_000
AGAINST_PARTS = {"stub": 1.3, "moto": 1.6}
"""How many times the larger of engine alone and upload alone a million posts may take."""

WITHIN_MS = {1_000: 60.0, 10_000: 170.0}
"""Worker time of small exports against moto, on the machine of the README's table."""

PROGRESS_SHARE = 0.01
"""How much of its time an export may spend on telling how far it is."""

SMALL = 10_000
FLAT = 1.1


def chapter(bench: Bench) -> Iterator[Row]:
    """The chapter's algorithm beside our whole job, mail included."""
    environment = bench.ground.environment("sqlite")
    ledger = bench.ground.wiring(environment).database
    with bench.ground.child(environment) as ours, bench.ground.child(environment) as theirs:
        ours.measure("subjects.warm")
        for count in bench.sizes.chapter:
            bench.say(f"the chapter's algorithm with {count:,} posts")
            user_id = seeds.make_users(ledger, 1)[0]
            seeds.make_posts(ledger, [user_id], count)
            file = bench.ground.folder / f"chapter-{count}.db"
            whole = [ours.seconds("subjects.whole", user_id=user_id) for _ in range(3)]
            slow = theirs.seconds("chapter.measure", file=str(file), user_id=user_id)
            whole += [ours.seconds("subjects.whole", user_id=user_id) for _ in range(3)]
            yield Row(
                group="chapter",
                name=f"whole job, {count:,} posts on SQLite",
                unit="s",
                samples=whole,
                peer="the chapter's algorithm",
                peer_samples=[slow],
                faster=True,
                bound=Bound(CHAPTER_FACTOR, least=True) if count == CHAPTER_AT else None,
                note="its pause and its mail left out",
                facts={"chapter_posts_a_second": count / slow},
            )


def rows(bench: Bench) -> Iterator[Row]:
    """Whole jobs against the stub and against moto, beside engine and upload alone."""
    environment = bench.ground.environment(DATABASE)
    ledger = bench.ground.wiring(environment).database
    users = {}
    for count in bench.sizes.jobs:
        bench.say(f"writing {count:,} posts")
        users[count] = seeds.make_users(ledger, 1)[0]
        seeds.make_posts(ledger, [users[count]], count)
    seeds.settle(ledger)
    yield _progress(bench, environment, next(iter(users.values())))
    for name in bench.sizes.against:
        joined = {**environment, "AWS_ENDPOINT_URL": bench.ground.aws(name)}
        with bench.ground.child(joined) as parts:
            parts.measure("subjects.warm")
            yield from _against(bench, name, joined, users, parts)


def _progress(bench: Bench, environment: Environment, user_id: int) -> Row:
    bench.say("progress")
    rounds, times = bench.sizes.small_rounds, 20
    with bench.ground.child(environment) as child:
        child.measure("subjects.warm")
        told = [
            1000 * child.seconds("subjects.progress", user_id=user_id, times=times)
            for _ in range(rounds)
        ]
    return Row(
        group="jobs",
        name="progress, written once",
        unit="ms",
        samples=told,
        peer="the time between two",
        peer_samples=[1000 * PROGRESS_INTERVAL_S],
        bound=Bound(PROGRESS_SHARE),
    )


def _against(
    bench: Bench, name: str, environment: Environment, users: dict[int, int], parts: Child
) -> Iterator[Row]:
    peaks = {}
    for count, user_id in users.items():
        bench.say(f"whole jobs with {count:,} posts against {name}")
        with bench.ground.child(environment) as child:
            child.measure("subjects.warm")
            first = child.measure("subjects.whole", user_id=user_id)
            peaks[count] = first["peak_mib"]
            size_bytes = first["bytes"]
            cpu_s: list[float] = []
            whole, engine, upload = in_turns(
                bench.sizes.small_rounds if count <= SMALL else bench.sizes.rounds,
                functools.partial(_whole, child, user_id, cpu_s),
                functools.partial(parts.seconds, "subjects.engine", user_id=user_id),
                functools.partial(parts.seconds, "subjects.upload", size_bytes=size_bytes),
            )
        row = _row(name, count, whole=whole, engine=engine, upload=upload)
        yield replace(row, facts={**row.facts, "whole_cpu_s": cpu_s})
    small, large = _memory_sizes(list(users))
    yield Row(
        group="jobs",
        name=f"peak memory, whole job, {large:,} posts, {name}",
        unit="MiB",
        samples=[peaks[large]],
        peer=f"{small:,} posts",
        peer_samples=[peaks[small]],
        bound=Bound(FLAT),
        note="Python, libraries, mail and attachment included",
        facts={"peak_mib_by_posts": {str(count): peak for count, peak in peaks.items()}},
    )


def _whole(child: Child, user_id: int, cpu_s: list[float]) -> float:
    figures = child.measure("subjects.whole", user_id=user_id)
    cpu_s.append(figures["cpu_s"])
    return float(figures["seconds"])


def _memory_sizes(counts: list[int]) -> tuple[int, int]:
    """A large size, and a small one that is still more than a mail holds."""
    return next((count for count in counts if count >= SMALL), counts[0]), counts[-1]


def _row(
    name: str, count: int, *, whole: list[float], engine: list[float], upload: list[float]
) -> Row:
    larger = [max(pair) for pair in zip(engine, upload, strict=True)]
    bound, peer, beside = None, "engine alone", engine
    if count == BIG:
        bound, peer, beside = Bound(AGAINST_PARTS[name]), "the larger of engine and upload", larger
    elif name == "moto" and count in WITHIN_MS:
        bound = Bound(WITHIN_MS[count], of="value")
    return Row(
        group="jobs",
        name=f"whole job, {count:,} posts, {name}",
        unit="ms",
        samples=[1000 * one for one in whole],
        peer=peer,
        peer_samples=[1000 * one for one in beside],
        bound=bound,
        facts={"engine_s": engine, "upload_s": upload},
    )
