"""Settings files of other programs become presets, and say what has no counterpart."""

import json
from pathlib import Path

import pytest

from studio import families, fields
from studio.config import Config
from studio.errors import InputError
from studio.runs import presets
from studio.runs.foreign import kohya_settings, reading
from studio.runs.foreign.imported import Imported, Note

FILES = Path(__file__).parent / "settings"


def reasons(notes: list[Note]) -> dict[str, str]:
    return {note.key: note.reason for note in notes}


def toml(text: str) -> Imported:
    return reading.parse(text, "my.toml")


def test_a_form_of_kohya_ss():
    made = reading.read(FILES / "kohya_ss.json")
    assert (made.program, made.title) == ("kohya_ss", "neon-style")
    assert made.settings == made.settings | {
        "family": "sd",
        "lora_rank": 32,
        "lora_alpha": 16,
        "lora_targets": ["attention", "feed-forward"],
        "conv_rank": 16,
        "max_steps": 2000,
        "warmup_steps": 200,
        "learning_rate": 1e-4,
        "text_encoder_lr": 5e-5,
        "lr_scheduler": "cosine",
        "weight_decay": 0.1,
        "resolution": 640,
        "batch_size": 2,
        "gradient_accumulation_steps": 2,
        "snr_gamma": 5,
        "noise_offset": 0.05,
        "caption_dropout": 0.1,
        "shuffle_tags": True,
        "keep_tokens": 1,
        "random_flip": True,
        "mixed_precision": "bf16",
        "sample_prompts": ["a cat", "a dog"],
    }
    assert "seed" not in made.settings  # its 0 means any
    assert {"lr_scheduler", "lr_warmup", "max_resolution", "sample_prompts"} <= set(reasons(made.adapted))
    left_out = reasons(made.left_out)
    assert left_out["pretrained_model_name_or_path"] == left_out["output_dir"] == "Paths are yours: give them where you train."
    assert {"clip_skip", "scale_weight_norms", "save_every_n_epochs", "huggingface_token"} <= set(left_out)
    assert not {"prior_loss_weight", "multires_noise_iterations", "discrete_flow_shift", "wandb_api_key", "max_timestep"} & set(left_out)


def test_flags_that_kohya_ss_hands_on_count():
    text = {"LoRA_type": "Standard", "unet_lr": 1e-4, "text_encoder_lr": 1e-5, "sdxl": True, "clip_skip": "1"}
    more = '--lr_scheduler_type "CosineAnnealingLR" --network_train_unet_only --noise_offset=0.1'
    assert "train_text_encoder" in reading.parse(json.dumps(text), "a.json").settings
    made = reading.parse(json.dumps({**text, "additional_parameters": more}), "a.json")
    assert "train_text_encoder" not in made.settings
    assert made.settings["noise_offset"] == 0.1
    assert set(reasons(made.left_out)) == {"lr_scheduler_type"}


def test_a_template_of_sd_trainer_only_holds_what_it_changes():
    made = toml('[metadata]\nname = "Sharp"\nversion = "0.1"\ndescription = "more pixels"\n[data]\nresolution = "768,768"\nunet_lr = 3e-4')
    assert (made.program, made.title, made.about) == ("SD-Trainer", "Sharp", "more pixels")
    assert made.settings == {"resolution": 768, "learning_rate": 3e-4}


def test_nobodys_key_is_shown():
    assert "hf_abcdefgh" in (FILES / "kohya_ss.json").read_text()
    assert "hf_abcdefgh" not in repr(reading.read(FILES / "kohya_ss.json"))


def test_a_file_of_sd_trainer():
    made = reading.read(FILES / "sd-trainer.toml")
    assert (made.program, made.title) == ("SD-Trainer", "aki")
    assert made.settings == made.settings | {
        "lora_rank": 32,
        "lora_alpha": 16,
        "epochs": 10,
        "resolution": 1024,
        "seed": 1337,
        "caption_dropout": 0.0,
    }
    assert "train_text_encoder" not in made.settings
    assert "lr_scheduler" not in reasons(made.adapted)  # restarts with one cycle are a cosine
    assert (made.settings.get("family") == "sdxl") == ("sdxl" in families.FAMILIES)
    assert ("model_train_type" in reasons(made.left_out)) == ("sdxl" not in families.FAMILIES)


