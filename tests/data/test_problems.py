from studio.data.problems import FaultyDataError, Problem, fixes, lines, shown


def test_a_problem_reads_as_file_line_and_message() -> None:
    assert str(Problem("metadata.csv", 45, "Invalid format")) == "metadata.csv: Line 45: Invalid format"
    assert str(Problem("a.png", None, "The file is empty.")) == "a.png: The file is empty."


def test_twenty_of_a_kind_are_shown_and_the_rest_counted() -> None:
    many = [Problem("t.csv", line, "x", kind="format") for line in range(1, 26)]
    told = lines([*many, Problem("a.png", None, "y", kind="unreadable")])
    assert len(told) == 22
    assert told[20] == "… and 5 more of this kind."
    assert told[21] == "a.png: y"


def test_an_error_gives_each_advice_once() -> None:
    problems = [Problem("a", 1, "x", "Do this."), Problem("a", 2, "y", "Do this."), Problem("a", 3, "z", "Do that.")]
    assert fixes(problems) == ["Do this.", "Do that."]
    error = FaultyDataError(problems)
    assert error.exit_code == 2
    assert error.problems == tuple(problems)
    assert str(error).splitlines() == ["a: Line 1: x", "a: Line 2: y", "a: Line 3: z", "Do this.", "Do that."]


def test_a_name_with_newlines_direction_marks_or_bytes_stays_on_one_line() -> None:
    assert shown("a\nb") == "a\\nb"
    assert shown("a\u202egpj") == "a\\u202egpj"
    assert shown("a\udcff") == "a\\udcff"
    assert shown("图 👩\u200d🎨") == "图 👩\u200d🎨"
    assert shown("abcdef", 4) == "abc…"
