"""Codecs by name: what zarr makes of them, and that damage never goes unnoticed."""

import time
import warnings

import numpy as np
import pytest
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from stores.codecs import CODECS, check_codec, decode_into
from stores.errors import RefkdError
from stores.rowarrays import ChunkEncoder, RowArray, array_files

ROWS = (np.random.default_rng(0).normal(size=(64, 2, 16)) * 5).astype(np.float16)


def layout(codec):
    return RowArray(64, (2, 16), "float16", 64, codec, ("sample", "boundary", "clip"))


def plain_zarr(codec, chunk):
    """Open the array as a stranger would, warnings of unspecified codecs aside."""
    buffer = default_buffer_prototype().buffer
    files = {**array_files({"a": layout(codec)}, {}), "a/c/0/0/0": chunk}
    store = MemoryStore({name: buffer.from_bytes(data) for name, data in files.items()})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Numcodecs codecs")
        return zarr.open_array(store, path="a", mode="r")


@pytest.mark.parametrize("codec", CODECS)
def test_plain_zarr_reads_every_codec(codec):
    """Whatever the codec, zarr alone returns the values bit for bit."""
    array = plain_zarr(codec, ChunkEncoder(layout(codec)).encode(0, ROWS))

    assert array[:].tobytes() == ROWS.tobytes()


@pytest.mark.parametrize("codec", CODECS)
def test_decoding_without_zarr(codec):
    """Our own decoding of a whole and of a short chunk gives the same bits as zarr's."""
    short = RowArray(70, (2, 16), "float16", 64, codec, ("sample", "boundary", "clip"))
    whole = ChunkEncoder(short).encode(0, ROWS)
    rest = ChunkEncoder(short).encode(1, ROWS[:6])

    assert short.rows(0, whole).tobytes() == ROWS.tobytes()
    assert short.rows(1, rest).tobytes() == ROWS[:6].tobytes()
    out, scratch = np.empty((2, short.chunk_bytes), np.uint8)
    decode_into(codec, 2, whole, out, scratch)
    assert out.tobytes() == ROWS.tobytes()


@pytest.mark.parametrize("codec", CODECS)
def test_every_bit_is_under_a_checksum(codec):
    """Zarr alone refuses a chunk with any one bit turned, tried at 60 places."""
    data = ChunkEncoder(layout(codec)).encode(0, ROWS)
    for bit in np.linspace(0, 8 * len(data) - 1, 60).astype(int):
        turned = bytearray(data)
        turned[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Exception, match=r"(?i)checksum"):
            plain_zarr(codec, bytes(turned))[:]


@pytest.mark.parametrize("codec", CODECS)
def test_same_rows_same_bytes(codec, monkeypatch):
    """Encoding is a function of the rows: ten encoders give one file, and one an hour later."""
    files = {ChunkEncoder(layout(codec)).encode(0, ROWS) for _ in range(10)}
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    files.add(ChunkEncoder(layout(codec)).encode(0, ROWS))

    assert len(files) == 1


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "raw"])
def test_compression_compresses(codec):
    """Rows that repeat take less than half the space."""
    rows = np.zeros((64, 2, 16), np.float16)

    assert len(ChunkEncoder(layout(codec)).encode(0, rows)) < rows.nbytes / 2


def test_unknown_codec():
    """A wrong name is answered with the right ones."""
    with pytest.raises(
        RefkdError, match="unknown codec lzma; choose one of raw, zstd, gzip, blosc"
    ):
        check_codec("lzma")
