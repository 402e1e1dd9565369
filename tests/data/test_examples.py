import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from studio.data.examples import Example, gather, split, survey
from studio.data.problems import FaultyDataError

Write = Callable[[str, str | bytes], Path]
Draw = Callable[..., Path]


def refusal(config: object, **options: object) -> list[str]:
    with pytest.raises(FaultyDataError) as caught:
        gather(config, **options)
    return caught.value.what.splitlines()


def kinds(findings: object) -> list[str]:
    return [problem.kind for problem in findings]


def test_pictures_and_captions_become_examples_in_order(config, draw: Draw, write: Write, tmp_path: Path) -> None:
    draw("b.png", size=(96, 64))
    draw("a/c.jpg")
    write("metadata.csv", 'b.png,"a neon street"\na/c.jpg,a cat\n')
    data = gather(config(caption_prefix="foo,", caption_suffix="in oil"))
    assert [(example.name, example.size, example.caption) for example in data.examples] == [
        ("a/c.jpg", (64, 64), "foo, a cat in oil"),
        ("b.png", (96, 64), "foo, a neon street in oil"),
    ]
    assert data.examples[0].path == tmp_path / "a/c.jpg"
    assert data.findings == ()


def test_progress_counts_every_picture(config, draw: Draw, write: Write) -> None:
    for index in range(5):
        draw(f"{index}.png")
        write(f"{index}.txt", "x")
    seen: list[tuple[int, int]] = []
    gather(config(), lambda done, total: seen.append((done, total)))
    assert seen == [(done, 5) for done in range(1, 6)]


def test_what_is_wrong_with_pictures_is_said_in_the_visitors_language(config, draw: Draw, write: Write) -> None:
    from studio import language

    write("a.png", "text")
    with language.speaking("zh"):
        problems = survey(config(caption_prefix="x")).problems
    assert "文字" in problems[0].message or "文本" in problems[0].message


def test_progress_can_stop_it(config, draw: Draw) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    for index in range(9):
        draw(f"{index}.png")
    with pytest.raises(KeyboardInterrupt):
        gather(config(caption_prefix="x"), stop)


def test_all_errors_are_told_at_once_and_many_of_a_kind_are_counted(config, draw: Draw, write: Write) -> None:
    for index in range(25):
        draw(f"{index:02}.png")
    write("cut.png", draw("00.png").read_bytes()[:900])
    write("metadata.csv", "00.png,a cat\ncut.png,a dog\nnone.png,a bird\nbad\n")
    told = refusal(config())
    assert 'metadata.csv: Line 4: Invalid format (expected 2 fields, found 1): "bad"' in told
    assert "metadata.csv: Line 3: There is no picture none.png." in told
    assert any(line.startswith("cut.png: The file is cut off or damaged") for line in told)
    assert sum(line.endswith("The picture has no caption.") for line in told) == 20
    assert "… and 4 more of this kind." in told


def test_bad_pictures_are_skipped_where_that_is_set(config, draw: Draw, write: Write) -> None:
    draw("a.png")
    draw("c.png")
    write("b.png", b"")
    for name in "abc":
        write(f"{name}.txt", name)
    assert refusal(config()) == ["b.png: The file is empty (0 bytes)."]
    data = gather(config(bad_images="skip"))
    assert [example.name for example in data.examples] == ["a.png", "c.png"]
    assert [(str(problem), problem.severity) for problem in data.findings] == [("b.png: The file is empty (0 bytes).", "warning")]


@pytest.mark.parametrize("text", [None, "", "  \n"])
def test_missing_and_empty_captions_follow_the_settings(config, draw: Draw, write: Write, text: str | None) -> None:
    for name in ("a", "b", "c"):
        draw(f"{name}.png")
        write(f"{name}.txt", name)
    if text is None:
        Path(config().train_data_dir, "b.txt").unlink()
    else:
        write("b.txt", text)
    assert len(refusal(config())) == 1
    skipped = gather(config(missing_captions="skip"))
    assert [example.caption for example in skipped.examples] == ["a", "c"]
    assert kinds(skipped.findings) == ["no-caption"]
    assert [example.caption for example in gather(config(missing_captions="empty")).examples] == ["a", "", "c"]
    assert [example.caption for example in gather(config(caption_prefix="foo")).examples] == ["foo a", "foo", "foo c"]


