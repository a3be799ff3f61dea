import json
from types import SimpleNamespace

import pytest
import torch

from stores.errors import RefkdError
from stores.fingerprints import bytes_digest
from stores.models import check_fit, is_finished, read_facts
from stores.removal import doomed_name
from stores.words import tokenize
from student.model import load_model, model_facts, network_shape, save_model
from student.network import Network
from student.recipe import Recipe


@pytest.fixture
def saved(data, tmp_path):
    """A model folder of an untrained student with side branches, and its network."""
    shape = network_shape(data, Recipe(hidden=16))
    network = Network(shape, seed=1, teachers=("id", "ood"))
    facts = {**model_facts(data, shape), "kind": "student", "inputs": {"seed": 1}}
    save_model(tmp_path / "run", network.state_dict(), facts)
    return tmp_path / "run", network


def test_a_model_comes_back_whole(saved, data):
    """Weights and facts are those that were saved; side branches are not."""
    folder, network = saved
    model = load_model(folder)

    expected = {k: v for k, v in network.state_dict().items() if not k.startswith("side.")}
    found = model.network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert model.facts["data"] == data.seal
    assert model.seal == bytes_digest((folder / "manifest.json").read_bytes())
    assert not model.network.training


def test_same_model_same_bytes(saved, tmp_path):
    """Saving it again elsewhere gives the same seal."""
    folder, network = saved
    facts, seal = read_facts(folder)
    save_model(
        tmp_path / "again", network.state_dict(), {k: v for k, v in facts.items() if k != "files"}
    )

    assert read_facts(tmp_path / "again")[1] == seal


def test_what_a_killed_save_left_is_removed(saved, tmp_path):
    """Half a model, and one that was being taken apart, are gone when it is saved again."""
    folder, network = saved
    facts, _ = read_facts(folder)
    for name in (".again.finished", doomed_name(".again.finished")):
        (tmp_path / name / "folds").mkdir(parents=True)
    save_model(
        tmp_path / "again", network.state_dict(), {k: v for k, v in facts.items() if k != "files"}
    )

    assert {path.name for path in tmp_path.iterdir()} == {"run", "again"}


def test_a_link_to_an_empty_folder_is_filled(saved, tmp_path):
    """The model appears where the link leads, and the link stays."""
    folder, network = saved
    facts, seal = read_facts(folder)
    (tmp_path / "disk" / "big").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "big")
    save_model(
        tmp_path / "link", network.state_dict(), {k: v for k, v in facts.items() if k != "files"}
    )

    assert read_facts(tmp_path / "link")[1] == seal
    assert (tmp_path / "link").is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["big"]


@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json", "manifest.sha256"])
def test_a_flipped_bit_is_found(saved, name):
    """Whatever file it is in, the file is named before anything is made of it."""
    path = saved[0] / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    with pytest.raises(RefkdError, match=r"is damaged: its digest is not the"):
        load_model(saved[0])


def test_a_folder_that_is_no_model(tmp_path, data_folder):
    """An absent folder, an empty one and a data set are refused with the command that makes one."""
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(RefkdError, match=r"no finished model at .*`refkd teach`"):
            load_model(folder)
    with pytest.raises(RefkdError, match="holds refkd-data, not a model"):
        load_model(data_folder)


def test_code_of_another_version_is_refused(saved):
    """Weights mean something else to other code: both versions are named."""
    folder, _ = saved
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["backbone_version"] = 0
    text = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(text)
    (folder / "manifest.sha256").write_text(bytes_digest(text) + "\n")

    with pytest.raises(RefkdError, match="made by version 0 of vslnet, this is version 1"):
        load_model(folder)


def test_finished_work_is_known_by_its_inputs(saved):
    """Equal inputs: finished; other inputs: refused, naming the field; no folder: not finished."""
    folder, _ = saved

    assert is_finished(folder, {"seed": 1})
    assert not is_finished(folder.with_name("other"), {"seed": 1})
    with pytest.raises(RefkdError, match=r"model of other inputs: seed \(was 1, now 2\)"):
        is_finished(folder, {"seed": 2})


def test_a_model_that_cannot_read_the_data_is_refused(saved, data):
    """Grid, clips, channels and word vectors must agree; both values are named."""
    facts, _ = read_facts(saved[0])
    check_fit(facts, data, name="run")

    for field, value, text in [
        ("grid", "cap", "grid cap but .* has fixed"),
        ("num_clips", 128, "clips 128 but .* has 16"),
        ("num_channels", 512, "channels 512 but .* has 6"),
        ("word_file", {"sha256": "f" * 64}, "word vectors ffffffffffffffff but"),
    ]:
        with pytest.raises(RefkdError, match=text):
            check_fit({**facts, field: value}, data, name="run")


def test_longer_queries_than_a_model_reads_are_counted(saved, data, caplog):
    """As many words are read as a network has positions, here 1; the queries of 2 words are counted."""
    facts = {**read_facts(saved[0])[0], "num_clips": 1, "num_words": 1}
    fields = ("folder", "grid", "num_channels", "word_file", "num_words", "table")
    short = SimpleNamespace(num_clips=1, **{name: getattr(data, name) for name in fields})
    longer = sum(len(tokenize(pair.query)) > 1 for some in data.pairs.values() for pair in some)
    check_fit({**facts, "num_words": 2}, short, name="run")
    assert caplog.messages == []

    check_fit(facts, short, name="run")
    assert longer > 0
    assert caplog.messages == [
        f"run reads the first 1 words of a query; {longer} queries have more"
    ]
