"""A signal may come inside the handler of another one: handlers take no lock."""

import sys

import pytest

from tests.harness.processes import output

INTERRUPTED = """
import signal, sys
from worker import process

def interrupt(frame, event, argument):
    frame.f_trace_opcodes = True
    steps.append(event)
    if len(steps) == last:
        signal.raise_signal(signal.SIGTERM)
    return interrupt

{install}
last, steps = 0, []
while len(steps) >= last:
    last, steps = last + 1, []
    sys.settrace(interrupt)
    signal.raise_signal(signal.SIGTERM)
    sys.settrace(None)
print(last, process.stop_requested())
"""
"""Sends a signal, and another one at the handler's first step, at its second, and so on."""


@pytest.mark.parametrize(
    "install",
    ["process.stop_on_signals()", "signal.signal(signal.SIGTERM, process.request_stop)"],
    ids=["launcher", "work horse"],
)
def test_a_second_signal_at_every_step(install: str) -> None:
    """Wherever a second signal interrupts the handler of the first, both return."""
    told = output(sys.executable, "-c", INTERRUPTED.format(install=install), timeout=60)
    steps, requested = told.split()
    assert int(steps) > 3
    assert requested == "True"
