"""What people read about imports: why one failed, and what the script of the page says."""

from chalicelib.db.models import Task
from chalicelib.values.languages import Language

GENERAL = {
    "timeout",
    "worker_lost",
    "storage_unavailable",
    "database_unavailable",
    "service_unavailable",
    "task_failed",
    "internal_error",
}
"""Codes that every task may end with. The detail of any other is a sentence of the catalogues: why
this file cannot be imported."""


def reason(task: Task, language: Language) -> str:
    """Say why an import failed, as a sentence in the user's language."""
    if task.error_code in GENERAL or not task.error_detail:
        return language.reason(task.error_code)
    return language.gettext(task.error_detail)


def told(language: Language) -> dict[str, str]:
    """What the page's script says, by where it says it."""
    return {
        "uploading": language.gettext("Uploading"),
        "starting": language.gettext("Starting"),
        "failed": language.gettext("The upload failed. Try again."),
        "too_large": language.gettext("The file is too large."),
    }
