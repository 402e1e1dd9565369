"""Runs side by side."""

from studio import events, fields
from studio.events import Started, Steps, Validated
from studio.fields import Given
from studio.runs import overview
from studio.runs import run as shelf
from studio.runs.run import Run


def made(**settings: object) -> Run:
    given = {"base_model": "pocket", "train_data_dir": "pictures", **settings}
    run = shelf.create(fields.build({key: Given(value, "") for key, value in given.items()}))
    run.update(status="finished")
    return run


def test_a_row_says_how_a_run_went():
    run = made(purpose="to learn", lora_rank=4)
    run.log([Started(step=0, steps=2), Steps(first=0, loss=(0.5,), grad_norm=(1.0,), learning_rate=(1e-4,), seconds=1, examples=1)])
    run.log([Validated(step=1, loss=0.25), Validated(step=2, loss=0.5)])
    (row,) = overview.rows([run])
    assert (row["purpose"], row["data"], row["rank"], row["step"], row["steps"]) == ("to learn", "pictures", 4, 1, 2)
    assert (row["final"], row["best"], row["best_step"]) == (0.5, 0.25, 1)


def test_a_row_follows_its_run():
    run = made()
    assert overview.rows([run])[0]["final"] is None
    with (run.folder / "events.jsonl").open("a") as file:
        file.write(events.write(Validated(step=1, loss=0.125), 0.0, 0) + "\n")
    assert overview.rows([run])[0]["final"] == 0.125


def test_newest_first_and_a_broken_run_hides_none():
    first, broken, last = made(), made(), made()
    (broken.folder / "config.yaml").write_text("lora_rank: [")
    assert [row["id"] for row in overview.rows([first, broken, last])] == [last.id, first.id]


def test_only_what_differs_is_shown():
    found = dict(overview.differences([made(lora_rank=4, learning_rate=2e-4), made(lora_rank=8, learning_rate=2e-4)]))
    assert found == {"lora_rank": ["4", "8"]}
