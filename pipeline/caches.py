"""Which caches lie below a folder, what they take, and which runs used them."""

import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.uses import Uses, find_uses
from pipeline.walking import Trouble, walk
from stores.cache import Cache, read_cache
from stores.errors import RefkdError
from stores.files import MANIFEST, SEAL
from stores.fingerprints import SHORT
from stores.unfinished import BUILDING, CURRENT

log = logging.getLogger("refkd")
UNITS = (("days", 86_400), ("hours", 3600), ("minutes", 60), ("seconds", 1))


@dataclass(frozen=True)
class Held:
    """A file's bytes on the disk: which, how many, and how many names there are of them."""

    inode: tuple[int, int]
    size: int
    names: int


@dataclass(frozen=True)
class Lying:
    """A folder of ours: a cache, one whose manifest is damaged, or work that was not finished."""

    folder: Path
    files: list[Held]
    changed: float  # seconds since 1970
    cache: Cache | None = None
    trouble: str = ""
    runs: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes, each file once however many names it has here."""
        return held_bytes(self.files)

    def told(self, now: float) -> dict[str, Any]:
        """Return what is worth knowing, as JSON."""
        shared = held_bytes(one for one in self.files if one.names > 1)
        place = {
            "folder": str(self.folder),
            "bytes": self.size,
            "shared bytes": shared,
            "age": spoken_age(now - self.changed),
            "seconds": round(now - self.changed),
        }
        if self.cache is None:
            return {**place, **({"trouble": self.trouble} if self.trouble else {})}
        manifest = self.cache.manifest
        return {
            **place,
            "key": self.cache.key,
            "seal": self.cache.seal,
            "teachers": self.cache.teachers,
            "rows": self.cache.num_rows,
            "splits": manifest["splits"],
            "views": self.cache.num_views,
            **{name: manifest[name] for name in ("dtype", "precision", "codec", "simulated")},
            "weighed": (self.folder / "weights" / CURRENT).is_file(),
            "runs": self.runs,
        }


def caches(folder: Path, *, runs: Sequence[Path] = ()) -> dict[str, Any]:
    """Return the caches below a folder and its unfinished work, with their sizes and ages.

    `runs` are folders that hold runs, at any depth, or results of `refkd ablate`. Bytes are those
    of files; one that several caches share is counted in each, and once in the sum.
    """
    lying, uses = find_lying(folder), find_uses(runs)
    for path, why in uses.unknown:
        log.warning("%s: nobody can say which cache it used: %s", path, why)
    named, now = name_runs(lying, uses), time.time()
    return {
        "folder": str(folder),
        "bytes": held_bytes(held for one in named for held in one.files),
        "caches": [one.told(now) for one in named if not is_unfinished(one)],
        "unfinished": [one.told(now) for one in named if is_unfinished(one)],
        "runs looked at": uses.count if runs else None,
    }


def find_lying(folder: Path) -> list[Lying]:
    """Return what lies below a folder, sorted by path; inside a cache nobody looks for another.

    Also what symbolic links lead to; what cannot be looked into is warned of.
    """
    if not folder.is_dir():
        raise RefkdError(f"no folder at {folder}; give the one that `refkd cache` wrote into")
    found: list[Lying] = []
    trouble: Trouble = []
    for here, inside, files in walk(folder, trouble):
        if here.name == BUILDING:
            for name in inside:
                found += _unfinished(here / name)
            inside.clear()
        elif MANIFEST in files or SEAL in files:
            found += _finished(here)
            inside.clear()
    for path, why in trouble:
        log.warning("%s: nobody can say whether caches lie there: %s", path, why)
    return sorted(found, key=lambda one: one.folder)


def is_unfinished(one: Lying) -> bool:
    """Return whether it is work that was not finished."""
    return one.folder.parent.name == BUILDING


def name_runs(lying: Iterable[Lying], uses: Uses) -> list[Lying]:
    """Return the same with the runs that used each; of an unreadable cache its name tells the key."""
    return [
        Lying(
            one.folder,
            one.files,
            one.changed,
            one.cache,
            one.trouble,
            uses.of(one.cache.key if one.cache else one.folder.name[:SHORT]),
        )
        for one in lying
    ]


def held_bytes(files: Iterable[Held]) -> int:
    """Return the bytes of files, each once whatever its names."""
    return sum({one.inode: one.size for one in files}.values())


def freed_bytes(lying: Sequence[Lying]) -> int:
    """Return the bytes that are free once some folders are gone: those that no other name keeps."""
    names: dict[tuple[int, int], int] = {}
    files = [held for one in lying for held in one.files]
    for held in files:
        names[held.inode] = names.get(held.inode, 0) + 1
    return held_bytes(held for held in files if names[held.inode] >= held.names)


def caches_text(found: Mapping[str, Any]) -> str:
    """Return what `caches` found as lines: a cache each, the runs below it."""
    lines = []
    for one in found["caches"]:
        lines.append(f"{one['folder']}  {_size(one)}, {one['age']} old")
        if "trouble" in one:
            lines.append(f"  {one['trouble']}")
            continue
        form = f"{one['dtype']}, precision {one['precision']}, codec {one['codec']}"
        views = f", {one['views']} views" if one["views"] else ""
        lines.append(
            f"  teachers {', '.join(one['teachers'])}; {one['rows']} rows of "
            f"{', '.join(one['splits'])}{views}; {form}{'' if one['weighed'] else '; not weighed'}"
        )
        if found["runs looked at"] is not None:
            used = ", ".join(one["runs"]) or "none"
            lines.append(f"  used by {used}")
    lines += [
        f"{one['folder']}  {_size(one)}, {one['age']} old, unfinished"
        for one in found["unfinished"]
    ]
    total = f"{spoken_bytes(found['bytes'])} in {len(found['caches'])} caches"
    return "\n".join([*lines, f"{total}; files with several names are counted once"])


def spoken_bytes(count: int) -> str:
    """Return a number of bytes for people.

    >>> spoken_bytes(999), spoken_bytes(5 * 2**20)
    ('999 bytes', '5.0 MiB')
    """
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def spoken_age(seconds: float) -> str:
    """Return an age in its largest unit.

    >>> spoken_age(200_000.0), spoken_age(61.0)
    ('2 days', '1 minutes')
    """
    for unit, size in UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "0 seconds"


def _size(one: Mapping[str, Any]) -> str:
    shared = one["shared bytes"]
    return spoken_bytes(one["bytes"]) + (f" ({spoken_bytes(shared)} shared)" if shared else "")


def _finished(folder: Path) -> Iterator[Lying]:
    """Yield a cache, or a folder that must have been one; nothing if it is sealed by others, or gone."""
    with suppress(FileNotFoundError):  # somebody deletes it while we look
        changed = folder.stat().st_mtime
        try:
            cache = read_cache(folder)
        except RefkdError as error:
            if (folder / "teachers").is_dir() and (folder / "samples").is_dir():
                yield Lying(folder, _files(folder), changed, trouble=str(error))
            return
        sealed = (folder / SEAL).stat().st_mtime
        yield Lying(folder, _files(folder), sealed, cache)


def _unfinished(folder: Path) -> Iterator[Lying]:
    """Yield half-built work; nothing if it is gone."""
    with suppress(FileNotFoundError):  # its build ends while we look
        changed = folder.stat().st_mtime
        yield Lying(folder, _files(folder), changed)


def _files(folder: Path) -> list[Held]:
    found = []
    for here, _, names in os.walk(folder):  # passes over a folder that is gone, unlike Path.rglob
        for name in names:
            try:
                stat = os.lstat(os.path.join(here, name))
            except FileNotFoundError:  # somebody is at work here
                continue
            found.append(Held((stat.st_dev, stat.st_ino), stat.st_size, stat.st_nlink))
    return found
