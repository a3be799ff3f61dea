"""Reading a cache: what it holds, and that no fault gets past it."""

import json
import pickle
import random
import re
import shutil

import dask.array
import numpy as np
import pytest
import zarr
from planned import BLOCK_ROWS, all_bytes, build, expected, make_plan

from stores.cache import open_cache
from stores.cachechecks import check_cache, damaged_files
from stores.errors import RefkdError
from stores.files import MANIFEST, SEAL
from stores.fingerprints import bytes_digest

PLAN = make_plan()
CHUNK = "teachers/id/logits/c/3/0/0"
NAMED = r"chunk 3 of teacher id \(samples video048#0 to video063#1\)"  # rows 96 to 127, two a video


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two caches that differ in the teachers' weights alone."""
    place = tmp_path_factory.mktemp("caches")
    stale = make_plan(salt={"id": "older", "ood": "older"})
    shutil.copytree(build(place / "a", PLAN), place / "fresh")
    older = build(place / "b", stale)
    for path in older.glob("teachers/*/logits/c/*/0/0"):
        path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))  # as if it had said else
    shutil.copytree(older, place / "stale")
    return place


@pytest.fixture
def cache(built, tmp_path):
    shutil.copytree(built / "fresh", tmp_path / "cache")
    return tmp_path / "cache"


def read_everything(folder):
    """Read all that a cache holds, as the trainer does."""
    cache = open_cache(folder)
    for name in cache.teachers:
        cache.logits(name)
    return cache.ids, cache.splits, cache.clips, cache.gt


def read_by_zarr(folder):
    """Read all that a cache holds through Zarr's own API."""
    cache = open_cache(folder)
    for _, array in cache.group.members(max_depth=None):
        if isinstance(array, zarr.Array):
            array[...]


def read_by_dask(folder):
    """Read the logits as a Dask user would."""
    cache = open_cache(folder)
    for name in cache.teachers:
        array = cache.group[f"teachers/{name}/logits"]
        dask.array.from_zarr(array, chunks=array.chunks).compute(scheduler="threads")
    read_by_zarr(folder)


READERS = [read_everything, read_by_zarr, read_by_dask]


def test_contents(cache):
    """A cache holds what each teacher said, 0 on padding, beside who the rows are."""
    opened = open_cache(cache)

    assert opened.teachers == ["id", "ood"]
    assert (opened.key, opened.num_rows, opened.num_clips) == (PLAN.key, 300, 8)
    assert opened.ids == PLAN.samples.ids
    assert opened.splits == PLAN.samples.splits
    np.testing.assert_array_equal(opened.clips, PLAN.samples.clips_N)
    np.testing.assert_array_equal(opened.gt, PLAN.samples.gt_N2)
    for name in opened.teachers:
        assert opened.logits(name).tobytes() == expected(name, PLAN).tobytes()


def test_plain_zarr_and_numpy_read_it(cache):
    """A stranger needs zarr and numpy alone: ids, splits, clips, labels and logits."""
    group = zarr.open_group(cache, mode="r")
    ids = [bytes(row).rstrip(b"\0").decode() for row in group["samples/id"][:]]
    names = json.loads((cache / MANIFEST).read_bytes())["splits"]

    assert ids == PLAN.samples.ids
    assert [names[code] for code in group["samples/split"][:]] == PLAN.samples.splits
    assert group["samples/split"].attrs["names"] == names
    np.testing.assert_array_equal(group["samples/clips"][:], PLAN.samples.clips_N)
    np.testing.assert_array_equal(group["samples/gt"][:], PLAN.samples.gt_N2)
    np.testing.assert_array_equal(group["teachers/ood/logits"][:], expected("ood", PLAN))
    assert sorted(group["teachers"].group_keys()) == ["id", "ood"]


def test_raw_chunk_is_a_view_of_the_file(cache):
    """A raw chunk is mapped by its offset alone: the array begins at byte 0 of the file."""
    mapped = np.memmap(cache / CHUNK, dtype="<f4", mode="r", shape=(32, 2, 8))

    np.testing.assert_array_equal(mapped, expected("id", PLAN)[96:128])


