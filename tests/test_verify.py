"""Asking the teachers again: what a cache holds is what they say, or it is refused."""

import json
import shutil

import numpy as np
import pytest
from conftest import make_dataset
from planned import all_bytes, make_plan
from untrained import save_teacher

from pipeline.cache import cache
from pipeline.verify import MOST_UNITS, sample_units, verify
from stores.cache import open_cache
from stores.errors import RefkdError
from stores.files import MANIFEST, SEAL
from stores.fingerprints import bytes_digest

CHUNK = "teachers/ood/logits/c/1/0/0"


@pytest.fixture(scope="module")
def teachers(tmp_path_factory, data):
    place = tmp_path_factory.mktemp("teachers")
    return {
        name: save_teacher(place / name, data, seed=seed) for seed, name in enumerate(["id", "ood"])
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory, data_folder, teachers):
    return cache(data_folder, tmp_path_factory.mktemp("caches"), teachers=teachers, device="cpu")


@pytest.fixture
def folder(built, tmp_path):
    shutil.copytree(built, tmp_path / "cache")
    return tmp_path / "cache"


def forge(folder, *, add=0.0, built=None, file=CHUNK):
    """Change a chunk or where it was made, with every digest and the seal made to fit."""
    data = bytearray((folder / file).read_bytes())
    logits = np.frombuffer(data, np.float32, count=32 * 2 * 16)
    logits[300] += add
    (folder / file).write_bytes(data)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][file]["sha256"] = bytes_digest(bytes(data))
    if built is not None:
        manifest["arrays"]["ood"]["built"] = built
    text = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(text)
    (folder / SEAL).write_text(f"{bytes_digest(text)}\n")


def test_a_true_cache(folder, data_folder, teachers):
    """Every file intact and every row that is asked about the same bits: the numbers say so."""
    found = verify(folder, data_folder, teachers=teachers, device="cpu")
    opened = open_cache(folder)

    same = {
        "rows": 96,
        "max_abs_error": 0.0,
        "tolerance": 0.0,
        "same_bits": True,
        "logit_error": 0.0,
        "loss_gap": 0.0,
    }
    assert found["teachers"] == {"id": same, "ood": same}
    assert (found["key"], found["seal"], found["rows"]) == (opened.key, opened.seal, 96)
    assert found["files"] == len(opened.manifest["files"])
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    "how",
    [
        {"dtype": "float16", "codec": "zstd"},
        {"precision": "bf16"},
        {"splits": ("test_ood", "val")},
    ],
)
def test_choices(how, data_folder, teachers, tmp_path):
    """A cache of any dtype, codec, precision and splits is compared as it was made."""
    folder = cache(data_folder, tmp_path, teachers=teachers, device="cpu", **how)
    found = verify(folder, data_folder, teachers=teachers, device="cpu")

    assert all(one["same_bits"] for one in found["teachers"].values())


def test_what_float16_costs(data_folder, teachers, tmp_path):
    """Of a float16 cache the largest logit error and the loss gap are told: half a step, and next to none."""
    folder = cache(data_folder, tmp_path, teachers=teachers, dtype="float16", device="cpu")
    found = verify(folder, data_folder, teachers=teachers, device="cpu")["teachers"]
    lowest = {name: float(open_cache(folder).logits(name).min()) for name in teachers}

    for name, one in found.items():
        assert one["max_abs_error"] == 0.0
        assert 0 < one["logit_error"] <= 2.0**-11 * -lowest[name]  # a float16 has 11 bits
        assert 0 < one["loss_gap"] <= 1e-3


def test_views_are_asked_about_again(data_folder, teachers, tmp_path):
    """Views are moved and asked about anew, and compared like the pairs as they are."""
    folder = cache(data_folder, tmp_path, teachers=teachers, views=1, device="cpu")
    found = verify(folder, data_folder, teachers=teachers, device="cpu")["teachers"]

    assert found.keys() == {"id", "id, view 1", "ood", "ood, view 1"}
    assert all(one["same_bits"] and one["rows"] == 96 for one in found.values())
    forge(folder, add=1e-5, file="teachers/ood/views/1/c/1/0/0")
    with pytest.raises(RefkdError, match="teacher ood, view 1 now says"):
        verify(folder, data_folder, teachers=teachers, device="cpu")


