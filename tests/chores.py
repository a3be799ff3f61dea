"""Jobs for worker processes, which import this: each is a pair (what to do, with what)."""

import errno
import logging
import os
import signal
import time
from pathlib import Path

from stores.errors import BusyError, RefkdError

log = logging.getLogger("refkd")


def do(job):
    """Do one job and return what it found."""
    what, value = job
    if what == "tell":
        log.info("epoch %d", value, extra={"epochs_done": value})
        log.info("nothing to worry about")
        log.warning("mind the step")
    elif what == "environment":
        return os.environ.get(value)
    elif what == "fail":
        raise RefkdError(f"{value} is wrong, expected better")
    elif what == "lack":
        raise OSError(errno.ENOSPC, "No space left on device", value)
    elif what == "break":
        raise ZeroDivisionError(value)
    elif what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "wait for":
        if not Path(value).exists():
            Path(value).touch()
            raise BusyError(f"{value} is not there yet")
    elif what == "sleep":
        Path(value).write_text(str(os.getpid()))
        time.sleep(600)
    return value
