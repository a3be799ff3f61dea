"""The annotation formats: CD JSON, moment-detr jsonl, Charades-STA text, and lists of durations.

Each reader takes a file and returns its pairs in file order. Every moment is kept as it stands,
reversed, empty or past the end; what cannot be a moment, a query or a duration is an error that
names its place.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stores import fields
from stores.errors import RefkdError
from stores.fields import Fault
from stores.pairs import Pair

ROW_FIELDS = ("qid", "query", "vid", "duration", "relevant_windows")


def read_cd(path: Path, split: str) -> list[Pair]:
    """Return the pairs of {video: {sentences, timestamps, duration or video_duration}}.

    Ids are `<video>#<index>`, the index counting from 0 within the video.
    """
    try:
        videos = fields.json_value(path.read_bytes())
        if not isinstance(videos, dict):
            raise Fault(f"found a JSON {fields.kind(videos)}, expected an object of videos")
    except Fault as fault:
        raise RefkdError(f"{path}: {fault}") from None
    pairs = []
    place = ""
    try:
        for video, record in videos.items():
            place = f"video {video!r}"
            sentences, timestamps, duration_s = _cd_record(record)
            fields.name(video, "video")
            for index, (sentence, window) in enumerate(zip(sentences, timestamps, strict=True)):
                place = f"{video}#{index}"
                windows = (fields.window(window),)
                pairs.append(Pair(place, split, video, fields.query(sentence), windows, duration_s))
    except Fault as fault:
        raise RefkdError(f"{path}, {place}: {fault}") from None
    return pairs


def read_jsonl(path: Path, split: str) -> list[Pair]:
    """Return the pairs of moment-detr rows {qid, query, vid, duration, relevant_windows}.

    In `train` each window is a pair `<qid>#<n>`; in other splits a row is one pair `<qid>`.
    """
    pairs: list[Pair] = []
    lines: dict[str, int] = {}  # line of each qid
    number = 0
    try:
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
            if not line.strip():
                continue
            found = _row(fields.json_value(line), split)
            qid = found[0].id.removesuffix("#0") if split == "train" else found[0].id
            if qid in lines:
                raise Fault(f"qid {qid} stands on line {lines[qid]} already")
            lines[qid] = number
            pairs += found
    except Fault as fault:
        raise RefkdError(f"{path}, line {number}: {fault}") from None
    return pairs


def read_charades_sta(path: Path, split: str, durations: Mapping[str, float]) -> list[Pair]:
    """Return the pairs of lines `VIDEO start end##sentence`; ids as in `read_cd`."""
    pairs = []
    counts: Counter[str] = Counter()  # pairs so far of each video
    for number, line in enumerate(fields.plain_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            head, mark, sentence = line.partition("##")
            parts = head.rsplit(maxsplit=2)
            if not mark or len(parts) != 3:
                raise Fault("found another layout than `VIDEO start end##sentence`")
            video = fields.name(parts[0], "video")
            if video not in durations:
                raise Fault(f"video {video} is missing from the file given with --durations")
            times = [fields.parse_number(text, "timestamp") for text in parts[1:]]
            windows = (fields.window(times),)
            duration_s = fields.duration(durations[video])
            id = f"{video}#{counts[video]}"
            pairs.append(Pair(id, split, video, fields.query(sentence), windows, duration_s))
        except Fault as fault:
            raise RefkdError(f"{path}, line {number}: {fault}") from None
        counts[video] += 1
    return pairs


def read_durations(path: Path) -> dict[str, float]:
    """Return the seconds of each video, from a JSON object or two columns (spaces, tab or comma).

    A JSON value may be the seconds or an object with `duration` or `video_duration`; columns may
    have a heading. Whether a duration makes sense is checked when a pair needs it.
    """
    text = fields.plain_text(path)
    if not text.lstrip().startswith("{"):
        return _duration_columns(path, text)
    try:
        return {
            video: fields.number(fields.duration_value(value), f"duration of video {video}")
            for video, value in fields.json_value(text).items()
        }
    except Fault as fault:
        raise RefkdError(f"{path}: {fault}") from None


def _duration_columns(path: Path, text: str) -> dict[str, float]:
    durations: dict[str, float] = {}
    first = True
    for number, line in enumerate(text.split("\n"), start=1):
        parts = line.replace(",", " ").rsplit(maxsplit=1)
        if not parts:
            continue
        try:
            if len(parts) != 2:
                raise Fault("found one column, expected a video and its seconds")
            video, seconds = parts[0].rstrip(), parts[1]
            value = fields.parse_number(seconds, "duration")
            if durations.setdefault(video, value) != value:
                raise Fault(f"video {video} has a second, different duration")
        except Fault as fault:
            if not first:  # the first line may be a heading
                raise RefkdError(f"{path}, line {number}: {fault}") from None
        first = False
    return durations


def _cd_record(record: Any) -> tuple[list[Any], list[Any], float]:
    """Return the sentences, timestamps and duration of one video."""
    if not isinstance(record, dict):
        raise Fault(
            f"found a JSON {fields.kind(record)}, expected an object with sentences, timestamps"
        )
    lists = []
    for field in ("sentences", "timestamps"):
        value = record.get(field)
        if not isinstance(value, list):
            raise Fault(f"field {field} is {fields.kind(value)}, expected a list")
        lists.append(value)
    sentences, timestamps = lists
    if len(sentences) != len(timestamps):
        raise Fault(
            f"found {len(sentences)} sentences and {len(timestamps)} timestamps, expected one each"
        )
    return sentences, timestamps, fields.duration(fields.duration_value(record))


def _row(row: Any, split: str) -> list[Pair]:
    """Return the pairs of one jsonl row."""
    if not isinstance(row, dict):
        raise Fault(
            f"found a JSON {fields.kind(row)}, expected an object with {', '.join(ROW_FIELDS)}"
        )
    for field in ROW_FIELDS:
        if field not in row:
            raise Fault(f"field {field} is missing, expected {', '.join(ROW_FIELDS)}")
    qid, video = fields.qid(row["qid"]), fields.name(row["vid"], "vid")
    query, duration_s = fields.query(row["query"]), fields.duration(row["duration"])
    if not isinstance(row["relevant_windows"], list) or not row["relevant_windows"]:
        raise Fault("field relevant_windows is empty or no list, expected [[start, end], ...]")
    windows = tuple(fields.window(window) for window in row["relevant_windows"])
    if split != "train":
        return [Pair(qid, split, video, query, windows, duration_s)]
    return [
        Pair(f"{qid}#{n}", split, video, query, (window,), duration_s)
        for n, window in enumerate(windows)
    ]