def test_damaged_files_are_counted(folder, data_folder, teachers):
    """Every chunk is read: the first damaged one is named, and how many there are."""
    for name in (CHUNK, "teachers/id/logits/c/0/0/0"):
        (folder / name).write_bytes((folder / name).read_bytes()[::-1])
    with pytest.raises(
        RefkdError, match=r"chunk 0 of teacher id .* is damaged.*\(2 files are damaged in all\)"
    ):
        verify(folder, data_folder, teachers=teachers, device="cpu")


def test_a_lie_under_true_digests(folder, data_folder, teachers):
    """One logit changed in its last places, digests and seal made to fit, is found and its row named."""
    forge(folder, add=1e-5)
    expected = open_cache(folder).ids[32 + 300 // 32]
    with pytest.raises(RefkdError, match=rf"teacher ood now says .* of sample {expected} where"):
        verify(folder, data_folder, teachers=teachers, device="cpu")


def test_another_make_has_a_tolerance(folder, data_folder, teachers):
    """What another device kind or torch version made may differ by 1e-3, and no more."""
    forge(folder, add=5e-4, built={"device": "cuda", "torch": "1"})
    found = verify(folder, data_folder, teachers=teachers, device="cpu")["teachers"]["ood"]

    assert found["tolerance"] == 1e-3
    assert found["elsewhere"].startswith("device (was cuda, now cpu); processor (was ")
    assert not found["same_bits"]
    np.testing.assert_allclose(found["max_abs_error"], 5e-4, rtol=1e-2)

    forge(folder, add=1e-3, built={"device": "cuda", "torch": "1"})
    with pytest.raises(RefkdError, match="teacher ood now says"):
        verify(folder, data_folder, teachers=teachers, device="cpu")


def test_nan_is_no_agreement(folder, data_folder, teachers):
    """A NaN in a cache is never within a tolerance."""
    forge(folder, add=np.nan, built={"device": "cuda", "torch": "1"})
    with pytest.raises(RefkdError, match="where the cache holds nan"):
        verify(folder, data_folder, teachers=teachers, device="cpu")


def test_other_teachers(folder, data, data_folder, teachers, tmp_path):
    """Teachers exchanged, retrained or missing are told apart from those that were cached."""
    exchanged = {"id": teachers["ood"], "ood": teachers["id"]}
    with pytest.raises(
        RefkdError, match=r"other inputs: id: teacher weights \(was .*ood: teacher w"
    ):
        verify(folder, data_folder, teachers=exchanged)
    retrained = {**teachers, "ood": save_teacher(tmp_path / "new", data, seed=9)}
    with pytest.raises(RefkdError, match=r"other inputs: ood: teacher weights \(was [^;]*\); run"):
        verify(folder, data_folder, teachers=retrained)
    with pytest.raises(
        RefkdError, match="holds the teachers id, ood, given were id; name the same"
    ):
        verify(folder, data_folder, teachers={"id": teachers["id"]})


def test_other_data(folder, teachers, word_file, tmp_path):
    """A cache of other data is refused before a teacher is asked."""
    other = make_dataset(tmp_path / "data", word_file, train=60)
    with pytest.raises(RefkdError, match=r"made from other inputs: clips \(was .*features \(was"):
        verify(folder, other, teachers=teachers)


FAULTS = {
    "a flipped bit": lambda path: path.write_bytes(flipped(path.read_bytes())),
    "a missing file": lambda path: path.unlink(),
    "a short file": lambda path: path.write_bytes(path.read_bytes()[:-3]),
}


def flipped(data):
    return data[:50] + bytes([data[50] ^ 1]) + data[51:]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("name", "place"),
    [
        (CHUNK, r"chunk 1 of teacher ood \(samples train_0\S+ to train_0\S+\)"),
        ("teachers/id/logits/zarr.json", "teachers/id/logits/zarr.json"),
        ("samples/id/c/0/0", "samples/id/c/0/0"),
    ],
)
def test_repair(name, place, fault, folder, built, data_folder, teachers):
    """A damaged file is named with the command that puts it back, byte for byte, and nothing else."""
    inodes = {path: path.stat().st_ino for path in folder.rglob("*") if path.is_file()}
    FAULTS[fault](folder / name)
    words = "verify .* DATA --teacher id=DIR --teacher ood=DIR --repair"
    with pytest.raises(RefkdError, match=rf"{place} is (damaged|missing).*{words}"):
        open_cache(folder).group[name.partition("/c/")[0].removesuffix("/zarr.json")][...]
    found = verify(folder, data_folder, teachers=teachers, repair=True, device="cpu")

    assert (found["repaired"], found["teachers"]["ood"]["same_bits"]) == (1, True)
    assert all_bytes(folder) == all_bytes(built)
    changed = {path for path, inode in inodes.items() if path.stat().st_ino != inode}
    assert changed <= {folder / name}
    assert (folder / name in changed) or fault == "a missing file"  # whose number is free again


