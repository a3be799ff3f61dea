"""Local copies of caches behind URLs: every file compared with its digest before it counts.

    COPIES/.building/<seal>.lock    held while one process fetches (stores/locknames.py)
    COPIES/<seal>/                  the cache as it lies there, weights too; its manifest is written last

COPIES is `refkd` in $XDG_CACHE_HOME or ~/.cache, and may be deleted whenever nobody reads. A copy is an
ordinary cache, so whatever reads or maps one does so here. It is named by its seal: another cache
under the same URL is another copy.
"""

import logging
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from stores.cache import FORMAT, open_cache
from stores.errors import RefkdError
from stores.files import MANIFEST, SEAL, locked, write_atomic
from stores.fingerprints import SHORT, file_digest
from stores.locknames import building_lock_file
from stores.manifests import OURS, check_cache_manifest, check_weights_manifest
from stores.remote import AGAIN, Remote, Sealed, open_remote
from stores.removal import make_way
from stores.unfinished import CURRENT
from stores.weights import is_weighed

log = logging.getLogger("refkd")
AT_ONCE = 16  # files under way


def is_url(place: str) -> bool:
    """Return whether a cache is given as the URL of a file system that fsspec knows, or chains."""
    return "://" in place


def local_cache(place: Path | str) -> Path:
    """Return the folder of a cache; of one behind a URL a local copy, every byte of it checked.

    A URL may end in `#` and the first 16 or more characters of the seal that the cache must have;
    of such a copy the weights stay what they are, too. Only what the copy lacks, or holds damaged,
    is fetched. Raises RefkdError if the cache cannot be read or is not what its seal says.
    """
    if isinstance(place, Path) or not is_url(place):
        return Path(place)
    url, _, wanted = place.partition("#")
    remote = open_remote(url.rstrip("/"))
    sealed = remote.sealed("", missing=f"no logit cache at {remote.url}")
    if wanted and not (len(wanted) >= SHORT and sealed.seal.startswith(wanted)):
        raise RefkdError(
            f"{remote.url} holds the cache with seal {sealed.seal}, expected {wanted}; "
            "give the URL of that cache, or leave out the seal"
        )
    if sealed.manifest.get("format") != FORMAT:
        found = sealed.manifest.get("format", "something else")
        raise RefkdError(f"{remote.url} holds {found}, not a cache; {OURS}")
    check_cache_manifest(sealed.manifest, f"{remote.url}/{MANIFEST}")
    folder = _copies() / sealed.seal[:SHORT]
    lock = building_lock_file(folder)
    with locked(lock, wait=False) as mine:
        if mine:
            _fetch(remote, sealed, folder, pinned=bool(wanted))
            return folder
    log.info("another process is fetching %s; waiting for it", remote.url)
    with locked(lock):
        _fetch(remote, sealed, folder, pinned=bool(wanted))
    return folder


def _copies() -> Path:
    """Return the folder of local copies."""
    place = os.environ.get("XDG_CACHE_HOME")
    return (Path(place) if place else Path.home() / ".cache") / "refkd"


def _fetch(remote: Remote, sealed: Sealed, folder: Path, *, pinned: bool) -> None:
    """Bring the copy of a cache to what lies there, its weights last.

    No seal of a cache covers its weights: if it is `pinned`, intact ones are not replaced.
    """
    for left in folder.rglob(".*.tmp"):  # by a killed process
        left.unlink()
    _fetch_sealed(remote, "", sealed, folder)
    if pinned and is_weighed(open_cache(folder)):
        return
    current = _current(remote)
    while current is not None:
        try:
            _fetch_weights(remote, folder, current)
        except RefkdError:
            now = _current(remote)
            if now == current:
                raise
            current = now  # weighed anew meanwhile
        else:
            return


def _current(remote: Remote) -> bytes | None:
    """Return which weights count there, if any do."""
    return remote.read_if_any(f"weights/{CURRENT}")


def _fetch_weights(remote: Remote, folder: Path, current: bytes) -> None:
    """Fetch the weights with a seal, and let them count here too."""
    if not re.fullmatch(rb"[0-9a-f]{64}\n", current):
        raise RefkdError(
            f"{remote.url}/weights/{CURRENT} is damaged: it holds no seal; run `refkd weigh` there"
        )
    prefix = f"weights/{current[:SHORT].decode()}/"
    sealed = remote.sealed(prefix, missing=f"no weights at {remote.url}")
    if f"{sealed.seal}\n".encode() != current:
        raise RefkdError(
            f"{remote.url}/{prefix[:-1]} is damaged: its seal is not the one in {CURRENT}; "
            "run `refkd weigh` there"
        )
    check_weights_manifest(sealed.manifest, f"{remote.url}/{prefix}{MANIFEST}")
    _fetch_sealed(remote, prefix, sealed, folder / prefix)
    _write(folder, f"weights/{CURRENT}", current)


def _fetch_sealed(remote: Remote, prefix: str, sealed: Sealed, folder: Path) -> None:
    """Bring a sealed folder to what its manifest says; the manifest's own files come last."""
    files = sealed.manifest.get("files", {})
    with ThreadPoolExecutor(AT_ONCE) as executor:
        whole = executor.map(lambda name: _is_whole(folder / name, files[name]), files)
        wanted = [name for name, good in zip(files, whole, strict=True) if not good]
    _fetch_files(remote, prefix, {name: files[name] for name in wanted}, folder)
    _write(folder, MANIFEST, sealed.data)
    _write(folder, SEAL, f"{sealed.seal}\n".encode())


def _fetch_files(
    remote: Remote, prefix: str, files: dict[str, dict[str, Any]], folder: Path
) -> None:
    """Fetch files side by side, each whole and checked before it has its name."""
    if not files:
        return
    place = f"{remote.url}/{prefix}".rstrip("/")
    log.info("fetching %d files of %s into %s", len(files), place, folder)
    size = sum(entry["size"] for entry in files.values())
    executor = ThreadPoolExecutor(AT_ONCE)
    try:
        with tqdm(total=size, desc="fetch", unit="B", unit_scale=True, file=sys.stderr) as bar:
            work = partial(_fetch_file, remote, prefix, folder)
            futures = [
                executor.submit(work, name, entry["sha256"]) for name, entry in files.items()
            ]
            for future in as_completed(futures):
                bar.update(future.result())
    finally:
        executor.shutdown(cancel_futures=True)


def _fetch_file(remote: Remote, prefix: str, folder: Path, name: str, sha256: str) -> int:
    try:
        data = remote.checked(prefix + name, sha256)
    except FileNotFoundError:
        raise RefkdError(
            f"{remote.url}/{prefix}{name} is missing, though listed; put it back there and {AGAIN}"
        ) from None
    _write(folder, name, data)
    return len(data)


def _is_whole(path: Path, entry: dict[str, Any]) -> bool:
    try:
        return file_digest(path) == str(entry["sha256"])
    except OSError:
        return False


def _write(folder: Path, name: str, data: bytes) -> None:
    """Write a file of a copy whole, unless it holds these bytes already."""
    path = folder / name
    if not path.is_file() or path.read_bytes() != data:
        write_atomic(make_way(folder, name), data)
