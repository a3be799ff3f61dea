"""What `refkd inspect` says of each kind of folder, and of folders that are none."""

import json
import logging
import shutil

import pytest

from pipeline.inspect import inspect
from pipeline.results import FORMAT, Results
from stores.cache import open_cache
from stores.errors import RefkdError
from stores.weights import open_weights
from student.recipe import Recipe, recipe_json


def write_cd(path, moments):
    told = {
        video: {
            "timestamps": [list(window) for window, _ in some],
            "sentences": [query for _, query in some],
            "video_duration": 10.0,
        }
        for video, some in moments.items()
    }
    path.write_text(json.dumps(told))


@pytest.fixture
def teacher_folder(teacher_folders):
    return teacher_folders["id"]


def test_annotation_folder(tmp_path):
    """Each split's pairs and videos are counted, and its defects named."""
    write_cd(tmp_path / "toy_train.json", {"a": [((1, 2), "x"), ((3, 12), " y")], "b": []})
    write_cd(tmp_path / "toy_test_ood.json", {"c": [((5, 4), "x"), ((6, 6), "y")]})

    assert inspect(tmp_path) == {
        "kind": "annotations",
        "splits": {
            "train": {
                "pairs": 2,
                "videos": 1,
                "defects": {"end_after_duration": 1, "untrimmed_query": 1},
            },
            "test_ood": {"pairs": 2, "videos": 1, "defects": {"reversed": 1, "zero_length": 1}},
        },
    }


def test_annotation_file(tmp_path):
    """A lone file whose name tells no split is read as train."""
    write_cd(tmp_path / "moments.json", {"a": [((1, 2), "x")]})

    assert inspect(tmp_path / "moments.json")["splits"]["train"]["pairs"] == 1


def test_charades_sta_text(tmp_path, teacher_folder, caplog):
    """It has no durations of its own; where they are of no use, that is said."""
    (tmp_path / "charades_sta_test.txt").write_text("AO8RW 0.0 5.0##a person sits\n")
    (tmp_path / "seconds.csv").write_text("AO8RW,4\n")
    durations = tmp_path / "seconds.csv"

    found = inspect(tmp_path / "charades_sta_test.txt", durations=durations)
    assert found["splits"]["test"]["defects"] == {"end_after_duration": 1}
    assert caplog.messages == []
    inspect(teacher_folder, durations=durations)
    assert "seconds.csv is not used: " in caplog.messages[0]


def test_results(tmp_path):
    """What ablate keeps is no annotations, in a folder or alone."""
    kept, data = Results(tmp_path), {"data": "digest"}
    settings = {"backbone": "vslnet", "bias": "id", "seed": 0}
    head = {"format": FORMAT, "version": 1, "seals": {"models": []}}
    for seed in range(2):
        about = {"kind": "student", "recipe": recipe_json(Recipe(seed=seed)), "teachers": {}}
        kept.keep({**head, "about": {**about, **data}})
    teacher = {"kind": "teacher", "teachers": {"id": settings}, **data}
    path = kept.keep({**head, "about": teacher})
    (tmp_path / "floors.json").write_text("{}")

    assert inspect(tmp_path) == {
        "kind": "results of refkd ablate",
        "models": {"teacher": 1, "student": 2},
    }
    assert inspect(path)["models"] == {"teacher": 1}


def test_data_set(data_folder):
    """A data set tells its sizes: 64 training videos, every second with two pairs."""
    facts = inspect(data_folder)

    assert facts["kind"] == "data set"
    assert facts["splits"]["train"] == {"pairs": 96, "videos": 64, "defects": {}}
    assert (facts["channels"], facts["clips"], facts["videos"]) == (6, 16, 64 + 3 * 24)
    assert facts["seconds per raw row"] == pytest.approx(0.5)
    assert (facts["words"], facts["words without a vector"]) == (5, 0)


def test_teacher(teacher_folder, data):
    """A teacher tells what it was trained on and how."""
    facts = inspect(teacher_folder)

    assert (facts["kind"], facts["epochs"], facts["data"]) == ("teacher", 3, data.seal)
    assert (facts["settings"]["bias"], facts["settings"]["hidden"]) == ("id", 16)


