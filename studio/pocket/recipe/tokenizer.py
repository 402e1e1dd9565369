"""The pocket model's words: byte-pair merges as CLIP has them, learned from every phrase that occurs in a caption."""

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from studio.pocket.recipe.colours import COLOURS, RECOLOURED
from studio.pocket.recipe.things import THINGS, phrases

LENGTH = 24
START, END = "<|startoftext|>", "<|endoftext|>"
SPECIAL = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
OTHER_WORDS = (
    "an emoji of a picture of a photo of a drawing of the in style on with and background white black brown grey pixel art sketch line ink "
    "sepia neon glossy dark light flat"
)

# Merges that are equally frequent go by the ids of their letters. The trainer numbers a word's last letters as a hash table yields them, so
# they are given here in an order of our own: any would do, this one yields the vocabulary that the shipped model was trained with.
_LAST_LETTERS_FIRST = "edtalbryvo"
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def texts() -> list[str]:
    """What the merges are learned from; a phrase weighs three times as much as an icon's name."""
    of_things = [text for thing in THINGS for text in [*(words for words in phrases(thing) for _ in range(3)), thing.replace("-", " ")]]
    of_colours = [f"a {colour} {words}" for words in RECOLOURED.values() for colour in COLOURS]
    return of_things + of_colours + [OTHER_WORDS] * 3


def merges() -> list[str]:
    """The learned merges, the most frequent first: "e d</w>"."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    letters = _letters()
    last = sorted(letters, key=lambda letter: (_LAST_LETTERS_FIRST + letter).index(letter))
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        min_frequency=1,
        end_of_word_suffix="</w>",
        initial_alphabet=letters,
        special_tokens=letters + [f"{letter}</w>" for letter in last],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    learned = json.loads(tokenizer.to_str())["model"]["merges"]
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in learned]


def vocabulary(merges: list[str]) -> dict[str, int]:
    """Token → id, in CLIP's order: letters, last letters, merges, start and end."""
    letters = _letters()
    tokens = letters + [f"{letter}</w>" for letter in letters] + [merge.replace(" ", "", 1) for merge in merges] + [START, END]
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def write(folder: Path) -> None:
    """Write vocab.json, merges.txt and tokenizer_config.json, which CLIPTokenizer opens."""
    learned = merges()
    (folder / "vocab.json").write_text(json.dumps(vocabulary(learned)), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *learned]) + "\n", encoding="utf-8")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, **SPECIAL}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def _letters() -> list[str]:
    return sorted(pre_tokenizers.ByteLevel.alphabet())
