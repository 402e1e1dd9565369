import functools
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from studio import families
from studio.config import Config
from studio.errors import InputError, ModelError
from studio.families import POCKET, clip, sd
from studio.families.base import Bundle, Picture, Prompt

from . import ldm
from .conftest import CPU

FAMILY = sd.StableDiffusion()
KINDS = {"sd15": "sd1", "sd21": "sd2"}
WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
MODELS = tuple(WEIGHTS)
Fresh = Callable[..., Bundle]
Broken = Callable[[str], Path]


def open_all(source: Path, dtype: torch.dtype = torch.float32) -> Bundle:
    bundle = FAMILY.load(source, CPU, dtype)
    for part in (*MODELS, "tokenizer"):
        bundle[part]
    return bundle


def same_weights(bundle: Bundle, models: dict[str, Any], dtype: torch.dtype = torch.float32) -> bool:
    for part, model in models.items():
        here, there = bundle[part].state_dict(), model.state_dict()
        assert here.keys() == there.keys()
        kind = torch.float32 if part == "vae" else dtype
        assert all(tensor.dtype == kind for name, tensor in here.items() if tensor.is_floating_point())
        if not all(torch.equal(here[name], there[name].to(here[name].dtype)) for name in here):
            return False
    return True


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The pocket model, to be damaged."""
    return Path(shutil.copytree(POCKET, tmp_path / "model"))


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path, dict[str, Any]]]:
    """Layout → a thin checkpoint of it, the configurations it goes with, and its models."""
    made = {}
    for layout, kind in KINDS.items():
        folder = tmp_path_factory.mktemp(layout)
        models = ldm.random_models(ldm.narrow(folder, layout))
        made[layout] = (ldm.write(folder / f"{layout}.safetensors", ldm.checkpoint(models, kind)), folder, models)
    return made


@pytest.fixture(params=KINDS)
def layout(request: pytest.FixtureRequest, checkpoints: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """A layout whose shipped configurations are, for the moment, the thin ones."""
    monkeypatch.setattr(sd, "ASSETS", checkpoints[request.param][1])
    return str(request.param)


# Drawing


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_pictures_are_those_of_diffusers_own_pipeline(fresh: Fresh, guidance: float) -> None:
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(POCKET, dtype=torch.float32, local_files_only=True)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    texts, seeds = ["a red apple", "a blue car"], [3, 4]
    theirs = pipeline(
        texts,
        negative_prompt=["", "a cat"],
        guidance_scale=guidance,
        num_inference_steps=6,
        height=64,
        width=48,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
    ).images
    prompts = [
        Prompt(text, seed=seed, negative=negative, steps=6, guidance=guidance, width=48, height=64)
        for text, seed, negative in zip(texts, seeds, ["", "a cat"], strict=True)
    ]
    ours = [piece.image for piece in FAMILY.sample(fresh("sd", "pocket"), prompts) if piece.image]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.size == other.size == (48, 64)
        assert np.abs(np.asarray(mine).astype(int) - np.asarray(other)).max() <= 1


def test_prompts_of_all_sizes_and_lengths_get_their_own_picture(fresh: Fresh) -> None:
    kinds = [(16, 16, 2, 1.0), (16, 16, 2, 1.0), (32, 16, 2, 1.0), (16, 16, 1, 1.0), (16, 16, 2, 3.0)]
    prompts = [Prompt("x", seed=n, width=w, height=h, steps=steps, guidance=g) for n, (w, h, steps, g) in enumerate(kinds)]
    bundle = fresh("sd", "tiny")
    together = {piece.index: piece.image for piece in FAMILY.sample(bundle, prompts) if piece.image}
    assert {index: image.size for index, image in together.items()} == {index: kind[:2] for index, kind in enumerate(kinds)}
    for index, prompt in enumerate(prompts):
        (alone,) = (piece.image for piece in FAMILY.sample(bundle, [prompt]) if piece.image)
        assert np.abs(np.asarray(alone).astype(int) - np.asarray(together[index])).max() <= 1


def test_drawing_takes_no_number_from_the_global_generator(fresh: Fresh) -> None:
    before = torch.random.get_rng_state()
    list(FAMILY.sample(fresh("sd", "tiny"), [Prompt("x", steps=2)]))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_picture_goes_through_the_vae_and_back(fresh: Fresh) -> None:
    from PIL import Image

    from studio.families import diffusion
    from studio.pocket import SAMPLES

    bundle = fresh("sd", "pocket")
    picture = Image.open(sorted((SAMPLES / "gameboy").glob("*.png"))[0]).convert("RGB").resize((64, 64))
    (row,) = FAMILY.encode(bundle, "picture", [Picture(lambda: picture, "x", (64, 64))])
    back = diffusion.picture(bundle["vae"].decode(row["mean"][None], return_dict=False)[0][0])
    assert np.abs(np.asarray(back).astype(int) - np.asarray(picture)).mean() < 12


# Loss


def test_the_loss_is_the_mean_square_of_what_the_unet_gets_wrong(fresh: Fresh) -> None:
    bundle, config = fresh("sd", "tiny"), Config(base_model="x", train_data_dir=Path("x"), snr_gamma=2.0)
    rng = torch.Generator().manual_seed(0)
    rows = [{"mean": torch.randn(4, 8, 8, generator=rng), "deviation": torch.full((4, 8, 8), 0.1), "embedding": torch.randn(24, 16, generator=rng)}]
    batch = FAMILY.draw(bundle, FAMILY.collate(rows * 2, config), rng, config)
    said = bundle["unet"](batch["noisy"], batch["timesteps"], batch["embedding"]).sample
    by_hand = torch.stack([((said[n] - batch["target"][n]) ** 2).mean() * batch["weight"][n] for n in range(2)])
    assert torch.allclose(FAMILY.loss(bundle, batch), by_hand, rtol=1e-5)
    assert batch["weight"].unique().numel() == 2


# Which layers


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"to_q": 32, "to_k": 32}),
        ({"lora_targets": ["feed-forward"]}, {"to_q": 0, "proj_in": 16, "net.2": 16}),
        ({"lora_targets": ["attention", "feed-forward"]}, {"to_q": 32, "net.2": 16}),
        ({"lora_targets": "to_q"}, {"to_q": 32, "to_k": 0}),
        ({"lora_targets": "attn2.to_q"}, {"to_q": 16}),
        ({"conv_rank": 2}, {"conv1": 22, "conv2": 22, "conv_shortcut": 14, "conv_in": 0, "conv_out": 0}),
        ({"train_text_encoder": True}, {"q_proj": 12, "fc2": 12}),
    ],
)
def test_targets_are_counted_by_the_structure_of_stable_diffusion(
    settings: dict[str, Any], expected: dict[str, int], checkpoints: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sd, "ASSETS", checkpoints["sd15"][1])
    bundle = FAMILY.load(checkpoints["sd15"][0], CPU, torch.float32)
    targets = FAMILY.targets(bundle, Config(base_model="x", train_data_dir=Path("x"), **settings))
    layers = {"q_proj": 3, "fc2": 3} if "train_text_encoder" in settings else expected
    assert {end: sum(target.endswith(f".{end}") for target in targets) for end in expected} == layers
    assert len(set(targets)) == len(targets)


def test_a_target_that_is_nowhere_is_said(fresh: Fresh) -> None:
    with pytest.raises(InputError, match="to_x"):
        FAMILY.targets(fresh("sd", "tiny"), Config(base_model="x", train_data_dir=Path("x"), lora_targets=["attention", "to_x"]))


# Single files


def test_every_weight_of_a_single_file_arrives_unchanged(layout: str, checkpoints: dict[str, Any]) -> None:
    path, _, models = checkpoints[layout]
    assert same_weights(open_all(path), models)
    assert families.recognise(path) == "sd"


def test_a_half_precision_file_opens_in_either_precision(layout: str, checkpoints: dict[str, Any], tmp_path: Path) -> None:
    path, folder, _ = checkpoints[layout]
    tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()}
    halves = {part: model.half() for part, model in ldm.random_models(folder / layout).items()}
    small = ldm.write(tmp_path / "half.safetensors", tensors)
    for dtype in (torch.float16, torch.float32):
        assert same_weights(open_all(small, dtype), halves, dtype)


def test_what_a_single_file_leaves_out_is_known(layout: str, checkpoints: dict[str, Any]) -> None:
    facts = FAMILY.load(checkpoints[layout][0], CPU, torch.float32).facts
    known = ("title", "resolution", "factor", "step", "tokens", "prediction_type", "scaling")
    expected = {"sd15": ("sd15", 512, 8, 64, 77, "epsilon", 0.18215), "sd21": ("sd21", 768, 8, 64, 77, "v_prediction", 0.18215)}
    assert tuple(facts[name] for name in known) == expected[layout]


@pytest.mark.parametrize("said", ["epsilon", "v"])
def test_a_file_that_says_what_it_predicts_is_believed(said: str, layout: str, checkpoints: dict[str, Any], tmp_path: Path) -> None:
    path = ldm.write(tmp_path / "a.safetensors", load_file(checkpoints[layout][0]), {"modelspec.prediction_type": said})
    assert FAMILY.load(path, CPU, torch.float32).facts["prediction_type"] == {"epsilon": "epsilon", "v": "v_prediction"}[said]


def test_parts_are_known_by_their_own_weights(layout: str, checkpoints: dict[str, Any], tmp_path: Path) -> None:
    tensors = load_file(checkpoints[layout][0])
    first = FAMILY.load(checkpoints[layout][0], CPU, torch.float32)
    tensors["model.diffusion_model.out.2.bias"] += 1
    merged = FAMILY.load(ldm.write(tmp_path / "a.safetensors", tensors), CPU, torch.float32)
    tensors["first_stage_model.decoder.conv_out.bias"] += 1
    other = FAMILY.load(ldm.write(tmp_path / "b.safetensors", tensors), CPU, torch.float32)
    identities = [[bundle.identity(part) for bundle in (first, merged, other)] for part in ("vae", "text_encoder")]
    assert [len(set(one)) for one in identities] == [2, 1]
    assert identities[0][0] == identities[0][1]
    assert not first.opened


@pytest.mark.parametrize(
    "part",
    ["first_stage_model.", "first_stage_model.decoder.conv_in.", "model.diffusion_model.out.2.", "cond_stage_model.", "encoder.layers.1.mlp.fc1."],
)
def test_a_checkpoint_that_lacks_weights_is_named(part: str, checkpoints: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sd, "ASSETS", checkpoints["sd15"][1])
    tensors = {name: tensor for name, tensor in load_file(checkpoints["sd15"][0]).items() if part not in name}
    with pytest.raises(ModelError) as caught:
        open_all(ldm.write(tmp_path / "lacking.safetensors", tensors))
    assert "lacking.safetensors" in caught.value.what
    assert "meta tensor" not in str(caught.value)


def test_an_open_clip_that_lacks_a_layer_is_named(checkpoints: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sd, "ASSETS", checkpoints["sd21"][1])
    tensors = {name: tensor for name, tensor in load_file(checkpoints["sd21"][0]).items() if "resblocks.1.mlp.c_fc" not in name}
    with pytest.raises(ModelError, match=r"lacking\.safetensors"):
        open_all(ldm.write(tmp_path / "lacking.safetensors", tensors))


def test_a_checkpoint_for_inpainting_is_refused(checkpoints: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sd, "ASSETS", checkpoints["sd15"][1])
    tensors = load_file(checkpoints["sd15"][0])
    tensors["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(32, 9, 3, 3)
    with pytest.raises(ModelError, match=r"inpaint\.safetensors"):
        open_all(ldm.write(tmp_path / "inpaint.safetensors", tensors))


def test_a_foreign_checkpoint_is_refused_by_the_family_too(tmp_path: Path) -> None:
    name = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    path = ldm.write(tmp_path / "xl.safetensors", {name: torch.zeros(8, 2048)})
    with pytest.raises(ModelError, match="no Stable Diffusion"):
        FAMILY.load(path, CPU, torch.float32)


@pytest.mark.parametrize("layout", KINDS)
def test_full_size_configurations_have_the_published_shapes(layout: str) -> None:
    """Counts of parameters as published; the names are those of original checkpoints."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = clip.ASSETS / layout
    with torch.device("meta"):
        models = {
            "unet": UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder / "unet")),
            "vae": AutoencoderKL.from_config(AutoencoderKL.load_config(folder / "vae")),
            "text_encoder": CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder")),
        }
    counts = {part: sum(parameter.numel() for parameter in model.parameters()) for part, model in models.items()}
    text = {"sd15": 123_060_480, "sd21": 340_387_840}
    unet = {"sd15": 859_520_964, "sd21": 865_910_724}
    assert counts == {"unet": unet[layout], "vae": 83_653_863, "text_encoder": text[layout]}


