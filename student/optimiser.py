"""AdamW by PyTorch's fused kernel alone, the same bits as `torch.optim.AdamW(fused=True)`.

PyTorch's own optimisers import its compiler before their first step, which takes as long as importing
torch itself; nothing of it is needed to call a kernel.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019); `lr` may change between steps."""

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], *, lr: float, weight_decay: float
    ) -> None:
        self.parameters, self.lr, self.weight_decay = list(parameters), lr, weight_decay
        self._state: dict[int, dict[str, Tensor]] = {}  # of the parameters that had a gradient

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        moved = [i for i, parameter in enumerate(self.parameters) if parameter.grad is not None]
        if not moved:
            return
        states = [self._state_of(i) for i in moved]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            [self.parameters[i] for i in moved],
            [grad for i in moved if (grad := self.parameters[i].grad) is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=self.lr,
            beta1=BETA1,
            beta2=BETA2,
            weight_decay=self.weight_decay,
            eps=EPS,
            amsgrad=False,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the running means, in the form of `torch.optim`."""
        return {"state": self._state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the running means that `state_dict`, or an AdamW of `torch.optim`, returned."""
        self._state = {
            i: {name: value.to(self.parameters[i].device) for name, value in values.items()}
            for i, values in state["state"].items()
        }

    def _state_of(self, i: int) -> dict[str, Tensor]:
        if i not in self._state:
            parameter = self.parameters[i]
            self._state[i] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        return self._state[i]
