"""Readers of the three annotation formats and of durations, on files written by hand."""

import json

import pytest

from stores.errors import RefkdError
from stores.formats import read_cd, read_charades_sta, read_durations, read_jsonl
from stores.pairs import Pair

CHARADES = {
    "3MSZA": {
        "framestamps": [[388, 486], [0, 80]],
        "decode_fps": 16.0,
        "encoded_sentences": [[1, 102, 2], [1, 0]],
        "sentences": ["person turn a light on", "a person laughs"],
        "video_fps": -1.0,
        "timestamps": [[24.3, 30.4], [0, 5]],
        "video_duration": 31.125,
    },
    "AKKWU": {"sentences": ["a dog runs"], "timestamps": [[13.0, 38.0]], "video_duration": 12.31},
}
ACTIVITYNET = {
    "v_0bosp4-pyTM": {
        "duration": 82.73,
        "timestamps": [[0.83, 19.86], [60.81, 17.37], [56.26, 56.26], [79, 82.7300001]],
        "sentences": ["A young woman dances.", " The girl turns. ", " She stops.", " She bows."],
    }
}
ROW = {"qid": 7, "query": "A man", "vid": "vid_0", "duration": 150, "relevant_windows": [[2, 4]]}


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def cd(tmp_path, value):
    return read_cd(write(tmp_path / "x_train.json", value), "train")


def jsonl(tmp_path, *rows, split="val"):
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    return read_jsonl(write(tmp_path / "x.jsonl", text + "\n"), split)


def sta(tmp_path, text, durations=None):
    path = write(tmp_path / "charades_sta_train.txt", text)
    return read_charades_sta(path, "train", {"AO8RW": 33.67} if durations is None else durations)


def test_charades_cd(tmp_path):
    """Charades-CD: ids count within the video, moments past the end and int seconds are kept."""
    assert cd(tmp_path, CHARADES) == [
        Pair("3MSZA#0", "train", "3MSZA", "person turn a light on", ((24.3, 30.4),), 31.125),
        Pair("3MSZA#1", "train", "3MSZA", "a person laughs", ((0.0, 5.0),), 31.125),
        Pair("AKKWU#0", "train", "AKKWU", "a dog runs", ((13.0, 38.0),), 12.31),
    ]


def test_activitynet_cd(tmp_path):
    """ActivityNet-CD: `duration`, spaces around sentences, reversed and empty moments are kept."""
    pairs = cd(tmp_path, ACTIVITYNET)

    assert [pair.duration_s for pair in pairs] == [82.73] * 4
    assert [pair.query for pair in pairs] == ACTIVITYNET["v_0bosp4-pyTM"]["sentences"]
    assert [pair.windows[0] for pair in pairs] == [
        (0.83, 19.86),
        (60.81, 17.37),
        (56.26, 56.26),
        (79.0, 82.7300001),
    ]


def record(**changes):
    return {"AAA": {"sentences": ["a b"], "timestamps": [[1, 2]], "duration": 9.0, **changes}}


CD_FAULTS = [
    (json.dumps(CHARADES)[:150], r"x_train.json: not complete JSON, .* at character \d+$"),
    ("", r"x_train.json: not complete JSON, expecting value at character 0$"),
    ("[" * 100_000, r"x_train.json: not the JSON of annotations: too deep"),
    ([CHARADES], r"x_train.json: found a JSON list, expected an object of videos$"),
    ({"AAA": [1]}, r"video 'AAA': found a JSON list, expected an object with sentences"),
    (
        record(sentences=None),
        r"x_train.json, video 'AAA': field sentences is null, expected a list$",
    ),
    (
        {"AAA": {"sentences": ["a"], "duration": 3}},
        r"video 'AAA': field timestamps is null, expected a list$",
    ),
    (
        record(sentences=["a", "b"]),
        r"video 'AAA': found 2 sentences and 1 timestamps, expected one each$",
    ),
    (record(duration=None), r"video 'AAA': the duration is missing, expected seconds$"),
    (
        {"AAA": {"sentences": ["a"], "timestamps": [[1, 2]]}},
        r"video 'AAA': the duration is missing, expected seconds$",
    ),
    (record(duration=0), r"video 'AAA': the duration is 0.0, expected seconds above 0$"),
    (record(duration=-3.5), r"video 'AAA': the duration is -3.5, expected seconds above 0$"),
    (record(duration=float("inf")), r"video 'AAA': the duration is inf, expected seconds above 0$"),
    (record(duration="9"), r"video 'AAA': the duration is '9', expected a number$"),
    (record(duration=True), r"video 'AAA': the duration is True, expected a number$"),
    (record(sentences=[" \t "]), r"x_train.json, AAA#0: the query is empty, expected at least"),
    (record(sentences=[3]), r"AAA#0: the query is a JSON number, expected a text$"),
    (record(sentences=["\ud800 a"]), r"AAA#0: the query is .*, expected whole characters$"),
    (
        record(timestamps=[[1, float("nan")]]),
        r"AAA#0: a moment is \[1.0, nan\], expected finite seconds$",
    ),
    (record(timestamps=[[-float("inf"), 2]]), r"AAA#0: a moment is \[-inf, 2.0\], expected finite"),
    (record(timestamps=[[1, 10**400]]), r"AAA#0: a moment is \[1.0, inf\], expected finite"),
    (record(timestamps=[[1]]), r"AAA#0: a moment is \[1\], expected \[start, end\] in seconds$"),
    (record(timestamps=[["1", 2]]), r"AAA#0: timestamp is '1', expected a number$"),
    ({"": record()["AAA"]}, r"video '': video is '', expected a name$"),
    ('{"AAA": {}, "AAA": {}}', r"x_train.json: key 'AAA' stands twice in one object$"),
]


