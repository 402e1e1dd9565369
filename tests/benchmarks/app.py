"""How quick the app is: start, first paint, clicks idle and while a run trains, bytes a refresh, and what a run loses by being watched.

`python -m tests.benchmarks.app [--rounds 2] [--steps 60]` prints a table. Needs Chromium.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.browser.app import ROOT, App, browser, open_tab, running

CLICKS = 30
# Milliseconds from a pointer's event to the changed document.
TIMED = """async ([selector, changed]) => {
  const element = document.querySelector(selector), box = element.getBoundingClientRect(), test = new Function(`return ${changed}`);
  const began = performance.now();
  element.dispatchEvent(new PointerEvent('pointerdown', { bubbles: true, clientX: box.x + 3, clientY: box.y + 3 }));
  element.click();
  while (!test()) await new Promise(go => setTimeout(go, 1));
  return performance.now() - began;
}"""


def spread(times: list[float]) -> str:
    """Median and 95th percentile."""
    return f"{statistics.median(times):.0f} / {sorted(times)[int(0.95 * (len(times) - 1))]:.0f} ms"


def clicks(page: Any) -> dict[str, str]:
    """Switching tabs, and saving a caption until the page says that it is saved."""
    tabs, captions = [], []
    for number in range(CLICKS):
        name = ("dataset", "train")[number % 2]
        tabs.append(page.evaluate(TIMED, [f"#tabs [data-tab-id={name}]", f"document.querySelector('#{name}')?.offsetParent != null"]))
    open_tab(page, "Dataset")
    for number in range(CLICKS):
        page.evaluate("document.querySelector('#dataset .saved').textContent = ''")
        page.locator("#dataset .caption").nth(number).click()
        page.locator("#dataset .caption").nth(number).fill(f"caption {time.monotonic()}")
        captions.append(
            page.evaluate("""async () => { const began = performance.now(); document.activeElement.blur();
            while (document.querySelector('#dataset .saved').textContent !== 'saved') await new Promise(go => setTimeout(go, 1));
            return performance.now() - began; }""")
        )
    return {"switch a tab": spread(tabs), "save a caption": spread(captions)}


START = """async steps => {
  const part = (await (await fetch('config')).json()).components.find(found => found.props.elem_id === 'train');
  const settings = { ...window.studio.wanted(), base_model: 'pocket', max_steps: steps, batch_size: 8, validation_steps: 0,
    save_steps: 0, threads: 1 };
  const body = JSON.stringify({ data: { settings }, component_id: part.id, fn_name: 'start', session_hash: 'x' });
  const headers = { 'content-type': 'application/json' };
  return (await (await fetch('gradio_api/component_server/', { method: 'POST', headers, body })).json()).run.id;
}"""


def train(app: App, page: Any, steps: int) -> float:
    """Seconds from the first to the last step of a run that the page watches."""
    run = page.evaluate(START, steps)
    while json.loads((app.home / "runs" / run / "state.json").read_text())["status"] != "finished":
        time.sleep(0.2)
    return _took(app.home / "runs" / run)


def _took(run: Path) -> float:
    times = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    steps = [event for event in times if event["event"] == "steps"]
    return float(steps[-1]["time"] - next(event["time"] for event in times if event["event"] == "started"))


def alone(home: Path, steps: int) -> float:
    """The same on the command line."""
    settings = {"base_model": "pocket", "train_data_dir": home / "datasets" / "gameboy", "max_steps": steps, "batch_size": 8, "validation_steps": 0}
    words = [
        word
        for key, value in {**settings, "save_steps": 0, "threads": 1, "output_dir": home / f"alone-{time.time()}"}.items()
        for word in (f"--{key}", str(value))
    ]
    surroundings = {"STUDIO_HOME": str(home), "STUDIO_DEVICE": "cpu", "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "studio.py", "train", "--preset", "pocket", *words], cwd=ROOT, env=surroundings, check=True, capture_output=True)
    return _took(Path(words[-1]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as app, browser() as chrome:
        page = chrome.new_context(viewport={"width": 1440, "height": 900}, locale="en-US").new_page()
        sizes: list[int] = []
        page.on("response", lambda r: sizes.append(int(r.headers.get("content-length") or 0)) if "component_server" in r.url else None)
        page.goto(app.url)
        page.wait_for_selector("#dataset .welcome:not([hidden])")
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000")
        print(f"| start to an answer | {app.started:.1f} s |\n| page to first paint | {paint:.1f} s |")
        page.click("#dataset .samples .chip:has-text('gameboy')")
        page.wait_for_selector("#dataset .picture")
        for name in ("Presets", "Train"):
            open_tab(page, name)
            page.wait_for_timeout(1500)
        for what, figure in clicks(page).items():
            print(f"| {what}, idle | {figure} |")
        open_tab(page, "Train")
        watched, unwatched = [], []
        for _ in range(given.rounds):
            unwatched.append(alone(app.home, given.steps))
            sizes.clear()
            watched.append(train(app, page, given.steps))
        print(f"| a refresh while it trains, median | {statistics.median(sizes):.0f} bytes |")
        ratios = ", ".join(f"{one / other:.2f}" for one, other in zip(watched, unwatched, strict=True))
        print(f"| a run in the app / on the command line, one thread each | {ratios} |")
        page.evaluate("window.studio.emit('x')")
        page.fill("#train .name-field", "load")
        train_in_background(page)
        page.wait_for_function("document.querySelector('#train .state').textContent === 'Training'", timeout=120_000)
        for what, figure in clicks(page).items():
            print(f"| {what}, while a run trains | {figure} |")
        open_tab(page, "Train")
        print(f"| Stop | {page.evaluate(TIMED, ['#train .stop', 'document.querySelector(`#train .stop`).disabled']):.0f} ms |")


def train_in_background(page: Any) -> None:
    """Start a long run with the button."""
    page.evaluate(
        "window.studio.keep('draft', { preset: 'pocket', settings: { base_model: 'pocket', max_steps: 5000, validation_steps: 0, save_steps: 0 } })"
    )
    page.click("#train .start")


if __name__ == "__main__":
    main()
