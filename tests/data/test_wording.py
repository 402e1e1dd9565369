import time

import pytest

from studio.data import wording
from studio.pocket import SAMPLES, STYLES


def named(*captions: str) -> dict[str, str]:
    return {f"{number:02}.png": text for number, text in enumerate(captions)}


def kinds(captions: dict[str, str], trigger: str = "") -> list[str]:
    return [problem.kind for problem in wording.findings(captions, trigger)]


DOGS = named(
    "ohwx, dog, grass, sun", "ohwx, dog, street, rain", "ohwx, dog, sofa, lamp", "ohwx, dog, beach, sea", "ohwx, dog, snow, hill", "cat, sofa, rug"
)


@pytest.mark.parametrize("text", ["a picture", "An image of a thing", "IMG_1234", "DSC-0042.jpg", "photo", "2024-01-03", "一张图片"])
def test_a_caption_that_says_nothing_is_vague(text: str) -> None:
    assert wording.vague(named(text, "a red car on the road")) == ["00.png"]


@pytest.mark.parametrize("text", ["cat", "a photo of a cat", "1girl, solo", "ohwx", "红色的车", "R2D2 in a desert"])
def test_one_word_that_means_something_is_not_vague(text: str) -> None:
    assert wording.vague(named(text)) == []


@pytest.mark.parametrize(
    ("trigger", "text", "there"),
    [
        ("ohwx", "OHWX, a dog", True),
        ("ohwx", "ohwxx, a dog", False),
        ("ohwx dog", "an ohwx  dog runs", True),
        ("安娜", "画着安娜的画", True),
        ("anna", "anna_smiles", True),
    ],
)
def test_a_trigger_is_found_as_a_word(trigger: str, text: str, there: bool) -> None:
    assert (wording.coverage(named(text), trigger) == []) == there


def test_a_trigger_that_nearly_all_captions_begin_with_is_noticed() -> None:
    assert wording.guess_trigger(DOGS) == ""  # five of six
    assert wording.guess_trigger(dict(list(DOGS.items())[:5])) == "ohwx"
    assert wording.guess_trigger(named(*(f"Anna walks, day {number}" for number in range(5)))) == "anna walks"
    assert wording.guess_trigger(named(*(f"Anna walks for {number} hours" for number in range(5)))) == "Anna"
    assert wording.guess_trigger(named(*(f"Picture {number}, seen from above" for number in range(5)))) == ""
    assert wording.guess_trigger(named(*("a dog runs", "a cat", "a bird flies", "a fish", "a cow"))) == ""


def test_what_always_goes_with_the_trigger_is_told() -> None:
    assert wording.companions(DOGS, "ohwx") == ["dog"]
    assert wording.companions({**DOGS, "x.png": "dog, tree, sky"}, "ohwx") == []


def test_findings_name_what_lacks_the_trigger_and_what_fuses_with_it() -> None:
    found = wording.findings(DOGS, "ohwx")
    assert [(problem.kind, problem.file) for problem in found] == [("no-trigger", "05.png"), ("fused-tag", "dog")]
    assert all(problem.fix for problem in found)


def test_the_same_caption_for_many_pictures_is_told_but_one_phrase_for_all_is_a_way_to_train() -> None:
    assert kinds(named("a cat", "a cat", "A  cat", "a dog", "a cow")) == ["same-caption"] * 3
    assert kinds(named(*["ohwx"] * 6)) == []


def test_few_captions_prove_nothing() -> None:
    assert wording.findings(named("a picture", "photo", "image")) == []


def test_tags_and_sentences_are_told_apart() -> None:
    assert wording.is_tagged(DOGS)
    assert not wording.is_tagged(named("a dog runs over the grass, and the sun is shining on it", "a cat"))


@pytest.mark.parametrize("style", STYLES)
def test_the_sample_sets_have_no_finding(style: str) -> None:
    rows = [line.split(",", 1) for line in (SAMPLES / style / "metadata.csv").read_text().splitlines()[1:]]
    assert wording.findings(dict(rows)) == []  # type: ignore[arg-type]


def test_ten_thousand_captions_take_no_time() -> None:
    captions = named(*(f"ohwx, thing {number}, tag{number % 50}, outdoors" for number in range(10_000)))
    begun = time.perf_counter()
    assert wording.tags(captions)["outdoors"] == 10_000
    assert wording.findings(captions)
    print(f"10,000 captions: {time.perf_counter() - begun:.2f} s")
