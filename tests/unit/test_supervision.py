import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.local import guard as guard_module
from infra.local import stack as stack_module
from infra.local.child import Backoff, Child
from infra.local.console import Console
from infra.local.guard import Guard
from infra.local.stack import Options, Stack, StackError, free_port
from tests.harness.processes import ROOT, ended, run
from tests.harness.waiting import wait_until

DEADLINE_S = 60

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"

# Says when it is told to stop and takes a moment for it.
POLITE = """
import signal, sys, time
def stop(*_):
    time.sleep(0.2)
    with open(sys.argv[1], "a") as log:
        log.write(sys.argv[2] + "\\n")
    sys.exit()
signal.signal(signal.SIGTERM, stop)
print("up", flush=True)
while True:
    time.sleep(0.1)
"""

# Does not listen to SIGTERM, and has a child that left the process group.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], process_group=0)
print("up", child.pid, flush=True)
time.sleep(60)
"""

# A launcher that guards one child in a session of its own, and then hangs.
LAUNCHER = """
import subprocess, sys, time
from infra.local.guard import Guard
guard = Guard()
child = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1]], start_new_session=True, stdout=subprocess.PIPE
)
child.stdout.readline()
guard.watch([child.pid])
print(child.pid, guard.pid, flush=True)
time.sleep(60)
"""


class Said(list[str]):
    """Lines that were said; waits for one."""

    def wait_for(self, text: str) -> str:
        """Return the first line that holds the text."""
        return wait_until(lambda: next((line for line in self if text in line), ""), text)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def make(said: Said, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Make a child that runs some Python; all are killed at the end."""
    made: list[Child] = []

    def make(
        program: str, *arguments: str, name: str = "child", clock: Clock | None = None
    ) -> Child:
        child = Child(
            name,
            [sys.executable, "-c", program, *arguments],
            environment=os.environ,
            folder=tmp_path,
            say=said.append,
            clock=clock or time.monotonic,
        )
        made.append(child)
        return child

    yield make
    for child in made:
        child.wait(0)


def test_a_port_is_given_away_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else gets a port while the one who got it has not begun to listen on it."""
    first = free_port()
    monkeypatch.setattr(stack_module, "PORTS", [first, free_port()])
    with pytest.raises(StackError, match="no free port"):
        free_port()
    program = f"from infra.local import stack; stack.PORTS = [{first}]; stack.free_port()"
    other = run(sys.executable, "-c", program)
    assert "no free port" in other.stderr


def test_pauses_double_up_to_five_seconds() -> None:
    """A child that keeps dying is started again at once, then ever more slowly."""
    backoff = Backoff()
    assert [backoff.pause_s(lived_s=0.1) for _ in range(7)] == [0, 0.5, 1, 2, 4, 5, 5]


def test_health_is_forgiving() -> None:
    """After ten seconds of life a death counts as the first one."""
    backoff = Backoff()
    pauses = [backoff.pause_s(lived_s=lived) for lived in (0, 0, 0, 10, 0)]
    assert pauses == [0, 0.5, 1, 0, 0.5]


def test_child_is_started_again_and_that_is_said(make: Callable[..., Child], said: Said) -> None:
    """A killed child comes back at once under a new pid; the next time it has to wait."""
    clock = Clock()
    child = make(SLEEPER, clock=clock)
    child.start()
    first = child.pid
    assert first
    said.wait_for("child | up")

    os.kill(first, signal.SIGKILL)
    wait_until(child.death, "it is dead")
    child.revive()
    second = child.pid
    assert second != first
    assert "child was killed by SIGKILL; starting it again at once" in said

    assert second
    os.kill(second, signal.SIGKILL)
    wait_until(child.death, "it is dead")
    child.revive()
    assert child.pid == second
    assert "child was killed by SIGKILL; starting it again in 0.5 s" in said
    clock.now += 0.4
    child.revive()
    assert child.pid == second
    clock.now += 0.2
    child.revive()
    assert child.pid != second
    assert len([line for line in said if "starting" in line]) == 2


def test_last_words_are_kept(make: Callable[..., Child]) -> None:
    """What a child printed before it failed can be told."""
    child = make("import sys; print('a', flush=True); print('why', file=sys.stderr); sys.exit(3)")
    child.start()
    assert wait_until(child.death, "it is dead") == "ended with status 3"
    assert child.tail == "  a\n  why"


def test_output_that_is_not_text_is_passed_on(make: Callable[..., Child], said: Said) -> None:
    """No byte that a child prints can stop the launcher."""
    child = make(r"import sys; sys.stdout.buffer.write(b'\xff\x00 z\n')")
    child.start()
    assert said.wait_for("child | ").endswith("z")


def test_stubborn_child_is_killed_with_its_descendants(
    make: Callable[..., Child], said: Said
) -> None:
    """A child that ignores SIGTERM goes, and so does one that it started elsewhere."""
    child = make(STUBBORN)
    child.start()
    descendant = int(said.wait_for("child | up").split()[-1])
    child.terminate()
    child.wait(0.2)

    assert child.death() == "was killed by SIGKILL"
    assert "child does not stop; killing it" in said
    wait_until(lambda: ended(descendant), "it is gone")


def test_stop_order(
    make: Callable[..., Child], said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API and the workers stop together, and what keeps the queue last."""
    for name in ("API_STOPS_IN_S", "WORKERS_STOP_IN_S", "PART_STOPS_IN_S"):
        monkeypatch.setattr(stack_module, name, DEADLINE_S)  # who is killed leaves no line
    log = tmp_path / "log"
    options = Options(port=0, data_dir=tmp_path, workers=2, chosen={})
    stack = Stack(options, say=said.append)
    stack._api, stack._redis, *workers = (
        make(POLITE, str(log), name, name=name) for name in ("api", "redis", "worker", "worker")
    )
    stack._workers = workers
    for child in stack._children():
        child.start()
        said.wait_for(f"{child.name} | up")
    wait_until(lambda: said.count("worker | up") == 2, "both are up")

    started = time.monotonic()
    stack.stop()
    *together, last = log.read_text().split()
    assert (sorted(together), last) == (["api", "worker", "worker"], "redis")
    assert time.monotonic() - started < 10


