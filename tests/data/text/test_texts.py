"""Files of texts, good and bad: each fault with its file and line, never a traceback."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from studio.data.problems import FaultyDataError
from studio.data.text.texts import Texts, UnknownColumnsError, gather, holds_texts, read_file, read_texts

Write = Callable[[str, str | bytes], Path]
PAIR = {"prompt": "hi", "response": "hello"}
LINE = json.dumps(PAIR)


def rows(texts: Texts) -> list[tuple[int, str, str]]:
    return [(row.line, row.form, row.example.whole) for row in texts.rows]


def told(texts: Texts) -> list[str]:
    return [str(problem) for problem in texts.problems]


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("a.jsonl", f"{LINE}\n\n{LINE}\n", [1, 3]),
        ("a.ndjson", f"{LINE}\r\n{LINE}", [1, 2]),
        ("a.json", json.dumps([PAIR, PAIR], indent=1), [2, 6]),
        ("a.json", json.dumps({"version": [1.5][0], "data": [PAIR, PAIR]}), [1, 1]),
        ("a.json", f'{{"a": {{"b": [1]}},\n "data" : [\n{LINE},\n{LINE}]}}', [3, 4]),
        ("a.json", LINE, [1]),
        ("a.csv", 'prompt,response\nhi,hello\n\n"hi","hello"\n', [2, 4]),
        ("a.csv", 'id,response,prompt\n1,"hello","hi"\n2,hello,hi\n', [2, 3]),
    ],
)
def test_files_are_read_with_the_line_of_each_row(write: Write, name: str, content: str, lines: list[int]) -> None:
    found = read_file(write(name, content))
    assert told(found) == []
    assert rows(found) == [(line, "pairs", "hi\nhello") for line in lines]


def test_a_field_of_several_lines_stays_as_written(write: Write) -> None:
    found = read_file(write("a.csv", 'prompt,response\n"a\nb","c, d ""e"""\nhi,hello\n'))
    assert rows(found) == [(2, "pairs", 'a\nb\nc, d "e"'), (4, "pairs", "hi\nhello")]


