"""The cross-entropy of eq. 1-2 in NumPy, against hand, double precision and torch."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from student.crossentropy import LEAST_CE, _widen, ground_truth_ce


def in_double(logits, clips, gt):
    """-log softmax over the valid clips, the plain way, in float64."""
    found = np.empty((len(logits), 2))
    for row, boundary in np.ndindex(found.shape):
        x = logits[row, boundary, : clips[row]].astype(np.float64)
        most = x.max()
        found[row, boundary] = most + math.log(np.exp(x - most).sum()) - x[gt[row, boundary]]
    return found


def test_by_hand():
    """Probabilities 1/4, 3/4 and, over a padded clip, 1/2, 1/2: log 4, log 4/3, log 2, log 2."""
    logits = np.log(np.array([[[1, 3, 9], [1, 3, 9]], [[5, 5, 5], [5, 5, 5]]], np.float32))
    found = ground_truth_ce(logits, np.array([2, 2]), np.array([[0, 1], [1, 0]]))

    expected = [[math.log(4), math.log(4 / 3)], [math.log(2), math.log(2)]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


@given(
    arrays(np.float32, (3, 2, 6), elements=st.floats(-60, 60, width=32)),
    arrays(np.int16, 3, elements=st.integers(1, 6)),
    st.integers(0, 10**6),
)
def test_against_double_precision(logits, clips, seed):
    """Within float32's precision of the plain formula in float64, whatever the logits."""
    gt = np.random.default_rng(seed).integers(0, clips[:, None], (3, 2))

    expected = np.maximum(in_double(logits, clips, gt), LEAST_CE)
    np.testing.assert_allclose(ground_truth_ce(logits, clips, gt), expected, rtol=2e-5, atol=1e-14)


def test_nearly_certain_teachers_keep_their_order():
    """Where 1 - P is below float32's step, exp(-gap) is still the cross-entropy: 20 and 25 below."""
    logits = np.array([[[20, 0], [25, 0]]], np.float32)
    found = ground_truth_ce(logits, np.array([2]), np.array([[0, 0]]))

    np.testing.assert_allclose(found, [[math.exp(-20), math.exp(-25)]], rtol=1e-6)


def test_least():
    """A teacher that is certain and right costs 1e-12, and so does a video of one clip."""
    logits = np.array([[[200, 0], [200, 0]], [[3, 7], [3, 7]]], np.float32)
    found = ground_truth_ce(logits, np.array([2, 1]), np.zeros((2, 2), np.int16))

    np.testing.assert_array_equal(found, np.full((2, 2), np.float32(1e-12)))


def test_wrong_by_far():
    """Logits 1,000 apart cost 1,000 and overflow nothing."""
    logits = np.array([[[0, 1000], [0, 1000]]], np.float32)
    found = ground_truth_ce(logits, np.array([2]), np.array([[0, 1]]))

    np.testing.assert_array_equal(found, np.array([[1000, 1e-12]], np.float32))


def test_padding_does_not_count():
    """Whatever stands beyond a row's clips, the cross-entropy is the same bits."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20, 2, 8)).astype(np.float32)
    clips = rng.integers(1, 9, 20)
    gt = rng.integers(0, clips[:, None], (20, 2))
    other = np.where(np.arange(8) < clips[:, None, None], logits, np.float32(1e30))

    np.testing.assert_array_equal(
        ground_truth_ce(other, clips, gt), ground_truth_ce(logits, clips, gt)
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("num_clips", [1, 7, 16, 128, 200])
def test_blocks_move_no_bit(dtype, num_clips, monkeypatch):
    """However many rows are looked at together, a row's cross-entropies are the same bits."""
    rng = np.random.default_rng(num_clips)
    logits = (4 * rng.normal(size=(70, 2, num_clips))).astype(dtype)
    clips = rng.integers(1, num_clips + 1, 70)
    gt = rng.integers(0, clips[:, None], (70, 2))
    whole = ground_truth_ce(logits, clips, gt)
    before = logits.copy()
    for values in (1, 6 * num_clips, 64 * num_clips):
        monkeypatch.setattr("student.crossentropy.BLOCK_VALUES", values)

        assert ground_truth_ce(logits, clips, gt).tobytes() == whole.tobytes()
    np.testing.assert_array_equal(logits, before)


def test_every_float16_is_widened_exactly():
    """Each finite one becomes the bits that NumPy's cast makes of it, zeros and subnormals too."""
    half = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    half = half[np.isfinite(half)].reshape(-1, 2, 16)
    found = np.empty(half.shape, np.float32)
    _widen(half, found)

    assert found.tobytes() == half.astype(np.float32).tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_against_torch(dtype):
    """torch's cross-entropy over full rows, start and end."""
    rng = np.random.default_rng(1)
    logits = (3 * rng.normal(size=(50, 2, 16))).astype(dtype)
    gt = rng.integers(0, 16, (50, 2))
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).float().flatten(0, 1),
        torch.from_numpy(gt).flatten(),
        reduction="none",
    )
    found = ground_truth_ce(logits, np.full(50, 16), gt)

    np.testing.assert_allclose(found.ravel(), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_subtracting_the_maximum_changes_little():
    """What float16 keeps of a row, its maximum subtracted, costs the same to 1e-2."""
    rng = np.random.default_rng(2)
    logits = (4 * rng.normal(size=(50, 2, 16)) + 50).astype(np.float32)
    kept = (logits - logits.max(axis=2, keepdims=True)).astype(np.float16)
    gt, clips = rng.integers(0, 16, (50, 2)), np.full(50, 16)

    np.testing.assert_allclose(
        ground_truth_ce(kept, clips, gt), ground_truth_ce(logits, clips, gt), atol=1e-2
    )
