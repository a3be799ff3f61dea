"""The names of locks: whoever builds, repairs or weighs a cache, or deletes it, means the same file.

    OUT/.building/<name>.lock            of whoever builds or repairs OUT/<name>
    OUT/.building/<name>-weights.lock    of whoever weighs it, in OUT/.building/<name>-weights

OUT/<name> is where the cache really lies, whatever links led to it. A name may hold dots: nothing
here takes one apart at them.
"""

from pathlib import Path

from stores.removal import undoomed
from stores.unfinished import BUILDING


def weighing_folder(cache: Path) -> Path:
    """Return where the weights of a cache grow: on its own disk."""
    folder = cache.resolve()
    return folder.parent / BUILDING / f"{folder.name}-weights"


def building_lock_file(cache: Path) -> Path:
    """Return the lock of whoever builds or repairs a cache."""
    folder = cache.resolve()
    return folder.parent / BUILDING / f"{folder.name}.lock"


def weighing_lock_file(cache: Path) -> Path:
    """Return the lock of whoever weighs a cache."""
    return lock_inside(weighing_folder(cache))


def lock_inside(unfinished: Path) -> Path:
    """Return the lock of whoever works on a folder in `.building`, also of one that is doomed."""
    return unfinished.parent.resolve() / f"{undoomed(unfinished.name)}.lock"