@pytest.mark.slow
@pytest.mark.parametrize("layout", KINDS)
def test_a_full_size_checkpoint_arrives_unchanged(layout: str, tmp_path: Path) -> None:
    models = ldm.random_models(clip.ASSETS / layout, torch.float16)
    path = ldm.write(tmp_path / "full.safetensors", ldm.checkpoint(models, KINDS[layout]))
    bundle = FAMILY.load(path, CPU, torch.float16)
    for part in MODELS:
        assert same_weights(bundle, {part: models.pop(part)}, torch.float16)
        bundle.release(part)


# The tokenizer


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("a photo of a cat", [320, 1125, 539, 320, 2368]), ("A  PHOTO of a Cat", [320, 1125, 539, 320, 2368]), ("", [])],
)
def test_the_shipped_tokenizer_is_clips(text: str, tokens: list[int]) -> None:
    assert clip.tokenizer()(text).input_ids == [49406, *tokens, 49407]


def test_short_texts_are_filled_and_long_ones_cut_to_77_tokens(layout: str, checkpoints: dict[str, Any]) -> None:
    bundle = FAMILY.load(checkpoints[layout][0], CPU, torch.float32)
    short, long = (row["tokens"].tolist() for row in FAMILY.encode(bundle, "tokens", ["a cat", "cat " * 100]))
    assert len(short) == len(long) == 77
    assert short[:4] == [49406, 320, 2368, 49407]
    assert set(short[4:]) == {{"sd15": 49407, "sd21": 0}[layout]}
    assert long == [49406, *[2368] * 75, 49407]


