"""Which file holds which split, and the real annotations."""

import json
import logging
import os
from pathlib import Path

import pytest

from stores.annotations import read_annotations, read_pairs, split_of_name
from stores.defects import count_defects
from stores.errors import RefkdError

DATA = Path(os.environ.get("REFKD_DATA") or Path(__file__).parents[2] / "shared/data")


def real(name):
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set REFKD_DATA to the folder that holds {name}")
    return folder


def write(folder, name, video="AAA"):
    path = folder / name
    record = {"sentences": ["a b"], "timestamps": [[1, 2]], "duration": 9.0}
    path.write_text(json.dumps({video: record}))
    return path


def videos(found):
    return {split: [pair.video for pair in pairs] for split, pairs in found.items()}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("charades_train.json", "train"),
        ("anet_train.reconstructed.json", "train"),
        ("highlight_val_release.jsonl", "val"),
        ("val_1.json", "val"),
        ("charades-cd-test_iid.json", "test_iid"),
        ("charades_test_ood.json", "test_ood"),
        ("charades_sta_test.txt", "test"),
        ("test.json", "test"),
        ("training.json", None),
        ("evaluate.json", None),
        ("latest_valid.json", None),
        ("annotations.json", None),
    ],
)
def test_split_of_name(name, split):
    """A split name counts as a whole word only, `_`, `.` and `-` being word ends."""
    assert split_of_name(name) == split


def test_two_split_names():
    """A file name with two split names is refused, with both."""
    with pytest.raises(
        RefkdError, match=r"train_val\.json holds two split names \(train and val\)"
    ):
        split_of_name("train_val.json")


def test_folder(tmp_path):
    """A folder's files become splits in the usual order; each pair knows its split."""
    for split in ("test_ood", "val", "train"):
        write(tmp_path, f"cd_{split}.json", video=split)
    (tmp_path / "features").mkdir()
    (tmp_path / "._cd_train.json").write_bytes(b"\0")

    found = read_annotations(tmp_path)

    assert list(found) == ["train", "val", "test_ood"]
    assert all(pair.split == split == pair.video for split in found for pair in found[split])


def test_formats_by_suffix(tmp_path):
    """One folder may mix formats; the suffix tells which."""
    write(tmp_path, "train.json", video="A")
    row = {"qid": 1, "query": "a", "vid": "B", "duration": 5, "relevant_windows": [[0, 1], [2, 3]]}
    (tmp_path / "val.jsonl").write_text(json.dumps(row))
    (tmp_path / "test.txt").write_text("C 1 2##a b\n")
    durations = tmp_path / "seconds.csv"
    durations.write_text("C,8.5\n")

    found = read_annotations(tmp_path, durations=durations)

    assert videos(found) == {"train": ["A"], "val": ["B"], "test": ["C"]}
    assert found["test"][0].duration_s == 8.5


def test_lone_file_is_train(tmp_path):
    """A lone file whose name tells no split is train, given itself or in a folder."""
    path = write(tmp_path, "annotations.json")

    assert videos(read_annotations(path)) == {"train": ["AAA"]}
    assert videos(read_annotations(tmp_path)) == {"train": ["AAA"]}


def test_durations_are_no_annotations(tmp_path):
    """The file of durations may lie among the annotations: it is not taken for one."""
    (tmp_path / "charades_sta.txt").write_text("C 1 2##a b\n")
    (tmp_path / "durations.txt").write_text("C 8.5\n")

    found = read_annotations(tmp_path, durations=tmp_path / "durations.txt")

    assert videos(found) == {"train": ["C"]}


def test_left_out_with_a_notice(tmp_path, caplog):
    """A file without a split name beside files that have one is left out, and that is said."""
    write(tmp_path, "val.json")
    write(tmp_path, "readme.json")

    with caplog.at_level(logging.INFO, "refkd"):
        found = read_annotations(tmp_path)

    assert list(found) == ["val"]
    assert "readme.json is left out: its name tells none of the splits train, val" in caplog.text


def test_nameless_files(tmp_path):
    """Several files without a split name are not guessed at."""
    write(tmp_path, "a.json")
    write(tmp_path, "b.json")

    with pytest.raises(
        RefkdError,
        match=r"the names of a\.json, b\.json tell no split.*`refkd prepare --split NAME=FILE`$",
    ):
        read_annotations(tmp_path)


def test_two_files_claim_a_split(tmp_path):
    """Two files of one split are refused, with both names."""
    write(tmp_path, "val_1.json")
    write(tmp_path, "val_2.json")

    with pytest.raises(
        RefkdError, match=r"val_1\.json and .*val_2\.json both claim the split val;"
    ):
        read_annotations(tmp_path)


