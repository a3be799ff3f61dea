"""Digests of values, files and arrays: SHA-256 as 64 hexadecimal characters."""

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

SHORT = 16  # hexadecimal characters of a digest that name a folder: 64 bits


def canonical_json(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: object) -> str:
    """Return the digest of a JSON value's canonical text."""
    return bytes_digest(canonical_json(value).encode())


def bytes_digest(data: bytes | memoryview) -> str:
    """Return the digest of bytes."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """Return the digest of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def array_digest(array: npt.NDArray[np.generic]) -> str:
    """Return the digest of an array's dtype, shape and values, whatever its memory layout."""
    plain = np.ascontiguousarray(array)
    header = canonical_json([plain.dtype.str, list(array.shape)]).encode()
    return hashlib.sha256(header + b"\n" + plain.reshape(-1).view(np.uint8).data).hexdigest()
