"""Kept results become tables: those that `ablate` would keep are those that a plan's rows have."""

import json
from dataclasses import replace

import numpy as np
import pytest
from experiments.evidence import Evidence
from experiments.floors import keep_floors
from experiments.full import FULL
from experiments.page import all_blocks
from experiments.plan import Block, Data, Experiment, Part, Shown
from experiments.smoke import SMOKE
from experiments.tables import block_text
from test_sources import source

from pipeline.ablations import TABLES
from pipeline.planning import Planner
from pipeline.results import Results, data_content
from pipeline.sources import make_groups
from stores.errors import RefkdError
from student.views import VERSION

TESTS = ("test_iid", "test_ood")
KINDS = {"id": "id", "ood": "ood"}
PLAN = replace(
    SMOKE,
    data=(Data("planted", (), {"epochs": 3, "hidden": 16}),),
    experiments=(
        Experiment(
            "all",
            "all",
            (Part("1"), Part("3"), Part("5"), Part("controls"), Part("recipes")),
            data="planted",
        ),
    ),
)
ALL = PLAN.experiments[0]
TOGETHER = SMOKE.experiment("together")
CLAIM = Block("claims", (Shown("all", (Part("1"),)),), ("ID teacher",))


@pytest.fixture
def planned(data, tmp_path):
    """Every trial that `ablate` would make of the plan's rows, by row, and the folder for results."""
    keep_floors(data.folder, tmp_path / "planted")
    pairs = [
        {bias: {**PLAN.teacher_settings(ALL, bias, seed), **code(data)} for bias in KINDS}
        for seed in PLAN.seeds
    ]
    sources = [source(f"pair {i}", own) for i, own in enumerate(pairs)]
    for i, seeds in enumerate(((0, 1), (1, 0))):
        sources.append(
            source(f"twins {i}", {n: pairs[s]["id"] for n, s in zip("ab", seeds, strict=True)})
        )
    for one in sources:
        one.cache.manifest["views"] = {"number": PLAN.views, "version": VERSION}
    base = PLAN.base(ALL)
    planner = Planner(data, base, seeds=2, sources=sources, folders={})
    groups = make_groups(sources, base.teachers, twins=True)
    rows = {}
    for part in ALL.parts:
        rows |= {row.name: row for row in planner.rows(TABLES[part.table], groups)}
    return rows, tmp_path


def code(data):
    return {"data": data.seal, "backbone_version": 1}


def group(folder, **groups):
    """Say of which video each pair of a test split is; those of other splits are of one."""
    path = folder / "planted" / "floors.json"
    floors = json.loads(path.read_text())
    floors["groups"] = {**{split: ["v"] for split in TESTS}, **groups}
    path.write_text(json.dumps(floors))


def keep(folder, about, ious, **more):
    scores = {
        split: {"R1@0.3": 1.0, "R1@0.5": 2.0, "R1@0.7": 3.0, "mIoU": 100 * float(np.mean(own))}
        for split, own in ious.items()
    }
    seals = {"models": [f"seal of {name}" for name in about["teachers"]]}
    if about["kind"] == "student":
        seals = {"models": ["its own"], "teachers": {n: f"seal of {n}" for n in about["teachers"]}}
    result = {"format": "refkd-result", "about": about, "seals": seals, "scores": scores}
    return Results(folder / "planted").keep({**result, "iou": ious, **more})


def test_what_ablate_keeps_is_found(planned):
    """Every row of every table, each student and teacher at the place of its pair, for each split."""
    rows, folder = planned
    marks = {}
    for row in rows.values():
        for split in TESTS:
            for trial in row.of_split(split):
                marks[trial.key] = len(marks)
                ious = {s: [marks[trial.key] / 1000] for s in TESTS}
                keep(folder, trial.about, ious)
    evidence = Evidence(PLAN, folder)

    for part in ALL.parts:
        for row in part.chosen:
            for split in TESTS:
                found = evidence.of(ALL, row, split)
                trials = rows[row.name].of_split(split)
                about = [found[place]["about"] for place in (0, 1)]
                assert about == [trial.about for trial in trials], (row.name, split)


