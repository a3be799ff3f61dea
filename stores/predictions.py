"""Predicted windows as moment-detr style jsonl, one query a line.

{"qid": id of the pair, "vid": video, "query": text, "pred_relevant_windows": [[start_s, end_s,
score], ...]}; windows are in seconds and taken as written, reversed, empty or past the end. Beside ours lies
FILE.origin, JSON: the digest of the file, and the seals of model, cache and data set.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shown
from typing import Any

from stores import fields
from stores.errors import RefkdError
from stores.fields import Fault
from stores.files import read_json, write_atomic, write_json
from stores.fingerprints import bytes_digest, file_digest

Scored = tuple[float, float, float]  # start_s, end_s, score


@dataclass(frozen=True, slots=True)
class Prediction:
    """The windows that answer one query, in any order."""

    qid: str
    vid: str
    query: str
    windows: tuple[Scored, ...]

    @property
    def best(self) -> tuple[float, float] | None:
        """The window with the highest score, the first among equals; None if there is none."""
        if not self.windows:
            return None
        start_s, end_s, _ = max(self.windows, key=lambda window: window[2])
        return start_s, end_s


def write_predictions(
    path: Path, rows: Iterable[Prediction], *, origin: Mapping[str, Any] | None = None
) -> None:
    """Write predictions, a line each, in their order; read back they are the same numbers.

    `origin` tells what predicted them, from what; it goes into a file beside them. Raises RefkdError if two of them answer one qid.
    """
    lines: dict[str, str] = {}
    for row in rows:
        if row.qid in lines:
            raise RefkdError(
                f"{path} would hold qid {row.qid} twice, expected one prediction per qid; "
                "write the splits to files of their own"
            )
        value = {
            "qid": row.qid,
            "vid": row.vid,
            "query": row.query,
            "pred_relevant_windows": [list(window) for window in row.windows],
        }
        lines[row.qid] = json.dumps(value, ensure_ascii=False, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(f"{line}\n" for line in lines.values()).encode()
    origin_file(path).unlink(missing_ok=True)  # first: it is of the predictions that were here
    write_atomic(path, data)
    if origin is not None:
        write_json(origin_file(path), {**origin, "predictions": bytes_digest(data)})


def origin_file(path: Path) -> Path:
    """Return where the origin of a file of predictions is told."""
    return path.with_name(f"{path.name}.origin")


def read_origin(path: Path) -> dict[str, Any] | None:
    """Return what predicted a file of predictions, from what; None if that is not told.

    Raises RefkdError if it is told of other predictions.
    """
    told = origin_file(path)
    if not told.exists() or not path.is_file():
        return None
    repair = f"run `refkd evaluate --predictions {path}` again, or delete {told}"
    origin = read_json(told, repair=repair)
    if not isinstance(origin, dict) or origin.get("predictions") != file_digest(path):
        raise RefkdError(f"{told} is about other predictions than those in {path}; {repair}")
    return {name: value for name, value in origin.items() if name != "predictions"}


def read_predictions(path: Path) -> dict[str, Prediction]:
    """Return the predictions of a file by qid, in file order.

    Only `qid` and `pred_relevant_windows` must be there. Raises RefkdError, naming the line, if a
    line is no such object, a window is not three finite numbers, or a qid stands twice.
    """
    if not path.is_file():
        raise RefkdError(f"no predictions at {path}, expected a jsonl file")
    found: dict[str, Prediction] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = _prediction(fields.json_value(line))
            if row.qid in lines:
                raise Fault(f"qid {row.qid} stands on line {lines[row.qid]} already")
        except Fault as fault:
            raise RefkdError(f"{path}, line {number}: {fault}") from None
        found[row.qid], lines[row.qid] = row, number
    return found


def _prediction(row: Any) -> Prediction:
    if not isinstance(row, dict):
        raise Fault(
            f"found a JSON {fields.kind(row)}, expected an object with qid, pred_relevant_windows"
        )
    for field in ("qid", "pred_relevant_windows"):
        if field not in row:
            raise Fault(f"field {field} is missing, expected qid, pred_relevant_windows")
    qid, windows = row["qid"], row["pred_relevant_windows"]
    if type(qid) not in (int, str) or qid == "":
        raise Fault(f"qid is {shown(qid)}, expected a whole number or a text")
    if not isinstance(windows, list):
        raise Fault(
            f"field pred_relevant_windows is {fields.kind(windows)}, "
            "expected [[start, end, score], ...]"
        )
    return Prediction(
        qid=str(qid),
        vid=str(row.get("vid", "")),
        query=str(row.get("query", "")),
        windows=tuple(_window(window) for window in windows),
    )


def _window(value: Any) -> Scored:
    if not isinstance(value, list) or len(value) != 3:
        raise Fault(f"a window is {shown(value)}, expected [start, end, score]")
    start_s, end_s, score = (fields.number(part, "a window's number") for part in value)
    if not all(math.isfinite(part) for part in (start_s, end_s, score)):
        raise Fault(f"a window is [{start_s}, {end_s}, {score}], expected finite numbers")
    return start_s, end_s, score
