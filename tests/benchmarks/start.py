"""From nothing to the first optimizer step, and the memory taken, each in fresh processes: `python -m tests.benchmarks.start`."""

import argparse
import shutil
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.job import Job, workspace

STEPS = 4
REPETITIONS = 5


def first_step(job: Job) -> dict[str, Any]:
    """The first report, with the memory as it is after a few more steps."""
    try:
        first = job.step()
        for _ in range(STEPS - 1):
            first["memory"] = job.step()["memory"]
    finally:
        job.close()
    return first


def main() -> None:
    """Each kind in turn, several times over; ratios are those of one turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--size", default="small")
    parser.add_argument("--script", type=Path, help="the peer's own script, instead of its recipe")
    given = parser.parse_args()
    kind = "script" if given.script else "peer"
    found: dict[str, list[dict[str, Any]]] = {"cold": [], "second": [], kind: []}
    with workspace() as folder:
        for _ in range(given.repetitions):
            found[kind].append(first_step(Job(kind, folder, given.size, given.script)))
            shutil.rmtree(folder / "workspace", ignore_errors=True)
            found["cold"].append(first_step(Job("ours", folder, given.size)))
            found["second"].append(first_step(Job("ours", folder, given.size)))
    print(f"{'':<8}{'CPU s':>8}{'wall s':>8}{'MB':>8}{'CPU ratio':>11}{'memory':>8}  encoders opened")
    for name, reports in found.items():
        cpu, wall, memory = (median(report[key] for report in reports) for key in ("cpu", "wall", "memory"))
        ratio, share = (median(mine[key] / theirs[key] for mine, theirs in zip(reports, found[kind], strict=True)) for key in ("cpu", "memory"))
        opened = ", ".join(reports[-1]["built"]) or "none"
        print(f"{name:<8}{cpu:>8.2f}{wall:>8.2f}{memory:>8.0f}{ratio:>11.3f}{share:>8.3f}  {opened}")


if __name__ == "__main__":
    main()
