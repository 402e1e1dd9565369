import os
from collections.abc import Callable
from pathlib import Path

import pytest

from studio.data import examples
from studio.data.report import check


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pictures that are decoded."""
    names: list[str] = []
    real = examples.examine

    def count(path: Path, resolution: int | None, closely: bool = False) -> object:
        names.append(path.name)
        return real(path, resolution, closely)

    monkeypatch.setattr(examples, "examine", count)
    return names


def test_a_second_check_decodes_only_what_has_changed(config, draw: Callable[..., Path], decoded: list[str]) -> None:
    for name in ("a.png", "b.png", "c.png"):
        draw(name)
    first = check(config(caption_prefix="x"))
    decoded.clear()
    draw("b.png", size=(96, 96))
    os.utime(draw("c.png"), ns=(1, 1))
    second = check(config(caption_prefix="x"))
    assert sorted(decoded) == ["b.png", "c.png"]
    assert (first.usable, second.usable) == (3, 3)


def test_a_picture_that_is_damaged_later_is_found(config, draw: Callable[..., Path]) -> None:
    path = draw("a.png")
    draw("b.png")
    check(config(caption_prefix="x"))
    path.write_bytes(path.read_bytes()[:200])
    assert [problem.file for problem in check(config(caption_prefix="x")).errors] == ["a.png"]


def test_a_higher_resolution_is_asked_anew(config, draw: Callable[..., Path]) -> None:
    draw("a.png", size=(64, 64))
    draw("b.png", size=(512, 512))
    assert check(config(caption_prefix="x", resolution=64)).errors == ()
    assert [problem.file for problem in check(config(caption_prefix="x", resolution=512)).errors] == ["a.png"]


def test_a_run_looks_at_every_picture_itself(config, draw: Callable[..., Path], decoded: list[str]) -> None:
    draw("a.png")
    draw("b.png")
    for _ in range(2):
        decoded.clear()
        examples.gather(config(caption_prefix="x"))
        assert sorted(decoded) == ["a.png", "b.png"]


def test_a_damaged_memory_is_as_if_there_was_none(config, draw: Callable[..., Path], tmp_path: Path) -> None:
    draw("a.png")
    check(config(caption_prefix="x"))
    for path in (tmp_path / "workspace" / "cache" / "looks").iterdir():
        path.write_text("[1")
    assert check(config(caption_prefix="x")).usable == 1
