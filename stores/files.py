"""Writing so that a reader never sees half a file, and locks that die with their process."""

import errno
import fcntl
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stores.errors import RefkdError
from stores.fingerprints import bytes_digest, canonical_json, file_digest

MANIFEST = "manifest.json"
SEAL = "manifest.sha256"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
SYNCING = 8  # files pushed to the disk at once: it takes many in one go, 15 times as fast


def sync(path: Path) -> None:
    """Push a file's bytes, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes, *, wait: bool = True) -> None:
    """Write a whole file or nothing: a temporary file beside it is synced, then renamed over it.

    Who does not `wait` for the disk syncs file and folder later; a kill, unlike a power cut, leaves
    them whole all the same.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            if wait:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if wait:
        sync(path.parent)


def write_json(path: Path, value: object, *, wait: bool = True) -> None:
    """Write a JSON value atomically, one key a line, keys sorted."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    write_atomic(path, text.encode() + b"\n", wait=wait)


def read_json(path: Path, *, repair: str) -> Any:
    """Return the JSON value in a file.

    Raises RefkdError if the file is missing or is not JSON; `repair` says what to run.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RefkdError(f"{path} is missing; {repair}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RefkdError(f"{path} is not complete JSON ({error}); {repair}") from None


@contextmanager
def locked(path: Path, *, wait: bool = True, shared: bool = False) -> Iterator[bool]:
    """Hold the kernel's lock on a file, alone or with others who share it; yield whether it was had.

    The lock goes with the process, however it dies, so a left-over lock file means nothing. Where the
    file system knows no locks, who would share one goes on without.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(file, kind | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            if not shared or error.errno not in NO_LOCKS:
                raise
        yield True


def seal_folder(
    folder: Path, facts: dict[str, Any], *, digests: Mapping[str, str] | None = None
) -> str:
    """Write manifest.json (facts plus size and digest of every other file) and its seal; return the seal.

    The seal is the SHA-256 of manifest.json; it stands in manifest.sha256 and is written last. Neither
    is waited for: `publish` does so, of all files at once, before anybody sees the folder.
    `digests` are those that are known already, by the file's name in the folder.
    """
    known, files = digests or {}, {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in (MANIFEST, SEAL):
            name = path.relative_to(folder).as_posix()
            sha256 = known.get(name) or file_digest(path)
            files[name] = {"size": path.stat().st_size, "sha256": sha256}
    write_json(folder / MANIFEST, {**facts, "files": files}, wait=False)
    seal = bytes_digest((folder / MANIFEST).read_bytes())
    write_atomic(folder / SEAL, f"{seal}\n".encode(), wait=False)
    return seal


def read_seal(folder: Path, *, repair: str, foreign: str = "") -> tuple[dict[str, Any], str]:
    """Return a sealed folder's manifest and seal, the manifest's bytes checked before they are parsed.

    Raises RefkdError if either file is missing or they do not belong together. What lacks one may be
    anything: `foreign` says what helps there, if it is something else than the `repair` of ours.
    """
    for name in (SEAL, MANIFEST):
        if not (folder / name).is_file():
            help = foreign or repair
            raise RefkdError(f"{folder} is unfinished or foreign: {name} is missing; {help}")
    data = (folder / MANIFEST).read_bytes()
    seal = bytes_digest(data)
    if (folder / SEAL).read_bytes() != f"{seal}\n".encode():
        raise RefkdError(
            f"{folder / MANIFEST} is damaged: its digest is not the one in {SEAL}; {repair}"
        )
    manifest: dict[str, Any] = json.loads(data)
    return manifest, seal


def read_sealed(folder: Path, name: str, manifest: dict[str, Any], *, repair: str) -> bytes:
    """Return the bytes of a file listed in a manifest, checked against its digest.

    Raises RefkdError if the file is not listed, missing, changed, or cannot be read.
    """
    entry = manifest["files"].get(name)
    if entry is None:
        raise RefkdError(f"{folder} does not list {name} in its manifest; {repair}")
    try:
        data = (folder / name).read_bytes()
    except FileNotFoundError:
        raise RefkdError(f"{folder / name} is missing; {repair}") from None
    except OSError as error:
        raise RefkdError(f"{folder / name} cannot be read ({error.strerror}); {repair}") from None
    if bytes_digest(data) != entry["sha256"]:
        raise RefkdError(
            f"{folder / name} is damaged: its digest is not the recorded one; {repair}"
        )
    return data


def real_place(folder: Path) -> Path:
    """Return where a finished folder can be renamed to: where a link leads, for nothing replaces a link.

    Raises RefkdError if it leads nowhere, or to a mount point, which nothing replaces either.
    """
    if folder.is_symlink() and not folder.exists():
        raise RefkdError(
            f"{folder} is a link that leads nowhere, to {os.readlink(folder)}; make a folder there, "
            "or delete the link"
        )
    place = folder.resolve()
    if os.path.ismount(place) and not (place / MANIFEST).is_file():
        raise RefkdError(
            f"{folder} is a mount point, in whose place no folder can be put; give a folder below "
            f"it, such as {folder / 'new'}"
        )
    return place


def publish(built: Path, final: Path) -> None:
    """Rename a finished folder to its final name, in one step, after its bytes are on the disk."""
    with ThreadPoolExecutor(SYNCING) as pool:
        list(pool.map(sync, [*built.rglob("*"), built]))
    built.replace(final)
    sync(final.parent)


def describe_change(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Name the fields in which two records of inputs differ, as `field (was X, now Y)`, sorted."""
    changed = sorted(
        key for key in before.keys() | after.keys() if before.get(key) != after.get(key)
    )
    return "; ".join(
        f"{key} (was {_short(before.get(key))}, now {_short(after.get(key))})" for key in changed
    )


def _short(value: object) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else canonical_json(value)
    return text if len(text) <= 40 else f"{text[:16]}…"
