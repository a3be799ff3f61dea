"""What is kept of a finished run: one small JSON file, enough to print tables from and to commit.

    RESULTS/<readable name>-s<seed>-<digest>.json, a line for each key
      about      kind (student, teacher, average), recipe, how its teachers were trained, content of
                 the data, version of the backbone: what makes two results the same
      seals      of the model, the data, the cache and the teachers at hand
      scores     of val, val_moved and the test splits, in percent
      calibration  of the start and the end on the test splits, in percent
      iou        of each pair of the test splits, sorted by id, rounded
      best_epoch, seconds, peak_rss_bytes, threads, device, processor, torch,
      compiled, code

Results are found by what they are about, not by their name or by the bits of a cache.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from stores.dataset import DataSet
from stores.errors import RefkdError
from stores.files import read_json, write_atomic
from stores.fingerprints import canonical_json, digest
from student.recipe import Recipe, recipe_json, training_version

FORMAT = "refkd-result"
VERSION = 1
DECIMALS = 4
PARTS = {"about": ("kind", "data", "teachers"), "seals": ("models",)}  # that every reader needs
CALLED = re.compile(rb'"format"\s*:\s*"' + FORMAT.encode() + b'"')
LONGEST_NAME = 150
ABSENT = (None, False, 0, "", "none")  # a setting at one of these is like one that is not there
NEUTRAL = {"moved_stretch": 1.0}  # and so are these, settings being added as versions go by

About = dict[str, Any]
Result = dict[str, Any]
Settings = Mapping[str, Any]


def about_student(
    recipe: Recipe,
    teachers: Mapping[str, Settings],
    data: DataSet,
    *,
    backbone_version: int,
    logits: Mapping[str, Any],
) -> About:
    """Return what the result of a student is about; `teachers` says how each was trained.

    `logits` are the facts of its cache that change what the student reads.
    """
    return {
        "kind": "student",
        "recipe": recipe_json(recipe),
        "teachers": {name: _trained(teachers[name], data) for name in recipe.teachers},
        "logits": dict(logits) if recipe.teachers else None,
        "data": data_content(data),
        "backbone_version": backbone_version,
        **training_version(),
    }


def about_teachers(teachers: Mapping[str, Settings], data: DataSet) -> About:
    """Return what the result of one teacher, or of several asked together, is about."""
    return {
        "kind": "teacher" if len(teachers) == 1 else "average",
        "teachers": {name: _trained(settings, data) for name, settings in teachers.items()},
        "data": data_content(data),
    }


def data_content(data: DataSet) -> str:
    """Return the digest of all that a model is trained and scored on, wherever it was prepared."""
    return digest({name: entry["sha256"] for name, entry in data.manifest["files"].items()})


def _trained(settings: Settings, data: DataSet) -> dict[str, Any]:
    """Return how a teacher was trained; on which data is said only if it was on other data."""
    own = settings.get("data") == data.seal
    return {name: value for name, value in settings.items() if not (own and name == "data")}


def plain_settings(settings: Settings) -> dict[str, Any]:
    """Return settings without those that say nothing, so that a new one makes nothing stale."""
    return {
        name: value
        for name, value in settings.items()
        if value not in ABSENT and value != NEUTRAL.get(name)
    }


def about_key(about: About) -> str:
    """Return a digest that is equal for results about the same, by whichever version written."""
    plain = {
        **about,
        "teachers": {name: plain_settings(t) for name, t in about["teachers"].items()},
    }
    if about["kind"] != "student":  # whatever a teacher is called
        plain["teachers"] = sorted(plain["teachers"].values(), key=canonical_json)
    if "recipe" in about:
        plain["recipe"] = recipe_json(Recipe()) | about["recipe"]
    if about.get("logits"):
        plain["logits"] = plain_settings(about["logits"])
    return digest(plain)


def is_result(path: Path) -> bool:
    """Return whether a file calls itself a result, whole or not; others are not ours to parse."""
    return path.is_file() and bool(CALLED.search(path.read_bytes()))


def read_result(path: Path) -> Result:
    """Return a result. Raises RefkdError if it is damaged."""
    repair = "delete it and run the same `refkd ablate` again"
    found = read_json(path, repair=repair)
    result: Result = found if isinstance(found, dict) else {}
    for place, names in PARTS.items():
        part = result.get(place)
        lacking = [name for name in names if not isinstance(part, dict) or name not in part]
        if lacking:
            raise RefkdError(f"{path} is damaged: {place} lacks {', '.join(lacking)}; {repair}")
    return result


class Results:
    """The results in a folder, read once; what is kept is found again by what it is about."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._found: dict[str, Result] = {}
        for path in sorted(folder.glob("[!.]*.json")):
            if is_result(path):
                result = read_result(path)
                self._found.setdefault(about_key(result["about"]), result)

    def find(self, about: About) -> Result | None:
        """Return the result about this, or None."""
        return self._found.get(about_key(about))

    def every(self) -> list[Result]:
        """Return all results, by the names of their files."""
        return list(self._found.values())

    def keep(self, result: Result) -> Path:
        """Write a result and return its file."""
        self._found[about_key(result["about"])] = result
        path = self.folder / result_name(result["about"])
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in result.items()]
        write_atomic(path, ("{" + ",\n ".join(lines) + "}\n").encode())
        return path


def result_name(about: About) -> str:
    """Return the name of a result's file: what differs from the defaults, the seed, a digest."""
    if about["kind"] == "student":
        default, recipe = recipe_json(Recipe()), about["recipe"]
        changed = [
            f"{knob.name.replace('_', '-')}-{_said(recipe[knob.name])}"
            for knob in fields(Recipe)
            if knob.name not in ("backbone", "seed") and recipe[knob.name] != default[knob.name]
        ]
        words, seeds = [recipe["backbone"], *changed], [recipe["seed"]]
    else:
        teachers = about["teachers"].values()
        words = [about["kind"], *(f"{t['bias']}-{t['backbone']}" for t in teachers)]
        seeds = [t["seed"] for t in teachers]
    name = re.sub(r"[^A-Za-z0-9.+_-]", "", "_".join(words))[:LONGEST_NAME]
    return f"{name}-s{'+'.join(map(str, seeds))}-{about_key(about)[:8]}.json"


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "+".join(value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
