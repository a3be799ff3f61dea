"""What finished caches that lie beside each other have in common: chunks made from the same inputs."""

import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stores.arraynames import logits_name, spoken
from stores.cache import Cache, read_cache
from stores.cachekeys import ArrayPlan, CachePlan, array_settings
from stores.errors import RefkdError
from stores.files import MANIFEST, SEAL, describe_change, write_atomic
from stores.journal import Environment


@dataclass(frozen=True)
class Found:
    """Files of a sibling that hold chunks of a planned array, by chunk."""

    sibling: Cache
    files: dict[int, str]
    built: Environment

    def sha256(self, chunk: int) -> str:
        """Return the digest of a chunk's file."""
        return str(self.sibling.manifest["files"][self.files[chunk]]["sha256"])


def finished_caches(out: Path) -> list[Cache]:
    """Return the caches in a folder whose manifest is sealed and can be read, sorted by name."""
    found = []
    for path in sorted(out.iterdir()) if out.is_dir() else []:
        with suppress(RefkdError, OSError):  # such as `lost+found`, which nobody may look into
            if (path / MANIFEST).is_file() and (path / SEAL).is_file():
                found.append(read_cache(path))
    return found


def find_chunks(
    plan: CachePlan, name: str, siblings: list[Cache], environment: Environment
) -> list[Found]:
    """Return the chunks of a planned array that siblings hold intact, the best source first.

    What was made elsewhere (another device kind, processor or torch version) is offered only as a whole.
    """
    found, wanted = [], plan.arrays[name].settings
    for sibling in siblings:
        for array, facts in sibling.manifest["arrays"].items():
            if array_settings(facts["inputs"]) != wanted:
                continue
            files = _intact(sibling, array, plan, name)
            whole = len(files) == plan.layout.num_chunks
            if files and (whole or facts["built"] == environment):
                found.append(Found(sibling, files, facts["built"]))
    return sorted(found, key=lambda one: (one.built != environment, -len(one.files)))


def closest_miss(array: str, plan: ArrayPlan, siblings: list[Cache]) -> tuple[Cache, str] | None:
    """Return the sibling whose array of this name comes closest to a planned one, and what differs."""
    changes = []
    for place, sibling in enumerate(siblings):
        facts: dict[str, Any] | None = sibling.manifest["arrays"].get(array)
        if facts is not None and facts["key"] != plan.key:
            change = describe_change(facts["inputs"], plan.inputs)
            changes.append((change.count("(was "), sibling.folder.name, change, place))
    if not changes:
        return None
    *_, change, place = min(changes)
    return siblings[place], change


def explain_miss(array: str, plan: ArrayPlan, siblings: list[Cache]) -> str | None:
    """Say in what the array of this name differs in the sibling that comes closest, if there is one."""
    closest = closest_miss(array, plan, siblings)
    if closest is None:
        return None
    sibling, change = closest
    return f"teacher {spoken(array)}: not as in {sibling.folder.name}: {change}"


def link_file(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        os.link(source, temporary)
        temporary.replace(target)
    except OSError:
        write_atomic(target, source.read_bytes())
    finally:
        temporary.unlink(missing_ok=True)  # replacing a name of the same file does nothing


def _intact(sibling: Cache, array: str, plan: CachePlan, name: str) -> dict[int, str]:
    """Return the files of a sibling's array whose rows are those of a planned chunk, by chunk."""
    manifest = sibling.manifest
    held = manifest["arrays"][array].get("chunk_rows", manifest["chunk_rows"])
    places = {rows: chunk for chunk, rows in enumerate(held)}
    files = {}
    for chunk, rows in enumerate(plan.rows_of(name)):
        if rows in places:
            file = f"{logits_name(array)}/{plan.layout.chunk_file(places[rows])}"
            with suppress(RefkdError):  # a damaged file is no source
                sibling.read(file)
                files[chunk] = file
    return files
