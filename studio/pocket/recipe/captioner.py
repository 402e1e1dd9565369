"""The captioner: a small BLIP that says what the pocket model's pictures show.

A vision transformer learns slowly from captions alone. Here a convolutional network, which learned the same training pictures in minutes, shows it
the way (FitNets, arXiv 1412.6550): the transformer's tokens are to hold what the network sees in the same place, its summary what the network
thinks the thing is. Nothing of that is left in the result.
"""

import copy
import json
import math
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration, BlipProcessor
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from studio.language import say
from studio.pocket import FIGURES
from studio.pocket.judge import network
from studio.pocket.recipe.colours import COLOURS, RECOLOURED
from studio.pocket.recipe.pictures import SIZE, Pictures
from studio.pocket.recipe.things import THINGS
from studio.pocket.recipe.vae import until
from studio.pocket.recipe.views import NOWHERE, Source, View, cosine, on_ground, views

BATCH = 48
LEARNING_RATE = 1.2e-3
TEACHER_SHARE = 0.12
"""Of the time, for the convolutional network."""
AVERAGED = 0.999
LONGEST = 24
SEEN = ((3, 128), (5, 192))
"""Which layers of the transformer learn what the teacher sees at strides 8 and 16, and its channels there."""
PAD, UNKNOWN, BEGIN, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"


def vocabulary(known: Sequence[View]) -> list[str]:
    """The words of all captions, and every letter, so that any text can be read."""
    words = {word for view in known for ground in range(NOWHERE + 1) for word in re.findall(r"[a-z]+|[^a-z\s]", view.words(ground))}
    letters = [chr(ord("a") + place) for place in range(26)]
    return [
        PAD,
        UNKNOWN,
        BEGIN,
        END,
        MASK,
        *sorted(words),
        *(letter for letter in letters if letter not in words),
        *(f"##{letter}" for letter in letters),
    ]


def processor(words: Sequence[str]) -> BlipProcessor:
    """Pictures and texts as the captioner takes them."""
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(words)}, do_lower_case=True, model_max_length=LONGEST)
    images = BlipImageProcessorPil(size={"height": SIZE, "width": SIZE}, image_mean=[0.5] * 3, image_std=[0.5] * 3, resample=3)
    return BlipProcessor(images, tokenizer)


def captioner(words: int) -> BlipForConditionalGeneration:
    """The captioner without training."""
    quiet = {"attention_dropout": 0.0}
    text: dict[str, Any] = {
        "vocab_size": words,
        "hidden_size": 128,
        "encoder_hidden_size": 192,
        "intermediate_size": 256,
        "projection_dim": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": LONGEST,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "sep_token_id": 3,
        "pad_token_id": 0,
        "is_decoder": True,
        "attention_probs_dropout_prob": 0.0,
        "hidden_dropout_prob": 0.0,
    }
    vision = {
        "hidden_size": 192,
        "intermediate_size": 384,
        "projection_dim": 128,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "image_size": SIZE,
        "patch_size": 8,
    }
    return BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision | quiet, projection_dim=128, image_text_hidden_size=128))


def train(pictures: Pictures, minutes: float, folder: Path) -> None:
    """Train for `minutes` and write the captioner, in half precision, with its figures, into `folder`."""
    torch.manual_seed(0)
    random.seed(0)
    known = views(pictures)
    source = Source(known, random.Random(0))
    read = processor(vocabulary(known))
    teacher = taught(source, minutes * TEACHER_SHARE)
    print(say("{name}: {percent} of {count} recognised", name="teacher", percent=f"{_recognises(teacher, known):.0%}", count="held out"), flush=True)
    student = Student(captioner(len(read.tokenizer)))
    model, average = student.model, copy.deepcopy(student.model)
    weights = list(student.parameters())
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, weight_decay=3e-2, betas=(0.9, 0.98), fused=True)
    for step, share in enumerate(until(minutes * (1 - TEACHER_SHARE)), 1):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1, step / 300) * cosine(share)
        loss = step_loss(student, teacher, source, read.tokenizer)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        with torch.no_grad():
            kept = min(AVERAGED, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - kept)
        if step % 1000 == 0:
            print(say("{step} steps, loss {loss}", step=step, loss=f"{loss.item():.3f}"), measured(average, read, known), flush=True)
    average.half().save_pretrained(folder)
    read.save_pretrained(folder)
    figures = measured(BlipForConditionalGeneration.from_pretrained(folder, dtype=torch.float32), read, known, most=len(known))
    (folder / FIGURES).write_text(json.dumps({"pictures": step * BATCH, **figures}, indent=1) + "\n", encoding="utf-8")


