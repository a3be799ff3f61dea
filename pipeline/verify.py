"""Asking the teachers again: is what a cache holds what they say now?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.asking import Asking, read_teachers
from pipeline.fidelity import EXACT, fidelity
from pipeline.filling import repair as put_back
from stores.arraynames import spoken
from stores.cache import Cache, read_cache
from stores.cachechecks import check_plan, damaged_files
from stores.cachekeys import CachePlan, plan_cache
from stores.dataset import open_dataset
from stores.errors import RefkdError
from stores.files import describe_change
from stores.units import Forward, Unit, make_units, stored_form
from student.views import plan_views

MOST_UNITS = 4  # asked again of each array: the first, the last, and between
TOLERANCE = {"float32": 1e-3, "bf16": 0.5}  # of a logit, by precision, on another device kind
STEP = {"float32": 0.0, "float16": 2.0**-10}  # distance of neighbouring values of a dtype, relative


def verify(
    cache: Path,
    data: Path,
    *,
    teachers: Mapping[str, Path],
    repair: bool = False,
    device: str = "auto",
    compiled: bool = False,
) -> dict[str, Any]:
    """Read every file of a cache, ask the teachers about some rows again, and return what was found.

    On the kind of device, processor and torch version that built an array, compiled if it was, the
    logits must be the same bits; elsewhere, told as `elsewhere`, they may differ by a tolerance. Beside how far they are from those
    that were kept stands what a student loses by what the cache keeps (pipeline/fidelity.py). With `repair`, damaged files are first made again; each
    is replaced only by the bytes that are recorded. Raises RefkdError, naming samples, if they do not
    agree, a file is damaged, or the cache was made from other data or teachers.
    """
    opened = read_cache(cache)
    if not repair:
        _check_files(opened)
    dataset, facts = open_dataset(data, anew=True), read_teachers(teachers)
    manifest = opened.manifest
    views = plan_views(dataset, opened.num_views) if opened.num_views else None
    plan = plan_cache(
        dataset,
        facts,
        splits=manifest["splits"],
        dtype=manifest["dtype"],
        codec=manifest["codec"],
        precision=manifest["precision"],
        views=views,
    )
    check_plan(opened, plan)

    # torch, not before it is needed: it takes seconds
    from student.forward import block_rows, environment, resolve_device

    device = resolve_device(device)
    asking = Asking(
        data=data,
        data_seal=dataset.seal,
        teachers=dict(teachers),
        seals={name: seal for name, (_, seal) in facts.items()},
        splits=tuple(manifest["splits"]),
        device=device,
        precision=manifest["precision"],
        views=views,
        compiled=compiled,
    )
    here, rows = environment(device, compiled=compiled), block_rows(device)
    repaired = put_back(cache, plan, asking.open, here, block_rows=rows) if repair else 0
    forward = asking.open()
    return {
        "cache": str(cache),
        "key": opened.key,
        "seal": opened.seal,
        "rows": opened.num_rows,
        "files": len(manifest["files"]),
        **({"repaired": repaired} if repair else {}),
        "teachers": {
            spoken(name): _compare(
                opened,
                sample_units(plan, name, block_rows=rows),
                forward,
                change=describe_change(manifest["arrays"][name]["built"], here),
            )
            for name in opened.arrays
        },
    }


def _check_files(cache: Cache) -> None:
    """Raise RefkdError if a file of a cache is missing or changed; it names the first and counts all."""
    damaged = damaged_files(cache)
    if damaged:
        first = next(iter(damaged.values()))
        more = f" ({len(damaged)} files are damaged in all)" if len(damaged) > 1 else ""
        raise RefkdError(f"{first}{more}")


def sample_units(plan: CachePlan, array: str, *, block_rows: int) -> list[Unit]:
    """Return at most MOST_UNITS units of an array's chunks, spread over the rows."""
    chunks = {array: list(range(plan.layout.num_chunks))}
    units = make_units(plan, chunks, block_rows=block_rows)
    places = np.linspace(0, len(units) - 1, min(MOST_UNITS, len(units))).round().astype(int)
    return [units[place] for place in np.unique(places)]


def _compare(cache: Cache, units: list[Unit], forward: Forward, *, change: str) -> dict[str, Any]:
    """Return the largest differences between the logits of an array now and then.

    `change` says in what this machine differs from the one that built the array, if it does.
    Raises RefkdError, naming the sample, where it is above the tolerance.
    """
    dtype, precision = cache.manifest["dtype"], cache.manifest["precision"]
    worst, rows, same_bits, close = 0.0, 0, True, EXACT
    for unit in units:
        said = forward(unit.array, unit.lo, unit.hi)
        now = stored_form(said, unit, dtype=dtype)
        then = np.concatenate([cache.chunk(unit.array, chunk) for chunk in unit.chunks])
        gap = np.abs(now.astype(np.float64) - then)
        allowed = 0.0 if not change else TOLERANCE[precision] + STEP[dtype] * np.abs(then)
        bad = np.argwhere(~(gap <= allowed))
        if len(bad):
            row, boundary, clip = bad[0]
            raise RefkdError(
                f"{cache.folder}: teacher {spoken(unit.array)} now says {now[row, boundary, clip]} of "
                f"sample {unit.ids[row]} where the cache holds {then[row, boundary, clip]}; "
                f"delete {cache.folder} and run `refkd cache` again"
            )
        worst, rows = max(worst, float(gap.max())), rows + unit.num_rows
        same_bits = same_bits and now.tobytes() == then.tobytes()
        close = close.worst(fidelity(said, then, unit.clips_n))
    return {
        "rows": rows,
        "max_abs_error": worst,
        "tolerance": TOLERANCE[precision] if change else 0.0,
        "same_bits": same_bits,
        **close._asdict(),
        **({"elsewhere": change} if change else {}),
    }
