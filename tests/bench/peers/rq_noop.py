"""What RQ's workers do."""


def noop() -> int:
    return 1
