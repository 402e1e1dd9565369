"""What isn't needed any more is let go."""

import pytest
import torch

from studio import families
from studio.config import Config
from studio.training.lora import attach, weights
from studio.training.memory import let_go


@pytest.mark.parametrize("trained", [False, True])
def test_text_encoders_stay_open_only_where_they_are_trained(trained: bool):
    family, config = families.get("sd"), Config(base_model="pocket", train_data_dir="none", train_text_encoder=trained)
    bundle = family.load(families.POCKET, torch.device("cpu"), torch.float32)
    attach(bundle, family.targets(bundle, config), config)
    weights(bundle)  # as init_lora does, to see what fits
    assert "text_encoder" in bundle.opened
    assert let_go(bundle) is not trained
    assert ("text_encoder" in bundle.opened) is trained
    assert "unet" in bundle.opened
