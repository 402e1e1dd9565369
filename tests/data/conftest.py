"""Folders with pictures and captions, made as a test needs them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from studio.config import Config


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Path]:
    """Write a picture that is unlike any other: `draw("sub/a.png", size=(64, 48))`."""

    def write(name: str, size: tuple[int, int] = (64, 64), **options: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = np.random.default_rng(list(name.encode("utf-8", "surrogateescape")))
        pixels = seed.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, **options)
        return path

    return write


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a file: `write("metadata.csv", "a.png,a cat")`."""

    def put(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return put


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    """The settings of a run on the test's folder: `config(missing_captions="skip")`."""

    def make(**settings: Any) -> Config:
        return Config(**{"base_model": "pocket", "train_data_dir": tmp_path, "resolution": 64, **settings})

    return make
