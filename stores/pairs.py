"""The pair: one query about one video, with its moments in seconds, as the annotations write them."""

from dataclasses import asdict, dataclass
from typing import Any

from stores.errors import RefkdError

SPLITS = ("train", "val", "test_iid", "test_ood", "test")


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and the windows [start_s, end_s] that answer it, never clipped, swapped or trimmed."""

    id: str
    split: str
    video: str
    query: str
    windows: tuple[tuple[float, float], ...]
    duration_s: float


def check_split(name: str) -> str:
    """Return a split's name; raise RefkdError if there is no such split."""
    if name not in SPLITS:
        raise RefkdError(f"unknown split {name}, expected one of {', '.join(SPLITS)}")
    return name


def pair_to_json(pair: Pair) -> dict[str, Any]:
    """Return a pair as a JSON object; `pair_from_json` is its inverse."""
    return {**asdict(pair), "windows": [list(window) for window in pair.windows]}


def pair_from_json(value: dict[str, Any]) -> Pair:
    """Return the pair of a JSON object that `pair_to_json` made."""
    windows = tuple((float(start_s), float(end_s)) for start_s, end_s in value["windows"])
    return Pair(**{**value, "windows": windows})
