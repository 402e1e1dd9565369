"""What leaves the studio, read by diffusers itself: its pipelines load each file on a fresh model and draw what we draw."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from studio import families
from studio.config import Config
from studio.families import sd, sdxl
from studio.families.base import Bundle
from studio.formats.adapter import write_diffusers
from studio.formats.gate import check_safetensors
from studio.formats.kohya import write_kohya
from studio.formats.lora import LoraLayer
from studio.formats.readers import will_load
from studio.training.lora import attach, attach_files

from . import ldm

PIPELINES = {"sd": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline", "sd3": "StableDiffusion3Pipeline", "flux": "FluxPipeline"}
PIPELINES |= {"z_image": "ZImagePipeline", "qwen_image": "QwenImagePipeline", "flux2": "Flux2Pipeline"}
SMALL = {"sd3": "tiny", "flux": "dev", "z_image": "tiny", "qwen_image": "tiny", "flux2": "dev"}
WRITERS: dict[str, Callable[..., None]] = {"diffusers": write_diffusers, "kohya": write_kohya}
FIXED = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
"""Of FLUX.1's single blocks, one layer in kohya's names: diffusers takes the width of the real one for granted, which formats/ tries."""


def layers_of(bundle: Bundle, family: str) -> dict[str, LoraLayer]:
    """Random weights for every layer that the family offers, whose alpha isn't their rank."""
    offered = families.get(family)
    trains_text = {"train_text_encoder": True, "conv_rank": 2} if "conv_rank" in offered.settings else {}
    config = Config(base_model="x", train_data_dir=Path("x"), lora_rank=4, lora_alpha=3.0, lora_targets=("attention", "feed-forward"), **trains_text)
    lora = attach(bundle, offered.targets(bundle, config), config)
    rng = torch.Generator().manual_seed(1)
    for parameter in lora.parameters().values():
        parameter.data.uniform_(-1, 1, generator=rng)
    return dict(lora.export())  # type: ignore[arg-type]


def pipeline(bundle: Bundle, family: str) -> Any:
    """diffusers' own pipeline around the parts of a bundle."""
    import diffusers

    kind = getattr(diffusers, PIPELINES[family])
    scheduler = diffusers.DDIMScheduler if family in ("sd", "sdxl") else diffusers.FlowMatchEulerDiscreteScheduler
    parts = {part: bundle[part] for part in bundle.loaders if part != "alphas"}
    settings = bundle.facts["scheduler"]
    given: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False} if family == "sd" else {}
    made = kind(**parts, scheduler=scheduler.from_config(settings), **given)
    made.set_progress_bar_config(disable=True)
    return made


def latents(made: Any, family: str) -> torch.Tensor:
    """What diffusers draws in a few steps, before it becomes pixels."""
    side, steps = (64, 6) if family in ("sd", "sdxl") else (16, 2)
    settings: dict[str, Any] = {"num_inference_steps": steps, "guidance_scale": 7.0, "output_type": "latent", "width": side, "height": side}
    settings |= {"max_sequence_length": 16} if family not in ("sd", "sdxl") else {}
    settings |= {"text_encoder_out_layers": (1, 2, 3)} if family == "flux2" else {}
    found: torch.Tensor = made(prompt="a red apple", generator=torch.Generator().manual_seed(5), **settings).images
    return found


@pytest.fixture(scope="module")
def thin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stable Diffusion 1.5 and SDXL with all their blocks, which names of original files count."""
    folder = tmp_path_factory.mktemp("thin")
    kinds = {"sd": ("sd15", "sd1"), "sdxl": ("sdxl", "sdxl")}
    return {
        family: ldm.write(folder / f"{family}.safetensors", ldm.checkpoint(ldm.random_models(ldm.narrow(folder, layout)), kind))
        for family, (layout, kind) in kinds.items()
    }


@pytest.fixture
def load(thin: dict[str, Path], small: dict[str, dict[str, Path]], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Bundle]:
    """`load("sdxl")`: a bundle that nothing is attached to."""
    for module in (sd, sdxl):
        monkeypatch.setattr(module, "ASSETS", thin["sd"].parent)
    paths = {**thin, **{family: small[family][model] for family, model in SMALL.items()}}
    return lambda family: families.get(family).load(paths[family], torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(("family", "format"), [each for each in product(PIPELINES, WRITERS) if each != ("sd3", "kohya")])
def test_diffusers_draws_what_we_draw(tmp_path: Path, load: Callable[[str], Bundle], family: str, format: str) -> None:
    layers = layers_of(load(family), family)
    if (family, format) == ("flux", "kohya"):
        layers = {name: layer for name, layer in layers.items() if not ("single" in name and name.endswith(FIXED))}
    attach_files(bundle := load(family), [layers])
    bundle.blend([(1.0,)])
    WRITERS[format](tmp_path / "a.safetensors", layers, families.get(family).names, {})
    theirs = pipeline(load(family), family)
    before = latents(theirs, family)
    theirs.load_lora_weights(tmp_path, weight_name="a.safetensors", adapter_name="probe")
    drawn, expected = latents(theirs, family), latents(pipeline(bundle, family), family)
    print(f"{family} {format}: moved by {(drawn - before).abs().mean():.3f}, apart by {(drawn - expected).abs().max():.1e}")
    assert (drawn - before).abs().mean() > 0.05
    assert (drawn - expected).abs().max() < 1e-5


def test_diffusers_passes_over_sd3_in_kohya_names_and_will_it_load_says_so(tmp_path: Path, load: Callable[[str], Bundle]) -> None:
    write_kohya(tmp_path / "a.safetensors", layers_of(load("sd3"), "sd3"), families.get("sd3").names, {})
    theirs = pipeline(load("sd3"), "sd3")
    before = latents(theirs, "sd3")
    theirs.load_lora_weights(tmp_path, weight_name="a.safetensors", adapter_name="probe")
    assert torch.equal(latents(theirs, "sd3"), before)
    verdict = next(each for each in will_load(check_safetensors(tmp_path / "a.safetensors"), "sd3") if each.program == "diffusers")
    assert (verdict.understood, verdict.complete) == (0, False)
