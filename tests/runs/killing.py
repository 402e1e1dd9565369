"""Kills a training from outside at chosen system calls, resumes it, and compares the weights bit for bit with an undisturbed run's.

`python -m tests.runs.killing` prints a table (needs strace); `--quick` kills at a few things seen on disk instead.
The libraries are imported once; each attempt is a fork that then runs the command line like anyone else.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from PIL import Image

from studio.events import Steps, standing, tail
from studio.pocket import SAMPLES

STEPS = 10
SETTINGS = f"""
base_model: pocket
lora_rank: 4
lora_alpha: 8
conv_rank: 2
lora_dropout: 0.1
caption_dropout: 0.2
shuffle_tags: true
keep_tokens: 1
random_flip: true
train_text_encoder: true
learning_rate: 1e-3
batch_size: 2
gradient_accumulation_steps: 2
max_steps: {STEPS}
warmup_steps: 2
save_steps: 3
keep_checkpoints: 2
validation_split: 0.2
validation_steps: 4
sample_prompts: [a dog face]
sample_steps: 5
"""
CALLS = "rename,fsync,write,mkdir,openat,ftruncate,unlink,newfstatat"
SPREAD = {"rename": 4, "fsync": 3, "write": 3, "mkdir": 1, "openat": 2, "unlink": 1, "newfstatat": 2}
AIMED = (
    ("rename", 1, "checkpoints/step-000003.part"),
    ("fsync", 2, "checkpoints/step-000006.part/optimizer.safetensors"),
    ("rename", 1, "checkpoints/step-000006.part"),
    ("openat", 1, "checkpoints/step-000009.part/manifest.json"),
    ("write", 3, "events.jsonl"),
    ("write", 6, "events.jsonl"),
    ("write", 9, "events.jsonl"),
    ("openat", 1, "samples/step-000005/00.png"),
    ("write", 1, "samples/step-000010/00.png"),
    ("newfstatat", 60, "stop"),
    ("newfstatat", 90, "stop"),
    ("newfstatat", 110, "stop"),
)
TWICE = 5  # every so many points the resumed process is killed too


@dataclass
class Outcome:
    """What one point came to."""

    point: str
    found: str
    resumed_from: int
    attempts: int
    identical: bool
    events_whole: bool


class Place:
    """A workspace of its own with the same data and settings."""

    def __init__(self, folder: Path, data: Path, threads: int) -> None:
        self.home, self.output, self.config = folder / "workspace", folder / "out", folder / "my.yaml"
        self.home.mkdir(parents=True)
        self.config.write_text(f"{SETTINGS}threads: {threads}\ntrain_data_dir: {json.dumps(str(data))}\noutput_dir: {json.dumps(str(self.output))}\n")

    def words(self) -> list[str]:
        """What a person would type now."""
        return ["resume", str(self.output)] if (self.output / "state.json").exists() else ["train", "--config", str(self.config)]

    def attempt(self, kill: Callable[[int], None] | None = None) -> int:
        """Run the command line in a fork; `kill` is called with its process id once it stands ready. Returns the wait status."""
        ready, go = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(go)
            os.read(ready, 1)
            self._command()
        os.close(ready)
        try:
            if kill:
                kill(child)
        finally:
            os.write(go, b"x")
            os.close(go)
        return os.waitpid(child, 0)[1]

    def _command(self) -> None:
        code = 1
        try:
            os.environ["STUDIO_HOME"] = str(self.home)
            with (self.home / "output.log").open("a") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            from studio.cli import main

            code = main(self.words())
        finally:
            os._exit(code)

    def step(self) -> int:
        """The newest checkpoint's step; -1 where there is none."""
        return max((int(path.name[5:]) for path in (self.output / "checkpoints").glob("step-??????")), default=-1)

    def found(self) -> str:
        """What the killed process left, in words."""
        rows, events = len(list(self.home.rglob("rows/*/*.safetensors"))), tail(self.output / "events.jsonl")[0]
        done = max((record.event.last + 1 for record in events if isinstance(record.event, Steps)), default=0)
        unfinished = [path.name for path in self.output.glob("checkpoints/*.part")] + [path.name for path in self.output.rglob(".*.part")]
        phase = (
            "before the run" if not (self.output / "state.json").exists() else "caching" if not any(e.event.kind == "started" for e in events) else ""
        )
        return ", ".join(filter(None, [phase, f"{rows} rows", f"{done} steps told", f"checkpoint {self.step()}", *unfinished[:1]]))


