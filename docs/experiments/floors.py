"""The floors of a data set, kept beside results so that tables need no data.

    RESULTS/floors.json   format, content of the data, simulated, pairs and floors by split

The content is the one that results are about, so that results of other data are never shown with them.
"""

from pathlib import Path
from typing import Any

from pipeline.results import data_content
from stores.dataset import open_dataset
from stores.errors import RefkdError
from stores.files import read_json, write_json

FORMAT = "refkd-floors"
NAME = "floors.json"
Floors = dict[str, Any]


def keep_floors(data: Path, results: Path) -> None:
    """Write the floors of a data set, val_moved among them, unless they are there.

    Raises RefkdError if the results are of another data set.
    """
    dataset = open_dataset(data)
    content, kept = data_content(dataset), read_floors(results)
    if kept and kept["data"] != content:
        raise RefkdError(
            f"{data.resolve()} holds other data than the results in {results} are of; "
            "delete it to make it anew, or give another --results"
        )
    if not kept:
        from pipeline.scoring import split_floors  # needs torch, which tables do not

        splits = [split for split in dataset.pairs if split != "train"]
        floors = split_floors(dataset, splits)
        results.mkdir(parents=True, exist_ok=True)
        found = {"format": FORMAT, "data": content, "simulated": dataset.simulated}
        write_json(results / NAME, {**found, "floors": floors})


def read_floors(results: Path) -> Floors | None:
    """Return the floors that are kept beside results, or None."""
    path = results / NAME
    if not path.is_file():
        return None
    found: Floors = read_json(path, repair="restore it from git, or run `make experiments`")
    return found
