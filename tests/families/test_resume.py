"""Every family trains, draws, stops and goes on with the same bits as if it had never stopped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from studio.config import Config
from studio.data.examples import gather
from studio.events import Sampled, Steps, Validated
from studio.pocket import SAMPLES
from studio.runs.resolve import complete, open_base
from studio.training.lora import attach
from studio.training.prepare import prepare
from studio.training.trainer import Trainer

MODELS = {"sd": "tiny", "sdxl": "tiny", "sd3": "tiny", "flux": "dev", "flux2": "dev", "qwen_image": "tiny", "z_image": "tiny"}
Small = dict[str, dict[str, Path]]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small pictures with captions."""
    folder = tmp_path_factory.mktemp("pictures")
    for path in sorted((SAMPLES / "gameboy").glob("*.png"))[:6]:
        with Image.open(path) as picture:
            picture.convert("RGB").resize((32, 32)).save(folder / path.name)
        (folder / f"{path.stem}.txt").write_text(f"a {path.stem}")
    return folder


def trainer(model: Path, pictures: Path, folder: Path) -> Trainer:
    settings = {"batch_size": 2, "gradient_accumulation_steps": 1, "max_steps": 4, "save_steps": 2, "validation_steps": 2, "sample_steps": 4}
    settings |= {"lora_rank": 2, "lora_alpha": 1.0, "lora_dropout": 0.1, "learning_rate": 1e-2, "threads": 1}
    asked: dict[str, Any] = {"base_model": str(model), "train_data_dir": str(pictures), "sample_prompts": ("a red apple",), **settings}
    config = complete(Config.model_validate(asked))
    family, bundle = open_base(config)
    examples = gather(config).examples
    data = _last(prepare(config, family, bundle, (examples[2:], examples[:2], 0.0), folder / "rows"))
    lora = attach(bundle, family.targets(bundle, config), config)
    return Trainer(config, family, bundle, lora, data, folder)


def _last(preparing: Any) -> Any:
    while True:
        try:
            next(preparing)
        except StopIteration as end:
            return end.value


def events(steps: Iterator[Any]) -> list[Any]:
    return [event for happened in steps for event in happened]


@pytest.mark.parametrize("family", MODELS)
def test_what_is_resumed_ends_with_the_same_bits(tmp_path: Path, small: Small, pictures: Path, family: str) -> None:
    model = small[family][MODELS[family]]
    whole = trainer(model, pictures, tmp_path / "whole")
    told = events(iter(whole))
    assert [event.step for event in told if isinstance(event, Validated)] == [0, 2, 4]
    assert [event.step for event in told if isinstance(event, Sampled)] == [4]
    assert sum(event.last - event.first + 1 for event in told if isinstance(event, Steps)) == 4

    then = trainer(model, pictures, tmp_path / "then")
    then.restore(tmp_path / "whole" / "checkpoints" / "step-000002")
    again = events(iter(then))
    assert [event.step for event in again if isinstance(event, Validated)] == [4]
    expected, found = whole.lora.state(), then.lora.state()
    assert expected.keys() == found.keys()
    assert {name for name in expected if not torch.equal(expected[name], found[name])} == set()
    assert any(bool(tensor.any()) for name, tensor in found.items() if name.endswith("up"))
    first, second = (sorted((tmp_path / name / "samples").rglob("*.png")) for name in ("whole", "then"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second] != []
