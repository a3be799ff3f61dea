"""The clip grid against hand-worked cases and a search over every span."""

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.grid import clip_span, grid_length, move_rows, resample, span_seconds

SECONDS = st.floats(-5, 40, allow_nan=False).map(lambda x: round(x, 2))


def every_span(start, end, duration, m):
    """Try all m * m spans in order; keep the first of the best."""
    start, end = max(start, 0.0), min(end, duration)
    best, span = 0.0, (0, 0)
    for i in range(m):
        for j in range(i, m):
            left, right = i * duration / m, (j + 1) * duration / m
            overlap = min(right, end) - max(left, start)
            iou = overlap / (max(right, end) - min(left, start)) if overlap > 0 else 0.0
            if iou > best:
                best, span = iou, (i, j)
    return span


def test_average():
    """Five rows on two clips: the edge 2.5 rounds to the even 2, and the last row counts."""
    rows = np.array([[0.0], [2.0], [3.0], [6.0], [9.0]], np.float32)

    np.testing.assert_array_equal(resample(rows, 2), [[1.0], [6.0]])


def test_interpolate():
    """Two rows on four clips: centres 1/8, 3/8, 5/8, 7/8 against the rows' 1/4 and 3/4."""
    rows = np.array([[0.0, 8.0], [4.0, 0.0]], np.float32)

    np.testing.assert_allclose(resample(rows, 4), [[0, 8], [1, 6], [3, 2], [4, 0]])


def test_equal_length_is_unchanged():
    """A video that already has T rows keeps them, as float32."""
    rows = np.arange(6, dtype=np.float16).reshape(3, 2)

    got = resample(rows, 3)
    np.testing.assert_array_equal(got, rows)
    assert got.dtype == np.float32


def test_cap():
    """The cap grid averages a longer video and leaves a shorter one alone."""
    rows = np.array([[0.0], [2.0], [4.0]], np.float32)

    np.testing.assert_array_equal(resample(rows, 5, grid="cap"), rows)
    np.testing.assert_array_equal(resample(rows, 2, grid="cap"), [[1.0], [4.0]])
    assert [grid_length(3, 5, grid=grid) for grid in ("cap", "fixed")] == [3, 5]


@given(n=st.integers(1, 300), m=st.integers(1, 130), grid=st.sampled_from(["fixed", "cap"]))
def test_resample_properties(n, m, grid):
    """Every clip lies within its video's range, a ramp stays a ramp, and averages keep the sum."""
    ramp = np.linspace(0.0, 1.0, n, dtype=np.float32)[:, None]

    got = resample(ramp, m, grid=grid)
    assert got.shape == (grid_length(n, m, grid=grid), 1)
    assert (np.diff(got[:, 0]) >= -1e-7).all()
    assert got.min() >= 0.0
    assert got.max() <= 1.0
    if n > m:
        edges = [round(k * n / m) for k in range(m + 1)]
        expected = [ramp[a:b].mean() for a, b in pairwise(edges)]
        np.testing.assert_allclose(got[:, 0], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("moment", "duration", "clips", "expected"),
    [
        ((2.0, 6.0), 10.0, 5, (1, 2)),  # exactly two clips of 2 s
        ((0.0, 10.0), 10.0, 5, (0, 4)),
        ((2.9, 6.0), 10.0, 5, (1, 2)),  # [2,6] 3.1/4 beats [4,6] 2/3.1
        ((3.3, 6.0), 10.0, 5, (2, 2)),  # [4,6] 2/2.7 beats [2,6] 2.7/4
        ((1.0, 3.0), 10.0, 5, (0, 1)),  # [0,4] 2/4 beats [0,2] and [2,4], 1/3
        ((4.2, 4.3), 10.0, 5, (2, 2)),  # inside one clip
        ((7.0, 25.0), 10.0, 5, (3, 4)),  # clipped to [7,10]: [6,10] 3/4 beats [8,10] 2/3
        ((-3.0, 2.0), 10.0, 5, (0, 0)),  # clipped to [0,2]
        ((13.0, 38.0), 12.31, 5, (0, 0)),  # past the end
        ((10.0, 12.0), 10.0, 5, (0, 0)),
        ((6.0, 2.0), 10.0, 5, (0, 0)),  # reversed
        ((6.0, 6.0), 10.0, 5, (0, 0)),  # of length zero
        ((1.0, 9.0), 10.0, 1, (0, 0)),
        ((1.0, 3.0), 4.0, 2, (0, 1)),  # [0,4] 2/4 beats both halves, 1/3
        ((0.0, 3.0), 4.0, 1, (0, 0)),
    ],
)
def test_clip_span(moment, duration, clips, expected):
    """The span of best IoU, worked by hand."""
    got = clip_span(*moment, duration, clips)

    assert tuple(int(index) for index in got) == expected


@settings(max_examples=300)
@given(
    start=SECONDS,
    end=SECONDS,
    duration=st.floats(0.5, 33).map(lambda x: round(x, 2)),
    clips=st.integers(1, 20),
)
def test_clip_span_against_every_span(start, end, duration, clips):
    """Looking near the moment's edges finds what looking everywhere finds, ties included."""
    got = clip_span(start, end, duration, clips)

    assert tuple(map(int, got)) == every_span(start, end, duration, clips)


def test_many_spans_at_once():
    """51,415 labels on 128 clips take at most a few seconds and equal the scalar answers."""
    rng = np.random.default_rng(0)
    duration = rng.uniform(1.6, 755.0, 51_415)
    start, end = np.sort(rng.uniform(0, duration, (2, 51_415)), axis=0)

    began = time.perf_counter()
    s, e = clip_span(start, end, duration, 128)
    assert time.perf_counter() - began < 5
    for i in range(0, 51_415, 5_000):
        assert (s[i], e[i]) == every_span(start[i], end[i], duration[i], 128)


@given(data=st.data(), clips=st.integers(1, 128), duration=st.floats(0.5, 800))
def test_index_to_time_and_back(data, clips, duration):
    """The seconds of a span give the span again."""
    s = data.draw(st.integers(0, clips - 1))
    e = data.draw(st.integers(s, clips - 1))

    start, end = span_seconds(s, e, duration, clips)
    assert tuple(map(int, clip_span(start, end, duration, clips))) == (s, e)


def test_span_seconds():
    """Clips 1 to 2 of five clips in 10 s are the seconds from 2 to 6."""
    start, end = span_seconds(np.array([1]), np.array([2]), np.array([10.0]), 5)

    assert (start.tolist(), end.tolist()) == ([2.0], [6.0])


def test_move_rows():
    """The block 2, 3 of 0..5 put at 0, at 4 and back at 2."""
    rows = np.arange(6.0)[:, None]

    moved = [move_rows(rows, 2, 4, at)[:, 0].tolist() for at in (0, 4, 2)]
    assert moved == [[2, 3, 0, 1, 4, 5], [0, 1, 4, 5, 2, 3], [0, 1, 2, 3, 4, 5]]
