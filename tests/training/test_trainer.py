"""The trainer, tested with a `for`."""

from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from studio.config import Config
from studio.data.examples import Example, gather
from studio.errors import RunError
from studio.events import Sampled, Saved, Steps, Validated
from studio.families.base import Bundle
from studio.pocket import SAMPLES
from studio.runs.resolve import complete, open_base
from studio.training import checkpoints
from studio.training.lora import attach
from studio.training.memory import recompute
from studio.training.prepare import Prepared, prepare
from studio.training.trainer import Trainer
from tests.families import tiny

SETTINGS: dict[str, Any] = {
    "base_model": "pocket",
    "lora_rank": 4,
    "lora_alpha": 2.0,
    "batch_size": 2,
    "max_steps": 4,
    "learning_rate": 1e-2,
    "save_steps": 2,
    "validation_steps": 2,
    "threads": 1,
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    lines = ["file_name,text"]
    for number, path in enumerate(sorted((SAMPLES / "gameboy").glob("*.png"))[:8]):
        with Image.open(path) as opened:
            picture = opened.convert("RGB").resize((64, 64))
            (picture.crop((0, 16, 64, 48)) if number % 2 else picture).save(folder / path.name)
        lines.append(f'{path.name},"{path.stem}, green"')
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


def exhausted(generator: Any) -> Any:
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def ready(pictures: Path, rows: Path, folder: Path, held: int = 2, **settings: Any) -> Trainer:
    """A trainer on the pocket model; the first `held` pictures are held out."""
    config = complete(Config.model_validate({**SETTINGS, "train_data_dir": str(pictures), **settings}))
    family, bundle = open_base(config)
    found = gather(config)
    data = exhausted(prepare(config, family, bundle, (found.examples[held:], found.examples[:held], 0.0), rows, found.prior))
    lora = attach(bundle, family.targets(bundle, config), config)
    if config.gradient_checkpointing:
        recompute(bundle)
    return Trainer(config, family, bundle, lora, data, folder)


@pytest.fixture
def made(pictures: Path, rows: Path, tmp_path: Path):
    def make(**settings: Any) -> Trainer:
        return ready(pictures, rows, tmp_path, **settings)

    return make


def events(trainer: Trainer) -> list[Any]:
    return [event for happened in trainer for event in happened]


def same(one: Trainer, other: Trainer) -> bool:
    left, right = one.lora.state(), other.lora.state()
    return all(torch.equal(left[name], right[name]) for name in left)


def gradients(trainer: Trainer) -> list[torch.Tensor]:
    """What one step would follow, before the optimizer takes it."""
    found: list[torch.Tensor] = []
    take = trainer.optimizer.step

    def keep(factor: float, loss: torch.Tensor) -> Any:
        found.extend(parameter.grad.clone() for parameter in trainer.optimizer.names if parameter.grad is not None)
        return take(factor, loss)

    trainer.optimizer.step = keep  # type: ignore[method-assign]
    trainer._step()
    return found


class HostReads(TorchDispatchMode):
    """Counts moments at which the host waits for a number."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func._schema.name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal")
        return func(*args, **(kwargs or {}))


def test_it_trains_and_tells_every_step_once(made):
    told = events(made())
    steps = [step for event in told if isinstance(event, Steps) for step in range(event.first, event.last + 1)]
    assert steps == [0, 1, 2, 3]
    assert [event.step for event in told if isinstance(event, Saved)] == [2, 4]
    assert [event.step for event in told if isinstance(event, Validated)] == [0, 2, 4]


def test_the_validation_loss_falls_and_is_repeatable(made):
    losses = [[event.loss for event in events(made(max_steps=8)) if isinstance(event, Validated)] for _ in range(2)]
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]


def test_held_out_pictures_are_never_trained_on(made):
    data: Prepared = made().data
    trained = {index for number in range(data.batches.count(5)) for index in data.batches.at(number)}
    assert trained.isdisjoint(data.held_out)
    assert len(trained) + len(data.held_out) == 8


def test_accumulation_is_one_big_batch(made):
    small = made(batch_size=2, gradient_accumulation_steps=2, enable_bucket=False, caption_dropout=0.0)
    big = made(batch_size=4, enable_bucket=False, caption_dropout=0.0)
    config, family, bundle = small.config, small.family, small.bundle
    parts = [family.draw(bundle, family.collate(small.data.batch(i, config), config), torch.Generator().manual_seed(i), config) for i in range(2)]
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    waiting = iter(parts)
    small.family = Drawn(family, lambda: next(waiting))  # type: ignore[assignment]
    big.family = Drawn(family, lambda: joined)  # type: ignore[assignment]
    for one, other in zip(gradients(small), gradients(big), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


class Drawn:
    """A family whose draws are given."""

    def __init__(self, family: Any, draws: Any) -> None:
        self.family, self.draws = family, draws

    def __getattr__(self, name: str) -> Any:
        return getattr(self.family, name)

    def draw(self, *_: Any) -> Any:
        return self.draws()


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_gradient_checkpointing_computes_twice_and_gives_the_same_gradients(made, tmp_path: Path, family: str):
    settings = {"train_text_encoder": True, "lora_dropout": 0.2, "max_grad_norm": 0, "resolution": 64}
    settings["base_model"] = str(getattr(tiny, family)(tmp_path / "model"))
    plain, saving = (made(**settings, gradient_checkpointing=saves) for saves in (False, True))
    counts = [counted(trainer) for trainer in (plain, saving)]
    for one, other in zip(gradients(plain), gradients(saving), strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-5)
    for part in plain.bundle.adapted:
        assert counts[1][part] > counts[0][part] > 0, f"{part} computed nothing twice"


def counted(trainer: Trainer) -> Counter[str]:
    """How often adapted layers compute, by part, from now on."""
    counts: Counter[str] = Counter()
    for name, layer in trainer.lora.layers.items():
        layer.register_forward_hook(lambda *_, part=name: counts.update([part.split(".")[0]]))
    return counts


@pytest.mark.parametrize("adapter", ["lora", "dora", "lokr"])
def test_half_precision_trains_a_lora_in_full_precision(made, adapter: str):
    trainer = made(mixed_precision="bf16", learning_rate=1e-4, adapter=adapter, conv_rank=2)
    before = {name: parameter.detach().clone() for name, parameter in trainer.lora.parameters().items()}
    events(trainer)
    assert trainer.bundle["unet"].dtype == torch.bfloat16
    assert all(tensor.dtype == torch.float32 for tensor in trainer.lora.state().values())
    assert sum(not torch.equal(parameter, before[name]) for name, parameter in trainer.lora.parameters().items()) > 0.9 * len(before)


@pytest.mark.parametrize("adapter", ["lora", "dora", "lokr"])
def test_a_restored_trainer_goes_on_with_the_same_bits(made, tmp_path: Path, adapter: str):
    settings = {
        "adapter": adapter,
        "lora_dropout": 0.2,
        "gradient_accumulation_steps": 2,
        "train_text_encoder": True,
        "conv_rank": 2,
        "caption_dropout": 0.3,
        "ema_decay": 0.9,
    }
    whole, half = made(**settings), made(**settings)
    events(whole)
    half.restore(tmp_path / "checkpoints" / "step-000002")
    events(half)
    assert same(whole, half)
    assert all(torch.equal(tensor, half.average.tensors[name]) for name, tensor in whole.average.tensors.items())


def test_the_average_follows_the_weights_and_is_what_leaves_the_run(made, tmp_path: Path):
    plain, averaged = made(), made(ema_decay=0.5)
    expected = {name: tensor.clone() for name, tensor in averaged.lora.state().items()}
    while averaged.step < 4:
        averaged._step()
        decay = min(0.5, (1 + averaged.step) / (10 + averaged.step))
        expected = {name: decay * tensor + (1 - decay) * averaged.lora.state()[name] for name, tensor in expected.items()}
    list(averaged.save())
    saved = checkpoints.load(tmp_path / "checkpoints" / "step-000004")
    for name, layer in averaged.result().items():
        torch.testing.assert_close(layer.down, expected[f"{name}.down"])
        torch.testing.assert_close(layer.up, expected[f"{name}.up"])
        assert torch.equal(layer.up, saved.shown[f"{name}.up"])
    losses = [[event.loss for event in events(trainer) if isinstance(event, Validated)] for trainer in (plain, averaged)]
    averaged._switch(training=True)
    assert same(plain, averaged), "it trains as without"
    assert losses[0][-1] != losses[1][-1]


def test_a_stop_while_the_average_is_shown_saves_the_weights(made, tmp_path: Path):
    whole, half = made(ema_decay=0.9), made(ema_decay=0.9)
    events(whole)
    shown = iter(half)
    while not half.average._stands_in or half.step < 2:
        next(shown)
    list(half.save())
    again = made(ema_decay=0.9)
    again.restore(tmp_path / "checkpoints" / "step-000002")
    events(again)
    assert same(whole, again)


@pytest.fixture(scope="module")
def dogs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class pictures without captions."""
    folder = tmp_path_factory.mktemp("dogs")
    for path in sorted((SAMPLES / "gameboy").glob("*.png"))[8:11]:
        with Image.open(path) as opened:
            opened.convert("RGB").resize((64, 64)).save(folder / path.name)
    return folder


def test_class_pictures_are_shown_as_often_and_count_by_their_weight(made, dogs: Path):
    def step(number: int, **settings: Any) -> list[torch.Tensor]:
        trainer = made(prior_data_dir=str(dogs), prior_prompt="a dog", max_grad_norm=0, **settings)
        trainer.step = number
        return gradients(trainer)

    data = made(prior_data_dir=str(dogs), prior_prompt="a dog").data
    shown = [index for number in range(data.batches.count(4)) for index in data.batches.at(number)]
    assert sum(index >= 8 for index in shown) == sum(index < 8 for index in shown) == 24
    ours = next(number for number in range(9) if data.batches.at(number)[0] < 8)
    theirs = next(number for number in range(9) if data.batches.at(number)[0] >= 8)
    assert all(torch.equal(one, other) for one, other in zip(step(ours), step(ours, prior_weight=4.0), strict=True))
    assert all(torch.equal(one * 4, other) for one, other in zip(step(theirs), step(theirs, prior_weight=4.0), strict=True))
    assert any(tensor.any() for tensor in step(theirs))


def test_with_class_pictures_a_restored_trainer_goes_on_with_the_same_bits(made, dogs: Path, tmp_path: Path):
    whole, half = (made(prior_data_dir=str(dogs), prior_prompt="a dog", prior_weight=0.5) for _ in range(2))
    events(whole)
    half.restore(tmp_path / "checkpoints" / "step-000002")
    events(half)
    assert same(whole, half)


def test_drawing_in_between_disturbs_nothing(made):
    quiet, drawing = made(lora_dropout=0.2), made(lora_dropout=0.2, sample_prompts=("a dog face",), sample_steps=1)
    events(quiet)
    assert any(isinstance(event, Sampled) for event in events(drawing))
    assert same(quiet, drawing)


@pytest.mark.parametrize("validated", [False, True])
def test_a_stop_before_validation_or_samples_loses_neither(made, tmp_path: Path, validated: bool):
    """A stop that comes right after a step, or between what is done beside it: the rest of it is done at resume, and nothing twice."""
    settings = {"sample_prompts": ("a dog face",), "sample_steps": 2, "save_steps": 0}
    first, told = made(**settings), []
    for happened in first:
        told += happened
        if first.step == 2 and (not validated or Validated in map(type, happened)):
            break
    told += [event for happened in first.save() for event in happened]
    then = made(**settings)
    then.restore(tmp_path / "checkpoints" / "step-000002")
    told += events(then)
    assert [event.step for event in told if isinstance(event, Validated)] == [0, 2, 4]
    assert [event.step for event in told if isinstance(event, Sampled)] == [2, 4]


def test_numbers_are_read_at_most_once_a_second(made):
    told = [event for event in events(made(save_steps=0, validation_steps=0, max_steps=6)) if isinstance(event, Steps)]
    assert len(told) <= 3


def test_a_step_reads_nothing_from_the_device(made):
    trainer = made(gradient_accumulation_steps=2, ema_decay=0.9)
    trainer._step()
    with HostReads() as reads:
        trainer._step()
    assert reads.count == 0


def test_three_steps_that_arent_finite_end_it_and_leave_the_checkpoint(made, tmp_path: Path):
    trainer = made(save_steps=1, max_steps=20)
    steps: Iterator[Any] = iter(trainer)
    while not (tmp_path / "checkpoints" / "step-000001").exists():
        next(steps)
    good = {name: tensor.clone() for name, tensor in trainer.lora.state().items()}
    trainer.data.rows[trainer.data.empty]["embedding"].fill_(float("nan"))
    for row in trainer.data.rows.values():
        if "embedding" in row:
            row["embedding"].fill_(float("nan"))
    with pytest.raises(RunError, match="not a finite number"):
        for _ in steps:
            pass
    assert all(torch.equal(tensor, good[name]) for name, tensor in trainer.lora.state().items())
    assert checkpoints.is_whole(tmp_path / "checkpoints" / "step-000001")


def test_weights_that_arent_finite_are_not_saved(made, tmp_path: Path):
    trainer = made()
    with torch.no_grad():
        next(iter(trainer.optimizer.names)).fill_(float("inf"))
    with pytest.raises(RunError, match="no finite numbers"):
        list(trainer.save())
    assert not (tmp_path / "checkpoints").exists()


def test_steps_are_told_before_the_checkpoint_that_holds_them(made, tmp_path: Path):
    told, seen = 0, 0
    for happened in made(save_steps=1, max_steps=4, keep_checkpoints=0):
        there = [int(path.name[5:]) for path in checkpoints.listed(tmp_path / "checkpoints")]
        assert max(there, default=0) <= told
        seen += len(there)
        told = max([told, *(event.last + 1 for event in happened if isinstance(event, Steps))])
    assert seen
    assert told == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("mixed_precision", ["no", "bf16", "fp16"])
def test_a_step_on_cuda_never_waits(made, monkeypatch: pytest.MonkeyPatch, mixed_precision: str):
    monkeypatch.setenv("STUDIO_DEVICE", "cuda")
    trainer = made(mixed_precision=mixed_precision)
    trainer._step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer._step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer._read(now=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available() or find_spec("bitsandbytes") is None, reason="no CUDA device or no bitsandbytes here")
@pytest.mark.parametrize("load_in", ["8bit", "4bit"])
def test_on_cuda_it_trains_on_a_quantised_base(made, monkeypatch: pytest.MonkeyPatch, load_in: str):
    monkeypatch.setenv("STUDIO_DEVICE", "cuda")
    losses = [event.loss for event in events(made(load_in=load_in, mixed_precision="bf16", max_steps=8)) if isinstance(event, Validated)]
    assert losses[-1] < losses[0]


class TestCache:
    """What is encoded once stays encoded, and is never stale."""

    def encoded(self, pictures: Path, rows: Path, captions: dict[str, str] | None = None, **settings: Any) -> tuple[Prepared, Bundle]:
        config = complete(Config.model_validate({**SETTINGS, "train_data_dir": str(pictures), **settings}))
        family, bundle = open_base(config)
        examples = [Example(e.path, e.name, e.content, e.size, (captions or {}).get(e.name, e.caption)) for e in gather(config).examples]
        return exhausted(prepare(config, family, bundle, (examples, (), 0.0), rows)), bundle

    def test_a_second_run_opens_no_encoder(self, pictures: Path, tmp_path: Path):
        first, bundle = self.encoded(pictures, tmp_path)
        assert first.encoded == 8 + 9
        assert not {"vae", "text_encoder"} & bundle.opened, "let go once all is encoded"
        bundle.loaders = {}  # opening anything would fail now
        second, again = self.encoded(pictures, tmp_path)
        assert second.encoded == 0
        assert not {"vae", "text_encoder"} & again.opened
        assert all(torch.equal(first.rows[name][key], second.rows[name][key]) for name in first.rows for key in first.rows[name])

    def test_a_changed_caption_encodes_one_text(self, pictures: Path, tmp_path: Path):
        self.encoded(pictures, tmp_path)
        name = sorted(pictures.glob("*.png"))[0].name
        assert self.encoded(pictures, tmp_path, {name: "something else"})[0].encoded == 1

    def test_other_crops_pixels_and_models_are_encoded_anew(self, pictures: Path, tmp_path: Path):
        self.encoded(pictures, tmp_path)
        assert self.encoded(pictures, tmp_path, enable_bucket=False)[0].encoded == 4
        assert self.encoded(pictures, tmp_path, random_flip=True)[0].encoded == 8
        assert self.encoded(pictures, tmp_path, mixed_precision="bf16")[0].encoded == 9

    def test_a_damaged_row_is_made_again(self, pictures: Path, tmp_path: Path):
        self.encoded(pictures, tmp_path)
        next((tmp_path / "rows").rglob("*.safetensors")).write_bytes(b"torn")
        assert self.encoded(pictures, tmp_path)[0].encoded == 1

    def test_a_trained_text_encoder_stays_and_its_texts_are_tokens(self, pictures: Path, tmp_path: Path):
        data, bundle = self.encoded(pictures, tmp_path, train_text_encoder=True)
        assert "tokens" in data.rows[data.empty]
        assert "vae" not in bundle.opened
