"""Simulated data sets: the built-in one, one for given annotations, and Charades-CD at full size."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.costs import read_costs
from pipeline.prepare import prepare
from pipeline.simulate import simulate
from stores.dataset import open_dataset
from stores.errors import RefkdError


@pytest.fixture(scope="module")
def built_in(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("simulated") / "demo")


@pytest.fixture
def annotated(tmp_path):
    """The arguments of a call for annotations of two videos."""
    (tmp_path / "text").mkdir()
    for split, video in (("train", "v1"), ("test_ood", "v2")):
        moments = {"video_duration": 9.0, "timestamps": [[1.0, 4.0]], "sentences": ["a dog"]}
        (tmp_path / "text" / f"{split}.json").write_text(json.dumps({video: moments}))
    (tmp_path / "words.txt").write_text("a 1 0\ndog 0 1\n")
    return {"annotations": tmp_path / "text", "words": tmp_path / "words.txt", "clips": 8}


def test_built_in(built_in):
    """Without annotations: 256 channels on 32 clips, marked as simulated, real word vectors."""
    data = open_dataset(built_in)

    assert (data.num_channels, data.num_clips, data.word_file["width"]) == (256, 32, 50)
    assert data.simulated
    assert data.manifest["seed"] == 0
    assert data.lexicon.known[1:].all()
    assert list(data.manifest["counts"]) == ["test_iid", "test_ood", "train", "val"]


def test_built_in_takes_seconds(tmp_path):
    """The whole demo data set is written in seconds."""
    began = time.perf_counter()
    simulate(tmp_path / "demo")
    assert time.perf_counter() - began < 30


def test_same_seed_same_bytes(built_in, tmp_path):
    """Another run with the same seed has the same seal; another seed has another."""
    assert open_dataset(simulate(tmp_path / "again")).seal == open_dataset(built_in).seal
    assert open_dataset(simulate(tmp_path / "other", seed=1)).seal != open_dataset(built_in).seal


def test_a_second_call_returns_the_first(built_in, caplog):
    """Simulating again into the same OUT is said to be done; other arguments are refused."""
    caplog.set_level("INFO", "refkd")

    assert simulate(built_in) == built_in
    assert "is already simulated from these inputs" in caplog.text
    with pytest.raises(RefkdError, match=r"made from other inputs: clips \(was 32, now 16\)"):
        simulate(built_in, clips=16)
    with pytest.raises(RefkdError, match=r"made from other inputs: .*simulator \("):
        simulate(built_in, seed=7)


def test_annotations(annotated, tmp_path):
    """With annotations, their pairs get features of width 1024, one row each half second."""
    data = open_dataset(simulate(tmp_path / "data", **annotated))

    assert data.table.ids == ["v2#0", "v1#0"]
    assert (data.num_channels, data.num_clips) == (1024, 8)
    assert len(data.raw_rows(0)) == 18
    assert data.table.gt.tolist() == [[1, 3], [1, 3]]  # [1.125, 4.5] of 9 s overlaps [1, 4] best
    assert data.simulated


def test_charades_sta_text(tmp_path):
    """Annotations without durations get them from a file; the built-in set has its own."""
    text, seconds = tmp_path / "charades_sta_train.txt", tmp_path / "seconds.csv"
    text.write_text("AO8RW 0.0 5.0##a person sits\n")
    seconds.write_text("AO8RW,20\n")

    data = open_dataset(simulate(tmp_path / "data", annotations=text, durations=seconds, clips=8))
    assert data.table.durations_s.tolist() == [20.0]
    with pytest.raises(RefkdError, match=r"is for annotations; give those by --annotations$"):
        simulate(tmp_path / "demo", durations=seconds)


def test_simulated_and_prepared_are_not_confused(built_in, annotated, tmp_path):
    """Neither stage takes the other's data set for its own."""
    (tmp_path / "rows").mkdir()
    for video in ("v1", "v2"):
        np.save(tmp_path / "rows" / f"{video}.npy", np.ones((4, 2), np.float32))
    prepared = prepare(tmp_path / "prepared", features=tmp_path / "rows", **annotated)

    with pytest.raises(RefkdError, match=r"made from other inputs: .*simulator \(was nothing"):
        simulate(prepared, **annotated)
    with pytest.raises(
        RefkdError, match=r"made from other inputs: .*simulator \(was .*now nothing\)"
    ):
        prepare(built_in, features=tmp_path / "rows", **annotated)


def test_a_damaged_simulated_set_names_its_command(built_in, tmp_path):
    """The way out of damage is the command that made the folder."""
    copy = shutil.copytree(built_in, tmp_path / "copy")
    (copy / "labels.npy").write_bytes(b"")

    with pytest.raises(RefkdError, match="run `refkd simulate` again"):
        open_dataset(copy)


REAL = Path(os.environ.get("REFKD_DATA", Path(__file__).parents[2] / "shared" / "data"))
FULL = """
import sys
from pathlib import Path
from pipeline.simulate import simulate
real, out = map(Path, sys.argv[1:])
words = real / "glove" / "glove.840B.300d.charades.txt"
simulate(out, annotations=real / "charades_cd", words=words, clips=16)
"""


@pytest.mark.slow
@pytest.mark.data
def test_charades_cd_at_full_width(tmp_path):
    """All 6,672 videos of Charades-CD get 1,024 channels within minutes and a few hundred MB."""
    if not (REAL / "charades_cd").exists():
        pytest.skip(f"no {REAL / 'charades_cd'}; point REFKD_DATA at the data")
    root = Path(__file__).parents[1]
    out = tmp_path / "charades"

    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", FULL, REAL, out], cwd=root, check=True)
    seconds = time.perf_counter() - began
    peak_mb = read_costs(out)["simulate"]["peak_rss_bytes"] / 1e6
    data = open_dataset(out)
    counts = {split: len(some) for split, some in data.pairs.items()}
    late = {split: found["end_after_duration"] for split, found in data.manifest["defects"].items()}
    shape, known = data.features.shape, data.lexicon.known.mean()
    shutil.rmtree(out)  # a gigabyte that pytest would keep
    assert counts == {"train": 11_071, "val": 859, "test_iid": 823, "test_ood": 3_375}
    assert late == {"train": 1_652, "val": 135, "test_iid": 151, "test_ood": 348}
    assert shape == (6_672, 16, 1_024)
    assert known > 0.9
    assert peak_mb < 700
    assert seconds < 300
