"""A checkpoint is whole or not there."""

from pathlib import Path

import pytest
import torch

from studio.errors import RunError
from studio.training import checkpoints
from studio.training.checkpoints import Checkpoint


def some(value: float = 1.0) -> Checkpoint:
    return Checkpoint({"layer.down": torch.full((4, 4), value)}, {"layer.down.exp_avg": torch.ones(4, 4)}, {"watch": {"failed": 0}})


def test_what_is_saved_is_loaded(tmp_path: Path):
    loaded = checkpoints.load(checkpoints.save(tmp_path, 5, some()))
    assert torch.equal(loaded.adapter["layer.down"], some().adapter["layer.down"])
    assert loaded.state == {"watch": {"failed": 0}, "step": 5}


@pytest.mark.parametrize("name", ["adapter.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_noticed_and_the_earlier_checkpoint_used(tmp_path: Path, name: str, share: float):
    earlier, later = checkpoints.save(tmp_path, 1, some()), checkpoints.save(tmp_path, 2, some(2.0))
    whole = (later / name).read_bytes()
    (later / name).write_bytes(whole[: int(len(whole) * share)])
    found, broken = checkpoints.newest(tmp_path)
    assert found == earlier
    assert broken == [tmp_path / "step-000002.corrupt"]


def test_one_flipped_bit_is_noticed(tmp_path: Path):
    path = checkpoints.save(tmp_path, 1, some()) / "adapter.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert not checkpoints.is_whole(path.parent)


def test_nothing_is_deleted_when_all_are_damaged(tmp_path: Path):
    for step in (1, 2):
        (checkpoints.save(tmp_path, step, some()) / "state.json").write_text("")
    found, broken = checkpoints.newest(tmp_path)
    assert found is None
    assert all((path / "adapter.safetensors").exists() for path in broken)
    assert len(broken) == 2


def test_unfinished_ones_are_swept(tmp_path: Path):
    (tmp_path / "step-000009.part").mkdir(parents=True)
    (tmp_path / ".del-step-000001").mkdir()
    assert checkpoints.newest(tmp_path) == (None, [])
    assert list(tmp_path.iterdir()) == []


def test_saving_twice_is_saving_once(tmp_path: Path):
    first = checkpoints.save(tmp_path, 5, some())
    written = (first / "adapter.safetensors").stat().st_mtime_ns
    assert checkpoints.save(tmp_path, 5, some()) == first
    assert (first / "adapter.safetensors").stat().st_mtime_ns == written


def test_the_newest_are_kept(tmp_path: Path):
    for step in range(1, 6):
        checkpoints.save(tmp_path, step, some())
    checkpoints.prune(tmp_path, 2)
    assert [path.name for path in checkpoints.listed(tmp_path)] == ["step-000004", "step-000005"]
    checkpoints.prune(tmp_path, 0)
    assert len(checkpoints.listed(tmp_path)) == 2


def test_a_folder_that_cant_be_written_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="step 5 can't be written"):
        checkpoints.save(tmp_path / "file" / "checkpoints", 5, some())
