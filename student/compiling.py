"""Compiling networks (`--compile`): what torch.compile gains on a GPU costs minutes before the first step.

Recurrent layers stay as they are: one call of a library each, which a compiler would only cut in
pieces. All else is compiled for constant shapes, so that bits do not depend on what was seen before.
"""

from typing import Any

import torch
from torch import Tensor, nn

from stores.errors import RefkdError
from student.network import Network

# one thread on a CPU: bits do not depend on their number, and for several torch 2.13 compiles the
# gradient of an embedding to code that writes into other rows and behind the table (pytorch #191837)
HOW: dict[str, Any] = {"dynamic": False, "options": {"cpp.threads": 1}}


def compile_network(network: Network, device: str) -> None:
    """Have parts of a network compiled for a device, each when it is first asked.

    Raises RefkdError if nothing can be compiled here.
    """
    _check_compiler(device)
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


def _check_compiler(device: str) -> None:
    """Compile next to nothing: what is missing here is told before the work begins."""
    try:
        torch.compile(_twice, **HOW)(torch.ones(8, device=device))
    except RuntimeError as error:  # torch wraps what its compilers say in kinds of its own
        reason = next(iter(str(error).strip().splitlines()), repr(error))
        needed = "a C++ compiler" if device == "cpu" else "Triton"
        raise RefkdError(
            f"--compile cannot compile for {device} here ({reason}); install {needed}, or leave "
            "--compile out"
        ) from error


def _twice(x: Tensor) -> Tensor:
    return 2 * x
