"""Makes the README's picture of the app: `python -m tests.browser.pictures` (some minutes; it trains two runs)."""

import tempfile
from pathlib import Path

from tests.browser.app import ROOT, browser, open_tab, running

PROMPTS = "a red car\na dog face\na house"


def main() -> None:
    """Train twice, the second time watched; write docs/train.png."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as app, browser() as chrome:
        page = chrome.new_context(viewport={"width": 1440, "height": 900}, locale="en-US").new_page()
        page.goto(app.url)
        page.click("#dataset .samples .chip:has-text('gameboy')")
        page.wait_for_selector("#dataset .picture")
        for name, rank, share in (("rank 2", "2", 1.0), ("meadow", "8", 0.66)):
            open_tab(page, "Presets")
            page.wait_for_selector("#set-lora_rank", state="visible")
            page.fill("#set-lora_rank", rank)
            page.fill("#set-sample_prompts", PROMPTS)
            page.fill("#set-sample_steps", "30")
            page.fill("#set-max_steps", "120")
            page.wait_for_timeout(500)
            open_tab(page, "Train")
            page.wait_for_selector("#train .start", state="visible")
            page.fill("#train .name-field", name)
            page.fill("#train .purpose", "Does a higher rank keep more of the shapes?")
            page.click("#train .start")
            page.wait_for_function(f"document.querySelector('#train .which').selectedOptions[0]?.textContent.includes('{name}')")
            done = f"+document.querySelector('#train .progress').getAttribute('aria-valuenow') >= {100 * share}"
            page.wait_for_function(f"!document.querySelector('#train .doing:not([hidden])') && {done}", timeout=600_000)
        page.select_option("#train .overlay", label="rank 2")
        page.wait_for_timeout(2500)
        page.locator("#train canvas").hover(position={"x": 420, "y": 120})
        page.wait_for_timeout(300)
        (ROOT / "docs").mkdir(exist_ok=True)
        page.screenshot(path=str(ROOT / "docs" / "train.png"))


if __name__ == "__main__":
    main()
