"""No false reuse: one thing changed anywhere misses the old cache, and whoever is asked names it.

Each attack changes one thing of a small world as a user could, prepares and caches it beside the old
cache, and compares what was taken over from there, byte for byte, with a cache that was built alone.
"""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from attacked import (
    World,
    folds_of,
    make_world,
    read_words,
    save_network,
    write_features,
    write_words,
)
from planned import all_bytes

import student.views
from pipeline.cache import cache
from pipeline.costs import read_costs
from pipeline.distill import distill
from pipeline.verify import verify
from stores.dataset import open_dataset
from stores.errors import RefkdError
from student.recipe import Recipe

PAIRS = 40  # in chunks of 32 and 8 rows
ALL, CHUNK, NONE = 2 * PAIRS, 2 * 32, 0  # rows that two teachers are asked about
BUILD, REFUSE = ("cache", "verify"), ("cache", "verify", "distill")
LABELS = ("verify", "distill")  # no teacher reads labels: there is nothing for a builder to do


@dataclass(frozen=True)
class Attack:
    """One change: what is then told, by whom, and how many rows the teachers are asked about again.

    Nobody is asked about None: the change is refused. `of` is the cache that is attacked.
    """

    name: str
    change: Callable[[World, Path, pytest.MonkeyPatch], World]
    told: str
    asked: int | None
    tellers: tuple[str, ...]
    of: str = "plain"


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """The world, how it is cached in three ways, and the caches, each alone in a folder."""
    place = tmp_path_factory.mktemp("attacked")
    plain = make_world(place / "world", pairs=PAIRS)
    folded = cross_fitted(plain, place / "folded teacher")
    worlds = {"plain": plain, "viewed": plain.how(views=2), "folded": folded}
    return {
        name: (world, cache(world.data, place / name, device="cpu", **world.options))
        for name, world in worlds.items()
    }


def prepared(edit, **options):
    """A change of the sources, of which the data set is prepared anew."""

    def change(world, tmp_path, patch):
        other = replace(world.copied(tmp_path / "other"), prepared=options)
        edit(other)
        return other.prepare()

    return change


def line(number, **fields):
    """A change of one annotation; a function is called with what stands there."""

    def edit(world):
        lines = world.lines()
        for name, value in fields.items():
            lines[number][name] = value(lines[number][name]) if callable(value) else value
        world.write_lines(lines)

    return prepared(edit)


def lines(edit):
    return prepared(lambda world: world.write_lines(edit(world.lines())))


def feature_byte(world):
    path = world.folder / "features/q_video003.npy"
    data = bytearray(path.read_bytes())
    data[-2] ^= 1 << 5  # a float32's mantissa as far down as float16 sees
    path.write_bytes(data)


def exchanged_videos(world):
    one, other = (world.folder / f"features/q_video00{number}.npy" for number in (0, 5))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def another_video(world):
    write_features(world, "q_video019", seed=1)


def nothing(world):
    """Leave the sources as they are: an option differs."""


def vector(word):
    def edit(world):
        words = read_words(world)
        words[word][0] += 1e-3
        write_words(world, words)

    return prepared(edit)


def taught(**facts):
    """The ID teacher saved as another network, or as one that says something else of itself."""

    def change(world, tmp_path, patch):
        folder = save_network(tmp_path / "teacher", open_dataset(world.data), **facts)
        return replace(world, teachers={**world.teachers, "id": folder})

    return change


def last_bit(weights):
    values = next(iter(weights[0].values())).view(-1).numpy().view("uint32")
    values[0] ^= 1


def alphabet(world, tmp_path, patch):
    characters = open_dataset(world.data).characters
    return taught(characters=characters[::-1])(world, tmp_path, patch)


def exchanged_names(world, tmp_path, patch):
    one, other = world.teachers["id"], world.teachers["ood"]
    return replace(world, teachers={"id": other, "ood": one})


def cached(**options):
    return lambda world, tmp_path, patch: world.how(**options)


def patched(place, value, **options):
    def change(world, tmp_path, patch):
        patch.setattr(place, value)
        return world.how(**options)

    return change


def rows_per_chunk(world, tmp_path, patch):
    patch.setattr("stores.rowarrays.LEAST_ROWS", 64)
    return world


def format_version(world, tmp_path, patch):
    for module in ("cache", "cachekeys", "cachemanifest"):
        patch.setattr(f"stores.{module}.FORMAT_VERSION", 2)
    return world


def cross_fitted(world, folder, *, number=2, move=0, edit=None):
    """The ID teacher fitted once without each fold; `move` videos of the first go to the second."""
    data = open_dataset(world.data)
    first, *others = folds_of(data, number)
    others[0] = sorted(others[0] + first[:move])
    folds = [first[move:], *others]
    network = save_network(folder, data, folds=folds, edit=edit)
    return replace(world, teachers={**world.teachers, "id": network})


def folds(**change):
    return lambda world, tmp_path, patch: cross_fitted(world, tmp_path / "teacher", **change)


def last_bit_of_a_fold(weights):
    last_bit(weights[2:])


def views_exchanged(world, tmp_path, patch):
    """Each view with the other one's seeds."""
    real = student.views.seed_of
    patch.setattr("student.views.seed_of", lambda *name: real(*name[:-1], 3 - name[-1]))
    return world


MOMENT = {"relevant_windows": lambda windows: [[windows[0][0], windows[0][1] + 0.01]]}


def with_ids_of_each_other(some):
    """Two annotations under each other's ids."""
    first, second, *rest = some
    return [{**first, "qid": second["qid"]}, {**second, "qid": first["qid"]}, *rest]


