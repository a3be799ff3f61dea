import pytest
import torch

from stores.errors import RefkdError
from student.checkpoint import load_checkpoint, save_checkpoint


def test_what_was_saved_comes_back(tmp_path):
    """Tensors and plain values survive; no checkpoint is None."""
    path = tmp_path / "checkpoint"
    assert load_checkpoint(path, device="cpu") is None

    save_checkpoint(path, {"weight": torch.arange(3), "history": [{"epoch": 1, "val": None}]})
    found = load_checkpoint(path, device="cpu")
    assert found["weight"].tolist() == [0, 1, 2]
    assert found["history"] == [{"epoch": 1, "val": None}]


def test_another_origin_is_refused(tmp_path):
    """A checkpoint tells what it was learned from; with another cache it is refused, which is named."""
    path = tmp_path / "half" / "checkpoint"
    path.parent.mkdir()
    save_checkpoint(path, {"history": []}, origin={"cache_seal": "aa", "data": "d"})

    same = load_checkpoint(path, device="cpu", origin={"cache_seal": "aa", "data": "d"})
    assert same == {"history": []}
    with pytest.raises(
        RefkdError,
        match=r"learned from something else: cache_seal \(was aa, now bb\); give what .*delete .*half",
    ):
        load_checkpoint(path, device="cpu", origin={"cache_seal": "bb", "data": "d"})
    with pytest.raises(
        RefkdError, match=r"cache_seal \(was aa, now nothing\); data \(was d, now nothing"
    ):
        load_checkpoint(path, device="cpu")


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_damage_is_found(tmp_path, damage):
    """A flipped bit or a missing end is refused with the command that helps, before torch reads it."""
    path = tmp_path / "checkpoint"
    save_checkpoint(path, {"weight": torch.arange(3)})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"flip": data, "cut": data[:-1], "empty": b""}[damage])

    with pytest.raises(RefkdError, match=r"is damaged.*delete it and run the same command again"):
        load_checkpoint(path, device="cpu")


def test_nothing_but_plain_data_is_loaded(tmp_path):
    """A checkpoint that would run code when it is read is refused by torch's restricted reader."""

    class Rude:
        def __reduce__(self):
            return (print, ("this must never run",))

    path = tmp_path / "checkpoint"
    save_checkpoint(path, {"rude": Rude()})

    with pytest.raises(Exception, match=r"(?i)weights.only"):
        load_checkpoint(path, device="cpu")
