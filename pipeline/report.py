"""One page about finished runs: scores beside floors, training curves, examples, what was run."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.charts import Line, colour_class, line_chart, time_axis, time_line
from pipeline.evaluate import evaluate
from pipeline.examples import Example, ask, choose
from pipeline.page import document, facts_table, paragraph, score_table, section
from stores.dataset import DataSet, open_dataset
from stores.errors import RefkdError
from stores.files import MANIFEST, write_atomic
from stores.models import read_facts
from student.forward import resolve_device
from student.model import load_model

log = logging.getLogger("refkd")
EXAMPLE_SPLITS = ("test_ood", "test", "test_iid", "val")  # the first that the data set has
SIMULATED = (
    "Simulated features: they encode the answers by construction. These scores test the machinery "
    "and say nothing about real video."
)


def report(
    out: Path,
    *,
    data: Path,
    runs: Sequence[Path],
    teachers: Mapping[str, Path] | None = None,
    results: Mapping[Path, dict[str, Any]] | None = None,
    device: str = "auto",
) -> Path:
    """Write the page `out` about run folders, or folders that hold them, and return it.

    `results` are what `evaluate` returned for a model folder, where that is known already. Raises
    RefkdError if a folder holds no finished run, or no run is a student.
    """
    dataset, device = open_dataset(data), resolve_device(device)
    folders = name_models(teachers or {}, find_runs(runs))
    facts = {label: read_facts(folder)[0] for label, folder in folders.items()}
    if all(told["kind"] == "teacher" for told in facts.values()):
        raise RefkdError("no student is among the runs; give folders that `refkd distill` wrote")
    known = results or {}
    scores = {
        label: known.get(folder) or evaluate(folder, data, device=device)
        for label, folder in folders.items()
    }
    sections = [
        paragraph(_summary(dataset, facts)),
        *([paragraph(SIMULATED, kind="note")] if dataset.simulated else []),
        _scores_section(dataset, scores),
        _training_section(facts),
        _examples_section(dataset, folders, facts, device=device),
        _inputs_section(dataset, facts),
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, document(f"RefKD on {dataset.folder.name}", sections).encode())
    log.info("wrote %s", out)
    return out


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Return the run folders among some paths or directly inside them, sorted within each.

    Raises RefkdError if a path holds none.
    """
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.glob(f"[!.]*/{MANIFEST}"))
        here = [path] if (path / MANIFEST).is_file() else [manifest.parent for manifest in inside]
        if not here:
            raise RefkdError(f"no finished run at {path}; run `refkd distill` first")
        found += here
    return found


def name_models(teachers: Mapping[str, Path], runs: Sequence[Path]) -> dict[str, Path]:
    """Return model folders by the names that tables give them, teachers first."""
    named = {f"{name.upper()} teacher": folder for name, folder in teachers.items()}
    if len(runs) == 1:
        return {**named, "student": runs[0]}
    return {**named, **{f"student {run.name[:8]}": run for run in runs}}


def _summary(data: DataSet, facts: Mapping[str, dict[str, Any]]) -> str:
    kind = "simulated features" if data.simulated else "features"
    counts = ", ".join(f"{len(pairs)} {split}" for split, pairs in data.pairs.items())
    return (
        f"{len(facts)} models ({', '.join(facts)}) on {data.folder.name}: {kind} of "
        f"{len(data.videos)} videos, {counts} pairs. Each model is the epoch with the best val "
        "mIoU; no test split chose anything."
    )


def _scores_section(data: DataSet, scores: Mapping[str, dict[str, Any]]) -> str:
    splits = list(dict.fromkeys(split for result in scores.values() for split in result["splits"]))
    tables = []
    for split in splits:
        found = {label: result["splits"][split] for label, result in scores.items()}
        first = next(iter(found.values()))
        suffix = ", simulated features" if data.simulated else ""
        tables.append(
            score_table(f"{split}: {first['pairs']} pairs{suffix}", first["floors"], found)
        )
    legend = paragraph(
        "Grey rows are floors: answers that never look at the video. ↓ stands below the best floor "
        "of its column, bold is the best model. R1@m: share of pairs whose span has IoU of at "
        "least m; mIoU: mean IoU; dR1@m: R1@m discounted by how far both boundaries are off.",
        kind="soft",
    )
    return section("Scores", legend, *tables)


