from pathlib import Path

import pytest
from PIL import Image

from studio.data.writing import captioners
from studio.data.writing.captioners import CAPTIONERS, Options, Shot
from studio.errors import InputError, MachineError, ModelError
from tests.data import small

TAGS = [("general", 9), ("sensitive", 9), ("1girl", 0), ("long_hair", 0), ("^_^", 0), ("hatsune_miku", 4), ("blurry", 0)]
CHANCES = [0.9, 0.1, 0.99, 0.6, 0.5, 0.9, 0.4]


def shots(*names: str) -> list[Shot]:
    return [Shot(name, lambda: Image.new("RGB", (40, 30), "red")) for name in names or ("a.png", "b.png", "c.png")]


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.blip(tmp_path_factory.mktemp("small") / "blip")


def test_a_blip_from_a_folder_writes_a_caption_for_each_picture(blip: Path) -> None:
    written = captioners.opened("blip", Options(model=str(blip), tokens=6)).write(shots())
    assert len(written) == 3
    assert all(set(text.split()) <= set(small.WORDS) for text in written)


def test_a_florence_from_a_folder_answers_its_task(tmp_path: Path) -> None:
    folder = small.florence(tmp_path / "florence")
    written = captioners.opened("florence-detailed", Options(model=str(folder), tokens=5)).write(shots("a.png", "b.png"))
    assert len(written) == 2
    assert all("CAPTION" not in text for text in written)


def test_a_tagger_writes_characters_first_and_then_the_surest_tags(tmp_path: Path) -> None:
    folder = str(small.tagger(tmp_path / "wd", CHANCES, TAGS))
    assert captioners.opened("wd", Options(model=folder)).write(shots("a.png")) == ["hatsune miku, 1girl, long hair, ^_^, blurry"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"threshold": 0.55}, "hatsune miku, 1girl, long hair"),
        ({"underscores": True, "threshold": 0.55}, "hatsune_miku, 1girl, long_hair"),
        ({"characters": False, "threshold": 0.55}, "1girl, long hair"),
        ({"character_threshold": 0.95, "threshold": 0.9}, "1girl"),
        ({"ratings": True, "threshold": 0.9}, "hatsune miku, 1girl, general"),
        ({"without": ("long_hair", "Blurry")}, "hatsune miku, 1girl, ^_^"),
    ],
)
def test_each_option_of_the_tagger_changes_what_it_writes(tmp_path: Path, options: dict[str, object], text: str) -> None:
    folder = str(small.tagger(tmp_path / "wd", CHANCES, TAGS))
    assert captioners.opened("wd", Options(model=folder, **options)).write(shots("a.png")) == [text]  # type: ignore[arg-type]


def test_a_tagger_with_another_taggers_tags_is_refused(tmp_path: Path) -> None:
    folder = small.tagger(tmp_path / "wd", CHANCES, TAGS[:-1])
    with pytest.raises(ModelError, match="7 outputs"):
        captioners.opened("wd", Options(model=str(folder)))


@pytest.mark.parametrize(
    ("captioner", "template", "name", "text"),
    [
        ("filename", "", "sub/red_car-02.png", "red car"),
        ("filename", "", "IMG (3).png", "IMG"),
        ("folder", "", "10_red car/01.png", "red car"),
        ("template", "a photo of {folder}, {name}", "anna/smiling_2.jpg", "a photo of anna, smiling"),
        ("template", "scene {number}", "x.png", "scene 1"),
    ],
)
def test_names_become_captions(captioner: str, template: str, name: str, text: str) -> None:
    assert captioners.opened(captioner, Options(template=template)).write(shots(name)) == [text]


def test_a_template_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(InputError, match="color"):
        captioners.opened("template", Options(template="a {color} car"))


def test_names_are_used_without_reading_the_pictures() -> None:
    def never() -> Image.Image:
        raise AssertionError

    assert captioners.opened("filename").write([Shot("cat.png", never)]) == ["cat"]


def test_an_unknown_captioner_is_answered_with_those_there_are() -> None:
    with pytest.raises(InputError, match="florence"):
        captioners.opened("clip")


def test_a_folder_that_holds_another_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="can't be opened as a captioner"):
        captioners.opened("blip", Options(model=str(tmp_path)))


def test_a_model_that_is_nowhere_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MachineError, match="captioner_model"):
        captioners.opened("blip")
    with pytest.raises(ModelError, match="is not there"):
        captioners.opened("blip", Options(model="no/such/folder"))


def test_what_needs_no_download_says_so() -> None:
    assert {name for name, kind in CAPTIONERS.items() if kind.ready} >= {"filename", "folder", "template"}
    assert not CAPTIONERS["blip-large"].ready
