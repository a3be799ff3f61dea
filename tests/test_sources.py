"""Caches by what is known of their teachers: pairs, groups, twins."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.sources import Source, backbone_of, make_groups, open_sources
from pipeline.weigh import weigh
from stores.cache import Cache
from stores.errors import RefkdError
from stores.files import MANIFEST, SEAL, write_json
from stores.fingerprints import file_digest

NAMES = ("id", "ood")


def trained(bias, seed, *, backbone="vslnet", **more):
    return {"backbone": backbone, "seed": seed, "bias": bias, "data": "here"} | more


def source(key, trained, *, dtype="float32", views=0):
    """A cache that says no more than how its teachers were trained, and how many views it holds."""
    arrays = {name: {"teacher": f"seal of {name} in {key}"} for name in trained}
    manifest = {"key": key, "arrays": arrays, "dtype": dtype, "precision": "float32"}
    if views:
        manifest["views"] = {"number": views, "version": 1}
    return Source(Cache(Path("caches") / key, f"seal of {key}", manifest), trained)


def pair(key, seed, *, dtype="float32", views=0, **more):
    both = {bias: trained(bias, seed, **more) for bias in NAMES}
    return source(key, both, dtype=dtype, views=views)


def grouped(sources, *, names=NAMES, twins=False, views=False):
    """Names of the groups, and the keys of the caches in each."""
    groups = make_groups(sources, names, twins=twins, views=views)
    return {group.name: [one.cache.key for one in group.sources] for group in groups}


def test_pairs_of_one_kind():
    """Teachers that differ by seed alone are one group without a name."""
    assert grouped([pair("a", 0), pair("b", 1), pair("c", 2)]) == {"": ["a", "b", "c"]}


def test_another_backbone_is_another_group():
    """The groups are named by what differs, those of one kind staying together."""
    sources = [pair("a", 0), pair("b", 0, backbone="seqpan"), pair("c", 1)]

    assert grouped(sources) == {"backbone vslnet": ["a", "c"], "backbone seqpan": ["b"]}


def test_what_one_teacher_alone_has():
    """A setting of one of the teachers is named with the teacher; off and absent are the same."""
    plain, explicit = pair("a", 0), pair("b", 1, moved_span_loss=False)
    moved = source("c", {"id": trained("id", 0), "ood": trained("ood", 0, moved_span_loss=True)})

    assert grouped([plain, moved, explicit]) == {
        "ood moved_span_loss no": ["a", "b"],
        "ood moved_span_loss yes": ["c"],
    }


def test_other_logits_are_another_group():
    """Students that read float16 are not mixed with those that read float32."""
    sources = [pair("a", 0), pair("b", 1, dtype="float16")]

    assert grouped(sources) == {"dtype float32": ["a"], "dtype float16": ["b"]}


def test_other_numbers_of_views_are_another_group():
    """Students that are shown 2 views are not mixed with those shown 8, where views are shown at all."""
    sources = [pair("a", 0, views=2), pair("b", 1, views=8), pair("c", 2, views=8)]

    assert grouped(sources, views=True) == {"views 2": ["a"], "views 8": ["b", "c"]}
    assert grouped(sources) == {"": ["a", "b", "c"]}


def test_teachers_of_other_data_are_another_group():
    """The same settings on other videos make other teachers, told by the digits of their data."""
    here, there = "0" * 64, "1" * 64
    sources = [
        pair(key, n, data=own) for n, (key, own) in enumerate({"a": here, "b": there}.items())
    ]

    assert grouped(sources) == {f"data {here[:16]}": ["a"], f"data {there[:16]}": ["b"]}


def test_a_cache_without_the_teachers():
    """It is refused, unless the table can use its two ID teachers."""
    twins = source("t", {"x": trained("id", 1), "y": trained("id", 2)})

    with pytest.raises(RefkdError, match="holds the teachers x, y, not id, ood; name some"):
        grouped([pair("a", 0), twins])
    assert grouped([pair("a", 0), twins], twins=True) == {"": ["a"]}
    with pytest.raises(RefkdError, match="no cache given holds the teachers id, ood; add one"):
        grouped([twins], twins=True)


def test_twins():
    """Two ID teachers that differ by seed alone, trained as another was; a third makes no triplets."""
    both = source(
        "a",
        {
            "id": trained("id", 0),
            "ood": trained("ood", 0),
            "z": trained("id", 5),
            "y": trained("id", 6),
        },
    )

    assert both.twins() == ["id", "y"]
    assert both.twins(trained("id", 9)) == ["id", "y"]
    assert both.twins(trained("id", 9, backbone="seqpan")) == []
    assert pair("b", 0).twins() == []
    assert source("c", {"x": trained("id", 1), "y": trained("id", 1, epochs=5)}).twins() == []


def test_backbone_of_a_pair():
    """Teachers of one backbone have it; those of two are refused by name."""
    mixed = source("m", {"id": trained("id", 0), "ood": trained("ood", 0, backbone="seqpan")})

    assert backbone_of(pair("a", 0, backbone="seqpan"), NAMES) == "seqpan"
    with pytest.raises(
        RefkdError, match=r"caches/m have the backbones seqpan, vslnet; .* have one"
    ):
        backbone_of(mixed, NAMES)


def test_a_cache_says_how_its_teachers_were_trained(cache_folder, data):
    """Bias, seed, epochs: all that teach was told, without the teachers' folders."""
    (found,) = open_sources([cache_folder], data, {})

    assert {name: settings["bias"] for name, settings in found.trained.items()} == {
        "id": "id",
        "ood": "ood",
    }
    assert found.trained["ood"]["epochs"] == 3
    assert found.trained["ood"]["data"] == data.seal
    assert found.logits == {"dtype": "float32", "precision": "float32"}


