import json

from studio.pocket import BASE
from studio.pocket.recipe import tokenizer


def test_the_recipe_gives_the_shipped_vocabulary_every_time():
    shipped = json.loads((BASE / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    merges = tokenizer.merges()
    assert [" ".join(merge) for merge in shipped["merges"]] == merges
    assert shipped["vocab"] == tokenizer.vocabulary(merges)


def test_what_is_written_opens_as_a_clip_tokenizer(tmp_path):
    from transformers import CLIPTokenizer

    tokenizer.write(tmp_path)
    opened = CLIPTokenizer.from_pretrained(tmp_path)
    assert opened.convert_ids_to_tokens(opened("A red apple").input_ids) == ["<|startoftext|>", "a</w>", "red</w>", "apple</w>", "<|endoftext|>"]
