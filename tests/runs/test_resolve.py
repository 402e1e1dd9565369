"""A config is made definite by its base model, and refused where the two don't fit."""

from pathlib import Path

import pytest

from studio.config import Config
from studio.errors import InputError
from studio.runs.resolve import complete, open_base
from tests.families import tiny


def test_a_family_that_the_base_model_isnt_of_is_named_with_the_one_it_is(tmp_path: Path) -> None:
    config = Config(base_model="pocket", train_data_dir=tmp_path, family="sdxl")
    with pytest.raises(InputError, match=r"SDXL is asked for, but pocket is Stable Diffusion 1\.x / 2\.x"):
        open_base(config)


def test_a_family_that_nobody_knows_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="family: other is not known"):
        open_base(Config(base_model="pocket", train_data_dir=tmp_path, family="other"))


def test_what_a_family_departs_in_holds_unless_it_is_set(tmp_path: Path) -> None:
    model = str(tiny.sdxl(tmp_path / "sdxl"))
    plain, told = (complete(Config(base_model=model, train_data_dir=tmp_path, **given)) for given in ({}, {"batch_size": 4, "snr_gamma": None}))
    assert (plain.batch_size, plain.gradient_accumulation_steps, plain.snr_gamma) == (1, 1, 5.0)
    assert (told.batch_size, told.gradient_accumulation_steps, told.snr_gamma) == (4, 1, None)


def test_pure_noise_and_a_model_that_predicts_noise_dont_go_together(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="zero_terminal_snr: pure noise"):
        complete(Config(base_model="pocket", train_data_dir=tmp_path, zero_terminal_snr=True, prediction_type="epsilon"))
