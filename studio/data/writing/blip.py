"""Models of transformers that describe pictures; a BLIP can also say how well a text fits one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio.data.writing.captioners import Options, Shot

SPELT = 0.3
"""The share of single letters among the pieces of a text from which on its words are unknown."""


@dataclass
class Model:
    """A transformers model that describes pictures: BLIP, or Florence-2 with its `task`."""

    processor: Any
    model: Any
    options: Options
    batch: int
    task: str = ""

    def write(self, shots: Sequence[Shot]) -> list[str]:
        """One sentence a picture."""
        import torch

        asked: dict[str, Any] = {"images": [shot.read() for shot in shots], "return_tensors": "pt"}
        if self.task:
            asked["text"] = [self.task] * len(shots)
        given = self.processor(**asked).to(self.model.device, self.model.dtype)
        with torch.inference_mode():
            ids = self.model.generate(**given, max_new_tokens=self.options.tokens, num_beams=self.options.beams, do_sample=False)
        return [sentence(text) for text in self.processor.batch_decode(ids, skip_special_tokens=True)]


@dataclass
class Blip(Model):
    """A BLIP, which can also say how well a text fits a picture."""

    def judge(self, shots: Sequence[Shot], texts: Sequence[str]) -> list[Judgement]:
        """How well each text fits its picture, beside the caption that the model would write itself."""
        import torch

        images = self.processor(images=[shot.read() for shot in shots], return_tensors="pt").to(self.model.device, self.model.dtype)
        with torch.inference_mode():
            seen = self.model.vision_model(pixel_values=images.pixel_values, output_hidden_states=True)
            ids = self.model.generate(**images, max_new_tokens=self.options.tokens, num_beams=1, do_sample=False)
            own = [sentence(text) for text in self.processor.batch_decode(ids, skip_special_tokens=True)]
            surprise, own_surprise = (self._surprise(seen.last_hidden_state, words) for words in (list(texts), own))
        early = seen.hidden_states[1][:, 1:].float()  # a first layer still sees colours and textures, not yet things
        places = torch.cat([early.mean(1), early.std(1)], 1).cpu().numpy()
        known = [self._knows(text) for text in texts]
        return [Judgement(*row) for row in zip(surprise, own_surprise, own, known, places, strict=True)]

    def _knows(self, text: str) -> bool:
        """Whether its vocabulary has the words: others fall apart into letters."""
        pieces = [piece.removeprefix("##") for piece in self.processor.tokenizer.tokenize(text)]
        letters = [piece for piece in pieces if len(piece) == 1 and piece.isalpha() and piece != "a"]
        return self.processor.tokenizer.unk_token not in pieces and len(letters) <= SPELT * len(pieces)

    def _surprise(self, seen: Any, texts: list[str]) -> list[float]:
        """The mean negative log-likelihood of a token of each text, given the pictures."""
        import torch

        tokenizer = self.processor.tokenizer
        given = tokenizer([text or " " for text in texts], padding=True, truncation=True, max_length=self._longest, return_tensors="pt").to(
            seen.device
        )
        ids = given.input_ids.clone()
        ids[:, 0] = self.model.config.text_config.bos_token_id
        logits = self.model.text_decoder(input_ids=ids, attention_mask=given.attention_mask, encoder_hidden_states=seen).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), ids[:, 1:], reduction="none")
        weight = given.attention_mask[:, 1:]
        values: list[float] = ((loss * weight).sum(1) / weight.sum(1).clamp(min=1)).tolist()
        return values

    @property
    def _longest(self) -> int:
        return min(int(self.model.config.text_config.max_position_embeddings), 128)


@dataclass(frozen=True)
class Judgement:
    """What a BLIP thinks of a picture and its text: the surprise of a token (nats), the same for its own caption, that caption, whether it
    knows the words of the text, and the look of the picture as numbers [2 × width]."""

    surprise: float
    own_surprise: float
    own: str
    known: bool
    place: Any

    @property
    def misfit(self) -> float:
        """How much less likely the text is than what the model would have said, per token, in nats."""
        return max(0.0, self.surprise - self.own_surprise)


def sentence(text: str) -> str:
    """On one line; a tokenizer's blanks around punctuation taken back: "a t - shirt ." → "a t-shirt"."""
    text = re.sub(r"\s+([,.;:!?'])", r"\1", " ".join(text.split()))
    return re.sub(r"(?<=\w) - (?=\w)", "-", text).rstrip(" .")
