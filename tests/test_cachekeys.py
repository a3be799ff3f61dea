"""Keys: every input that could change a logit or a label changes them, and nothing else does."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import planted_pairs

from stores.cache import Cache
from stores.cachechecks import check_plan
from stores.cachekeys import ROW_INPUTS, plan_cache
from stores.dataset import open_dataset
from stores.errors import RefkdError
from student.views import plan_views


@pytest.fixture
def facts(data):
    """Facts of a teacher that fits the data, as its manifest holds them."""
    return {
        "backbone": "vslnet",
        "backbone_version": 1,
        "predictor": "rnn",
        "hidden": 16,
        "dropout": 0.2,
        "num_channels": data.num_channels,
        "num_clips": data.num_clips,
        "num_words": data.num_words,
        "num_chars": data.num_chars,
        "word_width": 8,
        "characters": data.characters,
        "grid": data.grid,
        "word_file": data.word_file,
        "data": data.seal,
        "files": {"model.safetensors": {"sha256": "a" * 64}},
    }


@pytest.fixture
def plan(data, facts):
    """A function that plans a cache of two teachers, with something changed."""

    def plan(data=data, *, splits=("train",), teachers=("id", "ood"), views=0, **changes):
        how = {"dtype": "float32", "codec": "raw", "precision": "float32"}
        how |= {name: changes.pop(name) for name in [*changes] if name in how}
        first = {**facts, **changes, "word_file": data.word_file}
        second = {**facts, "files": {"model.safetensors": {"sha256": "b" * 64}}}
        both = {teachers[0]: (first, "seal 1")}
        if len(teachers) > 1:
            both[teachers[1]] = ({**second, "word_file": data.word_file}, "seal 2")
        moved = plan_views(data, views) if views else None
        return plan_cache(data, both, splits=splits, views=moved, **how)

    return plan


def edited(data, **fields):
    """The data set with some fields of its table of pairs replaced."""
    return replace(data, table=replace(data.table, **fields))


def first_train(data):
    return data.table.splits.index("train")


def other_feature(data):
    features = np.array(data.features)
    features[data.table.video[first_train(data)], 0].view(np.uint16)[0] ^= 1
    return replace(data, features=features)


def other_word(data):
    words = data.table.words.copy()
    row = first_train(data)
    words[row, 1] = 1 + words[row, 1] % (len(data.lexicon.known) - 1)
    return edited(data, words=words)


def other_spelling(data):
    chars = data.lexicon.chars.copy()
    chars[data.table.words[first_train(data), 1], 0] = 1
    return replace(data, lexicon=replace(data.lexicon, chars=chars))


def other_vector(data):
    vectors = data.lexicon.vectors.copy()
    vectors[data.table.words[first_train(data), 0], 3] += 1e-4
    return replace(data, lexicon=replace(data.lexicon, vectors=vectors))


def unknown_word(data):
    known = data.lexicon.known.copy()
    known[data.table.words[first_train(data), 0]] = False
    return replace(data, lexicon=replace(data.lexicon, known=known))


def other_timestamp(data):
    pairs = list(data.pairs["train"])
    start_s, end_s = pairs[0].windows[0]
    pairs[0] = replace(pairs[0], windows=((start_s, end_s + 0.01),))
    return replace(data, pairs={**data.pairs, "train": pairs})


def other_duration(data):
    durations_s = data.table.durations_s.copy()
    durations_s[first_train(data)] += 0.01
    return edited(data, durations_s=durations_s)


def other_label(data):
    gt = data.table.gt.copy()
    gt[first_train(data), 0] += 1
    return edited(data, gt=gt)


def fewer_clips(data):
    clips = data.table.clips.copy()
    clips[first_train(data)] -= 1
    return edited(data, clips=clips)


def other_id(data):
    row = first_train(data)
    old = data.table.ids[row]
    ids = [f"{old}x" if i == row else name for i, name in enumerate(data.table.ids)]
    pairs = [replace(p, id=f"{old}x") if p.id == old else p for p in data.pairs["train"]]
    return replace(edited(data, ids=ids), pairs={**data.pairs, "train": pairs})


def other_manifest(**changes):
    return lambda data: replace(data, manifest={**data.manifest, **changes})


def other_word_file(data):
    return other_manifest(word_file={**data.word_file, "sha256": "c" * 64})(data)


IN_DATA = {
    "features": other_feature,
    "queries": [other_word, other_spelling, other_vector, unknown_word],
    "timestamps": other_timestamp,
    "durations": other_duration,
    "gt": other_label,
    "clips": fewer_clips,
    "ids": other_id,
    "num_words": other_manifest(words=9),
    "num_chars": other_manifest(chars=9),
}
EDITS = [
    (field, edit)
    for field, edits in IN_DATA.items()
    for edit in (edits if isinstance(edits, list) else [edits])
]


def as_cache(plan, tmp_path):
    """The cache of a plan as far as its manifest tells what it was made from."""
    arrays = {name: {"inputs": array.inputs} for name, array in plan.arrays.items()}
    return Cache(tmp_path, "", {"key": plan.key, "inputs": plan.inputs, "arrays": arrays})


@pytest.mark.parametrize(("field", "edit"), EDITS)
def test_changed_data_misses_and_is_named(field, edit, data, plan, tmp_path):
    """One byte, word, letter, vector, second or label that differs gives another key and its name."""
    before, after = plan(), plan(edit(data))

    assert before.key != after.key
    with pytest.raises(RefkdError, match=rf"made from other inputs: .*{field} \(was "):
        check_plan(as_cache(before, tmp_path), after)


@pytest.mark.parametrize("field", ["timestamps", "durations", "gt"])
def test_labels_do_not_touch_the_arrays(field, data, plan):
    """A changed label makes another cache of the same arrays: no teacher reads labels."""
    before, after = plan(), plan(IN_DATA[field](data))

    assert before.key != after.key
    assert before.arrays == after.arrays
    assert before.chunk_rows == after.chunk_rows


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("dtype", {"dtype": "float16"}),
        ("codec", {"codec": "zstd"}),
        ("precision", {"precision": "bf16"}),
        ("teacher weights", {"files": {"model.safetensors": {"sha256": "d" * 64}}}),
        ("teacher backbone_version", {"backbone_version": 2}),
        ("teacher predictor", {"predictor": "transformer"}),
        ("teacher hidden", {"hidden": 32}),
        ("teacher characters", {"characters": "zyx"}),
    ],
)
def test_changed_teacher_or_choice_misses_and_is_named(field, change, plan, tmp_path):
    """Weights, network, code version and every choice of how to store are part of the key."""
    before, after = plan(), plan(**change)

    assert before.key != after.key
    assert before.arrays["id"].key != after.arrays["id"].key
    owner = "id: " if field.startswith("teacher") else ""
    with pytest.raises(
        RefkdError, match=rf"inputs: {owner}{field} \(was [^;]*\); run `refkd cache`"
    ):
        check_plan(as_cache(before, tmp_path), after)


def test_changed_word_file_misses(data, plan):
    """Other word vectors give another key even where no vector of a query differs."""
    assert plan().key != plan(other_word_file(data)).key


def test_exchanged_names_miss(plan, tmp_path):
    """The same two teachers under each other's names are another cache, of the same arrays."""
    before, after = plan(), plan(teachers=("ood", "id"))

    assert before.key != after.key
    assert before.arrays["id"].key == after.arrays["ood"].key
    with pytest.raises(RefkdError, match=r"id: teacher weights \(was a{16}…, now b{16}…\)"):
        check_plan(as_cache(before, tmp_path), after)


