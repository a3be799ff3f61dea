"""The one exception that users see as a sentence."""


class RefkdError(Exception):
    """Say in one lower-case sentence what was found, what was expected and what to run."""
