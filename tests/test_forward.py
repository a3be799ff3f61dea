import os

import numpy as np
import pytest
import torch

from stores.errors import RefkdError
from student.batches import Gatherer
from student.forward import (
    BlockReader,
    block_logits,
    block_rows,
    environment,
    intra_op_threads,
    model_logits,
    network_reader,
    reproducible,
    resolve_device,
)
from student.inputs import to_device
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


@pytest.fixture
def reader(data, network):
    with network_reader(network, data, data.rows("train"), device="cpu") as reader:
        yield reader


def test_blocks_are_read_ahead(data, network, reader):
    """The next block is read in a thread; whichever block is then asked for is the one that comes."""
    plain = Gatherer(data, data.rows("train"), characters=data.characters, device="cpu")
    for first, then in ((0, 32), (32, 0), (64, 96), (0, 64), (64, 32)):
        inputs = reader.read(first, then=then)
        wanted = plain.inputs(np.arange(first, first + 32))

        assert all(torch.equal(a, b) for a, b in zip(inputs, wanted, strict=True))


def test_a_block_past_the_end_is_filled_up(data, network):
    """The last block has as many rows as the others: its last row again and again."""
    rows = data.rows("val")
    with network_reader(network, data, rows, device="cpu") as reader:
        inputs = reader.read(32, then=64)

    assert len(rows.ids) == 36
    assert len(inputs.clips_NT) == 32
    assert (inputs.features_NTD[3:] == inputs.features_NTD[3]).all()
    assert not torch.equal(inputs.features_NTD[1], inputs.features_NTD[3])


def test_videos_of_several_rows_are_read_once(data, network, reader):
    """Where a video is read once for all its rows in a block, the inputs are the same bits."""
    asked = []

    class Counting(BlockReader):
        def _inputs(self, first):
            features = self._gatherer.features
            self._gatherer.features = lambda index: asked.append(len(index)) or features(index)
            try:
                return super()._inputs(first)
            finally:
                self._gatherer.features = features

    characters, words = network.shape["characters"], network.shape["num_words"]
    how = {"characters": characters, "most_words": words, "device": "cpu"}
    with Counting(data, data.rows("train"), **how, once=True) as once:
        inputs = once.read(0, then=96)
    plain = reader.read(0, then=96)

    assert asked == [len(set(data.rows("train").video[:32]))]
    assert asked[0] < 32
    assert all(torch.equal(a, b) for a, b in zip(inputs, plain, strict=True))


def test_an_error_of_the_thread_is_raised(data, network):
    """What cannot be read ahead is raised when it is asked for, and the block before it was had."""

    def features(index_N):
        if index_N[0] == 32:
            raise RefkdError("these bytes are damaged")
        return torch.from_numpy(np.asarray(data.features[data.rows("train").video[index_N]]))

    with pytest.raises(RefkdError, match="these bytes are damaged"):
        model_logits(network, data, data.rows("train"), 0, 64, features=features)
    assert model_logits(network, data, data.rows("train"), 0, 32, features=features).any()


def test_unwanted_blocks_are_not_asked_about(data, network, reader):
    """Of three blocks the middle one is wanted: it holds what it always does, the others 0."""
    wanted = np.zeros(96, bool)
    wanted[40] = True
    logits = block_logits(network, reader, 0, 96, wanted_N=wanted)
    whole = model_logits(network, data, data.rows("train"), 0, 96)

    np.testing.assert_array_equal(logits[32:64], whole[32:64])
    assert not logits[:32].any()
    assert not logits[64:].any()


def test_bfloat16_is_another_answer(data, network, reader):
    """Under bfloat16 logits differ from float32's, by little; a float32 comes back."""
    rough = block_logits(network, reader, 0, 32, precision="bf16")
    exact = block_logits(network, reader, 0, 32)

    assert rough.dtype == np.float32
    assert not np.array_equal(rough, exact)
    np.testing.assert_allclose(rough, exact, atol=0.5)


def test_kernels_of_a_gpu_are_chosen_and_put_back():
    """On a GPU deterministic kernels are asked for, with a warning where there is none; not on a CPU."""

    def chosen():
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
        )

    before = chosen()
    with reproducible("cpu"):
        assert chosen() == before
    with reproducible("cuda"):
        assert chosen() == (True, True, False)
    assert chosen() == before
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_a_tensor_stays_on_its_cpu():
    """A copy is made for another device only."""
    tensor = torch.arange(3)

    assert to_device(tensor, "cpu") is tensor
    assert environment("cpu").keys() == {"device", "processor", "torch"}
