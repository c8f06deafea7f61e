"""A cold start: what `import app` takes in a fresh interpreter, and what of it is whose."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

from tests.bench.bench import Bench, in_turns
from tests.bench.figures import Row
from tests.harness.processes import run

PARTS = ("chalice", "sqlalchemy.orm", "psycopg", "redis", "rq")
SCRIPT = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"
LINE = re.compile(r"import time: +(\d+) \| +\d+ \| +(\S+)")
TOP = 10


def rows(bench: Bench) -> Iterator[Row]:
    """The import of `app` beside the sum of its parts, each in an interpreter of its own."""
    bench.say("cold imports")
    _import_ms("app")  # writes the byte-code
    ours, *parts = in_turns(
        bench.sizes.imports, *(lambda name=name: _import_ms(name) for name in ("app", *PARTS))
    )
    bench.profile[:] = _profile()
    yield Row(
        group="imports",
        name="import app",
        unit="ms",
        samples=ours,
        peer="sum of " + ", ".join(PARTS),
        peer_samples=[sum(together) for together in zip(*parts, strict=True)],
        note="byte-code and disk cache warm",
        facts={"parts_ms": dict(zip(PARTS, parts, strict=True))},
    )


def _import_ms(name: str) -> float:
    return 1000 * float(_python("-c", SCRIPT.format(name)).stdout)


def _profile() -> list[tuple[str, float]]:
    """The packages that an import of `app` spends most of its time in, with milliseconds."""
    spent: Counter[str] = Counter()
    for line in _python("-X", "importtime", "-c", "import app").stderr.splitlines():
        if found := LINE.match(line):
            spent[_owner(found[2])] += int(found[1])
    return [(name, us / 1000) for name, us in spent.most_common(TOP)]


def _owner(module: str) -> str:
    top = module.partition(".")[0]
    return "the standard library" if top in sys.stdlib_module_names else top


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = run(sys.executable, *arguments)
    done.check_returncode()
    return done
