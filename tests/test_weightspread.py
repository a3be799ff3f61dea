"""The spread of the weights by hand, and of a real cache."""

from dataclasses import dataclass

import numpy as np
import pytest

from pipeline.weightspread import weight_spreads
from stores.cache import open_cache
from stores.weights import open_weights


@dataclass
class FakeCache:
    teachers: list[str]
    splits: list[str]
    num_views: int = 0


@dataclass
class FakeWeights:
    ce: dict[str, np.ndarray]


def test_by_hand():
    """Two rows of train, one of val: CE 1 against 3 is a quarter, 3 against 1 three quarters."""
    cache = FakeCache(["id", "ood"], ["train", "train", "val"])
    id_N2 = np.array([[1, 1], [3, 3], [2, 2]], np.float32)
    ood_N2 = np.array([[3, 3], [1, 1], [6, 6]], np.float32)

    found = weight_spreads(cache, FakeWeights({"id": id_N2, "ood": ood_N2}))

    assert list(found) == ["train, id", "train, ood", "val, id", "val, ood"]
    assert found["train, id"] == pytest.approx({"mean": 0.5, "5 %": 0.25, "95 %": 0.75})
    assert found["val, ood"] == pytest.approx({"mean": 0.75, "5 %": 0.75, "95 %": 0.75})


def test_views_together():
    """All views of a split are one spread, beside that of the pairs as they are."""
    ones, threes = np.ones((1, 2), np.float32), np.full((1, 2), 3, np.float32)
    told = {"id": ones, "ood": ones}
    told |= {"id/views/1": ones, "ood/views/1": threes}
    told |= {"id/views/2": threes, "ood/views/2": ones}

    found = weight_spreads(FakeCache(["id", "ood"], ["train"], 2), FakeWeights(told))

    assert found["train, id"] == {"mean": 0.5, "5 %": 0.5, "95 %": 0.5}
    assert found["train, id, views"] == pytest.approx({"mean": 0.5, "5 %": 0.25, "95 %": 0.75})


def test_one_teacher_has_nothing_to_weigh():
    cache = FakeCache(["id"], ["train"])

    assert weight_spreads(cache, FakeWeights({"id": np.ones((1, 2), np.float32)})) == {}


def test_of_a_cache(cache_folder):
    """The shares of all teachers of a split sum to one."""
    cache = open_cache(cache_folder)
    found = weight_spreads(cache, open_weights(cache))

    assert list(found) == ["train, id", "train, ood"]
    assert sum(one["mean"] for one in found.values()) == pytest.approx(1)
