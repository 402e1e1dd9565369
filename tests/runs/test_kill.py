"""A training that is killed goes on as if nothing had been."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def outcomes(*words: str) -> list[dict]:
    done = subprocess.run([sys.executable, "-m", "tests.runs.killing", "--json", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_killed_at_four_moments_it_ends_with_the_same_bits():
    found = outcomes("--quick")
    assert len(found) == 4
    assert [outcome for outcome in found if not (outcome["identical"] and outcome["events_whole"] and outcome["attempts"] > 1)] == []


def test_two_threads_give_the_same_bits_again():
    assert all(outcome["identical"] for outcome in outcomes("--quick", "--threads", "2"))


@pytest.mark.slow
@pytest.mark.skipif(subprocess.run(["which", "strace"], capture_output=True).returncode != 0, reason="needs strace")
def test_killed_at_any_system_call_it_ends_with_the_same_bits():
    found = outcomes("--every", "3")  # all of them take minutes: `python -m tests.runs.killing`
    assert len(found) >= 9
    assert [outcome for outcome in found if not (outcome["identical"] and outcome["events_whole"])] == []
