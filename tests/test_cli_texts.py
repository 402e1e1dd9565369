"""Text data on the command line: looked at, columns chosen, imported; each fault with its line, never a traceback."""

import json
from pathlib import Path

import pytest

from studio.cli import main
from studio.pocket import BASE

Out = pytest.CaptureFixture[str]


def answer(capsys: Out, *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "support"
    made.mkdir()
    rows = [{"instruction": f"Question {number}?", "input": "", "output": f"Answer {number}."} for number in range(3)]
    (made / "a.json").write_text(json.dumps(rows))
    (made / "b.csv").write_text("prompt,response\nWhen?,At nine.\nWhere?,\n")
    return made


def test_texts_are_looked_at_as_texts(capsys: Out, folder: Path, tmp_path: Path) -> None:
    code, said, _ = answer(capsys, "check", "--data", str(folder), "--markdown", str(tmp_path / "data.md"), "--source", "our own mails")
    assert code == 0
    assert "b.csv: Line 3: An answer is empty." in said
    assert "5 rows, 0 errors, 1 findings." in said
    assert "Formats: alpaca: 3, pairs: 2" in said
    assert "| Source | our own mails |" in (tmp_path / "data.md").read_text()
    code, said, _ = answer(capsys, "check", "--data", str(folder / "a.json"), "--json", "--tokenizer", str(BASE / "tokenizer"))
    found = json.loads(said)
    assert (code, found["ok"], found["rows"]) == (0, True, 3)
    assert found["description"]["tokens"]["most"] > 2


def test_a_settings_file_for_texts_is_checked(capsys: Out, folder: Path, tmp_path: Path) -> None:
    (folder / "b.csv").write_text("prompt,response\nWhen?\n")
    config = tmp_path / "my.yaml"
    config.write_text(f"base_model: ./llama-2-7b-chat.Q4_0.gguf\ntask_type: text-generation\ntrain_data_dir: {folder}\nlora_rank: 8\n")
    code, said, _ = answer(capsys, "check", "--config", str(config))
    assert code == 2
    assert 'b.csv: Line 2: Invalid format (expected 2 fields, found 1): "When?"' in said
    assert "in double quotes" in said


def test_columns_are_chosen(capsys: Out, tmp_path: Path) -> None:
    (tmp_path / "faq.csv").write_text("frage,antwort\nWann?,Um neun.\nWo?,Hier.\n")
    for words in (["check", "--data"], ["import"]):
        code, said, error = answer(capsys, *words, str(tmp_path / "faq.csv"))
        assert code == 2
        assert "frage (Wann?); antwort (Um neun.)" in said + error
        assert "--columns" in said + error
    chosen = ["--columns", "prompt=frage,response=antwort"]
    assert answer(capsys, "check", "--data", str(tmp_path / "faq.csv"), *chosen)[0] == 0
    assert answer(capsys, "import", str(tmp_path / "faq.csv"), "faq", *chosen)[0] == 0
    rows = tmp_path / "workspace" / "datasets" / "faq" / "rows.jsonl"
    told = {"messages": [{"role": "user", "content": "Wann?"}, {"role": "assistant", "content": "Um neun."}]}
    assert json.loads(rows.read_text().splitlines()[0]) == told
    code, said, _ = answer(capsys, "check", "--data", str(rows.parent), "--json")
    assert (code, json.loads(said)["facts"]["source"]) == (0, "faq.csv")


def test_what_cannot_be_used_ends_with_code_2(capsys: Out, folder: Path) -> None:
    for words in (["--columns", "prompt"], ["--tokenizer", str(folder / "b.csv")]):
        code, _, error = answer(capsys, "check", "--data", str(folder), *words)
        assert code == 2
        assert "Traceback" not in error
