"""Asking a finished network for logits, in fixed blocks, so that they do not depend on who asks.

Shapes: N rows, B = 2 boundaries, T clips.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from types import TracebackType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stores.dataset import DataSet, Rows
from stores.errors import RefkdError
from stores.models import words_read
from student.batches import Gatherer
from student.compiling import compiler
from student.inputs import Inputs, to_device
from student.network import Network

# float32 means float32: cuDNN would round the inputs of convolutions and LSTMs to 10 bits
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False
os.environ.setdefault(
    "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
)  # read when CUDA starts: same sums always

Features = Callable[[npt.NDArray[np.intp]], Tensor]
BLOCK_ROWS = {"cpu": 32, "cuda": 512}


def block_rows(device: str) -> int:
    """Return how many rows go through a network at once on a kind of device."""
    return BLOCK_ROWS[device]


def resolve_device(device: str) -> str:
    """Return `cpu` or `cuda` for a wish that may be `auto`.

    Raises RefkdError if cuda is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise RefkdError(
            "device cuda was asked for but this machine offers none; give --device cpu"
        )
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def environment(device: str, *, compiled: bool = False) -> dict[str, str]:
    """Return what decides the bits of a computation: device kind, processor and torch version.

    `compiled` computations also say by what. Raises RefkdError if nothing can be compiled here.
    """
    if device == "cuda":
        processor = torch.cuda.get_device_name()
    else:
        processor = torch.backends.cpu.get_cpu_capability()  # the instructions that kernels use
    here = {"device": device, "processor": processor, "torch": torch.__version__}
    return {**here, "compiled": compiler(device)} if compiled else here


@contextmanager
def intra_op_threads(number: int) -> Iterator[None]:
    """Run with a number of intra-op threads, then put the old number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def reproducible(device: str) -> Iterator[None]:
    """On a GPU, choose kernels that give the same bits every time; torch warns where it has none."""
    if device == "cpu":  # whose kernels do so by themselves, at a fixed number of threads
        yield
        return
    on = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # dear
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(on, warn_only=warns)
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]


class BlockReader:
    """Reads the inputs of fixed blocks of rows, the next block while a network works on this one.

    A block starts at a multiple of `size`; the last one is filled up with the last row. `features`
    returns the features of rows, [N, T, D] float16, in place of the data set's. `once` reads the
    features of a video that several rows of a block share once, and copies them on the device.
    """

    def __init__(
        self,
        data: DataSet,
        rows: Rows,
        *,
        characters: str,
        most_words: int,
        device: str,
        features: Features | None = None,
        once: bool | None = None,
    ) -> None:
        self.device, self.size = device, block_rows(device)
        self.num_rows, self.num_clips = len(rows.ids), data.num_clips
        self._gatherer = Gatherer(
            data, rows, characters=characters, most_words=most_words, device=device
        )
        self._features = features
        self._once = features is None and (device != "cpu" if once is None else once)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="refkd-blocks")
        self._ahead: tuple[int, Future[Inputs]] | None = None

    def read(self, first: int, *, then: int) -> Inputs:
        """Return the inputs of the block that starts at row `first`, and begin to read that at `then`."""
        assert first % self.size == 0, "a block starts at a multiple of its size"
        ready = self._ahead is not None and self._ahead[0] == first
        inputs = self._ahead[1].result() if self._ahead and ready else self._inputs(first)
        begin = then < self.num_rows and then % self.size == 0
        self._ahead = (then, self._thread.submit(self._inputs, then)) if begin else None
        return inputs

    def __enter__(self) -> "BlockReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _inputs(self, first: int) -> Inputs:
        index_N = np.minimum(np.arange(first, first + self.size), self.num_rows - 1)
        return self._gatherer.inputs_of(index_N, self._shown(index_N))

    def _shown(self, index_N: npt.NDArray[np.intp]) -> Tensor:
        if self._features is not None:
            return self._features(index_N)
        if not self._once:
            return self._gatherer.features(index_N)
        videos_N = self._gatherer.rows.video[index_N]
        _, first_U, place_N = np.unique(videos_N, return_index=True, return_inverse=True)
        features_UTD = to_device(self._gatherer.features(index_N[first_U]), self.device)
        return features_UTD[to_device(torch.from_numpy(place_N), self.device)]


@torch.inference_mode()
def block_logits(
    network: Network,
    reader: BlockReader,
    lo: int,
    hi: int,
    *,
    precision: str = "float32",
    wanted_N: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float32]:
    """Return the raw logits of rows lo to hi of a reader, [hi - lo, 2, T], 0 on padded clips.

    Every row goes through the network in its own block, on a CPU with one thread, so its bits are
    the same whatever lo (a multiple of the block) and hi. Where `wanted_N` wants none of a block's
    rows, the block is not asked about and stays 0.
    """
    assert not network.training, "logits are asked of a network in evaluation mode"
    assert lo % reader.size == 0, "lo must stand at the start of a block"
    device, size = reader.device, reader.size
    firsts = [
        first
        for first in range(lo, hi, size)
        if wanted_N is None or wanted_N[first : min(first + size, hi)].any()
    ]
    logits_NBT = torch.zeros((hi - lo, 2, reader.num_clips), pin_memory=device != "cpu")
    autocast = torch.autocast(device, torch.bfloat16, precision == "bf16")
    with intra_op_threads(1), reproducible(device), autocast:
        for first, then in pairwise([*firsts, hi]):
            inputs = reader.read(first, then=then)
            said_NBT = network(inputs, side=False).logits_NBT
            block = said_NBT.float().masked_fill(~inputs.clips_NT[:, None], 0.0)
            place = slice(first - lo, min(first + size, hi) - lo)
            logits_NBT[place].copy_(block[: place.stop - place.start], non_blocking=True)
    if device != "cpu":
        torch.cuda.current_stream().synchronize()
    return logits_NBT.numpy()


def model_logits(
    network: Network,
    data: DataSet,
    rows: Rows,
    lo: int,
    hi: int,
    *,
    device: str = "cpu",
    precision: str = "float32",
    features: Features | None = None,
) -> npt.NDArray[np.float32]:
    """Return the raw logits of rows lo to hi, [hi - lo, 2, T], as `block_logits` does."""
    with network_reader(network, data, rows, device=device, features=features) as reader:
        return block_logits(network, reader, lo, hi, precision=precision)


def network_reader(
    network: Network, data: DataSet, rows: Rows, *, device: str, features: Features | None = None
) -> BlockReader:
    """Return what reads the blocks that a network is asked about: its characters and words."""
    shape = network.shape
    return BlockReader(
        data,
        rows,
        characters=shape["characters"],
        most_words=words_read(shape),
        device=device,
        features=features,
    )
