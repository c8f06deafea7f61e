"""How much of everything a run measures."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The numbers of a run.

    Attributes:
        name: What the run is called in the report.
        rounds: How often large things are measured, in turns.
        engine: Posts of the export that the engine is measured with.
        orm: Posts of the one that the slow way is measured with, too.
        memory: Posts of the exports whose peak memory is compared.
        chapter: Posts of the exports that the chapter's algorithm does.
        jobs: Posts of the whole jobs.
        small_rounds: How often small jobs are measured.
        against: Which S3 and SES: the stub, moto.
        workers: Worker processes of Carryout whose throughput is measured, and of all others.
        least: Tasks of one measurement of a throughput, however slow they are.
        window_s: How long a throughput is measured, about.
        throughput_rounds: How often.
        exporters: Users with 100 posts each whose exports are done at once.
        idle: How many exports are timed on an idle stack.
        answers: How many answers of each kind are timed.
        imports: How often each import is timed.
        watchers: Requests that are held at a time.
        queued: Tasks in the long queue.
        posts: Posts in the large table.
    """

    name: str = "full"
    rounds: int = 3
    engine: int = 1_000_000
    orm: int = 1_000_000
    memory: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    chapter: tuple[int, ...] = (1_000, 5_000)
    jobs: tuple[int, ...] = (100, 1_000, 10_000, 100_000, 1_000_000)
    small_rounds: int = 15
    against: tuple[str, ...] = ("stub", "moto")
    workers: int = 2
    least: int = 20
    window_s: float = 5
    throughput_rounds: int = 3
    exporters: int = 300
    idle: int = 200
    answers: int = 400
    imports: int = 7
    watchers: int = 1000
    queued: int = 100_000
    posts: int = 10_000_000


FULL = Sizes()

QUICK = Sizes(
    name="quick",
    rounds=2,
    engine=40_000,
    orm=10_000,
    memory=(10_000, 40_000),
    chapter=(200,),
    jobs=(100, 1_000, 10_000),
    small_rounds=3,
    least=8,
    window_s=0.7,
    throughput_rounds=1,
    exporters=40,
    idle=10,
    answers=50,
    imports=2,
    watchers=200,
    queued=10_000,
    posts=100_000,
)

TINY = Sizes(
    name="tiny",
    rounds=1,
    engine=500,
    orm=500,
    memory=(100, 500),
    chapter=(5,),
    jobs=(100,),
    small_rounds=1,
    against=("stub",),
    workers=1,
    least=1,
    window_s=0.1,
    throughput_rounds=1,
    exporters=2,
    idle=1,
    answers=2,
    imports=1,
    watchers=2,
    queued=20,
    posts=500,
)
"""For the test that every row still yields figures; they mean nothing."""
