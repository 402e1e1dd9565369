"""A dataset from pictures without captions to one that is worth training on, as a person does it."""

import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.browser.app import App, settle

pytestmark = pytest.mark.slow
CAPTIONS = "[...document.querySelectorAll('#dataset .caption')].map(c => c.textContent)"


def pictures(folder: Path) -> list[str]:
    folder.mkdir()
    random.seed(0)
    for name in ("red_car", "blue_car", "green_house", "old_tree"):
        Image.new("RGB", (random.randrange(90, 200), random.randrange(90, 200)), name.split("_")[0] if name != "old_tree" else "brown").save(
            folder / f"{name}.png"
        )
    return [str(path) for path in sorted(folder.iterdir())]


def open_writer(page: Any, captioner: str, which: str) -> None:
    page.click("#dataset .writers")
    page.select_option("#dataset .writer", captioner)
    page.click(f"#dataset .overwrite [value={which}]")


def test_from_pictures_without_captions_to_a_reviewed_set(page: Any, app: App, tmp_path: Path) -> None:
    page.set_input_files("#dataset input.files", pictures(tmp_path / "mine"))
    settle(page, "document.querySelectorAll('#dataset .picture').length === 4")
    dataset = next((app.home / "datasets").iterdir())

    open_writer(page, "filename", "none")
    assert page.inner_text("#dataset .amount") == "4 of 4 pictures"
    page.click("#dataset .begin")
    settle(page, f"{CAPTIONS}.join('|') === 'blue car|green house|old tree|red car'")
    assert "blue_car.png,blue car" in (dataset / "metadata.csv").read_text()
    assert page.locator("#dataset .picture footer [title^='Written by filename']").count() == 4

    first = page.locator("#dataset .picture .caption").first
    first.click()
    first.fill("a small blue car")
    page.keyboard.press("Enter")
    settle(page, "document.querySelector('#dataset .saved').textContent === 'saved'")
    open_writer(page, "folder", "auto")
    assert page.inner_text("#dataset .amount") == "3 of 4 pictures"
    page.keyboard.press("Escape")

    page.click("#dataset .changes")
    page.select_option("#dataset .which-change", "prefix")
    page.fill("#dataset .preview .value", "photo of")
    settle(page, "document.querySelector('#dataset .preview h2').textContent === '4 captions will change'")
    assert "photo of" not in (dataset / "metadata.csv").read_text()
    page.click("#dataset .preview .apply")
    settle(page, f"{CAPTIONS}.every(text => text.startsWith('photo of '))")

    page.click("#dataset .regex")
    page.fill("#dataset .find", r"\b(red|blue) car")
    page.fill("#dataset .with", r"car, \1")
    page.click("#dataset .replace")
    settle(page, "document.querySelector('#dataset .preview h2').textContent === '2 captions will change'")
    page.click("#dataset .preview .apply")
    settle(page, f"{CAPTIONS}.includes('photo of car, red')")

    page.reload()
    page.wait_for_selector("#dataset .picture")
    for left in ("photo of red car", "red car"):
        page.click("#dataset .undo:not([disabled])")
        settle(page, f"{CAPTIONS}.includes('{left}')")

    page.fill("#dataset .find", "(")
    page.fill("#dataset .with", "")
    page.click("#dataset .regex")
    page.click("#dataset .replace")
    settle(page, "document.querySelector('#dataset .preview h2').textContent.includes('regular expression')")
    page.keyboard.press("Escape")


def test_the_report_leads_to_what_it_found_and_keeps_what_is_said(page: Any, app: App, tmp_path: Path) -> None:
    files = pictures(tmp_path / "mine")
    (tmp_path / "mine" / "red_car.txt").write_text("a red car " * 40)
    for name in ("blue_car", "green_house"):
        (tmp_path / "mine" / f"{name}.txt").write_text(name)
    page.set_input_files("#dataset input.files", files + [str(path) for path in (tmp_path / "mine").glob("*.txt")])
    settle(page, "document.querySelectorAll('#dataset .picture').length === 4")
    page.click("#dataset .report-open:not([disabled])")
    report = page.inner_text("#dataset .report")
    assert "4 pictures, 3 with a caption" in report
    assert "122 tokens, 77 are seen" in report
    page.fill("#dataset .report [name=source]", "my own photos")
    page.keyboard.press("Tab")
    page.click("#dataset .report .notice:has-text('tokens') button")
    settle(page, "document.querySelectorAll('#dataset .picture').length === 1")
    assert page.get_attribute("#dataset .picture", "data-name") == "red_car.png"
    page.reload()
    page.click("#dataset .report-open:not([disabled])")
    assert page.input_value("#dataset .report [name=source]") == "my own photos"
    with page.expect_download() as download:
        page.click("#dataset .sheet")
    assert "| Source | my own photos |" in Path(download.value.path()).read_text()
    page.keyboard.press("Escape")
    page.click("#dataset .export")
    page.select_option("#dataset .export-form", "txt")
    with page.expect_download() as download:
        page.click("#dataset .export-go")
    assert {"red_car.png", "red_car.txt"} <= set(zipfile.ZipFile(download.value.path()).namelist())


