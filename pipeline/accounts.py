"""The report's account of costs: parameters, seconds and memory by stage, what the cache saved."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.costs import notes_of, read_costs
from pipeline.page import Cell, mean_cell, number_table, paragraph, section, several
from pipeline.provenance import cache_of
from pipeline.subjects import Subject
from stores.cache import Cache, read_cache
from stores.errors import RefkdError
from stores.siblings import finished_caches
from student.network import Network

MB = 2**20
UNKNOWN = Cell("not recorded")
STAGES = {"cache": "cache (stage one)", "weigh": "weigh (stage two)"}
HEAD = ("seconds", "peak MB", "peak GPU MB", "rows", "epochs", "device", "threads")
Cost = Mapping[str, Any]
Costs = Mapping[str, Cost]  # by stage


def costs_section(subjects: Sequence[Subject], data: Path) -> str:
    """Return tables of parameters and of stages, and the sum that the cache saved."""
    trained = [subject for subject in subjects if subject.at_hand]
    note = paragraph(
        "As noted beside each folder while its stage ran: seconds of all sittings, but for what a "
        "killed one had not noted, and the largest process's peak of memory. Of several seeds: mean "
        "± standard deviation.",
        kind="soft",
    )
    stages = number_table("Stages", "", HEAD, _stage_rows(trained, data))
    return section("Costs", _parameter_table(trained), stages, note, saving(trained))


def count_parameters(facts: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many parameters a model trained, side branches included, and how many it keeps."""
    recipe = facts.get("recipe") or {"side_weight": 0, "teachers": []}
    branches = recipe["teachers"] if recipe["side_weight"] > 0 else []
    network = Network(dict(facts), teachers=branches)
    every = sum(parameter.numel() for parameter in network.parameters())
    return every, every - sum(parameter.numel() for parameter in network.side.parameters())


def _parameter_table(subjects: Sequence[Subject]) -> str:
    rows = {}
    for subject in subjects:
        facts = subject.at_hand[0].facts
        rows[subject.name] = [
            *(Cell(f"{count:,}") for count in count_parameters(facts)),
            Cell(facts["backbone"]),
            Cell(str(facts["hidden"])),
        ]
    return number_table("Parameters", "", ("trained", "at inference", "backbone", "width"), rows)


def _stage_rows(subjects: Sequence[Subject], data: Path) -> dict[str, list[Cell]]:
    rows = {stage: _cells([cost]) for stage, cost in read_costs(data).items()}
    rows = rows or {"prepare": _cells([])}
    for subject in subjects:
        if subject.kind == "teacher":
            rows[f"teach: {several(subject.name, len(subject.at_hand))}"] = _cells(
                _noted(subject, "teach")
            )
    caches = _caches(subjects)
    notes = [(f" {cache.name}", read_costs(cache)) for cache in caches]
    for where, costs in notes if len(caches) > 1 else [("", dict(*(n for _, n in notes)))]:
        for stage, name in STAGES.items():
            parts = notes_of(costs, stage)
            for key in parts or [stage]:
                rows[name + key.removeprefix(stage) + where] = _cells([costs[key]] if parts else [])
    for subject in subjects:
        if subject.kind == "student":
            named = several(subject.name, len(subject.at_hand))
            rows[f"distill (stage three): {named}"] = _cells(_noted(subject, "distill"))
    return rows


def _noted(subject: Subject, stage: str) -> list[Cost]:
    """Return what is noted of the members of a subject."""
    costs = [read_costs(one.folder) for one in subject.at_hand if one.folder]
    return [cost[stage] for cost in costs if stage in cost]


def _cells(costs: Sequence[Cost]) -> list[Cell]:
    if not costs:
        return [UNKNOWN, *[Cell("")] * (len(HEAD) - 1)]
    memory = [
        f"{max(cost[peak] for cost in costs) / MB:,.0f}" if all(peak in c for c in costs) else ""
        for peak in ("peak_rss_bytes", "peak_gpu_bytes")
    ]
    told = [
        ", ".join(dict.fromkeys(f"{cost[name]:,}" for cost in costs if name in cost))
        for name in ("rows", "epochs")
    ]
    how = [
        ", ".join(dict.fromkeys(str(cost[name]) for cost in costs if name in cost))
        for name in ("device", "threads")
    ]
    return [mean_cell([c["seconds"] for c in costs]), *map(Cell, [*memory, *told, *how])]


