"""A sealed folder behind a URL, of whatever kind fsspec reads: its files, checked, in memory."""

import logging
import re
import time
from dataclasses import dataclass
from typing import Any

from stores.errors import RefkdError
from stores.files import MANIFEST, SEAL
from stores.fingerprints import bytes_digest
from stores.manifests import OURS, parse_manifest

log = logging.getLogger("refkd")
WAITS_S = (0.2, 1.0)  # before a file that could not be read, or came damaged, is asked for again
AGAIN = "run the same command again: what was fetched is kept"


@dataclass(frozen=True)
class Sealed:
    """A sealed folder's manifest, as it came and as it reads, and its seal."""

    data: bytes
    manifest: dict[str, Any]
    seal: str


@dataclass(frozen=True)
class Remote:
    """A folder of a file system of fsspec."""

    url: str
    files: Any
    root: str

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises FileNotFoundError if there is none, RefkdError if it cannot be read.
        """
        for wait_s in (*WAITS_S, None):
            try:
                return bytes(self.files.cat_file(f"{self.root}/{name}"))
            except FileNotFoundError:
                raise
            except Exception as error:  # every file system raises kinds of its own
                if wait_s is None or _is_refused(error):
                    reason = str(error) or type(error).__name__
                    raise RefkdError(
                        f"{self.url}/{name} cannot be read ({reason}); mend that or {AGAIN}"
                    ) from error
                time.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def read_if_any(self, name: str) -> bytes | None:
        """Return a file's bytes; None if there is none, or who may list no folder is refused it."""
        try:
            return self.read(name)
        except FileNotFoundError:
            return None
        except RefkdError as error:
            if _is_refused(error.__cause__):  # as object stores answer when a file is absent
                log.info("%s/%s is taken for absent: it may not be read", self.url, name)
                return None
            raise

    def checked(self, name: str, sha256: str) -> bytes:
        """Return a file's bytes, whose digest is the one given; a damaged one is asked for again."""
        for wait_s in (*WAITS_S, None):
            data = self.read(name)
            if bytes_digest(data) == sha256:
                return data
            if wait_s is not None:
                time.sleep(wait_s)
        raise RefkdError(
            f"{self.url}/{name} is damaged: its digest is not the recorded one; put it back there "
            f"and {AGAIN}"
        )

    def sealed(self, prefix: str, *, missing: str) -> Sealed:
        """Return the manifest of a folder in here, its bytes checked before they are parsed.

        Raises RefkdError if they are damaged, or no manifest whose files could be fetched.
        """
        found = {}
        for name in (SEAL, MANIFEST):
            try:
                found[name] = self.read(prefix + name)
            except FileNotFoundError:
                raise RefkdError(f"{missing}: {prefix + name} is missing; {OURS}") from None
        seal = bytes_digest(found[MANIFEST])
        if found[SEAL] != f"{seal}\n".encode():
            raise RefkdError(
                f"{self.url}/{prefix}{MANIFEST} is damaged: its digest is not the one in {SEAL}; "
                "put it back there and run the same command again"
            )
        manifest = parse_manifest(found[MANIFEST], f"{self.url}/{prefix}{MANIFEST}")
        return Sealed(found[MANIFEST], manifest, seal)


def _is_refused(error: BaseException | None) -> bool:
    """Return whether we may not read something, in the words of fsspec or of HTTP."""
    return isinstance(error, PermissionError) or getattr(error, "status", None) == 403


def open_remote(url: str) -> Remote:
    """Return the folder that a URL names.

    Raises RefkdError if nothing is installed that reads such URLs.
    """
    import fsspec  # not before a URL is given: it is of no use to others

    protocol = re.split(r"::|://", url)[0]
    try:
        files, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        named = "'refkd[remote]'" if protocol in ("http", "https") else "the package it names"
        raise RefkdError(
            f"{protocol}:// cannot be read here ({error}); pip install {named} and run the same "
            "command again"
        ) from error
    except ValueError as error:
        raise RefkdError(
            f"{url} cannot be opened ({error}); give a path, or a URL that fsspec knows such as "
            "https://host/folder"
        ) from error
    return Remote(url, files, root.rstrip("/"))
