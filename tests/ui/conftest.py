"""Each test is answered as on the own machine, unless it says otherwise."""

from pathlib import Path

import pytest

from studio.ui import access


@pytest.fixture(autouse=True)
def house(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> access.House:
    began = tmp_path / "began"
    began.mkdir()
    made = access.House(open=True, demo=False, began=began)
    monkeypatch.setattr(access, "HOUSE", made)
    return made
