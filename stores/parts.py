"""Parts of the work on one cache, for machines that share a folder.

    OUT/.building/<key>/part-<i>-of-<n>.<run>.jsonl   the journal of one run of a part
    OUT/.building/<key>/whole-<run>/                  a finished cache on its way to its name

All that the shared file system must do is rename in one step. Chunk files appear whole; a journal has
one writer, who notes a chunk when its file lies there; machines that make the same chunk make the
same bytes. Whoever finds every chunk done links them into a folder of its own and renames that:
one wins, the others find the cache finished. Locks only spare work.
"""

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stores.cachekeys import CachePlan
from stores.errors import RefkdError
from stores.journal import Entry, Environment, Journal
from stores.resuming import Done
from stores.siblings import link_file
from stores.units import Unit

JOURNAL = "journal.jsonl"  # of whoever does all that is left
BEGUN = ""  # the array of an entry that names no chunk: on such a machine a part has begun


@dataclass(frozen=True)
class Part:
    """The part of this number, from 1, of so many."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def parse_part(text: str) -> Part:
    """Return the part that is written `I/N`.

    >>> parse_part("2/3")
    Part(number=2, of=3)
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    part = Part(int(found[1]), int(found[2])) if found else None
    if part is None or not 1 <= part.number <= part.of:
        raise RefkdError(f"--part {text} is no part; give I/N with I from 1 to N, such as 2/3")
    return part


def share_of(part: Part, plan: CachePlan, units: Iterable[Unit], *, block_rows: int) -> list[Unit]:
    """Return those of the units that belong to a part, whatever else is done already."""
    size = max(plan.layout.rows_per_chunk, block_rows)
    first = {
        name: i * -(-plan.layout.num_rows // size) for i, name in enumerate(sorted(plan.arrays))
    }
    return [
        unit for unit in units if (first[unit.array] + unit.lo // size) % part.of == part.number - 1
    ]


def open_journal(folder: Path, part: Part | None) -> Journal:
    """Return the journal to write: one for each run of a part, else the one of the whole."""
    if part is None:
        return Journal(folder / JOURNAL)
    return Journal(folder / f"part-{part.number}-of-{part.of}.{uuid.uuid4().hex}.jsonl")


def has_parts(folder: Path) -> bool:
    """Return whether parts of a cache's work have begun."""
    return any(folder.glob("part-*.jsonl"))


def all_entries(folder: Path, *, mend: bool = False) -> list[Entry]:
    """Return the entries of every journal on a cache's work, a chunk's perhaps several times.

    Only who holds the lock alone may `mend` the journal of the whole.
    """
    entries = Journal(folder / JOURNAL).entries(mend=mend)
    for path in sorted(folder.glob("part-*.jsonl")):
        entries += Journal(path).entries(mend=False)
    return entries


def check_alike(
    folder: Path, entries: Iterable[Entry], done: Done, environment: Environment
) -> None:
    """Raise RefkdError if other machines work, or have worked, on a cache otherwise than this one.

    What was taken whole from another cache, and counts here too, is no such work.
    """
    for entry in entries:
        counted = done.get((entry.array, entry.chunk))
        if entry.built not in (environment, counted and counted.built):
            raise RefkdError(
                f"{folder} holds work done on {_spoken(entry.built)}, here it would be "
                f"{_spoken(environment)}, and the parts of a cache must be alike; run the part on "
                f"a machine of that kind, or delete {folder} to begin anew"
            )


def assemble(group: Path, folder: Path, files: Iterable[str]) -> Path:
    """Link the finished chunks of a group into a new folder that no other process knows."""
    whole = folder / f"whole-{uuid.uuid4().hex}"
    for name in files:
        link_file(group / name, whole / name)
    return whole


def _spoken(environment: Environment) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(environment.items()))