def test_a_picture_that_is_skipped_for_its_caption_may_be_broken(config, draw: Draw, write: Write) -> None:
    for name in ("a", "b"):
        draw(f"{name}.png")
        write(f"{name}.txt", name)
    write("c.png", b"")
    assert len(gather(config(missing_captions="skip")).examples) == 2


def test_a_metadata_file_that_cannot_be_read_is_told_once(config, draw: Draw, write: Write, tmp_path: Path) -> None:
    for index in range(3):
        draw(f"{index}.png")
    write("metadata.csv", "0.png,ä\n".encode("cp1252"))
    assert refusal(config()) == ["metadata.csv: Line 1: The text is not UTF-8."]
    assert len(refusal(config(metadata_path=tmp_path / "none.csv"))) == 1


def test_a_table_in_a_lower_folder_does_not_hide_missing_captions(config, draw: Draw, write: Write) -> None:
    draw("sub/a.png")
    write("sub/metadata.csv", "a.png,x")
    assert refusal(config()) == ["sub/a.png: The picture has no caption."]


def test_a_table_of_another_name_is_pointed_to(config, draw: Draw, write: Write) -> None:
    draw("a.png")
    write("captions.csv", "a.png,x")
    with pytest.raises(FaultyDataError) as caught:
        gather(config())
    assert "captions.csv" in caught.value.fix


def test_a_text_in_another_encoding_is_not_called_missing_too(config, draw: Draw, write: Write) -> None:
    for name in ("a", "b"):
        draw(f"{name}.png")
        write(f"{name}.txt", "ä".encode("cp1252") if name == "a" else "x")
    assert refusal(config()) == ["a.txt: Line 1: The text is not UTF-8."]


def test_an_empty_dataset_is_refused_and_one_picture_warned_of(config, draw: Draw, write: Write) -> None:
    write("notes.md", "x")
    assert refusal(config())[0].endswith("There are no pictures in the folder.")
    write("talks.jsonl", "{}")
    assert refusal(config())[0].endswith("There are texts in the folder and no pictures.")
    draw("a.png")
    assert kinds(gather(config(caption_prefix="foo")).findings) == ["few"]
    write("b.png", b"")
    (config().train_data_dir / "a.png").unlink()
    assert "No picture is left" in refusal(config(caption_prefix="foo", bad_images="skip"))[0]


def test_twins_doubles_and_animations_are_findings(config, draw: Draw, tmp_path: Path) -> None:
    draw("a.png")
    shutil.copy(draw("b.jpg"), tmp_path / "c.jpg")
    draw("B.jpg")
    draw("a.webp", save_all=True, append_images=[])
    data = gather(config(caption_prefix="foo"))
    assert sorted(kinds(data.findings)) == ["duplicate", "same-name", "same-stem"]
    assert len({example.path for example in data.examples}) == 5


def test_a_picture_with_an_odd_ending_counts_when_a_caption_names_it(config, draw: Draw, write: Write, tmp_path: Path) -> None:
    draw("a.png").rename(tmp_path / "a.dat")
    draw("b.png")
    write("metadata.csv", "a.dat,one\nb.png,two\n")
    assert [example.name for example in gather(config()).examples] == ["a.dat", "b.png"]


