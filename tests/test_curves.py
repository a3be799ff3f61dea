"""Curves over epochs: every term, every seed, bands of what was observed."""

import re

import pytest

from pipeline.curves import MOST, _mean_line, teaching_section, training_section
from pipeline.subjects import Member, Subject
from student.recipe import Recipe, recipe_json


def entry(epoch, loss, miou, diagnostics=None):
    return {
        "epoch": epoch,
        "losses": {"kl": loss, **({"late": 1.0} if epoch > 1 else {})},
        "diagnostics": diagnostics or {},
        "val": {"mIoU": miou},
        "val_moved": {"mIoU": miou / 2},
    }


def student(name, *histories, warmup=0.5):
    recipe = recipe_json(Recipe(epochs=len(histories[0]), warmup=warmup))
    about = {"kind": "student", "recipe": recipe, "teachers": {}}
    return Subject(
        name,
        "student",
        tuple(
            Member(about, name, {"history": history, "best_epoch": 2, "recipe": recipe})
            for history in histories
        ),
    )


ONE = [entry(1, 4.0, 10.0), entry(2, 2.0, 30.0)]
OTHER = [entry(1, 6.0, 20.0), entry(2, 4.0, 20.0)]


def figures(text):
    """Return what each figure says by its caption."""
    return {
        re.sub(r"<[^>]+>", "|", caption).split("|")[0]: spoken
        for caption, spoken in re.findall(
            r'<figcaption>(.*?)</figcaption><svg[^>]*aria-label="([^"]*)"', text
        )
    }


def test_one_run():
    """Both validation splits, and each loss term from the epoch in which it appears."""
    found = figures(training_section([student("student", ONE)]))

    assert found == {
        "mIoU on val": "mIoU on val: student from 10 to 30",
        "mIoU on val_moved": "mIoU on val_moved: student from 5 to 15",
        "Losses of student": "Losses of student: kl from 4 to 2; late from 1 to 1",
    }


def test_several_seeds_are_their_mean():
    """Losses 4 and 6 are 5 on average, in a band; no epoch is the one kept."""
    text = training_section([student("student", ONE, OTHER)])

    assert figures(text)["Losses of student"].startswith("Losses of student: kl from 5 to 3")
    assert "student (2 seeds) from 15 to 25" in figures(text)["mIoU on val"]
    assert "fill-opacity" in text
    assert "fill-opacity" not in training_section([student("student", ONE)])


def test_band_of_two_seeds():
    """Losses 4 and 6 deviate by the root of 2 from 5, and so do 2 and 4 from 3."""
    line = _mean_line(student("student", ONE, OTHER), lambda entry: entry["losses"]["kl"], place=0)

    assert line.ys == [5.0, 3.0]
    assert line.band[0] == pytest.approx([5 - 2**0.5, 3 - 2**0.5])
    assert line.band[1] == pytest.approx([5 + 2**0.5, 3 + 2**0.5])


def test_more_subjects_than_colours():
    """The first ones have validation curves; the losses of the others can be opened."""
    text = training_section([student(f"s{n}", ONE) for n in range(MOST + 2)])

    assert f"s{MOST - 1} from" in figures(text)["mIoU on val"]
    assert f"s{MOST} from" not in figures(text)["mIoU on val"]
    assert "<summary>Losses of 2 more</summary>" in text
    assert f"Losses of s{MOST + 1}" in figures(text)


def test_without_a_val_split():
    """Losses alone are drawn."""
    bare = [{**one, "val": None, "val_moved": None} for one in ONE]

    assert figures(training_section([student("student", bare)])).keys() == {"Losses of student"}


def spread(low, middle, high):
    return {
        "mean": middle,
        "quantiles": [low, (low + middle) / 2, middle, (middle + high) / 2, high],
    }


def test_what_the_student_makes_of_its_teachers():
    """A figure for each quantity that was observed, a line for each teacher, the warm-up shaded."""
    seen = {
        "weight/id": spread(0.1, 0.4, 0.9),
        "weight/ood": spread(0.2, 0.6, 0.8),
        "confidence/id": spread(0.0, 0.5, 1.0),
    }
    text = teaching_section(student("student", [entry(1, 1, 1, seen), entry(2, 1, 1, seen)]))

    assert figures(text) == {
        "w: introspective weight (eq. 3-4)": "w: introspective weight (eq. 3-4): "
        "id from 0.4 to 0.4; ood from 0.6 to 0.6",
        "rho: confidence (eq. 10)": "rho: confidence (eq. 10): id from 0.5 to 0.5",
    }
    assert text.count("fill: var(--rule)") == 2
    assert "5% and 95%" in text


@pytest.mark.parametrize("seen", [{}, {"weight/id": 0.5}])
def test_nothing_observed(seen):
    """Without teachers, or where only means were kept, there is no such section."""
    assert teaching_section(student("student", [entry(1, 1, 1, seen)])) == ""
