import json
from collections.abc import Callable
from pathlib import Path

from studio.data.report import check

Write = Callable[[str, str | bytes], Path]
Draw = Callable[..., Path]


def test_a_good_dataset_has_no_problems_and_a_description(config, draw: Draw, write: Write, tmp_path: Path) -> None:
    draw("a.png", size=(96, 64))
    draw("b.png", size=(300, 300))
    draw("c.png", size=(64, 114))
    write("metadata.csv", 'a.png,"a red cat on a mat"\nb.png,a red dog\nc.png,the night\n')
    report = check(config())
    assert report.problems == ()
    assert (report.folder, report.pictures, report.captions, report.usable, report.skipped) == (str(tmp_path), 3, 3, 3, 0)
    assert report.description.sides == {"0-255": 2, "256-511": 1}
    assert report.description.aspects == {"9:16": 1, "1:1": 1, "3:2": 1}
    assert report.description.words == (("red", 2), ("cat", 1), ("dog", 1), ("mat", 1), ("night", 1))


def test_faults_are_told_not_raised(config, draw: Draw, write: Write, tmp_path: Path) -> None:
    draw("a.png")
    draw("b.png")
    write("c.png", "text")
    write("metadata.csv", "a.png,x\nc.png,y\nd.png,z\nbad\n")
    report = check(config())
    assert sorted(problem.kind for problem in report.errors) == ["format", "no-caption", "no-picture", "unreadable"]
    assert (report.pictures, report.captions, report.usable, report.skipped) == (3, 2, 2, 1)
    assert check(config(train_data_dir=tmp_path / "none")).errors[0].kind == "source"


def test_errors_come_before_warnings_and_all_of_it_is_json(config, draw: Draw, write: Write) -> None:
    for name in ("a.png", "a.jpg"):
        draw(name)
    write("metadata.csv", "a.png,x\nbad\n")
    report = check(config())
    assert [line.split(":")[0] for line in report.lines()] == ["metadata.csv", "a.jpg", "a.jpg"]
    data = json.loads(json.dumps(report.as_json()))
    assert data["ok"] is False
    assert data["problems"][0] == {
        "file": "metadata.csv",
        "line": 2,
        "message": 'Invalid format (expected 2 fields, found 1): "bad"',
        "fix": 'Write each line as name,"caption".',
        "severity": "error",
        "kind": "format",
        "also": [],
    }


def test_pictures_below_the_resolution_are_findings(config, draw: Draw) -> None:
    draw("small.png", size=(256, 256))
    draw("wide.png", size=(1024, 300))
    draw("enough.png", size=(520, 520))
    report = check(config(resolution=512, caption_prefix="x"))
    assert [str(problem) for problem in report.warnings] == [
        "small.png: It is 256 × 256, smaller than the resolution 512: enlarged 2.0 times.",
    ]
    assert check(config(resolution=None, caption_prefix="x")).warnings == ()


def test_captions_that_are_too_long_are_told_with_the_text_that_is_cut(config, draw: Draw, write: Write) -> None:
    for name, text in (("a", "one two three four five"), ("b", "one two three")):
        draw(f"{name}.png")
        write(f"{name}.txt", text)
    report = check(config(), count_tokens=lambda text: len(text.split()), limit=3)
    assert [str(problem) for problem in report.problems] == ['a.png: The caption has 5 tokens, 3 are seen. Cut off: "four five"']


def test_a_folder_with_repeats_in_its_name_is_told(config, draw: Draw) -> None:
    for name in ("10_ohwx man/a.png", "10_ohwx man/b.png", "2024/c.png", "1_reg/d.png"):
        draw(name)
    found = [problem for problem in check(config(caption_prefix="x")).problems if problem.kind == "repeats"]
    assert [(problem.file, problem.fix) for problem in found] == [
        ("10_ohwx man", "Set num_repeats: 10 to show them as often."),
    ]


def test_an_animation_is_a_finding(config, draw: Draw, tmp_path: Path) -> None:
    from PIL import Image

    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    draw("b.png")
    report = check(config(caption_prefix="x"))
    assert [problem.kind for problem in report.problems] == ["animated"]