@pytest.mark.parametrize("codec", ["zstd", "blosc", "shuffle-zstd"])
def test_compressed_logits(codec, tmp_path):
    """Compressed arrays read back bit for bit, whole and by chunk."""
    plan = make_plan(("id",), codec=codec)
    opened = open_cache(build(tmp_path, plan))

    assert opened.logits("id").tobytes() == expected("id", plan).tobytes()
    np.testing.assert_array_equal(opened.chunk("id", 9), expected("id", plan)[288:300])


def test_float16_logits(tmp_path):
    """float16 keeps each boundary's logits below its largest, which is 0; padding is 0 too."""
    plan = make_plan(("id",), dtype="float16")
    found = open_cache(build(tmp_path, plan)).logits("id")
    logits = expected("id", plan)
    valid = np.arange(8) < plan.samples.clips_N[:, None, None]
    most = np.where(valid, logits, -np.inf).max(axis=2, keepdims=True)

    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, np.where(valid, logits - most, 0).astype(np.float16))
    assert found.max() == 0


def test_moved_and_renamed_cache_still_verifies(cache, tmp_path):
    """A cache is what it holds, wherever it lies and whatever it is called."""
    before = open_cache(cache)
    cache.rename(tmp_path / "another name")
    after = open_cache(tmp_path / "another name")

    assert (after.key, after.seal) == (before.key, before.seal)
    assert not damaged_files(after)


def test_an_open_cache_can_be_sent_elsewhere(cache):
    """A pickled cache is opened anew, and refused if another one has taken its place."""
    sent = pickle.dumps(open_cache(cache))
    np.testing.assert_array_equal(pickle.loads(sent).logits("id"), expected("id", PLAN))
    reseal(cache, {"simulated": False})
    with pytest.raises(RefkdError, match="has changed while it was in use"):
        pickle.loads(sent)


def reseal(folder, changes):
    """Change the manifest and its seal, as only someone who means it would."""
    manifest = {**json.loads((folder / MANIFEST).read_bytes()), **changes}
    data = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(data)
    (folder / SEAL).write_text(f"{bytes_digest(data)}\n")


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0b100
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-3])


def lengthen(path):
    path.write_bytes(path.read_bytes() + b"\0")


def empty(path):
    path.write_bytes(b"")


def delete(path):
    path.unlink()


def as_folder(path):
    path.unlink()
    path.mkdir()


MEND = (
    r"put it back with `refkd verify .* DATA --teacher id=DIR --teacher ood=DIR --repair`, or run"
)
FAULTS = [flip, truncate, lengthen, empty, delete, as_folder]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_chunk_is_named(fault, read, cache):
    """Whoever reads, a chunk that is not as recorded raises, naming its samples and the command."""
    fault(cache / CHUNK)
    with pytest.raises(RefkdError, match=f"{NAMED} .*; {MEND}"):
        read(cache)


@pytest.mark.parametrize("read", READERS)
def test_swapped_chunks(read, cache):
    """Two whole chunks in each other's place are both wrong."""
    one, other = cache / CHUNK, cache / "teachers/id/logits/c/4/0/0"
    mine, its = one.read_bytes(), other.read_bytes()
    one.write_bytes(its)
    other.write_bytes(mine)
    with pytest.raises(RefkdError, match=r"chunk (3|4) of teacher id \(samples .* is damaged"):
        read(cache)
    assert len(damaged_files(open_cache(cache))) == 2


@pytest.mark.parametrize("read", READERS)
def test_swapped_teachers(read, cache):
    """The arrays of two teachers in each other's place are wrong in every chunk."""
    one, other = cache / "teachers/id/logits/c", cache / "teachers/ood/logits/c"
    one.rename(cache / "c")
    other.rename(one)
    (cache / "c").rename(other)
    with pytest.raises(RefkdError, match=r"chunk \d of teacher (id|ood) .* is damaged"):
        read(cache)
    assert len(damaged_files(open_cache(cache))) == 20


