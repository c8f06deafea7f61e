"""What happens to an installation in months, within minutes: faults, and deploys of code."""

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import requests

from infra.local.stack import free_port
from tests.faults.aws import Answer, Call, Fault, Lost, well
from tests.faults.lab import Lab, send
from tests.harness import processes
from tests.harness.processes import WORKER
from tests.harness.waiting import wait_until

PAUSE_S = (1.0, 8.0)
LASTS_S = (1.0, 12.0)
UP_WITHIN_S = 120
STOPS_WITHIN_S = 30
SERVE = (sys.executable, "-m", "infra.servers.serve", "--host", "127.0.0.1", "--port")


@dataclass
class Deployed:
    """A server of the API and a worker, beside those of the stack, of one tree of code."""

    api: psutil.Popen
    worker: psutil.Popen
    url: str


@dataclass
class Troubles:
    """Troubles of a lab, one after the other.

    Attributes:
        lab: The stack; its first worker's parent is left alone, so that one can see it grow.
        trees: Trees of code, of which one after the other is deployed.
        app_urls: The servers of the API that users may ask.
        done: How often what happened.
        faults: What should not have happened, in words.
    """

    lab: Lab
    trees: list[Path]
    app_urls: list[str]
    done: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    _deployed: Deployed | None = None

    def go_on_until(self, deadline: float, chance: random.Random) -> None:
        """Have one trouble after another, and leave everything well."""
        self.deploy(chance)
        while time.monotonic() < deadline:
            trouble = chance.choice(TROUBLES)
            try:
                trouble(self, chance)
            except Exception as error:  # noqa: BLE001 - it is a finding, and the rest goes on
                self.faults.append(f"{trouble.__name__}: {type(error).__name__}: {error}")
            self.done[trouble.__name__] += 1
            time.sleep(chance.uniform(*PAUSE_S))

    def deploy(self, chance: random.Random) -> None:
        """Start the other code, have users ask it, then stop what ran before."""
        del chance
        self.trees.append(self.trees.pop(0))
        old, self._deployed = self._deployed, self._start(self.trees[-1])
        self.app_urls[1:] = [self._deployed.url]
        if old:
            self._stop(old)

    def _start(self, tree: Path) -> Deployed:
        port = free_port()
        env = {**os.environ, **self.lab.stack.facts["env"]}
        log = self.lab.folder / f"deployed-{sum(self.done.values())}.log"
        api = processes.start([*SERVE, str(port)], log=log, env=env, folder=tree)
        worker = processes.start([*WORKER, "run"], log=log, env=env, folder=tree)
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _is_up(url), f"{tree} serves", within_s=UP_WITHIN_S, every_s=0.2)
        return Deployed(api, worker, url)

    def _stop(self, deployed: Deployed) -> None:
        for process in (deployed.api, deployed.worker):
            status = processes.stop(process, within_s=STOPS_WITHIN_S)
            if status != 0:
                self.faults.append(f"{process.args} ended with status {status} after SIGTERM")

    def stop(self) -> None:
        """Stop what was deployed."""
        if self._deployed:
            self.app_urls[1:] = []
            self._stop(self._deployed)

    def kill_horse(self, chance: random.Random) -> None:
        parents = [pid for pid in self.lab.workers if self.lab.is_worker(pid)]
        horses = [horse for parent in parents for horse in self.lab.horses(parent)]
        send(signal.SIGKILL, *chance.sample(horses, k=min(1, len(horses))))

    def kill_worker(self, chance: random.Random) -> None:
        parent = chance.choice(self.lab.workers[1:])
        horses = self.lab.horses(parent) if chance.random() < 0.5 else []
        if self.lab.is_worker(parent):
            send(signal.SIGKILL, parent, *horses)

    def stop_worker(self, chance: random.Random) -> None:
        parent = chance.choice(self.lab.workers[1:])
        if self.lab.is_worker(parent):
            send(signal.SIGTERM, parent)

    def freeze_horse(self, chance: random.Random) -> None:
        horses = [horse for parent in self.lab.workers for horse in self.lab.horses(parent)]
        chosen = chance.sample(horses, k=min(1, len(horses)))
        send(signal.SIGSTOP, *chosen)
        time.sleep(chance.uniform(*LASTS_S))
        send(signal.SIGCONT, *chosen)

    def flush_redis(self, chance: random.Random) -> None:
        del chance
        self.lab.wiring.queue.redis.flushall()

    def kill_redis(self, chance: random.Random) -> None:
        assert self.lab.valkey
        self.lab.valkey.stop()
        time.sleep(chance.uniform(*LASTS_S) / 2)
        self.lab.valkey.start()

    def disturb_line(self, chance: random.Random) -> None:
        """Cut, stall or freeze the connections to Redis, to PostgreSQL, or to both."""
        lines = [line for line in (self.lab.redis_line, self.lab.database_line) if line]
        chosen = chance.sample(lines, k=chance.randint(1, len(lines)))
        how = chance.choice(("cut", "stall", "freeze", "reset"))
        for line in chosen:
            getattr(line, how)()
        time.sleep(chance.uniform(*LASTS_S))
        for line in chosen:
            line.heal()

    def disturb_aws(self, chance: random.Random) -> None:
        """S3 fails, or does and does not say so; SES refuses."""
        assert self.lab.aws

        def rule(call: Call) -> Fault | None:
            if chance.random() < 0.6:
                return None
            if call.is_email:
                return Answer(429, "TooManyRequestsException")
            return Lost() if chance.random() < 0.3 else Answer(503, "SlowDown")

        with _ruled(self.lab, rule):
            time.sleep(chance.uniform(*LASTS_S))


@contextmanager
def _ruled(lab: Lab, rule: Callable[[Call], Fault | None]) -> Iterator[None]:
    assert lab.aws
    lab.aws.rule = rule
    try:
        yield
    finally:
        lab.aws.rule = well


TROUBLES: tuple[Callable[[Troubles, random.Random], None], ...] = (
    Troubles.deploy,
    Troubles.kill_horse,
    Troubles.kill_worker,
    Troubles.stop_worker,
    Troubles.freeze_horse,
    Troubles.flush_redis,
    Troubles.kill_redis,
    Troubles.disturb_line,
    Troubles.disturb_aws,
)


def _is_up(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=5).ok
    except requests.RequestException:
        return False
