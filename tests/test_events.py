"""What happened, line by line."""

from pathlib import Path

import pytest

from studio.events import Finding, Progress, Record, Saved, Started, Steps, Validated, parse, standing, tail, write


def steps(first: int, count: int) -> Steps:
    values = tuple(float(first + i) for i in range(count))
    return Steps(first=first, loss=values, grad_norm=values, learning_rate=values, seconds=0.1, examples=10.0)


def test_what_is_written_is_read():
    for event in (steps(0, 3), Started(step=0, steps=9), Validated(step=3, loss=0.5, bands={"0.5": 0.1}), Progress(what="x", done=1, total=2)):
        assert parse(write(event, 12.5, 2)) == Record(12.5, 2, event)


def test_numbers_that_are_none_become_none():
    bad = Steps(first=0, loss=(float("nan"),), grad_norm=(float("inf"),), learning_rate=(1.0,), seconds=1.0, examples=1.0)
    record = parse(write(bad, 0, 1))
    assert record
    assert (record.event.loss, record.event.grad_norm) == ((None,), (None,))


def test_a_torn_line_waits_for_its_end(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    line = write(Saved(step=1, folder="x"), 0, 1)
    path.write_text(line + "\n" + line[:20])
    records, offset = tail(path)
    assert len(records) == 1
    path.write_text(line + "\n" + line + "\n")
    assert len(tail(path, offset)[0]) == 1


@pytest.mark.parametrize("text", ["one\u2028two", "one\u0085two", "one\ntwo\r", "\x0b\x0c\x1c"])
def test_a_text_may_hold_line_breaks_of_any_kind(tmp_path: Path, text: str):
    path = tmp_path / "events.jsonl"
    path.write_text(write(Finding(text=text), 0, 1) + "\n", encoding="utf-8", newline="")
    assert [record.event for record in tail(path)[0]] == [Finding(text=text)]


def test_strange_lines_are_left_out():
    assert [parse(line) for line in ("", "{}", "[1]", '{"event": "later", "time": 1, "attempt": 1}', "nonsense")] == [None] * 5


def test_a_later_attempt_supersedes_what_lies_beyond_its_checkpoint():
    records = [
        Record(0, 1, Started(step=0, steps=9)),
        Record(1, 1, steps(0, 5)),
        Record(1, 1, Validated(step=5, loss=1.0)),
        Record(2, 2, Started(step=3, steps=9)),
        Record(3, 2, steps(3, 6)),
    ]
    told = [step for record in standing(records) if isinstance(record.event, Steps) for step in range(record.event.first, record.event.last + 1)]
    assert told == list(range(9))
    assert not any(isinstance(record.event, Validated) for record in standing(records))