@pytest.mark.parametrize("gone", ["tokenizer", "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"])
def test_a_missing_tokenizer_is_named(copied: Path, gone: str) -> None:
    path = copied / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        open_all(copied)


def test_a_damaged_tokenizer_is_named(copied: Path) -> None:
    (copied / "tokenizer/tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="tokenizer"):
        open_all(copied)


# Folders


@pytest.mark.parametrize("part", MODELS)
def test_every_weight_of_a_folder_arrives_unchanged(part: str) -> None:
    stored = load_file(POCKET / part / f"{WEIGHTS[part]}.safetensors")
    here = FAMILY.load(POCKET, CPU, torch.float32)[part].state_dict()
    stored = {name.removeprefix("text_model."): tensor for name, tensor in stored.items()}
    assert all(torch.equal(tensor.float(), here[name].float()) for name, tensor in stored.items())
    assert set(here) - set(stored) <= {"embeddings.position_ids"}


def test_opened_parts_are_frozen_and_in_the_precision_asked_for() -> None:
    bundle = open_all(POCKET, torch.bfloat16)
    for part, dtype in (("unet", torch.bfloat16), ("text_encoder", torch.bfloat16), ("vae", torch.float32)):
        assert {parameter.dtype for parameter in bundle[part].parameters()} == {dtype}
        assert not any(parameter.requires_grad for parameter in bundle[part].parameters())
        assert not bundle[part].training


@pytest.mark.parametrize("part", MODELS)
@pytest.mark.parametrize("damage", ["gone", "cut off", "pickled", "no config", "a list for a config", "an empty config", "a tensor less", "thinner"])
def test_a_damaged_part_is_named(copied: Path, part: str, damage: str) -> None:
    folder = copied / part
    weights = folder / f"{WEIGHTS[part]}.safetensors"
    match damage:
        case "gone":
            shutil.rmtree(folder)
        case "cut off":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "pickled":
            weights.rename(weights.with_suffix(".bin"))
        case "no config":
            (folder / "config.json").unlink()
        case "a list for a config":
            (folder / "config.json").write_text("[]")
        case "an empty config":
            (folder / "config.json").write_text("{}")
        case _:
            tensors = load_file(weights)
            name = sorted(name for name in tensors if name.endswith("bias"))[3]
            tensor = tensors.pop(name)
            save_file(tensors if damage == "a tensor less" else {**tensors, name: tensor[:-1].clone()}, weights, {"format": "pt"})
    with pytest.raises(ModelError) as caught:
        open_all(copied)
    assert part in caught.value.what or weights.name in caught.value.what
    assert "meta tensor" not in str(caught.value)


def test_a_folder_with_pickles_only_says_what_to_get(copied: Path) -> None:
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ModelError) as caught:
        open_all(copied)
    assert "safetensors" in caught.value.what
    assert "can run code" in caught.value.fix