class Student(nn.Module):
    """The captioner, and what is only there while it learns: its guess at the thing, its idea of what the teacher sees."""

    def __init__(self, model: BlipForConditionalGeneration) -> None:
        super().__init__()
        width = model.config.vision_config.hidden_size
        self.model = model
        self.guess = nn.Linear(2 * width, len(THINGS))
        self.sees = nn.ModuleList(nn.Linear(width, channels) for _, channels in SEEN)
        with torch.no_grad():
            model.vision_model.embeddings.position_embedding[0, 1:] = places(SIZE // model.config.vision_config.patch_size, width)


def places(side: int, width: int) -> Tensor:
    """Where each of `side` × `side` patches is, as sines and cosines [side², width]: a start from which neighbours are found sooner."""
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    rates = torch.exp(torch.arange(width // 4) / (width // 4) * -math.log(100.0))
    angles = [place.flatten()[:, None] * rates for place in (row, column)]
    return 0.3 * torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], 1)


def step_loss(student: Student, teacher: nn.Sequential, source: Source, tokenizer: BertTokenizerFast) -> Tensor:
    """The sum of four losses for one batch: of the caption, of the thing, of what the teacher thinks and of what it sees."""
    shown, words, things = source.draw(BATCH)
    texts = tokenizer(words, padding=True, return_tensors="pt")
    labels = texts.input_ids.masked_fill(texts.attention_mask == 0, -100)
    with torch.no_grad():
        fine = teacher[:9](shown)
        coarse = teacher[9:12](fine)
        told = (teacher[12:](coarse) / 1.5).softmax(-1)
    vision = student.model.vision_model(pixel_values=shown, output_hidden_states=True)
    tokens = vision.last_hidden_state
    written = student.model.text_decoder(
        input_ids=texts.input_ids, attention_mask=texts.attention_mask, encoder_hidden_states=tokens, labels=labels, reduction="mean"
    ).loss
    guess = student.guess(torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1))
    seen = tokens.new_zeros(())
    for (layer, _), sees, target in zip(SEEN, student.sees, (fine, coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)), strict=True):
        wanted = target.flatten(2).transpose(1, 2)
        seen = seen + F.mse_loss(sees(vision.hidden_states[layer][:, 1:]), F.layer_norm(wanted, wanted.shape[-1:]))
    total: Tensor = written + F.cross_entropy(guess, things, label_smoothing=0.05) + F.cross_entropy(guess, told) + 2 * seen
    return total


def taught(source: Source, minutes: float) -> nn.Sequential:
    """A convolutional network that names the thing, learned from the same pictures."""
    model: nn.Sequential = network(len(THINGS)).get_submodule("f")  # type: ignore[assignment]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=2e-2)
    for share in until(minutes):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - share) + 1e-5
        shown, _, things = source.draw(64)
        loss = F.cross_entropy(model(shown), things, label_smoothing=0.05)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return model.eval()


def measured(model: BlipForConditionalGeneration, read: BlipProcessor, known: Sequence[View], most: int = 400) -> dict[str, float]:
    """The share of pictures whose noun is right, and whose whole caption is: of pairs that were trained, and of those that weren't."""
    rng = random.Random(1)
    figures = {}
    drawable = [view for view in known if not view.bare]
    groups = {
        "trained": [view for view in drawable if not view.held_out],
        "held_out": [view for view in drawable if view.held_out and not view.colour],
        "held_out_colours": [view for view in drawable if view.held_out and view.colour],
    }
    for name, group in groups.items():
        chosen = rng.sample(group, min(most, len(group)))
        asked = [(view, rng.randrange(NOWHERE) if rng.random() < 0.5 and view.rgba[..., 3].min() < 255 else NOWHERE) for view in chosen]
        said = _said(model, read, _shown(asked))
        wanted = [view.words(ground) for view, ground in asked]
        figures[f"{name}_noun"] = round(sum(noun(a) == noun(b) for a, b in zip(said, wanted, strict=True)) / len(asked), 4)
        figures[f"{name}_caption"] = round(sum(a == b for a, b in zip(said, wanted, strict=True)) / len(asked), 4)
    return figures


def noun(caption: str) -> str:
    """The thing in a caption, without article, ground, and the colour of what comes in colours: "a blue car on a red background" → "car"."""
    words = caption.partition(" on a")[0].split()[1:]
    plain = " ".join(words[1:])
    return plain if words[:1] and words[0] in COLOURS and plain in RECOLOURED.values() else " ".join(words)


def _said(model: BlipForConditionalGeneration, read: BlipProcessor, shown: Tensor) -> list[str]:
    said = []
    model.eval()
    with torch.inference_mode():
        for batch in torch.split(shown, 64):
            said += read.tokenizer.batch_decode(model.generate(pixel_values=batch, max_new_tokens=16, num_beams=1), skip_special_tokens=True)
    return [text.replace(" - ", "-").strip() for text in said]


def _shown(asked: Sequence[tuple[View, int]]) -> Tensor:
    rgba = torch.stack([torch.from_numpy(view.rgba).permute(2, 0, 1).float() / 255 for view, _ in asked])
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return on_ground(rgba, torch.tensor([ground for _, ground in asked]))


def _recognises(teacher: nn.Module, known: Sequence[View]) -> float:
    held = [view for view in known if view.held_out and not view.colour and not view.bare]
    with torch.inference_mode():
        guesses = teacher(_shown([(view, NOWHERE) for view in held])).argmax(1).tolist()
    right = sum(THINGS[guess] == view.thing for guess, view in zip(guesses, held, strict=True))
    return int(right) / len(held)
