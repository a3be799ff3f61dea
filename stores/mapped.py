"""Uncompressed arrays of a cache as they lie on the disk: chunk files side by side in one address range.

A chunk of codec `raw` is the array's own bytes and a checksum. Where a chunk is a whole number of
pages, each file is mapped over its place of a reserved range, and the array is there without a byte
having been copied: rows are read by the kernel when they are touched, and may be forgotten again.

Every file is read through once and its digest compared before any row can be seen, through the very
handle that is then mapped. A published cache never changes: what replaces one of its files does so by
renaming, which leaves the mapped bytes as they were. A file that is overwritten in place meanwhile is
against that rule, and a file that is cut short kills whoever touches its lost pages (SIGBUS).

Shapes: N rows, 2 boundaries, T clips.
"""

import ctypes
import functools
import hashlib
import mmap
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from stores.arraynames import logits_name
from stores.cache import Cache, Logits
from stores.codecs import CHECKSUM_BYTES

MAP_FIXED, MAP_FAILED = 0x10, ctypes.c_void_p(-1).value
PIECE = 1 << 20  # bytes read at once for a digest


def stored_logits(cache: Cache, array: str) -> Logits:
    """Return all logits of a teacher or another array, [N, 2, T], checked: mapped, or else read.

    Read-only. Raises RefkdError, naming the samples, if a chunk is missing or changed.
    """
    if can_map(cache):
        with suppress(_CannotMap):
            return _map(cache, array)
    logits_NBT = cache.logits(array)
    logits_NBT.flags.writeable = False
    return logits_NBT


def can_map(cache: Cache) -> bool:
    """Return whether the chunks of a cache can lie side by side in memory as they are."""
    layout, here = cache.layout, sys.platform == "linux" and sys.byteorder == "little"
    return here and layout.codec == "raw" and layout.chunk_bytes % mmap.ALLOCATIONGRANULARITY == 0


def _map(cache: Cache, array: str) -> Logits:
    layout = cache.layout
    size = layout.chunk_bytes
    # a range that cannot be written to takes no memory; it is freed with the last array over it
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    space = mmap.mmap(-1, layout.num_chunks * size, flags=flags, prot=mmap.PROT_READ)
    values_N: npt.NDArray[np.floating] = np.frombuffer(space, layout.dtype)
    name = logits_name(array)

    def place(chunk: int) -> None:
        address = values_N.ctypes.data + chunk * size
        _map_file(cache, f"{name}/{layout.chunk_file(chunk)}", address, size)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # digests leave the GIL alone
        for _ in pool.map(place, range(layout.num_chunks)):
            pass
    logits_NBT: Logits = values_N.reshape(-1, *layout.row_shape)[: layout.num_rows]
    return logits_NBT


class _CannotMap(Exception):
    """The kernel maps no file of this folder's file system, or no more files for this process."""


def _map_file(cache: Cache, name: str, address: int, size: int) -> None:
    """Map the values of a chunk's file over an address, once its digest is the recorded one."""
    with cache.opened(name) as file:
        if os.fstat(file.fileno()).st_size != size + CHECKSUM_BYTES:
            raise cache.damage(name, "is damaged: its size is not that of a chunk")
        if _digest(file.fileno()) != cache.manifest["files"][name]["sha256"]:
            raise cache.damage(name, "is damaged: its digest is not the recorded one")
        flags = mmap.MAP_SHARED | MAP_FIXED
        if _mmap()(address, size, mmap.PROT_READ, flags, file.fileno(), 0) == MAP_FAILED:
            raise _CannotMap


@functools.cache
def _mmap() -> Callable[..., int]:
    """Return the C library's own mmap: Python's takes no address."""
    function = ctypes.CDLL(None).mmap
    function.restype = ctypes.c_void_p
    word, number = ctypes.c_size_t, ctypes.c_int
    function.argtypes = (word, word, number, number, number, ctypes.c_long)
    return function


def _digest(handle: int) -> str:
    """Return the digest of an open file, read rather than mapped: a bad disk is an error, no signal."""
    sha256, piece, at = hashlib.sha256(), memoryview(bytearray(PIECE)), 0
    while count := os.preadv(handle, [piece], at):
        sha256.update(piece[:count])
        at += count
    return sha256.hexdigest()