def test_a_file_of_sd_scripts_means_what_it_means_there_where_it_is_silent():
    made = reading.read(FILES / "sd-scripts.toml")
    assert made.settings == made.settings | {
        "lora_rank": 16,
        "lora_alpha": 1.0,
        "batch_size": 1,
        "lr_scheduler": "constant",
        "enable_bucket": False,
        "caption_dropout": 0.0,
        "train_text_encoder": True,
        "conv_rank": 8,
        "weight_decay": 0.01,
        "warmup_steps": 75,
        "seed": 0,
    }
    assert {"network_alpha", "train_batch_size", "lr_scheduler", "network_train_unet_only"} <= set(reasons(made.adapted))


def test_a_rate_for_an_optimizer_that_isnt_there_is_none_for_ours():
    made = reading.read(FILES / "sd-scripts.toml")
    there = made.settings.get("optimizer") == "prodigy"
    assert (made.settings.get("learning_rate") == 1.0) == there
    assert ("learning_rate" in reasons(made.left_out)) == (not there)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("resolution = 768", {"resolution": 768}),
        ('resolution = "832,1216"', {"resolution": 1024}),
        ('min_snr_gamma = "5"', {"snr_gamma": 5}),
        ("max_train_epochs = 8\nmax_train_steps = 900", {"epochs": 8}),
        ("max_train_epochs = 0\nmax_train_steps = 900", {"max_steps": 900}),
        ("v_parameterization = true", {"prediction_type": "v_prediction"}),
        ("learning_rate = 1e-4\nunet_lr = 3e-4\nnetwork_train_unet_only = true", {"learning_rate": 3e-4}),
        ("learning_rate = 1e-4\ntext_encoder_lr = [2e-5, 1e-5]", {"text_encoder_lr": 2e-5, "train_text_encoder": True}),
        ("learning_rate = 1e-4\ntext_encoder_lr = 0", {"learning_rate": 1e-4}),
        ('network_module = "networks.lora_flux"\nnetwork_train_unet_only = true', {"lora_targets": ["attention", "feed-forward"]}),
        ('network_module = "lycoris.kohya"\nnetwork_args = ["algo=lokr", "factor=6"]', {"adapter": "lokr", "lokr_factor": 6}),
        ('network_dim = 8\nnetwork_module = "lycoris.kohya"\nnetwork_args = ["dora_wd=True", "preset=attn-only"]', {"adapter": "dora"}),
        ("[general]\nflip_aug = true\n[[datasets]]\nbatch_size = 4\n[[datasets.subsets]]\nnum_repeats = 3", {"batch_size": 4, "num_repeats": 3}),
    ],
)
def test_a_value_is_translated(line: str, expected: dict):
    made = toml(line)
    assert made.settings == made.settings | expected
    assert not {"epochs", "max_steps"} <= made.settings.keys()
    assert ("text_encoder_lr" in made.settings) <= ("train_text_encoder" in made.settings)


@pytest.mark.parametrize(
    ("line", "key", "reason"),
    [
        ('resolution = 512\nlr_warmup_steps = 0.1\nlr_scheduler="cosine"', "lr_warmup_steps", "set warmup_steps"),
        ("resolution = 512\nkeep_tokens = 2", "keep_tokens", "together with shuffle_caption"),
        ('resolution = 512\nmax_train_steps = "many"', "max_train_steps", "Is no number"),
        ("resolution = 512\ncaption_dropout_rate = 7", "caption_dropout_rate", "must be a number, 0 to 1"),
        ('network_module = "lycoris.kohya"\nlycoris_algo = "loha"\nconv_dim = 10000', "conv_dim", "must be a whole number, 0 to 1024"),
        ("resolution = 512\nsomething_new = 3", "something_new", "There is no such setting here"),
        ('resolution = 512\nnetwork_module = "networks.lora_lumina"', "network_module", "Lumina 2, which can't be trained here yet"),
        ("v2 = true\nguidance_scale = 3.5\nmultires_noise_iterations = 6", "multires_noise_iterations", "There is no such setting here"),
        ('network_dim = 8\nsample_prompts = "./prompts.txt"', "sample_prompts", "Paths are yours"),
    ],
)
def test_what_has_no_counterpart_says_why(line: str, key: str, reason: str):
    assert reason in reasons(toml(line).left_out)[key]


