"""Where the sums are done."""

import mmap
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from filelock import Timeout

from studio import device
from studio.errors import MachineError

CPU = torch.device("cpu")
HOLD = """
import sys, torch
from studio.device import device_lock
with device_lock(torch.device("cpu")):
    print("held", flush=True)
    sys.stdin.read()
"""
needs_no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")


def test_the_device_is_the_one_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_DEVICE", "cpu")
    assert device.device() == CPU


@pytest.mark.parametrize("asked", [None, ""])
def test_without_asking_it_is_the_best_there_is(monkeypatch: pytest.MonkeyPatch, asked: str | None) -> None:
    monkeypatch.delenv("STUDIO_DEVICE")
    if asked is not None:
        monkeypatch.setenv("STUDIO_DEVICE", asked)
    assert device.device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["nonsense", "gpu", "cuda:x", "-1", "cpu cpu"])
def test_a_device_of_no_known_kind_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("STUDIO_DEVICE", name)
    with pytest.raises(MachineError, match=f"STUDIO_DEVICE={name}: there is no such kind") as caught:
        device.device()
    assert "cpu" in caught.value.fix


@needs_no_cuda
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_cuda_that_is_not_there_is_said_with_the_build(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("STUDIO_DEVICE", name)
    with pytest.raises(MachineError) as caught:
        device.device()
    assert torch.__version__ in caught.value.what
    assert "STUDIO_DEVICE=cpu" in caught.value.fix


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_cuda_device_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_DEVICE", "cuda:99")
    with pytest.raises(MachineError, match="cuda:99"):
        device.device()


def test_precision_is_what_is_asked_for_and_full_on_a_cpu() -> None:
    assert [device.precision(asked, CPU) for asked in (None, "no", "bf16", "fp16")] == ["no", "no", "bf16", "fp16"]
    assert [device.dtype(name) for name in ("no", "bf16", "fp16")] == [torch.float32, torch.bfloat16, torch.float16]


def test_threads_are_set_and_told() -> None:
    before = torch.get_num_threads()
    try:
        assert device.set_threads(2) == torch.get_num_threads() == 2
        assert device.set_threads(None) == 2
        torch.set_num_threads(32)
        assert device.set_threads(None) == torch.get_num_threads() == 16
    finally:
        torch.set_num_threads(before)


def test_memory_is_counted_in_bytes() -> None:
    before = device.memory_in_use(CPU)
    with mmap.mmap(-1, 80_000_000) as held:  # new pages from the system: torch would reuse what earlier tests have freed
        held.write(b"x" * 80_000_000)
        assert 60e6 < device.memory_in_use(CPU) - before < 300e6


@pytest.fixture(autouse=True)
def lock_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_one_holds_the_device_at_a_time() -> None:
    with device.device_lock(CPU), pytest.raises(Timeout):
        device.device_lock(CPU).acquire()
    with device.device_lock(CPU):
        pass


def test_another_device_is_free_meanwhile() -> None:
    with device.device_lock(CPU), device.device_lock(torch.device("cuda:0")), device.device_lock(torch.device("cuda:1")):
        pass


def test_whoever_is_killed_lets_the_device_go() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    holder = subprocess.Popen([sys.executable, "-c", HOLD], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(Timeout):
        device.device_lock(CPU).acquire()
    holder.kill()
    holder.communicate()
    with device.device_lock(CPU):
        pass
