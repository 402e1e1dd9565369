"""What becomes of a run when people, other runs and the disk interfere: as they do it, on the command line."""

import contextlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from studio.cli import main
from studio.events import Finding, Started, Steps
from studio.pocket import SAMPLES
from studio.runs import run as runs
from studio.runs.run import Run

ROOT = Path(__file__).parents[2]
STEPS = 40
SETTINGS = f"""
base_model: pocket
resolution: 32
lora_rank: 4
lora_dropout: 0.1
max_steps: {STEPS}
save_steps: 5
keep_checkpoints: 0
validation_steps: 0
threads: 1
"""
Child = subprocess.Popen[str]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small pictures with captions."""
    folder = tmp_path_factory.mktemp("data")
    lines = ["file_name,text"]
    for path in sorted((SAMPLES / "gameboy").glob("*.png"))[:6]:
        with Image.open(path) as picture:
            picture.convert("RGB").resize((32, 32)).save(folder / path.name)
        lines.append(f"{path.name},{path.stem}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def data(tmp_path: Path, pictures: Path) -> Path:
    """These pictures, to be changed."""
    return Path(shutil.copytree(pictures, tmp_path / "data"))


@pytest.fixture
def words(tmp_path: Path, data: Path) -> Callable[..., list[str]]:
    """What a person types to train to an output_dir."""

    def typed(output: str | Path = "out", *more: str) -> list[str]:
        (tmp_path / "my.yaml").write_text(f"{SETTINGS}train_data_dir: {str(data)!r}\n")
        return ["train", "--config", str(tmp_path / "my.yaml"), "--output_dir", str(tmp_path / output), *more]

    return typed


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A run that nothing interfered with."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "my.yaml").write_text(f"{SETTINGS}train_data_dir: {str(pictures)!r}\noutput_dir: {str(folder / 'out')!r}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIO_HOME", str(folder / "home"))
        patch.setenv("STUDIO_DEVICE", "cpu")
        assert main(["train", "--config", str(folder / "my.yaml")]) == 0
    return folder / "out"


@pytest.fixture
def started() -> Iterator[Callable[[list[str]], Child]]:
    """Processes of their own; none outlives its test."""
    children: list[Child] = []

    def start(words: list[str]) -> Child:
        command = [sys.executable, str(ROOT / "studio.py"), *words]
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.communicate()


def until(seen: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def checkpoints(output: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in output.glob("checkpoints/step-??????"))


def told(run: Run) -> list[int]:
    """Every step that stands in the events."""
    return [step for record in run.events() if isinstance(record.event, Steps) for step in range(record.event.first, record.event.last + 1)]


def same(one: Path, other: Path) -> bool:
    left, right = (load_file(path / "pytorch_lora_weights.safetensors") for path in (one, other))
    return left.keys() == right.keys() and all(left[name].equal(right[name]) for name in left)


def ask_by_command(child: Child, output: Path) -> None:
    assert main(["stop", str(output)]) == 0


def send(number: int) -> Callable[[Child, Path], None]:
    return lambda child, _: child.send_signal(number)


@pytest.mark.parametrize("ask", [ask_by_command, send(signal.SIGINT), send(signal.SIGTERM)], ids=["stop", "SIGINT", "SIGTERM"])
def test_whoever_is_asked_to_stop_saves_first_and_goes_on_to_the_same_bits(
    tmp_path: Path, words: Callable[..., list[str]], started: Callable[[list[str]], Child], ask: Callable[[Child, Path], None], whole: Path
) -> None:
    output, child = tmp_path / "out", started(words())
    until(lambda: 5 in checkpoints(output))
    ask(child, output)
    said, _ = child.communicate(timeout=20)
    run = runs.find(str(output))
    assert (child.returncode, run.state.status) == (0, "stopped")
    assert f"python studio.py resume {run.id}" in said
    assert "Traceback" not in said
    at = checkpoints(output)[-1]
    assert 5 <= at < STEPS
    assert told(run) == list(range(at))
    assert main(["resume", run.id]) == 0
    assert run.state.status == "finished"
    assert told(run) == list(range(STEPS))
    assert same(output, whole)


def test_a_second_signal_ends_at_once_and_the_run_can_go_on(
    tmp_path: Path, words: Callable[..., list[str]], started: Callable[[list[str]], Child]
) -> None:
    output, child = tmp_path / "out", started(words())
    until(lambda: 5 in checkpoints(output))
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGTERM)
    said, _ = child.communicate(timeout=20)
    assert child.returncode == 130
    assert "Traceback" not in said
    run = runs.find(str(output))
    assert run.state.status == "interrupted"
    assert main(["resume", run.id]) == 0
    assert told(run) == list(range(STEPS))


def test_a_second_run_on_the_device_waits_and_then_trains(
    tmp_path: Path, words: Callable[..., list[str]], started: Callable[[list[str]], Child], capsys: pytest.CaptureFixture[str]
) -> None:
    first = started(words("first", "--max_steps", "100000"))
    until(lambda: 5 in checkpoints(tmp_path / "first"))
    assert main(["resume", str(tmp_path / "first")]) == 2
    assert f"is being trained already (process {first.pid}" in capsys.readouterr().err
    assert main(words("first")) == 2
    assert "already holds run" in capsys.readouterr().err
    second, run = started(words("second", "--max_steps", "3")), Run(tmp_path / "second")
    until(lambda: (run.folder / "logs").exists() and run.state.status == "queued")
    time.sleep(0.3)
    assert (run.state.status, checkpoints(run.folder)) == ("queued", [])
    first.send_signal(signal.SIGINT)
    assert "Waiting for the device" in second.communicate(timeout=60)[0]
    assert (second.returncode, run.state.status) == (0, "finished")
    assert first.wait(timeout=20) == 0
    assert Run(tmp_path / "first").state.status == "stopped"


def test_a_run_that_waits_for_the_device_can_be_stopped(
    tmp_path: Path, words: Callable[..., list[str]], started: Callable[[list[str]], Child]
) -> None:
    import torch

    from studio.device import device_lock

    output = tmp_path / "out"
    with device_lock(torch.device("cpu")):
        child = started(words())
        until(lambda: (output / "state.json").exists() and Run(output).state.process and Run(output).state.status == "queued")
        child.send_signal(signal.SIGTERM)
        said, _ = child.communicate(timeout=20)
    assert (child.returncode, Run(output).state.status) == (0, "stopped")
    assert "Waiting for the device" in said


@contextlib.contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_checkpoint_that_cant_be_written_fails_the_run_and_leaves_the_earlier_one(
    tmp_path: Path, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert main(words("out", "--max_steps", "10")) == 0
    before = {path: path.read_bytes() for path in output.glob("checkpoints/*/*")}
    (output / "pytorch_lora_weights.safetensors").unlink()
    shutil.rmtree(output / "checkpoints" / "step-000010")
    run = Run(output)
    run.update(status="stopped")
    with room_for(100_000):
        assert main(["resume", str(output)]) == 4
    said = capsys.readouterr().err
    assert f"The checkpoint of step 10 can't be written to {output / 'checkpoints'}: File too large." in said
    assert "Make room or mend the disk, then resume the run; earlier checkpoints are untouched." in said
    assert "Traceback" not in said
    assert (run.state.status, "step 10" in run.state.error, "Make room" in run.state.fix) == ("failed", True, True)
    assert checkpoints(output) == [5]
    assert not list(output.glob("checkpoints/*.part"))
    assert all(path.read_bytes() == content for path, content in before.items() if "000005" in str(path))
    assert main(["resume", str(output)]) == 0
    assert run.state.status == "finished"


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 5 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(folder)], capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_with_what_is_free_and_what_is_needed(
    tiny_disk: Path, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tiny_disk / "out")) == 4
    said, run = capsys.readouterr().err, Run(tiny_disk / "out")
    assert re.search(r"\d MB are free, \d MB are needed\.", said)
    assert "Make room" in said
    assert run.state.status == "failed"
    assert checkpoints(run.folder)
    assert all((path / "manifest.json").exists() for path in run.folder.glob("checkpoints/*"))


@pytest.mark.parametrize("place", ["file", "/proc/lora-studio"])
@pytest.mark.parametrize("command", ["train", "output_dir"])
def test_a_place_that_cant_be_written_is_refused_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], place: str, command: str
) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / place / "deep"
    given = words()
    if command == "train":
        monkeypatch.setenv("STUDIO_HOME", str(folder))
        given = given[:3]
    else:
        given[-1] = str(folder)
    assert main(given) == 3
    said = capsys.readouterr().err
    assert f"{tmp_path / place}" in said
    assert "can't be written" in said
    assert "Traceback" not in said


def short(words: Callable[..., list[str]], output: Path) -> Run:
    """A run that was stopped at step 5 of 10."""
    assert main(words(output.name, "--max_steps", "10")) == 0
    shutil.rmtree(output / "checkpoints" / "step-000010")
    Run(output).update(status="stopped")
    return Run(output)


def change_a_caption(data: Path) -> None:
    path = data / "metadata.csv"
    path.write_text(path.read_text().rstrip() + " changed\n")


def change_a_picture(data: Path) -> None:
    Image.new("RGB", (32, 32), "red").save(sorted(data.glob("*.png"))[0])


@pytest.mark.parametrize("change", [change_a_caption, change_a_picture])
def test_changed_data_is_refused_on_resume_and_taken_with_anyway(
    tmp_path: Path, data: Path, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], change: Callable[[Path], None]
) -> None:
    run = short(words, tmp_path / "out")
    change(data)
    assert main(["resume", run.id]) == 2
    said = capsys.readouterr().err
    assert "Since this run began, this has changed: data." in said
    assert "--anyway" in said
    assert checkpoints(run.folder) == [5]
    assert main(["resume", run.id, "--anyway"]) == 0
    findings = [record.event.text for record in run.events() if isinstance(record.event, Finding)]
    assert "Not an exact continuation: data changed since the run began." in findings
    assert run.state.status == "finished"


def test_a_damaged_checkpoint_is_set_aside_and_the_earlier_one_leads_to_the_same_bits(
    tmp_path: Path, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert main(words("out", "--max_steps", "15")) == 0
    shutil.copy(output / "pytorch_lora_weights.safetensors", tmp_path)
    shutil.rmtree(output / "checkpoints" / "step-000015")
    newest = output / "checkpoints" / "step-000010" / "optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[:-4096] + b"\xff" * 4096)
    run = Run(output)
    run.update(status="running")
    assert main(["resume", run.id]) == 0
    assert "Checkpoint step-000010 is damaged; it was set aside, and an earlier one is used." in capsys.readouterr().err
    assert (output / "checkpoints" / "step-000010.corrupt").is_dir()
    assert [record.event.step for record in run.events() if isinstance(record.event, Started)][-1] == 5
    assert same(output, tmp_path)


def test_when_every_checkpoint_is_damaged_nothing_is_deleted_and_the_run_begins_anew_only_when_told(
    tmp_path: Path, words: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    run = short(words, tmp_path / "out")
    (run.folder / "checkpoints" / "step-000005" / "adapter.safetensors").write_bytes(b"")
    for _ in range(2):
        assert main(["resume", run.id]) == 4
        said = capsys.readouterr().err
        assert f"No valid checkpoint is left in {run.folder / 'checkpoints'}." in said
        assert "--anyway" in said
    assert main(["resume", run.id, "--anyway"]) == 0
    assert told(run) == list(range(10))
    assert (run.folder / "checkpoints" / "step-000005.corrupt" / "optimizer.safetensors").exists()
