"""Faults injected into a cache and its weights: a student's training, as it is, stops at each of them.

Every fault goes through `distill` itself (or `weigh`), however the cache is read: mapped, held in
memory or in windows. Nothing is trained on a byte that is not the recorded one.
"""

import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from planned import all_bytes
from untrained import save_teacher

import stores.windows
from pipeline.cache import cache
from pipeline.distill import distill
from pipeline.verify import verify
from pipeline.weigh import weigh
from stores.cache import open_cache
from stores.errors import RefkdError
from stores.files import MANIFEST, SEAL
from stores.fingerprints import bytes_digest
from stores.mapped import can_map
from stores.rowarrays import array_files
from stores.samples import sample_specs
from stores.windows import is_windowed
from student.recipe import Recipe

RECIPE = Recipe(hidden=8, epochs=1, batch=48)
CHUNK = re.compile(r"teachers/[^/]+/logits/c/\d+/0/0")
WAYS = {  # how a cache is read, and the options that make it so
    "mapped": {},
    "held": {"dtype": "float16"},
    "decoded": {"codec": "zstd"},
    "windows": {"codec": "zstd"},
}


@dataclass(frozen=True)
class Caches:
    """A cache that is damaged and mended again, and one of teachers before they were trained anew."""

    folder: Path
    whole: dict[str, bytes]
    stale: Path
    advised: dict[str, Callable[[], object]]  # what a sentence may say to run, by its command


@pytest.fixture(scope="module")
def build(tmp_path_factory, data, data_folder):
    """A function that builds and weighs both caches."""
    place = tmp_path_factory.mktemp("faults")
    taught = {
        age: {
            name: save_teacher(place / age / name, data, seed=seed, hidden=8)
            for seed, name in enumerate(("id", "ood"), start=start)
        }
        for age, start in (("new", 0), ("old", 5))
    }

    def build(name, **how):
        new, old = (
            cache(data_folder, place / name / age, teachers=taught[age], device="cpu", **how)
            for age in ("new", "old")
        )
        for folder in (new, old):
            weigh(folder)
        teachers, device = taught["new"], {"device": "cpu"}
        advised = {
            "verify": lambda: verify(new, data_folder, teachers=teachers, repair=True, **device),
            "cache": lambda: cache(
                data_folder, place / name / "new", teachers=teachers, **how, **device
            ),
            "weigh": lambda: weigh(new),
        }
        return Caches(new, all_bytes(new), old, advised)

    return build


def replace_bytes(folder, name, data):
    (folder / name).unlink(missing_ok=True)  # it may be linked elsewhere
    (folder / name).write_bytes(data)


def some_file(folder, rng):
    return rng.choice(sorted(all_bytes(folder)))


def some_chunks(folder, rng, number=1):
    return rng.sample([name for name in sorted(all_bytes(folder)) if CHUNK.fullmatch(name)], number)


def edit(change):
    """A fault of any file's bytes."""

    def fault(folder, stale, rng):
        name = some_file(folder, rng)
        replace_bytes(folder, name, bytes(change(bytearray((folder / name).read_bytes()), rng)))
        return [name]

    return fault


def flip(data, rng):
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def cut(data, rng):
    return data[: rng.randrange(len(data))]


def grow(data, rng):
    return data + rng.randbytes(rng.randrange(1, 100))


def hole(data, rng):
    """Zeros in place of some bytes, as after a power cut; at least one was none."""
    places = [place for place, byte in enumerate(data) if byte]
    lo = rng.choice(places)
    hi = rng.randrange(lo, len(data)) + 1
    data[lo:hi] = bytes(hi - lo)
    return data


def lost(folder, stale, rng):
    name = some_file(folder, rng)
    (folder / name).unlink()
    return [name]


def a_folder(folder, stale, rng):
    name = some_file(folder, rng)
    (folder / name).unlink()
    (folder / name).mkdir()
    return [name]


def a_folder_of_weights(folder, stale, rng):
    name = rng.choice([f"weights/{name}" for name in sorted(all_bytes(folder / "weights"))])
    (folder / name).unlink()
    (folder / name).mkdir()
    return [name]


def exchanged(folder, stale, rng):
    one, other = some_chunks(folder, rng, 2)
    first, second = (folder / one).read_bytes(), (folder / other).read_bytes()
    replace_bytes(folder, one, second)
    replace_bytes(folder, other, first)
    return [one, other]


def copied_over(folder, stale, rng):
    one, other = some_chunks(folder, rng, 2)
    replace_bytes(folder, one, (folder / other).read_bytes())
    return [one]


