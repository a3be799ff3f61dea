"""Processes that work off jobs side by side, each job whole in one of them, and tell how far they are.

They run with one thread each, so that a job's bits do not depend on its neighbours. None outlives
this process; what a job leaves behind when it is killed is the job's own care.
"""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from tqdm import tqdm

from pipeline.lifeline import hold_to_parent
from stores.errors import BusyError, RefkdError, what_failed

log = logging.getLogger("refkd")
WAIT_S = 5.0  # before a job that another command has at hand is tried again
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}  # their bars would overwrite ours
KILLED = "its process was killed, perhaps for lack of memory; give fewer --jobs"
BROKEN = "its process ended with an error of ours, which stands above"


@dataclass(frozen=True)
class Told:
    """What one job, by its place in the sequence, tells of itself.

    kind: `begun`, `epochs` (done so far, in `value`), `notice` (its text), `done` (what it
    returned), `failed` (why), or `waiting` for another command that has it at hand.
    """

    job: int
    kind: str
    value: Any = None


@dataclass
class _Worker:
    process: SpawnProcess
    line: Connection
    job: int | None = None


def work_off(jobs: Sequence[Any], do: Callable[[Any], Any], *, at_once: int) -> Generator[Told]:
    """Do every job in at most `at_once` processes, and yield what they tell, as it comes.

    A job that raises RefkdError has failed, and the others go on. Closing the iterator ends the
    processes at once.
    """
    waiting, crew = deque(range(len(jobs))), list[_Worker]()
    try:
        while waiting or any(worker.job is not None for worker in crew):
            while waiting and (worker := _idle(crew, do, at_once=at_once)):
                worker.job = waiting.popleft()
                worker.line.send(jobs[worker.job])
                yield Told(worker.job, "begun")
            lines = {w.line: w for w in crew if w.job is not None}
            for line in connection.wait(list(lines)):
                worker = lines[line]  # type: ignore[index]
                told = _hear(worker)
                if told.kind == "waiting":
                    waiting.append(told.job)
                if told.kind in ("done", "failed", "waiting"):
                    worker.job = None
                if worker.process.exitcode is not None:
                    crew.remove(worker)
                yield told
    finally:
        for worker in crew:
            worker.process.kill()
            worker.process.join()


def _idle(crew: list[_Worker], do: Callable[[Any], Any], *, at_once: int) -> _Worker | None:
    """Return a worker without a job, a new one if there may be more, or None."""
    for worker in crew:
        if worker.job is None:
            return worker
    if len(crew) == at_once:
        return None
    context = multiprocessing.get_context("spawn")  # torch does not survive a fork
    here, there = context.Pipe()
    with _environment(ENVIRONMENT):
        process = context.Process(target=_work, args=(there, do), daemon=True)
        process.start()
    there.close()
    crew.append(_Worker(process, here))
    return crew[-1]


def _hear(worker: _Worker) -> Told:
    assert worker.job is not None, "only workers with a job speak"
    try:
        kind, value = worker.line.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        return Told(worker.job, "failed", BROKEN if worker.process.exitcode == 1 else KILLED)
    return Told(worker.job, kind, value)


def _work(line: Connection, do: Callable[[Any], Any]) -> None:
    """Do jobs as they come; all that a worker process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends us
    hold_to_parent()
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, which a killed process would leave
    log.handlers, log.propagate = [_Teller(line)], False
    log.setLevel(logging.INFO)
    while True:
        job = line.recv()
        try:
            returned = do(job)
        except BusyError:
            time.sleep(WAIT_S)
            line.send(("waiting", None))
        except RefkdError as error:
            line.send(("failed", str(error)))
        except OSError as error:
            found = what_failed(error)  # what helps is for the one command that all jobs are of
            line.send(("failed", found[0] if found else str(error)))
        else:
            line.send(("done", returned))


class _Teller(logging.Handler):
    """Tells the parent how many epochs are done, and whatever is worth a warning."""

    def __init__(self, line: Connection) -> None:
        super().__init__()
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        epochs = getattr(record, "epochs_done", None)
        if epochs is not None:
            self._line.send(("epochs", epochs))
        elif record.levelno >= logging.WARNING:
            self._line.send(("notice", record.getMessage()))


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that start meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
