"""Every message that the emulated SES accepts, as a file."""

import threading
import time
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from moto.backends import get_backend


class Emails:
    """The files, named so that they sort by time.

    Args:
        folder: Holds one `.eml` a message; made when it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def take(self) -> None:
        """Move what SES accepted from the emulator's memory into files."""
        with self._lock:
            for account in list(get_backend("ses").values()):
                for region in list(account.values()):
                    while region.sent_messages:
                        self._write(region.sent_messages[0])
                        del region.sent_messages[0]

    def _write(self, message: Any) -> None:
        name = f"{time.time_ns()}-{message.id}.eml"
        unfinished = self._folder / f".{name}.part"  # whoever looks for `*.eml` sees whole ones
        unfinished.write_bytes(_source(message))
        unfinished.replace(self._folder / name)


def _source(message: Any) -> bytes:
    """The message byte for byte as it was given to SES, or made from the pieces given."""
    if hasattr(message, "raw_data"):
        raw: str = message.raw_data
        return raw.encode("utf-8")
    made = EmailMessage()
    made["From"] = message.source
    made["To"] = ", ".join(message.destinations.get("ToAddresses", []))
    made["Subject"] = getattr(message, "subject", "")
    made.set_content(getattr(message, "body", ""))
    return made.as_bytes()