def test_second_launcher_is_refused(said: Said, tmp_path: Path) -> None:
    """Two stacks never share a folder, and the second names the first."""
    options = Options(port=0, data_dir=tmp_path, workers=1, chosen={})
    first = Stack(options, say=said.append)
    first._lock_data_dir()
    second = Stack(options, say=said.append)

    with pytest.raises(StackError, match=f"in use by another stack .process {os.getpid()}"):
        second.start()
    second.stop()
    first.stop()
    third = Stack(options, say=said.append)
    third._lock_data_dir()
    third.stop()


@pytest.mark.parametrize("program", [SLEEPER, STUBBORN])
def test_guard_ends_children_after_kill_9(program: str) -> None:
    """When the launcher is killed its children end within ten seconds, and so does the guard."""
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert launcher.stdout
    child, guard = map(int, launcher.stdout.readline().split())

    started = time.monotonic()
    launcher.kill()
    launcher.wait()
    wait_until(lambda: ended(child) and ended(guard), "all have ended")
    assert time.monotonic() - started < 10
    launcher.stdout.close()


def test_guard_is_replaced(make: Callable[..., Child]) -> None:
    """A guard that was killed is started again and told everything anew."""
    child = make(SLEEPER)
    child.start()
    assert child.pid
    guard = Guard()
    guard.watch([child.pid])
    first = guard.pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: ended(first), "it has ended")

    guard.watch([child.pid])
    assert guard.pid != first
    guard._close_pipe()
    assert wait_until(child.death, "it is dead") == "was killed by SIGTERM"
    guard.close()


def test_guard_forgets(make: Callable[..., Child]) -> None:
    """Children that are no longer watched are left alone."""
    child = make(SLEEPER)
    child.start()
    assert child.pid
    guard = Guard()
    guard.watch([child.pid])
    guard.watch()
    guard.close()
    assert child.death() is None


def test_guard_ends_nobody_else(
    make: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has the number of a child that ended is not the guard's business."""
    children = [make(SLEEPER), make(SLEEPER)]
    for child in children:
        child.start()
    mine, stranger = (child.pid for child in children)
    assert mine
    assert stranger

    def lines() -> Iterator[str]:
        yield f"{mine};{stranger}"
        born_at = guard_module._born_at
        monkeypatch.setattr(
            guard_module, "_born_at", lambda pid: (born_at(pid) or 0) + (pid == stranger)
        )

    guard_module.guard(lines())
    wait_until(lambda: ended(mine), "the child has ended")
    assert not ended(stranger)


def test_nobody_waits_for_the_terminal() -> None:
    """With a pipe that nobody reads, saying something takes no time and ends cleanly."""
    reader, writer = os.pipe()
    console = Console(writer)
    started = time.monotonic()
    for _ in range(20_000):
        console.say("x" * 100)
    assert time.monotonic() - started < 30
    console.close()
    os.close(reader)
    console._writer.join(DEADLINE_S)
    os.close(writer)


def test_lines_arrive_in_order() -> None:
    """What was said before the end is written before the end."""
    reader, writer = os.pipe()
    console = Console(writer)
    for number in range(100):
        console.say(str(number))
    console.close()
    os.close(writer)
    with os.fdopen(reader) as output:
        assert output.read().split() == [str(number) for number in range(100)]