def test_captions_of_markup_stay_text_everywhere(page: Any, app: App, tmp_path: Path) -> None:
    hostile = "<img src=x onerror='window.hit=1'><script>window.hit=1</script> {{7*7}} =cmd()"
    files = pictures(tmp_path / "mine")
    (tmp_path / "mine" / "red_car.txt").write_text(hostile)
    page.set_input_files("#dataset input.files", [*files, str(tmp_path / "mine" / "red_car.txt")])
    settle(page, "document.querySelectorAll('#dataset .picture').length === 4")
    assert page.text_content("#dataset .picture[data-name='red_car.png'] .caption") == hostile
    page.fill("#dataset .find", "cmd")
    page.fill("#dataset .with", "<b>x</b>")
    page.click("#dataset .replace")
    settle(page, "document.querySelector('#dataset .preview ins') !== null")
    assert page.text_content("#dataset .preview ins") == "<b>x</b>"
    page.keyboard.press("Escape")
    page.click("#dataset .picture[data-name='red_car.png'] .shot")
    assert hostile in page.inner_text("#dataset .large p")
    page.keyboard.press("Escape")
    page.click("#dataset .report-open:not([disabled])")
    page.wait_for_timeout(300)
    assert page.evaluate("window.hit") is None


def test_two_people_in_two_browsers_lose_no_caption(chrome: Any, page: Any, app: App, tmp_path: Path) -> None:
    page.set_input_files("#dataset input.files", pictures(tmp_path / "mine"))
    settle(page, "document.querySelectorAll('#dataset .picture').length === 4")
    chosen = page.evaluate("window.studio.kept('dataset')")
    other = chrome.new_context(viewport={"width": 1440, "height": 900}, locale="en-US").new_page()
    other.goto(app.url)
    other.wait_for_selector("#dataset .welcome")
    other.evaluate("chosen => window.studio.keep('dataset', chosen)", chosen)
    other.reload()
    settle(other, "document.querySelectorAll('#dataset .picture').length === 4")

    def write(window: Any, name: str, text: str) -> None:
        caption = window.locator(f"#dataset .picture[data-name='{name}'] .caption")
        caption.click()
        caption.fill(text)
        window.keyboard.press("Control+s")

    write(page, "blue_car.png", "hers: blue")
    write(other, "red_car.png", "his: red")
    write(page, "green_house.png", "hers: green")
    settle(page, "document.querySelector('#dataset .saved').textContent === 'saved'")
    write(other, "green_house.png", "his: green")
    other.wait_for_selector("#dataset .picture.clash .both")
    table = Path(chosen["folder"]) / "metadata.csv"
    assert sorted(table.read_text().splitlines()[1:]) == ["blue_car.png,hers: blue", "green_house.png,hers: green", "red_car.png,his: red"]
    assert "his: green" in other.inner_text("#dataset .clash .both")
    other.click("#dataset .clash .both button:has-text('Keep mine')")
    settle(other, "document.querySelector('#dataset .saved').textContent === 'saved'")
    other.fill("#dataset .trigger", "ohwx")
    other.click("#dataset .first")
    settle(other, f"{CAPTIONS}.filter(text => text.startsWith('ohwx, ')).length >= 3")
    write(page, "blue_car.png", "hers: another blue")  # she hasn't seen the trigger yet
    page.wait_for_selector("#dataset .picture.clash .both")
    written = table.read_text()
    assert "ohwx, hers: blue" in written
    assert '"ohwx, his: green"' in written
    assert "another blue" in page.inner_text("#dataset .clash .both")
    other.context.close()
