"""Is a cache intact; is it of these data, these teachers, these inputs; if not, what differs."""

from collections.abc import Sequence
from typing import Any

from stores.arraynames import array_parts, chunk_of
from stores.cache import Cache
from stores.cachekeys import CachePlan, data_settings, named_inputs, row_inputs, sample_inputs
from stores.dataset import DataSet
from stores.errors import RefkdError
from stores.files import describe_change


def check_cache(
    cache: Cache,
    *,
    data: DataSet | None = None,
    teachers: Sequence[str] = (),
    views: int | None = None,
) -> None:
    """Raise RefkdError, naming what differs, if a cache is of other data or lacks a teacher.

    `views` is the version of the code that moves, if the cache must hold views.
    """
    missing = [name for name in teachers if name not in cache.teachers]
    if missing:
        raise RefkdError(
            f"{cache.folder} holds the teachers {', '.join(cache.teachers)}, not "
            f"{', '.join(missing)}; name some of those by --teachers, or run `refkd cache` with "
            f"--teacher {missing[0]}=DIR"
        )
    if views is not None:
        _check_views(cache, views)
    if data is None or data.seal == cache.manifest["data"]:
        return  # the seal covers every byte of the data
    rows = data.rows(*cache.manifest["splits"])
    before = named_inputs(cache.manifest["inputs"], _arrays(cache))
    seen = row_inputs(data, rows, moments=cache.num_views > 0)
    now = {**sample_inputs(data, rows), **data_settings(data), **seen}
    changed = sorted(name for name in now if now[name] != before[name])
    if changed:
        raise RefkdError(
            f"{cache.folder} was made from other data than {data.folder}: {', '.join(changed)} "
            "differ; run `refkd cache` on this data set"
        )


def check_plain_files(cache: Cache) -> None:
    """Raise RefkdError if a file of a cache that holds no logits is missing or changed.

    They are small, and a student reads few of them: no harm in the others is to go unnoticed.
    """
    for name in cache.manifest["files"]:
        if chunk_of(name) is None:
            cache.read(name)


def check_plan(cache: Cache, plan: CachePlan, *, repair: str | None = None) -> None:
    """Raise RefkdError, naming what differs, unless a cache is the one that a plan describes.

    `repair` says what to run, if it is something else than to make the planned one, or name its teachers.
    """
    if cache.key == plan.key:
        return
    given = sorted({array_parts(name)[0] for name in plan.arrays})
    if given != cache.teachers:
        raise RefkdError(
            f"{cache.folder} holds the teachers {', '.join(cache.teachers)}, given were "
            f"{', '.join(given)}; {repair or 'name the same with --teacher NAME=DIR'}"
        )
    before = named_inputs(cache.manifest["inputs"], _arrays(cache))
    now = named_inputs(plan.inputs, {name: array.inputs for name, array in plan.arrays.items()})
    raise RefkdError(
        f"{cache.folder} was made from other inputs: {describe_change(before, now)}; "
        f"{repair or 'run `refkd cache` with these inputs'}"
    )


def _check_views(cache: Cache, version: int) -> None:
    """Raise RefkdError if a cache holds no views, or views that are moved otherwise by now."""
    if not cache.num_views:
        raise RefkdError(
            f"{cache.folder} holds no moved views for --augment views; "
            "run `refkd cache` with --views V"
        )
    found = cache.manifest["views"]["version"]
    if found != version:
        raise RefkdError(
            f"{cache.folder} holds views moved by version {found} of the code, this refkd has "
            f"version {version}; run `refkd cache` again"
        )


def _arrays(cache: Cache) -> dict[str, dict[str, Any]]:
    """Return the inputs of each teacher's array."""
    return {name: array["inputs"] for name, array in cache.manifest["arrays"].items()}


def damaged_files(cache: Cache) -> dict[str, RefkdError]:
    """Read every file of a cache and return the errors of those that are not as recorded, by name."""
    found = {}
    for name in cache.manifest["files"]:
        try:
            cache.read(name)
        except RefkdError as error:
            found[name] = error
    return found
