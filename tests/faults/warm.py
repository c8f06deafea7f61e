"""`python -m tests.faults.warm`: tests in forks of a process that has imported the libraries.

Their imports take longer than most tests. Of the project itself nothing is imported before the
fork, so each run sees the code as it is by then.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from select import select

OURS = ("app", "chalicelib", "infra", "tests", "worker")
END = "pytest ended with "
SEPARATOR = "\x1f"
MAX_REQUEST_BYTES = 65_536

PROBE = """
import pathlib, sys
import pytest
pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", "tests/integration/test_leases.py"])
pathlib.Path(sys.argv[1]).write_text("\\n".join(sys.modules), "utf-8")
"""


@contextmanager
def started(tree: Path) -> Iterator[Path]:
    """Have a process ready to run the tests of a tree.

    Yields:
        The socket that `run` asks.
    """
    path = tree.parent / "tests.sock"
    # Nothing writes byte code: what changes and changes back within a second would leave it wrong.
    env = os.environ | {"PYTHONPATH": ".", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "tests.faults.warm", "serve", str(path)]
    process = subprocess.Popen(
        command, cwd=tree, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        if process.stdout is None or not process.stdout.readline():
            raise ChildProcessError("it did not start")
        yield path
    finally:
        process.communicate()
        path.unlink(missing_ok=True)


def run(path: Path, arguments: Sequence[str]) -> tuple[int, list[str]]:
    """Run pytest.

    Args:
        path: The socket.
        arguments: Those of pytest.

    Returns:
        Its exit status, and the lines that it wrote.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(SEPARATOR.join(arguments).encode())
        lines: list[str] = []
        with connection.makefile(encoding="utf-8", errors="replace") as answer:
            for line in answer:  # not to the end: what a test left behind may hold it open
                if line.startswith(END):
                    return int(line.removeprefix(END)), lines
                lines.append(line.rstrip("\n"))
    raise ConnectionError(f"pytest ended without a word: {lines[-1:]}")


def _serve(path: Path) -> None:
    listed = path.with_suffix(".modules")
    subprocess.run([sys.executable, "-c", PROBE, listed], check=True, stdout=subprocess.DEVNULL)
    for name in listed.read_text("utf-8").splitlines():
        if name.partition(".")[0] not in OURS:
            with suppress(Exception):  # what cannot be imported alone is imported by who needs it
                import_module(name)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        # Until those who started it end, however they do.
        while sys.stdin not in select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            with connection:
                if os.fork() == 0:
                    listening.close()
                    sys.exit(_run_here(connection))


def _run_here(connection: socket.socket) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    arguments = connection.recv(MAX_REQUEST_BYTES).decode().split(SEPARATOR)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream in (1, 2):
        os.dup2(connection.fileno(), stream)
    import pytest  # noqa: PLC0415 - not for those who ask

    # Its plugins are among the libraries.
    late = "ignore::pytest.PytestAssertRewriteWarning"
    status = int(pytest.main(["-W", late, *arguments]))
    sys.stdout.flush()
    os.write(1, f"\n{END}{status}\n".encode())
    return status


def main() -> int:
    """Serve, or ask who serves."""
    what, where, *arguments = sys.argv[1:]
    if what == "serve":
        _serve(Path(where))
        return 0
    status, lines = run(Path(where), arguments)
    sys.stdout.write("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
