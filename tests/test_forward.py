import numpy as np
import pytest
import torch

from stores.errors import RefkdError
from student.forward import block_rows, intra_op_threads, model_logits, resolve_device
from student.model import network_shape
from student.network import Network
from student.recipe import Recipe


@pytest.fixture(scope="module")
def network(data):
    return Network(network_shape(data, Recipe(hidden=16)), seed=1).eval()


def test_logits_do_not_depend_on_who_asks(data, network):
    """The same bits for all rows at once, from the second block on, and with other thread numbers."""
    rows = data.rows("train")
    whole = model_logits(network, data, rows, 0, 96)
    with intra_op_threads(2):
        later = model_logits(network, data, rows, 32, 70)

    assert whole.shape == (96, 2, 16)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(later, whole[32:70])


def test_side_branches_are_not_asked(data):
    """Who asks for logits pays for none of a student's side branches, and gets the same bits."""
    rows, shape = data.rows("val"), network_shape(data, Recipe(hidden=16))
    student = Network(shape, seed=1, teachers=("id", "ood")).eval()
    asked = []
    for branch in student.side:
        branch.register_forward_hook(lambda *_: asked.append(1))

    alone = model_logits(Network(shape, seed=1).eval(), data, rows, 0, 5)
    np.testing.assert_array_equal(model_logits(student, data, rows, 0, 5), alone)
    assert not asked


def test_padded_clips_hold_zeros(tmp_path, word_file, data_folder):
    """On the cap grid, logits past a video's last clip are 0, those before are not."""
    from stores.dataset import open_dataset

    data = open_dataset(data_folder)
    rows = data.rows("val")
    rows = type(rows)(**{**vars(rows), "clips": np.full_like(rows.clips, 11)})
    network = Network(network_shape(data, Recipe(hidden=16)), seed=1).eval()
    logits = model_logits(network, data, rows, 0, 5)

    assert (logits[:, :, 11:] == 0).all()
    assert (logits[:, :, :11] != 0).all()


def test_threads_are_put_back():
    """The number of threads outside is what it was."""
    before = torch.get_num_threads()
    with intra_op_threads(1):
        assert torch.get_num_threads() == 1

    assert torch.get_num_threads() == before


def test_a_device_that_is_not_there_is_refused():
    """auto takes what there is; asking for cuda without one says what to give instead."""
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert (block_rows("cpu"), block_rows("cuda")) == (32, 512)
    if not torch.cuda.is_available():
        with pytest.raises(RefkdError, match="this machine offers none; give --device cpu"):
            resolve_device("cuda")


def test_float32_is_not_rounded_on_a_gpu():
    """TF32 is off for products and for cuDNN, whose convolutions and LSTMs have it on by default."""
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
