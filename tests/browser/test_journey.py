"""The whole job with the mouse: pictures in, captions, settings, train, stop, reload, resume, compare, files out."""

import shutil
import time
from pathlib import Path
from typing import Any

from studio.pocket import SAMPLES
from tests.browser.app import App, open_tab, settle


def pictures(folder: Path, count: int = 12) -> list[str]:
    """Sample pictures and their captions as files to upload."""
    folder.mkdir()
    chosen = sorted((SAMPLES / "gameboy").glob("*.png"))[:count]
    for path in chosen:
        shutil.copy(path, folder / path.name)
        (folder / f"{path.stem}.txt").write_text(f"a {path.stem}, pixels")
    return [str(path) for path in sorted(folder.iterdir())]


def test_from_pictures_to_files(page: Any, app: App, tmp_path: Path):
    page.set_input_files("#dataset input.files", pictures(tmp_path / "mine"))
    settle(page, "document.querySelectorAll('#dataset .picture').length === 12")
    first = page.locator("#dataset .picture .caption").first
    first.click()
    first.fill("a blue airplane, pixels")
    page.keyboard.press("Enter")
    settle(page, "document.querySelector('#dataset .saved').textContent === 'saved'")
    dataset = next((app.home / "datasets").iterdir())
    assert (dataset / "airplane.txt").read_text().strip() == "a blue airplane, pixels"
    page.fill("#dataset .trigger", "gbx")
    page.click("#dataset .first")
    settle(page, "[...document.querySelectorAll('#dataset .caption')].every(c => c.textContent.startsWith('gbx, '))")
    page.click("#dataset .next")

    page.wait_for_selector("#set-max_steps", state="visible")
    page.fill("#set-max_steps", "many")
    page.wait_for_selector("#presets .field.wrong[data-name=max_steps] .fault")
    for name, value in {"max_steps": "20", "batch_size": "2", "save_steps": "5", "sample_steps": "10"}.items():
        field = page.locator(f"#set-{name}")
        field.fill(value)
    page.fill("#set-sample_prompts", "a blue airplane")
    settle(page, "!document.querySelector('#presets .field.wrong')")
    page.click("#presets .next")

    page.wait_for_selector("#train .start", state="visible")
    page.fill("#train .purpose", "to see whether it works")
    page.click("#train .start")
    settle(page, "document.querySelector('#train .state').textContent === 'Training'", 120)
    settle(page, "parseInt(document.querySelector('#train .v-step').textContent) >= 2", 120)
    page.click("#train .stop")
    settle(page, "document.querySelector('#train .state').textContent === 'Stopped'", 60)
    page.reload()
    open_tab(page, "Train")
    settle(page, "document.querySelector('#train .state').textContent === 'Stopped'")
    assert page.input_value("#train .purpose") == "to see whether it works"
    stopped_at = page.evaluate("parseInt(document.querySelector('#train .v-step').textContent)")
    assert 2 <= stopped_at < 20
    page.click("#train .resume")
    settle(page, "document.querySelector('#train .state').textContent === 'Finished'", 180)
    assert page.evaluate("document.querySelector('#train .v-step').textContent").startswith("20 / 20")
    assert page.locator("#train .shots img").count() == 2

    page.click("#train .compare")
    settle(page, "document.querySelector('#compare .prompts')?.value === 'a blue airplane'")
    page.click("#compare .go")
    settle(
        page,
        "document.querySelectorAll('#compare .columns-of .btn').length === 2 && document.querySelector('#compare .wipe img.after')?.naturalWidth > 0",
        120,
    )
    page.click("#compare [data-view=grid]")
    settle(page, "[...document.querySelectorAll('#compare .cell img')].filter(i => i.naturalWidth > 0).length === 3")
    page.locator("#compare .cell").last.click()
    page.click("#compare [data-verdict=good]")
    page.wait_for_selector("#compare .kept figure")

    open_tab(page, "Runs")
    page.locator("#runs tbody .name").first.click()
    with page.expect_download() as download:
        page.locator("#runs .downloads a").last.click()
    assert Path(download.value.path()).stat().st_size > 10_000


def test_a_caption_that_was_changed_elsewhere_is_never_overwritten(page: Any, app: App):
    page.evaluate("window.studio.keep('dataset', null)")
    page.reload()
    page.wait_for_selector("#dataset .samples .chip")
    page.click("#dataset .samples .chip:has-text('blueprint')")
    settle(page, "document.querySelectorAll('#dataset .picture').length === 40")
    caption = page.locator("#dataset .picture .caption").first
    name = page.locator("#dataset .picture").first.get_attribute("data-name")
    before = caption.text_content()
    table = app.home / "datasets" / "blueprint" / "metadata.csv"
    table.write_text(table.read_text().replace(before, "changed by a program"))
    caption.click()
    caption.fill("changed by me")
    page.keyboard.press("Enter")
    page.wait_for_selector("#dataset .picture.clash .both")
    assert "changed by a program" in table.read_text()
    assert "changed by me" not in table.read_text()
    page.click("#dataset .picture.clash .both button:has-text('Keep mine')")
    until = time.monotonic() + 10
    while "changed by me" not in table.read_text() and time.monotonic() < until:
        time.sleep(0.1)
    assert f"{name}" in table.read_text()
    assert "changed by me" in table.read_text()
    assert table.with_name("metadata.csv.bak").exists()
