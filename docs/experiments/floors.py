"""The floors of a data set and the groups of its test pairs, kept beside results so that tables need no data.

    RESULTS/floors.json   a line for each key
      data       content of the data
      simulated  whether its features are
      floors     of each split but train, val_moved among them
      source     the expression that tells of what a video was cut, "" if each is whole
      groups     of each test split the source of each pair, in the order of the IoUs of results

The content is the one that results are about, so that results of other data are never shown with them.
"""

import json
from pathlib import Path
from typing import Any

from pipeline.judging import pair_sources
from pipeline.results import data_content
from stores.dataset import DataSet, open_dataset
from stores.errors import RefkdError
from stores.files import read_json, write_atomic

FORMAT = "refkd-floors"
NAME = "floors.json"
Floors = dict[str, Any]


def keep_floors(data: Path, results: Path, source: str = "") -> None:
    """Write the floors of a data set and the groups of its test pairs, unless they are there.

    `source` is the expression that finds in a video's id what it was cut from. Raises RefkdError if
    the results are of another data set, or a video does not match.
    """
    dataset = open_dataset(data)
    content, kept = data_content(dataset), read_floors(results)
    if kept and kept["data"] != content:
        raise RefkdError(
            f"{data.resolve()} holds other data than the results in {results} are of; "
            "delete it to make it anew, or give another --results"
        )
    groups = _groups(dataset, source)
    if kept and (kept.get("source"), kept.get("groups")) == (source, groups):
        return
    found = {"format": FORMAT, "data": content, "simulated": dataset.simulated}
    found |= {"floors": _floors(dataset), "source": source, "groups": groups}
    lines = [f"{json.dumps(k)}: {json.dumps(v, sort_keys=True)}" for k, v in found.items()]
    results.mkdir(parents=True, exist_ok=True)
    write_atomic(results / NAME, ("{" + ",\n ".join(lines) + "}\n").encode())


def _floors(data: DataSet) -> dict[str, Any]:
    from pipeline.scoring import split_floors  # needs torch, which tables do not

    return split_floors(data, [split for split in data.pairs if split != "train"])


def _groups(data: DataSet, source: str) -> dict[str, list[str]]:
    tests = [split for split in data.pairs if split.startswith("test")]
    return pair_sources(data, tests, group_by=source)


def read_floors(results: Path) -> Floors | None:
    """Return the floors that are kept beside results, or None."""
    path = results / NAME
    if not path.is_file():
        return None
    found: Floors = read_json(path, repair="restore it from git, or run `make experiments`")
    return found
