"""The command line answers with a sentence and an exit code, never with a traceback."""

import json
from pathlib import Path

import pytest

from studio import fields
from studio.cli import main
from studio.config import Config
from studio.pocket import SAMPLES
from studio.runs import run as runs
from studio.runs.resolve import complete


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    try:
        code = main(list(words))
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out
    return code, said.out + said.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["frobnicate"], "invalid choice"),
        (["train"], "Nothing is said of what to train"),
        (["train", "--config", "nowhere.yaml"], "nowhere.yaml: can't be read"),
        (["train", "--preset", "nothing"], "There is no preset nothing"),
        (["train", "--preset", "theirs.toml"], "python studio.py presets import theirs.toml"),
        (["train", "lora_rank", "8"], "a setting is written as --name value"),
        (["train", "--base_model", "nowhere.safetensors", "--train_data_dir", "."], "base_model: nowhere.safetensors is not there"),
        (["train", "--base_model", "pocket", "--train_data_dir", "nowhere"], "train_data_dir: nowhere is not there"),
        (["train", "--base_model", "pocket", "--train_data_dir", ".", "--resolution", "100"], "must be a multiple of 16"),
        (["train", "--base_model", "pocket", "--train_data_dir", ".", "--task_type", "llm"], "doesn't fit pocket"),
        (["train", "--base_model", "pocket", "--train_data_dir", ".", "--init_lora", "nowhere"], "init_lora: nowhere is not there"),
        (["train", "--base_model", "pocket", "--train_data_dir", ".", "--prior_weight", "1"], "prior_weight: only means something"),
        (["resume", "EXP-1"], "There is no run EXP-1"),
        (["stop", "EXP-1"], "There is no run EXP-1"),
        (["export", "EXP-1"], "There is no run EXP-1"),
        (["check"], "Give either --config FILE or --data DIR"),
        (["check", "--data", "nowhere"], "nowhere"),
        (["recommend", "--data", "nowhere", "--base_model", "pocket"], "nowhere"),
        (["recommend", "--data", ".", "--base_model", "nothing.safetensors"], "nothing.safetensors is not there"),
        (["caption", "--input", "nowhere"], "nowhere: there is no such folder"),
        (["caption", "--input", str(SAMPLES / "gameboy"), "--captioner", "clip"], "There is no captioner clip"),
        (["caption", "--input", str(SAMPLES / "gameboy"), "--edit", "shout"], "There is no change shout"),
        (["caption", "--input", str(SAMPLES / "gameboy"), "--undo"], "There is no change to take back"),
        (["import", "nowhere"], "nowhere: there is no such folder or file"),
        (["presets", "show", "nothing"], "There is no preset nothing"),
        (["sample", "--base_model", "pocket", "--prompt", "x", "--output", "x.png", "--strengths", "a"], "--strengths: a is no number"),
        (["sample", "--base_model", "pocket", "--prompt", "x", "--output", "x.png", "--lora", "nothing"], "There is no LoRA called nothing"),
        (["sample", "--base_model", "pocket", "--prompt", "x <lora:nothing:1>", "--output", "x.png"], "There is no LoRA called nothing"),
        (["sample", "--base_model", "pocket", "--prompt", "x", "--output", "x.png", "--width", "50"], "width: must be a multiple of 16"),
        (["runs", "--frobnicate"], "Not understood: --frobnicate"),
    ],
)
def test_what_is_wrong_is_said(capsys, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    code, said = answer(capsys, *words)
    assert code == 2
    assert sentence in said
    assert not runs.listed()


def test_a_device_that_isnt_there_is_the_machines_fault(capsys, monkeypatch):
    monkeypatch.setenv("STUDIO_DEVICE", "cuda:99" if not __import__("torch").cuda.is_available() else "nonsense")
    code, said = answer(capsys, "train", "--base_model", "pocket", "--train_data_dir", str(SAMPLES / "gameboy"))
    assert code == 3
    assert "CUDA was asked for" in said or "no such kind of device" in said


def test_bad_data_lists_every_line_and_leaves_the_output_dir_free(capsys, tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "metadata.csv").write_text("a.png,one\nb.png\nc.png,three,four\n")
    words = ["train", "--base_model", "pocket", "--train_data_dir", str(tmp_path / "data"), "--output_dir", str(tmp_path / "out")]
    for _ in range(2):
        code, said = answer(capsys, *words)
        assert code == 2
        assert "metadata.csv: Line 2: Invalid format (expected 2 fields, found 1)" in said
        assert "metadata.csv: Line 3: Invalid format (expected 2 fields, found 3)" in said
    assert [run.state.status for run in runs.listed()] == ["failed", "failed"]


def test_good_data_is_good(capsys):
    code, said = answer(capsys, "check", "--data", str(SAMPLES / "gameboy"))
    assert (code, said.splitlines()[:2]) == (0, ["40 pictures, 40 captions, 40 to train on.", "Nothing is wrong."])
    assert "Bucket 512 × 512: 40 pictures, the crop keeps 100%." in said


def test_what_is_said_of_data_is_kept_and_stands_in_the_report(capsys, tmp_path):
    data, sheet = str(SAMPLES / "gameboy"), tmp_path / "sheet.md"
    answer(capsys, "check", "--data", data, "--source", "drawn for the studio", "--captioning", "by hand")
    assert json.loads(answer(capsys, "check", "--data", data, "--json", "--markdown", str(sheet))[1])["facts"]["source"] == "drawn for the studio"
    assert "| Captioning method | by hand |" in sheet.read_text()
    code, said = answer(capsys, "check", "--data", str(SAMPLES / "gameboy"), "--json")
    assert code == 0
    assert json.loads(said)["usable"] == 40


def test_presets_are_listed_shown_and_written(capsys, tmp_path: Path):
    assert "low-vram" in answer(capsys, "presets", "list")[1]
    assert {row["name"] for row in json.loads(answer(capsys, "presets", "list", "--json")[1])} >= {"quick", "style", "character"}
    target = tmp_path / "my.yaml"
    assert answer(capsys, "presets", "show", "style", "--output", str(target))[0] == 0
    assert target.read_text().startswith("# title: Style\n")
    assert answer(capsys, "presets", "show", "style", "--output", str(target))[0] == 2


def test_presets_are_brought_in_shared_and_compared(capsys, tmp_path: Path):
    theirs, mine = tmp_path / "theirs.toml", str(tmp_path / "my.yaml")
    theirs.write_text('network_dim = 8\nnetwork_alpha = 4\nlr_scheduler = "cosine"\nclip_skip = 2\npretrained_model_name_or_path = "x"\n')
    code, said = answer(capsys, "presets", "import", str(theirs), "--title", "Theirs")
    assert code == 0
    assert "  lora_rank: 8  (network_dim)\n" in said
    assert "  The text encoders are used as the base model has them.\n    clip_skip = 2\n" in said
    assert "Kept as theirs" in said
    assert "There is a preset theirs already" in answer(capsys, "presets", "import", str(theirs))[1]
    answer(capsys, "presets", "show", "theirs", "--output", mine)
    assert answer(capsys, "presets", "import", mine, "--title", "Again", "--json")[0] == 0
    assert "Their settings are the same" in answer(capsys, "presets", "diff", "theirs", "again")[1]
    assert "lora_rank" in answer(capsys, "presets", "diff", str(theirs), "style")[1]
    assert json.loads(answer(capsys, "presets", "diff", "again", "style", "--json")[1])["lora_rank"] == {"a": 8, "b": 16}


def test_settings_are_found_with_their_reasons_and_train_as_they_are(capsys, tmp_path: Path):
    target, words = tmp_path / "found.yaml", ("recommend", "--data", str(SAMPLES / "gameboy"), "--base_model", "pocket")
    code, said = answer(capsys, *words, "--output", str(target))
    assert code == 0
    assert "max_steps                   190                  The small model takes a style from 40 pictures" in said
    assert "# The small model takes a style from 40 pictures" in target.read_text()
    config = complete(fields.build(fields.read_yaml(target)))
    assert (config.max_steps, config.resolution, config.learning_rate) == (190, 64, 2e-3)
    assert answer(capsys, "check", "--config", str(target))[0] == 0
    assert answer(capsys, *words, "--output", str(target))[0] == 2
    rows, _ = json.JSONDecoder().raw_decode(answer(capsys, *words, "--json")[1])
    assert {row["key"]: row["value"] for row in rows["settings"]}["batch_size"] == 16


def test_runs_are_listed(capsys):
    assert "There are no runs yet" in answer(capsys, "runs")[1]
    made = runs.create(Config(base_model="pocket", train_data_dir=Path("x")), waits=True)
    assert made.id in answer(capsys, "runs")[1]
    assert answer(capsys, "stop", made.id)[0] == 0
    assert made.state.status == "stopped"


def test_help_is_worth_reading(capsys, monkeypatch):
    code, said = answer(capsys, "train", "--help")
    assert code == 0
    assert "--lora_rank" in said
    assert "How it learns" in said
    monkeypatch.setenv("STUDIO_LANGUAGE", "zh")
    assert "怎样学习" in answer(capsys, "train", "--help")[1]


def test_the_doctor_looks(capsys):
    code, said = answer(capsys, "doctor")
    assert code == 0
    assert "torch" in said
    assert said.endswith("Ready.\n")


def test_captions_are_written_changed_and_taken_back(capsys, tmp_path):
    assert answer(capsys, "import", str(SAMPLES / "gameboy"), "gb")[0] == 0
    folder = tmp_path / "workspace" / "datasets" / "gb"
    table = tmp_path / "metadata.csv"
    code, said = answer(capsys, "caption", "--input", str(folder), "--output", str(table), "--captioner", "filename", "--overwrite", "all")
    assert (code, "40 captions written" in said, "pictures a second" in said) == (0, True, True)
    assert "airplane.png,airplane" in table.read_text()
    words = ("caption", "--input", str(folder), "--output", str(table))
    assert "40 captions would change" in answer(capsys, *words, "--edit", "trigger=ohwx", "--preview")[1]
    assert "airplane.png,airplane" in table.read_text()
    assert "40 captions changed" in answer(capsys, *words, "--edit", "trigger=ohwx")[1]
    assert 'airplane.png,"ohwx, airplane"' in table.read_text()
    assert "Taken back: trigger=ohwx" in answer(capsys, *words, "--undo")[1]
    assert "airplane.png,airplane" in table.read_text()
    assert "Nothing to write" in answer(capsys, *words, "--captioner", "filename")[1]
