"""The shape of manifests that come from elsewhere, checked once before anything is read from them.

A seal tells that a manifest is whole, not that one of ours wrote it.
"""

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from stores.cachekeys import FORMAT_VERSION
from stores.errors import RefkdError
from stores.files import MANIFEST, SEAL

DIGEST = re.compile(r"[0-9a-f]{64}")
OF_CACHE = {
    "key": str,
    "inputs": dict,
    "arrays": dict,
    "chunk_rows": list,
    "data": str,
    "simulated": bool,
    "splits": list,
    "id_bytes": int,
    "num_rows": int,
    "num_clips": int,
    "rows_per_chunk": int,
    "dtype": str,
    "precision": str,
    "codec": str,
}
OF_ARRAY = {"key": str, "inputs": dict, "teacher": str, "built": dict}
OF_WEIGHTS = {"format_version": int, "cache_seal": str, "means": dict}
OURS = "expected a folder that `refkd cache` wrote"


def parse_manifest(data: bytes, place: str) -> dict[str, Any]:
    """Return the manifest in some bytes, whose list of files is one, and stays inside the folder.

    Raises RefkdError, naming `place`, if it is none, or lists what no folder of ours holds.
    """
    try:
        manifest = json.loads(data)
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise RefkdError(f"{place} holds no manifest; {OURS}")
    files = manifest.get("files", {})
    if not isinstance(files, dict):
        raise RefkdError(f"{place} has files that are no list of files; {OURS}")
    for name, entry in files.items():
        _check_name(name, place)
        good = isinstance(entry, dict) and isinstance(entry.get("size"), int)
        if not (good and DIGEST.fullmatch(str(entry.get("sha256")))):
            raise RefkdError(f"{place} tells no size or no digest of {name}; {OURS}")
    folders = {str(above) for name in files for above in PurePosixPath(name).parents}
    for name in sorted(folders & files.keys()):
        raise RefkdError(f"{place} lists {name} as a file and as a folder; {OURS}")
    return manifest


def check_cache_manifest(manifest: Mapping[str, Any], place: str) -> None:
    """Raise RefkdError unless a manifest tells what that of a cache tells, and lists no weights.

    Of another version of the format nothing is known: who opens it refuses it by its number.
    """
    _check_fields(manifest, {"format_version": int}, place)
    if manifest["format_version"] != FORMAT_VERSION:
        return
    _check_fields(manifest, {**OF_CACHE, "files": dict}, place)
    for name in ("id_bytes", "num_rows", "num_clips", "rows_per_chunk"):
        if manifest[name] < 1:
            raise RefkdError(f"{place} says {name} {manifest[name]}, expected 1 or more; {OURS}")
    for name, array in manifest["arrays"].items():
        _check_fields(array, OF_ARRAY, place, within=f"arrays.{name}.")
    weights = [name for name in manifest["files"] if name.split("/")[0] == "weights"]
    if weights:
        raise RefkdError(f"{place} lists {weights[0]}, which has a seal of its own; {OURS}")


def check_weights_manifest(manifest: Mapping[str, Any], place: str) -> None:
    """Raise RefkdError unless a manifest tells what that of weights tells."""
    _check_fields(manifest, {**OF_WEIGHTS, "files": dict}, place)
    for split, means in manifest["means"].items():
        if not isinstance(means, dict):
            raise RefkdError(f"{place} tells no means of split {split}; {OURS}")


def _check_fields(
    found: object, expected: Mapping[str, type], place: str, *, within: str = ""
) -> None:
    told: Mapping[str, Any] = found if isinstance(found, dict) else {}
    for name, kind in expected.items():
        value = told.get(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            what = "no" if value is None else f"{json.dumps(value)[:40]} as"
            raise RefkdError(f"{place} tells {what} {within}{name}; {OURS}")


def _check_name(name: str, place: str) -> None:
    """Raise RefkdError if a file's name in a manifest would lead out of the folder, or to its seal."""
    parts = PurePosixPath(name).parts
    plain = parts and "/".join(parts) == name  # neither rooted nor with `.`, or `//`
    if not plain or ".." in parts or "\\" in name or "\0" in name or name in (MANIFEST, SEAL):
        raise RefkdError(f"{place} lists a file called {name!r}, which no cache does; {OURS}")
