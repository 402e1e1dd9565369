import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from studio.families import digests


def test_a_digest_depends_on_the_wanted_weights_and_on_nothing_else(tmp_path: Path) -> None:
    def digest(name: str, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> str:
        save_file(tensors, tmp_path / name, metadata)
        return digests.of_tensors(tmp_path / name, lambda tensor: tensor.startswith("vae."))

    vae = {"vae.a": torch.arange(6.0).view(2, 3), "vae.b": torch.ones(2)}
    first = digest("a", {**vae, "unet.a": torch.zeros(1)})
    assert digest("b", {**vae, "unet.a": torch.ones(7)}, {"title": "another"}) == first
    changed = [{**vae, "vae.b": torch.tensor([1.0, 2.0])}, {**vae, "vae.a": vae["vae.a"].view(3, 2)}, {"vae.a": vae["vae.a"], "vae.c": torch.ones(2)}]
    assert len({first, *(digest("c", tensors) for tensors in changed)}) == 4


def test_files_in_another_order_have_another_digest(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    both = [tmp_path / "a", tmp_path / "b"]
    assert digests.of_files(both) != digests.of_files(both[::-1])


def test_the_hash_of_a_large_file_is_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "LARGE", 3)
    path = tmp_path / "weights"

    def digest(content: str, time: int) -> str:
        path.write_text(content)
        os.utime(path, ns=(time, time))
        return digests.remembered([path], "whole", lambda: digests.of_files([path]))

    first = digest("abcd", 1)
    assert digest("wxyz", 1) == first, "it was read again"
    assert len({first, digest("wxyz", 2), digest("abcde", 1), digests.remembered([path], "vae", lambda: "other")}) == 4


def test_a_small_file_is_read_each_time(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("abcd")
    found = iter(("one", "two"))
    assert [digests.remembered([tmp_path / "weights"], "whole", lambda: next(found)) for _ in range(2)] == ["one", "two"]
