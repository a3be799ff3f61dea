"""The exceptions that users see as a sentence, and errors of the file system as one."""

import errno
import re

AGAIN = "run the same command again"


class RefkdError(Exception):
    """Say in one lower-case sentence what was found, what was expected and what to run."""


class NotAsRecorded(RefkdError):
    """Say that what was made again differs from what stands recorded, and was not written."""


class BusyError(RefkdError):
    """Say that another process is at the same work, so that waiting helps."""


def what_failed(error: OSError) -> tuple[str, str] | None:
    """Return what an error of the file system is and what to do about it, or None if it is another."""
    filename = error.filename2 or error.filename  # of a rename, the place to be
    where = f" at {filename}" if filename else ""
    # numpy reports a short write in words only, without an error number
    short_write = re.search(r"requested and \d+ written", str(error))
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or short_write:
        return f"no space left on the disk{where}", f"free some and {AGAIN}: finished work is kept"
    if filename:
        reason = (error.strerror or str(error)).lower()
        return f"{filename}: {reason}", f"mend the path or its permissions and {AGAIN}"
    return None
