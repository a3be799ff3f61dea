"""Chunk files as one array in memory: the same rows as by reading, every file checked before."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planned import build, expected, make_plan

from stores import mapped
from stores.cache import open_cache
from stores.errors import RefkdError
from stores.mapped import can_map, stored_logits

MAPS = Path("/proc/self/maps")


def plan_of_pages():
    """A plan whose chunks are one page each: 64 rows of 2 x 8 float32."""
    plan = make_plan()
    return replace(plan, layout=replace(plan.layout, rows_per_chunk=64), chunk_rows=["x"] * 5)


@pytest.fixture
def paged(tmp_path):
    return build(tmp_path, plan_of_pages())


def damage(folder, chunk=2):
    path = folder / f"teachers/ood/logits/c/{chunk}/0/0"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    return path, bytes(data)


def is_mapped(logits, folder):
    """Whether a file of a folder is mapped where an array begins."""
    start = logits.ctypes.data
    for line in MAPS.read_text().splitlines():
        span = line.split()[0]
        lo, hi = (int(number, 16) for number in span.split("-"))
        if lo <= start < hi:
            return str(folder) in line
    return False


def test_mapped_rows_are_the_arrays(paged):
    """All rows of all chunks, the last one short, in the array's place and type; nobody can write."""
    opened = open_cache(paged)
    logits = stored_logits(opened, "ood")

    assert can_map(opened)
    assert is_mapped(logits, paged)
    assert logits.shape == (300, 2, 8)
    np.testing.assert_array_equal(logits, expected("ood", plan_of_pages()))
    with pytest.raises(ValueError, match="read-only"):
        logits[0] = 0


@pytest.mark.parametrize("change", [{"codec": "zstd"}, {"dtype": "float16"}, {}])
def test_other_arrays_are_read(tmp_path, change):
    """Compressed chunks, and chunks that are no whole pages, are read; the rows are the same."""
    opened = open_cache(build(tmp_path, make_plan(**change)))

    assert not can_map(opened)
    np.testing.assert_array_equal(stored_logits(opened, "id"), opened.logits("id"))


def test_files_that_cannot_be_mapped_are_read(paged, monkeypatch):
    """Where the kernel maps no file, or no more of them, the array is read into memory."""
    monkeypatch.setattr(mapped, "MAP_FIXED", 0x10 | 0x100000)  # and never over what is there

    logits = stored_logits(open_cache(paged), "id")
    assert not is_mapped(logits, paged)
    np.testing.assert_array_equal(logits, expected("id", plan_of_pages()))


@pytest.mark.parametrize("chunk", [0, 4])
def test_damage_is_found_before_a_row_is_seen(paged, chunk):
    """A flipped byte in the first or the last chunk; the sentence names its samples."""
    path, data = damage(paged, chunk)
    path.write_bytes(data)
    with pytest.raises(RefkdError, match=rf"chunk {chunk} of teacher ood \(samples video.*digest"):
        stored_logits(open_cache(paged), "ood")


def test_swapped_cut_and_lost_chunks(paged):
    """Chunks in each other's place, cut short after opening, or gone, are named."""
    opened = open_cache(paged)
    one, two = (paged / f"teachers/ood/logits/c/{chunk}/0/0" for chunk in (1, 2))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    with pytest.raises(RefkdError, match="chunk 1 of teacher ood"):
        stored_logits(opened, "ood")
    one.write_bytes(first)
    os.truncate(two, 4096)
    with pytest.raises(RefkdError, match=r"chunk 2 of teacher ood .* size"):
        stored_logits(opened, "ood")
    two.unlink()
    with pytest.raises(RefkdError, match=r"chunk 2 of teacher ood .* is missing"):
        stored_logits(opened, "ood")


def test_replaced_files_stay_as_they_were(paged):
    """Renaming another file over a mapped one changes nothing for who has mapped it; nor does deleting."""
    logits = stored_logits(open_cache(paged), "ood")
    path, data = damage(paged)
    other = path.with_name("other")
    other.write_bytes(data)
    other.replace(path)
    (paged / "teachers/ood/logits/c/0/0/0").unlink()

    np.testing.assert_array_equal(logits, expected("ood", plan_of_pages()))


def test_the_range_is_given_back(paged):
    """When the last array over it is gone, so is every mapping."""
    logits = stored_logits(open_cache(paged), "ood")
    part = logits[10:20]
    del logits
    assert str(paged) in MAPS.read_text()

    del part
    assert str(paged) not in MAPS.read_text()
