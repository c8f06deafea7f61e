"""Modules that few requests need, and that no cold start waits for."""

from importlib import import_module
from typing import Any


class LazyModule:
    """Stands for a module, which is imported when something of it is first asked for.

    Args:
        name: The module's full name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        """Import the module, or find it imported."""
        return getattr(import_module(self._name), attribute)
