import codecs
from collections.abc import Callable
from pathlib import Path

import pytest

from studio.data.tables import read_table

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def csv(write: Write) -> Callable[[str | bytes], tuple[list[tuple[int, str, str]], list[str]]]:
    def read(content: str | bytes) -> tuple[list[tuple[int, str, str]], list[str]]:
        table = read_table(write("metadata.csv", content))
        return [tuple(row) for row in table.rows], [str(problem) for problem in table.problems]

    return read


@pytest.fixture
def jsonl(write: Write) -> Callable[[str | bytes], tuple[list[tuple[int, str, str]], list[str]]]:
    def read(content: str | bytes) -> tuple[list[tuple[int, str, str]], list[str]]:
        table = read_table(write("metadata.jsonl", content))
        return [tuple(row) for row in table.rows], [str(problem) for problem in table.problems]

    return read


def test_rows_without_a_header_are_name_and_caption(csv) -> None:
    assert csv('img01.jpg,"a neon street"\nimg02.jpg,plain\n') == ([(1, "img01.jpg", "a neon street"), (2, "img02.jpg", "plain")], [])


@pytest.mark.parametrize("header", ["filename,caption", "file_name,text", "file,prompt", "File_Name, Text"])
def test_the_headers_in_use_are_recognised(csv, header: str) -> None:
    assert csv(f"{header}\na.png,a cat\n") == ([(2, "a.png", "a cat")], [])


def test_columns_are_found_by_name_and_others_are_passed_over(csv) -> None:
    assert csv("text,source,file_name\na cat,web,a.png\n") == ([(2, "a.png", "a cat")], [])


@pytest.mark.parametrize("header", ["filename,description", "number,caption", "caption"])
def test_a_header_without_names_or_captions_is_one_problem(csv, header: str) -> None:
    rows, problems = csv(f"{header}\na.png,a cat\nb.png,a dog\n")
    assert rows == []
    assert [problem.startswith("metadata.csv: Line 1: The header has no column") for problem in problems] == [True]


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: text.encode("utf-16"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        lambda text: text.encode("utf-32"),
    ],
    ids=["byte order mark", "Windows lines", "old Mac lines", "UTF-16", "UTF-16 big", "UTF-32"],
)
def test_what_spreadsheets_save_is_read(csv, jsonl, encode: Callable[[str], bytes]) -> None:
    assert csv(encode("file_name,text\na.png,ein Bär 图\n")) == ([(2, "a.png", "ein Bär 图")], [])
    assert jsonl(encode('{"file_name":"a.png","text":"ein Bär 图"}\n')) == ([(1, "a.png", "ein Bär 图")], [])


def test_other_encodings_are_told_with_the_line(csv, jsonl) -> None:
    assert csv("a.png,a cat\nb.png,ein Bär\n".encode("cp1252")) == ([], ["metadata.csv: Line 2: The text is not UTF-8."])
    assert jsonl(b'\n\n{"text": "\xff"}') == ([], ["metadata.jsonl: Line 3: The text is not UTF-8."])
    assert csv(codecs.BOM_UTF16_LE + b"a") == ([], ["metadata.csv: Line 1: The text is not UTF-8."])


def test_a_line_without_a_comma_is_told_with_its_number(csv) -> None:
    lines = [f"img{line}.jpg,a cat" for line in range(1, 101)]
    lines[44] = "img45.jpg a neon street"
    rows, problems = csv("\n".join(lines))
    assert len(rows) == 99
    assert problems == ['metadata.csv: Line 45: Invalid format (expected 2 fields, found 1): "img45.jpg a neon street"']


def test_line_numbers_are_physical_behind_captions_of_several_lines(csv) -> None:
    rows, problems = csv('a.png,"one\ntwo, three\r\nfour"\n\nbad\nc.png,"say ""hi"""\n')
    assert rows == [(1, "a.png", "one\ntwo, three\r\nfour"), (6, "c.png", 'say "hi"')]
    assert problems == ['metadata.csv: Line 5: Invalid format (expected 2 fields, found 1): "bad"']


def test_every_bad_line_is_found(csv) -> None:
    _, problems = csv("\n".join(["a.png,a, b", *["bad"] * 30]))
    assert len(problems) == 31
    assert problems[0] == 'metadata.csv: Line 1: Invalid format (expected 2 fields, found 3): "a.png,a, b"'


def test_an_open_quote_is_told_where_it_opens_and_the_next_lines_are_read(csv) -> None:
    rows, problems = csv('a.png,cat\nb.png,"a neon street\nc.png,"a dog"\nd.png,bird\n')
    assert rows == [(1, "a.png", "cat"), (3, "c.png", "a dog"), (4, "d.png", "bird")]
    assert problems == ["metadata.csv: Line 2: Invalid format (a quote opens here and isn't closed): b.png,\"a neon street"]
    assert [line for line, *_ in csv('a.png,cat\nb.png,"open\nc.png,dog\n')[0]] == [1, 3]


def test_quotes_inside_a_caption(csv) -> None:
    assert csv('a.png, "one, two"\nb.png,5" tall\n') == ([(1, "a.png", "one, two"), (2, "b.png", '5" tall')], [])
    _, problems = csv('a.png,"a "neon" street"\nb.png,x\n')
    assert problems == ['metadata.csv: Line 1: Invalid format (text after a closing quote): a.png,"a "neon" street"']


