"""Stage one: ask every teacher about every pair once, and keep what they say."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.asking import Asking, Facts, read_teachers
from pipeline.cacheplan import foresee
from pipeline.filling import fill, is_whole
from stores.building import cache_folder
from stores.cachekeys import VIEWED, CachePlan, plan_cache
from stores.dataset import DataSet, open_dataset
from stores.errors import RefkdError
from stores.journal import Environment
from stores.parts import parse_part
from student.views import plan_views

log = logging.getLogger("refkd")


def cache(
    data: Path,
    out: Path,
    *,
    teachers: Mapping[str, Path],
    splits: Sequence[str] = ("train",),
    dtype: str = "float32",
    codec: str = "raw",
    precision: str = "float32",
    views: int = 0,
    workers: int = 1,
    part: str | None = None,
    device: str = "auto",
    compiled: bool = False,
) -> Path:
    """Return the cache folder of these teachers and splits, named in `out` by its key.

    With `views` the teachers are also asked about so many moved views of each training pair.
    A finished cache is returned once every file of it was read and checked, damaged ones put
    back; a killed one is resumed; arrays of caches beside it are taken over, not computed again.
    Of several machines that share `out` each does a `part`, written I/N; the folder is there when
    the last part is done.
    """
    if workers < 1:
        raise RefkdError(f"workers must be at least 1, got {workers}")
    share = None if part is None else parse_part(part)
    dataset, facts = open_dataset(data), read_teachers(teachers)
    planned = _plan(
        dataset, facts, splits=splits, dtype=dtype, codec=codec, precision=precision, views=views
    )
    if is_whole(out, planned):
        log.info("%s is already complete", cache_folder(out, planned))
        return cache_folder(out, planned)

    # torch, not before it is needed: it takes seconds
    from student.forward import block_rows, environment, resolve_device

    device = resolve_device(device)
    asking = Asking(
        data=data,
        data_seal=dataset.seal,
        teachers=dict(teachers),
        seals={name: seal for name, (_, seal) in facts.items()},
        splits=tuple(splits),
        device=device,
        precision=precision,
        views=planned.samples.views,
        compiled=compiled,
    )
    here, rows = environment(device, compiled=compiled), block_rows(device)
    return fill(out, planned, asking.open, here, block_rows=rows, workers=workers, part=share)


def plan(
    data: Path,
    out: Path,
    *,
    teachers: Mapping[str, Path],
    splits: Sequence[str] = ("train",),
    dtype: str = "float32",
    codec: str = "raw",
    precision: str = "float32",
    views: int = 0,
    device: str = "auto",
    compiled: bool = False,
) -> dict[str, Any]:
    """Return what `cache` would find, ask for and write, before anything runs: see `foresee`."""

    def here() -> Environment:
        from student.forward import environment, resolve_device

        return environment(resolve_device(device), compiled=compiled)

    dataset, facts = open_dataset(data), read_teachers(teachers)
    planned = _plan(
        dataset, facts, splits=splits, dtype=dtype, codec=codec, precision=precision, views=views
    )
    return foresee(out, planned, here)


def _plan(
    dataset: DataSet,
    facts: Facts,
    *,
    splits: Sequence[str],
    dtype: str,
    codec: str,
    precision: str,
    views: int,
) -> CachePlan:
    if views < 0:
        raise RefkdError(f"views must be at least 0, got {views}")
    if views and tuple(splits) != (VIEWED,):
        raise RefkdError(
            f"--views moves the pairs of split {VIEWED} alone, got {', '.join(splits)}; "
            "cache other splits without --views, in a cache of their own"
        )
    return plan_cache(
        dataset,
        facts,
        splits=splits,
        dtype=dtype,
        codec=codec,
        precision=precision,
        views=plan_views(dataset, views) if views else None,
    )
