"""Filling a cache with what a function says of its rows, and putting back what was damaged.

The function stands for the teachers; nothing here knows what it does.
"""

import errno
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pipeline.costs import measured
from pipeline.pool import OpenForward, run_units
from pipeline.timeleft import TimeLeft, in_turns
from stores.building import (
    Building,
    building_folder,
    building_lock,
    cache_folder,
    remove_building,
)
from stores.cache import read_cache
from stores.cachechecks import check_plan, damaged_files
from stores.cachekeys import CachePlan
from stores.errors import NotAsRecorded, RefkdError
from stores.files import locked, sync
from stores.journal import Environment
from stores.locknames import building_lock_file
from stores.parts import Part
from stores.repair import explain_difference, restore_files, tidy
from stores.unfinished import stands
from stores.units import Chunk, Forward

log = logging.getLogger("refkd")
FULL = (errno.ENOSPC, errno.EDQUOT)
OVERTAKEN = "another machine has finished %s"
SYNCS = 4  # of each chunk when a cache is finished: its file, its folders, its part of the others
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} rows{postfix}"  # and the time left


def is_whole(out: Path, plan: CachePlan) -> bool:
    """Return whether the planned cache is finished, with no file damaged and nothing left to tidy.

    Raises RefkdError if what stands under its name is no cache, or not this one.
    """
    folder = cache_folder(out, plan)
    if not stands(folder) or building_folder(out, plan).exists():
        return False
    cache = read_cache(folder)
    check_plan(cache, plan, repair=_misnamed(folder))
    return not damaged_files(cache)


def fill(
    out: Path,
    plan: CachePlan,
    open_forward: OpenForward,
    environment: Environment,
    *,
    block_rows: int,
    workers: int,
    part: Part | None = None,
) -> Path:
    """Build the planned cache, or restore its damaged files, and return its folder.

    One process at a time does this; another one waits and then finds the work done. With `part`
    many do a part each, and the folder is there once all parts are done. Raises RefkdError if what
    stands under its name is no cache, or not this one.
    """
    with building_lock(out, plan, part):
        folder = cache_folder(out, plan)
        if stands(folder):
            check_plan(read_cache(folder), plan, repair=_misnamed(folder))
            if part is None:  # parts hold the lock together, and may be writing
                tidy(folder)
            _restore(
                folder, plan, open_forward, environment, block_rows=block_rows, workers=workers
            )
        else:
            building = Building(out, plan, environment, part)
            try:
                _build(building, open_forward, block_rows=block_rows, workers=workers)
            except (OSError, RefkdError) as error:
                if building.has_company() and folder.exists():  # what we wrote in is gone
                    log.info(OVERTAKEN, folder)
                elif isinstance(error, RefkdError):
                    raise
                else:
                    first = "make room" if error.errno in FULL else "mend that"
                    raise RefkdError(
                        f"cannot write the cache in {out}: {_reason(error)}; {building.num_done} "
                        f"of {building.num_chunks} chunks are finished and kept, {first} and run "
                        "`refkd cache` again to resume"
                    ) from error
        if folder.exists():
            remove_building(out, plan)
    return folder


def _build(building: Building, open_forward: OpenForward, *, block_rows: int, workers: int) -> None:
    goes_on = building.num_done > 0
    building.link_siblings()
    building.begin()
    units = in_turns(building.units(block_rows))
    num_rows = sum(unit.num_rows for unit in units)
    group, layout = building.group, building.plan.layout
    left = TimeLeft(
        units,
        workers=workers,
        num_bytes=building.num_chunks * layout.chunk_bytes,
        syncs_s=building.num_chunks * SYNCS * _sync_seconds(building.group),
    )
    work = {**building.environment, "workers": workers, "rows": 0}
    folder = cache_folder(building.out, building.plan)
    stage = "cache" if building.part is None else f"cache part {building.part}"
    behind = building.environment["device"] != "cpu"  # where asking leaves the processor idle
    with (
        measured(folder, stage, goes_on=goes_on, **work) as cost,
        tqdm(
            total=num_rows, desc="cache", bar_format=BAR, file=sys.stderr, disable=not units
        ) as bar,
    ):
        for unit, chunks in run_units(
            units,
            Questions(open_forward),
            group,
            layout,
            note=building.note,
            settle=building.settle,
            workers=workers,
            behind=behind,
        ):
            for chunk in chunks:
                building.record(chunk)
            cost["rows"] += unit.num_rows
            left.take(unit)
            bar.set_postfix_str(str(left), refresh=False)
            bar.update(unit.num_rows)
            if folder.exists():
                log.info(OVERTAKEN, folder)
                return
        if building.is_complete():
            building.finish()
        else:
            log.info(
                "part %s of %s is done, %d of %d chunks are still to come; the last part makes it "
                "whole, or `refkd cache` without --part",
                building.part,
                folder,
                building.num_chunks - building.num_done,
                building.num_chunks,
            )


def repair(
    folder: Path,
    plan: CachePlan,
    open_forward: OpenForward,
    environment: Environment,
    *,
    block_rows: int,
) -> int:
    """Put back the damaged files of a cache, wherever it lies, and return how many they were.

    Raises RefkdError, naming what differs, if a file would not become what is recorded; what could
    be put back before then is.
    """
    with locked(building_lock_file(folder)):
        check_plan(read_cache(folder), plan)
        tidy(folder)
        return _restore(folder, plan, open_forward, environment, block_rows=block_rows, workers=1)


def _restore(
    folder: Path,
    plan: CachePlan,
    open_forward: OpenForward,
    environment: Environment,
    *,
    block_rows: int,
    workers: int,
) -> int:
    cache = read_cache(folder)
    damaged = damaged_files(cache)
    try:
        units = restore_files(cache, plan, damaged, block_rows=block_rows)
        asked = Questions(open_forward)
        for _ in run_units(units, asked, folder, plan.layout, note=_forget, workers=workers):
            pass
    except NotAsRecorded as error:
        reason = explain_difference(cache, damaged, environment)
        raise RefkdError(f"{error}; {reason}") from None
    return len(damaged)


@dataclass(frozen=True)
class Questions:
    """What is asked, in any process, so that its errors do not pass for errors of writing."""

    open_forward: OpenForward

    def __call__(self) -> Forward:
        """Return the function that answers."""
        with _reading():
            forward = self.open_forward()

        def ask(array: str, lo: int, hi: int) -> npt.NDArray[np.float32]:
            with _reading():
                return forward(array, lo, hi)

        return ask


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RefkdError(
            f"cannot ask the teachers: {_reason(error)}; mend that and run the same command again, "
            "what is finished is kept"
        ) from error


def _reason(error: OSError) -> str:
    """Return what went wrong, and with which file if that is known."""
    reason = (error.strerror or str(error)).lower()
    return f"{reason} ({error.filename})" if error.filename else reason


def _misnamed(folder: Path) -> str:
    """Say what helps where a folder holds another cache than the one that it is named by."""
    return f"it has the name of another cache, delete {folder} and run `refkd cache` again"


def _sync_seconds(folder: Path) -> float:
    """Return how long it takes to sync a folder that was synced already, as most then are."""
    sync(folder)
    began = time.monotonic()
    sync(folder)
    return time.monotonic() - began


def _forget(chunk: Chunk) -> None:
    """Note nothing: a restored chunk is in the manifest already."""
