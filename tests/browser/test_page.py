"""The page as a whole: no request leaves the machine, every tab on a phone, two languages, light and dark, names for all controls."""

import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from studio.pocket import SAMPLES
from studio.runs.foreign import reading
from tests.browser.app import App, open_tab, settle

FORM = Path(__file__).parent.parent / "runs" / "foreign" / "settings" / "kohya_ss.json"
TABS = ("Dataset", "Presets", "Train", "Compare", "Runs")
NAMELESS = """
() => [...document.querySelectorAll('button, input, select, textarea, a[href], [role=textbox], canvas')]
  .filter(e => e.offsetParent && e.closest('.studio'))
  .filter(e => !(e.getAttribute('aria-label') || e.innerText?.trim() || e.labels?.length || e.title || e.alt))
  .map(e => e.outerHTML.slice(0, 120))
"""


@pytest.fixture
def window(chrome: Any, app: App) -> Any:
    opened = []

    def make(width: int = 1440, height: int = 900, **settings: Any) -> Any:
        context = chrome.new_context(viewport={"width": width, "height": height}, **{"locale": "en-US", **settings})
        opened.append(context)
        page = context.new_page()
        page.complaints = []
        page.asked = []
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("console", lambda message: page.complaints.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(app.url)
        page.wait_for_selector("#top", state="visible")
        return page

    yield make
    for context in opened:
        context.close()


def test_no_request_leaves_the_machine_and_nothing_complains(window: Any, app: App):
    page = window()
    for tab in TABS:
        open_tab(page, tab)
        page.wait_for_timeout(800)
    outside = {url for url in page.asked if urlsplit(url).scheme.startswith("http") and urlsplit(url).hostname != "127.0.0.1"}
    assert len(page.asked) > 20
    assert outside == set()
    assert page.complaints == []


def test_a_phone_shows_all_tabs_without_scrolling_sideways(window: Any):
    for locale in ("en-US", "zh-CN"):
        page = window(390, 844, locale=locale)
        page.wait_for_timeout(500)
        assert page.locator("#tabs [role=tab]").count() == len(TABS)
        for tab in TABS:
            open_tab(page, tab)
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (locale, tab)


def test_it_speaks_the_browsers_language_or_the_chosen_one(window: Any):
    page = window(locale="zh-CN")
    page.wait_for_selector("text=两分钟试一试")
    assert page.locator("#tabs [role=tab]").all_inner_texts() == ["数据集", "预设", "训练", "对比", "训练记录"]
    open_tab(page, "Presets")
    page.wait_for_selector("text=人物角色")
    page.click("#top .speak")
    page.wait_for_selector("text=Quick validation")
    page.reload()
    page.wait_for_selector("text=Try it in two minutes", state="attached")
    assert page.locator("#tabs [role=tab]").all_inner_texts() == list(TABS)


def test_the_tabs_are_called_in_the_chosen_language_whatever_the_browsers_is(window: Any):
    page = window(locale="en-US")
    page.click("#top .speak")
    page.wait_for_selector("text=两分钟试一试")
    page.wait_for_function("document.querySelector('#tabs [role=tab]').textContent === '数据集'")
    assert page.locator("#tabs [role=tab]").all_inner_texts() == ["数据集", "预设", "训练", "对比", "训练记录"]
    page.set_viewport_size({"width": 390, "height": 844})
    open_tab(page, "Presets")
    assert page.locator("#tabs [role=tab]").first.inner_text() == "数据集"


def test_errors_come_in_the_visitors_language(window: Any):
    page = window(locale="zh-CN")
    page.click("#dataset .open >> nth=0")
    page.wait_for_selector("#dataset .folder .list button")
    page.fill("#dataset .folder .at", "/etc")
    page.click("#dataset .folder .go")
    page.wait_for_selector(".toast.error:has-text('应用不能打开那里的内容')")


def test_dark_is_kept(window: Any):
    page = window()
    light = page.evaluate("getComputedStyle(document.querySelector('gradio-app')).backgroundColor")
    page.click("#top .dark-switch")
    page.reload()
    page.wait_for_selector("#top .dark-switch:has-text('Light')")
    assert page.evaluate("document.body.classList.contains('dark')")
    assert page.evaluate("getComputedStyle(document.querySelector('gradio-app')).backgroundColor") != light


def test_every_control_has_a_name(window: Any, app: App):
    page = window()
    page.click("#dataset .samples .chip:has-text('gameboy')")
    page.wait_for_selector("#dataset .picture")
    for tab in TABS:
        open_tab(page, tab)
        page.wait_for_timeout(700)
        assert page.evaluate(NAMELESS) == [], tab


def test_the_chosen_tab_survives_a_reload(window: Any):
    page = window()
    open_tab(page, "Runs")
    page.reload()
    page.wait_for_selector("#runs", state="visible")


def test_a_hidden_tab_asks_for_nothing(window: Any):
    page = window()
    for tab in ("Train", "Runs", "Compare", "Presets"):
        open_tab(page, tab)
        page.wait_for_timeout(500)
    page.wait_for_timeout(500)
    page.asked.clear()
    page.wait_for_timeout(4000)
    assert [url for url in page.asked if "heartbeat" not in url] == []


def test_ten_thousand_pictures_open_and_scroll_without_being_all_made(window: Any, app: App):
    folder = app.home / "datasets" / "many"
    folder.mkdir(parents=True)
    pictures = [path.read_bytes() for path in sorted((SAMPLES / "gameboy").glob("*.png"))]
    for number in range(10_000):
        (folder / f"{number:05d}.png").write_bytes(pictures[number % len(pictures)])
    (folder / "metadata.csv").write_text("".join(f'{number:05d}.png,"a thing, number {number}, pixels"\n' for number in range(10_000)))
    page = window()
    page.evaluate("chosen => window.studio.keep('dataset', chosen)", {"name": "many", "folder": str(folder)})
    page.reload()
    began = time.monotonic()
    page.wait_for_selector("#dataset .picture img")
    page.wait_for_function("[...document.querySelectorAll('#dataset .picture img')].slice(0, 12).every(i => i.naturalWidth > 0)")
    first = time.monotonic() - began
    made = "document.querySelectorAll('#dataset .picture').length"
    few = page.evaluate(made)
    assert few < 500
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_function(f"{made} > {few}")
    assert page.evaluate(made) < 1000
    searching = page.evaluate(
        """async () => {
            const box = document.querySelector('#dataset .search'), from = performance.now();
            box.value = 'number 4242,';
            box.dispatchEvent(new Event('input'));
            while (document.querySelectorAll('#dataset .picture').length !== 1) await new Promise(requestAnimationFrame);
            return performance.now() - from;
        }"""
    )
    assert page.inner_text("#dataset .picture .caption") == "a thing, number 4242, pixels"
    page.fill("#dataset .search", "")
    page.fill("#dataset .trigger", "ohwx")
    began = time.monotonic()
    page.click("#dataset .first")
    page.wait_for_function("document.querySelector('#dataset .caption').textContent.startsWith('ohwx, ')")
    changing = time.monotonic() - began
    page.click("#dataset .undo")
    page.wait_for_function("document.querySelector('#dataset .caption').textContent.startsWith('a thing')")
    print(f"10,000 pictures: first rows {first:.1f} s, a search {searching:.0f} ms, a change of all {changing:.1f} s, {few} cards at first")


def test_the_preview_of_replace_changes_nothing_until_it_is_told_to(window: Any, app: App, tmp_path: Path):
    page = window()
    page.evaluate("window.studio.keep('dataset', null)")
    page.reload()
    page.click("#dataset .samples .chip:has-text('blueprint')")
    page.wait_for_selector("#dataset .picture")
    table = app.home / "datasets" / "blueprint" / "metadata.csv"
    before = table.read_text()
    page.fill("#dataset .find", "a ")
    page.fill("#dataset .with", "one ")
    page.click("#dataset .replace")
    page.wait_for_selector("#dataset .preview del")
    assert table.read_text() == before
    page.click("#dataset .preview .apply")
    page.wait_for_function("[...document.querySelectorAll('#dataset .caption')].some(c => c.textContent.startsWith('one '))")
    assert "one " in table.read_text()
    page.click("#dataset .undo")
    page.wait_for_function("[...document.querySelectorAll('#dataset .caption')].every(c => !c.textContent.startsWith('one '))")
    page.wait_for_timeout(500)
    assert sorted(table.read_text().replace('"', "").splitlines()) == sorted(before.replace('"', "").splitlines())


def test_a_foreign_file_becomes_a_preset_and_goes_out_again(page: Any):
    open_tab(page, "Presets")
    page.wait_for_selector("#set-lora_rank", state="visible")
    page.set_input_files("#presets .foreign", FORM)
    page.wait_for_selector("#presets .imported .left-out code:has-text('clip_skip = 2')")
    assert page.inner_text("#presets .imported h2") == "Imported from kohya_ss"
    assert page.input_value("#set-lora_rank") == "32"
    page.click("#presets .save")
    page.wait_for_selector("#presets .preset[aria-pressed=true]:has-text('neon-style')")
    page.click("#presets .compare-two")
    page.select_option("#presets .two .b", "style")
    settle(page, "[...document.querySelectorAll('#presets .two tr')].some(row => row.innerText.split(/\\s*\\t\\s*/).join() === 'LoRA rank,32,16')")
    page.click("#presets .two .primary")
    with page.expect_download() as download:
        page.click("#presets .share")
    shared = reading.parse(Path(download.value.path()).read_text(), "neon-style.yaml")
    assert (download.value.suggested_filename, shared.title, shared.settings["lora_rank"]) == ("neon-style.yaml", "neon-style", 32)

    page.click("#presets [data-view=yaml]")
    settle(page, "document.querySelector('#presets textarea.text').value.includes('lora_rank: 32')")
    page.fill("#presets textarea.text", "base_model: pocket\nlora_rank: 5\n")
    page.click("#presets .take")
    settle(page, "document.querySelector('#set-lora_rank').value === '5' && document.querySelector('#set-sample_prompts').value === ''")
    page.set_input_files("#presets .foreign", {"name": "broken.json", "mimeType": "application/json", "buffer": b"{"})
    page.wait_for_selector(".toast.error:has-text('broken.json:1: is not valid JSON.')")


def test_a_form_is_filled_with_reasons_that_survive_a_reload_in_either_language(window: Any):
    page = window()
    page.evaluate("window.studio.keep('dataset', null)")
    page.reload()
    open_tab(page, "Presets")
    page.click("#presets .recommend:enabled")
    page.wait_for_selector(".toast.error:has-text('There are no pictures to recommend settings for.')")
    open_tab(page, "Dataset")
    page.click("#dataset .samples .chip:has-text('gameboy')")
    page.wait_for_selector("#dataset .picture")
    open_tab(page, "Presets")
    page.click("#presets .recommend:enabled")
    reason = "#presets [data-name=max_steps] .reason"
    page.wait_for_selector(f"{reason}:has-text('The small model takes a style from 40 pictures')")
    page.fill("#set-lora_rank", "12")
    page.wait_for_selector("#presets [data-name=lora_rank] .was:has-text('Recommended: 8')")
    page.click("#top .speak")
    page.wait_for_selector(f"{reason}:has-text('40 张图片')")
    assert page.input_value("#set-lora_rank") == "12"
    assert page.input_value("#set-max_steps") == "190"
    page.click("#presets .preset >> nth=0")
    page.wait_for_selector(reason, state="detached")
