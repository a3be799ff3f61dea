"""Building a cache so that it can be killed at any time: finished chunks, a journal, one rename.

    OUT/.building/<key>.lock        the kernel's lock, held while one process builds
    OUT/.building/<key>/group       the cache as it grows, chunk files whole
    OUT/.building/<key>/journal.jsonl   a line for each finished chunk, written after its file

A chunk counts as done only if a journal names it and its file has the digest that stands there.
Several machines may each do a part, with journals of their own: stores/parts.py.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from stores.arraynames import logits_name, spoken
from stores.cachekeys import CachePlan
from stores.cachemanifest import manifest_facts, plan_files
from stores.errors import RefkdError
from stores.files import locked, publish, read_seal, seal_folder, sync, write_atomic
from stores.fingerprints import SHORT, bytes_digest
from stores.journal import Entry, Environment, Journal
from stores.locknames import building_lock_file
from stores.parts import (
    BEGUN,
    Part,
    all_entries,
    assemble,
    check_alike,
    has_parts,
    open_journal,
    share_of,
)
from stores.removal import sweep
from stores.resuming import Done, resumable, wanted_chunks
from stores.siblings import Found, explain_miss, find_chunks, finished_caches, link_file
from stores.unfinished import BUILDING
from stores.units import Chunk, Note, Settle, Unit, make_units

log = logging.getLogger("refkd")


def cache_folder(out: Path, plan: CachePlan) -> Path:
    """Return where a cache stands once it is finished."""
    return out / plan.key[:SHORT]


def building_folder(out: Path, plan: CachePlan) -> Path:
    """Return where a cache grows until it is finished."""
    return out / BUILDING / plan.key[:SHORT]


@contextmanager
def building_lock(out: Path, plan: CachePlan, part: Part | None = None) -> Iterator[None]:
    """Hold the lock of a cache's building; wait for another process that holds it, and say so.

    Parts hold it together.
    """
    path, shared = building_lock_file(cache_folder(out, plan)), part is not None
    with locked(path, wait=False, shared=shared) as mine:
        if mine:
            yield
            return
    log.info("another process is building %s; waiting for it", cache_folder(out, plan))
    with locked(path, shared=shared):
        yield


class Building:
    """Work on one cache, resumed where the last process left it; the caller holds its lock.

    Of a part, only the units that belong to it are left to do.
    """

    def __init__(
        self, out: Path, plan: CachePlan, environment: Environment, part: Part | None = None
    ) -> None:
        self.out, self.plan, self.environment, self.part = out, plan, environment, part
        self.folder = building_folder(out, plan)
        self.group = self.folder / "group"
        self._journal = open_journal(self.folder, part)
        self._done: Done = {}
        self._company = part is not None
        self.group.mkdir(parents=True, exist_ok=True)
        self._resume()

    @property
    def num_done(self) -> int:
        return len(self._done)

    @property
    def num_chunks(self) -> int:
        return len(self.plan.arrays) * self.plan.layout.num_chunks

    def units(self, block_rows: int) -> list[Unit]:
        """Return the work that is left, in units of whole chunks and whole blocks."""
        missing = {name: self._missing(name) for name in self.plan.arrays}
        units = make_units(self.plan, missing, block_rows=block_rows)
        if self.part is None:
            return units
        return share_of(self.part, self.plan, units, block_rows=block_rows)

    @property
    def note(self) -> Note:
        """A function for worker processes that puts a finished chunk into the journal."""
        return partial(_append, self._journal, self.environment)

    @property
    def settle(self) -> Settle:
        """A function for worker processes that waits until the journal is on the disk."""
        return partial(sync, self._journal.path)

    def record(self, chunk: Chunk) -> None:
        """Count a chunk that a worker has written and noted."""
        entry = _entry(chunk, self.environment)
        self._done[entry.array, entry.chunk] = entry

    def link_siblings(self) -> None:
        """Take over what finished caches in OUT hold of this one; say why if they hold nothing."""
        siblings = finished_caches(self.out)
        for name, array in self.plan.arrays.items():
            if not self._missing(name):
                continue
            for found in find_chunks(self.plan, name, siblings, self.environment):
                self._link(name, found)
            if self._missing(name) and (reason := explain_miss(name, array, siblings)):
                log.info(reason)

    def begin(self) -> None:
        """Say that a part is being done here.

        Raises RefkdError if another kind of machine does other parts.
        """
        if self.part is None:
            return
        try:
            self._check_alike()
            self._journal.append(Entry(BEGUN, 0, "", self.environment))
            self._check_alike()  # two that begin at once: at least one of them sees the other
        except RefkdError:
            self._journal.path.unlink(missing_ok=True)
            raise

    def has_company(self) -> bool:
        """Return whether other machines may be at work, who may also finish it."""
        self._company = self._company or has_parts(self.folder)
        return self._company

    def is_complete(self) -> bool:
        """Return whether every chunk is done, here or by those who do the other parts."""
        if self.part is not None:
            for entry in self._resumable()[0].values():
                self._done.setdefault((entry.array, entry.chunk), entry)
        return self.num_done == self.num_chunks

    def finish(self) -> Path:
        """Seal the finished cache and let it appear under its name, in one rename.

        Raises OSError if another machine has been faster.
        """
        assert self.num_done == self.num_chunks, "every chunk is done"
        expected, group = self._chunk_digests(), self.group
        if self.has_company():  # somebody may still be writing in there
            group = assemble(self.group, self.folder, expected)
        for name, data in plan_files(self.plan).items():
            (group / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(group / name, data, wait=False)  # `publish` waits, for all at once
            expected[name] = bytes_digest(data)
        for path in sorted(group.rglob("*")):  # a killed writer leaves temporary files
            if path.is_file() and path.relative_to(group).as_posix() not in expected:
                path.unlink()
        seal_folder(group, self._facts())
        manifest, _ = read_seal(group, repair="run `refkd cache` again")
        found = {name: entry["sha256"] for name, entry in manifest["files"].items()}
        for name in sorted(expected.keys() | found.keys()):
            # a dead builder's workers outlive it a little
            if found.get(name) != expected.get(name):
                raise RefkdError(
                    f"{group / name} changed while the cache was built; "
                    "run `refkd cache` again to resume"
                )
        folder = cache_folder(self.out, self.plan)
        publish(group, folder)
        remove_building(self.out, self.plan)
        return folder

    def _chunk_digests(self) -> dict[str, str]:
        """Return the digest of each finished chunk's file by the file's name."""
        layout = self.plan.layout
        return {
            f"{logits_name(name)}/{layout.chunk_file(chunk)}": entry.sha256
            for (name, chunk), entry in self._done.items()
        }

    def _facts(self) -> dict[str, Any]:
        """Return the manifest's facts."""
        built = {name: self._done[name, 0].built for name in self.plan.arrays}
        return manifest_facts(self.plan, built)

    def _resume(self) -> None:
        """Count what the journal names, the disk holds, and this kind of machine has made."""
        self._done, elsewhere = self._resumable()
        if elsewhere and self.part is None:
            log.info(
                "%d chunks in %s were made on another device kind, processor or torch version, or "
                "compiled otherwise; they are not resumed",
                elsewhere,
                self.folder,
            )

    def _resumable(self) -> tuple[Done, int]:
        self.has_company()
        entries = all_entries(self.folder, mend=self.part is None)
        return resumable(self.plan, self.group, entries, self.environment)

    def _check_alike(self) -> None:
        check_alike(self.folder, all_entries(self.folder), self._done, self.environment)

    def _missing(self, name: str) -> list[int]:
        return [i for i in range(self.plan.layout.num_chunks) if (name, i) not in self._done]

    def _link(self, name: str, found: Found) -> None:
        missing = self._missing(name)
        if self.part and found.built != self.environment and len(missing) < len(found.files):
            return  # other parts have begun to make it here
        taken = wanted_chunks(found, missing, self.environment)
        for chunk in taken:
            target = self.group / logits_name(name) / self.plan.layout.chunk_file(chunk)
            link_file(found.sibling.folder / found.files[chunk], target)
            entry = Entry(name, chunk, found.sha256(chunk), found.built)
            self._journal.append(entry)
            self._done[name, chunk] = entry
        if taken:
            source = found.sibling.folder
            log.info("teacher %s: %d chunks taken from %s", spoken(name), len(taken), source)


def _append(journal: Journal, built: Environment, chunk: Chunk) -> None:
    journal.append(_entry(chunk, built), wait=False)


def _entry(chunk: Chunk, built: Environment) -> Entry:
    return Entry(chunk.array, chunk.chunk, chunk.sha256, built)


def remove_building(out: Path, plan: CachePlan) -> None:
    """Remove half-built work on a cache; its lock file stays and means nothing."""
    with suppress(FileNotFoundError):  # another machine removes it too
        sweep(building_folder(out, plan))
