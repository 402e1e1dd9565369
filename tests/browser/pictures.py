"""Makes the README's picture of the app: `python -m tests.browser.pictures` (a minute or two; it trains)."""

import tempfile
from pathlib import Path

from tests.browser.app import ROOT, browser, open_tab, running

SETTINGS = {"lora_rank": "8", "max_steps": "90", "sample_steps": "20", "sample_prompts": "a red car\na dog face"}


def main() -> None:
    """Train on the sample set with the mouse; write .docs/train.png while it goes on."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as app, browser() as chrome:
        page = chrome.new_context(viewport={"width": 1440, "height": 900}, locale="en-US").new_page()
        page.goto(app.url)
        page.click("#dataset .samples .chip:has-text('gameboy')")
        page.wait_for_selector("#dataset .picture")
        open_tab(page, "Presets")
        page.wait_for_selector("#set-lora_rank", state="visible")
        for name, value in SETTINGS.items():
            page.fill(f"#set-{name}", value)
        page.wait_for_timeout(800)
        open_tab(page, "Train")
        page.wait_for_selector("#train .start", state="visible")
        page.fill("#train .name-field", "game look")
        page.fill("#train .purpose", "Does the style arrive in ninety steps?")
        page.click("#train .start")
        page.wait_for_function("parseInt(document.querySelector('#train .v-step').textContent) >= 65", timeout=400_000)
        page.locator("#train canvas").hover(position={"x": 420, "y": 120})
        page.wait_for_timeout(300)
        (ROOT / ".docs").mkdir(exist_ok=True)
        page.screenshot(path=str(ROOT / ".docs" / "train.png"))


if __name__ == "__main__":
    main()
