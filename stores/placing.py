"""How weights come into their place: one process at a time, which may be killed at any moment.

They grow outside the cache (stores/locknames.py) and are renamed into it whole. What a killed process
left is removed by the next one, under the lock.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stores.errors import RefkdError
from stores.files import locked, publish, read_seal, read_sealed, write_atomic
from stores.fingerprints import SHORT
from stores.locknames import weighing_folder, weighing_lock_file
from stores.removal import make_way, remnants, remove_folder, sweep
from stores.unfinished import CURRENT

log = logging.getLogger("refkd")


@contextmanager
def new_weights(cache: Path) -> Iterator[Path]:
    """Yield an empty folder on the cache's own disk, outside it, while no other process weighs it.

    Waits for one that does, and says so.
    """
    lock = weighing_lock_file(cache)
    with locked(lock, wait=False) as mine:
        if mine:
            with _growing(cache) as folder:
                yield folder
            return
    log.info("another process is weighing %s; waiting for it", cache)
    with locked(lock), _growing(cache) as folder:
        yield folder


def put_in_place(built: Path, cache: Path, seal: str) -> None:
    """Make finished weights those that count; what counted until then goes after that.

    If the very same are there and whole, they stay untouched: somebody may be reading them.
    """
    final = cache / "weights" / seal[:SHORT]
    make_way(cache, f"weights/{CURRENT}")
    if not _is_whole(final, seal):
        remove_folder(final)
        publish(built, final)
    write_atomic(final.with_name(CURRENT), f"{seal}\n".encode())
    for left in _left_inside(cache):
        remove_folder(left)


def tidy(cache: Path) -> None:
    """Remove what a killed weighing left of a cache whose weights are whole, if nobody is weighing."""
    beside = weighing_folder(cache)
    if not _left_inside(cache) and not remnants(beside):
        return
    try:
        with locked(weighing_lock_file(cache), wait=False) as mine:
            for left in [*_left_inside(cache), *remnants(beside)] if mine else []:
                remove_folder(left)
    except OSError as error:  # of a disk that is only read; the weights are whole all the same
        log.warning("%s: what a killed weighing left stays there (%s)", cache, error.strerror)


@contextmanager
def _growing(cache: Path) -> Iterator[Path]:
    """Yield the empty folder; the caller holds the lock."""
    folder = weighing_folder(cache)
    sweep(folder)
    folder.mkdir()
    try:
        yield folder
    finally:
        remove_folder(folder)


def _is_whole(folder: Path, seal: str) -> bool:
    """Return whether a folder of weights has a seal and every byte that is under it."""
    try:
        manifest, found = read_seal(folder, repair="")
        for name in manifest["files"]:
            read_sealed(folder, name, manifest, repair="")
    except (RefkdError, OSError):
        return False
    return found == seal


def _left_inside(cache: Path) -> list[Path]:
    """Return what lies beside the weights that count, in their folder."""
    place = cache / "weights"
    counting = (place / CURRENT).read_bytes()[:SHORT].decode()
    return [path for path in sorted(place.iterdir()) if path.name not in (CURRENT, counting)]
