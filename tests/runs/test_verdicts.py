"""Pictures kept with a run."""

from pathlib import Path

from studio.runs import verdicts
from studio.runs.run import Run


def test_a_kept_picture_is_there_with_all_that_is_needed_to_draw_it_again(tmp_path: Path):
    run, about = Run(tmp_path), {"prompt": "a cat", "seed": 7, "column": "1"}
    first = verdicts.keep(run, b"png", about, "good", "sharp 喵")
    second = verdicts.keep(run, b"other", about, "bad", "")
    assert verdicts.listed(run) == [first, second]
    assert (first.number, first.picture, first.note) == (1, about, "sharp 喵")
    assert verdicts.picture(run, 2).read_bytes() == b"other"


def test_a_torn_line_hides_none_of_the_others(tmp_path: Path):
    kept = verdicts.keep(Run(tmp_path), b"png", {}, "good", "")
    with (tmp_path / "verdicts.jsonl").open("a") as file:
        file.write('{"number": 2, "ver')
    assert verdicts.listed(Run(tmp_path)) == [kept]
