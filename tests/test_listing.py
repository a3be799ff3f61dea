"""Plain-text listings of facts."""

from pipeline.listing import listing


def test_values_align():
    """Values of one level start in one column, two spaces past its longest name."""
    lines = listing({"a": 1, "longer": True, "none": None}).splitlines()

    assert lines == ["a       1", "longer  yes", "none    none"]


def test_dict_of_dicts_stands_below():
    """A dict of dicts becomes one indented line a member, and what is nested deeper is bracketed."""
    text = listing({"splits": {"train": {"pairs": 2, "defects": {"reversed": 1}}}})

    assert text == "splits\n  train  pairs 2, defects (reversed 1)"


def test_list_of_dicts_is_a_line_each():
    """Each row of a list stands on a line of its own, in the list's order."""
    text = listing({"windows": [{"start_s": 1.5, "score": 0.25}, {"start_s": 0.0, "score": 0.1}]})

    assert text == "windows\n  start_s 1.5, score 0.25\n  start_s 0, score 0.1"


def test_lists_of_words():
    """A list of plain values is spaced out on its line; an empty one says none."""
    assert listing({"teachers": ["id", "ood"], "missing": []}).splitlines() == [
        "teachers  id ood",
        "missing   none",
    ]
