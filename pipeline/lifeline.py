"""Processes that do not outlive the one that started them, however it dies."""

import multiprocessing
import os
import threading
from multiprocessing import connection


def hold_to_parent() -> None:
    """Make this process, started by multiprocessing, stop at once when its parent is gone."""
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "only started processes call this"
    connection.wait([parent.sentinel])
    os._exit(1)
