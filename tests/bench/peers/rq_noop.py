"""What RQ's workers do."""


def noop() -> int:
    """Do nothing."""
    return 1
