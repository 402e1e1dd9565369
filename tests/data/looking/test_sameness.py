import unicodedata

from studio.data.looking.sameness import kept_apart, same_content


def test_the_same_bytes_are_one_finding_for_the_group() -> None:
    same = same_content([("a.png", "1", "x"), ("b.png", "2", "x"), ("c.png", "1", "x"), ("d.png", "1", "x")])
    assert [str(problem) for problem in same] == ["a.png: The same picture again as c.png, d.png."]
    (other,) = same_content([("a.png", "1", "x"), ("c.png", "1", "y")])
    assert "with another caption" in str(other)
    assert other.severity == "warning"


def test_names_that_differ_in_ending_case_or_form_are_findings() -> None:
    assert [problem.kind for problem in kept_apart(["a.jpg", "a.png", "b.png"])] == ["same-stem"]
    assert [problem.kind for problem in kept_apart(["A.png", "a.png"])] == ["same-name"]
    assert [problem.kind for problem in kept_apart(["é.png", unicodedata.normalize("NFD", "é.png")])] == ["same-name"]
    assert kept_apart(["x/a.png", "y/a.png"]) == []
