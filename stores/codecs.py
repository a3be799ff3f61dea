"""How chunks are encoded: codecs by name, every one ending in a checksum.

A name stands for what follows Zarr's little-endian `bytes` codec; `raw` leaves the array's own
bytes in place, so that a chunk file can be mapped into memory.
"""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np
import numpy.typing as npt
from numcodecs.checksum32 import CRC32C

from stores.errors import RefkdError

if TYPE_CHECKING:  # zarr takes a while to import, and whoever only reads needs none of it
    from zarr.abc.codec import BytesBytesCodec

CHECKSUM_BYTES = 4
Bytes = npt.NDArray[np.uint8]
# What undoes the codecs below, last first, without zarr's event loop; from the bytes of one value.
_DECODERS: dict[str, Callable[[int], list[Any]]] = {
    "raw": lambda size: [],
    "zstd": lambda size: [numcodecs.Zstd()],
    "gzip": lambda size: [numcodecs.GZip()],
    "blosc": lambda size: [numcodecs.Blosc()],
    "shuffle-zstd": lambda size: [numcodecs.Zstd(), numcodecs.Shuffle(size)],
    "shuffle-lz4": lambda size: [numcodecs.LZ4(), numcodecs.Shuffle(size)],
}
CODECS = tuple(_DECODERS)
_FILTERS = threading.RLock()  # warning filters belong to the process, not to the thread


def check_codec(name: str) -> None:
    """Raise RefkdError, listing the codecs, if there is none of this name."""
    if name not in CODECS:
        raise RefkdError(f"unknown codec {name}; choose one of {', '.join(CODECS)}")


def codec_chain(name: str, size: int) -> "list[BytesBytesCodec]":
    """Return the codecs that follow `bytes` for values of `size` bytes, the last one a checksum."""
    from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec
    from zarr.codecs.numcodecs import LZ4, Shuffle

    compressors: dict[str, Callable[[], list[BytesBytesCodec]]] = {
        "raw": list,
        "zstd": lambda: [ZstdCodec(level=1)],
        "gzip": lambda: [GzipCodec(level=1)],
        "blosc": lambda: [BloscCodec(typesize=size, cname="lz4", clevel=5, shuffle="shuffle")],
        "shuffle-zstd": lambda: [Shuffle(elementsize=size), ZstdCodec(level=1)],
        "shuffle-lz4": lambda: [Shuffle(elementsize=size), LZ4()],
    }
    with unspecified_codecs():
        return [*compressors[name](), Crc32cCodec()]


@contextmanager
def unspecified_codecs() -> Iterator[None]:
    """Allow codecs that numcodecs adds to Zarr v3, which zarr warns of whenever one is made."""
    with _FILTERS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Numcodecs codecs are not in")
        yield


def decode(name: str, size: int, data: bytes) -> memoryview:
    """Return the bytes of a chunk's values of `size` bytes from those of its file.

    The file's digest was checked before, so the checksum at its end is left out.
    """
    values: Any = memoryview(data)[:-CHECKSUM_BYTES]
    for codec in _DECODERS[name](size):
        values = codec.decode(values)
    return memoryview(values)


def decode_into(name: str, size: int, data: bytes, out: Bytes, scratch: Bytes) -> None:
    """Decode as `decode` does into memory that is there, as new memory costs as much as decoding.

    `out` and `scratch` are as large as a chunk's values; `scratch` is for what lies between two codecs.
    """
    decoders = _DECODERS[name](size)
    values: Any = memoryview(data)[:-CHECKSUM_BYTES]
    for codec in decoders[:-1]:
        values = codec.decode(values, out=scratch)
    if decoders:
        decoders[-1].decode(values, out=out)
    else:
        out[:] = np.frombuffer(values, np.uint8)


def without_time(name: str, data: bytes) -> bytes:
    """Return a chunk's file without the second of its making, which gzip writes into its head."""
    if name != "gzip":
        return data
    return with_checksum(data[:4] + bytes(4) + data[8:-CHECKSUM_BYTES])


def with_checksum(data: bytes) -> bytes:
    """Return encoded bytes and their CRC-32C, as Zarr's `crc32c` codec ends a chunk's file."""
    encoded: bytes = CRC32C(location="end").encode(data).tobytes()
    return encoded
