"""Pictures in, a LoRA out, as a person does it: the command line, the files, and the picture in somebody else's program."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from studio import families
from studio.cli import main
from studio.families.base import Prompt
from studio.formats.lora import read_lora
from studio.pocket import SAMPLES, judge
from studio.results import demo
from studio.results.generate import LoraChoice, Request, draw
from studio.training.lora import attach_files, weights

CPU = torch.device("cpu")
FIRST = """\
train_data_dir: "{data}"
metadata_path: "{data}/metadata.csv"
base_model: "{base}"
lora_rank: 8
batch_size: 4
epochs: 10
learning_rate: 2e-4
output_dir: "{output}"
save_steps: 100
"""


def test_the_first_settings_file_anyone_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    output = tmp_path / "output" / "my_style_lora"
    (tmp_path / "my.yaml").write_text(FIRST.format(data=SAMPLES / "gameboy", base=families.POCKET, output=output))
    assert (
        main(
            [
                "train",
                "--config",
                str(tmp_path / "my.yaml"),
                "--max_steps",
                "6",
                "--conv_rank",
                "4",
                "--lora_alpha",
                "4",
                "--learning_rate",
                "0.01",
                "--train_text_encoder",
                "true",
            ]
        )
        == 0
    )
    said = capsys.readouterr()
    assert "validation loss" in said.err
    assert "36 pictures are trained on, 4 are held out." in said.err
    assert str(output / "exports" / "my_style_lora.safetensors") in said.out
    assert (output / "pytorch_lora_weights.safetensors").exists()
    assert "step 5 loss" in (output / "logs" / "train.log").read_text()
    assert tags(output / "logs") >= {"Loss/train", "Loss/val", "lr", "grad_norm"}
    assert main(["runs", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)[0]
    assert (row["status"], row["step"], row["folder"]) == ("finished", 6, str(output))
    assert main(["train", "--config", str(tmp_path / "my.yaml")]) == 2
    assert "already holds run" in capsys.readouterr().err
    assert main(["export", str(output)]) == 0
    assert (
        main(
            [
                "sample",
                "--base_model",
                "pocket",
                "--lora",
                f"{output}:0.8",
                "--prompt",
                "a cat face",
                "--steps",
                "2",
                "--output",
                str(tmp_path / "a.png"),
            ]
        )
        == 0
    )
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    for name in ("pytorch_lora_weights.safetensors", "exports/my_style_lora.safetensors"):
        assert_same_picture_in_diffusers(output / name)


def tags(logs: Path) -> set[str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(logs))
    events.Reload()
    return set(events.Tags()["scalars"])


def assert_same_picture_in_diffusers(path: Path) -> None:
    """Plain diffusers draws what we draw, to 1e-5 before rounding, and the LoRA moves the picture."""
    from diffusers import StableDiffusionPipeline

    family = families.get("sd")
    bundle = family.load(families.POCKET, CPU, torch.float32)
    drawn: list[torch.Tensor] = []
    vae = bundle["vae"]
    decode = vae.decode
    vae.decode = lambda *given, **named: drawn.append(decode(*given, **named)[0][0]) or decode(*given, **named)
    attach_files(bundle, [read_lora(path, family.names, weights(bundle)).layers])
    list(family.sample(bundle, [Prompt("a cat face", 1, (strength,), steps=4, guidance=2.0) for strength in (0.0, 1.0)]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = StableDiffusionPipeline.from_pretrained(families.POCKET, dtype=torch.float32)
        pipeline.load_lora_weights(path.parent, weight_name=path.name)
        pipeline.set_progress_bar_config(disable=True)
        theirs = pipeline(
            "a cat face", num_inference_steps=4, guidance_scale=2.0, height=64, width=64, generator=torch.Generator().manual_seed(1), output_type="pt"
        ).images[0]
    before, after = ((picture / 2 + 0.5).clamp(0, 1) for picture in drawn)
    assert (after - theirs).abs().max() < 1e-5
    assert (after - before).abs().max() > 0.05


@pytest.mark.slow
def test_the_demonstration_shows_the_style_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert main(["demo"]) == 0
        assert (tmp_path / "before-after.png").exists()
        run = next((tmp_path / "workspace" / "runs").iterdir())
        wanted = list(judge.held_out().items())[: demo.SHOWN]
        pairs = [(thing, prompt, seed) for thing, prompt in wanted for seed in range(4)]
        styles = {}
        for strength in demo.STRENGTHS:
            requests = [Request(prompt, strength, 100 + seed) for _, prompt, seed in pairs]
            lora = [LoraChoice(run / "pytorch_lora_weights.safetensors")]
            pictures = [np.asarray(piece.image) for piece in draw("pocket", lora, requests, demo.LOOK) if piece.image is not None]
            styles[strength] = judge.style_progress(pictures, demo.STYLE)
        recognised = judge.recognised(pictures, [thing for thing, _, _ in pairs])
    finally:
        torch.set_num_threads(threads)
    share = sum(recognised) / len(recognised)
    with capsys.disabled():
        print(f"\nstyle by strength {styles}, recognised {share:.0%}")
    assert styles[0.0] < styles[0.5] < styles[1.0]
    assert styles[1.0] >= 0.75
    assert share >= 0.85
