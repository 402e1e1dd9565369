"""Trained parts → a diffusers folder in half precision, as the studio and everybody else opens it."""

from pathlib import Path

from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from studio.pocket.recipe.tokenizer import LENGTH
from studio.pocket.recipe.unet import NOISE, text_encoder, unet
from studio.pocket.recipe.vae import autoencoder


def assemble(folder: Path, tokenizer_folder: Path, vae_weights: Path, trained: Path) -> None:
    """Write the pipeline into `folder`; `trained` holds unet.safetensors and text_encoder.safetensors."""
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder, model_max_length=LENGTH)
    vae, model, encoder = autoencoder(), unet(), text_encoder(tokenizer)
    vae.load_state_dict(load_file(vae_weights))
    model.load_state_dict(load_file(trained / "unet.safetensors"))
    encoder.load_state_dict(load_file(trained / "text_encoder.safetensors"))
    pipeline = StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=encoder.half(),
        tokenizer=tokenizer,
        unet=model.half(),
        scheduler=DPMSolverMultistepScheduler(**NOISE, prediction_type="v_prediction", steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
