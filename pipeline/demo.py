"""Every stage in order on the built-in data set, with settings small enough for two cores."""

import json
import logging
from pathlib import Path
from typing import Any

from pipeline.cache import cache
from pipeline.distill import distill
from pipeline.simulate import simulate
from pipeline.table import comparison_table
from pipeline.teach import teach
from pipeline.weigh import weigh
from stores.files import read_json, read_seal, write_atomic
from student.recipe import BIASES, Recipe

log = logging.getLogger("refkd")
RECIPE = Recipe(hidden=64, epochs=12)
SPLITS = ("test_iid", "test_ood")
AGAIN = "run `refkd demo` again"


def demo(
    out: Path, *, recipe: Recipe = RECIPE, device: str = "auto", threads: int | None = None
) -> dict[str, Any]:
    """Return the scores of two teachers and a student beside the floors, and a table of them.

    Everything lies in `out`, the page report.html too. Finished stages are not repeated.
    """
    how: dict[str, Any] = {"device": device, "threads": threads}
    data = simulate(out / "data")
    teachers = {
        bias: teach(data, out / "teachers" / bias, bias=bias, recipe=recipe, **how)
        for bias in BIASES
    }
    cached = cache(data, out / "caches", teachers=teachers, device=device)
    weigh(cached)
    run = distill(data, cached, out / "runs", recipe, **how)
    return _judge(out, data, teachers, run, device=device)


def _judge(
    out: Path, data: Path, teachers: dict[str, Path], run: Path, *, device: str
) -> dict[str, Any]:
    """Score the models and write the page, unless that was done for these very folders."""
    seals = {
        folder.relative_to(out).as_posix(): read_seal(folder, repair=AGAIN)[1]
        for folder in (data, *teachers.values(), run)
    }
    page, record = out / "report.html", out / ".scores.json"
    known = read_json(record, repair=f"delete it and {AGAIN}") if record.is_file() else {}
    if known.get("seals") == seals and page.is_file():
        log.info("%s is already complete", out)
        scores = known["scores"]
    else:
        scores = _score(page, data, teachers, run, device=device)
        # in the order of the rows, which write_json would sort
        write_atomic(record, json.dumps({"seals": seals, "scores": scores}).encode())
    table = comparison_table(scores, splits=SPLITS)
    return {"scores": scores, "report": str(page), "table": table}


def _score(
    page: Path, data: Path, teachers: dict[str, Path], run: Path, *, device: str
) -> dict[str, Any]:
    """Write the page; return what `evaluate` says of each model, by the model's name."""
    from pipeline.evaluate import evaluate  # needs torch, which a finished demo does not
    from pipeline.report import report

    models = {f"{name.upper()} teacher": folder for name, folder in teachers.items()}
    models["student"] = run
    report(
        page,
        data=data,
        runs=[run],
        teachers={name: [folder] for name, folder in teachers.items()},
        device=device,
    )
    return {name: evaluate(folder, data, device=device) for name, folder in models.items()}
