"""What is said of a LoRA file: its own facts, whatever program wrote it; what is unsafe or no LoRA is refused in one sentence."""

import hashlib
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from studio.cli import main
from studio.errors import ModelError
from studio.formats.adapter import write_diffusers
from studio.formats.facts import facts, loading
from studio.formats.inspect import Inspection, inspect
from studio.formats.kohya import write_kohya
from studio.formats.lora import LoraLayer
from studio.formats.metadata import kohya_metadata

from .sd import NAMES, POCKET, delta

RUN = {"kind": "sd1", "name": "moss", "lora_rank": 4, "lora_alpha": 8.0, "resolution": 512, "steps": 500, "learning_rate": 2e-4}
RUN |= {"optimizer": "adamw", "trigger_phrase": "ohwx moss", "base_model": "/home/me/v1-5.safetensors"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, layers: dict[str, LoraLayer]) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("written")
    paths = {name: folder / f"{name}.safetensors" for name in ("kohya", "diffusers")}
    write_kohya(paths["kohya"], layers, NAMES, kohya_metadata(RUN))
    write_diffusers(paths["diffusers"], layers, NAMES, kohya_metadata(RUN))
    return paths


@pytest.mark.parametrize("program", ["kohya", "diffusers"])
def test_a_file_says_what_its_run_knew(written: dict[str, Path], layers: dict[str, LoraLayer], program: str):
    found = inspect(written[program])
    assert (found.format, found.adapter, found.title, found.layers) == (program, "LoRA", "Stable Diffusion 1.x", len(layers))
    assert sorted(found.parts) == ["text_encoder", "unet"]
    assert found.trigger_words == ["ohwx moss"]
    expected = {"title": "moss", "steps": "500", "learning_rate": "0.0002", "optimizer": "adamw", "base_model": "v1-5.safetensors"}
    assert {key: found.training[key] for key in expected} == expected
    groups = {(group.name, group.sort): group for group in found.groups}
    attention = groups["text_encoder.layers", "attention"]
    assert (attention.ranks, attention.alphas) == ([8], [4.0])
    assert groups["unet.down_blocks", "attention"].ranks == [4]
    assert sum(group.layers for group in found.groups) == len(layers)


def test_the_norm_of_a_block_is_that_of_its_layers_together(written: dict[str, Path], layers: dict[str, LoraLayer]):
    expected = math.sqrt(sum(float(delta(layer).norm()) ** 2 for name, layer in layers.items() if name.startswith("unet.up_blocks.1.")))
    for path in written.values():
        assert dict(inspect(path).norms)["unet.up_blocks.1"] == pytest.approx(expected, rel=1e-4)


def test_the_hashes_are_those_that_other_programs_show(written: dict[str, Path]):
    content = written["kohya"].read_bytes()
    found = inspect(written["kohya"]).hashes
    assert found["sha256"] == hashlib.sha256(content).hexdigest()
    assert found["sha256"].startswith(found["AutoV2"])
    behind = content[8 + int.from_bytes(content[:8], "little") :]
    assert found["AutoV3"] == hashlib.sha256(behind).hexdigest()[:12]
    assert "sshs_model_hash" not in found


def test_which_programs_read_it_is_said(written: dict[str, Path]):
    assert [(verdict.program, verdict.complete) for verdict in inspect(written["kohya"]).programs][:3] == [
        ("A1111", True),
        ("Forge", True),
        ("ComfyUI", True),
    ]
    program, share, why = loading(inspect(written["diffusers"]).programs)[0]
    assert (program, share) == ("A1111", "0.0 %")
    assert "text_encoder" in why


