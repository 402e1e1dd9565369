"""The trainer: iterating it trains. It knows no folder of runs, no screen and no TensorBoard; what happens comes out as events."""

import math
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from studio.config import Config
from studio.device import free_memory, memory_in_use
from studio.errors import DivergedError
from studio.events import Event, Progress, Sampled, Saved, Steps, Validated
from studio.families.base import Batch, Bundle, Family, Prompt
from studio.formats.lora import Layer
from studio.language import say
from studio.training import checkpoints
from studio.training.average import Average
from studio.training.batches import derive
from studio.training.checkpoints import Checkpoint
from studio.training.lora import Lora, records
from studio.training.optim import Optimizer, schedule
from studio.training.prepare import Prepared, seeded
from studio.training.watch import Watch

BANDS = (0.125, 0.375, 0.625, 0.875)
READ_EVERY = 1.0  # seconds between looks at numbers on the device


@dataclass
class Trainer:
    """Trains `lora` on what was prepared. Each item is one optimizer step, or a moment beside the steps, and what happened in it.

    `folder` takes checkpoints/ and samples/. Randomness is a function of (seed, step): a restored trainer goes on as if nothing had been.
    """

    config: Config
    family: Family
    bundle: Bundle
    lora: Lora
    data: Prepared
    folder: Path
    step: int = 0
    watch: Watch = field(default_factory=Watch)

    def __post_init__(self) -> None:
        config, accumulate = self.config, self.config.gradient_accumulation_steps
        self.epoch = self.data.batches.count(1) / accumulate
        self.steps = config.max_steps or max(1, math.ceil(self.data.batches.count(config.epochs) / accumulate))
        slower = config.text_encoder_lr or config.learning_rate / 2
        rates = {part: slower if part in self.bundle.encoders else config.learning_rate for part in self.bundle.trainable}
        named = self.lora.parameters()
        parts = [({name: p for name, p in named.items() if name.startswith(part + ".")}, rates[part]) for part in self.bundle.trainable]
        scaled = self.bundle.dtype == torch.float16
        self.optimizer = Optimizer([part for part in parts if part[0]], self.bundle.device, config.weight_decay, config.max_grad_norm, scaled)
        self.average = Average(named, config.ema_decay) if config.ema_decay else None
        self._unread: list[Tensor] = []
        self._rates: list[float] = []
        self._last_read = time.monotonic()
        self._beside = {"validated": -1, "sampled": -1}  # the last step at which each was done

    def __iter__(self) -> Generator[list[Event], None, None]:
        """Train to the last step. Raises DivergedError when that makes no sense any more."""
        self._last_read = time.monotonic()
        yield from self._look()  # a stop may have come before it
        while self.step < self.steps:
            self._step()
            yield self._read()
            yield from self._look()
            if self._due(self.config.save_steps):
                yield from self.save()

    def save(self) -> Iterator[list[Event]]:
        """A checkpoint of this step. Its steps are told first: whoever dies in between tells them twice, never not at all.

        Refuses weights that aren't finite: DivergedError.
        """
        yield self._read(now=True)
        self._switch(training=True)
        state, average = self.lora.state(), self.average.state() if self.average else {}
        if not all(bool(torch.isfinite(tensor).all()) for tensor in state.values()):
            raise DivergedError(say("The LoRA's weights are no finite numbers any more (step {step}).", step=self.step), say("Lower learning_rate."))
        numbers = {"step": self.step, "watch": self.watch.state(), "beside": self._beside}
        path = checkpoints.save(self.folder / "checkpoints", self.step, Checkpoint(state, self.optimizer.state(), numbers, average))
        checkpoints.prune(self.folder / "checkpoints", self.config.keep_checkpoints)
        yield [Saved(step=self.step, folder=f"checkpoints/{path.name}")]

    def restore(self, checkpoint: Path) -> None:
        """Go on from a whole checkpoint."""
        loaded = checkpoints.load(checkpoint)
        self.lora.load_state(loaded.adapter)
        if self.average:
            self.average.load_state(loaded.average)
        self.optimizer.load_state(loaded.optimizer)
        self.step = loaded.state["step"]
        self.watch = Watch(**loaded.state["watch"])
        self._beside |= loaded.state.get("beside") or dict.fromkeys(self._beside, self.step)

    def result(self) -> dict[str, Layer]:
        """The LoRA as files hold it, on the CPU: its average where one is kept."""
        self._switch(training=True)
        return records(self.lora.state() | (self.average.state() if self.average else {}), self.lora.scale)

    def _switch(self, training: bool) -> None:
        """To training, with dropout; or to what is shown: without, and the average in the weights' place."""
        self.lora.train(training)
        if self.average:
            self.average.stand_in(not training)

    def _step(self) -> None:
        """Draw, forward and backward for each batch, one update. No number is read from the device."""
        config, first = self.config, self.step * self.config.gradient_accumulation_steps
        self._switch(training=True)
        parts = [self.family.collate(self.data.batch(first + i, config), config) for i in range(config.gradient_accumulation_steps)]
        count = torch.stack([part["count"].sum() for part in parts]).sum()  # on the CPU: nothing is read from the device
        total = torch.zeros((), device=self.bundle.device)
        with self._own_randomness():
            for i, part in enumerate(parts):
                rng = seeded(config.seed, "draw", first + i)
                batch = self._to_device(self.family.draw(self.bundle, part, rng, config))
                losses = self.family.loss(self.bundle, batch) * batch["count"]
                loss = (losses * batch["emphasis"] if "emphasis" in batch else losses).sum() / count
                torch.autograd.backward(self.optimizer.scaled(loss))
                total += loss.detach()
        factor = schedule(config.lr_scheduler, self.step, self.steps, config.warmup_steps)
        norm, failed = self.optimizer.step(factor, total)
        self._unread.append(torch.stack([total, norm, failed]))
        self._rates.append(factor * config.learning_rate)
        self.step += 1
        if self.average:
            self.average.follow(self.step)

    def _read(self, now: bool = False) -> list[Event]:
        """The numbers of the steps since the last look, at most once a second."""
        waited = time.monotonic() - self._last_read
        if not self._unread or not (now or waited >= READ_EVERY or self.step == self.steps):
            return []
        numbers: list[list[float]] = torch.stack(self._unread).tolist()
        rates, first = tuple(self._rates), self.step - len(numbers)
        self._unread, self._rates, self._last_read = [], [], time.monotonic()
        for number, (loss, _, failed) in enumerate(numbers, first):
            self.watch.see(number, loss, bool(failed))
        seconds = waited / len(numbers)
        pictures = self.config.batch_size * self.config.gradient_accumulation_steps
        return [
            Steps(
                first=first,
                loss=tuple(_finite(loss) for loss, _, _ in numbers),
                grad_norm=tuple(_finite(norm) for _, norm, _ in numbers),
                learning_rate=rates,
                seconds=round(seconds, 6),
                examples=round(pictures / max(seconds, 1e-9), 3),
                memory=memory_in_use(self.bundle.device),
            )
        ]

    def _due(self, every: int) -> bool:
        return self.step == self.steps or (every > 0 and self.step % every == 0)

    def _look(self) -> Iterator[list[Event]]:
        """Validate and draw samples where that is due and not done yet."""
        config, done = self.config, self._beside
        if self.data.held_out and config.validation_steps and self._due(config.validation_steps) and done["validated"] != self.step:
            yield from self._validate()
        if self.step and config.sample_prompts and self._due(config.sample_steps) and done["sampled"] != self.step:
            yield from self._sample()

    def _validate(self) -> Iterator[list[Event]]:
        """Loss on the held-out pictures, with the same noise and timesteps each time."""
        yield self._read(now=True)
        self._switch(training=False)
        total = torch.zeros(len(BANDS), device=self.bundle.device)
        for index in self.data.held_out:
            rows = self.family.collate([self.data.held_out_row(index)], self.config)
            drawn = [
                self.family.draw(self.bundle, rows, seeded(self.config.seed, "validation", index, band), self.config, at)
                for band, at in enumerate(BANDS)
            ]
            batch = self._to_device({name: torch.cat([one[name] for one in drawn]) for name in drawn[0]})
            with torch.no_grad():
                total += self.family.loss(self.bundle, batch)
            yield []
        means: list[float] = (total / len(self.data.held_out)).tolist()
        by_band = {str(at): round(mean, 6) for at, mean in zip(BANDS, means, strict=True)}
        self._beside["validated"], self._last_read = self.step, time.monotonic()
        yield [Validated(step=self.step, loss=sum(means) / len(means), bands=by_band, trained_share=self.data.trained_share)]

    def _sample(self) -> Iterator[list[Event]]:
        """Draw the preview prompts with the LoRA as it is."""
        yield self._read(now=True)
        self._switch(training=False)
        texts, folder = self.config.sample_prompts, self.folder / "samples" / f"step-{self.step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        prompts = [Prompt(text, seed=derive(self.config.seed, "sample", number) % 2**32) for number, text in enumerate(texts)]
        for piece in self.family.sample(self.bundle, prompts):
            if piece.image is not None:
                piece.image.save(folder / f"{piece.index:02d}.png")
            yield [Progress(what=say("Drawing samples"), done=piece.done, total=piece.total)] if piece.total else []
        if self.bundle.release("vae", *(() if self.config.train_text_encoder else self.bundle.encoders)):
            free_memory(self.bundle.device)
        self._beside["sampled"], self._last_read = self.step, time.monotonic()
        files = tuple(f"samples/{folder.name}/{number:02d}.png" for number in range(len(texts)))
        yield [Sampled(step=self.step, files=files, prompts=tuple(texts))]

    def _to_device(self, batch: Batch) -> Batch:
        if self.bundle.device.type == "cpu":
            return batch
        return {name: tensor.pin_memory().to(self.bundle.device, non_blocking=True) for name, tensor in batch.items()}

    @contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """Dropout takes its numbers from torch's global generator: here it is one of this step's own."""
        if not self.config.lora_dropout:
            yield
            return
        with torch.random.fork_rng([self.bundle.device] if self.bundle.device.type == "cuda" else []):
            torch.manual_seed(derive(self.config.seed, "dropout", self.step))
            yield


def _finite(number: float) -> float | None:
    return round(number, 7) if math.isfinite(number) else None
