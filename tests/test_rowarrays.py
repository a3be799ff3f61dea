"""Arrays chunked along their rows, as bytes in memory."""

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from stores.rowarrays import ChunkEncoder, RowArray, array_files, rows_per_chunk

LOGITS = RowArray(70, (2, 4), "float32", 32, "raw", ("sample", "boundary", "clip"))


def write_files(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@given(st.integers(1, 3_000_000))
def test_rows_per_chunk(num_rows):
    """A power of two, not above N/8 unless that is below 32, and not below it unless at the top."""
    found, most = rows_per_chunk(num_rows), 2048 if num_rows < 1_000_000 else 8192

    assert found & (found - 1) == 0
    assert 32 <= found <= most
    assert found <= num_rows / 8 or found == 32
    assert 2 * found > num_rows / 8 or found == most


def test_demo_has_eight_chunks():
    """256 pairs give eight chunks of 32, and fewer pairs never give smaller chunks."""
    sizes = [rows_per_chunk(n) for n in (1, 255, 256, 511, 512)]

    assert sizes == [32, 32, 32, 32, 64]


def test_raw_chunk_is_the_array_from_offset_zero():
    """A raw chunk file is the little-endian array, then four bytes of CRC32C; padding is NaN."""
    rows = np.arange(6 * 8, dtype=np.float32).reshape(6, 2, 4)
    data = ChunkEncoder(LOGITS).encode(2, rows)
    flat = np.frombuffer(data[:-4], "<f4").reshape(32, 2, 4)

    assert len(data) == 32 * 2 * 4 * 4 + 4
    np.testing.assert_array_equal(flat[:6], rows)
    assert np.isnan(flat[6:]).all()


def test_chunk_of_zeros_is_written():
    """Zeros and NaN are values like any other: no chunk is left out because it looks empty."""
    encoder = ChunkEncoder(LOGITS)

    assert len(encoder.encode(0, np.zeros((32, 2, 4), np.float32))) == 1028
    assert len(encoder.encode(1, np.full((32, 2, 4), np.nan, np.float32))) == 1028


def test_encoder_wants_whole_chunks():
    """Part of a chunk is refused, for the rest of it would be lost."""
    with pytest.raises(AssertionError, match="written whole"):
        ChunkEncoder(LOGITS).encode(0, np.zeros((31, 2, 4), np.float32))


def test_files_are_a_group_for_plain_zarr(tmp_path):
    """Metadata and chunks written file by file read back through zarr alone, without `consolidated`."""
    rows = np.arange(70 * 8, dtype=np.float32).reshape(70, 2, 4)
    files = array_files(
        {
            "teachers/id/logits": LOGITS,
            "samples/clips": RowArray(70, (), "int16", 64, "zstd", ("s",)),
        },
        {"samples/clips": np.arange(70, dtype=np.int16)},
        attributes={"samples/clips": {"unit": "clips"}},
    )
    encoder = ChunkEncoder(LOGITS)
    for chunk in range(LOGITS.num_chunks):
        lo, hi = LOGITS.span(chunk)
        files[f"teachers/id/logits/{LOGITS.chunk_file(chunk)}"] = encoder.encode(chunk, rows[lo:hi])
    write_files(tmp_path, files)
    group = zarr.open_group(tmp_path, mode="r")

    np.testing.assert_array_equal(group["teachers/id/logits"][:], rows)
    np.testing.assert_array_equal(group["samples/clips"][:], np.arange(70))
    assert group["samples/clips"].attrs["unit"] == "clips"
    assert group["teachers/id/logits"].metadata.dimension_names == ("sample", "boundary", "clip")
    assert group.metadata.consolidated_metadata is None


def test_spans_cover_the_rows():
    """Chunks follow each other without gap, and the last one ends with the rows."""
    assert [LOGITS.span(chunk) for chunk in range(LOGITS.num_chunks)] == [
        (0, 32),
        (32, 64),
        (64, 70),
    ]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64"])
@pytest.mark.parametrize(("chunk", "rows"), [(0, 32), (3, 4)])
def test_raw_files_are_those_of_zarr(dtype, chunk, rows):
    """The file of a raw chunk, the last one with its missing rows too, is the one that zarr writes."""
    spec = RowArray(100, (2, 3), dtype, 32, "raw", ("sample", "boundary", "clip"))
    values = np.arange(rows * 6).reshape(rows, 2, 3).astype(dtype)

    assert spec.raw_file(chunk, values) == ChunkEncoder(spec).encode(chunk, values)
