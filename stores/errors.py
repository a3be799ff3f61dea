"""The exceptions that users see as a sentence."""


class RefkdError(Exception):
    """Say in one lower-case sentence what was found, what was expected and what to run."""


class BusyError(RefkdError):
    """Say that another process is at the same work, so that waiting helps."""
