"""Deliveries to webhooks."""

from collections.abc import Collection

import sqlalchemy as sa

from chalicelib.db.engine import db_clock
from chalicelib.db.models import OutboxMessage
from chalicelib.wiring import Wiring
from tests.faults import world as worlds
from tests.faults.calls import Call, Fault
from tests.faults.scenarios.attempts import Export
from tests.faults.scenarios.scenario import EVERY_FAULT, SOME_FAULTS, Scenario, as_many, crash


class Hooked(Export):
    """An attempt whose ending a webhook hears of."""

    faults: Collection[Fault] = SOME_FAULTS

    def prepare(self) -> None:
        """Add a webhook."""
        self.world.add_webhook()
        super().prepare()

    def concerns(self, calls: list[Call]) -> list[Call]:
        """Those at the end, when its delivery is written; the others are another scenario's."""
        return super().concerns(calls)[-20:]


class Delivered(Scenario):
    """The turn of whoever makes deliveries: a task was cancelled, tried again, and cancelled."""

    outcomes: Collection[str] = ("cancelled",)
    faults: Collection[Fault] = EVERY_FAULT

    def prepare(self) -> None:
        """End a task twice."""
        self.world.add_webhook()
        super().prepare()
        worlds.cancel(self.world.wiring, self.task_id)
        worlds.retry(self.world.wiring, self.task_id)
        worlds.cancel(self.world.wiring, self.task_id)
        self.world.send_emails()

    def work(self, wiring: Wiring) -> None:
        worlds.deliver_all(wiring)


class Undelivered(Delivered):
    """The reconciler dies over a delivery whose sender died as it made it."""

    faults: Collection[Fault] = SOME_FAULTS

    def prepare(self) -> None:
        """Let whoever makes it die, and its lease pass."""
        super().prepare()
        crash(self, "hook POST", by=worlds.deliver_all)
        self.world.pass_time()
        assert _is_overdue(self)

    def work(self, wiring: Wiring) -> None:
        wiring.reconciler.sweep(now=wiring.now())


class Deliverers(Delivered):
    """Ten processes look for the same deliveries at once."""

    faults = ()

    def work(self, wiring: Wiring) -> None:
        with as_many(10):
            super().work(wiring)


def _is_overdue(scenario: Scenario) -> bool:
    overdue = sa.select(OutboxMessage.id).where(
        OutboxMessage.state == "sending", OutboxMessage.lease_until < db_clock()
    )
    with scenario.world.wiring.database.read() as session:
        return session.scalar(overdue) is not None
