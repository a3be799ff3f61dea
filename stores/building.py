"""Building a cache so that it can be killed at any time: finished chunks, a journal, one rename.

    OUT/.building/<key>.lock        the kernel's lock, held while one process builds
    OUT/.building/<key>/group       the cache as it grows, chunk files whole
    OUT/.building/<key>/journal.jsonl   a line for each finished chunk, written after its file

A chunk counts as done only if the journal names it and its file has the digest that stands there.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from stores.arraynames import logits_name, spoken
from stores.cache import BUILDING
from stores.cachekeys import CachePlan
from stores.cachemanifest import manifest_facts
from stores.errors import RefkdError
from stores.files import locked, publish, read_seal, remove_folder, seal_folder, write_atomic
from stores.fingerprints import SHORT
from stores.journal import Entry, Environment, Journal
from stores.resuming import Done, resumable, wanted_chunks
from stores.rowarrays import array_files
from stores.samples import sample_arrays
from stores.siblings import Found, explain_miss, find_chunks, finished_caches, link_file
from stores.units import Chunk, Note, Unit

log = logging.getLogger("refkd")


def cache_folder(out: Path, plan: CachePlan) -> Path:
    """Return where a cache stands once it is finished."""
    return out / plan.key[:SHORT]


def building_folder(out: Path, plan: CachePlan) -> Path:
    """Return where a cache grows until it is finished."""
    return out / BUILDING / plan.key[:SHORT]


@contextmanager
def building_lock(out: Path, plan: CachePlan) -> Iterator[None]:
    """Hold the lock of a cache's building; wait for another process that holds it, and say so."""
    path = building_folder(out, plan).with_suffix(".lock")
    with locked(path, wait=False) as mine:
        if mine:
            yield
            return
    log.info("another process is building %s; waiting for it", cache_folder(out, plan))
    with locked(path):
        yield


class Building:
    """Work on one cache, resumed where the last process left it; the caller holds its lock."""

    def __init__(self, out: Path, plan: CachePlan, environment: Environment) -> None:
        self.out, self.plan, self.environment = out, plan, environment
        self.folder = building_folder(out, plan)
        self.group = self.folder / "group"
        self._journal = Journal(self.folder / "journal.jsonl")
        self._done: Done = {}
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
        return make_units(self.plan, missing, block_rows=block_rows)

    @property
    def note(self) -> Note:
        """A function for worker processes that puts a finished chunk into the journal."""
        return partial(_append, self._journal, self.environment)

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

    def finish(self) -> Path:
        """Seal the finished cache and let it appear under its name, in one rename."""
        assert self.num_done == self.num_chunks, "every chunk is done"
        expected = self._chunk_digests()
        for name, data in plan_files(self.plan).items():
            (self.group / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.group / name, data)
            expected[name] = ""
        for path in sorted(self.group.rglob("*")):  # a killed writer leaves temporary files
            if path.is_file() and path.relative_to(self.group).as_posix() not in expected:
                path.unlink()
        seal_folder(self.group, self._facts())
        manifest, _ = read_seal(self.group, repair="run `refkd cache` again")
        for name, sha256 in self._chunk_digests().items():
            if manifest["files"].get(name, {}).get("sha256") != sha256:
                raise RefkdError(
                    f"{self.group / name} changed while the cache was built; "
                    "run `refkd cache` again to resume"
                )
        folder = cache_folder(self.out, self.plan)
        publish(self.group, folder)
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
        entries = self._journal.entries()
        self._done, elsewhere = resumable(self.plan, self.group, entries, self.environment)
        if elsewhere:
            log.info(
                "%d chunks in %s were made on another device kind, processor or torch version; "
                "they are not resumed",
                elsewhere,
                self.folder,
            )

    def _missing(self, name: str) -> list[int]:
        return [i for i in range(self.plan.layout.num_chunks) if (name, i) not in self._done]

    def _link(self, name: str, found: Found) -> None:
        taken = wanted_chunks(found, self._missing(name), self.environment)
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
    journal.append(_entry(chunk, built))


def _entry(chunk: Chunk, built: Environment) -> Entry:
    return Entry(chunk.array, chunk.chunk, chunk.sha256, built)


def make_units(
    plan: CachePlan,
    chunks: dict[str, list[int]],
    *,
    block_rows: int,
    recorded: dict[tuple[str, int], str] | None = None,
) -> list[Unit]:
    """Return units of whole chunks and blocks that hold these chunks of each array."""
    layout, samples = plan.layout, plan.samples
    size = max(layout.rows_per_chunk, block_rows)
    assert size % layout.rows_per_chunk == size % block_rows == 0, "both are powers of two"
    units = []
    for name, missing in chunks.items():
        by_unit: dict[int, list[int]] = {}
        for chunk in missing:
            by_unit.setdefault(chunk * layout.rows_per_chunk // size, []).append(chunk)
        for index, inside in by_unit.items():
            lo, hi = index * size, min((index + 1) * size, layout.num_rows)
            known = None if recorded is None else {i: recorded[name, i] for i in inside}
            clips_n = samples.clips_N[lo:hi]
            units.append(Unit(name, lo, hi, tuple(inside), samples.ids[lo:hi], clips_n, known))
    return units


def plan_files(plan: CachePlan) -> dict[str, bytes]:
    """Return every file of a cache by name that holds no logits: Zarr's metadata, the samples."""
    arrays, values = sample_arrays(plan.samples)
    arrays |= {logits_name(name): plan.layout for name in plan.arrays}
    attributes = {"samples/split": {"names": plan.samples.split_names}}
    return array_files(arrays, values, attributes=attributes)


def remove_building(out: Path, plan: CachePlan) -> None:
    """Remove half-built work on a cache; its lock file stays and means nothing."""
    folder = building_folder(out, plan)
    remove_folder(folder)
    for doomed in folder.parent.glob(f".{folder.name}.*.doomed"):  # left by a killed removal
        shutil.rmtree(doomed)
