"""Pairs as JSON, and the names of splits."""

import json

import pytest

from stores.errors import RefkdError
from stores.pairs import Pair, check_split, pair_from_json, pair_to_json


def test_json_and_back():
    """A pair survives JSON: windows are tuples of floats again, the query keeps its spaces."""
    pair = Pair("7", "val", "AAA", " a man ", ((0.0, 1.5), (3.0, 2.0)), 30.25)

    assert pair_from_json(json.loads(json.dumps(pair_to_json(pair)))) == pair


def test_json_is_plain():
    """A pair's JSON holds lists and numbers under its field names."""
    assert pair_to_json(Pair("a#0", "train", "a", "q", ((1.0, 2.0),), 9.0)) == {
        "id": "a#0",
        "split": "train",
        "video": "a",
        "query": "q",
        "windows": [[1.0, 2.0]],
        "duration_s": 9.0,
    }


def test_unknown_split():
    """An unknown split is refused with the ones that exist."""
    with pytest.raises(
        RefkdError,
        match=r"^unknown split dev, expected one of train, val, test_iid, test_ood, test$",
    ):
        check_split("dev")
