"""What saves memory while training: activations that are computed twice, and parts of the model that nobody needs any more."""

from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from studio.families.base import Bundle


def recompute(bundle: Bundle) -> None:
    """Gradient checkpointing (Chen et al. 2016) in every part that is trained."""
    for part in sorted(bundle.adapted):
        model: nn.Module = bundle[part]
        if not isinstance(model, PreTrainedModel):
            model.enable_gradient_checkpointing()  # type: ignore[operator]
            continue
        model.activation_checkpointing_enable({"use_reentrant": False})
        for layer in model.modules():
            if isinstance(layer, GradientCheckpointingLayer):  # only then does it; what is inside, such as dropout, stays as in use
                layer.training = True


def let_go(bundle: Bundle) -> bool:
    """Close the text encoders that aren't trained, which were opened to look at their layers. Whether there were any."""
    return bundle.release(*(part for part in bundle.encoders if part not in bundle.adapted))
