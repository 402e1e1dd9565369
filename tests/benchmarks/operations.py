"""Operations and host reads per step, on every layer of Stable Diffusion 1.5: `python -m tests.benchmarks.operations`."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks.counting import HOST_READS, VIEWS
from tests.benchmarks.job import Job, workspace

SKIPPED = 3


def counts(job: Job) -> dict[str, int]:
    """What one step takes, once it has settled."""
    try:
        for _ in range(SKIPPED):
            job.step()
        found: dict[str, int] = job.step()["operations"]
    finally:
        job.close()
    return found


def total(found: Mapping[str, int]) -> int:
    """All that do something: views cost little, host reads are told apart."""
    return sum(number for name, number in found.items() if name != VIEWS and name not in HOST_READS)


def host_reads(found: Mapping[str, int]) -> int:
    """Moments at which the host waits for a number."""
    return sum(number for name, number in found.items() if name in HOST_READS)


def table(found: Mapping[str, Mapping[str, int]], beside: str, most: int = 30) -> None:
    """Print the counts of each, their ratio to `beside`, and the kinds that the first has most of."""
    print(f"{'':<36}" + "".join(f"{name:>10}" for name in found) + f"{'ratio':>10}")
    first = next(iter(found))
    rows = {
        "operations": [total(each) for each in found.values()],
        "host reads": [host_reads(each) for each in found.values()],
        VIEWS: [each.get(VIEWS, 0) for each in found.values()],
    }
    reference = list(found).index(beside)
    for name, numbers in rows.items():
        print(f"{name:<36}" + "".join(f"{number:>10}" for number in numbers) + f"{numbers[0] / max(1, numbers[reference]):>10.3f}")
    print(f"\nmost of {first}:")
    for name in sorted(found[first], key=lambda name: -found[first][name])[:most]:
        print(f"{name:<36}" + "".join(f"{each.get(name, 0):>10}" for each in found.values()))


def main() -> None:
    """Count ours and the peer's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="narrow")
    parser.add_argument("--script", type=Path, help="the peer's own script, instead of its recipe")
    given = parser.parse_args()
    kind = "script" if given.script else "peer"
    with workspace() as folder:
        found = {name: counts(Job(name, folder, given.size, given.script, count=True)) for name in ("ours", kind)}
    table(found, kind)


if __name__ == "__main__":
    main()
