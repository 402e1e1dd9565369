"""The recipe of diffusers' train_text_to_image_lora.py in short: the same work in the same order with the same libraries.

As a program it compares its own counts of operations with those of the script itself: `python -m tests.benchmarks.peer --script PATH`.
"""

import argparse
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

RANK = 16
BATCH = 2
LEARNING_RATE = 1e-4
NEVER = 10**9


def train(base: Path, pictures: Path, resolution: int, steps: int, output: Path) -> None:
    """Train a LoRA on the attention of the UNet. Pictures and captions are encoded anew in each step, as the recipe does."""
    import torch
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration, set_seed
    from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.optimization import get_scheduler
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict
    from torch.nn import functional as F
    from tqdm.auto import tqdm
    from transformers import CLIPTextModel, CLIPTokenizer

    accelerator = Accelerator(log_with="tensorboard", project_config=ProjectConfiguration(str(output), logging_dir=str(output / "logs")))
    set_seed(42)
    noising = DDPMScheduler.from_pretrained(base, subfolder="scheduler")
    tokenizer = CLIPTokenizer.from_pretrained(base, subfolder="tokenizer")
    parts = {
        "text_encoder": CLIPTextModel.from_pretrained(base, subfolder="text_encoder"),
        "vae": AutoencoderKL.from_pretrained(base, subfolder="vae"),
        "unet": UNet2DConditionModel.from_pretrained(base, subfolder="unet"),
    }
    for part in parts.values():
        part.requires_grad_(False)
        part.to(accelerator.device, dtype=torch.float32)
    text_encoder, vae, unet = parts.values()
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=["to_k", "to_q", "to_v", "to_out.0"]))
    trained = filter(lambda parameter: parameter.requires_grad, unet.parameters())  # the optimizer empties it: clipping finds nothing left
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=1e-2)
    batches = torch.utils.data.DataLoader(_examples(pictures), batch_size=BATCH, shuffle=True, collate_fn=_collate(tokenizer, resolution))
    rates = get_scheduler("constant", optimizer=optimizer, num_warmup_steps=0, num_training_steps=steps)
    unet, optimizer, batches, rates = accelerator.prepare(unet, optimizer, batches, rates)
    accelerator.init_trackers("peer")
    done, bar = 0, tqdm(total=steps)
    while done < steps:
        unet.train()
        for batch in batches:
            with accelerator.accumulate(unet):
                latents = vae.encode(batch["pixels"].to(dtype=torch.float32)).latent_dist.sample() * vae.config.scaling_factor
                noise = torch.randn_like(latents)
                times = torch.randint(0, noising.config.num_train_timesteps, (len(latents),), device=latents.device).long()
                noisy = noising.add_noise(latents, noise, times)
                text = text_encoder(batch["tokens"], return_dict=False)[0]
                said = unet(noisy, times, text, return_dict=False)[0]
                loss = F.mse_loss(said.float(), noise.float(), reduction="mean")
                shown = accelerator.gather(loss.repeat(BATCH)).mean().item()
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                rates.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                bar.update(1)
                done += 1
                accelerator.log({"train_loss": shown}, step=done)
            bar.set_postfix(step_loss=loss.detach().item(), lr=rates.get_last_lr()[0])
            if done >= steps:
                break
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(accelerator.unwrap_model(unet)))
    StableDiffusionPipeline.save_lora_weights(output, unet_lora_layers=layers)
    accelerator.end_training()


def train_with_script(script: Path, base: Path, pictures: Path, resolution: int, steps: int, output: Path) -> None:
    """The same by the script itself. It needs `datasets` and `torchvision`, which the studio doesn't."""
    settings = {
        "pretrained_model_name_or_path": base,
        "train_data_dir": pictures,
        "output_dir": output,
        "cache_dir": output / "cache",
        "resolution": resolution,
        "rank": RANK,
        "train_batch_size": BATCH,
        "learning_rate": LEARNING_RATE,
        "max_train_steps": steps,
        "lr_scheduler": "constant",
        "lr_warmup_steps": 0,
        "seed": 42,
        "checkpointing_steps": NEVER,
    }
    sys.argv = [str(script), "--center_crop", *(f"--{name}={value}" for name, value in settings.items())]
    runpy.run_path(str(script), run_name="__main__")


def _examples(pictures: Path) -> Any:
    lines = (pictures / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    return [(pictures / entry["file_name"], entry["text"]) for entry in map(json.loads, lines)]


def _collate(tokenizer: Any, resolution: int) -> Callable[[list[tuple[Path, str]]], dict[str, Any]]:
    import numpy as np
    import torch
    from PIL import Image

    def pixels(path: Path) -> torch.Tensor:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        scale = resolution / min(image.size)
        if scale != 1:
            image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
        left, top = (image.width - resolution) // 2, (image.height - resolution) // 2
        cut = np.array(image.crop((left, top, left + resolution, top + resolution)))
        scaled = torch.from_numpy(cut).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
        mean, deviation = torch.as_tensor([0.5]), torch.as_tensor([0.5])
        return scaled.clone().sub_(mean.view(-1, 1, 1)).div_(deviation.view(-1, 1, 1))

    def collate(examples: list[tuple[Path, str]]) -> dict[str, torch.Tensor]:
        texts = [text for _, text in examples]
        tokens = tokenizer(texts, max_length=tokenizer.model_max_length, padding="max_length", truncation=True, return_tensors="pt").input_ids
        stacked = torch.stack([pixels(path) for path, _ in examples])
        return {"pixels": stacked.to(memory_format=torch.contiguous_format).float(), "tokens": torch.stack(list(tokens))}

    return collate


def main() -> None:
    """Print the counts of both, side by side."""
    from tests.benchmarks.job import Job, workspace
    from tests.benchmarks.operations import counts, table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--size", default="narrow")
    given = parser.parse_args()
    with workspace() as folder:
        found = {kind: counts(Job(kind, folder, given.size, given.script, count=True)) for kind in ("peer", "script")}
    table(found, "script")


if __name__ == "__main__":
    main()
