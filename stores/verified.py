"""A Zarr store in which no byte is parsed before its digest is checked, whoever reads.

Zarr reads a missing chunk as fill values without a word; here every `get` goes through a reader
that raises instead.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path
from typing import Any

import zarr
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

from stores.codecs import unspecified_codecs

Reader = Callable[[str], bytes | None]


class VerifiedStore(WrapperStore[LocalStore]):  # a subclass because zarr calls a store's methods
    """A read-only folder whose files come from a reader: name in, checked bytes out, None if no file."""

    def __init__(self, folder: Path, read: Reader) -> None:
        super().__init__(LocalStore(folder, read_only=True))
        self._folder, self._read = folder, read

    def _with_store(self, store: LocalStore) -> "VerifiedStore":
        return VerifiedStore(self._folder, self._read)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        data = await asyncio.to_thread(self._read, key)
        return None if data is None else prototype.buffer.from_bytes(_part(data, byte_range))

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        for key, prototype, part in requests:
            yield key, await self.get(key, prototype, part)


def open_group(folder: Path, read: Reader) -> zarr.Group:
    """Return the Zarr group in a folder, every file of it read through `read`."""
    return zarr.open_group(VerifiedStore(folder, read), mode="r", zarr_format=3)


def open_array(group: zarr.Group, name: str) -> "zarr.Array[Any]":
    """Return an array of a group by its path."""
    with unspecified_codecs():
        array = group[name]
    assert isinstance(array, zarr.Array), name
    return array


def _part(data: bytes, part: ByteRequest | None) -> bytes:
    """Return the bytes that a request names, of a file that has been read and checked whole."""
    match part:
        case None:
            return data
        case RangeByteRequest(start, end):
            return data[start:end]
        case OffsetByteRequest(offset):
            return data[offset:]
        case SuffixByteRequest(suffix):
            return data[-suffix:]
        case _:
            raise AssertionError(f"unknown part of a file: {part}")