@pytest.mark.parametrize(("value", "message"), CD_FAULTS, ids=range(len(CD_FAULTS)))
def test_cd_faults(tmp_path, value, message):
    """What is no CD file is one sentence that names file and place."""
    with pytest.raises(RefkdError, match=message):
        cd(tmp_path, value)


def test_cd_not_utf8(tmp_path):
    """Bytes that are no text are named."""
    path = tmp_path / "a.json"
    path.write_bytes(b'{"A\xff": {}}')

    with pytest.raises(RefkdError, match=r"a\.json: not UTF-8 text at byte 3$"):
        read_cd(path, "train")


def test_fault_in_second_pair(tmp_path):
    """The place is the pair's own id, not its video's first."""
    two = record(sentences=["a", ""], timestamps=[[1, 2], [3, 4]])

    with pytest.raises(RefkdError, match=r"AAA#1: the query is empty"):
        cd(tmp_path, two)


def test_jsonl_train(tmp_path):
    """In train each window is a pair of its own, `<qid>#<n>`; blank lines count for nothing."""
    rows = [{**ROW, "relevant_windows": [[2, 4], [9, 8.5]]}, "", {**ROW, "qid": "q"}]

    assert jsonl(tmp_path, *rows, split="train") == [
        Pair("7#0", "train", "vid_0", "A man", ((2.0, 4.0),), 150.0),
        Pair("7#1", "train", "vid_0", "A man", ((9.0, 8.5),), 150.0),
        Pair("q#0", "train", "vid_0", "A man", ((2.0, 4.0),), 150.0),
    ]


@pytest.mark.parametrize("split", ["val", "test_iid", "test_ood", "test"])
def test_jsonl_other_splits(tmp_path, split):
    """In other splits a row is one pair with all its windows, in their order."""
    rows = [{**ROW, "relevant_windows": [[9, 10], [2, 4]]}]

    assert jsonl(tmp_path, *rows, split=split) == [
        Pair("7", split, "vid_0", "A man", ((9.0, 10.0), (2.0, 4.0)), 150.0)
    ]


def test_jsonl_line_separators(tmp_path):
    """A line ends at a newline only, not at the separators that Unicode allows inside a text."""
    path = tmp_path / "a.jsonl"
    row = json.dumps({**ROW, "query": "a\u2028b"}, ensure_ascii=False)
    path.write_bytes(f"{row}\r\n".encode())

    assert [pair.query for pair in read_jsonl(path, "val")] == ["a\u2028b"]


def without(field):
    return {key: value for key, value in ROW.items() if key != field}


JSONL_FAULTS = [
    *(
        (without(field), rf"line 2: field {field} is missing, expected qid, query, vid, duration")
        for field in ROW
    ),
    ([1], r"line 2: found a JSON list, expected an object with qid"),
    (json.dumps(ROW)[:30], r"x\.jsonl, line 2: not complete JSON, .* at character \d+$"),
    ({**ROW, "qid": 6}, r"line 2: qid 6 stands on line 1 already$"),
    ({**ROW, "qid": "6"}, r"line 2: qid 6 stands on line 1 already$"),
    ({**ROW, "qid": 1.5}, r"line 2: qid is 1.5, expected a whole number or a text$"),
    ({**ROW, "qid": "a\ud800"}, r"line 2: qid is 'a\\ud800', expected whole characters$"),
    ({**ROW, "qid": "a\0"}, r"line 2: qid is 'a\\x00', expected a text without NUL$"),
    ({**ROW, "qid": ""}, r"line 2: qid is '', expected a whole number or a text$"),
    ({**ROW, "vid": 3}, r"line 2: vid is 3, expected a name$"),
    ({**ROW, "query": "  "}, r"line 2: the query is empty"),
    ({**ROW, "duration": 0}, r"line 2: the duration is 0.0, expected seconds above 0$"),
    ({**ROW, "duration": None}, r"line 2: the duration is missing, expected seconds$"),
    ({**ROW, "relevant_windows": []}, r"line 2: field relevant_windows is empty or no list"),
    ({**ROW, "relevant_windows": [[1, 2], [3]]}, r"line 2: a moment is \[3\], expected \[start"),
]


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(("row", "message"), JSONL_FAULTS, ids=range(len(JSONL_FAULTS)))
def test_jsonl_faults(tmp_path, row, message, split):
    """A row that is none is one sentence that names the line."""
    with pytest.raises(RefkdError, match=message):
        jsonl(tmp_path, {**ROW, "qid": 6}, row, split=split)


