"""The evidence sections: what is said of whom, and what is left out where nothing is known."""

import re
from dataclasses import replace

import pytest

from pipeline.evidence import calibration_section, differences, scores_section, warmup_section
from pipeline.scoring import Scored
from pipeline.subjects import Member, Subject
from student.calibration import Bin, Calibration
from student.metrics import MEASURES
from student.recipe import Recipe, recipe_json

VIDEOS = {"test_ood": ["v", "w"]}


def scored(value, *, split="test_ood", ious=(0.5, 0.5), error=5.0):
    boundary = {"error": error, "by_chance": 4.0, "confidence": 20.0, "accuracy": 10.0}
    return Scored(
        {split: dict.fromkeys(MEASURES, value)},
        {split: list(ious)},
        {split: {"start": boundary, "end": {**boundary, "accuracy": 30.0}}},
    )


def student(name, **changes):
    recipe = recipe_json(replace(Recipe(), **changes))
    about = {"kind": "student", "recipe": recipe, "teachers": {"id": {}, "ood": {}}}
    return Subject(name, "student", (Member(about),))


def rows(table):
    return {
        re.sub(r"<[^>]+>", "", name): [
            re.sub(r"<[^>]+>", "", cell) for cell in cells.split("</td>")
        ]
        for name, cells in re.findall(r'<tr[^>]*><th scope="row">(.*?)</th>(.*?)</tr>', table)
    }


def test_scores_stand_beside_the_floors_of_their_split():
    """A subject that was not scored on a split does not stand in its table."""
    floors = {
        split: {"whole video": {**dict.fromkeys(MEASURES, 30.0), "pairs": 36}}
        for split in ("test_ood", "val_moved")
    }
    found = {"a": [scored(40.0)], "b": [scored(20.0, split="val_moved")]}
    section = scores_section(found, floors, suffix=", simulated features")
    ood, moved = section.split("<table")[1:]

    assert "test_ood: 36 pairs, simulated features</caption>" in ood
    assert "val_moved: 36 pairs with their moments moved, simulated features</caption>" in moved
    assert rows(ood).keys() == {"whole video", "a"}
    assert rows(moved)["b"][0] == "↓ 20.00"


def test_differences_from_each_other_subject():
    """20 points more on every pair: the interval is 20 to 20, so it stands out; who is unknown is left out."""
    found = {
        "main": [scored(0, ious=(0.7, 0.5))],
        "other": [scored(0, ious=(0.5, 0.3))],
        "unknown": [Scored({}, {}, {})],
    }
    text = differences("main", found, VIDEOS, suffix="")

    assert rows(text) == {"minus other": ["+20.00 [+20.00, +20.00]", ""]}
    assert text.count('class="best"') == 1


def test_a_difference_that_may_be_none_does_not_stand_out():
    """Better on one pair and worse on another, 0 lies in the interval."""
    found = {"main": [scored(0, ious=(0.7, 0.3))], "other": [scored(0, ious=(0.5, 0.4))]}
    text = differences("main", found, VIDEOS, suffix="")

    assert rows(text)["minus other"][0] == "+5.00 [-10.00, +20.00]"
    assert 'class="best"' not in text


def test_pairs_of_one_video_are_one():
    """What one video shows, however often, is drawn as a whole: here each video's mean is the same."""
    ious = {"main": (0.7, 0.3, 0.5), "other": (0.5, 0.4, 0.45)}  # +20 and -10 in v, +5 in w
    found = {name: [scored(0, ious=own)] for name, own in ious.items()}
    text = differences("main", found, {"test_ood": ["v", "v", "w"]}, suffix="")

    assert rows(text)["minus other"][0] == "+5.00 [+5.00, +5.00]"
    assert "a paired bootstrap over the videos of the split" in text
    assert "It does not cover how seeds and teachers vary" in text


def test_no_differences_of_a_lone_subject():
    """With nothing to compare there is no table."""
    assert differences("main", {"main": [scored(0)]}, VIDEOS, suffix="") == ""


def test_warm_up_figure():
    """Three students that differ by warm-up alone are one line; the fourth is another recipe."""
    subjects = [
        student("20%"),
        student("0%", warmup=0.0),
        student("50%", warmup=0.5),
        student("else", warmup=0.5, rectify="none"),
    ]
    found = {"20%": [scored(30.0)], "0%": [scored(10.0), scored(14.0)], "50%": [scored(20.0)]}
    text = warmup_section(subjects, found, ["test_ood"], suffix="")

    assert text.count("<figure>") == 2
    assert 'aria-label="mIoU by warm-up: test_ood from 12 to 20"' in text


def test_no_warm_up_figure_of_one_warm_up():
    """Students of one warm-up, of other recipes beside, or that read float16, have no such figure."""
    (member,) = student("c", warmup=0.5).members
    half = {**member.about, "logits": {"dtype": "float16", "precision": "float32"}}
    subjects = [
        student("a"),
        student("b", warmup=0.5, rectify="none"),
        Subject("c", "student", (Member(half),)),
    ]

    assert warmup_section(subjects, {s.name: [scored(1)] for s in subjects}, ["x"], suffix="") == ""


def test_calibration():
    """Errors of start and end, then both boundaries together; a diagram beside the diagonal."""
    found = {"a": [scored(0, error=4.0), scored(0, error=6.0)], "b": [Scored({}, {}, {})]}
    bins = (Bin(0.1, 0.2, 5), Bin(0.4, 0.3, 5))
    diagram = {"test_ood": {"a": Calibration(0.1, 0.05, 0.25, 0.25, bins)}}
    text = calibration_section(found, diagram, ["test_ood"], suffix="")

    cells = rows(text)["a (2 seeds)"]
    assert cells[:4] == ["5.00 ± 1.41", "5.00 ± 1.41", "4.00 ± 0.00", "4.00 ± 0.00"]
    assert cells[4:6] == ["20.00 ± 0.00", "20.00 ± 0.00"]
    assert rows(text).keys() == {"a (2 seeds)"}
    assert "Reliability on test_ood: a from 20 to 30; calibrated from 0 to 40" in text


@pytest.mark.parametrize("tests", [[], ["test_ood"]])
def test_calibration_that_nothing_is_known_of(tests):
    """Results of before calibration was kept make no table."""
    text = calibration_section({"b": [Scored({}, {}, {})]}, {}, tests, suffix="")

    assert "<table" not in text
    assert "<figure" not in text
