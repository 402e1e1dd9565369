"""Small models of every family, opened once: each test gets a copy of its own."""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from studio import families
from studio.families.base import Bundle

from . import tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """Family → small models of it by name."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "sd": {"pocket": families.POCKET, "tiny": tiny.sd(folder / "sd")},
        "sdxl": {"tiny": tiny.sdxl(folder / "sdxl")},
        "sd3": {"tiny": tiny.sd3(folder / "sd3"), "without-t5": tiny.sd3(folder / "sd3-without-t5", t5=False)},
        "flux": {"dev": tiny.flux(folder / "dev"), "schnell": tiny.flux(folder / "schnell", guided=False)},
        "flux2": {
            "dev": tiny.flux2(folder / "flux2-dev"),
            "klein": tiny.flux2(folder / "flux2-klein", klein=True),
            "klein-distilled": tiny.flux2(folder / "flux2-klein-distilled", klein=True, distilled=True),
        },
        "qwen_image": {"tiny": tiny.qwen_image(folder / "qwen_image")},
        "z_image": {"tiny": tiny.z_image(folder / "z_image"), "turbo": tiny.z_image(folder / "z_image-turbo", turbo=True)},
    }


@pytest.fixture(scope="session")
def fresh(small: dict[str, dict[str, Path]]) -> Callable[..., Bundle]:
    """`fresh("sd", "pocket")`: a bundle that nothing is attached to."""
    opened: dict[Any, Bundle] = {}

    def load(family: str, model: str, dtype: torch.dtype = torch.float32) -> Bundle:
        first = opened.setdefault((family, model, dtype), families.get(family).load(small[family][model], CPU, dtype))
        loaders = {part: (lambda part=part: copy.deepcopy(first[part])) for part in first.loaders}
        return dataclasses.replace(first, loaders=loaders, facts=dict(first.facts), blend=tuple, adapted=set(), remembered={}, _open={}, _known={})

    return load
