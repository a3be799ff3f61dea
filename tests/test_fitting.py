import json
import logging
import re
from pathlib import Path

import pytest
from stopping import leave_half_done

from pipeline.costs import read_costs
from pipeline.teach import teach
from stores.errors import BusyError, RefkdError
from stores.files import locked
from stores.models import read_facts
from stores.removal import doomed_name
from student.recipe import Recipe

QUICK = Recipe(hidden=8, epochs=2, batch=48)


def taught(data_folder, out, *, recipe=QUICK, threads=1):
    return teach(data_folder, out, bias="id", recipe=recipe, device="cpu", threads=threads)


def begun(folder):
    return folder.with_name(f".{folder.name}.building") / "begun.json"


def test_a_resumed_run_keeps_its_threads(data_folder, tmp_path, monkeypatch, caplog):
    """Begun with 2 threads and gone on with 1 asked for: 2 are used, recorded, and said."""
    out = leave_half_done(taught, data_folder, tmp_path / "t", monkeypatch, threads=2)
    with caplog.at_level(logging.INFO, "refkd"):
        taught(data_folder, out, threads=1)

    assert "going on with 2 threads" in caplog.text
    assert "going on after epoch 1" in caplog.text
    assert read_facts(out)[0]["how"]["threads"] == 2


def test_half_a_training_of_other_inputs_is_refused(data_folder, tmp_path, monkeypatch):
    """Another seed under the same name: what changed is named and the half-done work is kept."""
    out = leave_half_done(taught, data_folder, tmp_path / "t", monkeypatch)
    other = Recipe(hidden=8, epochs=2, batch=48, seed=7)

    with pytest.raises(RefkdError, match=r"half a training of other inputs: seed \(was 0, now 7\)"):
        taught(data_folder, out, recipe=other)
    assert (out.with_name(".t.building") / "checkpoint").exists()


@pytest.mark.parametrize(
    ("name", "value", "helps"),
    [("torch", "1.0", "where it was begun"), ("device", "cuda", "with --device cuda, where")],
)
def test_half_a_training_that_was_computed_otherwise(
    data_folder, tmp_path, monkeypatch, name, value, helps
):
    """Another torch or device computes other bits: it is refused by name, and the work is kept."""
    out = leave_half_done(taught, data_folder, tmp_path / "t", monkeypatch)
    record = json.loads(begun(out).read_bytes())
    record["how"][name] = value
    begun(out).write_text(json.dumps(record))
    half = (out.with_name(".t.building") / "checkpoint").read_bytes()

    with pytest.raises(
        RefkdError,
        match=rf"computed otherwise: {name} \(was {value}, now .*; go on {helps}.*, or delete",
    ):
        taught(data_folder, out)
    assert (out.with_name(".t.building") / "checkpoint").read_bytes() == half


def test_a_training_that_had_only_begun(data_folder, tmp_path, monkeypatch):
    """Before the first epoch is done there is nothing to lose: it begins anew as it is asked for now."""
    out = leave_half_done(taught, data_folder, tmp_path / "t", monkeypatch)
    record = json.loads(begun(out).read_bytes())
    record["how"]["device"] = "cuda"
    begun(out).write_text(json.dumps(record))
    (out.with_name(".t.building") / "checkpoint").unlink()
    taught(data_folder, out)

    assert read_facts(out)[0]["how"]["device"] == "cpu"


def test_a_run_that_goes_on_elsewhere_says_so(data_folder, tmp_path, monkeypatch, caplog):
    """Another processor may round otherwise: what is half done is kept, both are named, once each."""
    out = leave_half_done(taught, data_folder, tmp_path / "t", monkeypatch)
    record = json.loads(begun(out).read_bytes())
    here = record["how"]["processor"]
    record["how"]["processor"] = "NEON"
    begun(out).write_text(json.dumps(record))
    with caplog.at_level(logging.INFO, "refkd"):
        taught(data_folder, out)

    assert f"going on by {here} what NEON began: bits may differ" in caplog.text
    assert "going on after epoch 1" in caplog.text
    assert read_facts(out)[0]["how"]["processor"] == f"NEON, {here}"


