"""A Zarr store in which no byte is parsed before its digest is checked, whoever reads.

Zarr reads a missing chunk as fill values without a word; here every `get` goes through a reader
that raises instead.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable
from pathlib import Path

import zarr
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

Reader = Callable[[str], bytes | None]


class VerifiedStore(WrapperStore[LocalStore]):  # a subclass because zarr calls a store's methods
    """A read-only folder of named files that come from a reader: name in, checked bytes out.

    The reader returns None if there is no such file. Files that are not named do not exist.
    """

    def __init__(self, folder: Path, names: Collection[str], read: Reader) -> None:
        super().__init__(LocalStore(folder, read_only=True))
        self._folder, self._names, self._read = folder, names, read

    def _with_store(self, store: LocalStore) -> "VerifiedStore":
        return VerifiedStore(self._folder, self._names, self._read)

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

    async def exists(self, key: str) -> bool:
        return key in self._names

    def list(self) -> AsyncIterator[str]:
        return _each(self._names)

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        return _each(name for name in self._names if name.startswith(prefix))

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        inside = (name[len(start) :] for name in self._names if name.startswith(start))
        return _each(dict.fromkeys(name.split("/")[0] for name in inside))


def open_group(folder: Path, names: Collection[str], read: Reader) -> zarr.Group:
    """Return the Zarr group in a folder, every file of it read through `read`."""
    return zarr.open_group(VerifiedStore(folder, names, read), mode="r", zarr_format=3)


async def _each(names: Iterable[str]) -> AsyncIterator[str]:
    for name in names:
        yield name


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
