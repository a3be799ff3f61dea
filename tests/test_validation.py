import numpy as np
import pytest

from student.model import network_shape
from student.network import Network
from student.recipe import Recipe
from student.validation import MovedSplit, Validation


@pytest.fixture(scope="module")
def network(data):
    return Network(network_shape(data, Recipe(hidden=16)), seed=1).eval()


def test_moved_pairs_are_the_val_pairs_elsewhere(data):
    """Same ids, sentences, durations and lengths; other places, inside the video, spread over it."""
    moved, pairs = MovedSplit(data), data.pairs["val"]
    middles = []
    for pair, other in zip(pairs, moved.pairs, strict=True):
        (a, b), (start_s, end_s) = pair.windows[0], other.windows[0]

        assert (other.id, other.query, other.duration_s) == (pair.id, pair.query, pair.duration_s)
        assert end_s - start_s == pytest.approx(b - a)
        assert 0 <= start_s < end_s <= pair.duration_s + 1e-9
        middles.append((start_s + end_s) / 2 / pair.duration_s)
    early = [sum(pair.windows[0]) / 2 / pair.duration_s for pair in pairs]
    assert np.mean(early) < 0.45 < np.mean(middles) < 0.6


def test_the_same_places_in_every_run(data):
    """Windows and features come again, whichever rows are asked for and in whatever order."""
    moved, again = MovedSplit(data), MovedSplit(data)
    assert [p.windows for p in moved.pairs] == [p.windows for p in again.pairs]
    forward, backward = moved.features(np.arange(6)), again.features(np.arange(5, -1, -1))

    assert forward.flip(0).equal(backward)


def test_both_splits_are_scored(data, network):
    """val is what it is; val_moved is scored against the moved windows, so it differs."""
    found = Validation(data).scores(network, device="cpu")

    assert found.keys() == {"val", "val_moved"}
    assert found["val"]["pairs"] == found["val_moved"]["pairs"] == 36
    assert found["val"]["mIoU"] != found["val_moved"]["mIoU"]
