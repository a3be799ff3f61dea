import numpy as np
import pytest

from stores.errors import RefkdError
from stores.folds import EVERYTHING, assign_folds, folds_of_rows, sources_of


@pytest.mark.parametrize(("videos", "number"), [(64, 2), (64, 5), (7, 7), (11, 4)])
def test_balance(videos, number):
    """Every video lies in one fold, and no fold has two more than another."""
    names = [f"v{n:02d}" for n in range(videos)]
    folds = assign_folds(names, number, seed=0)

    assert len(folds) == number
    assert sorted(video for fold in folds for video in fold) == names
    assert max(map(len, folds)) - min(map(len, folds)) <= 1


def test_a_function_of_the_set_of_videos_and_the_seed():
    """Order and repetition say nothing; another seed, or one more video, assigns anew."""
    names = [f"v{n:02d}" for n in range(30)]
    folds = assign_folds(names, 3, seed=1)

    assert assign_folds([*names[::-1], "v00"], 3, seed=1) == folds
    assert assign_folds(names, 3, seed=2) != folds
    assert folds != [names[0:10], names[10:20], names[20:30]]


def test_rows(data):
    """A training pair belongs to its video's fold; other splits and unknown videos to nobody's."""
    rows = data.rows("train", "val")
    facts = {"folds": [["train_000", "val_000"], ["train_001"]]}
    found = dict(
        zip(zip(rows.splits, rows.ids, strict=True), folds_of_rows(facts, data, rows), strict=True)
    )

    assert {name: fold for name, fold in found.items() if fold != EVERYTHING} == {
        ("train", "train_000#0"): 0,
        ("train", "train_001#0"): 1,
        ("train", "train_001#1"): 1,
    }


def test_no_folds(data):
    """Of a teacher that is not cross-fitted one model answers for all."""
    rows = data.rows("train")

    np.testing.assert_array_equal(folds_of_rows({}, data, rows), np.full(96, EVERYTHING))


def test_sources():
    """The first group of the first match, wherever in the id."""
    found = sources_of(["train_0007_cat_9", "cat_12", "dog_1"], r"(cat|dog)_(\d)")

    assert found == {"train_0007_cat_9": "cat", "cat_12": "cat", "dog_1": "dog"}


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (
            r"cat_(\d+)",
            r"video dog does not match cat_\(.d\+\), whose first group is to be its source",
        ),
        (r"^(cat)?", r"video dog does not match .*; mend --fold-by"),
        ("cat", "cat has no group that would be a video's source; put it into parentheses"),
        ("(cat", r"\(cat is no regular expression: .*; mend --fold-by"),
    ],
)
def test_sources_that_cannot_be_told(pattern, text):
    """A video of no source is named, and so is an expression that can find none."""
    with pytest.raises(RefkdError, match=text):
        sources_of(["cat_1", "dog"], pattern)