def test_other_splits_miss(plan):
    """The rows that are cached are part of the key."""
    assert (
        len({plan(splits=splits).key for splits in (("train",), ("val",), ("train", "val"))}) == 3
    )


def test_a_teacher_more_leaves_the_others(plan):
    """An array's key knows nothing of the teachers beside it."""
    assert plan(teachers=("id",)).arrays["id"] == plan().arrays["id"]


def test_what_is_no_input(data_folder, plan, tmp_path):
    """Another folder, other times, the order of the splits and a repeated split change no key."""
    moved = tmp_path / "elsewhere"
    shutil.copytree(data_folder, moved)
    for path in moved.iterdir():
        os.utime(path, (1, 1))
    here = plan(splits=("train", "val"))
    there = plan(open_dataset(moved), splits=("val", "train", "val"))

    assert (here.key, here.arrays) == (there.key, there.arrays)


def test_facts_that_no_logit_depends_on(plan):
    """How a teacher was trained and on what is no input: its weights say it all."""
    assert plan().key == plan(dropout=0.5, simulated=True, history=[1, 2]).key


def test_character_ids_do_not_matter(data, plan):
    """Letters count as themselves: the alphabet in another order is the same spelling."""
    size = len(data.characters)
    chars = data.lexicon.chars.copy()
    chars[chars > 1] = size + 3 - chars[chars > 1]
    turned = replace(
        data, characters=data.characters[::-1], lexicon=replace(data.lexicon, chars=chars)
    )

    assert plan(turned).key == plan().key


