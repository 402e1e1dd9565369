"""The captioner inside says what the pocket model's pictures show, and judges captions in its own world."""

import json
from pathlib import Path

import pytest
from PIL import Image

from studio import pocket
from studio.data.images import load
from studio.data.looking import fitness
from studio.data.writing import captioners
from studio.data.writing.captioners import Options, Shot
from studio.pocket.recipe.captioner import noun


@pytest.fixture(scope="module")
def gameboy() -> dict[str, str]:
    rows = [line.split(",", 1) for line in (pocket.SAMPLES / "gameboy" / "metadata.csv").read_text().splitlines()[1:]]
    return dict(rows)  # type: ignore[arg-type]


def test_no_file_is_larger_than_a_space_takes_without_lfs():
    assert max(path.stat().st_size for path in pocket.CAPTIONER.iterdir()) <= 9.5 * 2**20


def test_its_figures_lie_beside_it():
    figures = json.loads((pocket.CAPTIONER / pocket.FIGURES).read_text())
    assert figures["trained_noun"] >= 0.95
    assert figures["held_out_noun"] >= 0.70
    assert "95%" in captioners.CAPTIONERS["pocket"].described or f"{figures['trained_noun']:.0%}" in captioners.CAPTIONERS["pocket"].described


def test_it_names_nearly_all_things_of_the_sample_set(gameboy: dict[str, str]):
    shots = [Shot(name, lambda name=name: load(pocket.SAMPLES / "gameboy" / name)) for name in gameboy]
    said = captioners.opened("pocket").write(shots)
    right = [noun(text) == noun(wanted) for text, wanted in zip(said, gameboy.values(), strict=True)]
    assert sum(right) >= 0.9 * len(right)


def test_it_names_what_the_base_draws(drawn):
    pictures, things = drawn
    shots = [Shot(thing, lambda picture=picture: Image.fromarray(picture)) for picture, thing in zip(pictures, things, strict=True)]
    from studio.pocket.recipe.things import phrase

    said = captioners.opened("pocket").write(shots)
    assert sum(noun(text) == noun(f"a {phrase(thing)}") for text, thing in zip(said, things, strict=True)) >= 6


def test_captions_of_other_pictures_are_the_worst(gameboy: dict[str, str]):
    names = sorted(gameboy)
    wrong = names[:6]
    captions = {**gameboy, **{name: gameboy[names[index - 6]] for index, name in enumerate(wrong)}}
    fits = fitness.judge(pocket.SAMPLES / "gameboy", captions, "pocket", Options(), lambda done, total: None)
    assert {fit.name for fit in fits[:8]} >= set(wrong)
    assert {problem.file for problem in fitness.findings(fits) if problem.kind == "misfit"} >= set(wrong)


def test_of_words_that_it_does_not_know_it_says_nothing(gameboy: dict[str, str]):
    name = next(iter(gameboy))
    (fit,) = fitness.judge(pocket.SAMPLES / "gameboy", {name: "ein Zeppelin über Überlingen"}, "pocket", Options(), lambda done, total: None)
    assert fit.misfit is None


def test_a_picture_unlike_the_others_is_told(tmp_path: Path, gameboy: dict[str, str]):
    for name in list(gameboy)[:20]:
        load(pocket.SAMPLES / "gameboy" / name).save(tmp_path / name)
    Image.new("RGB", (64, 64), "red").save(tmp_path / "odd.png")
    captions = {path.name: "a cat" for path in tmp_path.iterdir() if path.is_file()}
    fits = fitness.judge(tmp_path, captions, "pocket", Options(), lambda done, total: None)
    assert max(fits, key=lambda fit: fit.distance).name == "odd.png"
