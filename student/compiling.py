"""Compiling networks (`--compile`): what torch.compile gains on a GPU costs minutes before the first step.

A part of a network that holds a recurrent layer stays as it is: those layers are one call of a
library each, which a compiler would only cut in pieces. The others are compiled for constant shapes, every
shape anew, so that bits do not depend on what was seen before.
"""

import os
import subprocess
from functools import cache
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from stores.errors import RefkdError
from student.network import Network

# one thread on a CPU: bits do not depend on their number, and for several torch 2.13 compiles the
# gradient of an embedding to code that writes into other rows and behind the table (pytorch #191837)
HOW: dict[str, Any] = {"dynamic": False, "options": {"cpp.threads": 1}}
MOST_SHAPES = (
    256  # of a layer in one process; torch's 8 are fewer than those of cross-fitted teachers
)


def compile_network(network: Network) -> None:
    """Have parts of a network compiled, each when it is first asked."""
    from torch._dynamo import config  # seconds, which nobody else shall wait for

    config.cache_size_limit = config.accumulated_cache_size_limit = MOST_SHAPES  # torch 2.6's names
    for part in compiled_parts(network):
        part.compile(**HOW)
    network.compiled = True


def compiled_parts(network: Network) -> list[nn.Module]:
    """Return embedding, backbone, predictor and side branches, but for those with a recurrent layer."""
    assert isinstance(network.backbone, nn.Module), "the backbones of this package are modules"
    parts = [network.embed, network.backbone, network.predict, *network.side]
    return [part for part in parts if not _is_recurrent(part)]


def _is_recurrent(part: nn.Module) -> bool:
    return any(isinstance(layer, nn.RNNBase) for layer in part.modules())


@cache
def compiler(device: str) -> str:
    """Return name and version of what compiles for a device, once next to nothing was compiled.

    Raises RefkdError if nothing can be: what is missing is told before any work.
    """
    try:
        torch.compile(_twice, **HOW)(torch.ones(8, device=device))
        return _name(device)
    except (RuntimeError, OSError) as error:  # torch wraps what compilers say in kinds of its own
        reason = next(iter(str(error).strip().splitlines()), repr(error))
        needed = "a C++ compiler" if device == "cpu" else "Triton and a GPU that it knows"
        raise RefkdError(
            f"--compile cannot compile for {device} here ({reason}); it needs {needed}, or leave "
            "--compile out (and delete half a training that was begun with it)"
        ) from error


def _name(device: str) -> str:
    if device != "cpu":
        return f"triton {version('triton')}"
    program = os.environ.get("CXX", "g++")  # as torch chooses it on Linux
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return told.stdout.splitlines()[0]


def _twice(x: Tensor) -> Tensor:
    return 2 * x