def test_chunk_rows_change_where_the_rows_change(data, plan):
    """One other feature changes the digest of the chunks with rows of that video, and no other."""
    before, after = plan().chunk_rows, plan(other_feature(data)).chunk_rows

    assert len(before) == 3
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True, True]


def test_settings_are_what_is_not_rows(plan):
    """An array's inputs are its settings and, by row, ids, features, queries and clips."""
    array = plan().arrays["id"]

    assert array.inputs.keys() - array.settings.keys() == set(ROW_INPUTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float64"}, "dtype must be one of float32, float16, got float64"),
        ({"precision": "fp8"}, "precision must be one of float32, bf16, got fp8"),
        ({"codec": "zip"}, "unknown codec zip; choose one of raw"),
        ({"splits": ("dev",)}, "has no split dev; it has test_iid, test_ood, train, val"),
        ({"teachers": ("ID", "ood")}, "teacher name 'ID' is not made of a-z, 0-9, _ and -"),
        ({"teachers": ("a/b", "ood")}, "teacher name 'a/b' is not made of"),
        ({"grid": "cap"}, "teacher id was trained with grid cap but .* has fixed"),
        ({"num_clips": 99}, "teacher id was trained with clips 99 but .* has 16"),
        ({"num_channels": 7}, "teacher id was trained with channels 7 but .* has 6"),
    ],
)
def test_refusals(change, message, plan):
    """What cannot be planned is refused with the value found and the values that would do."""
    with pytest.raises(RefkdError, match=message):
        plan(**change)


def test_teacher_of_other_words(data, facts):
    """A teacher that learned other word vectors is refused before anything runs."""
    other = {**facts, "word_file": {**data.word_file, "sha256": "e" * 64}}
    how = {"splits": ("train",), "dtype": "float32", "codec": "raw", "precision": "float32"}
    with pytest.raises(RefkdError, match=r"teacher id was trained with word vectors e{16} but"):
        plan_cache(data, {"id": (other, "")}, **how)


def test_no_teacher(data):
    """A cache of nobody is refused."""
    how = {"splits": ("train",), "dtype": "float32", "codec": "raw", "precision": "float32"}
    with pytest.raises(RefkdError, match="no teacher is given"):
        plan_cache(data, {}, **how)


def test_planted_pairs_sort_by_split_and_id(plan):
    """Rows are sorted by (split, id), whatever the order of the files."""
    samples = plan(splits=("val", "train")).samples
    expected = sorted(
        (pair.split, pair.id)
        for split, count, seed in (("train", 64, 1), ("val", 24, 2))
        for pair in planted_pairs(split, count, late=False, seed=seed)
    )

    assert list(zip(samples.splits, samples.ids, strict=True)) == expected


def other_raw_row(data):
    raw = np.array(data.raw)
    raw.view(np.uint16)[data.raw_ends[data.table.video[first_train(data)]] - 1, 0] ^= 1
    return replace(data, raw=raw)


def test_views_leave_the_arrays_that_are_there(plan):
    """With views a cache has another key but the same arrays, and a view more changes no view."""
    none, two, three = plan(), plan(views=2), plan(views=3)

    assert len({none.key, two.key, three.key}) == 3
    assert {name: two.arrays[name] for name in none.arrays} == none.arrays
    assert {name: three.arrays[name] for name in two.arrays} == two.arrays
    assert len({array.key for array in three.arrays.values()}) == 2 * (1 + 3)
    assert two.chunk_rows == none.chunk_rows


@pytest.mark.parametrize("edit", [other_timestamp, other_duration, other_raw_row])
def test_views_depend_on_the_moment_and_the_raw_rows(edit, data, plan):
    """What moves a moment, or is moved, changes the views in its chunk and not the plain arrays."""
    before, after = plan(views=2), plan(edit(data), views=2)

    for name, array in before.arrays.items():
        assert (array == after.arrays[name]) == ("views" not in name)
        same = [a == b for a, b in zip(before.rows_of(name), after.rows_of(name), strict=True)]
        assert same == [name in ("id", "ood"), True, True]


def test_changed_moments_are_named(data, plan, tmp_path):
    """A cache with views of other raw rows is refused though the grid is the same."""
    with pytest.raises(RefkdError, match=r"made from other inputs: moments \(was "):
        check_plan(as_cache(plan(views=1), tmp_path), plan(other_raw_row(data), views=1))


def test_code_that_moves_otherwise_makes_other_views(plan, monkeypatch):
    """Its version is part of the views' keys alone."""
    before = plan(views=1)
    monkeypatch.setattr("student.views.VERSION", 2)
    after = plan(views=1)

    assert {n for n in before.arrays if before.arrays[n].key != after.arrays[n].key} == {
        "id/views/1",
        "ood/views/1",
    }