def test_blank_lines_part_the_texts_of_a_plain_file(write: Write) -> None:
    found = read_file(write("a.txt", "\nonce upon\na time\n\n \nthe end\r\n"))
    assert rows(found) == [(2, "text", "once upon\na time"), (6, "text", "the end")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_what_spreadsheets_save_is_read(write: Write, encoding: str) -> None:
    assert rows(read_file(write("a.csv", "question,answer\r\n什么,图\r\n".encode(encoding)))) == [(2, "pairs", "什么\n图")]
    assert rows(read_file(write("a.json", '[{"text": "图"}]'.encode(encoding)))) == [(1, "text", "图")]


DEEP = '{"text":' + "[" * 100_000 + "]" * 100_000 + "}"
BAD = [
    ("a.jsonl", f"{LINE}\n{{oops\n{LINE}", "a.jsonl: Line 2: Invalid JSON", 2),
    ("a.jsonl", f'{LINE}\n{{"prompt": "hi"}}', "a.jsonl: Line 2: The fields are not known: prompt", 1),
    ("a.jsonl", f'{LINE}\n{{"prompt": NaN, "response": "x"}}', "a.jsonl: Line 2: NaN is no JSON", 1),
    ("a.jsonl", f'{LINE}\n{{"text": "a", "text": "b"}}', "a.jsonl: Line 2: text stands there twice", 1),
    ("a.jsonl", f"{LINE}\n[1, 2]", "a.jsonl: Line 2: Expected an object, found array", 1),
    ("a.jsonl", f"{LINE}\n{{}}", "a.jsonl: Line 2: Expected an object, found object", 1),
    ("a.jsonl", f"{LINE}\n{DEEP}", "a.jsonl: Line 2: It is nested too deeply", 1),
    ("a.jsonl", f'{LINE}\n{{"text": {"9" * 5000}}}', "a.jsonl: Line 2: A number has 5000 digits", 1),
    ("a.jsonl", f'{LINE}\n{{"text": "{"x" * 1024**2}"}}', "a.jsonl: Line 2: The line is longer", 1),
    ("a.jsonl", f'{LINE}\n{{"prompt": 1, "response": "x"}}', "a.jsonl: Line 2: prompt must be a text, found number", 1),
    ("a.jsonl", f'{LINE}\n\n{{"text": "a\\u0000b"}}', "a.jsonl: Line 3: It holds a NUL byte", 1),
    ("a.jsonl", b'\n{"text": "\xff"}', "a.jsonl: Line 2: The text is not UTF-8", 0),
    ("a.jsonl", "", "a.jsonl: There is no text in the file", 0),
    ("a.json", f"[{LINE},\n{LINE}", "a.json: Line 2: Invalid JSON", 2),
    ("a.json", f"[{LINE},\n{LINE}\n{LINE}]", "a.json: Line 3: Invalid JSON (a comma or ] is missing)", 2),
    ("a.json", f'[{LINE},\n{{"text": "a", "text": "b"}},\n{LINE}]', "a.json: Line 2: text stands there twice", 2),
    ("a.json", f'[{LINE},\n{{"text": NaN}}]', "a.json: Line 2: NaN is no JSON", 1),
    ("a.json", f"[{LINE},\n{DEEP}]", "a.json: Line 2: It is nested too deeply", 1),
    ("a.json", '"text"', "a.json: Line 1: Expected a list of objects", 0),
    ("a.json", '{"a": [1], "b": [2]}', "a.json: Line 1: Expected a list of objects, or an object with one list; found the fields a, b", 0),
    ("a.json", "[3]", "a.json: Line 1: Expected an object, found number", 0),
    ("a.json", "[]", "a.json: There is no text in the file", 0),
    ("a.json", "{", "a.json: Line 1: Invalid JSON", 0),
    ("a.csv", "prompt,response\nhi\nhi,hello", 'a.csv: Line 2: Invalid format (expected 2 fields, found 1): "hi"', 1),
    ("a.csv", "prompt,response\nhi,hello,you\nhi,hello", "a.csv: Line 2: Invalid format (expected 2 fields, found 3)", 1),
    ("a.csv", 'prompt,response\nhi,hello\n"hi,hello', "a.csv: Line 3: Invalid format (a quote opens here and isn't closed)", 1),
    ("a.csv", "prompt;response\nhi;hello", "a.csv: Line 1: The header has one column", 0),
    ("a.csv", "text,text\na,b", "a.csv: Line 1: The header names the column text twice", 0),
    ("a.csv", f"text\n{'x' * 140_000}", "a.csv: Line 2: A field is longer than", 0),
    ("a.csv", "text\na\0b\nc", "a.csv: Line 2: It holds a NUL byte", 1),
    ("a.csv", "prompt,response\n", "a.csv: There is no text in the file", 0),
    ("a.txt", "  \n\n", "a.txt: There is no text in the file", 0),
    ("a.txt", f"once\n\n{'x' * 2**20}", "a.txt: Line 3: The text is longer than 1048576 characters", 1),
    ("a.json", f'[{LINE},\n{{"text": "{"y" * 2**20}"}}]', "a.json: Line 2: The text is longer", 1),
    ("a.txt", b"caf\xe9", "a.txt: Line 1: The text is not UTF-8", 0),
]


@pytest.mark.parametrize(("name", "content", "message", "good"), BAD, ids=[f"{name} {message[:60]}" for name, _, message, _ in BAD])
def test_a_fault_is_told_with_its_line_and_good_rows_stay(write: Write, name: str, content: str | bytes, message: str, good: int) -> None:
    found = read_file(write(name, content))
    assert len(found.rows) == good
    assert [line for line in told(found) if line.startswith(message)], told(found)
    assert all(problem.severity == "error" for problem in found.problems)
    assert len(str(found.problems[0])) < 500


def test_unknown_columns_are_shown_with_their_values_and_how_to_choose(write: Write) -> None:
    path = write("data/faq.csv", "nr,frage,antwort\n1,Wann?,Um neun.\n2,Wo?,Hier.\n")
    with pytest.raises(UnknownColumnsError, match=r"faq\.csv: .*frage \(Wann\?\); antwort \(Um neun\.\)") as refused:
        gather(path.parent)
    assert refused.value.unknown[0].columns == {"nr": ["1", "2"], "frage": ["Wann?", "Wo?"], "antwort": ["Um neun.", "Hier."]}
    assert "--columns" in refused.value.fix
    assert rows(gather(path.parent, {"prompt": "frage", "response": "antwort"}))[0] == (2, "pairs", "Wann?\nUm neun.")


def test_every_file_of_a_folder_counts_but_those_that_are_no_data(write: Write, tmp_path: Path) -> None:
    for name in ("set/a.jsonl", "set/deep/b.jsonl"):
        write(name, LINE)
    write("set/c.txt", "once")
    write("set/README.txt", "about")
    write("set/dataset_infos.json", "{}")
    write("set/notes.md", "x")
    found = gather(tmp_path / "set")
    assert [(row.file, row.form) for row in found.rows] == [("a.jsonl", "pairs"), ("c.txt", "text"), ("deep/b.jsonl", "pairs")]
    assert [row.file for row in gather(tmp_path / "set", metadata=tmp_path / "set/c.txt").rows] == ["c.txt"]
    assert [row.file for row in gather(tmp_path / "set/a.jsonl").rows] == ["a.jsonl"]


def test_a_zip_is_read_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("in/a.jsonl", LINE)
    assert len(gather(tmp_path / "a.zip", extract_to=tmp_path / "out").rows) == 1


def test_pictures_with_a_table_are_no_texts(write: Write, draw: Callable[..., Path], tmp_path: Path) -> None:
    draw("a/01.png")
    write("a/captions.csv", "file_name,text\n01.png,a cat\n")
    write("b/metadata.csv", "file_name,text\n01.png,a cat\n")
    write("c/a.jsonl", LINE)
    assert [holds_texts(tmp_path / name) for name in ("a", "b", "c", "d")] == [False, False, True, False]


def test_an_empty_set_is_refused(write: Write, tmp_path: Path) -> None:
    write("set/notes.md", "x")
    with pytest.raises(FaultyDataError, match="no texts in the folder"):
        gather(tmp_path / "set")


def test_all_faults_of_all_files_come_at_once(write: Write, tmp_path: Path) -> None:
    write("set/a.jsonl", "{\n{")
    write("set/b.csv", "prompt,response\nx\n")
    with pytest.raises(FaultyDataError) as refused:
        gather(tmp_path / "set")
    assert [(problem.file, problem.line) for problem in refused.value.problems] == [("a.jsonl", 1), ("a.jsonl", 2), ("b.csv", 2)]


def test_the_fingerprint_is_of_what_is_said_not_of_how(write: Write) -> None:
    one = read_texts(write("a.jsonl", LINE)).fingerprint
    assert one == read_texts(write("b.csv", "question,answer\nhi,hello\n")).fingerprint
    assert one != read_texts(write("c.csv", "question,answer\nhi,hello!\n")).fingerprint
