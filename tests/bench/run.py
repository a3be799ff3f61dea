"""Run benches and write docs/benchmarks.md: `python tests/bench/run.py [--smoke] [NAME ...]`.

Figures of benches that are not named are kept from docs/benchmarks.json.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # benches share harness.py, and the tests' builders

from harness import Figure, Scale  # noqa: E402 # the path comes first

DOCS = HERE.parents[1] / "docs"
NOT_BENCHES = {"harness", "peers", "run"}


def main() -> None:
    names = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NOT_BENCHES)
    parser = argparse.ArgumentParser(
        description="Measure side by side and write docs/benchmarks.md."
    )
    parser.add_argument(
        "names", nargs="*", choices=[*names, []], help="benches; all if none is named"
    )
    parser.add_argument("--smoke", action="store_true", help="smallest inputs, nothing is written")
    arguments = parser.parse_args()
    scale: Scale = "smoke" if arguments.smoke else "full"
    for name in arguments.names or names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = measure(name, scale)
        for figure in found:
            print(line(asdict(figure)), flush=True)
        if scale == "full":
            write(name, found)


def measure(name: str, scale: Scale) -> list[Figure]:
    """Return the figures of a bench, run in an empty folder."""
    with tempfile.TemporaryDirectory(prefix="refkd-bench-", dir=os.environ.get("TMPDIR")) as folder:
        figures: list[Figure] = importlib.import_module(name).measure(Path(folder), scale)
    return figures


def write(name: str, found: list[Figure]) -> None:
    """Keep a bench's figures in docs/benchmarks.json and write the page anew."""
    kept = DOCS / "benchmarks.json"
    everything: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    everything[name] = {
        "machine": machine(),
        "date": date.today().isoformat(),
        "figures": [{**asdict(figure), "holds": figure.holds} for figure in found],
    }
    kept.write_text(json.dumps(everything, indent=1, sort_keys=True) + "\n")
    (DOCS / "benchmarks.md").write_text(page(everything))


def machine() -> str:
    """Say what the figures were measured on."""
    import numpy
    import torch
    import zarr

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            row.partition(":")[2] for row in info.read_text().splitlines() if "model name" in row
        ]
        model = names[0].strip() if names else model
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, zarr {zarr.__version__}, numpy {numpy.__version__}"
    return f"{os.cpu_count()} cores of {model}, {gib:.0f} GiB, {platform.system()}; {versions}"


def page(everything: dict[str, Any]) -> str:
    """Return docs/benchmarks.md."""
    rows = [
        {**figure, "bench": name}
        for name, bench in everything.items()
        for figure in bench["figures"]
    ]
    rows.sort(key=lambda figure: (int(figure["row"]), figure["bench"]))
    machines = sorted({bench["machine"] for bench in everything.values()})
    body = [
        "# Benchmarks",
        "",
        "Written by `make bench`; every figure is the median over turns in which the competitors ran one",
        "after the other in random order, smallest and largest beside it. What each row measures, and against",
        "what, stands at the top of the file of that name in tests/bench.",
        "",
        *(f"Machine: {each}." for each in machines),
        "",
        "| # | measure | figure | to reach | |",
        "| --- | --- | --- | --- | --- |",
        *(line(figure) for figure in rows),
    ]
    short = [
        f"- Row {figure['row']}, {figure['claim']}: {figure['limit']}"
        for figure in rows
        if figure["limit"]
    ]
    if short:
        body += ["", "## What limits, and what was tried", "", *short]
    body += ["", "## Details", ""]
    for figure in rows:
        if figure["details"]:
            told = ", ".join(f"{key} {number(value)}" for key, value in figure["details"].items())
            body.append(f"- Row {figure['row']}, {figure['claim']} ({figure['bench']}.py): {told}")
    return "\n".join(body) + "\n"


def line(figure: dict[str, Any]) -> str:
    """Return a figure as a row of the table."""
    spread = figure["spread"]
    span = f" ({number(spread[0])}-{number(spread[1])})" if spread else ""
    unit = "" if figure["unit"] == "ratio" else f" {figure['unit']}"
    reached = (
        figure["value"] >= figure["reach"]
        if figure["sense"] == "at least"
        else figure["value"] <= figure["reach"]
    )
    mark = "yes" if reached else "**no**"
    return (
        f"| {figure['row']} | {figure['claim']} | {number(figure['value'])}{unit}{span} "
        f"| {figure['sense']} {number(figure['reach'])}{unit} | {mark} |"
    )


def number(value: float | int | str) -> str:
    """Return a number with three digits that count."""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else value


if __name__ == "__main__":
    main()
