import csv

from studio import pocket
from studio.pocket import judge
from studio.pocket.recipe import samples, things


def test_there_are_174_things_in_the_order_of_the_judge():
    assert list(things.THINGS) == judge.things()
    assert len(set(things.THINGS)) == 174


def test_phrases_are_plain_words():
    assert things.phrase("automobile") == "car"
    assert things.phrase("cat-face") == "cat face"
    assert things.phrases("cat-face") == ["cat face", "cat", "kitty"]


def test_captions_have_the_right_article():
    assert [things.caption(thing) for thing in ("owl", "hot-beverage", "t-shirt")] == ["an owl", "a cup of coffee", "a t-shirt"]


def test_the_shipped_captions_are_those_of_the_sample_things():
    for style in samples.STYLES:
        with (pocket.SAMPLES / style / "metadata.csv").open(encoding="utf-8") as file:
            rows = {row["file_name"]: row["text"] for row in csv.DictReader(file)}
        assert rows == {f"{thing}.png": things.caption(thing) for thing in things.sample_things()}


def test_the_shipped_held_out_things_are_those_of_the_recipe():
    assert judge.held_out() == {thing: things.caption(thing) for thing in things.held_out_things()}
