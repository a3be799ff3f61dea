"""A sealed folder behind a URL, of whatever kind fsspec reads: its files, checked, in memory."""

import json
import re
import time
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from stores.errors import RefkdError
from stores.files import MANIFEST, SEAL
from stores.fingerprints import bytes_digest

WAITS_S = (0.2, 1.0)  # before a file that could not be read, or came damaged, is asked for again
AGAIN = "run the same command again: what was fetched is kept"
OURS = "expected a folder that `refkd cache` wrote"


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
                if wait_s is None:
                    reason = str(error) or type(error).__name__
                    raise RefkdError(
                        f"{self.url}/{name} cannot be read ({reason}); mend that or {AGAIN}"
                    ) from error
                time.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

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
        """Return the manifest of a folder in here, its bytes checked before they are parsed."""
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
        manifest: dict[str, Any] = json.loads(found[MANIFEST])
        for name in manifest.get("files", ()):
            _check_inside(name, self.url)
        return Sealed(found[MANIFEST], manifest, seal)


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


def _check_inside(name: str, url: str) -> None:
    """Raise RefkdError if a file's name in a manifest would lead out of the folder."""
    parts = PurePosixPath(name).parts
    plain = parts and "/".join(parts) == name  # neither rooted nor with `.`, or `//`
    if not plain or ".." in parts or "\\" in name or "\0" in name:
        raise RefkdError(f"{url} lists a file called {name!r}, which no cache does; {OURS}")
