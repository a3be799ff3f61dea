"""Span maths against hand-worked cases and a search over every span."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from student.spans import (
    LOWEST,
    decode_spans,
    masked_log_softmax,
    masked_softmax,
    over_clips,
    span_iou_clips,
    top_spans,
)

# Quarters add without rounding, and a few values make ties common.
LOGITS = st.integers(1, 7).flatmap(
    lambda n: st.lists(st.integers(-3, 3).map(lambda x: x / 4), min_size=2 * n, max_size=2 * n)
)


def padded(values, junk=50.0):
    """Return logits [1, 2, T + 2] with tempting values on two padded clips, and their mask."""
    logits_BT = torch.tensor(values).reshape(2, -1)
    num_valid = logits_BT.shape[1]
    logits = torch.cat([logits_BT, torch.full((2, 2), junk)], dim=1)[None]
    return logits, torch.arange(num_valid + 2)[None] < num_valid


def every_span(logits_BT):
    """Try all spans in order; return them from the best, earlier ones first among equals."""
    num_clips = logits_BT.shape[1]
    spans = [(i, j) for i in range(num_clips) for j in range(i, num_clips)]
    return sorted(spans, key=lambda ij: -(logits_BT[0, ij[0]] + logits_BT[1, ij[1]]))


def test_softmax_hand_worked():
    """Logits (log 3, 0) and junk on padding give probabilities (3/4, 1/4, 0)."""
    logits = torch.tensor([[[math.log(3), 0.0, 99.0]]])
    mask = torch.tensor([[True, True, False]])

    torch.testing.assert_close(masked_softmax(logits, mask), torch.tensor([[[0.75, 0.25, 0.0]]]))
    log_p = masked_log_softmax(logits, mask)
    torch.testing.assert_close(log_p[0, 0, :2].exp(), torch.tensor([0.75, 0.25]))
    assert log_p[0, 0, 2] == LOWEST


def test_softmax_temperature():
    """Temperature 2 takes the square root of the odds: 9 to 1 becomes 3 to 1."""
    logits = torch.tensor([[[math.log(9), 0.0]]])
    mask = torch.ones(1, 2, dtype=torch.bool)

    expected = torch.tensor([[[0.75, 0.25]]])
    torch.testing.assert_close(masked_softmax(logits, mask, temperature=2.0), expected)
    log_p = masked_log_softmax(logits, mask, temperature=2.0)
    torch.testing.assert_close(log_p.exp(), expected)


def test_softmax_is_float32():
    """Half-precision logits are softened in float32, where the mask's constant exists."""
    mask = torch.tensor([[True, True, False]])
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        logits = torch.tensor([[[1.0, 2.0, 3.0]]], dtype=dtype)

        assert masked_softmax(logits, mask).dtype == torch.float32
        log_p = masked_log_softmax(logits, mask)
        assert log_p.dtype == torch.float32
        torch.testing.assert_close(
            log_p[..., 1] - log_p[..., 0], torch.tensor([[1.0]]), rtol=0, atol=1e-6
        )


def test_padding_gives_no_nan():
    """Infinite junk on padding, and a row with no clip at all, give finite values and gradients."""
    logits = torch.tensor([[[0.0, torch.inf]], [[-torch.inf, torch.inf]]], requires_grad=True)
    mask = torch.tensor([[True, False], [False, False]])

    (
        masked_log_softmax(logits, mask).clamp(min=-1.0) + masked_softmax(logits, mask)
    ).sum().backward()
    assert torch.isfinite(masked_log_softmax(logits, mask)).all()
    torch.testing.assert_close(masked_softmax(logits, mask).detach()[:, 0], mask.float() * 1.0)
    assert torch.equal(logits.grad, torch.zeros(2, 1, 2))


def test_mask_meets_any_axes():
    """The mask of pair n covers pair n in [N, T], [N, B, T] and [N, K, B, T], also when N = B."""
    mask = torch.tensor([[True, False], [True, True]])

    for shape in ((2, 2), (2, 2, 2), (2, 3, 2, 2)):
        p = masked_softmax(torch.zeros(shape), mask)
        assert over_clips(mask, p).shape == (2, *[1] * (len(shape) - 2), 2)
        assert (p[0].reshape(-1, 2) == torch.tensor([1.0, 0.0])).all()
        assert (p[1] == 0.5).all()


def test_decode_hand_worked():
    """Starts (1, 4, 0), ends (9, 1, 2): 1 + 9 beats 4 + 2, and 4 + 9 would be reversed."""
    log_p = torch.tensor([[[1.0, 4.0, 0.0], [9.0, 1.0, 2.0]]])

    assert decode_spans(log_p, torch.ones(1, 3, dtype=torch.bool)).tolist() == [[0, 0]]
    log_p[0, 1, 0] = 4.5  # 5.5 is now less than 4 + 2
    assert decode_spans(log_p, torch.ones(1, 3, dtype=torch.bool)).tolist() == [[1, 2]]