def test_half_a_training_of_an_older_version_goes_on(data_folder, tmp_path, monkeypatch, caplog):
    """It does not say by which processor it was begun: nothing is warned of."""
    out = leave_half_done(taught, data_folder, tmp_path / "t", monkeypatch)
    record = json.loads(begun(out).read_bytes())
    del record["how"]["processor"]
    begun(out).write_text(json.dumps(record))
    with caplog.at_level(logging.INFO, "refkd"):
        taught(data_folder, out)

    assert "going on after epoch 1" in caplog.text
    assert "bits may differ" not in caplog.text


def test_two_processes_do_not_train_one_model(data_folder, tmp_path):
    """The second is refused while the first holds the kernel's lock; a left-over file means nothing."""
    out = tmp_path / "t"
    with locked(tmp_path / ".t.lock"), pytest.raises(BusyError, match="by another process"):
        taught(data_folder, out)

    assert (tmp_path / ".t.lock").exists()
    assert taught(data_folder, out) == out


def test_a_link_is_locked_where_it_leads(data_folder, tmp_path):
    """Through a link to an empty folder a model is trained under the lock of that folder."""
    (tmp_path / "disk" / "big").mkdir(parents=True)
    (tmp_path / "t").symlink_to(tmp_path / "disk" / "big")
    with locked(tmp_path / "disk" / ".big.lock"), pytest.raises(BusyError, match="/t is being"):
        taught(data_folder, tmp_path / "t")

    assert taught(data_folder, tmp_path / "t") == tmp_path / "t"
    assert (tmp_path / "disk" / "big" / "model.safetensors").is_file()


def test_a_mount_point_is_refused_before_training(data_folder, tmp_path, monkeypatch):
    """Nothing is trained that could not be put there, and nothing is left."""
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path) == tmp_path / "t")
    monkeypatch.setattr("pipeline.fitting.train", None)
    (tmp_path / "t").mkdir()

    with pytest.raises(RefkdError, match=r"t is a mount point, .*; give a folder below it"):
        taught(data_folder, tmp_path / "t")
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_what_a_killed_removal_left_goes_with_the_next(data_folder, tmp_path):
    """Checkpoints that were being taken apart when a run was killed go when one ends, or is found finished."""
    left = tmp_path / doomed_name(".t.building")
    for _ in range(2):
        left.mkdir()
        (left / "begun.json").write_text("{}")
        taught(data_folder, tmp_path / "t")
        assert not left.exists()


def test_times_lie_outside_the_model(data_folder, tmp_path, caplog):
    """The log holds a line per epoch with its time, a note the cost; the sealed folder holds none."""
    with caplog.at_level(logging.INFO, "refkd"):
        out = taught(data_folder, tmp_path / "t")
    log = (tmp_path / "t.log").read_text()

    assert "epoch 1/2  span" in log
    assert "epoch 2/2  span" in log
    cost = read_costs(out)["teach"]
    assert (cost["rows"], cost["epochs"], cost["threads"], cost["device"]) == (96, 2, 1, "cpu")
    told = float(re.search(r"trained in ([0-9.]+) s", log)[1])
    assert cost["seconds"] == pytest.approx(told, abs=1.0)
    assert sorted(path.name for path in out.glob("[!.]*")) == [
        "manifest.json",
        "manifest.sha256",
        "model.safetensors",
    ]


def test_a_folder_of_something_else_is_left_alone(data_folder, tmp_path):
    """A folder that holds no model is refused, and what lies in it stays."""
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "thesis.txt").write_text("dear")

    with pytest.raises(
        RefkdError, match="t holds other files; choose another folder for the model"
    ):
        taught(data_folder, tmp_path / "t")
    assert (tmp_path / "t" / "thesis.txt").read_text() == "dear"
