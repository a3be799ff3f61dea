"""Tables of scores as plain text."""

import re

import pytest

from pipeline.table import comparison_table, evaluation_table, score_table
from student.metrics import MEASURES


def scored(value, **more):
    return {"pairs": 40, **dict.fromkeys(MEASURES, value), **more}


def result(value, *, splits=("test_iid", "test_ood"), simulated=False):
    floors = {
        "whole video": scored(1.0),
        "fixed span (mIoU)": scored(2.0, span=[0.0, 0.4]),
        "fixed span (R1@0.5)": scored(3.0, span=[0.02, 0.3]),
    }
    found = {split: scored(value + i, floors=floors) for i, split in enumerate(splits)}
    return {"model": "teachers/id", "simulated": simulated, "splits": found}


def test_comparison():
    """Floors with their spans, then models in their order; four measures of each split."""
    results = {"ID teacher": result(50.0), "student": result(98.999)}
    table = comparison_table(results, splits=("test_iid", "test_ood"))

    assert table == "\n".join(
        [
            "scores in percent",
            "",
            "                                 test_iid                          test_ood",
            "                                 R1@0.3  R1@0.5  R1@0.7    mIoU    R1@0.3  R1@0.5  R1@0.7    mIoU",
            "whole video                        1.00    1.00    1.00    1.00      1.00    1.00    1.00    1.00",
            "fixed span (mIoU) 0.00-0.40        2.00    2.00    2.00    2.00      2.00    2.00    2.00    2.00",
            "fixed span (R1@0.5) 0.02-0.30      3.00    3.00    3.00    3.00      3.00    3.00    3.00    3.00",
            "ID teacher                        50.00   50.00   50.00   50.00     51.00   51.00   51.00   51.00",
            "student                           99.00   99.00   99.00   99.00    100.00  100.00  100.00  100.00",
        ]
    )


@pytest.mark.parametrize("columns", ["20", "400"])
def test_any_width(monkeypatch, columns):
    """The terminal's width changes nothing, so no name is ever cut."""
    results = {"a model with a long name": result(50.0)}
    wide = comparison_table(results, splits=("test_iid", "test_ood"))
    monkeypatch.setenv("COLUMNS", columns)

    assert comparison_table(results, splits=("test_iid", "test_ood")) == wide
    assert "…" not in wide
    for name in ("a model with a long name", "test_iid", "test_ood", "mIoU", "fixed span (R1@0.5)"):
        assert name in wide


def test_simulated():
    """The heading says so when the features are simulated."""
    assert comparison_table({"s": result(1.0, simulated=True)}, splits=["test_iid"]).startswith(
        "scores in percent, simulated features\n"
    )
    assert evaluation_table(result(1.0, simulated=True)).startswith(
        "scores in percent, simulated features\n"
    )
    assert "simulated" not in evaluation_table(result(1.0))


def test_missing_split():
    """A model that was not scored on a split shows dashes there."""
    results = {"a": result(50.0, splits=("test_iid",)), "b": result(60.0)}
    lines = comparison_table(results, splits=("test_iid", "test_ood")).splitlines()

    assert lines[-2].split() == ["a", *["50.00"] * 4, *["-"] * 4]
    assert lines[-1].split() == ["b", *["60.00"] * 4, *["61.00"] * 4]
    assert lines[4].startswith("whole video ")  # the floors come from the model that has them
    assert lines[4].split()[2:] == ["1.00"] * 8


def test_evaluation():
    """One block per split: its pairs, all measures, the floors above the model."""
    blocks = evaluation_table(result(50.0)).split("\n\n")

    assert blocks[0] == "scores in percent"
    assert blocks[1].splitlines() == [
        "test_iid: 40 pairs",
        "                                 R1@0.3  R1@0.5  R1@0.7    mIoU  dR1@0.3  dR1@0.5  dR1@0.7",
        "whole video                        1.00    1.00    1.00    1.00     1.00     1.00     1.00",
        "fixed span (mIoU) 0.00-0.40        2.00    2.00    2.00    2.00     2.00     2.00     2.00",
        "fixed span (R1@0.5) 0.02-0.30      3.00    3.00    3.00    3.00     3.00     3.00     3.00",
        "id                                50.00   50.00   50.00   50.00    50.00    50.00    50.00",
    ]
    assert blocks[2].startswith("test_ood: 40 pairs\n")


def test_val_moved_comes_last():
    """Where val was scored, its pairs with moved moments have a block of their own, with its floors."""
    found = result(50.0, splits=("test_iid", "val"))
    floors = {"whole video": scored(7.0)}
    blocks = evaluation_table({**found, "val_moved": scored(44.0, floors=floors)}).split("\n\n")

    assert [block.splitlines()[0] for block in blocks[1:]] == [
        "test_iid: 40 pairs",
        "val: 40 pairs",
        "val_moved, val with its moments moved: 40 pairs",
    ]
    assert blocks[3].splitlines()[2].split() == ["whole", "video", *["7.00"] * 7]
    assert blocks[3].splitlines()[3].split() == ["id", *["44.00"] * 7]


def test_score():
    """The measures beside the floors, then only what was odd."""
    found = {
        **scored(12.5),
        "missing": 3,
        "unknown": 0,
        "reversed": 1,
        "zero_length": 0,
        "convention": "shuffle",
        "floors": {"whole video": scored(1.0)},
    }
    lines = score_table(found).splitlines()

    assert lines[0] == "scores in percent, convention shuffle: 40 pairs"
    assert re.split(" {2,}", lines[1].strip()) == list(MEASURES)
    assert lines[2].split() == ["whole", "video", *["1.00"] * 7]
    assert lines[3].split() == ["predictions", *["12.50"] * 7]
    assert lines[4:] == [
        "pairs without a prediction, which are misses: 3",
        "reversed windows, which score 0: 1",
    ]
