"""The exceptions that users see as a sentence."""


class RefkdError(Exception):
    """Say in one lower-case sentence what was found, what was expected and what to run."""


class NotAsRecorded(RefkdError):
    """Say that what was made again differs from what stands recorded, and was not written."""


class BusyError(RefkdError):
    """Say that another process is at the same work, so that waiting helps."""
