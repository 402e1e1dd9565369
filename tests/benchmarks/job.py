"""A training in a process of its own that stops after each optimizer step, says what the step took, and waits for its next turn."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.benchmarks.material import SIZES, make

WHOLE = 10**6
ENCODERS = ("AutoencoderKL", "CLIPTextModel")


class Job:
    """`ours`, `peer` or `script` in a fresh process, with one thread. Reports are dictionaries: see `_Reporter`."""

    def __init__(self, kind: str, folder: Path, size: str, script: Path | None = None, count: bool = False, steps: int = WHOLE) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.job", kind, str(folder), "--size", size, "--steps", str(steps)]
        command += ["--count"] if count else []
        command += ["--script", str(script)] if script else []
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}
        make(folder / size, SIZES[size])
        self.log = folder / f"{kind}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **threads, **quiet, "STUDIO_HOME": str(folder / "workspace" / size), "STUDIO_DEVICE": "cpu"},
            )
        self.started = False

    def step(self) -> dict[str, Any]:
        """Let it make one more optimizer step, and what it says of it. Raises RuntimeError with the end of its log when it is gone."""
        assert self.process.stdin
        assert self.process.stdout
        if self.started:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
        self.started = True
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.log.read_text(errors="replace")[-4000:])
        report: dict[str, Any] = json.loads(line)
        return report

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder for all that the jobs write, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Reporter:
    """Called by torch after each optimizer step, whoever made it.

    Says CPU and wall seconds of the step (of the first: since the process began), the most memory so far in MB, which encoders have been
    built so far, and with `counter` the operations since the last report.
    """

    def __init__(self, output: IO[str], counter: Any) -> None:
        from torch.nn.modules.module import register_module_module_registration_hook
        from torch.optim.optimizer import register_optimizer_step_post_hook

        self.output, self.counter = output, counter
        self.built: set[str] = set()
        self.cpu, self.wall = 0.0, _process_started()
        register_module_module_registration_hook(self._see)
        register_optimizer_step_post_hook(self._report)

    def _see(self, module: object, name: str, inner: object) -> None:
        self.built.add(type(module).__name__)

    def _report(self, *_: object) -> None:
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        report = {
            "cpu": time.process_time() - self.cpu,
            "wall": time.time() - self.wall,
            "memory": usage.ru_maxrss / 1024,
            "built": sorted(self.built.intersection(ENCODERS)),
            "operations": self.counter.take() if self.counter else {},
        }
        print(json.dumps(report), file=self.output, flush=True)
        if not sys.stdin.readline():
            os._exit(0)
        self.cpu, self.wall = time.process_time(), time.time()


def _process_started() -> float:
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """The process itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("ours", "peer", "script"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--steps", type=int, default=WHOLE)
    parser.add_argument("--script", type=Path)
    parser.add_argument("--count", action="store_true")
    given = parser.parse_args()
    output = os.fdopen(os.dup(1), "w")
    sys.stdout = sys.stderr  # progress bars and logs go where they don't disturb
    from tests.benchmarks.counting import Counter

    counter = Counter() if given.count else None
    _Reporter(output, counter)
    material = (given.folder / given.size / "base", given.folder / given.size / "pictures", SIZES[given.size].resolution, given.steps)
    if counter:
        counter.__enter__()
    match given.kind:
        case "ours":
            from tests.benchmarks import ours

            ours.train(*material)
        case "peer":
            from tests.benchmarks import peer

            peer.train(*material, given.folder / "peer")
        case "script":
            from tests.benchmarks import peer

            peer.train_with_script(given.script, *material, given.folder / "script")


if __name__ == "__main__":
    main()