def changed(path: Path, target: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> Inspection:
    save_file({**load_file(path), **tensors}, target, metadata)
    return inspect(target)


def test_nan_is_found_and_named(written: dict[str, Path], tmp_path: Path):
    name = next(name for name in load_file(written["kohya"]) if name.endswith("lora_up.weight"))
    spoilt = load_file(written["kohya"])[name]
    spoilt.view(-1)[3] = float("nan")
    found = changed(written["kohya"], tmp_path / "nan.safetensors", {name: spoilt}, {})
    assert not found.finite
    assert name in found.notes[0]
    assert all(math.isfinite(norm) for _, norm in found.norms)


def test_hostile_numbers_and_shapes_do_no_harm(tmp_path: Path):
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k"

    def look(alpha: torch.Tensor, down: torch.Tensor, up: torch.Tensor) -> Inspection:
        path = tmp_path / "odd.safetensors"
        save_file({f"{layer}.alpha": alpha, f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}, path)
        found = inspect(path)
        json.dumps(found.as_json(), allow_nan=False)
        return found

    one = torch.ones
    assert not look(torch.tensor(float("nan")), one(2, 4), one(4, 2)).finite
    assert look(one(0), one(2, 4), one(4, 2)).groups[0].ranks == [2]
    assert look(torch.tensor(1e30), 1e300 * one(2, 4).double(), 1e300 * one(4, 2).double()).norms == []
    assert look(torch.tensor(1.0), one(3), one(4, 2)).norms == []
    wide = look(torch.tensor(40_000.0), one(40_000, 2).half(), one(3, 40_000).half())  # its inner products alone would need 13 GB
    assert wide.norms[0][1] == pytest.approx(40_000 * math.sqrt(6))
    assert look(torch.tensor(2.0), one(2, 4).to(torch.float8_e4m3fn), one(4, 2).to(torch.float8_e4m3fn)).norms[0][1] == pytest.approx(8)


def test_tags_and_folders_are_read_and_damaged_ones_are_left_out(written: dict[str, Path], tmp_path: Path):
    metadata = {
        "ss_tag_frequency": json.dumps({"10_moss": {"moss": 12, "stone": 3}, "5_more": {"moss": 5, "odd": "many"}, "x": 3}),
        "ss_dataset_dirs": json.dumps({"10_moss": {"n_repeats": 10, "img_count": 12}}),
        "ss_optimizer": "ada\x1b[31mm",
        "ss_steps": "None",
    }
    found = changed(written["kohya"], tmp_path / "tags.safetensors", {}, metadata)
    assert found.tags == [("moss", 17), ("stone", 3)]
    assert found.data == [{"folder": "10_moss", "pictures": 12, "repeats": 10}]
    assert found.training["optimizer"] == "ada[31mm"
    assert "steps" not in found.training
    assert ("Trained on", "10_moss: 12 pictures, 10 ×") in facts(found)
    for damaged in ("[" * 100_000, "{", "[1]"):
        found = changed(written["kohya"], tmp_path / "bad.safetensors", {}, {"ss_tag_frequency": damaged, "ss_dataset_dirs": damaged})
        assert (found.tags, found.data) == ([], [])


def test_alpha_of_peft_lies_in_a_file_beside(tmp_path: Path):
    path = tmp_path / "adapter_model.safetensors"
    base = "base_model.model.model.layers.0.self_attn.q_proj"
    save_file({f"{base}.lora_A.weight": torch.ones(4, 8), f"{base}.lora_B.weight": torch.ones(8, 4)}, path)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 16, "r": 4, "use_rslora": False}))
    found = inspect(path)
    assert (found.format, found.title, found.groups[0].alphas) == ("PEFT", "LLM", [16.0])
    assert found.norms == [("transformer.layers.0", pytest.approx(4.0 * float((torch.ones(8, 4) @ torch.ones(4, 8)).norm())))]


def test_what_is_no_lora_is_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="is no LoRA"):
        inspect(POCKET / "unet" / "diffusion_pytorch_model.safetensors")
    pickle = tmp_path / "style.safetensors"
    torch.save({"a": torch.ones(2)}, pickle)
    with pytest.raises(ModelError, match="PyTorch file"):
        inspect(pickle)


def test_on_the_command_line(written: dict[str, Path], capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", str(written["kohya"])]) == 0
    said = capsys.readouterr().out
    assert "Made for: Stable Diffusion 1.x" in said
    assert "unet.down_blocks attention" in said
    assert main(["inspect", str(written["kohya"]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["finite"] is True
    assert main(["inspect", "nowhere.safetensors"]) == 2
