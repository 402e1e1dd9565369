"""Runs in the browser: long curves while they grow, TensorBoard, the trash and its undo, several LoRA mixed, a drawing that is cancelled."""

import json
import math
from typing import Any

import pytest

from studio import home
from studio.config import Config
from studio.events import Event, Started, Steps
from studio.pocket import SAMPLES
from studio.runs import run as shelf
from studio.runs.board import Board
from studio.runs.execute import execute
from studio.runs.resolve import complete
from studio.runs.run import Run
from tests.browser.app import App, open_tab, settle

INK = """
() => {
  const canvas = document.querySelector('#train .plot canvas');
  const data = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return new Set(data).size;
}
"""
WATCH = f"""
() => {{
  window.inks = [];
  const look = () => {{
    window.inks.push(({INK})());
    window.frame = requestAnimationFrame(look);
  }};
  look();
}}
"""


@pytest.fixture(autouse=True)
def shared(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests put runs into the app's own workspace."""
    monkeypatch.setenv("STUDIO_HOME", str(app.home))


def made(name: str, **settings: Any) -> Run:
    given = {"base_model": "pocket", "train_data_dir": str(SAMPLES / "gameboy"), "name": name, "validation_steps": 0, "lora_rank": 2, **settings}
    return shelf.create(complete(Config.model_validate(given)))


def steps(first: int, last: int) -> Steps:
    loss = tuple(0.1 + 0.9 * math.exp(-step / 900) + 0.05 * math.sin(step) for step in range(first, last))
    return Steps(first=first, loss=loss, grad_norm=loss, learning_rate=tuple(1e-4 for _ in loss), seconds=0.5, examples=4.0)


def told(name: str, count: int) -> Run:
    """A finished run of so many steps."""
    run = made(name, max_steps=count)
    happened: list[Event] = [Started(step=0, steps=count), *(steps(at, min(at + 50, count)) for at in range(0, count, 50))]
    board = Board(run.folder)
    run.log(board.log(happened) or happened)
    board.close()
    run.update(status="finished", started=1.0, finished=2.0)
    return run


def trained(name: str, dataset: str) -> Run:
    run = made(name, max_steps=2, train_data_dir=str(SAMPLES / dataset), batch_size=1)
    for _ in execute(run):
        pass
    return run


@pytest.mark.parametrize("count", [5_000, 100_000])
def test_a_long_curve_grows_without_being_sent_again_or_going_blank(page: Any, count: int):
    run = made(f"long{count}", max_steps=count + 1000)
    run.log([Started(step=0, steps=count + 1000), *(steps(at, at + 50) for at in range(0, count, 50))])
    with run.claim():
        run.update(status="running", started=1.0)
        page.evaluate("run => window.studio.keep('run', run)", run.state.id)
        page.reload()
        open_tab(page, "Train")
        settle(page, f"document.querySelector('#train .v-step').textContent.startsWith('{count:,} ')")
        assert page.evaluate(INK) > 10
        sent: list[int] = []
        page.on("response", lambda answer: sent.append(int(answer.headers.get("content-length") or 0)))
        page.evaluate(WATCH)
        for at in range(count, count + 200, 50):
            run.log([steps(at, at + 50)])
            settle(page, f"document.querySelector('#train .v-step').textContent.startsWith('{at + 50:,} ')")
            if at == count:
                sent.clear()  # what belongs to the page's beginning may still have been under way
        inks = page.evaluate("() => { cancelAnimationFrame(window.frame); return window.inks; }")
        assert len(inks) > 5
        assert min(inks) > 10
        assert 0 < max(sent) < 3000
    page.evaluate("window.studio.keep('run', null)")
    run.update(status="stopped")


def test_on_a_phone_a_run_that_trains_stands_first(page: Any):
    run = told("on-a-phone", 20)
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("run => window.studio.keep('run', run)", run.state.id)
    page.reload()
    open_tab(page, "Train")
    above = "(() => { const [state, start] = ['.state', '.start'].map(name => document.querySelector(`#train ${name}`).getBoundingClientRect().top);"
    settle(page, "document.querySelector('#train .state').textContent === 'Finished'")
    assert page.evaluate(above + " return start < state; })()")
    with run.claim():
        run.update(status="running")
        settle(page, above + " return state < start; })()")
    run.update(status="finished")


def test_tensorboard_opens_over_the_chosen_runs(page: Any, app: App):
    run = told("for-board", 20)
    open_tab(page, "Runs")
    page.locator("#runs tbody tr", has_text=run.state.id).locator("input[type=checkbox]").check()
    with page.context.expect_page() as opened:
        page.click("#runs .board")
    board = opened.value
    board.wait_for_url("**/tensorboard/**", timeout=60_000)
    board.wait_for_selector("tb-webapp", state="attached", timeout=30_000)
    assert board.url.startswith(app.url)
    assert run.state.id in board.evaluate("() => fetch('data/runs').then(answer => answer.text())")


def test_a_deleted_run_comes_back_by_undo_and_from_the_trash(page: Any, app: App):
    run = told("thrown-away", 20)
    open_tab(page, "Runs")
    row = page.locator("#runs tbody tr", has_text=run.state.id)
    for back in (".toast button:has-text('Undo')", "#runs .bin button:has-text('Restore')"):
        row.locator("input[type=checkbox]").check()
        page.click("#runs .delete")
        row.wait_for(state="detached")
        assert not run.folder.exists()
        if "bin" in back:
            page.click("#runs .trash")
        page.click(back)
        row.wait_for(state="attached")
        assert (run.folder / "events.jsonl").is_file()
    page.locator("#runs .bin").get_by_role("button", name="Close").click()


def test_two_lora_are_mixed_and_a_drawing_can_be_cancelled(page: Any, app: App):
    first, second = trained("first", "gameboy"), trained("second", "blueprint")
    open_tab(page, "Compare")
    settle(page, "document.querySelectorAll('#compare .loras select option').length >= 2")
    page.click("#compare .add")
    assert page.locator("#compare .lora").count() == 2
    page.locator("#compare .lora input[type=range]").last.fill("0.5")
    page.fill("#compare .prompts", "a cat")
    page.click("#compare .go")
    settle(page, "document.querySelector('#compare .wipe img.after')?.naturalWidth > 0")
    settle(page, "document.querySelector('#compare .working').hidden")
    mixed = page.evaluate("() => window.studio.kept('job')")
    about = json.loads((home.cache() / "drawings" / mixed / "job.json").read_text())["about"]
    assert {lora["name"]: lora["weight"] for lora in about["loras"]} == {second.state.id: 1, first.state.id: 0.5}

    page.fill("#compare .prompts", "\n".join(f"a cat number {number}" for number in range(12)))
    page.click("#compare .go")
    page.wait_for_selector("#compare .cancel", state="visible")
    page.click("#compare .cancel")
    settle(page, "document.querySelector('#compare .working').hidden")
    job = page.evaluate("() => window.studio.kept('job')")
    assert job != mixed
    drawn = len(list((home.cache() / "drawings" / job).glob("*.png")))
    assert drawn < 24
    assert page.locator("#compare .go").inner_text() == "Generate"