def test_a_folder_with_half_precision_files_only_opens(copied: Path) -> None:
    for part, name in WEIGHTS.items():
        (copied / part / f"{name}.safetensors").rename(copied / part / f"{name}.fp16.safetensors")
    assert same_weights(open_all(copied), {part: open_all(POCKET)[part] for part in MODELS})


def test_files_in_full_precision_win_over_variants(copied: Path) -> None:
    for part, name in WEIGHTS.items():
        full = copied / part / f"{name}.safetensors"
        save_file({name: torch.zeros_like(tensor) for name, tensor in load_file(full).items()}, full.with_suffix(".fp16.safetensors"))
    assert same_weights(open_all(copied), {part: open_all(POCKET)[part] for part in MODELS})


def test_weights_in_several_files_arrive_whole(tmp_path: Path, small: dict[str, dict[str, Path]]) -> None:
    from diffusers import UNet2DConditionModel

    folder = shutil.copytree(small["sd"]["tiny"], tmp_path / "model")
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    unet.save_pretrained(folder / "unet", max_shard_size="40KB")
    assert len(list((folder / "unet").glob("*.safetensors"))) > 1
    assert same_weights(open_all(folder), {"unet": unet})
    sorted((folder / "unet").glob("*.safetensors"))[0].unlink()
    with pytest.raises(ModelError, match="unet"):
        open_all(folder)


