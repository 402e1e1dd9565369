"""An average of the LoRA's weights over the steps: quieter than the last step's own, and what validation, samples and files show."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average (Polyak & Juditsky 1992): a ← a + (1 - d) (w - a) after step n, with d = min(decay, (1 + n) / (10 + n)), so
    that the beginning is soon forgotten. Nothing is read from the device."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.parameters = parameters
        self.decay = decay
        self.tensors = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        self._stands_in = False

    def follow(self, step: int) -> None:
        """Take the weights in as they are after `step` steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        own = [parameter.detach() for parameter in self.parameters.values()]
        torch._foreach_lerp_(list(self.tensors.values()), own, 1 - decay)

    def stand_in(self, shown: bool) -> None:
        """Put the average where the weights are, or the weights back. What is so already stays."""
        if shown != self._stands_in:
            self._stands_in = shown
            for name, parameter in self.parameters.items():
                parameter.data, self.tensors[name] = self.tensors[name], parameter.data

    def state(self) -> dict[str, Tensor]:
        """The average, by the parameters' names, while the weights are in their place."""
        return dict(self.tensors)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put what `state` gave back in. Raises KeyError when a tensor is missing."""
        for name, tensor in self.tensors.items():
            tensor.copy_(state[name])
