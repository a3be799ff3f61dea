"""Units of work: what a teacher says becomes what a cache keeps."""

import errno
import os

import numpy as np
import pytest
from planned import BLOCK_ROWS, make_plan, said

from stores.errors import RefkdError
from stores.units import Unit, encode_unit, make_units, stored_form, sync_chunks, write_rows


def unit(clips, *, name="ood"):
    ids = [f"v{n}#0" for n in range(len(clips))]
    return Unit(name, 0, len(clips), (0,), ids, np.array(clips, np.int16))


def test_float16_by_hand():
    """Of (3, 1, 5) over two valid clips the maximum 3 is subtracted, and the third is padding."""
    rows = np.array([[[3.0, 1.0, 5.0], [-1.0, 1.0, 7.0]]], np.float32)

    assert stored_form(rows, unit([2]), dtype="float16").tolist() == [[[0, -2, 0], [-2, 0, 0]]]
    assert stored_form(rows, unit([2]), dtype="float32").tolist() == [[[3, 1, 0], [-1, 1, 0]]]


def test_float16_keeps_probabilities():
    """Logits up to 60 apart, cast after the subtraction, give probabilities within 1e-3."""
    rows = np.random.default_rng(0).normal(size=(50, 2, 128)).astype(np.float32) * 12 + 300

    def softmax(x):
        weight = np.exp(x - x.max(axis=2, keepdims=True))
        return weight / weight.sum(axis=2, keepdims=True)

    kept = stored_form(rows, unit([128] * 50), dtype="float16").astype(np.float64)

    np.testing.assert_allclose(softmax(kept), softmax(rows.astype(np.float64)), atol=1e-3)
    np.testing.assert_array_equal(kept.argmax(axis=2), rows.argmax(axis=2))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_infinite_logit_names_the_sample(value, dtype):
    """A logit that is no finite number stops the build and names teacher and sample."""
    rows = np.zeros((3, 2, 4), np.float32)
    rows[1, 1, 2] = value
    with pytest.raises(
        RefkdError, match=rf"teacher ood says {value} of sample v1#0, expected a fin"
    ):
        stored_form(rows, unit([4, 4, 4]), dtype=dtype)


def test_padding_may_hold_anything():
    """What a teacher says of clips that are not there is not looked at."""
    rows = np.full((1, 2, 4), np.nan, np.float32)
    rows[..., :1] = 7

    assert stored_form(rows, unit([1]), dtype="float16").tolist() == [[[0, 0, 0, 0]] * 2]
    assert stored_form(rows, unit([1]), dtype="float32").tolist() == [[[7, 0, 0, 0]] * 2]


def test_too_far_for_float16():
    """A logit that float16 cannot hold is refused, not kept as an infinity."""
    rows = np.array([[[0.0, 1e6]] * 2], np.float32)
    text = r"ood says 0 of sample v0#0, too far below its largest logit .*; .* --dtype float32"
    with pytest.raises(RefkdError, match=text):
        stored_form(rows, unit([2]), dtype="float16")


def test_units_hold_whole_blocks():
    """With chunks of 32 rows and blocks of 128, units are 128 rows and name their missing chunks."""
    units = make_units(make_plan(), {"id": [1, 2, 9], "ood": []}, block_rows=128)

    assert [(u.array, u.lo, u.hi, u.chunks) for u in units] == [
        ("id", 0, 128, (1, 2)),
        ("id", 256, 300, (9,)),
    ]
    assert units[1].ids[0] == "video128#0"
    assert len(units[1].clips_n) == 44


def test_large_blocks_give_the_same_chunks():
    """The bytes of a chunk do not depend on the unit in which it was asked for."""
    plan = make_plan()
    small, large = (
        {
            chunk: data
            for u in make_units(plan, {"id": list(range(10))}, block_rows=rows)
            for chunk, data in encode_unit(plan.layout, u, said("id", u.lo, u.hi))
        }
        for rows in (BLOCK_ROWS, 512)
    )

    assert small == large
    assert sorted(small) == list(range(10))


def test_restoring_something_else_changes_nothing(tmp_path):
    """Where a chunk's digest is known, other bytes are not written over it."""
    plan = make_plan()
    (u,) = make_units(plan, {"id": [4]}, block_rows=32, recorded={("id", 4): "0" * 64})
    with pytest.raises(RefkdError, match="cannot be restored: computed again it is not what was"):
        write_rows(tmp_path, plan.layout, u, said("id", u.lo, u.hi), print)

    assert not any(tmp_path.iterdir())


def test_a_chunk_that_the_disk_did_not_take_is_removed(tmp_path, monkeypatch):
    """The kernel says only once that a file did not reach the disk, so it must not be there later."""
    plan = make_plan()
    first, second = make_units(plan, {"id": [4, 5]}, block_rows=32)
    chunks = [
        chunk
        for u in (first, second)
        for chunk in write_rows(tmp_path, plan.layout, u, said("id", u.lo, u.hi), print)
    ]
    calls = iter(range(10))

    def fsync(handle):
        if next(calls) == 2:
            raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="broken"):
            sync_chunks(tmp_path, plan.layout, chunks)

    left = [path.parts[-3] for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ["4"]
