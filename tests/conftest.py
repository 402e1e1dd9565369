"""Every test has a workspace of its own, speaks English and computes on the CPU."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "workspace"))
    monkeypatch.setenv("STUDIO_LANGUAGE", "en")
    monkeypatch.setenv("STUDIO_DEVICE", "cpu")
