"""Every test has a workspace of its own, speaks English and computes on the CPU."""

import tempfile
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "workspace"))
    monkeypatch.setenv("STUDIO_LANGUAGE", "en")
    monkeypatch.setenv("STUDIO_DEVICE", "cpu")
    temporary = str(tmp_path_factory.getbasetemp())  # holds the device's lock: somebody may be training on this machine
    monkeypatch.setenv("TMPDIR", temporary)
    monkeypatch.setattr(tempfile, "tempdir", temporary)
