"""How gradients become steps: AdamW in one fused kernel that also clips and leaves out what isn't finite, unseen by the host."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

FIRST_SCALE = 2.0**14
GROWTH_STEPS = 1000


def schedule(name: str, step: int, steps: int, warmup: int) -> float:
    """Factor on the learning rate for `step` (from 0) of `steps`: a closed form, so that a resumed run needs no history."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - warmup)
    match name:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        case "linear":
            return 1 - done
        case _:
            return 1.0


class Optimizer:
    """AdamW (Loshchilov & Hutter 2019) over named parameters in groups, each with its own peak rate.

    The fused kernel divides gradients by `grad_scale` and does nothing where `found_inf` is set; clipping, the fp16 loss scale and the
    skipping of bad steps all go through these two numbers, which never leave the device.
    """

    def __init__(
        self,
        groups: Sequence[tuple[Mapping[str, nn.Parameter], float]],
        device: torch.device,
        weight_decay: float,
        max_norm: float,
        scaled: bool,
    ) -> None:
        self.names = {parameter: name for parameters, _ in groups for name, parameter in parameters.items()}
        self.peaks = [peak for _, peak in groups]
        self.max_norm = max_norm
        capturable = device.type == "cuda"
        self.adamw = torch.optim.AdamW(
            [{"params": list(parameters.values()), "lr": torch.zeros((), device=device)} for parameters, _ in groups],
            weight_decay=weight_decay,
            fused=True,
            capturable=capturable,
        )
        self.scale = torch.full((), FIRST_SCALE, device=device) if scaled else None
        self.good_steps = torch.zeros((), device=device)

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to go backward from: in fp16 it is scaled, so that small gradients don't vanish."""
        return loss if self.scale is None else loss * self.scale

    def step(self, factor: float, loss: Tensor) -> tuple[Tensor, Tensor]:
        """One update at `factor` of the peak rates. Returns the gradients' norm before clipping, and 1 where this was a failed step.

        A step is left out when its norm isn't finite. In fp16 that also happens when the loss scale is too high: it is halved then, and only
        a bad loss, or a scale that is down to one, counts as a failure.
        """
        norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in self.names if parameter.grad is not None])
        if self.scale is not None:
            norm = norm / self.scale
        bad = 1 - torch.isfinite(norm + loss).float()
        divisor = (norm / self.max_norm).clamp(min=1) if self.max_norm else torch.ones_like(norm)
        scale = divisor if self.scale is None else divisor * self.scale
        vars(self.adamw).update(grad_scale=scale, found_inf=bad)  # where torch's own GradScaler puts them
        for group, peak in zip(self.adamw.param_groups, self.peaks, strict=True):
            group["lr"].fill_(peak * factor)
        self.adamw.step()
        self.adamw.zero_grad()
        return norm, bad if self.scale is None else self._rescale(bad, loss)

    def _rescale(self, bad: Tensor, loss: Tensor) -> Tensor:
        assert self.scale is not None
        failed = torch.maximum(1 - torch.isfinite(loss).float(), bad * (self.scale <= 1))
        self.good_steps.copy_((self.good_steps + 1) * (1 - bad))
        grow = (self.good_steps >= GROWTH_STEPS).float()
        self.scale.mul_(1 - 0.5 * bad).mul_(1 + grow).clamp_(min=1)
        self.good_steps.mul_(1 - grow)
        return failed

    def state(self) -> dict[str, Tensor]:
        """Everything a resumed run needs, as named tensors."""
        tensors = {f"{name}.{key}": value for parameter, name in self.names.items() for key, value in self.adamw.state[parameter].items()}
        if self.scale is not None:
            tensors |= {"loss_scale": self.scale, "good_steps": self.good_steps}
        return tensors

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Put what `state` gave back in."""
        for parameter, name in self.names.items():
            found = {key: tensors[f"{name}.{key}"].clone() for key in ("step", "exp_avg", "exp_avg_sq") if f"{name}.{key}" in tensors}
            if found:
                self.adamw.state[parameter] = {key: value.to(parameter.device) for key, value in found.items()}
        if self.scale is not None and "loss_scale" in tensors:
            self.scale.copy_(tensors["loss_scale"])
            self.good_steps.copy_(tensors["good_steps"])