def test_a_zip_is_a_dataset_too(config, draw: Draw, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.write(draw("a.png"), "cats/a.png")
        archive.write(draw("b.png"), "cats/b.png")
        archive.writestr("cats/metadata.jsonl", '{"file_name": "a.png", "text": "a"}\n{"file_name": "b.png", "text": "b"}\n')
        archive.writestr("cats/inner.zip", "x")
    data = gather(config(train_data_dir=tmp_path / "data.zip"), extract_to=tmp_path / "store")
    assert [example.caption for example in data.examples] == ["a", "b"]
    assert kinds(data.findings) == ["archive"]


def test_the_fingerprint_follows_pixels_and_captions_only(config, draw: Draw, write: Write, tmp_path: Path) -> None:
    draw("a.png")
    draw("b.png")
    write("metadata.csv", "a.png,a\nb.png,b\n")
    before = gather(config()).fingerprint
    assert len(before) == 64
    shutil.copytree(tmp_path, tmp_path / "copy")
    shutil.move(tmp_path / "copy", tmp_path.with_name("moved"))
    assert gather(config(train_data_dir=tmp_path.with_name("moved"))).fingerprint == before
    write("metadata.csv", "a.png,a\nb.png,c\n")
    assert gather(config()).fingerprint != before


def test_the_pictures_stay_byte_for_byte(config, draw: Draw) -> None:
    paths = [draw(f"{index}.png") for index in range(3)]
    before = [path.read_bytes() for path in paths]
    gather(config(caption_prefix="x"))
    assert [path.read_bytes() for path in paths] == before


def examples(*contents: str) -> tuple[Example, ...]:
    return tuple(Example(Path(f"{index}.png"), f"{index}.png", content, (64, 64), "") for index, content in enumerate(contents))


def test_a_split_is_the_same_for_a_seed_and_goes_through_all_pictures() -> None:
    pictures = examples(*(f"c{index}" for index in range(100)))
    train, held, trained = split(pictures, 0.1, 42)
    assert (len(train), len(held), trained) == (90, 10, 0.0)
    assert sorted(train + held, key=pictures.index) == list(pictures)
    assert split(pictures, 0.1, 42) == (train, held, trained)
    assert split(pictures, 0.1, 43)[1] != held
    assert {example.content for example in split(pictures[::-1], 0.1, 42)[1]} == {example.content for example in held}


def test_the_same_picture_is_never_on_both_sides() -> None:
    pictures = examples(*(f"c{index // 3}" for index in range(60)))
    for seed in range(20):
        train, held, _ = split(pictures, 0.2, seed)
        assert not {example.content for example in train} & {example.content for example in held}
        assert 12 <= len(held) <= 14


@pytest.mark.parametrize("count", [6, 7, 8, 12, 20])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_split_leaves_two_to_measure_and_enough_to_train_on(count: int, share: float) -> None:
    train, held, trained = split(examples(*map(str, range(count))), share, 0)
    assert len(held) >= 2
    assert len(train) >= max(4, count / 2)
    assert trained == 0.0


@pytest.mark.parametrize(("count", "measured"), [(1, 1), (3, 3), (5, 4)])
def test_with_too_few_pictures_all_are_trained_on_and_some_measured(count: int, measured: int) -> None:
    pictures = examples(*map(str, range(count)))
    train, held, trained = split(pictures, 0.1, 0)
    assert train == pictures
    assert len(set(held)) == len(held) == measured
    assert trained == 1.0


def test_copies_of_one_picture_cannot_be_split() -> None:
    train, held, trained = split(examples(*["same"] * 20), 0.2, 0)
    assert (len(train), len(held), trained) == (20, 4, 1.0)


def test_a_share_of_nothing_holds_nothing_out() -> None:
    pictures = examples("a", "b", "c")
    assert split(pictures, 0, 1) == (pictures, (), 0.0)
    assert split((), 0.1, 1) == ((), (), 0.0)


def test_class_pictures_have_captions_of_their_own_or_the_prompt(config, draw: Draw, write: Write, tmp_path: Path) -> None:
    draw("train/a.png")
    draw("class/b.png")
    draw("class/c.png")
    write("class/c.txt", "a brown dog")
    settings = {"train_data_dir": tmp_path / "train", "caption_prefix": "sks,", "prior_data_dir": tmp_path / "class"}
    assert refusal(config(**settings)) == ["class/b.png: The picture has no caption."]
    data = gather(config(**settings, prior_prompt="a dog"))
    assert [(example.name, example.caption) for example in data.prior] == [("b.png", "a dog"), ("c.png", "a brown dog")]
    assert [example.caption for example in data.examples] == ["sks,"]
    plain = gather(config(train_data_dir=tmp_path / "train", caption_prefix="sks,"))
    assert plain.fingerprint != data.fingerprint != gather(config(**settings, prior_prompt="a cat")).fingerprint