def test_a_missing_schedule_is_named(copied: Path) -> None:
    shutil.rmtree(copied / "scheduler")
    with pytest.raises(ModelError, match=r"scheduler_config\.json"):
        FAMILY.load(copied, CPU, torch.float32)


def test_a_changed_tokenizer_makes_another_text_encoder(copied: Path) -> None:
    before = FAMILY.load(copied, CPU, torch.float32)
    config = json.loads((copied / "tokenizer/tokenizer_config.json").read_text())
    first = before.identity("text_encoder"), before.identity("vae")
    (copied / "tokenizer/tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": 20}))
    after = FAMILY.load(copied, CPU, torch.float32)
    assert (after.identity("text_encoder") == first[0], after.identity("vae") == first[1]) == (False, True)


def test_opening_says_nothing_beside_the_studios_own_words(layout: str, checkpoints: dict[str, Any], copied: Path) -> None:
    heard: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    for name in ("diffusers", "transformers"):
        logging.getLogger(name).addHandler(listener)
    try:
        open_all(checkpoints[layout][0])
        open_all(copied)
    finally:
        for name in ("diffusers", "transformers"):
            logging.getLogger(name).removeHandler(listener)
    assert heard == []


def test_an_older_vae_with_other_names_arrives_whole(copied: Path) -> None:
    """Stable Diffusion 1.5's own folder calls the attention of its VAE query, key, value and proj_attn."""
    path = copied / "vae" / "diffusion_pytorch_model.safetensors"
    older = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = {functools.reduce(lambda name, word: name.replace(*word), older.items(), name): tensor for name, tensor in load_file(path).items()}
    assert sum(".query." in name for name in tensors) == 4
    save_file(tensors, path, {"format": "pt"})
    assert same_weights(open_all(copied), {"vae": open_all(POCKET)["vae"]})