def test_cache(cache_folder, data):
    """A cache tells whose logits of which splits it holds, how they lie on disk, and that it is weighed."""
    facts = inspect(cache_folder)

    assert (facts["kind"], facts["data"], facts["weighed"]) == ("cache", data.seal, True)
    assert facts["splits"] == {"train": {"pairs": 96}}
    assert facts["teachers"].keys() == {"id", "ood"}
    assert facts["logits"] == "float32 [96, 2, 16]"
    assert facts["chunks per array"] * facts["rows per chunk"] == 96


def test_damaged_chunk_is_named(cache_folder, tmp_path):
    """A flipped bit in a chunk of a cache is named by teacher and samples."""
    copy = shutil.copytree(cache_folder, tmp_path / cache_folder.name)
    chunk = next(copy.glob("teachers/ood/logits/c/1/*/*"))
    data = bytearray(chunk.read_bytes())
    data[7] ^= 1
    chunk.write_bytes(data)

    with pytest.raises(RefkdError, match=r"chunk 1 of teacher ood \(samples .* is damaged"):
        inspect(copy)


def test_weights(cache_folder):
    """Weights are known by their folder in the cache and tell the means of equations 1 and 2."""
    means = inspect(cache_folder / "weights")["mean cross-entropies"]

    ce = open_weights(open_cache(cache_folder)).ce["ood"]
    assert means["train, ood"]["end"] == pytest.approx(ce[:, 1].astype(float).mean())


def test_a_copy_of_weights_alone(cache_folder, tmp_path):
    """Without their cache only what they hold themselves is told."""
    folder = open_weights(open_cache(cache_folder)).folder
    shutil.copytree(folder, tmp_path / "weights")

    facts = inspect(tmp_path / "weights")

    assert set(inspect(folder)) - set(facts) == {"weights of eq. 4"}


def test_damage_is_named(teacher_folder, tmp_path):
    """A changed byte in any file of a sealed folder is found and the file named."""
    copy = shutil.copytree(teacher_folder, tmp_path / "copy")
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)

    with pytest.raises(RefkdError, match=r"model\.safetensors is damaged"):
        inspect(copy)


def test_missing_file_is_named(teacher_folder, tmp_path):
    """A file that the manifest lists and the folder lacks is named."""
    copy = shutil.copytree(teacher_folder, tmp_path / "copy")
    (copy / "model.safetensors").unlink()

    with pytest.raises(RefkdError, match=r"model\.safetensors is missing"):
        inspect(copy)


def test_folder_of_folders(teacher_folder):
    """A folder that holds models is not one: the error names those inside."""
    with pytest.raises(RefkdError, match="is a folder of folders; inspect one of id, ood"):
        inspect(teacher_folder.parent)


def test_nothing_of_ours(tmp_path):
    """A folder without anything known lists what it could have been."""
    (tmp_path / "notes.md").write_text("hello")

    with pytest.raises(RefkdError, match="holds nothing that refkd knows; expected a prepared"):
        inspect(tmp_path)


def test_absent(tmp_path):
    """A path that does not exist is said to be absent."""
    with pytest.raises(RefkdError, match=r"no file or folder at .*nowhere"):
        inspect(tmp_path / "nowhere")


def test_other_owner_of_a_layer(tmp_path, monkeypatch, caplog, teacher_folder):
    """Another installed distribution with a package of our layer's name draws a warning."""
    info = tmp_path / "shopkit-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shopkit\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("stores\n")
    monkeypatch.syspath_prepend(tmp_path)

    with caplog.at_level(logging.WARNING, logger="refkd"):
        inspect(teacher_folder)

    assert "shopkit also owns the package name stores" in caplog.text


def test_no_other_owner(caplog, teacher_folder):
    """Without such a distribution nothing is said."""
    with caplog.at_level(logging.WARNING, logger="refkd"):
        inspect(teacher_folder)

    assert caplog.text == ""