def test_what_ablate_keeps_of_teachers_together_is_found(planned, data):
    """Students of all teachers count for each place, their mean is one result, asked once."""
    _, folder = planned
    taught = {
        f"{bias}{seed}": {**PLAN.teacher_settings(ALL, bias, seed), **code(data)}
        for seed in PLAN.seeds
        for bias in KINDS
    }
    one = source("crowd", taught)
    base = replace(PLAN.base(ALL), teachers=tuple(taught))
    planner = Planner(data, base, seeds=2, sources=[one], folders={})
    groups = make_groups([one], base.teachers, twins=False)
    together = replace(TOGETHER, data="planted")
    students, mean = (
        planner.rows(replace(TABLES[part.table], rows=part.chosen), groups)[0]
        for part in together.parts
    )
    group(folder)
    for place, trial in enumerate((*students.trials, *mean.trials)):
        keep(folder, trial.about, {split: [place / 4] for split in TESTS})
    plan = replace(PLAN, experiments=(together,))
    evidence = Evidence(plan, folder)
    student, average = (part.chosen[0] for part in together.parts)

    found = evidence.of(together, student, "test_iid")
    assert [found[place]["iou"]["test_iid"] for place in (0, 1)] == [[0.0], [0.25]]
    assert len(mean.trials) == 1
    block = Block("b", (Shown("together"),), (average.name,))
    text = block_text(block, evidence)
    assert "| 50.0 | - | - | 1 |" in text.replace("1.0 / 2.0 / 3.0 / ", "")
    assert "| RefKD | -37.50 (1 run); by pair -50.0 -25.0 |" in text


def test_results_of_other_data_or_recipes_are_not_found(planned, data):
    """A result of another data set, another width, or another teacher is not shown."""
    rows, folder = planned
    about = rows["RefKD"].trials[0].about
    for change in (
        {"data": "0" * 64},
        {"recipe": {**about["recipe"], "hidden": 8}},
        {"teachers": {**about["teachers"], "ood": {**about["teachers"]["ood"], "folds": 3}}},
    ):
        keep(folder, {**about, **change}, {split: [0.5] for split in TESTS})
    evidence = Evidence(PLAN, folder)

    assert evidence.floors["planted"]["data"] == data_content(data)
    assert evidence.of(ALL, TABLES["3"].rows[0], "test_iid") == {}


def test_newer_code_counts_before_older(planned):
    """Results of an older version of a backbone's code are shown until there are newer ones."""
    rows, folder = planned
    about = rows["RefKD"].trials[0].about
    keep(folder, about, {split: [0.25] for split in TESTS})
    old = Evidence(PLAN, folder).of(ALL, TABLES["3"].rows[0], "test_iid")
    keep(folder, {**about, "backbone_version": 2}, {split: [0.75] for split in TESTS})
    new = Evidence(PLAN, folder).of(ALL, TABLES["3"].rows[0], "test_iid")

    assert (old[0]["iou"]["test_iid"], new[0]["iou"]["test_iid"]) == ([0.25], [0.75])


def test_scores_and_differences_by_hand(planned):
    """Means and deviations over runs; a student is compared with its own teachers, pair by pair."""
    rows, folder = planned
    group(folder, test_iid=["v", "w", "w"], test_ood=["v", "v", "w"])
    student, teacher = rows["RefKD"], rows["ID teacher"]
    ious = {"test_iid": [0.5, 0.7, 0.6], "test_ood": [0.2, 0.2, 0.2]}
    keep(folder, student.trials[0].about, ious)
    keep(folder, student.trials[1].about, {**ious, "test_iid": [0.8, 0.8, 0.8]})
    keep(
        folder, teacher.trials[1].about, {"test_iid": [0.7, 0.8, 0.6], "test_ood": [0.3, 0.3, 0.1]}
    )
    lines = block_text(CLAIM, Evidence(PLAN, folder)).splitlines()
    table = {line.split(" | ")[0].strip("| "): line for line in lines}

    # mIoU 60 and 80: mean 70, deviation of a sample 20 / root 2
    assert (
        "| RefKD | 1.0 / 2.0 / 3.0 / 70.0 ± 14.1 | 1.0 / 2.0 / 3.0 / 20.0 ± 0.0 | - | - | 2 |"
        in lines
    )
    assert table["ID teacher"].endswith("| - | - | 1 |")
    # only pair 1 has both: 0.8 - 0.7 of video v, 0.8 - 0.8 and 0.8 - 0.6 of w, 10 either way
    # -0.1 and -0.1 of v, 0.1 of w; of two videos one is drawn twice with chance 1/4
    iid, ood = "+10.00 [+10.00, +10.00] (1 run)", "-3.33 [-10.00, +10.00] (1 run)"
    assert table["RefKD"] == f"| RefKD | {iid} | {ood} |"
    assert lines[-1] == "Not run yet: OOD teacher."