def test_decode_ties():
    """Among equals the lowest start wins, then the lowest end."""
    mask = torch.ones(1, 4, dtype=torch.bool)

    assert decode_spans(torch.zeros(1, 2, 4), mask).tolist() == [[0, 0]]
    log_p = torch.tensor([[[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 2.0, 2.0]]])
    assert decode_spans(log_p, mask).tolist() == [[1, 2]]


def test_decode_one_clip():
    """A video of one clip has one span, whatever its padding says."""
    logits, mask = padded([-3.0, -7.0])

    spans = decode_spans(logits, mask)
    assert spans.tolist() == [[0, 0]]
    assert spans.dtype == torch.int64


@settings(deadline=None, max_examples=150)
@given(LOGITS)
def test_decode_against_search(values):
    """The linear-time decoder returns the first best of all spans, ties and padding included."""
    logits, mask = padded(values)

    assert tuple(decode_spans(logits, mask)[0].tolist()) == every_span(logits[0, :, :-2])[0]


def test_decode_against_outer_product():
    """On 128 random clips it agrees with the upper triangle of the outer product of probabilities."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(64, 2, 128, generator=random) * 3
    clips = torch.randint(1, 129, (64,), generator=random)
    mask = torch.arange(128) < clips[:, None]
    p = masked_softmax(logits, mask).double().numpy()

    expected = []
    for p_BT in p:
        outer = np.triu(p_BT[0][:, None] * p_BT[1][None])
        expected.append(np.unravel_index(outer.argmax(), outer.shape))
    np.testing.assert_array_equal(decode_spans(masked_log_softmax(logits, mask), mask), expected)
    np.testing.assert_array_equal(decode_spans(logits, mask), expected)  # raw logits decode alike


def test_decode_many_teachers():
    """Teachers are decoded one by one."""
    logits = torch.randn(3, 2, 2, 9, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(9) < torch.tensor([[9], [4], [1]])

    spans = decode_spans(logits, mask)
    assert spans.shape == (3, 2, 2)
    for k in range(2):
        assert torch.equal(spans[:, k], decode_spans(logits[:, k], mask))


def test_decode_impossible_clips():
    """A valid clip of probability zero still beats padding."""
    log_p = torch.full((1, 2, 3), -torch.inf)

    assert decode_spans(log_p, torch.tensor([[False, True, True]])).tolist() == [[1, 1]]


@settings(deadline=None, max_examples=100)
@given(LOGITS, st.integers(1, 30))
def test_top_against_search(values, k):
    """The k best spans are those of the search, in its order, and differ."""
    logits, mask = padded(values)
    log_p = masked_log_softmax(logits, mask)
    found = top_spans(logits[0], mask[0], k)
    expected = every_span(logits[0, :, :-2])[:k]

    assert [(s, e) for s, e, _ in found] == expected
    assert found[0][:2] == tuple(decode_spans(logits, mask)[0].tolist())
    for s, e, p in top_spans(log_p[0], mask[0], k):
        assert math.isclose(p, log_p[0, 0, s].exp() * log_p[0, 1, e].exp(), rel_tol=1e-5)


def test_decoders_agree_below_float32():
    """A difference that float32 sums would swallow decides for both decoders."""
    log_p = torch.tensor([[[-64.0, -64.0], [-1e-6, 0.0]]])
    mask = torch.ones(1, 2, dtype=torch.bool)

    assert decode_spans(log_p, mask).tolist() == [[0, 1]]
    assert [(s, e) for s, e, _ in top_spans(log_p[0], mask[0], 3)] == [(0, 1), (1, 1), (0, 0)]


def test_top_probabilities():
    """Starts (3/4, 1/4) and ends (1/2, 1/2): 3/8 twice, then 1/8; the reversed span is not there."""
    log_p = torch.tensor([[0.75, 0.25], [0.5, 0.5]]).log()

    found = top_spans(log_p, torch.ones(2, dtype=torch.bool), 9)
    assert [(s, e) for s, e, _ in found] == [(0, 0), (0, 1), (1, 1)]
    np.testing.assert_allclose([p for _, _, p in found], [0.375, 0.375, 0.125], rtol=1e-6)


def test_iou_hand_worked():
    """[1, 3] and [2, 5] share clips 2 and 3 of 1 to 5; one equal clip is 1; neighbours are 0."""
    a = torch.tensor([[1, 3], [4, 4], [0, 1], [5, 6]])
    b = torch.tensor([[2, 5], [4, 4], [2, 3], [0, 1]])

    torch.testing.assert_close(span_iou_clips(a, b), torch.tensor([2 / 5, 1.0, 0.0, 0.0]))


@given(*[st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted)] * 2)
def test_iou_by_counting(a, b):
    """It is the number of shared clips over the number of clips in either."""
    in_a, in_b = (set(range(s, e + 1)) for s, e in (a, b))

    iou = span_iou_clips(torch.tensor(a), torch.tensor(b)).item()
    assert math.isclose(iou, len(in_a & in_b) / len(in_a | in_b), rel_tol=1e-6)