def test_given_splits(tmp_path):
    """Splits may be given, by a name inside the folder or a path elsewhere; others go by name."""
    write(tmp_path, "val_1.json", video="A")
    write(tmp_path, "val_2.json", video="B")
    write(tmp_path, "train.json", video="C")
    (tmp_path / "other").mkdir()
    elsewhere = write(tmp_path / "other", "x.json", video="D")
    splits = {"val": Path("val_1.json"), "test_iid": tmp_path / "val_2.json", "test_ood": elsewhere}

    found = read_annotations(tmp_path, splits=splits)

    assert videos(found) == {"train": ["C"], "val": ["A"], "test_iid": ["B"], "test_ood": ["D"]}


def test_given_split_wins(tmp_path, caplog):
    """A file given for a split stands instead of the one named so, and that is said."""
    write(tmp_path, "train.json", video="A")
    small = write(tmp_path, "small.json", video="B")

    with caplog.at_level(logging.INFO, "refkd"):
        found = read_annotations(tmp_path, splits={"train": small})

    assert videos(found) == {"train": ["B"]}
    assert "train.json is left out: --split names another file for train" in caplog.text


def test_file_beside_given_split(tmp_path):
    """A nameless file that is itself the annotations is train beside a given split, or refused."""
    path = write(tmp_path, "all.json", video="A")
    other = write(tmp_path, "other.json", video="B")

    assert videos(read_annotations(path, splits={"val": other})) == {"train": ["A"], "val": ["B"]}
    assert videos(read_annotations(path, splits={"val": path})) == {"val": ["A"]}
    with pytest.raises(RefkdError, match=r"both claim the split train"):
        read_annotations(path, splits={"train": other})


def test_unknown_split(tmp_path):
    """A split name that is none is refused with the valid ones."""
    path = write(tmp_path, "a.json")

    with pytest.raises(
        RefkdError,
        match=r"unknown split ood, expected one of train, val, test_iid, test_ood, test$",
    ):
        read_annotations(tmp_path, splits={"ood": path})


def test_nothing_there(tmp_path):
    """Missing paths, empty folders and empty files are named."""
    with pytest.raises(RefkdError, match=r"no annotations at .*nowhere, expected a file or a fold"):
        read_annotations(tmp_path / "nowhere")
    with pytest.raises(RefkdError, match=r"no annotations in .*, expected \.json, \.jsonl, \.txt"):
        read_annotations(tmp_path)
    with pytest.raises(RefkdError, match=r"no annotation file at .*gone\.json$"):
        read_annotations(tmp_path, splits={"val": tmp_path / "gone.json"})
    (tmp_path / "empty.json").write_text("{}")
    with pytest.raises(RefkdError, match=r"empty\.json holds no pairs, expected at least one$"):
        read_annotations(tmp_path)


def test_unknown_format(tmp_path):
    """A suffix of no format is refused with those that are."""
    with pytest.raises(RefkdError, match=r"a\.csv ends in \.csv, expected \.json \(Charades-CD"):
        read_annotations(write(tmp_path, "a.csv"))


def test_text_without_durations(tmp_path):
    """Charades-STA text asks for durations, and for a file that exists."""
    path = tmp_path / "charades_sta_test.txt"
    path.write_text("C 1 2##a b\n")

    with pytest.raises(RefkdError, match=r"no durations; give them by --durations FILE$"):
        read_pairs(path, "test")
    with pytest.raises(RefkdError, match=r"no file of durations at .*nowhere$"):
        read_pairs(path, "test", durations=tmp_path / "nowhere")


def test_unused_durations(tmp_path, caplog):
    """Durations that no file needs are not ignored in silence."""
    path = write(tmp_path, "train.json")
    (tmp_path / "seconds.txt").write_text("AAA 3\n")

    found = read_annotations(path, durations=tmp_path / "seconds.txt")

    assert found["train"][0].duration_s == 9.0
    assert "is not used: no annotation is Charades-STA text" in caplog.text


@pytest.mark.data
def test_real_charades_cd():
    """The four Charades-CD files load whole: published counts of pairs, known counts of defects."""
    found = read_annotations(real("charades_cd"))

    counts = {split: len(pairs) for split, pairs in found.items()}
    assert counts == {"train": 11_071, "val": 859, "test_iid": 823, "test_ood": 3_375}
    assert {split: count_defects(pairs) for split, pairs in found.items()} == {
        "train": {"end_after_duration": 1_652},
        "val": {"end_after_duration": 135},
        "test_iid": {"end_after_duration": 151},
        "test_ood": {"end_after_duration": 348, "start_after_duration": 3},
    }
    late = {pair.id for pair in found["test_ood"] if pair.windows[0][0] >= pair.duration_s}
    assert late == {"LEOL6#0", "AKKWU#0", "AKKWU#1"}


@pytest.mark.data
def test_real_anet11():
    """The lone file of 11 real ActivityNet videos is train, 38 pairs with their spaces."""
    found = read_annotations(real("real_i3d_anet11"))

    assert list(found) == ["train"]
    assert len(found["train"]) == 38
    assert len({pair.video for pair in found["train"]}) == 11
    assert 0 < count_defects(found["train"])["untrimmed_query"] < 38