def without_training(cache_folder, out):
    """A copy of a cache that does not say how its teachers were trained, sealed and weighed."""
    shutil.copytree(cache_folder, out, ignore=shutil.ignore_patterns("weights"))
    manifest = json.loads((out / MANIFEST).read_bytes())
    for array in manifest["arrays"].values():
        del array["trained"]
    write_json(out / MANIFEST, manifest)
    (out / SEAL).write_text(f"{file_digest(out / MANIFEST)}\n")
    weigh(out)
    return out


def test_an_older_cache_is_known_by_its_teachers(cache_folder, teacher_folders, data, tmp_path):
    """Where the cache does not say it, the teachers' own folders do; without them it is an error."""
    older = without_training(cache_folder, tmp_path / cache_folder.name)
    folders = {name: [folder] for name, folder in teacher_folders.items()}
    (found,) = open_sources([older], data, folders)

    assert found.trained == open_sources([cache_folder], data, {})[0].trained
    with pytest.raises(RefkdError, match=r"does not say how teacher id was trained; give .*id=DIR"):
        open_sources([older], data, {"id": [teacher_folders["ood"]]})


def test_a_cache_given_twice(cache_folder, data):
    """The same cache under two names would be two pairs that are one."""
    with pytest.raises(RefkdError, match="holds the same as another cache given; give each once"):
        open_sources([cache_folder, cache_folder], data, {})


def test_other_versions_of_code_are_another_group():
    """They are named where nothing else differs, and only there."""
    sources = [pair("a", 0, backbone_version=1), pair("b", 1, backbone_version=2)]
    other = pair("c", 0, backbone="seqpan", backbone_version=2)

    assert grouped(sources) == {"backbone_version 1": ["a"], "backbone_version 2": ["b"]}
    assert grouped([sources[0], other]) == {"backbone vslnet": ["a"], "backbone seqpan": ["c"]}


def test_views_moved_by_other_code_are_another_group():
    """As many views of another version are named by it."""
    old = pair("b", 1, views=8)
    old.cache.manifest["views"]["version"] = 2

    assert grouped([pair("a", 0, views=8), old], views=True) == {
        "version of views 1": ["a"],
        "version of views 2": ["b"],
    }
