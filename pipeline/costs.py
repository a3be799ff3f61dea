"""What a stage cost: seconds and memory, noted beside the folder that it wrote, never inside.

    <folder>.cost   a line of JSON for each sitting: stage, seconds, peak_rss_bytes, and what the stage
                    tells of its work, such as device, threads, rows; peak_gpu_bytes where a GPU was
                    used; goes_on if it belongs to the sittings of the stage before it

A line is one write to the end of the file, so that two who end together lose nothing. Older notes were
one object, by stage; they may stand before the lines. What a killed process did is not noted. A folder
of such notes must not pass for a folder of annotations, so they are not called .json.
"""

import json
import logging
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stores.files import sync

log = logging.getLogger("refkd")
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextmanager
def measured(
    folder: Path, stage: str, *, goes_on: bool | None = None, **told: Any
) -> Iterator[dict[str, Any]]:
    """Measure what happens inside and note it beside a folder, if it ends well.

    Yields what will be noted beside the measurements, for more to be told; `seconds` told there
    are noted in place of the measured ones. Of several `workers` the largest one's memory counts.
    A note takes the place of earlier ones of the stage unless its work `goes_on` from theirs: then
    seconds and rows add up. Where that is told, true or false, a sitting that fails is noted too,
    but not one that goes on and has done no row.
    """
    began = time.monotonic()
    on_gpu, in_workers = told.get("device") == "cuda", told.get("workers", 1) > 1
    _forget_peaks(on_gpu=on_gpu)

    def note() -> None:
        peaks = _peaks(on_gpu=on_gpu, in_workers=in_workers)
        record = {"seconds": round(time.monotonic() - began, 3), **peaks, **told}
        if not goes_on or told["rows"] > 0:
            _append(_place(folder), {"stage": stage, "goes_on": bool(goes_on), **record})

    try:
        yield told
    except BaseException:  # Ctrl-C as well: what was done until then is kept
        if goes_on is not None:
            with suppress(OSError):  # the disk may be full, and that is told
                note()
        raise
    note()


def read_costs(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what is noted of the stages that wrote a folder, by stage; {} if nothing readable is.

    Of the sittings of a stage seconds and rows are summed, the highest peaks and the last word on
    all else are taken.
    """
    costs: dict[str, dict[str, Any]] = {}
    for value in _values(_place(folder)):
        if "stage" not in value:  # one object for all stages, each in one sitting
            costs |= value
            continue
        record = dict(value)
        stage, goes_on = record.pop("stage"), record.pop("goes_on")
        if not goes_on:  # then nothing is left of what parts of it did, either
            for key in notes_of(costs, stage):
                del costs[key]
        costs[stage] = _together(costs[stage], record) if stage in costs else record
    return costs


def notes_of(costs: Mapping[str, Any], stage: str) -> list[str]:
    """Return under what keys a stage is noted: its own, and one for each part of several machines.

    >>> notes_of({"cache": {}, "cache part 1/2": {}, "weigh": {}}, "cache")
    ['cache', 'cache part 1/2']
    """
    return [key for key in costs if key == stage or key.startswith(f"{stage} part ")]


def _together(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what two sittings of a stage cost."""
    both = before.keys() & after.keys()
    summed = {name: round(before[name] + after[name], 3) for name in {"seconds", "rows"} & both}
    peaks = {name: max(before[name], after[name]) for name in both if name.startswith("peak_")}
    return {**before, **after, **summed, **peaks}


def _append(path: Path, record: Mapping[str, Any]) -> None:
    line = json.dumps(record, sort_keys=True, allow_nan=False).encode() + b"\n"
    with path.open("a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
            line = b"\n" + line  # else it would grow onto one that a kill has torn
        file.write(line)
        os.fsync(file.fileno())
    sync(path.parent)


def _values(path: Path) -> list[dict[str, Any]]:
    """Return the objects in a file of notes; what is none is left out with a warning."""
    try:
        text = path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return []
    with suppress(ValueError):  # as it was written once: one object over many lines
        old, end = json.JSONDecoder().raw_decode(text)
        if _is_note(old):
            return [old, *_values_of_lines(path, text[end:])]
    return _values_of_lines(path, text)


def _values_of_lines(path: Path, text: str) -> list[dict[str, Any]]:
    found, torn = [], False
    for line in filter(None, map(str.strip, text.split("\n"))):
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if _is_note(value):
            found.append(value)
        else:
            torn = True
    if torn:  # no reason to lose what took hours
        log.warning("%s is damaged, and what it noted of earlier stages is left out", path)
    return found


def _is_note(value: object) -> bool:
    """Return whether a value is a sitting of a stage, or the stages of old."""
    if not isinstance(value, dict):
        return False
    if "stage" in value:
        return "goes_on" in value and "seconds" in value
    return all(isinstance(cost, dict) for cost in value.values())


def _place(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.cost")


def _forget_peaks(*, on_gpu: bool) -> None:
    """Forget the peaks of earlier stages, where the system can; else they are the process's own."""
    with suppress(OSError):
        CLEAR.write_text("5")  # resets VmHWM: proc(5)
    if on_gpu:
        import torch

        torch.cuda.reset_peak_memory_stats()


def _peaks(*, on_gpu: bool, in_workers: bool) -> dict[str, int]:
    workers = _max_rss(resource.RUSAGE_CHILDREN) if in_workers else 0
    peaks = {"peak_rss_bytes": max(_own_peak(), workers)}
    if on_gpu:
        import torch

        peaks["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
    return peaks


def _own_peak() -> int:
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return _max_rss(resource.RUSAGE_SELF)


def _max_rss(who: int) -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit
