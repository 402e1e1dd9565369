"""A table of questions and answers becomes a dataset of conversations, as a person makes it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser.app import App, settle

pytestmark = pytest.mark.slow
SAID = "[...document.querySelectorAll('#dataset .talks .said')].map(field => field.textContent)"
SAVED = "document.querySelector('#dataset .saved').textContent === 'saved'"
DROP = """([name, text]) => {
  const files = new DataTransfer();
  files.items.add(new File([text], name));
  document.dispatchEvent(new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true }));
}"""


def rows(path: Path) -> list[list[str]]:
    return [[message["content"] for message in json.loads(line)["messages"]] for line in path.read_text().splitlines()]


def test_dropped_columns_are_chosen_rows_edited_and_found_again(page: Any, app: App) -> None:
    table = "id,frage,antwort\n" + "".join(f"{number},Question {number}?,Answer {number}.\n" for number in range(1, 101)) + "101,Why?,\n"
    page.evaluate(DROP, ["faq.csv", table])
    page.wait_for_selector("#dataset .columns-of[open]")
    assert page.input_value("#dataset .columns-of select[name=antwort]") == "response"
    page.select_option("#dataset .columns-of select[name=antwort]", "")
    assert page.is_disabled("#dataset .columns-of .take")
    page.select_option("#dataset .columns-of select[name=antwort]", "response")
    assert page.inner_text("#dataset .columns-of .example").split("\n") == ["user", "Question 1?", "assistant", "Answer 1."]
    page.click("#dataset .columns-of .take")
    settle(page, f"{SAID}[1] === 'Answer 1.'")
    stored = app.home / "datasets" / "faq" / "rows.jsonl"
    assert page.inner_text("#dataset .count") == "101 / 101"
    assert page.locator("#dataset .talks .talk").count() < 101

    answer = page.locator("#dataset .talks .said").nth(1)
    answer.click()
    page.keyboard.press("Control+End")
    page.keyboard.press("Enter")
    page.keyboard.type("<b>Kindly</b>")
    page.locator("#dataset .talks .said").nth(2).click()
    settle(page, SAVED)
    assert rows(stored)[0] == ["Question 1?", "Answer 1.\n<b>Kindly</b>"]

    page.click("#dataset .problems .chip:has-text('empty answer')")
    settle(page, f"{SAID}.join('|') === 'Why?|'")
    page.hover("#dataset .talks .talk")
    page.click("#dataset .talks .out")
    settle(page, "document.querySelector('#dataset .count').textContent.endsWith('/ 100')")
    page.click("#dataset .undo")
    settle(page, "document.querySelector('#dataset .count').textContent.endsWith('/ 101')")
    page.click("#dataset .problems .chip[aria-pressed=true]")
    page.fill("#dataset .search", "kindly")
    settle(page, f"{SAID}.length === 2 && {SAID}[1].endsWith('Kindly</b>')")
    page.reload()
    settle(page, f"{SAID}.join('|') === 'Question 1?|Answer 1.\\n<b>Kindly</b>'")
    page.fill("#dataset .search", "")
    settle(page, f"{SAID}.length > 50")
    settle(page, f"scrollTo(0, 1e6), {SAID}.length === 202", 20)


def test_what_somebody_else_wrote_is_shown_not_overwritten(page: Any, app: App) -> None:
    lines = "".join(json.dumps({"prompt": f"p{number}", "response": f"r{number}"}) + "\n" for number in range(3))
    page.evaluate(DROP, ["talk.jsonl", lines])
    settle(page, f"{SAID}.join(' ') === 'p0 r0 p1 r1 p2 r2'")
    stored = app.home / "datasets" / "talk" / "rows.jsonl"
    stored.write_text(stored.read_text().replace("r1", "theirs"))
    field = page.locator("#dataset .talks .said").nth(3)
    field.click()
    field.fill("mine")
    page.locator("#dataset .search").click()
    page.wait_for_selector("#dataset .talk.clash")
    assert rows(stored)[1] == ["p1", "theirs"]
    page.click("#dataset .clash .both button:has-text('Keep mine')")
    settle(page, f"{SAVED} && {SAID}[3] === 'mine'")
    assert rows(stored)[1] == ["p1", "mine"]
    page.click("#dataset .report-open:not([disabled])")
    assert "3 rows, 6 words" in page.inner_text("#dataset .report .sums")