def stale_chunk(folder, stale, rng):
    """The same rows of the same teacher, as an older training of it answered."""
    (name,) = some_chunks(folder, rng)
    replace_bytes(folder, name, (stale / name).read_bytes())
    return [name]


def stale_manifest(folder, stale, rng):
    """Manifest and seal of the older cache, which belong together, over the newer chunks."""
    for name in (MANIFEST, SEAL):
        replace_bytes(folder, name, (stale / name).read_bytes())
    return [MANIFEST, SEAL]


def edited_manifest(folder, stale, rng):
    """Well-formed, and changed by somebody who leaves the seal alone."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    (name,) = some_chunks(folder, rng)
    data = bytes(flip(bytearray((folder / name).read_bytes()), rng))
    change = rng.choice(["digest", "teacher", "dtype", "fewer rows", "a chunk not listed"])
    if change == "digest":  # of a chunk that is changed too
        replace_bytes(folder, name, data)
        manifest["files"][name]["sha256"] = bytes_digest(data)
    elif change == "teacher":
        arrays = manifest["arrays"]
        arrays["id"], arrays["ood"] = arrays["ood"], arrays["id"]
    elif change == "dtype":
        manifest["dtype"] = {"float32": "float16", "float16": "float32"}[manifest["dtype"]]
    elif change == "fewer rows":
        manifest["num_rows"] -= 1
    else:
        del manifest["files"][name]
    replace_bytes(folder, MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())
    return [MANIFEST, name]


def edited_metadata(folder, stale, rng):
    """A zarr.json that says something else in as many bytes."""
    names = [name for name in sorted(all_bytes(folder)) if name.endswith("zarr.json")]
    name = rng.choice([name for name in names if b'"array"' in (folder / name).read_bytes()])
    text = (folder / name).read_text()
    for old, new in (('"little"', '"big"   '), ('"start"', '"end"  '), ('"NaN"', "0.0  ")):
        if old in text:
            text = text.replace(old, new)
            break
    else:
        text = text.replace('"uint8"', '"int8" ')
    replace_bytes(folder, name, text.encode())
    return [name]


def edited_samples(folder, stale, rng):
    """Two rows of the sample table exchanged, or a label moved: a whole, well-formed file."""
    opened = open_cache(folder)
    rows = {"id": None, "split": None, "clips": opened.clips, "gt": opened.gt}
    ids = open_cache(folder).group["samples/id"][...]
    which, row = rng.choice(["id", "clips", "gt"]), rng.randrange(opened.num_rows - 1)
    values = ids if which == "id" else rows[which].copy()
    if which == "id":
        values[[row, row + 1]] = values[[row + 1, row]]
    else:
        values[row] += 1
    spec = sample_specs(opened.num_rows, ids.shape[1])[f"samples/{which}"]
    files = array_files({which: spec}, {which: values})
    name = f"samples/{which}/{spec.chunk_file(0)}"
    replace_bytes(folder, name, files[f"{which}/{spec.chunk_file(0)}"])
    return [name]


def weights_of(folder):
    return (folder / "weights/current").read_text()[:16]


def stale_weights(folder, stale, rng):
    """The weights of the older cache, whole with their seal."""
    own, old = weights_of(folder), weights_of(stale)
    names = [f"weights/{own}/{name}" for name in sorted(all_bytes(folder / "weights" / own))]
    shutil.rmtree(folder / "weights" / own)
    shutil.copytree(stale / "weights" / old, folder / "weights" / old)
    shutil.copy(stale / "weights/current", folder / "weights/current")
    return [*names, "weights/current"]


def stale_chunk_of_weights(folder, stale, rng):
    """Cross-entropies of the older cache among those of the newer one."""
    own, old = (folder / "weights" / weights_of(folder)), (stale / "weights" / weights_of(stale))
    name = rng.choice([name for name in sorted(all_bytes(own)) if "/c/" in name])
    replace_bytes(own, name, (old / name).read_bytes())
    return [f"{own.relative_to(folder)}/{name}"]


def edited_weights(folder, stale, rng):
    """Other means in the manifest of the weights."""
    name = f"weights/{weights_of(folder)}/{MANIFEST}"
    manifest = json.loads((folder / name).read_bytes())
    manifest["means"]["train"]["id"][0] += 0.1
    replace_bytes(folder, name, json.dumps(manifest).encode())
    return [name]


FAULTS = {
    "a flipped bit": edit(flip),
    "a short file": edit(cut),
    "a long file": edit(grow),
    "a hole": edit(hole),
    "a lost file": lost,
    "a folder in place of a file": a_folder,
    "a folder in place of weights": a_folder_of_weights,
    "chunks exchanged": exchanged,
    "a chunk over another": copied_over,
    "a stale chunk": stale_chunk,
    "a stale manifest": stale_manifest,
    "an edited manifest": edited_manifest,
    "an edited zarr.json": edited_metadata,
    "an edited sample table": edited_samples,
    "stale weights": stale_weights,
    "a stale chunk of weights": stale_chunk_of_weights,
    "edited weights": edited_weights,
}
MOST_STEPS = 5  # that one fault may take: verify, cache, delete and cache, weigh
HELP = re.compile(r"`refkd (verify .* --repair|cache|weigh)")


def mend(caches):
    """Put everything back as it was, whatever has become of it."""
    for path in sorted(caches.folder.rglob("*"), reverse=True):
        name = path.relative_to(caches.folder).as_posix()
        if path.is_dir() and (name in caches.whole or not any(path.iterdir())):
            path.rmdir()
        elif path.is_file() and name not in caches.whole:
            path.unlink()
    for name, data in caches.whole.items():
        path = caches.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_bytes() != data:
            replace_bytes(caches.folder, name, data)


def place_of(name, whole):
    """What must stand in the sentence about a damaged file: its name, or the rows of a chunk."""
    if name in (MANIFEST, SEAL) or name.startswith("weights/"):
        return "manifest" if name in (MANIFEST, SEAL) else "weights"
    return whole.place(name)


@pytest.fixture(scope="module")
def all_caches(build):
    """The caches of each way to read, built when they are first asked for."""
    built = {}

    def get(way):
        if way not in built:
            built[way] = build(way, **WAYS[way])
        return built[way]

    return get


def follow(caches, error, rng, read):
    """Do what an error says, and what the next one says, until the caches are as they were."""
    for _ in range(MOST_STEPS):
        said = str(error)
        if found := re.search(r"delete (\S+) and run", said):
            assert Path(found[1]) == caches.folder, said
            shutil.rmtree(caches.folder)
        command = rng.choice(HELP.findall(said))
        try:
            caches.advised[command.split()[0]]()
            if all_bytes(caches.folder) == caches.whole:
                return
            read()
        except RefkdError as another:
            error = another
    raise AssertionError(f"what is said does not help: {error}")


def check_caught(caches, seeds, read, *, followed=0):
    """Inject a fault for each seed, and see that reading stops there, naming it and what to run.

    For the first seeds that is done, and puts back every byte.
    """
    names = list(FAULTS)
    places = {name: place_of(name, open_cache(caches.folder)) for name in caches.whole}
    for seed in seeds:
        kind = names[seed % len(names)]
        changed = FAULTS[kind](caches.folder, caches.stale, random.Random(seed))
        assert all_bytes(caches.folder) != caches.whole, kind
        with pytest.raises(RefkdError) as caught:
            read()
        said = str(caught.value)
        named = [name for name in changed if places[name] in said]
        assert named or "stale manifest" in kind, (kind, seed, changed, said)
        assert HELP.search(said), said
        if seed < followed:
            follow(caches, caught.value, random.Random(seed), read)
        mend(caches)
        assert all_bytes(caches.folder) == caches.whole


@pytest.mark.parametrize("count", [17, pytest.param(250, marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", WAYS)
def test_training_stops_at_every_fault(way, count, all_caches, data_folder, tmp_path, monkeypatch):
    """A thousand faults over four ways to read: all are caught by `distill` itself, and named.

    The slow test also runs what is advised, three times for each kind of fault.
    """
    if way == "windows":
        monkeypatch.setattr(stores.windows, "HELD_BYTES", 0)
    caches = all_caches(way)
    opened = open_cache(caches.folder)
    assert (can_map(opened), is_windowed(opened)) == (way == "mapped", way == "windows")

    def train():
        return distill(
            data_folder, caches.folder, tmp_path / "runs", RECIPE, device="cpu", threads=1
        )

    check_caught(caches, range(count), train, followed=0 if count < 250 else 3 * len(FAULTS))
    assert not list((tmp_path / "runs").glob("*/manifest.json"))
    train()


def test_every_kind_is_injected():
    """The fast test has each kind once in each way; the slow one has a thousand faults."""
    assert len(FAULTS) == 17
    assert 250 * len(WAYS) == 1000
