"""What a build need not ask for: chunks of its own half-built work, and of caches beside it."""

from collections.abc import Iterable
from pathlib import Path

from stores.arraynames import logits_name
from stores.cachekeys import CachePlan
from stores.fingerprints import file_digest
from stores.journal import Entry, Environment
from stores.siblings import Found

Done = dict[tuple[str, int], Entry]  # by array and chunk


def resumable(
    plan: CachePlan, group: Path, entries: Iterable[Entry], environment: Environment
) -> tuple[Done, int]:
    """Return the chunks that entries name, a folder holds, and this kind of machine has made.

    Beside them stands how many another kind of machine has made.
    """
    done, elsewhere = {}, 0
    for entry in entries:
        if entry.array not in plan.arrays or entry.chunk not in range(plan.layout.num_chunks):
            continue
        path = group / logits_name(entry.array) / plan.layout.chunk_file(entry.chunk)
        if entry.built != environment:
            elsewhere += 1
        elif path.is_file() and file_digest(path) == entry.sha256:
            done[entry.array, entry.chunk] = entry
    return done, elsewhere


def wanted_chunks(found: Found, missing: list[int], environment: Environment) -> list[int]:
    """Return which chunks of a sibling are taken where some are missing.

    From elsewhere all are, so that no array is of two makes.
    """
    wanted = missing if found.built == environment or not missing else list(found.files)
    return [chunk for chunk in wanted if chunk in found.files]
