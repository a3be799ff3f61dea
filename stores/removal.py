"""Taking folders of ours apart: nobody sees half of one, and what a kill leaves has a name."""

import os
import shutil
import uuid
from pathlib import Path

DOOMED = ".doomed"  # ends the names of folders that are being taken apart


def remove_folder(path: Path) -> None:
    """Delete a folder of ours if it is there, renaming it first so that nobody sees half of it.

    What lies there in place of a folder goes too.
    """
    if path.is_dir() and not path.is_symlink():
        if undoomed(path.name) == path.name:
            path = path.replace(path.with_name(doomed_name(path.name)))
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remnants(path: Path) -> list[Path]:
    """Return what lies at a path, and beside it what killed removals of it left; sorted."""
    if not path.parent.is_dir():
        return []
    return sorted(one for one in path.parent.iterdir() if undoomed(one.name) == path.name)


def sweep(path: Path) -> None:
    """Delete a folder of ours and what killed removals of it left; the caller holds its lock."""
    for left in remnants(path):
        remove_folder(left)


def doomed_name(name: str) -> str:
    """Return a new name for a folder that is to be taken apart."""
    return f".{undoomed(name)}.{uuid.uuid4().hex}{DOOMED}"


def undoomed(name: str) -> str:
    """Return the name that a folder had before it was doomed.

    >>> undoomed(doomed_name("v1.2")), undoomed("v1.2")
    ('v1.2', 'v1.2')
    """
    while name.startswith(".") and name.endswith(DOOMED):
        name = name[1:].removesuffix(DOOMED).rpartition(".")[0]
    return name


def make_way(folder: Path, name: str) -> Path:
    """Return where a file of a folder of ours is to be written, once nothing lies in its way.

    That would be a folder of its name, or a file in place of a folder that it lies in.
    """
    path = folder / name
    for place in reversed(path.relative_to(folder).parents[:-1]):
        if os.path.lexists(folder / place) and not (folder / place).is_dir():
            (folder / place).unlink(missing_ok=True)
    if path.is_dir() and not path.is_symlink():
        remove_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