def test_charades_sta(tmp_path):
    """Charades-STA text: ids count within the video, lines of one video need not be neighbours."""
    text = (
        "AO8RW 0.0 6.9##a person is putting a book on a shelf.\r\n"
        "BBBBB 1.5 40##a ## b\n\n"
        "AO8RW 9 8##another one.\n"
    )
    durations = {"AO8RW": 33.67, "BBBBB": 20.0}

    assert sta(tmp_path, text, durations) == [
        Pair(
            "AO8RW#0",
            "train",
            "AO8RW",
            "a person is putting a book on a shelf.",
            ((0.0, 6.9),),
            33.67,
        ),
        Pair("BBBBB#0", "train", "BBBBB", "a ## b", ((1.5, 40.0),), 20.0),
        Pair("AO8RW#1", "train", "AO8RW", "another one.", ((9.0, 8.0),), 33.67),
    ]


STA_FAULTS = [
    ("AO8RW 0.0 6.9 a person", r"line 2: found another layout than `VIDEO start end##sentence`$"),
    ("AO8RW 0.0##a person", r"line 2: found another layout"),
    ("ZZZZZ 0.0 6.9##a person", r"line 2: video ZZZZZ is missing from the file given with --dur"),
    ("AO8RW 0.0 x##a person", r"line 2: timestamp is 'x', expected a number$"),
    ("AO8RW nan 6.9##a person", r"line 2: a moment is \[nan, 6.9\], expected finite seconds$"),
    ("AO8RW 0.0 6.9## ", r"charades_sta_train.txt, line 2: the query is empty"),
]


@pytest.mark.parametrize(("line", "message"), STA_FAULTS, ids=range(len(STA_FAULTS)))
def test_charades_sta_faults(tmp_path, line, message):
    """A line that is none is one sentence that names it."""
    with pytest.raises(RefkdError, match=message):
        sta(tmp_path, f"AO8RW 0.0 6.9##a person\n{line}\n")


def test_charades_sta_not_utf8(tmp_path):
    """Bytes that are no text are named."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"AO8RW 0.0 6.9##caf\xe9\n")

    with pytest.raises(RefkdError, match=r"a\.txt: not UTF-8 text at byte 18$"):
        read_charades_sta(path, "train", {"AO8RW": 33.67})


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_charades_sta_duration(tmp_path, seconds):
    """A duration that is none is an error where a pair needs it."""
    with pytest.raises(RefkdError, match=r"line 1: the duration is .*, expected seconds above 0$"):
        sta(tmp_path, "AO8RW 0.0 6.9##a person", {"AO8RW": seconds})


@pytest.mark.parametrize(
    "text",
    [
        '{"AO8RW": 33.67, "B": 20}',
        '\n {"AO8RW": {"duration": 33.67}, "B": {"video_duration": 20.0, "fps": 24}}',
        "AO8RW 33.67\nB 20\n",
        "AO8RW\t33.67\r\nB\t20\r\n",
        "video,duration\nAO8RW,33.67\nB, 20\n",
        "\ufeffid length\n\nAO8RW 33.67\nB 20\nB 20.0",
    ],
)
def test_durations(tmp_path, text):
    """Seconds per video from JSON, spaces, tabs or commas, with or without a heading."""
    path = tmp_path / "durations"
    path.write_bytes(text.encode())

    assert read_durations(path) == {"AO8RW": 33.67, "B": 20.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"A": 3', r"durations: not complete JSON"),
        ('{"A": "3"}', r"durations: duration of video A is '3', expected a number$"),
        ('{"A": {"fps": 3}}', r"durations: duration of video A is None, expected a number$"),
        ("A 3\nB x\n", r"durations, line 2: duration is 'x', expected a number$"),
        ("A 3\nB\n", r"durations, line 2: found one column, expected a video and its seconds$"),
        ("A 3\nA 4\n", r"durations, line 2: video A has a second, different duration$"),
    ],
)
def test_durations_faults(tmp_path, text, message):
    """A list of durations that is none is one sentence that names the place."""
    with pytest.raises(RefkdError, match=message):
        read_durations(write(tmp_path / "durations", text))
