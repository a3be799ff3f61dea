"""Putting back the files of a finished cache that were damaged or lost, byte for byte.

A file is replaced only by bytes whose digest is the recorded one, in one rename, so readers that
have the cache open notice nothing. What lies there and is no file, such as a folder, gives way to it.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

from stores.arraynames import chunk_of, spoken
from stores.cache import Cache
from stores.cachekeys import CachePlan
from stores.cachemanifest import plan_files
from stores.errors import NotAsRecorded
from stores.files import describe_change, write_atomic
from stores.fingerprints import bytes_digest
from stores.journal import Environment
from stores.removal import DOOMED, make_way, remove_folder
from stores.units import Unit, make_units

log = logging.getLogger("refkd")


def restore_files(
    cache: Cache, plan: CachePlan, damaged: Iterable[str], *, block_rows: int
) -> list[Unit]:
    """Write damaged files that hold no logits anew, and return the units that the others lie in.

    Raises NotAsRecorded, and leaves the file as it is, if it would not become what was recorded.
    """
    plain = plan_files(plan)
    chunks: dict[str, list[int]] = {name: [] for name in plan.arrays}
    recorded = {}
    for name in damaged:
        log.info("restoring %s of %s", cache.place(name), cache.folder)
        sha256 = cache.manifest["files"][name]["sha256"]
        found = chunk_of(name)
        if found is not None:
            array, chunk = found
            chunks[array].append(chunk)
            recorded[array, chunk] = sha256
            continue
        data = plain.get(name, b"")
        if bytes_digest(data) != sha256:
            raise NotAsRecorded(
                f"{cache.folder / name} cannot be restored: made again it is not what was recorded"
            )
        write_atomic(make_way(cache.folder, name), data)
    return make_units(plan, chunks, block_rows=block_rows, recorded=recorded)


def tidy(folder: Path) -> None:
    """Remove what a killed repair left in a cache; the caller holds its lock alone.

    Its weights have a lock of their own and stay as they are.
    """
    for left in sorted(folder.rglob(".*")):
        inside = left.relative_to(folder).parts[0] == "weights"
        if left.suffix in (".tmp", DOOMED) and not inside:
            remove_folder(left)


def explain_difference(cache: Cache, damaged: Iterable[str], here: Environment) -> str:
    """Say in what this machine differs from the ones that made the damaged chunks, and what helps."""
    arrays = {found[0] for name in damaged if (found := chunk_of(name)) is not None}
    built = {name: cache.manifest["arrays"][name]["built"] for name in sorted(arrays)}
    changes = [
        f"teacher {spoken(name)} was asked elsewhere: {describe_change(made, here)}"
        for name, made in built.items()
        if made != here
    ]
    same = "data, teachers, device kind, processor, torch version and compiler are those recorded"
    return (
        f"{'; '.join(changes) or same}; that file is left as it is, repair it where all is as "
        f"recorded, or delete {cache.folder} and run `refkd cache` again"
    )
