"""Adapters of any kind: which there are, and how long their change is without writing it out."""

import pytest
import torch

from studio.formats import pieces

from .sd import delta, random_layer


@pytest.mark.parametrize("weight", [(24, 16), (24, 16, 1, 1), (12, 8, 3, 3)])
def test_the_norm_is_that_of_the_change_written_out(weight: tuple[int, ...]):
    layer = random_layer(weight, rank=4, alpha=3.0)
    assert pieces.size({"down": layer.down, "up": layer.up}, layer.alpha) == pytest.approx(float(delta(layer).norm()), rel=1e-5)


def test_the_norm_of_lokr_is_that_of_the_kronecker_product():
    random = torch.Generator().manual_seed(0)
    w1, left, right = (torch.randn(*shape, generator=random) for shape in ((2, 3), (8, 2), (2, 5)))
    whole = torch.kron(w1, left @ right)
    assert pieces.size({"lokr_w1": w1, "lokr_w2_a": left, "lokr_w2_b": right}, 1.0) == pytest.approx(float(whole.norm()) / 2, rel=1e-5)
    assert pieces.size({"lokr_w1": w1, "lokr_w2": left @ right}, 1.0) == pytest.approx(float(whole.norm()), rel=1e-5)


def test_what_needs_the_base_model_or_does_not_fit_has_no_norm():
    layer = random_layer((8, 8), 2, 2.0)
    assert pieces.size({"down": layer.down, "up": layer.up, "magnitude": torch.ones(8)}, 2.0) is None
    assert pieces.size({"down": layer.down, "up": torch.ones(8, 3)}, 2.0) is None
    assert pieces.size({"down": torch.ones(3), "up": torch.ones(8, 3)}, 2.0) is None
    assert pieces.size({"lokr_w1_a": torch.ones(3, 2), "lokr_w2": torch.ones(2, 2)}, 2.0) is None


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["a.lora_down.weight", "a.lora_up.weight", "a.alpha"], "LoRA"),
        (["unet.a.lora_A.default.weight", "unet.a.lora_B.default.weight"], "LoRA"),
        (["unet.a.to_q_lora.down.weight", "unet.a.to_q_lora.up.weight"], "LoRA"),
        (["a.lora_down.weight", "a.lora_up.weight", "a.dora_scale"], "DoRA"),
        (["a.lora_A.weight", "a.lora_B.weight", "a.lora_magnitude_vector"], "DoRA"),
        (["a.hada_w1_a", "a.hada_w1_b", "a.hada_w2_a", "a.hada_w2_b", "a.alpha"], "LoHa"),
        (["a.lokr_w1", "a.lokr_w2_a", "a.lokr_w2_b"], "LoKr"),
        (["a.oft_blocks", "a.alpha"], "OFT"),
        (["a.diff", "a.diff_b"], "full"),
    ],
)
def test_the_kind_of_adapter_shows_in_its_tensors(names: list[str], kind: str):
    layers, strange = pieces.split([*names, "first_stage_model.x"])
    assert (pieces.kind(layers), len(layers), strange) == (kind, 1, ["first_stage_model.x"])