ATTACKS = [
    Attack("a feature byte", prepared(feature_byte), "features", CHUNK, REFUSE),
    Attack("two videos' features", prepared(exchanged_videos), "features", CHUNK, REFUSE),
    Attack("a video's features", prepared(another_video), "features", 16, REFUSE),
    Attack("a query word", line(7, query="people swim slowly"), "queries", CHUNK, REFUSE),
    Attack("a foreign letter", line(7, query="people swimé"), "queries", CHUNK, REFUSE),
    Attack("letters alone", line(10, query="people slide"), "queries", CHUNK, REFUSE),
    Attack("order of words", line(7, query="climb people"), "queries", CHUNK, REFUSE),
    Attack("two ids", lines(with_ids_of_each_other), "queries", CHUNK, REFUSE),
    Attack("an id", line(7, qid="q007x"), "ids", CHUNK, REFUSE),
    Attack("a pair more", lines(lambda some: [*some, {**some[0], "qid": "z"}]), "ids", 18, REFUSE),
    Attack("a pair less", lines(lambda some: some[:-1]), "ids", 14, REFUSE),
    Attack("a timestamp", line(7, **MOMENT), "timestamps", NONE, LABELS),
    Attack("a duration", line(7, duration=lambda s: s + 0.01), "durations", NONE, LABELS),
    Attack("number of words", line(7, query="people run so slowly"), "num_words", ALL, REFUSE),
    Attack("length of words", line(7, query="people overtake"), "num_chars", ALL, REFUSE),
    Attack("grid", prepared(nothing, grid="cap"), "grid", None, REFUSE),
    Attack("number of clips", prepared(nothing, clips=16), "clips", None, REFUSE),
    Attack("a word vector", vector("run"), "word vectors", None, REFUSE),
    Attack("a word vector of no query", vector("never"), "word vectors", None, REFUSE),
    Attack("a bit of the weights", taught(edit=last_bit), "teacher weights", PAIRS, BUILD),
    Attack("predictor", taught(predictor="transformer"), "teacher predictor", PAIRS, BUILD),
    Attack("backbone", taught(backbone="seqpan"), "teacher backbone", PAIRS, BUILD),
    Attack("width", taught(hidden=16), "teacher hidden", PAIRS, BUILD),
    Attack("network code", taught(backbone_version=9), "teacher backbone_version", None, BUILD),
    Attack("alphabet", alphabet, "teacher characters", PAIRS, BUILD),
    Attack("cross-fitting", folds(), "teacher folds", PAIRS, BUILD),
    Attack("exchanged names", exchanged_names, "id: teacher weights", NONE, ("verify",)),
    Attack("dtype", cached(dtype="float16"), "dtype", ALL, ("cache",)),
    Attack("precision", cached(precision="bf16"), "precision", ALL, ("cache",)),
    Attack("codec", cached(codec="zstd"), "codec", ALL, ("cache",)),
    Attack("a split more", cached(splits=("train", "val")), "ids", 2 * 14, ("cache",)),
    Attack("another split", cached(splits=("val",)), "ids", 2 * 6, ("cache",)),
    Attack("rows per chunk", rows_per_chunk, "rows_per_chunk", ALL, BUILD),
    Attack("format", format_version, "version 1 of the cache format", ALL, ("verify", "distill")),
    Attack("number of views", cached(views=3), "", ALL, (), "viewed"),
    Attack("views exchanged", views_exchanged, "seeds", NONE, ("verify",), "viewed"),
    Attack("seeds of views", patched("student.views.SEED", 1), "seeds", 2 * ALL, BUILD, "viewed"),
    Attack("code of views", patched("student.views.VERSION", 2), "view version", 2 * ALL, BUILD,
           "viewed"),
    Attack("a moved moment", line(7, **MOMENT), "moments", 2 * CHUNK, BUILD, "viewed"),
    Attack("a video's fold", folds(move=1), "teacher folds", 32, BUILD, "folded"),
    Attack("number of folds", folds(number=3), "teacher fold weights", PAIRS, BUILD, "folded"),
    Attack("a bit of a fold", folds(edit=last_bit_of_a_fold), "teacher fold weights", PAIRS, BUILD,
           "folded"),
]  # fmt: skip


def test_enough_attacks():
    """There are at least twenty, and no two are the same."""
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 20


def told_by(work):
    """What somebody says who refuses; nothing if he does not."""
    try:
        work()
    except RefkdError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_one_change_misses_and_is_named(attack, worlds, tmp_path, monkeypatch, caplog):
    """Another key; nothing wrong is taken over; the builder, verify and the student's trainer name it."""
    world, old = worlds[attack.of]
    before, out = all_bytes(old), tmp_path / "out"
    shutil.copytree(old.parent, out)
    changed = attack.change(world, tmp_path, monkeypatch)
    caplog.set_level(logging.INFO, logger="refkd")
    found: list[Path] = []

    def build():
        found.append(cache(changed.data, out, device="cpu", **changed.options))

    said = {"cache": told_by(build)}
    said["cache"] += "\n".join(line for line in caplog.messages if "not as in" in line)
    if "verify" in attack.tellers:
        said["verify"] = told_by(lambda: verify(old, changed.data, teachers=changed.teachers))
    if "distill" in attack.tellers:
        said["distill"] = told_by(lambda: distill(changed.data, old, tmp_path / "runs", Recipe()))

    for who in attack.tellers:
        assert attack.told in said[who], said[who]
    assert all_bytes(old) == before
    if attack.asked is None:
        assert not found
        return
    (new,) = found
    assert new.name != old.name
    assert read_costs(new)["cache"]["rows"] == attack.asked
    if attack.asked < ALL and attack.asked != PAIRS:  # some chunks of an array were taken over
        alone = cache(changed.data, tmp_path / "alone", device="cpu", **changed.options)
        assert all_bytes(new) == all_bytes(alone)