@pytest.mark.parametrize("read", READERS)
def test_stale_chunk(read, cache, built):
    """A whole, well-formed chunk of the same rows but an older teacher is damage."""
    shutil.copy(built / "stale" / CHUNK, cache / CHUNK)
    with pytest.raises(RefkdError, match=f"{NAMED} is damaged"):
        read(cache)


def test_every_file_is_under_a_digest(cache):
    """One bit turned in any file of a cache is found, and the file named."""
    for name in all_bytes(cache):
        if name in (MANIFEST, SEAL):
            continue
        whole = (cache / name).read_bytes()
        flip(cache / name)
        with pytest.raises(RefkdError, match="is damaged"):
            read_by_zarr(cache)
        assert list(damaged_files(open_cache(cache))) == [name]
        (cache / name).write_bytes(whole)
    read_everything(cache)


@pytest.mark.parametrize("fault", FAULTS[:-1])
@pytest.mark.parametrize("name", [MANIFEST, SEAL])
def test_faulty_manifest(fault, name, cache):
    """A manifest is compared with its seal before a byte of it is parsed."""
    fault(cache / name)
    with pytest.raises(RefkdError, match=r"manifest\.(json|sha256)|is no logit cache|unfinished"):
        open_cache(cache)


def test_edited_manifest(cache):
    """A manifest that was edited, well-formed JSON as it is, does not fit its seal."""
    text = (cache / MANIFEST).read_text()
    (cache / MANIFEST).write_text(text.replace('"simulated": true', '"simulated": false'))
    with pytest.raises(RefkdError, match=r"its digest is not the one in manifest.sha256; delete"):
        open_cache(cache)


@pytest.mark.parametrize("read", [read_by_zarr, read_by_dask])
def test_edited_metadata(read, cache):
    """An edited zarr.json, well-formed as it is, is refused before Zarr parses it."""
    path = cache / "teachers/id/logits/zarr.json"
    path.write_text(path.read_text().replace('"little"', '"big"   '))
    with pytest.raises(RefkdError, match=r"teachers/id/logits/zarr\.json is damaged"):
        read(cache)


def test_unlisted_chunk_is_no_fill_value(cache):
    """Zarr reads a chunk that it does not find as NaN; here a chunk that is not listed raises."""
    manifest = json.loads((cache / MANIFEST).read_bytes())
    del manifest["files"][CHUNK]
    reseal(cache, manifest)
    opened = open_cache(cache)
    with pytest.raises(RefkdError, match=f"does not list {NAMED}"):
        opened.logits("id")
    with pytest.raises(RefkdError, match=f"does not list {NAMED}"):
        opened.group["teachers/id/logits"][...]


def test_damaged_names_still_tell_the_rows(cache):
    """Where the ids are damaged too, a chunk is named by its rows."""
    flip(cache / CHUNK)
    flip(cache / "samples/id/c/0/0")
    with pytest.raises(RefkdError, match=r"chunk 3 of teacher id \(rows 96 to 127\) is damaged"):
        open_cache(cache).logits("id")


def test_no_cache_there(tmp_path):
    """A path where nothing lies is answered with the command that makes a cache."""
    with pytest.raises(RefkdError, match=r"no logit cache at .*/none; run `refkd cache` first"):
        open_cache(tmp_path / "none")


def test_another_folder(tmp_path):
    """A folder with other things in it is no cache."""
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(RefkdError, match="is no logit cache; run `refkd cache` first"):
        open_cache(tmp_path)


def test_data_set_is_no_cache(data_folder):
    """A sealed folder of another kind is named by its kind."""
    with pytest.raises(RefkdError, match="holds refkd-data, not a cache; run `refkd cache`"):
        open_cache(data_folder)


def test_folder_of_caches(built):
    """The folder in which caches lie is answered with one of them."""
    with pytest.raises(RefkdError, match=f"holds caches and is none; give .*{PLAN.key[:16]}"):
        open_cache(built / "a")


