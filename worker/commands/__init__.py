"""The commands of `python -m worker`; each imports what it needs when it is run."""

from chalicelib import logs
from chalicelib.wiring import Wiring


def wire() -> Wiring:
    """Read the settings and set up the log.

    Raises:
        SettingsError: A setting is missing or bad.
    """
    wiring = Wiring.from_environment(pool_size=2)
    logs.configure(wiring.settings.log_format)
    return wiring
