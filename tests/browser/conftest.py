"""Browser tests: skipped, with the reason, where Chromium or Playwright is missing."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.app import App, browser, chromium, running

MISSING = (
    "Chromium is not installed" if chromium() is None else "Playwright is not installed" if importlib.util.find_spec("playwright") is None else ""
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if MISSING and Path(item.fspath).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.skip(reason=MISSING))


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    """Chromium for the tests of a file."""
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app with a workspace of its own, for the tests of a file."""
    with running(tmp_path_factory.mktemp("home")) as opened:
        yield opened


@pytest.fixture
def page(chrome: Any, app: App) -> Iterator[Any]:
    """A window of 1440 × 900 on the app; what its console complains of is an error."""
    context = chrome.new_context(viewport={"width": 1440, "height": 900}, locale="en-US", reduced_motion="reduce")
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(app.url)
    opened.wait_for_selector("#top", state="visible")
    opened.wait_for_function("document.querySelector('#dataset .welcome') !== null")
    yield opened
    context.close()
    assert complaints == []