def test_folder_of_runs(tmp_path):
    """A folder of students, whose names are digests too, is not said to hold caches."""
    (tmp_path / ("0" * 16)).mkdir()
    (tmp_path / ("0" * 16) / "manifest.json").write_text("{}")
    with pytest.raises(RefkdError, match="is no logit cache; run `refkd cache` first"):
        open_cache(tmp_path)


def test_folder_of_caches_beside_others(built, tmp_path, lock_out):
    """So it is if there is a folder beside them that nobody may look into."""
    shutil.copytree(built / "a", tmp_path / "a")
    lock_out(tmp_path / "a" / ("0" * 16))
    with pytest.raises(RefkdError, match=f"holds caches and is none; give .*{PLAN.key[:16]}"):
        open_cache(tmp_path / "a")


@pytest.mark.parametrize("gone", [(MANIFEST,), (SEAL,), (MANIFEST, SEAL)])
def test_unfinished(gone, cache):
    """A cache without its manifest or seal was never finished, or is no cache: `delete` is not said."""
    for name in gone:
        (cache / name).unlink()
    with pytest.raises(RefkdError) as caught:
        open_cache(cache)

    assert str(caught.value) == (
        f"{cache} is unfinished or foreign: {gone[0]} is missing; expected a cache; give one that "
        "`refkd cache` wrote, or run that again"
    )


def test_half_built(cache, tmp_path):
    """Half-built work is refused under its own name and under that of its parent."""
    (tmp_path / "out" / ".building").mkdir(parents=True)
    cache.rename(tmp_path / "out/.building/group")
    for folder in (tmp_path / "out/.building/group", tmp_path / "out"):
        with pytest.raises(RefkdError, match=r"unfinished.*; run `refkd cache` again to resume"):
            open_cache(folder)


def test_other_version(cache):
    """A cache of another version of the format is refused by number."""
    reseal(cache, {"format_version": 2})
    with pytest.raises(
        RefkdError, match="has version 2 of the cache format, this refkd reads version 1"
    ):
        open_cache(cache)


def test_teacher_that_is_not_there(cache):
    """A teacher that the cache lacks is named, with those that it holds."""
    with pytest.raises(RefkdError, match=r"holds the teachers id, ood, not third; name some"):
        check_cache(open_cache(cache), teachers=["id", "third"])


def inject(folder, stale, rng):
    """Damage a random file of a cache in a random way; return its name."""
    names = list(all_bytes(folder))
    chunks = [name for name in names if re.fullmatch(r"teachers/.*/c/\d+/0/0", name)]
    kind = rng.choice(["bit", "cut", "delete", "swap", "stale", "grow"])
    if kind in ("swap", "stale"):
        name, other = rng.sample(chunks, 2)
        data = (folder / other if kind == "swap" else stale / name).read_bytes()
        (folder / name).write_bytes(data)
        return name
    name = rng.choice(names)
    data = bytearray((folder / name).read_bytes())
    if kind == "bit":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        data = data[: rng.randrange(len(data))]
    elif kind == "grow":
        data += rng.randbytes(rng.randrange(1, 100))
    (folder / name).unlink()
    if kind != "delete":
        (folder / name).write_bytes(data)
    return name


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_injected_faults(count, cache, built):
    """Every one of many random faults is caught on the normal reading path, and named."""
    whole = all_bytes(cache)
    for seed in range(count):
        name = inject(cache, built / "stale", random.Random(seed))
        place = open_cache(built / "fresh").place(name)
        with pytest.raises(RefkdError) as caught:
            read_by_zarr(cache)
        assert name in (MANIFEST, SEAL) or place in str(caught.value), (seed, name, caught.value)
        (cache / name).write_bytes(whole[name])
    read_by_zarr(cache)


def test_block_rows_divide_the_plan():
    """The plan of these tests has ten chunks, the last one short."""
    assert (PLAN.layout.num_chunks, PLAN.layout.span(9), BLOCK_ROWS) == (10, (288, 300), 32)
