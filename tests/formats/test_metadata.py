import json

import pytest

from studio.formats.metadata import kohya_metadata


def test_metadata_says_what_the_training_was_and_nothing_of_the_data() -> None:
    facts = {"name": "neon", "kind": "sd1", "lora_rank": 8, "lora_alpha": 4.0, "resolution": 512, "conv_rank": 4, "conv_alpha": 1}
    facts |= {"base_model": "/home/me/secret/v1-5.safetensors", "train_data_dir": "/home/me/secret", "learning_rate": 2e-4, "seed": 7}
    metadata = kohya_metadata({**facts, "snr_gamma": None, "steps": 100, "optimizer": "adamw"})
    assert (
        metadata
        | {
            "ss_v2": "False",
            "ss_base_model_version": "sd_v1",
            "ss_network_module": "networks.lora",
            "ss_network_dim": "8",
            "ss_network_alpha": "4.0",
            "ss_output_name": "neon",
            "ss_sd_model_name": "v1-5.safetensors",
            "ss_resolution": "(512, 512)",
            "ss_learning_rate": "0.0002",
            "ss_unet_lr": "0.0002",
            "ss_seed": "7",
            "ss_steps": "100",
            "ss_optimizer": "adamw",
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.architecture": "stable-diffusion-v1/lora",
            "modelspec.implementation": "diffusers",
            "modelspec.title": "neon",
            "modelspec.resolution": "512x512",
            "modelspec.prediction_type": "epsilon",
        }
        == metadata
    )
    assert json.loads(metadata["ss_network_args"]) == {"conv_dim": "4", "conv_alpha": "1"}
    assert "secret" not in str(metadata)
    assert "ss_min_snr_gamma" not in metadata
    assert "ss_text_encoder_lr" not in metadata


def test_sd2_with_v_prediction_is_told_apart() -> None:
    facts = {"name": "n", "kind": "sd2", "lora_rank": 8, "lora_alpha": 8, "resolution": 768, "prediction_type": "v_prediction"}
    metadata = kohya_metadata(facts)
    assert (metadata["ss_v2"], metadata["ss_base_model_version"]) == ("True", "sd_v2_v")
    assert (metadata["modelspec.architecture"], metadata["modelspec.prediction_type"]) == ("stable-diffusion-v2-768-v/lora", "v")


PLAIN = {"name": "n", "lora_rank": 8, "lora_alpha": 8, "resolution": 1024}
NEWER = {
    "sdxl": ("sdxl", None, "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", "https://github.com/Stability-AI/generative-models"),
    "FLUX.1 dev": ("flux", "dev", "flux1", "flux-1-dev/lora", "https://github.com/black-forest-labs/flux"),
    "FLUX.1 schnell": ("flux", "schnell", "flux1", "flux-1-schnell/lora", "https://github.com/black-forest-labs/flux"),
    "SD 3.5 large": ("sd3", "3.5-large", "sd3", "stable-diffusion-3-5-large/lora", "diffusers"),
}


@pytest.mark.parametrize(("kind", "version", "base", "architecture", "implementation"), NEWER.values(), ids=NEWER)
def test_newer_models_are_named_as_other_programs_look_for_them(
    kind: str, version: str | None, base: str, architecture: str, implementation: str
) -> None:
    metadata = kohya_metadata({**PLAIN, "kind": kind, "version": version})
    assert (metadata["ss_v2"], metadata["ss_base_model_version"]) == ("False", base)
    assert (metadata["modelspec.architecture"], metadata["modelspec.implementation"]) == (architecture, implementation)
    assert metadata.get("modelspec.prediction_type") == ("epsilon" if kind == "sdxl" else None)


def test_velocity_is_no_other_version_of_sdxl() -> None:
    metadata = kohya_metadata({**PLAIN, "kind": "sdxl", "prediction_type": "v_prediction"})
    assert (metadata["ss_base_model_version"], metadata["modelspec.prediction_type"]) == ("sdxl_base_v1-0", "v")


def test_other_adapters_name_the_program_that_they_come_from() -> None:
    metadata = kohya_metadata({**PLAIN, "kind": "sdxl", "adapter": "dora"})
    assert metadata["ss_network_module"] == "lycoris.kohya"
    assert json.loads(metadata["ss_network_args"]) == {"algo": "locon", "dora_wd": "True", "wd_on_output": "True"}
    metadata = kohya_metadata({**PLAIN, "kind": "sdxl", "adapter": "lokr", "lokr_factor": 8})
    assert json.loads(metadata["ss_network_args"]) == {"algo": "lokr", "factor": "8"}
    assert kohya_metadata({**PLAIN, "kind": "flux"})["ss_network_module"] == "networks.lora_flux"


def test_folders_and_tags_get_in_only_when_asked_for() -> None:
    facts = {**PLAIN, "kind": "sd1", "dataset_dirs": {"5_me": {"n_repeats": 5, "img_count": 8}}, "tag_frequency": {"5_me": {"beach": 3}}}
    assert not {"ss_dataset_dirs", "ss_tag_frequency"} & kohya_metadata(facts).keys()
    metadata = kohya_metadata(facts, private=True)
    assert json.loads(metadata["ss_dataset_dirs"])["5_me"]["img_count"] == 8
    assert json.loads(metadata["ss_tag_frequency"])["5_me"]["beach"] == 3
