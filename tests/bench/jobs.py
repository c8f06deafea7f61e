"""Whole exports in a warm worker's place: beside their own parts, and beside the chapter's."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from tests.bench.bench import Bench, Environment, Measure, in_turns, seconds
from tests.bench.figures import Bound, Row, memory
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


def chapter(bench: Bench) -> Iterator[Row]:
    """The chapter's algorithm beside our whole job, mail included."""
    environment = bench.environment("sqlite")
    users = bench.authors(bench.wiring(environment).database, bench.sizes.chapter)
    with bench.child(environment) as ours, bench.child(environment) as theirs:
        for count, user_id in users.items():
            bench.say(f"the chapter's algorithm with {count:,} posts")
            file = str(bench.servers.folder / f"chapter-{count}.db")
            whole = [seconds(ours, "measurements.whole", user_id=user_id) for _ in range(3)]
            slow = seconds(theirs, "chapter.measure", file=file, user_id=user_id)
            whole += [seconds(ours, "measurements.whole", user_id=user_id) for _ in range(3)]
            yield Row(
                group="chapter",
                name=f"whole job, {count:,} posts on SQLite",
                unit="s",
                samples=whole,
                peer="the chapter's algorithm",
                peer_samples=[slow],
                faster=True,
                bound=Bound(CHAPTER_FACTOR, least=True) if count == CHAPTER_AT else None,
                note="its pause and its email left out",
                facts={"chapter_posts_a_second": count / slow},
            )


def rows(bench: Bench) -> Iterator[Row]:
    """Whole jobs against the stub and against moto, beside engine and upload alone."""
    environment = bench.environment(DATABASE)
    users = bench.authors(bench.wiring(environment).database, bench.sizes.jobs)
    yield _progress(bench, environment, next(iter(users.values())))
    for name in bench.sizes.against:
        joined = {**environment, "AWS_ENDPOINT_URL": bench.aws(name)}
        with bench.child(joined) as parts:
            yield from _against(bench, name, joined, users, parts)


def _progress(bench: Bench, environment: Environment, user_id: int) -> Row:
    bench.say("progress")
    with bench.child(environment) as child:
        told = [
            1000 * seconds(child, "measurements.progress", user_id=user_id, times=20)
            for _ in range(bench.sizes.small_rounds)
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
    bench: Bench, name: str, environment: Environment, users: dict[int, int], parts: Measure
) -> Iterator[Row]:
    peaks = {}
    for count, user_id in users.items():
        bench.say(f"whole jobs with {count:,} posts against {name}")
        with bench.child(environment) as child:
            first = child("measurements.whole", user_id=user_id)
            peaks[count] = first["peak_mib"]
            size_bytes = first["bytes"]
            cpu_s: list[float] = []
            whole, engine, upload = in_turns(
                bench.sizes.small_rounds if count <= SMALL else bench.sizes.rounds,
                partial(_whole, child, user_id, cpu_s),
                partial(seconds, parts, "measurements.engine", user_id=user_id),
                partial(seconds, parts, "measurements.upload", size_bytes=size_bytes),
            )
        row = _row(name, count, whole=whole, engine=engine, upload=upload)
        yield replace(row, facts={**row.facts, "whole_cpu_s": cpu_s})
    yield memory(
        peaks,
        group="jobs",
        name=f"peak memory, whole job, {{}} posts, {name}",
        # A small size that is still more than an email holds.
        small=next((count for count in users if count >= SMALL), min(users)),
        large=max(users),
        note="Python, libraries, mail and attachment included",
    )


def _whole(child: Measure, user_id: int, cpu_s: list[float]) -> float:
    figures = child("measurements.whole", user_id=user_id)
    cpu_s.append(figures["cpu_s"])
    return float(figures["seconds"])


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
