"""A finished table as text."""

import re

from pipeline.ablation_table import ablation_table


def spread(*values):
    mean = sum(values) / len(values)
    return {"mean": mean, "sd": abs(values[0] - mean) * 2**0.5 if len(values) > 1 else None}


def row(name, iid, ood, *, group="", difference=None, val=None):
    """A row of two seeds around a value: 1 to either side."""
    scores = {
        split: {m: spread(value - 1, value + 1) for m in ("R1@0.5", "mIoU")}
        for split, value in (("test_iid", iid), ("test_ood", ood), ("val", val))
        if value is not None
    }
    return {
        "group": group,
        "row": name,
        "runs": 2,
        "scores": scores,
        "difference": difference or {},
    }


def result(rows, **more):
    floor = {"whole video": {"R1@0.5": 1.0, "mIoU": 2.0}}
    return {
        "table": "3",
        "title": "what LR is worth",
        "recipe": {},
        "full": "RefKD",
        "splits": ["test_iid", "test_ood"],
        "validation": ["val", "val_moved"],
        "measures": ["R1@0.5", "mIoU"],
        "simulated": False,
        "group_by": "",
        "floors": {"test_iid": floor, "test_ood": floor},
        "rows": rows,
        **more,
    }


WORSE = {
    "test_iid": {"mean": -1.5, "low": -2.25, "high": -0.5},
    "test_ood": {"mean": 0.25, "low": -1, "high": 12},
}


def test_what_is_drawn():
    """Videos, or what they were cut from, where an expression said so."""
    rows = [row("RefKD", 50, 40), row("w/o LR", 48.5, 41, difference=WORSE)]

    assert "bootstrap over what test videos were cut from,\n" in ablation_table(
        result(rows, group_by="_([0-9]+)$")
    )


def test_what_rows_start_from():
    """Options that all rows share stand under the title: the names of rows do not tell them."""
    text = ablation_table(
        result([row("RefKD", 50, 40)], recipe={"gt_ce_weight": 2.0, "hidden": 16})
    )

    assert text.splitlines()[2] == "every row starts from gt-ce-weight 2, hidden 16"


def test_the_whole_text():
    """Floors, then rows with deviations; differences with intervals; validation."""
    rows = [row("RefKD", 50, 40, val=45), row("w/o LR", 48.5, 41, difference=WORSE, val=46)]

    assert ablation_table(result(rows)) == "\n".join(
        [
            "table 3: what LR is worth",
            "scores in percent, mean ± standard deviation of 2 runs a row",
            "",
            "               test_iid                        test_ood",
            "               R1@0.5          mIoU            R1@0.5          mIoU",
            "whole video    1.00            2.00            1.00            2.00",
            "RefKD          50.00 ± 1.41    50.00 ± 1.41    40.00 ± 1.41    40.00 ± 1.41",
            "w/o LR         48.50 ± 1.41    48.50 ± 1.41    41.00 ± 1.41    41.00 ± 1.41",
            "",
            "mIoU of each row minus that of RefKD, 95% interval of a paired bootstrap over test videos,",
            "for the models that were trained: it does not cover how seeds and teachers vary",
            "",
            "          test_iid                test_ood",
            "w/o LR    -1.50 [-2.25, -0.50]    +0.25 [-1.00, +12.00]",
            "",
            "mIoU on validation pairs, as they are and with their moments moved",
            "",
            "          val",
            "RefKD     45.00 ± 1.41",
            "w/o LR    46.00 ± 1.41",
        ]
    )


def test_groups_stand_under_their_names():
    """A group's name has a line of its own above its rows, in every block."""
    rows = [
        row("RefKD", 50, 40, group="backbone vslnet"),
        row("w/o LR", 48.5, 41, group="backbone vslnet", difference=WORSE),
        row("RefKD", 60, 50, group="backbone seqpan"),
    ]
    lines = ablation_table(result(rows)).splitlines()
    first = [line.split("  ")[0] for line in lines[6:11]]

    assert first == [
        "caches of backbone vslnet:",
        "RefKD",
        "w/o LR",
        "caches of backbone seqpan:",
        "RefKD",
    ]
    assert [line.split("  ")[0] for line in lines[16:]] == ["caches of backbone vslnet:", "w/o LR"]


def test_single_runs_and_simulated_features():
    """One run a row has no deviations, and simulated features are called simulated."""
    one = row("RefKD", 50, 40)
    one["runs"] = 1
    for scores in one["scores"].values():
        scores["mIoU"] = spread(50.0)
        scores["R1@0.5"] = spread(50.0)
    text = ablation_table(result([one], simulated=True))

    assert "scores in percent, simulated features, one run a row" in text
    assert "±" not in text
    assert "bootstrap" not in text
    assert "validation" not in text


def test_what_was_not_scored():
    """A split that a row has no score of shows dashes; counts that differ are all said."""
    teacher = row("Teacher", 50, None, difference={"test_iid": WORSE["test_iid"]})
    teacher["runs"] = 1
    lines = ablation_table(result([teacher, row("RefKD", 50, 40)])).splitlines()

    assert "mean ± standard deviation of 1 or 2 runs a row" in lines[1]
    cells = [cell.strip() for cell in re.split(" {4,}", lines[6])]
    assert cells == ["Teacher", "50.00 ± 1.41", "50.00 ± 1.41", "-", "-"]
    assert lines[-1].split("   ")[-1].strip() == "-"
