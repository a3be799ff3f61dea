"""Stage one: ask every teacher about every pair once, and keep what they say."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.asking import Asking, read_teachers
from pipeline.filling import fill, is_whole
from stores.building import cache_folder
from stores.cachekeys import VIEWED, plan_cache
from stores.dataset import open_dataset
from stores.errors import RefkdError
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
    device: str = "auto",
) -> Path:
    """Return the cache folder of these teachers and splits, named in `out` by its key.

    With `views` the teachers are also asked about so many moved views of each training pair.
    A finished cache is returned once every file of it was read and checked, damaged ones put
    back; a killed one is resumed; arrays of caches beside it are taken over, not computed again.
    """
    if workers < 1:
        raise RefkdError(f"workers must be at least 1, got {workers}")
    if views < 0:
        raise RefkdError(f"views must be at least 0, got {views}")
    dataset, facts = open_dataset(data), read_teachers(teachers)
    if views and tuple(splits) != (VIEWED,):
        raise RefkdError(
            f"--views moves the pairs of split {VIEWED} alone, got {', '.join(splits)}; "
            "cache other splits without --views, in a cache of their own"
        )
    moved = plan_views(dataset, views) if views else None
    plan = plan_cache(
        dataset,
        facts,
        splits=splits,
        dtype=dtype,
        codec=codec,
        precision=precision,
        views=moved,
    )
    if is_whole(out, plan):
        log.info("%s is already complete", cache_folder(out, plan))
        return cache_folder(out, plan)

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
        views=moved,
    )
    here, rows = environment(device), block_rows(device)
    return fill(out, plan, asking.open, here, block_rows=rows, workers=workers)
