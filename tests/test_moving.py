import dataclasses

import numpy as np
import pytest

from stores.grid import clip_span
from student.moving import Mover

ACTIONS = ("jump", "run", "swim", "climb")


@pytest.fixture
def mover(data):
    return Mover(data, data.rows("train"), data.pairs["train"])


def test_a_moved_view_holds_the_same_rows(mover, data):
    """The moment's rows lie as one block where the new label says; its length in seconds stays."""
    rng = np.random.default_rng(0)
    views = mover.views(np.arange(40), lambda _, places: int(rng.integers(places)))
    moves = set()
    for row in range(40):
        pair, (s, e) = data.pairs["train"][row], views.gt_N2[row]
        raised = views.features_NTD[row, :, ACTIONS.index(pair.query.split()[-1])] > 1.0
        start_s, end_s = views.windows_N2[row]

        assert raised[s + 1 : e].all()  # the edges may be mixed with their neighbours
        assert end_s - start_s == pytest.approx(pair.windows[0][1] - pair.windows[0][0])
        assert 0 <= start_s < end_s <= pair.duration_s + 1e-9
        assert (s, e) == clip_span(start_s, end_s, pair.duration_s, 16)
        moves.add(round(start_s - pair.windows[0][0], 1))
    assert len(moves) > 8


def test_put_back_where_it_was_nothing_changes(mover, data):
    """Drawn to its own place, a moment's view is the video itself and the label its own."""
    rows = data.rows("train")
    first = {}
    for row in range(8):
        pair = data.pairs["train"][row]
        n = len(data.raw_rows(int(rows.video[row])))
        first[row] = int(clip_span(*pair.windows[0], pair.duration_s, n)[0])
    views = mover.views(np.arange(8), lambda row, places: first[row])

    np.testing.assert_array_equal(views.features_NTD, data.features[rows.video[:8]])
    np.testing.assert_array_equal(views.gt_N2, rows.gt[:8])


@pytest.mark.parametrize(
    ("moment", "at", "window"),
    [
        ((1.6, 5.0), 0, (0.0, 3.0)),  # rows 2-4, which begin 0.4 s after it: not at -0.4 s
        ((1.6, 5.0), 6, (5.6, 9.0)),
        ((2.0, 5.4), -1, (7.0, 10.0)),  # rows 2-4, which end 0.4 s before it: not at 10.4 s
    ],
)
def test_a_moment_that_begins_or_ends_within_a_row(data, monkeypatch, moment, at, window):
    """Ten rows of a second each: put first or last its window does not leave the video."""
    rows = data.rows("train").take([0])
    pair = dataclasses.replace(data.pairs["train"][0], windows=(moment,), duration_s=10.0)
    rows = dataclasses.replace(rows, durations_s=np.array([10.0]))
    mover = Mover(data, rows, [pair])
    monkeypatch.setattr(mover, "_raw", lambda row: np.zeros((10, data.num_channels), np.float16))
    (found,) = mover.windows(np.array([0]), lambda _, places: at % places)

    assert found == pytest.approx(window)


def test_every_place_is_offered(mover, data):
    """A moment of 3 of 12 rows has 10 places, from the first row to the last that it fits."""
    offered = {}
    mover.views(np.arange(96), lambda row, places: offered.setdefault(row, places) * 0)
    rows = data.rows("train")
    for row, places in offered.items():
        pair = data.pairs["train"][row]
        n = len(data.raw_rows(int(rows.video[row])))
        start_s, end_s = pair.windows[0]

        assert places == n - round((end_s - start_s) / 0.5) + 1


def test_a_stretched_moment_fills_another_part_of_the_video(data):
    """Up to twice or half as long, its rows are where the new label says, the video keeps its length."""
    mover = Mover(data, data.rows("train"), data.pairs["train"], stretch=2.0)
    rng = np.random.default_rng(0)
    views = mover.views(np.arange(60), lambda _, choices: int(rng.integers(choices)))
    factors = []
    for row in range(60):
        pair, (s, e) = data.pairs["train"][row], views.gt_N2[row]
        raised = views.features_NTD[row, :, ACTIONS.index(pair.query.split()[-1])] > 0.8
        start_s, end_s = views.windows_N2[row]
        factors.append((end_s - start_s) / (pair.windows[0][1] - pair.windows[0][0]))

        assert raised[s + 1 : e].all()
        assert 0 <= start_s < end_s <= pair.duration_s + 1e-9
    assert 0.5 <= min(factors) < 0.7
    assert 1.5 < max(factors) <= 2.0 + 1e-9


def test_a_moment_that_fills_its_video_stays(data):
    """Nothing is around it to give or take."""
    pairs = [
        dataclasses.replace(pair, windows=((0.0, pair.duration_s),)) for pair in data.pairs["val"]
    ]
    mover = Mover(data, data.rows("val"), pairs, stretch=3.0)
    views = mover.views(np.arange(4), lambda _, choices: choices - 1)

    np.testing.assert_array_equal(views.features_NTD, data.features[data.rows("val").video[:4]])
    assert views.windows_N2.tolist() == [[0.0, pair.duration_s] for pair in pairs[:4]]