def make_data(folder: Path) -> Path:
    """Twelve pictures of two shapes with tags."""
    folder.mkdir()
    lines = ["file_name,text"]
    for number, path in enumerate(sorted((SAMPLES / "gameboy").glob("*.png"))[:12]):
        with Image.open(path) as picture:
            (picture.crop((0, 64, 256, 192)) if number % 3 == 0 else picture).convert("RGB").save(folder / path.name)
        lines.append(f'{path.name},"{path.stem}, pixels, green, four shades"')
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def same(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same adapter, bit for bit."""
    from safetensors.torch import load_file

    files = [path / "pytorch_lora_weights.safetensors" for path in (one, other)]
    if not all(file.exists() for file in files):
        return False
    left, right = map(load_file, files)
    return left.keys() == right.keys() and all(left[name].equal(right[name]) for name in left)


def told_once(output: Path) -> bool:
    """Whether every step stands exactly once in the events."""
    steps = [
        step
        for record in standing(tail(output / "events.jsonl")[0])
        if isinstance(record.event, Steps)
        for step in range(record.event.first, record.event.last + 1)
    ]
    return steps == list(range(STEPS))


def at_call(call: str, number: int, path: Path | None = None) -> Callable[[int], None]:
    """Kill at the `number`-th call of that name, of those on `path` where one is given."""

    def attach(process: int) -> None:
        only = ["-P", str(path)] if path else []
        chosen = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]
        subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(process), *only, *chosen], stderr=subprocess.DEVNULL)
        _wait_for_tracer(process)

    return attach


def _wait_for_tracer(process: int) -> None:
    while "TracerPid:\t0\n" in Path(f"/proc/{process}/status").read_text():
        time.sleep(0.01)


def when(place: Place, seen: Callable[[Place], bool]) -> Callable[[int], None]:
    """Kill as soon as something is seen on disk."""

    def watch(process: int) -> None:
        if os.fork() == 0:
            with contextlib.suppress(ProcessLookupError):
                while not seen(place):
                    os.kill(process, 0)
                    time.sleep(0.002)
                os.kill(process, signal.SIGKILL)
            os._exit(0)

    return watch


QUICK: dict[str, Callable[[Place], bool]] = {
    "half of the rows are cached": lambda place: len(list(place.home.rglob("rows/*/*.safetensors"))) >= 8,
    "a checkpoint is being written": lambda place: any(place.output.glob("checkpoints/*.part")),
    "a step after the first checkpoint": lambda place: (
        place.step() >= 3 and any(r.event.kind == "validated" and r.event.step == 4 for r in tail(place.output / "events.jsonl")[0])
    ),
    "a sample is being drawn": lambda place: any(place.output.glob("samples/*")),
}


def points(folder: Path, data: Path, threads: int) -> Iterator[tuple[str, Callable[[Path], Callable[[int], None]]]]:
    """Where to kill, as a name and a function of the output folder: calls spread over an undisturbed run, which is counted first, and aimed ones."""
    place = Place(folder / "counted", data, threads)
    counts = folder / "counts"

    def count(process: int) -> None:
        subprocess.Popen(["strace", "-f", "-qq", "-o", str(counts), "-p", str(process), "-e", f"trace={CALLS}"], stderr=subprocess.DEVNULL)
        _wait_for_tracer(process)

    place.attempt(count)
    time.sleep(0.5)
    lines = counts.read_text(errors="replace").splitlines()
    for call, wanted in SPREAD.items():
        total = sum(f" {call}(" in line for line in lines)
        for number in range(wanted):
            nth = max(1, round(total * (number + 0.5) / wanted))
            yield f"{call} {nth} of {total}", lambda _, call=call, nth=nth: at_call(call, nth)
    for call, nth, path in AIMED:
        yield f"{call} {nth} on {path}", lambda output, call=call, nth=nth, path=path: at_call(call, nth, output / path)


def kill_and_resume(place: Place, point: str, kill: Callable[[int], None], again: Callable[[int], None] | None, reference: Path) -> Outcome:
    """One point: kill, look, resume (killed once more with `again`), compare."""
    status = place.attempt(kill)
    found = place.found() if os.WIFSIGNALED(status) else "it had ended"
    resumed_from, attempts = place.step(), 1
    if again:
        place.attempt(again)
        attempts += 1
    while (
        not (place.output / "pytorch_lora_weights.safetensors").exists()
        or json.loads((place.output / "state.json").read_text())["status"] != "finished"
    ):
        place.attempt()
        attempts += 1
        if attempts > 5:
            break
    return Outcome(point, found, resumed_from, attempts, same(place.output, reference), told_once(place.output))


def run(quick: bool, threads: int, every: int = 1) -> list[Outcome]:
    """All points, or every so many of them, each in a workspace of its own."""
    import studio.families.sd
    import studio.results.export
    import studio.runs.execute  # noqa: F401 - what every attempt needs, opened once

    folder = Path(tempfile.mkdtemp(prefix="killing-"))
    try:
        data = make_data(folder / "data")
        reference = Place(folder / "reference", data, threads)
        reference.attempt()
        outcomes = []
        if quick:
            for number, (name, seen) in enumerate(QUICK.items()):
                place = Place(folder / f"quick-{number}", data, threads)
                outcomes.append(kill_and_resume(place, name, when(place, seen), None, reference.output))
            return outcomes
        for number, (name, kill) in enumerate(islice(points(folder, data, threads), 0, None, every)):
            place = Place(folder / f"point-{number}", data, threads)
            again = at_call("fsync", 2) if number % TWICE == 0 else None
            outcomes.append(kill_and_resume(place, name, kill(place.output), again, reference.output))
            shutil.rmtree(place.home.parent, ignore_errors=True)
            print(outcomes[-1], file=sys.stderr, flush=True)
        return outcomes
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Print what came of each point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th point")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    outcomes = run(given.quick, given.threads, given.every)
    if given.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes]))
        return
    print("| killed at | what was there | resumed from | attempts | same bits | each step once |\n|---|---|---|---|---|---|")
    for outcome in outcomes:
        yes = {True: "yes", False: "NO"}
        came = (outcome.point, outcome.found, max(outcome.resumed_from, 0), outcome.attempts, yes[outcome.identical], yes[outcome.events_whole])
        print(f"| {' | '.join(map(str, came))} |")


if __name__ == "__main__":
    main()