def _training_section(facts: Mapping[str, dict[str, Any]]) -> str:
    judged = [line for label, told in facts.items() if (line := _validation_line(label, told))]
    charts = []
    if judged:
        charts.append(
            line_chart("Validation mIoU", judged, x_label="epoch", y_label="percent; dot: kept")
        )
    charts += [
        line_chart(
            f"Losses of {label}", _loss_lines(told["history"]), x_label="epoch", y_label="weighted"
        )
        for label, told in facts.items()
    ]
    return section("Training", f'<div class="charts">{"".join(charts)}</div>')


def _validation_line(label: str, told: dict[str, Any]) -> Line | None:
    judged = [entry for entry in told["history"] if entry["val"] is not None]
    if not judged:
        return None
    return Line(
        label,
        [entry["epoch"] for entry in judged],
        [entry["val"]["mIoU"] for entry in judged],
        marked=told["best_epoch"],
    )


def _loss_lines(history: Sequence[dict[str, Any]]) -> list[Line]:
    terms = list(dict.fromkeys(term for entry in history for term in entry["losses"]))
    lines = []
    for term in terms:
        seen = [entry for entry in history if term in entry["losses"]]
        epochs = [entry["epoch"] for entry in seen]
        lines.append(Line(term, epochs, [entry["losses"][term] for entry in seen]))
    return lines


def _examples_section(
    data: DataSet,
    folders: Mapping[str, Path],
    facts: Mapping[str, dict[str, Any]],
    *,
    device: str,
) -> str:
    """Return three time lines of a test split: ground truth, and each teacher's and a student's."""
    student = next(label for label in folders if facts[label]["kind"] == "student")
    shown = [label for label in folders if facts[label]["kind"] == "teacher" or label == student]
    split = next(name for name in EXAMPLE_SPLITS if data.pairs.get(name))
    networks = {label: load_model(folders[label], device=device).network for label in shown}
    chosen = choose(networks[student], data, split, device=device)
    examples = ask(networks, data, split, chosen, device=device)
    intro = paragraph(
        f"Pairs of {split} at the upper quartile, the median and the lower quartile of the IoU of "
        f"{student}. Bars are spans; curves are probabilities of the start (whole) and the end "
        "(dashed), each row drawn to its own highest.",
        kind="soft",
    )
    return section("Examples", intro, *(_example(example) for example in examples))


def _example(example: Example) -> str:
    pair = example.pair
    told = ", ".join(f"{start:.1f} to {end:.1f} s" for start, end in pair.windows)
    rows = [
        time_line(f"ground truth: {told}", pair.windows, pair.duration_s, colour=colour_class(5))
    ]
    for index, (label, answer) in enumerate(example.answers.items()):
        start_s, end_s = answer.span_s
        rows.append(
            time_line(
                f"{label}: {start_s:.1f} to {end_s:.1f} s, IoU {answer.iou:.2f}",
                [answer.span_s],
                pair.duration_s,
                colour=colour_class(index),
                chances_BT=answer.chances_BT,
            )
        )
    heading = paragraph(f"“{pair.query.strip()}” in {pair.video}")
    return f'<div class="example">{heading}{"".join(rows)}{time_axis(pair.duration_s)}</div>'


def _inputs_section(data: DataSet, facts: Mapping[str, dict[str, Any]]) -> str:
    told = {
        "features": "simulated" if data.simulated else "given",
        "videos": len(data.videos),
        **{f"{split} pairs": len(pairs) for split, pairs in data.pairs.items()},
        "grid": f"{data.grid}, {data.num_clips} clips",
        "channels": data.num_channels,
        "word vectors": data.word_file["name"],
        "seal": data.seal[:16],
    }
    models = {label: _model_facts(found) for label, found in facts.items()}
    return section(
        "What was run",
        facts_table("Data set", {data.folder.name: told}),
        facts_table("Models", models),
    )


def _model_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a model, its recipe's or its teacher's, and how it was trained."""
    inputs = facts["inputs"]
    settings = inputs.get("recipe") or {k: v for k, v in inputs.items() if k != "data"}
    how = facts["how"]
    return {
        "kind": facts["kind"],
        "kept epoch": facts["best_epoch"],
        "trained on": f"{how['device']}, torch {how['torch']}, {how['threads']} threads",
        "cache": facts.get("cache", "")[:16],
        **settings,
    }
