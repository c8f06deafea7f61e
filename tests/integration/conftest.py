import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib import logs
from chalicelib.wiring import Wiring
from tests.harness.commands import Call, Done
from worker import __main__ as command_line


@pytest.fixture
def worker(
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Call]:
    """Runs `python -m worker …` in this process, with something on its standard input."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(logs, "configure", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path)  # where there is no .env
    wirings: list[Wiring] = []
    from_environment = Wiring.from_environment

    def wire(*arguments: Any, **options: Any) -> Wiring:
        wirings.append(from_environment(*arguments, **options))
        return wirings[-1]

    monkeypatch.setattr(Wiring, "from_environment", wire)

    def call(*arguments: object, given: str = "") -> Done:
        (tmp_path / "stdin").write_text(given)
        with (tmp_path / "stdin").open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            monkeypatch.setattr(sys, "argv", ["worker", *map(str, arguments)])
            capsys.readouterr()
            with pytest.raises(SystemExit) as end:
                command_line.run()
        status = end.value.code or 0
        assert isinstance(status, int)
        return Done(status, *capsys.readouterr())

    yield call
    for wiring in wirings:
        wiring.database.close()
        wiring.queue.redis.close()