def _caches(subjects: Sequence[Subject]) -> list[Path]:
    """Return the caches that the students were taught from, as noted beside their runs."""
    found: dict[Path, None] = {}
    for subject in subjects:
        for one in subject.at_hand:
            path = cache_of(one.folder) if subject.kind == "student" and one.folder else None
            if path is not None:
                found[path] = None
    return list(found)


def saving(subjects: Sequence[Subject]) -> str:
    """Return what the students would have cost with live teachers, by what stage one measured."""
    live_s, forwards, students = 0.0, 0, 0
    found: dict[Path, dict[Path, Costs]] = {}  # of each cache: its notes, and those of its sources
    used: dict[Path, Costs] = {}
    for subject in subjects:
        for one in subject.at_hand:
            cache = cache_of(one.folder) if subject.kind == "student" and one.folder else None
            if cache is None or not one.folder:
                continue
            noted = found[cache] = found.get(cache) or _noted_of_cache(cache)
            built = [cost for costs in noted.values() for cost in _stage_one(costs).values()]
            rows = sum(map(_asked, noted.values()))
            if not rows:
                continue
            taught = read_costs(one.folder)["distill"]
            count = taught["rows"] * taught["epochs"] * len(one.facts["recipe"]["teachers"])
            live_s += count * sum(cost["seconds"] for cost in built) / rows
            forwards, students = forwards + count, students + (count > 0)
            used |= {**noted, **used, cache: noted[cache]}
    if not any(
        one.facts["recipe"]["teachers"]
        for subject in subjects
        for one in (subject.at_hand if subject.kind == "student" else ())
    ):
        return paragraph("No student at hand learned from teachers: no cache saved anything.")
    if not forwards:
        return paragraph(
            "What the cache saved is not recorded: the notes of its stages are missing."
        )
    once_s = sum(cost["seconds"] for costs in used.values() for cost in costs.values())
    counted = "1 student reads" if students == 1 else f"{students} students read"
    return paragraph(
        f"What the cache saved: {counted} what the teachers say of a pair {forwards:,} times. Live "
        f"teachers, at the {1000 * live_s / forwards:.1f} ms of stage one, would take "
        f"{live_s:,.1f} s; the cache and its weights took {once_s:,.1f} s, once."
        f"{_uncounted(used)}"
    )


def _noted_of_cache(cache: Path) -> dict[Path, Costs]:
    """Return what is noted of a cache, and of those beside it if it holds answers that they asked for."""
    noted: dict[Path, Costs] = {cache: read_costs(cache)}
    held = _opened(cache)
    if held is None or _asked(noted[cache]) >= held.num_rows * len(held.arrays):
        return noted
    for other in finished_caches(cache.parent):
        if other.key != held.key and _keys(other) & _keys(held):
            noted[other.folder] = _stage_one(read_costs(other.folder))
    return noted


def _uncounted(used: Mapping[Path, Costs]) -> str:
    """Say of how many answers nobody has noted what they cost."""
    opened = [cache for cache in map(_opened, used) if cache is not None]
    rows = {key: cache.num_rows for cache in opened for key in _keys(cache)}  # each array once
    missing = sum(rows.values()) - sum(_asked(costs) for costs in used.values())
    if missing <= 0:
        return ""
    return (
        f" Not counted is what {missing:,} of {sum(rows.values()):,} answers cost: they were taken "
        "from other caches, or asked for by a process that was killed."
    )


def _asked(costs: Costs) -> int:
    """Return how many answers stage one asked for, as noted."""
    return sum(costs[key]["rows"] for key in notes_of(costs, "cache"))


def _keys(cache: Cache) -> set[str]:
    return {array["key"] for array in cache.manifest["arrays"].values()}


def _opened(cache: Path) -> Cache | None:
    """Return a cache, or None if there is none any more."""
    try:
        return read_cache(cache)
    except RefkdError:
        return None


def _stage_one(costs: Costs) -> Costs:
    return {key: costs[key] for key in notes_of(costs, "cache")}