def test_semicolons_get_their_own_advice(write: Write) -> None:
    (problem,) = read_table(write("metadata.csv", "a.png;a cat\n")).problems
    assert "semicolons" in problem.fix


def test_nul_bytes_and_huge_fields_are_told_with_their_line(csv) -> None:
    rows, problems = csv(f"a.png,c\0t\nb.png,{'x' * 140_000}\nc.png,fine\n")
    assert [row[1] for row in rows] == ["c.png"]
    assert problems[0] == "metadata.csv: Line 1: It holds a NUL byte."
    assert problems[1].startswith("metadata.csv: Line 2: A field is longer than 131072 characters")


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.png", "x/../../a.png", "..\\a.png", "C:\\a.png", "https://a.b/c.png", "\\\\host\\a.png", ""])
def test_names_that_lead_out_of_the_folder_are_refused(csv, name: str) -> None:
    rows, problems = csv(f"{name},a cat\nb.png,a dog\n")
    assert [row[1] for row in rows] == ["b.png"]
    assert len(problems) == 1
    assert problems[0].startswith("metadata.csv: Line 1: ")


def test_names_are_brought_into_one_form(csv) -> None:
    assert [row[1] for row in csv("./a.png,x\nsub\\b.png,y\nsub//c.png,z\n")[0]] == ["a.png", "sub/b.png", "sub/c.png"]


def test_of_repeated_rows_the_last_counts_and_that_is_a_finding(write: Write) -> None:
    table = read_table(write("metadata.csv", "a.png,old\nb.png,x\n./a.png,new\n"))
    assert {row.name: row.caption for row in table.rows} == {"a.png": "new", "b.png": "x"}
    (problem,) = table.problems
    assert (problem.severity, str(problem)) == (
        "warning",
        "metadata.csv: Line 3: a.png is in line 1 already; the last caption is used.",
    )


def test_markup_and_formulas_stay_as_they_are_written(csv) -> None:
    text = "<script>alert(1)</script> {name} %s =cmd() ${x}"
    assert csv(f"a.png,{text}\n")[0] == [(1, "a.png", text)]
    assert "{name}" in csv("{name}\n")[1][0]


def test_blank_lines_and_an_empty_file_hold_nothing(csv, jsonl) -> None:
    assert csv("") == csv("\n\n , \n") == ([], [])
    assert jsonl("") == jsonl("\n  \n") == ([], [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "Invalid JSON"),
        ("not json", "Invalid JSON"),
        ("[1, 2]", "Expected an object, found array."),
        ('"a"', "Expected an object, found text."),
        ('{"file_name": "a.png"}', "A field is missing: one of text, caption, prompt."),
        ('{"text": "a"}', "A field is missing: one of file_name, filename"),
        ('{"file_name": "a.png", "text": 3}', "text must be a text, found number."),
        ('{"file_name": "a.png", "text": null}', "text must be a text, found null."),
        ('{"file_name": ["a"], "text": "a"}', "file_name must be a text, found array."),
        ('{"file_name": "a.png", "text": "a", "score": NaN}', "NaN is no JSON."),
        ('{"file_name": "a.png", "text": "a", "score": -Infinity}', "-Infinity is no JSON."),
        ('{"file_name": "a.png", "text": "a", "text": "b"}', "text stands there twice."),
        ('{"file_name": "a.png", "text": "a", "n": ' + "9" * 5000 + "}", "A number has 5000 digits."),
        ('{"file_name": "a.png", "text": ' + "[" * 100_000 + "]" * 100_000 + "}", "It is nested too deeply."),
        ('{"file_name": "a.png", "text": "' + "x" * 140_000 + '"}', "text is longer than 131072 characters."),
        ('{"file_name": "a.png", "text": "' + "x" * 2_000_000 + '"}', "The line is longer than 1048576 characters."),
        ('{"file_name": "a.png", "text": "\\u0000"}', "It holds a NUL byte."),
        ('{"file_name": "a.png", "text": "\\ud800"}', "It holds half a character"),
        ('{"file_name": "../a.png", "text": "a"}', "../a.png leads out of the folder."),
    ],
    ids=lambda value: value[:24],
)
def test_a_bad_json_line_is_told_and_the_others_are_read(jsonl, line: str, reason: str) -> None:
    rows, problems = jsonl(f'{{"file_name": "x.png", "text": "x"}}\n\n{line}\n{{"file": "y.png", "prompt": "y"}}\n')
    assert [row[:2] for row in rows] == [(1, "x.png"), (4, "y.png")]
    assert len(problems) == 1
    assert problems[0].startswith(f"metadata.jsonl: Line 3: {reason}")


def test_a_missing_table_and_a_foreign_ending_are_told(write: Write, tmp_path: Path) -> None:
    assert "No such file" in str(read_table(tmp_path / "none.csv").problems[0])
    assert "ends in .csv or .jsonl" in str(read_table(write("captions.xlsx", "x")).problems[0])
    assert "directory" in str(read_table(tmp_path).problems[0])
