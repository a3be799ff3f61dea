"""What a stage cost: seconds and memory, noted beside the folder that it wrote, never inside.

    <folder>.cost   JSON, by stage: seconds, peak_rss_bytes, and what the stage tells of its work,
                    such as device, threads, rows; peak_gpu_bytes where a GPU was used

A folder of such notes must not pass for a folder of annotations, so they are not called .json.
"""

import json
import logging
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stores.files import write_json

log = logging.getLogger("refkd")
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextmanager
def measured(folder: Path, stage: str, **told: Any) -> Iterator[dict[str, Any]]:
    """Measure what happens inside and note it beside a folder, if it ends well.

    Yields what will be noted beside the measurements, for more to be told; `seconds` told there
    are noted in place of the measured ones. Of several `workers` the largest one's memory counts.
    """
    began = time.monotonic()
    on_gpu, in_workers = told.get("device") == "cuda", told.get("workers", 1) > 1
    _forget_peaks(on_gpu=on_gpu)
    yield told
    peaks = _peaks(on_gpu=on_gpu, in_workers=in_workers)
    record = {"seconds": round(time.monotonic() - began, 3), **peaks, **told}
    write_json(_place(folder), {**read_costs(folder), stage: record})


def read_costs(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what is noted of the stages that wrote a folder, by stage; {} if nothing readable is."""
    path = _place(folder)
    try:
        costs = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        costs = None
    if not isinstance(costs, dict):  # no reason to lose what took hours
        log.warning("%s is damaged, and what it noted of earlier stages is left out", path)
        return {}
    return costs


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
