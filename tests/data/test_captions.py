import random
from collections.abc import Callable
from pathlib import Path

import pytest

from studio.data.captions import Captions, joined, read_captions, shuffled
from studio.data.listing import scan

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Captions]:
    return lambda metadata_path=None: read_captions(tmp_path, scan(tmp_path), metadata_path)


def test_a_text_beside_each_picture_is_its_caption(read, write: Write) -> None:
    for name, text in (("a.png", ""), ("a.txt", "\ufeffa cat\r\n"), ("sub/b.JPG", ""), ("sub/b.txt", " a dog ")):
        write(name, text)
    assert read() == Captions("*.txt", {"a.png": "a cat", "sub/b.JPG": "a dog"})


def test_sources_win_over_each_other_in_order(read, write: Write, tmp_path: Path) -> None:
    write("a.png", "")
    write("a.txt", "text")
    assert read().texts == {"a.png": "text"}
    write("metadata.csv", "a.png,csv")
    assert (read().source, read().texts) == ("metadata.csv", {"a.png": "csv"})
    write("metadata.jsonl", '{"file_name": "a.png", "text": "jsonl"}')
    assert read().texts == {"a.png": "jsonl"}
    other = write("elsewhere/mine.csv", "a.png,mine")
    assert read(other).texts == {"a.png": "mine"}
    assert read(tmp_path / "metadata.csv").texts == {"a.png": "csv"}


def test_sources_that_disagree_are_a_finding(read, write: Write) -> None:
    for name, text in (("a.png", ""), ("b.png", ""), ("a.txt", "same"), ("b.txt", "other"), ("metadata.csv", "a.png,same\nb.png,one")):
        write(name, text)
    (problem,) = read().problems
    assert problem.severity == "warning"
    assert str(problem) == "b.png: metadata.csv and b.txt have different captions; metadata.csv counts."


def test_a_caption_that_only_another_source_has_is_known(read, write: Write) -> None:
    for name, text in (("a.png", ""), ("b.png", ""), ("b.txt", "b"), ("metadata.csv", "a.png,a")):
        write(name, text)
    assert read().elsewhere == {"b.png"}


def test_a_caption_without_picture_is_an_error_with_a_hint(read, write: Write) -> None:
    write("IMG_1.JPG", "")
    write("metadata.csv", "img_1.jpg,a\nnone.png,b\n")
    first, second = read().problems
    assert str(first) == "metadata.csv: Line 1: There is no picture img_1.jpg."
    assert "IMG_1.JPG" in first.fix
    assert (second.line, second.severity) == (2, "error")


def test_a_text_without_picture_is_a_finding_only_where_texts_are_used(read, write: Write) -> None:
    for name in ("a.png", "a.txt", "orphan.txt"):
        write(name, "x")
    (problem,) = read().problems
    assert (problem.file, problem.severity) == ("orphan.txt", "warning")
    write("metadata.csv", "a.png,x")
    assert read().problems == ()


def test_a_text_in_another_encoding_is_an_error(read, write: Write) -> None:
    write("a.png", "")
    write("a.txt", "ein Bär".encode("cp1252"))
    (problem,) = read().problems
    assert (str(problem), problem.severity) == ("a.txt: Line 1: The text is not UTF-8.", "error")
    write("a.txt", "c\0t")
    assert "NUL" in str(read().problems[0])


def test_a_metadata_file_in_a_lower_folder_is_told_unless_it_is_named(read, write: Write) -> None:
    write("sub/a.png", "")
    path = write("sub/metadata.csv", "sub/a.png,x")
    assert [problem.file for problem in read().problems] == ["sub/metadata.csv"]
    assert read(path) == Captions("metadata.csv", {"sub/a.png": "x"})


def test_a_metadata_path_that_is_missing_is_an_error(read, write: Write, tmp_path: Path) -> None:
    write("a.png", "")
    (problem,) = read(tmp_path / "none.csv").problems
    assert problem.severity == "error"


@pytest.mark.parametrize(
    ("prefix", "caption", "suffix", "expected"),
    [
        ("foo,", "a cat", "", "foo, a cat"),
        (" foo, ", " a cat ", "", "foo, a cat"),
        ("portrait of anna", "", "", "portrait of anna"),
        ("", "a cat", "in oil", "a cat in oil"),
        ("", "a cat", ", oil", "a cat, oil"),
        ("foo,", "a cat", ", oil", "foo, a cat, oil"),
        ("", "", ", oil", ", oil"),
        ("", "", "", ""),
    ],
)
def test_prefix_and_suffix_are_joined_with_one_space(prefix: str, caption: str, suffix: str, expected: str) -> None:
    assert joined(prefix, caption, suffix) == expected


def test_shuffling_keeps_the_first_tags_and_loses_none() -> None:
    caption = "anna, 1girl,  red hair,smile, , night"
    results = {shuffled(caption, 2, random.Random(seed)) for seed in range(50)}
    assert len(results) == 6
    assert all(result.startswith("anna, 1girl, ") for result in results)
    assert all(sorted(result.split(", ")) == ["1girl", "anna", "night", "red hair", "smile"] for result in results)
    assert shuffled(caption, 2, random.Random(7)) == shuffled(caption, 2, random.Random(7))


def test_a_sentence_and_a_caption_of_kept_tags_stay_as_they_are() -> None:
    assert shuffled("a cat on a  mat", 0, random.Random(0)) == "a cat on a  mat"
    assert shuffled("a,b", 5, random.Random(0)) == "a,b"
