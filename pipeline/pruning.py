"""Deleting caches that no run used, so that no kill leaves half of one that looks whole.

A cache is renamed into `.building`, where nothing passes for finished, and then taken apart. Whoever
builds, repairs or weighs one holds its lock; such a cache is left alone.
"""

import logging
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.caches import Lying, find_lying, freed_bytes, is_unfinished, name_runs, spoken_bytes
from pipeline.uses import Uses, find_uses
from stores.errors import RefkdError
from stores.files import locked, sync
from stores.locknames import (
    building_lock_file,
    lock_inside,
    weighing_lock_file,
)
from stores.removal import doomed_name, undoomed
from stores.unfinished import BUILDING

log = logging.getLogger("refkd")
BESIDE = (".cost", ".log")  # notes beside a cache, outside its seal


@dataclass(frozen=True)
class Prunable:
    """What would be deleted, what it would free, and why the rest stays."""

    doomed: list[Lying]
    freed: int
    kept: dict[str, str]  # why, by folder
    runs: Sequence[Path] = ()  # where was looked

    def told(self) -> dict[str, Any]:
        """Return the same as JSON."""
        folders = [str(one.folder) for one in self.doomed]
        return {"delete": folders, "bytes freed": self.freed, "kept": self.kept}

    def __str__(self) -> str:
        lines = [f"delete  {one.folder}  {spoken_bytes(one.size)}" for one in self.doomed]
        lines += [f"keep    {folder}  {why}" for folder, why in self.kept.items()]
        freed = f"{len(self.doomed)} to delete, which frees {spoken_bytes(self.freed)}"
        return "\n".join([*lines, freed])


def find_prunable(
    folder: Path, *, runs: Sequence[Path], no_runs: bool = False, unfinished: bool = False
) -> Prunable:
    """Return the caches below a folder that no run used, and with `unfinished` half-built work.

    Raises RefkdError if it is not said where the runs are (`no_runs`: that there are none), or a
    run cannot be read and may have used any cache.
    """
    if not runs and not no_runs:
        raise RefkdError(
            "what no run uses cannot be told without runs; give --runs DIR for every folder of runs, "
            "or --no-runs if there are none"
        )
    if runs and no_runs:
        raise RefkdError("--runs and --no-runs contradict each other; give one of them")
    uses = _known_uses(runs)
    if runs and not uses.count:
        given = ", ".join(map(str, runs))
        raise RefkdError(f"no run lies in {given}; give the right --runs, or --no-runs if so")
    doomed, kept = [], {}
    for one in name_runs(find_lying(folder), uses):
        why = _why_kept(one, folder, unfinished=unfinished)
        if why:
            kept[str(one.folder)] = why
        else:
            doomed.append(one)
    return Prunable(doomed, freed_bytes(doomed), kept, runs)


def prune(found: Prunable) -> list[str]:
    """Delete what was found and return the folders that are gone; what is in use by now stays.

    Raises RefkdError, and deletes nothing more, if by now a run cannot be read.
    """
    gone = []
    for one in found.doomed:
        with ExitStack() as held:
            if not all(held.enter_context(locked(lock, wait=False)) for lock in _locks(one)):
                log.warning("%s is being worked on by now and stays", one.folder)
                continue
            # before each: to take one apart may take minutes, in which a run begins on the next
            (now,) = name_runs([one], _known_uses(found.runs))
            if now.runs:
                log.warning("%s is used by %s by now and stays", one.folder, now.runs[0])
                continue
            if one.folder.exists():
                _remove(one.folder)
                gone.append(str(one.folder))
    return gone


def _known_uses(runs: Sequence[Path]) -> Uses:
    """Return what the runs used, of which none may be unknown."""
    uses = find_uses(runs)
    if uses.unknown:
        path, why = uses.unknown[0]
        raise RefkdError(
            f"{path} may have used any cache and cannot be read: {why}; mend or delete it first"
        )
    return uses


def _why_kept(one: Lying, below: Path, *, unfinished: bool) -> str:
    """Return why a folder stays, "" if it need not."""
    if one.runs:
        return f"used by {one.runs[0]}" + (f" and {len(one.runs) - 1} more" if one.runs[1:] else "")
    if one.folder.resolve() != below.resolve() / one.folder.relative_to(below):
        return (
            f"is behind a symbolic link; prune {one.folder.resolve().parent}, where its locks are"
        )
    if _is_busy(one):
        return "is being worked on"
    if is_unfinished(one) and undoomed(one.folder.name) != one.folder.name:
        return ""  # left by a killed deletion
    if is_unfinished(one):
        return "" if unfinished else "is unfinished; --unfinished deletes it too"
    return "" if one.cache is not None else "is damaged, and nobody knows what it was"


def _is_busy(one: Lying) -> bool:
    """Return whether some process works on a folder, without making lock files."""
    with ExitStack() as held:
        locks = [lock for lock in _locks(one) if lock.exists()]
        return not all(held.enter_context(locked(lock, wait=False)) for lock in locks)


def _locks(one: Lying) -> list[Path]:
    """Return the locks that whoever builds, repairs or weighs holds."""
    if is_unfinished(one):
        return [lock_inside(one.folder)]
    return [building_lock_file(one.folder), weighing_lock_file(one.folder)]


def _remove(folder: Path) -> None:
    """Rename a folder to where nothing passes for whole, and take it apart there."""
    folder = folder.absolute()
    place = folder.parent if folder.parent.name == BUILDING else folder.parent / BUILDING
    doomed = place / doomed_name(folder.name)
    folder.replace(doomed)
    sync(folder.parent)
    for suffix in BESIDE if folder.parent != place else ():
        folder.with_name(f"{folder.name}{suffix}").unlink(missing_ok=True)
    shutil.rmtree(doomed)
