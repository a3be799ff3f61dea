"""What a folder is that is no finished cache, and what helps.

OUT/.building/...       caches and weights while they grow, and locks (stores/locknames.py)
"""

import os
from pathlib import Path

from stores.errors import RefkdError
from stores.files import MANIFEST, SEAL
from stores.fingerprints import SHORT

EXPECTED = "expected a cache; give one that `refkd cache` wrote, or run that again"
BUILDING = ".building"  # folder beside the caches for work that is not finished
CURRENT = "current"  # file in the weights of a cache: the seal of those that count


def stands(folder: Path) -> bool:
    """Return whether a cache stands under its name, damaged or not, or nothing does.

    Raises RefkdError, saying what it is, if something else lies there: it would be in the way.
    """
    if not os.path.lexists(folder):
        return False
    if not folder.exists():
        what = f"is a link that leads nowhere, to {os.readlink(folder)}"
    elif not folder.is_dir():
        what = "is a file"
    elif not any(folder.iterdir()):
        what = "is an empty folder"
    elif lacking := [name for name in (MANIFEST, SEAL) if not (folder / name).is_file()]:
        what = f"lacks {lacking[0]}"
    else:
        return True
    raise RefkdError(
        f"{folder} {what}, expected a whole cache or nothing; delete {folder} and run `refkd cache` "
        "again"
    )


def refuse_unfinished(folder: Path) -> None:
    """Raise RefkdError if a folder is absent or was never finished, saying what it is instead."""
    if folder.is_file():
        raise RefkdError(f"{folder} is a file; give the folder of a cache")
    if not folder.is_dir():
        raise RefkdError(f"no logit cache at {folder}; run `refkd cache` first")
    if (folder / CURRENT).is_file():
        raise RefkdError(f"{folder} holds the weights of a cache; give {folder.parent}")
    if (folder / MANIFEST).is_file() and BUILDING not in folder.absolute().parts:
        return
    if BUILDING in folder.absolute().parts:
        raise RefkdError(f"{folder} is unfinished; run `refkd cache` again to resume")
    if (folder / "zarr.json").is_file():
        raise RefkdError(f"{folder} is unfinished or foreign: {MANIFEST} is missing; {EXPECTED}")
    inside = sorted(
        path.name
        for path in folder.iterdir()
        # unlike Path.is_file it does not raise for what nobody may look into
        if os.path.isfile(path / "zarr.json") and len(path.name) == SHORT
    )
    if inside:
        raise RefkdError(f"{folder} holds caches and is none; give {folder / inside[0]}")
    if (folder / BUILDING).is_dir():
        raise RefkdError(f"{folder} holds only unfinished work; run `refkd cache` again to resume")
    raise RefkdError(f"{folder} is no logit cache; run `refkd cache` first")
