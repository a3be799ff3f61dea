"""Single values of annotation files, checked: JSON, names, queries, moments and durations.

Each function returns the value or raises Fault, which says what is wrong; the reader, who knows
the file and the line, says where.
"""

import json
import math
from collections import Counter
from pathlib import Path
from reprlib import repr as shown
from typing import Any

from stores.errors import RefkdError


class Fault(Exception):
    """What was found and what was expected, without the place."""


def json_value(text: bytes | str) -> Any:
    """Return the value of a JSON text in which no object names a key twice."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        what = error.msg[:1].lower() + error.msg[1:]
        raise Fault(f"not complete JSON, {what} at character {error.pos}") from None
    except UnicodeDecodeError as error:
        raise Fault(f"not UTF-8 text at byte {error.start}") from None
    except (RecursionError, ValueError):  # ValueError: a number of more than 4,300 digits
        raise Fault("not the JSON of annotations: too deep, or a number too long") from None


def _object(items: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(items)
    if len(value) != len(items):  # json would keep the last one and lose pairs
        key = Counter(key for key, _ in items).most_common(1)[0][0]
        raise Fault(f"key {shown(key)} stands twice in one object")
    return value


def plain_text(path: Path) -> str:
    """Return the text of a UTF-8 file, its line ends made `\\n`."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RefkdError(f"{path}: not UTF-8 text at byte {error.start}") from None


def kind(value: Any) -> str:
    """Return JSON's word for a value."""
    names = {dict: "object", list: "list", str: "text", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def name(value: Any, what: str) -> str:
    """Return the name of a video."""
    if not isinstance(value, str) or not value:
        raise Fault(f"{what} is {shown(value)}, expected a name")
    return _whole(value, what)


def qid(value: Any) -> str:
    """Return the id of a row as text; a cache fills ids up with NUL, so that none may hold one."""
    if type(value) not in (int, str) or value == "":
        raise Fault(f"qid is {shown(value)}, expected a whole number or a text")
    text = _whole(str(value), "qid")
    if "\0" in text:
        raise Fault(f"qid is {shown(text)}, expected a text without NUL")
    return text


def query(value: Any) -> str:
    """Return a query as written, spaces included, in which there is at least one word."""
    if not isinstance(value, str):
        raise Fault(f"the query is a JSON {kind(value)}, expected a text")
    if not value.strip():
        raise Fault("the query is empty, expected at least one word")
    return _whole(value, "the query")


def _whole(text: str, what: str) -> str:
    """Refuse half a surrogate pair, which JSON can escape but no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Fault(f"{what} is {shown(text)}, expected whole characters") from None
    return text


def parse_number(text: str, what: str) -> float:
    """Return the number that a text spells."""
    try:
        return float(text)
    except ValueError:
        raise Fault(f"{what} is {shown(text)}, expected a number") from None


def number(value: Any, what: str) -> float:
    """Return a JSON number, finite or not."""
    if type(value) is not float and type(value) is not int:  # True is an int to isinstance
        raise Fault(f"{what} is {shown(value)}, expected a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def window(value: Any) -> tuple[float, float]:
    """Return a moment [start_s, end_s] as written: reversed, empty or past the end is no fault."""
    if type(value) is not list or len(value) != 2:
        raise Fault(f"a moment is {shown(value)}, expected [start, end] in seconds")
    start_s, end_s = number(value[0], "timestamp"), number(value[1], "timestamp")
    if not (math.isfinite(start_s) and math.isfinite(end_s)):
        raise Fault(f"a moment is [{start_s}, {end_s}], expected finite seconds")
    return start_s, end_s


def duration_value(record: Any) -> Any:
    """Return the duration in a record as Charades-CD or ActivityNet-CD names it, or the bare value."""
    if not isinstance(record, dict):
        return record
    return record.get("video_duration", record.get("duration"))


def duration(value: Any) -> float:
    """Return a duration in seconds, finite and above 0."""
    if value is None:
        raise Fault("the duration is missing, expected seconds")
    duration_s = number(value, "the duration")
    if not (math.isfinite(duration_s) and duration_s > 0):
        raise Fault(f"the duration is {duration_s}, expected seconds above 0")
    return duration_s