def test_repair_of_a_whole_cache(folder, data_folder, teachers):
    """Nothing is written where nothing is damaged."""
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    found = verify(folder, data_folder, teachers=teachers, repair=True, device="cpu")

    assert found["repaired"] == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_repair_by_other_teachers_or_data(folder, data, data_folder, teachers, word_file, tmp_path):
    """Retrained teachers and other data are named, and not a byte is changed."""
    for name in (CHUNK, "zarr.json"):
        (folder / name).write_bytes(b"damaged")
    before = all_bytes(folder)
    retrained = {**teachers, "ood": save_teacher(tmp_path / "new", data, seed=9)}
    with pytest.raises(RefkdError, match=r"other inputs: ood: teacher weights \(was [^;]*\); run"):
        verify(folder, data_folder, teachers=retrained, repair=True)
    other = make_dataset(tmp_path / "data", word_file, train=60)
    with pytest.raises(RefkdError, match=r"made from other inputs: clips \(was .*features \(was"):
        verify(folder, other, teachers=teachers, repair=True)

    assert all_bytes(folder) == before


def test_repair_of_what_was_made_elsewhere(folder, data_folder, teachers):
    """A chunk that another processor and torch version made otherwise stays: both are named."""
    forge(folder, add=1e-5, built={"device": "cpu", "processor": "other", "torch": "1"})
    (folder / CHUNK).write_bytes(b"damaged")
    before = all_bytes(folder)
    with pytest.raises(
        RefkdError,
        match=r"c/1/0/0 cannot be restored: computed again it is not what was recorded; teacher ood "
        r"was asked elsewhere: processor \(was other, now .*torch \(was 1, now .*left as it is",
    ):
        verify(folder, data_folder, teachers=teachers, repair=True, device="cpu")

    assert all_bytes(folder) == before


def test_an_edited_manifest_is_not_repaired(folder, data_folder, teachers):
    """Without a true manifest nobody knows what was recorded: that is said, with what to do."""
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"float32"', '"float16"'))
    before = all_bytes(folder)
    with pytest.raises(
        RefkdError, match=r"not the one in manifest.sha256; delete .* and run `refk"
    ):
        verify(folder, data_folder, teachers=teachers, repair=True, device="cpu")

    assert all_bytes(folder) == before


def test_few_rows_are_asked_about():
    """Of a large cache the first, the last and two units between are asked about again."""
    units = sample_units(make_plan(num_rows=100_000), "id", block_rows=32)

    assert [unit.lo for unit in units] == [0, 33_312, 66_656, 99_968]
    assert len(units) == MOST_UNITS
