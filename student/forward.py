"""Asking a finished network for logits, in fixed blocks, so that they do not depend on who asks.

Shapes: N rows, B = 2 boundaries, T clips.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stores.dataset import DataSet, Rows
from stores.errors import RefkdError
from student.batches import Gatherer
from student.network import Network

# float32 means float32: cuDNN would round the inputs of convolutions and LSTMs to 10 bits
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False

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


def environment(device: str) -> dict[str, str]:
    """Return what decides the bits of a computation: device kind, processor and torch version."""
    if device == "cuda":
        processor = torch.cuda.get_device_name()
    else:
        processor = torch.backends.cpu.get_cpu_capability()  # the instructions that kernels use
    return {"device": device, "processor": processor, "torch": torch.__version__}


@contextmanager
def intra_op_threads(number: int) -> Iterator[None]:
    """Run with a number of intra-op threads, then put the old number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.inference_mode()
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
    wanted_N: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float32]:
    """Return the raw logits of rows lo to hi, [hi - lo, 2, T], 0 on padded clips.

    Rows go in blocks of `block_rows(device)`, the last one filled up with its last row; on a CPU
    with one thread. So each row's bits are the same whatever lo (a multiple of the block) and hi.
    `features` returns the features of rows, [N, T, D] float16, in place of the data set's.
    Where `wanted_N` wants none of a block's rows, the block is not asked about and stays 0.
    """
    assert not network.training, "logits are asked of a network in evaluation mode"
    size = block_rows(device)
    assert lo % size == 0, "lo must stand at the start of a block"
    gatherer = Gatherer(
        data,
        rows,
        characters=network.shape["characters"],
        most_words=network.shape["num_words"],
        device=device,
    )
    logits_NBT = np.zeros((hi - lo, 2, data.num_clips), dtype=np.float32)
    with intra_op_threads(1), torch.autocast(device, torch.bfloat16, precision == "bf16"):
        for first in range(lo, hi, size):
            count = min(size, hi - first)
            if wanted_N is not None and not wanted_N[first : first + count].any():
                continue
            index_N = np.minimum(np.arange(first, first + size), first + count - 1)
            shown = gatherer.features(index_N) if features is None else features(index_N)
            inputs = gatherer.inputs_of(index_N, shown)
            block = network(inputs).logits_NBT.float().masked_fill(~inputs.clips_NT[:, None], 0.0)
            logits_NBT[first - lo : first - lo + count] = block[:count].cpu().numpy()
    return logits_NBT
