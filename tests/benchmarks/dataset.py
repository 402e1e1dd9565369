"""How ten thousand pictures feel: import, check, grid, search, a change of all captions, and the server's memory.

`python -m tests.benchmarks.dataset [--count 10000]` prints a table (some minutes). Needs Chromium. The pictures are different, of 64 pixels.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.browser.app import ROOT, browser, running, settle

MADE = "document.querySelectorAll('#dataset .picture').length"
SEARCH = """async wanted => {
    const box = document.querySelector('#dataset .search'), from = performance.now();
    box.value = wanted;
    box.dispatchEvent(new Event('input'));
    while (document.querySelectorAll('#dataset .picture').length !== 1) await new Promise(requestAnimationFrame);
    return performance.now() - from;
}"""


def material(folder: Path, count: int) -> None:
    """Pictures that are all different, and their captions."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        cells = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(cells).resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{number:05}.jpg", quality=90)
    (folder / "metadata.csv").write_text("".join(f'{number:05}.jpg,"a thing, number {number}, pixels"\n' for number in range(count)))


def memory(process: subprocess.Popen[bytes]) -> float:
    """Megabytes that the server holds."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def command(home: Path, *words: str) -> tuple[float, str]:
    """Seconds of a command, and what it said."""
    about = {"STUDIO_HOME": str(home), "STUDIO_LANGUAGE": "en", "STUDIO_DEVICE": "cpu", "PATH": "/usr/bin:/bin"}
    began = time.monotonic()
    done = subprocess.run([sys.executable, "studio.py", *words], cwd=ROOT, env=about, capture_output=True, text=True, check=True)
    return time.monotonic() - began, done.stdout


def look(page: Any, process: subprocess.Popen[bytes], count: int) -> None:
    """What a person waits for in the app."""
    for what, act in (("a click on the set", lambda: page.click("#dataset .known .chip")), ("a reload of the page", page.reload)):
        began = time.monotonic()
        act()
        page.wait_for_selector("#dataset .picture img")
        page.wait_for_function("[...document.querySelectorAll('#dataset .picture img')].slice(0, 12).every(i => i.naturalWidth > 0)")
        print(f"| {what} to twelve pictures in the grid | {time.monotonic() - began:.1f} s |")
    few = page.evaluate(MADE)
    for _ in range(20):
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        page.wait_for_timeout(150)
    print(f"| cards made at first, after scrolling to the end twenty times | {few}, {page.evaluate(MADE)} |")
    page.evaluate("window.scrollTo(0, 0)")
    times = []
    for number in (42, count // 2, count - 1):
        times.append(page.evaluate(SEARCH, f"number {number},"))
        page.fill("#dataset .search", "")
        page.wait_for_timeout(500)
    print(f"| search, slowest of three | {max(times):.0f} ms |")
    print(f"| server's memory with the grid open | {memory(process):.0f} MB |")


def replace(page: Any, process: subprocess.Popen[bytes]) -> None:
    """Change all captions, and take it back."""
    page.fill("#dataset .find", "a thing")
    page.fill("#dataset .with", "one thing")
    page.click("#dataset .replace")
    settle(page, "!document.querySelector('#dataset .preview .apply').disabled")
    began = time.monotonic()
    page.click("#dataset .preview .apply")
    settle(page, "document.querySelector('#dataset .caption').textContent.startsWith('one thing')")
    changed = time.monotonic()
    page.click("#dataset .undo")
    settle(page, "document.querySelector('#dataset .caption').textContent.startsWith('a thing')")
    print(f"| find and replace in all; taking it back | {changed - began:.1f} s; {time.monotonic() - changed:.1f} s |")
    page.wait_for_timeout(5000)
    print(f"| server's memory then | {memory(process):.0f} MB |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, home = Path(folder) / "source", Path(folder) / "home"
        material(source, given.count)
        seconds, _ = command(home, "import", str(source), "many")
        print(f"| | {given.count} pictures |\n|---|---|\n| `import` | {seconds:.1f} s |", flush=True)
        data = str(home / "datasets" / "many")
        for what in ("first look", "again"):
            seconds, said = command(home, "check", "--data", data)
            print(f"| `check`, {what} | {seconds:.1f} s |", flush=True)
        print(f"| pictures to train on | {said.split(' to train on')[0].split()[-1]} |")
        with running(home) as app, browser() as chrome:
            page = chrome.new_context(viewport={"width": 1440, "height": 900}, locale="en-US").new_page()
            page.goto(app.url)
            page.wait_for_selector("#dataset .welcome:not([hidden])")
            page.wait_for_timeout(8000)  # until what trains and draws is open
            print(f"| server's memory before | {memory(app.process):.0f} MB |", flush=True)
            look(page, app.process, given.count)
            for _ in range(3):
                replace(page, app.process)


if __name__ == "__main__":
    main()