def test_the_same_row_of_another_experiment(planned):
    """A row is compared with its like above it; models that both experiments have are not."""
    rows, folder = planned
    group(folder, test_iid=["v", "w"], test_ood=["v", "w"])
    about, teacher = rows["RefKD"].trials[0].about, rows["ID teacher"].trials[0].about
    moved = {**about["teachers"]["ood"], "moved_span_loss": True}
    keep(folder, about, {split: [0.5, 0.25] for split in TESTS})
    keep(
        folder,
        {**about, "teachers": {**about["teachers"], "ood": moved}},
        {split: [0.75, 0.5] for split in TESTS},
    )
    keep(folder, teacher, {split: [0.5, 0.5] for split in TESTS})
    other = replace(ALL, name="other", label="other", teachers=("id", "ood-moved"))
    shown = tuple(Shown(name, (Part("1"),)) for name in ("all", "other"))
    block = Block("b", shown, beside=("all",), tells="differences")
    text = block_text(block, Evidence(replace(PLAN, experiments=(ALL, other)), folder))

    gained = "+25.00 [+25.00, +25.00] (1 run)"
    head, _, *body = [line for line in text.splitlines() if line.startswith("|")]
    assert "| the same with all, test_iid | the same with all, test_ood |" in head
    assert body == [f"| other: RefKD | {gained} | {gained} |"]


def test_teachers_scored_on_other_data(planned):
    """Their results say that they were taught elsewhere, by whatever seal, and count only there."""
    rows, folder = planned
    about = rows["ID teacher"].trials[0].about
    elsewhere = {"id": {**about["teachers"]["id"], "data": "f" * 64}}
    keep(folder, {**about, "teachers": elsewhere}, {split: [0.5] for split in TESTS})
    asked = replace(ALL, taught_on="elsewhere")
    row = TABLES["1"].rows[0]

    assert Evidence(PLAN, folder).of(ALL, row, "test_iid") == {}
    assert list(Evidence(PLAN, folder).of(asked, row, "test_iid")) == [0]


def test_counts_of_runs_that_differ_by_split(planned):
    """A row with two runs on one test and one on the other says both."""
    rows, folder = planned
    both, one = (rows["RefKD"].trials[i].about for i in (0, 1))
    keep(folder, both, {split: [0.5] for split in TESTS})
    keep(folder, one, {"test_iid": [0.5]})
    evidence = Evidence(PLAN, folder)

    for tells in ("scores", "calibration"):
        text = block_text(replace(CLAIM, against=(), tells=tells), evidence)
        (line,) = (line for line in text.splitlines() if line.startswith("| RefKD |"))
        assert line.endswith("| 2/1 |")


def test_floors_know_what_videos_were_cut_from(data, tmp_path):
    """Without an expression each video is a group; kept again with one, the first group of its match."""
    for cut_from, first in (("", "test_iid_000"), (r"(.)$", "0")):
        keep_floors(data.folder, tmp_path, cut_from)
        kept = json.loads((tmp_path / "floors.json").read_text())
        assert kept["groups"]["test_iid"][0] == first
        assert len(kept["groups"]["test_ood"]) == len(data.pairs["test_ood"])


def test_tables_without_groups_are_refused(planned):
    """Floors of an older version do not say of which video a pair is: no interval is made without."""
    rows, folder = planned
    for row in ("RefKD", "ID teacher"):
        keep(folder, rows[row].trials[0].about, {split: [0.5] for split in TESTS})
    path = folder / "planted" / "floors.json"
    floors = json.loads(path.read_text())
    del floors["groups"]
    path.write_text(json.dumps(floors))

    with pytest.raises(RefkdError, match=r"floors of planted do not say which pairs of test_iid"):
        block_text(CLAIM, Evidence(PLAN, folder))


