"""A running mean of a network's weights: what is validated and kept in place of the last step's.

One step's weights are noisy on small data; their mean over the last 1 / (1 - decay) steps lies in a
flatter place (Polyak and Juditsky 1992; Tarvainen and Valpola 2017, section 2).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class RunningMean:
    """The exponential mean of a network's parameters over the steps of a training.

    After t steps the decay is at most (1 + t) / (10 + t), so that the mean forgets where training
    began.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.num_steps = decay, 0
        self._parameters = dict(network.named_parameters())
        self._means = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the network's parameters in, after a step of the optimiser."""
        decay = min(self.decay, (1 + self.num_steps) / (10 + self.num_steps))
        self.num_steps += 1
        for name, parameter in self._parameters.items():
            self._means[name].lerp_(parameter, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the network its mean weights for a while, and then its own again."""
        own = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._put(self._means)
        try:
            yield
        finally:
            self._put(own)

    def state_dict(self) -> dict[str, Tensor | int]:
        return {**self._means, "num_steps": self.num_steps}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        self.num_steps = int(state["num_steps"])
        for name, mean in self._means.items():
            mean.copy_(torch.as_tensor(state[name]))

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])
