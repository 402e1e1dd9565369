"""LoRA files on the Compare tab: chosen, looked into, merged; what can't be done is said where it was asked for."""

from pathlib import Path
from typing import Any

from tests.browser.app import App, open_tab, settle
from tests.results import small

PART = "document.querySelector('#files')"


def test_files_are_looked_into_merged_and_refused(page: Any, app: App, tmp_path: Path):
    (app.home / "models").mkdir(parents=True, exist_ok=True)
    for seed, name in ((1, "moss"), (2, "rust")):
        small.lora(app.home / "models" / f"{name}.safetensors", seed)
    page.goto(app.url)
    open_tab(page, "Compare")
    settle(page, f"{PART}.querySelectorAll('[data-of=look] option').length === 2")
    page.click("#files .go")
    settle(page, f"{PART}.querySelectorAll('.norm').length > 5")
    assert page.locator("#files .facts").inner_text().startswith("Made for")
    assert page.locator("#files .programs .whole").count() == 5

    page.click("#files [data-pane=merge]")
    page.fill("#files .new-name", "both")
    page.click("#files .go")
    settle(page, f"!{PART}.querySelector('.made').hidden")
    with page.expect_download() as download:
        page.click("#files .made a")
    assert download.value.suggested_filename == "both.safetensors"
    settle(page, f"{PART}.querySelectorAll('[data-of=look] option').length === 3")

    page.click("#files [data-pane=look]")
    unsafe = tmp_path / "style.safetensors"
    unsafe.write_bytes(b"\x80\x02c__builtin__\neval\n")
    page.set_input_files("#files .chosen-file", unsafe)
    settle(page, f"!{PART}.querySelector('.fault').hidden")
    assert "PyTorch file (pickle)" in page.locator("#files .fault").inner_text()
