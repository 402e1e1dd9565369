"""CPU time of a step beside the peer's, one process stepping at a time in turn: `python -m tests.benchmarks.step`."""

import argparse
from pathlib import Path
from statistics import median, quantiles

from tests.benchmarks.job import Job, workspace

SKIPPED = 3
ROUNDS = 16


def main() -> None:
    """Print seconds and the ratio of each round: median and quartiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--size", default="small")
    parser.add_argument("--script", type=Path, help="the peer's own script, instead of its recipe")
    given = parser.parse_args()
    kind = "script" if given.script else "peer"
    with workspace() as folder:
        jobs = {name: Job(name, folder, given.size, given.script) for name in ("ours", kind)}
        try:
            for job in jobs.values():
                for _ in range(SKIPPED):
                    job.step()
            rounds = [{name: job.step()["cpu"] for name, job in jobs.items()} for _ in range(given.rounds)]
        finally:
            for job in jobs.values():
                job.close()
    for name in jobs:
        seconds = [each[name] for each in rounds]
        print(f"{name:<8} {median(seconds):.3f} CPU seconds a step (least {min(seconds):.3f})")
    ratios = [each["ours"] / each[kind] for each in rounds]
    low, middle, high = quantiles(ratios, n=4)
    print(f"ours / {kind}: {middle:.3f} [{low:.3f} .. {high:.3f}] over {len(ratios)} rounds")


if __name__ == "__main__":
    main()