def test_what_means_nothing_for_the_family_is_left_out():
    strange = {"text_encoder_lr", "train_text_encoder", "snr_gamma", "noise_offset", "conv_rank", "prediction_type"}
    for name in families.FAMILIES:
        word = {theirs: ours for theirs, ours in kohya_settings.FAMILIES.items() if ours == name}
        for theirs in list(word)[:1]:
            made = toml(f'model_train_type = "{theirs}-lora"\nnetwork_dim = 8\nlearning_rate = 1e-4\nmin_snr_gamma = 5\nnoise_offset = 0.05')
            assert made.settings["family"] == name
            assert not (strange & made.settings.keys()) - families.get(name).settings


def test_every_name_of_ours_that_is_there_is_spelled_right():
    known = set(kohya_settings.RENAMED.values()) & set(Config.model_fields)
    assert {"batch_size", "caption_dropout", "snr_gamma", "save_steps"} <= known
    assert {ours for ours, _ in kohya_settings.DEFAULTS.values()} <= set(Config.model_fields)


DEEP = '{"a":' * 100_000


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.json", '{"network_dim": 8,}', "a.json:1: is not valid JSON"),
        ("a.json", DEEP, "nested too deeply"),
        ("a.json", "[1, 2]", "holds no training settings"),
        ("a.json", '{"prompt": "a cat"}', "holds no training settings"),
        ("a.json", '{"seed": 1' + "0" * 5000 + "}", "is not valid JSON"),
        ("a.toml", "network_dim: 8", "a.toml: is not valid TOML"),
        ("a.toml", "a = " + "[" * 100_000, "nested too deeply"),
        ("a.toml", "a." * 400_000 + "a = 1", "nested too deeply"),
        ("a.toml", "#" * 1_100_000, "is larger than 1000 kB"),
        ("a.yaml", "#" * 300_000, "is larger than"),
        ("a.yaml", "lora_rnk: 8", "a.yaml:1: lora_rnk: unknown setting; did you mean lora_rank"),
        ("a", "lora_rank: many", "must be a whole number"),
    ],
)
def test_a_bad_file_is_answered_in_a_sentence(name: str, text: str, sentence: str):
    with pytest.raises(InputError) as caught:
        reading.parse(text, name)
    assert sentence in caught.value.what
    assert "\n" not in caught.value.what


@pytest.mark.parametrize("value", ["{}", "[[]]", '"x"', "1e999", "-1", "null", "true", "[null]", '{"a": {"b": 1}}'])
def test_no_value_of_a_strange_type_breaks_it(value: str):
    for key in json.loads((FILES / "kohya_ss.json").read_text()):
        made = reading.parse(f'{{"network_dim": 8, "LoRA_type": "Standard", "network_module": "networks.lora", "{key}": {value}}}', "a.json")
        fields.build({name: fields.Given(value, "") for name, value in {**presets.YOURS, **made.settings}.items()})


def test_a_preset_goes_through_a_file_unchanged(tmp_path: Path):
    made = presets.save(
        "My Neon: look!", "for  neon\nnights", {"lora_rank": 16, "lora_alpha": 8, "learning_rate": 2e-4, "sample_prompts": ["a", "b: c"]}
    )
    (tmp_path / "shared.yaml").write_text(presets.template(made), encoding="utf-8")
    presets.delete(made.name)
    found = reading.read(tmp_path / "shared.yaml")
    again = presets.save(found.title, found.about, found.settings)
    assert (again.name, again.title, again.about) == (made.name, made.title, made.about)
    assert {key: one.value for key, one in again.settings.items()} == {key: one.value for key, one in made.settings.items()}