def test_floors_beside_scores(planned):
    """The best floor of each measure stands above the rows; all of them in a table of their own."""
    rows, folder = planned
    path = folder / "planted" / "floors.json"
    floors = json.loads(path.read_text())
    measures = ("R1@0.3", "R1@0.5", "R1@0.7", "mIoU")
    values = {"whole video": (9, 1, 0, 5), "fixed span (mIoU)": (8, 2, 1, 6)}
    values["fixed span (R1@0.5)"] = (7, 3, 0, 4)
    own = {name: dict(zip(measures, some, strict=True)) for name, some in values.items()}
    for name, (start, end) in (("fixed span (mIoU)", (0, 0.5)), ("fixed span (R1@0.5)", (0.25, 1))):
        own[name]["span"] = [start, end]
    floors["floors"] = {"test_iid": own, "test_ood": own, "val": own}
    path.write_text(json.dumps(floors))
    keep(folder, rows["RefKD"].trials[0].about, {split: [0.5] for split in TESTS})
    evidence = Evidence(PLAN, folder)
    scores, brief = (
        block_text(replace(CLAIM, against=(), tells=tells), evidence).splitlines()
        for tells in ("scores", "brief")
    )

    assert (
        scores[2] == "| best floor | 9.0 / 3.0 / 1.0 / 6.0 | 9.0 / 3.0 / 1.0 / 6.0 | 6.0 | - |  |"
    )
    assert brief[2:4] == ["| best floor | 6.0 | 6.0 |  |", "| RefKD | 50.0 | 50.0 | 1 |"]
    assert block_text(Block("floors", (), tells="floors"), evidence).splitlines()[2:] == [
        "| planted: whole video | 9.0 / 1.0 / 0.0 / 5.0 | 9.0 / 1.0 / 0.0 / 5.0 | 5.0 | - |",
        "| planted: fixed span (mIoU) 0.00-0.50 | 8.0 / 2.0 / 1.0 / 6.0 | 8.0 / 2.0 / 1.0 / 6.0 "
        "| 6.0 | - |",
        "| planted: fixed span (R1@0.5) 0.25-1.00 | 7.0 / 3.0 / 0.0 / 4.0 | 7.0 / 3.0 / 0.0 / 4.0 "
        "| 4.0 | - |",
    ]


def test_simulated_features_are_called_so(planned):
    """Above every table of scores of a data set whose features are simulated."""
    rows, folder = planned
    keep(folder, rows["RefKD"].trials[0].about, {split: [0.5] for split in TESTS})
    path = folder / "planted" / "floors.json"
    floors = json.loads(path.read_text())

    for simulated in (True, False):
        path.write_text(json.dumps({**floors, "simulated": simulated}))
        for tells in ("scores", "brief"):
            text = block_text(replace(CLAIM, against=(), tells=tells), Evidence(PLAN, folder))
            assert text.startswith("Simulated features.\n\n|") == simulated


def test_calibration_and_costs(planned):
    """Means over runs; what a result does not say is a dash."""
    rows, folder = planned
    told = {"error": 9.0, "by_chance": 2.0, "confidence": 40.0, "accuracy": 31.0}
    more = {
        "seconds": 90.0,
        "peak_rss_bytes": 2**30,
        "device": "cpu",
        "threads": 1,
        "best_epoch": 3,
    }
    ious = {split: [0.5] for split in TESTS}
    calibration = {"test_iid": {"start": told, "end": {**told, "error": 1.0}}}
    keep(folder, rows["RefKD"].trials[0].about, ious, calibration=calibration, **more)
    keep(folder, rows["ID teacher"].trials[0].about, ious)
    evidence = Evidence(PLAN, folder)
    calibrated = block_text(replace(CLAIM, against=(), tells="calibration"), evidence)
    costs = block_text(replace(CLAIM, against=(), tells="costs"), evidence)

    assert "| RefKD | 9.0 (2.0); 40.0 / 31.0 | 1.0 (2.0); 40.0 / 31.0 | - | - | 1 |" in calibrated
    assert "| ID teacher | - | - | - | - | 1 |" in calibrated
    assert "| RefKD | 1.5 | 1.0 | 3.0 | cpu, threads 1 |" in costs
    assert "ID teacher" not in costs.partition("Not run yet")[0]


def test_nothing_was_run(tmp_path):
    """Without floors or results every block says so."""
    assert set(all_blocks(FULL, tmp_path).values()) == {"Not run yet."}


def test_floors_of_other_data_are_refused(data, make_data, tmp_path):
    """Results that are kept are of one data set; another one cannot add to them."""
    keep_floors(data.folder, tmp_path / "kept")
    keep_floors(data.folder, tmp_path / "kept")
    other = make_data(tmp_path / "other", train=40)

    with pytest.raises(RefkdError, match=r"holds other data than the results in .*kept are of"):
        keep_floors(other, tmp_path / "kept")
