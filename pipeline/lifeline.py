"""Processes that do not outlive the one that started them, however it dies."""

import multiprocessing
import os
import threading
from multiprocessing import connection


def hold_to_parent(until: connection.Connection | None = None) -> None:
    """Make this process, started by multiprocessing, stop at once when its parent is gone.

    Also when the parent closes the other end of `until`, whatever this process waits for then.
    """
    threading.Thread(target=_follow_parent, args=(until,), daemon=True).start()


def _follow_parent(until: connection.Connection | None) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "only started processes call this"
    connection.wait([parent.sentinel, *([] if until is None else [until])])
    os._exit(1)
