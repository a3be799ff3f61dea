"""What `refkd cache` would do, before anything runs: chunks at hand, to compute, stale; bytes."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stores.arraynames import chunk_of, logits_name, spoken
from stores.building import building_folder, cache_folder
from stores.cache import Cache, read_cache
from stores.cachechecks import check_plan, damaged_files
from stores.cachekeys import CachePlan, array_settings
from stores.cachemanifest import manifest_facts, plan_files
from stores.codecs import CHECKSUM_BYTES
from stores.files import describe_change
from stores.journal import Entry, Environment
from stores.parts import all_entries
from stores.resuming import Done, resumable, wanted_chunks
from stores.siblings import closest_miss, find_chunks, finished_caches
from stores.unfinished import stands

NOWHERE: Environment = {}  # no machine's: nothing was made here
LONGEST: Environment = {
    "device": "cuda",
    "processor": "x" * 48,
    "torch": "x" * 24,
    "compiled": "x" * 64,
}
DIGEST, SEAL_BYTES = "0" * 64, 65


@dataclass(frozen=True)
class Outlook:
    """The chunks of an array that must be computed; those of them that are at hand, but stale."""

    lacking: list[int]
    stale: list[int]
    why: str = ""

    def counts(self, num_chunks: int) -> dict[str, Any]:
        """Return numbers of chunks, and why some are stale."""
        return {
            "chunks": num_chunks,
            "hits": num_chunks - len(self.lacking),
            "misses": len(self.lacking) - len(self.stale),
            "stale": len(self.stale),
            **({"why": self.why} if self.why else {}),
        }


def foresee(out: Path, plan: CachePlan, environment: Callable[[], Environment]) -> dict[str, Any]:
    """Return what the building of a planned cache in `out` would find, ask for and write.

    Of each array: hits are chunks that need not be computed, misses were never, stale ones are at
    hand as they were before something changed. Damaged files of a finished cache that hold no logits
    are told apart. `environment`, which may be slow, is called only if the answer depends on it.
    Nothing is written.
    """
    folder, layout = cache_folder(out, plan), plan.layout
    damaged: Collection[str] = ()
    finished = stands(folder)
    if finished:
        cache = read_cache(folder)
        check_plan(cache, plan)
        damaged = damaged_files(cache)
        arrays = _of_finished(plan, damaged)
    else:
        arrays = _of_unfinished(out, plan, environment)
    lacking = [chunk for array in arrays.values() for chunk in array.lacking]
    plain, chunk = most_plain_bytes(plan), most_chunk_bytes(plan)
    whole = finished and not damaged
    others = sorted(name for name in damaged if chunk_of(name) is None)
    return {
        "cache": str(folder),
        "complete": whole,
        "arrays": {spoken(name): one.counts(layout.num_chunks) for name, one in arrays.items()},
        **({"other files damaged": others} if others else {}),
        "rows to ask": sum(hi - lo for lo, hi in map(layout.span, lacking)),
        "bytes of the cache, at most": plain + chunk * len(arrays) * layout.num_chunks,
        "bytes to write, at most": 0 if whole else plain + chunk * len(lacking),
    }


def most_chunk_bytes(plan: CachePlan) -> int:
    """Return the most bytes that the file of a chunk can have; raw ones have exactly so many."""
    values = plan.layout.chunk_bytes
    if plan.layout.codec != "raw":  # no codec here makes a chunk longer by more
        values += values // 128 + 1024
    return values + CHECKSUM_BYTES


def most_plain_bytes(plan: CachePlan) -> int:
    """Return the most bytes that all files of a cache have which hold no logits."""
    files = {name: len(data) for name, data in plan_files(plan).items()}
    sizes = dict(files)
    for name in plan.arrays:
        for file in _chunk_files(plan, name):
            sizes[file] = most_chunk_bytes(plan)
    entries = {name: {"size": size, "sha256": DIGEST} for name, size in sizes.items()}
    facts = manifest_facts(plan, dict.fromkeys(plan.arrays, LONGEST))
    text = json.dumps({**facts, "files": entries}, indent=1, sort_keys=True)
    return sum(files.values()) + len(text) + 1 + SEAL_BYTES


def _of_finished(plan: CachePlan, damaged: Collection[str]) -> dict[str, Outlook]:
    found = {}
    for name in plan.arrays:
        files = _chunk_files(plan, name)
        lost = [chunk for chunk, file in enumerate(files) if file in damaged]
        found[name] = Outlook(lost, lost, "damaged" if lost else "")
    return found


def _of_unfinished(
    out: Path, plan: CachePlan, environment: Callable[[], Environment]
) -> dict[str, Outlook]:
    siblings, place = finished_caches(out), building_folder(out, plan)
    entries = all_entries(place)
    here = NOWHERE
    lacking = {name: _lacking(plan, name, siblings, {}, here) for name in plan.arrays}
    lost = [name for name, chunks in lacking.items() if chunks]
    if lost and (entries or any(_alike(plan, name, siblings) for name in lost)):
        here = environment()
        done, _ = resumable(plan, place / "group", entries, here)
        lacking = {name: _lacking(plan, name, siblings, done, here) for name in plan.arrays}
    return {
        name: _stale(plan, name, chunks, siblings, entries, here)
        for name, chunks in lacking.items()
    }


def _lacking(
    plan: CachePlan, name: str, siblings: list[Cache], done: Done, here: Environment
) -> list[int]:
    """Return the chunks of an array that neither half-built work nor a sibling holds."""
    missing = [chunk for chunk in range(plan.layout.num_chunks) if (name, chunk) not in done]
    for found in find_chunks(plan, name, siblings, here) if missing else []:
        taken = wanted_chunks(found, missing, here)
        missing = [chunk for chunk in missing if chunk not in taken]
    return missing


def _alike(plan: CachePlan, name: str, siblings: list[Cache]) -> bool:
    """Return whether a sibling may hold a part of an array, which counts if it was made here."""
    wanted = plan.arrays[name].settings
    arrays = [one for sibling in siblings for one in sibling.manifest["arrays"].values()]
    return any(array_settings(array["inputs"]) == wanted for array in arrays)


def _stale(
    plan: CachePlan,
    name: str,
    lacking: list[int],
    siblings: list[Cache],
    entries: Sequence[Entry],
    here: Environment,
) -> Outlook:
    """Tell the chunks that are at hand, and what made them stale, from those that never were."""
    other = {one.chunk: one.built for one in entries if one.array == name and one.built != here}
    elsewhere = [chunk for chunk in lacking if chunk in other]
    if elsewhere:
        change = describe_change(dict(other[elsewhere[0]]), dict(here))
        return Outlook(lacking, elsewhere, f"half-built elsewhere: {change}")
    closest = closest_miss(name, plan.arrays[name], siblings) if lacking else None
    if closest is None:
        return Outlook(lacking, [])
    sibling, change = closest
    before = [chunk for chunk in lacking if chunk < sibling.layout.num_chunks]
    return Outlook(lacking, before, f"not as in {sibling.folder.name}: {change}")


def _chunk_files(plan: CachePlan, name: str) -> list[str]:
    layout = plan.layout
    return [f"{logits_name(name)}/{layout.chunk_file(i)}" for i in range(layout.num_chunks)]
