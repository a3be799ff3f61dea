"""One page about finished runs: scores beside floors and controls, curves, calibration, examples, costs."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.accounts import costs_section
from pipeline.curves import teaching_section, training_section
from pipeline.evidence import calibration_section, differences, scores_section, warmup_section
from pipeline.examples import Logits, examples_section
from pipeline.judging import pair_sources
from pipeline.page import document, facts_table, paragraph, section
from pipeline.provenance import check_member, shown_seals
from pipeline.scoring import score_subjects, split_floors
from pipeline.subjects import Member, Subject, find_subjects
from stores.dataset import DataSet, open_dataset
from stores.errors import RefkdError
from stores.files import write_atomic
from student.calibration import NUM_BINS, Calibration, boundary_confidence, calibration
from student.forward import resolve_device
from student.model import load_model
from student.recipe import VAL
from student.retrieval import ask_together

log = logging.getLogger("refkd")
EXAMPLE_SPLITS = ("test_ood", "test", "test_iid", "val")  # the first that the data set has
SIMULATED = (
    "Simulated features: they encode the answers by construction. These scores test the machinery "
    "and say nothing about real video."
)
LEAST_IN_BIN = 60  # predictions of a point in a reliability diagram
MOST_TEACHERS = 5  # that examples and diagrams show beside the student


def report(
    out: Path,
    *,
    data: Path,
    runs: Sequence[Path],
    teachers: Mapping[str, Sequence[Path]] | None = None,
    group_by: str = "",
    device: str = "auto",
) -> Path:
    """Write the page `out` about run folders, or folders that hold them, and return it.

    Results of `refkd ablate` that lie in such folders are shown too, and spare asking their
    models. Intervals draw videos, or what the first group of the expression `group_by` finds in
    their ids. Raises RefkdError if a folder holds no finished run, no run is a student, the data have
    nothing to score, or a run is of another cache than the one that lies where it learned.
    """
    dataset, device = open_dataset(data), resolve_device(device)
    subjects = find_subjects(runs, teachers or {}, dataset)
    for subject in subjects:
        for member in subject.at_hand if subject.kind == "student" else []:
            check_member(member)
    splits = [split for split, pairs in dataset.pairs.items() if pairs and split != "train"]
    if not splits:
        raise RefkdError(f"{data} has no split but train; prepare it with val or test annotations")
    dataset.warn_of_left_out(splits)
    tests = [split for split in splits if split != "val"]
    sources = pair_sources(dataset, tests, group_by=group_by)
    found = score_subjects(subjects, dataset, splits, device=device)
    floors = split_floors(dataset, splits)
    main = next(one for one in subjects if one.kind == "student" and one.at_hand)
    example = next(split for split in EXAMPLE_SPLITS if dataset.pairs.get(split))
    logits = _ask_shown(subjects, main, dataset, {*tests, example}, device=device)
    bins = {split: _reliability(logits[split], dataset, split) for split in tests}
    suffix = ", simulated features" if dataset.simulated else ""
    sections = [
        paragraph(_summary(dataset, subjects)),
        *([paragraph(SIMULATED, kind="note")] if dataset.simulated else []),
        scores_section(found, floors, suffix=suffix),
        differences(
            main.name,
            found,
            sources,
            drawn="the sources of the videos" if group_by else "the videos",
            suffix=suffix,
        ),
        warmup_section(subjects, found, list(floors), suffix=suffix),
        training_section(subjects),
        teaching_section(main),
        calibration_section(found, bins, tests, suffix=suffix) if tests else "",
        examples_section(logits[example], dataset, example, student=main.name, suffix=suffix),
        costs_section(subjects, data),
        _inputs_section(dataset, subjects),
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, document(f"RefKD on {dataset.folder.name}", sections).encode())
    log.info("wrote %s", out)
    return out


def _ask_shown(
    subjects: Sequence[Subject], main: Subject, data: DataSet, splits: set[str], *, device: str
) -> dict[str, dict[str, Logits]]:
    """Return what some teachers and a student say of every row, by split and then by name."""
    teachers = [one for one in subjects if one.kind == "teacher" and one.at_hand]
    found: dict[str, dict[str, Logits]] = {split: {} for split in sorted(splits)}
    for subject in (*teachers[:MOST_TEACHERS], main):
        folder = subject.at_hand[0].folder
        assert folder is not None, "it is at hand"
        network = load_model(folder, device=device).network
        for split, told in found.items():
            told[subject.name] = ask_together([network], data, data.rows(split), device=device)
    return found


def _reliability(logits: Mapping[str, Logits], data: DataSet, split: str) -> dict[str, Calibration]:
    """Return the calibration of start and end together, by name."""
    rows, found = data.rows(split), {}
    for name, logits_NBT in logits.items():
        sure_NB, hit_NB = boundary_confidence(logits_NBT, rows.clips, rows.gt)
        num_bins = min(NUM_BINS, 1 + sure_NB.size // LEAST_IN_BIN)
        found[name] = calibration(np.ravel(sure_NB), np.ravel(hit_NB), num_bins=num_bins)
    return found


def _summary(data: DataSet, subjects: Sequence[Subject]) -> str:
    kind = "simulated features" if data.simulated else "features"
    counts = ", ".join(f"{len(pairs)} {split}" for split, pairs in data.pairs.items())
    kinds = [subject.kind for subject in subjects for _ in subject.members]
    models = ", ".join(
        f"{kinds.count(one)} {one}{'s' if kinds.count(one) > 1 else ''}"
        for one in dict.fromkeys(kinds)
    )
    return (
        f"{models} on {data.folder.name}: {kind} of {len(data.videos)} videos, {counts} pairs. "
        f"{_selection(subjects)}; no test split chose anything."
    )


def _selection(subjects: Sequence[Subject]) -> str:
    """Return which epoch of each kind of model was kept."""
    kept: dict[str, set[str]] = {}
    for member in (one for subject in subjects for one in subject.members):
        if "recipe" in member.about:
            kept.setdefault("student", set()).add(_kept(member, member.about["recipe"]))
        else:
            own = {_kept(member, how) for how in member.about["teachers"].values()}
            kept.setdefault("teacher", set()).update(own)
    said = {name: " or ".join(sorted(own)) for name, own in kept.items()}
    if len(set(said.values())) == 1:
        said = {"model": next(iter(said.values()))}
    first, *others = [f"of each {name} {epoch}" for name, epoch in said.items()]
    return ", ".join([f"O{first[1:]} is kept", *others])


def _kept(member: Member, how: Mapping[str, Any]) -> str:
    """Return which epoch was kept, as the data that a model was trained on allowed."""
    if member.facts:
        validated = any(epoch[VAL] is not None for epoch in member.facts["history"])
    else:  # a result is of the data that its model was trained on
        validated = member.result is None or VAL in member.result["scores"]
    if not validated:
        return f"the last epoch (there was no {VAL} split)"
    return f"the epoch with the best mIoU on {how.get('select', VAL)}"


def _inputs_section(data: DataSet, subjects: Sequence[Subject]) -> str:
    told = {
        "features": "simulated" if data.simulated else "given",
        "videos": len(data.videos),
        **{f"{split} pairs": len(pairs) for split, pairs in data.pairs.items()},
        **{f"{split} pairs without features": n for split, n in data.left_out.items()},
        "grid": f"{data.grid}, {data.num_clips} clips",
        "channels": data.num_channels,
        "word vectors": data.word_file["name"],
        "seal": data.seal[:16],
    }
    models = {
        subject.name: {
            "seed": [seed for member in subject.members for seed in member.seeds],
            **shown_seals(one.folder for one in subject.at_hand if one.folder),
            **_model_facts(subject.at_hand[0].facts),
        }
        for subject in subjects
        if subject.at_hand
    }
    return section(
        "What was run",
        facts_table("Data set", {data.folder.name: told}),
        facts_table("Models", models),
    )


def _model_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a model, its recipe's or its teacher's, and how it was trained."""
    inputs = facts["inputs"]
    settings = inputs.get("recipe") or inputs
    how = facts["how"]
    return {
        "kind": facts["kind"],
        "kept epoch": facts["best_epoch"],
        "threads": how["threads"],
        "trained on": f"{how['device']}, torch {how['torch']}",
        "cache": facts.get("cache", "")[:16],
        **{name: value for name, value in settings.items() if name not in ("data", "seed")},
    }
