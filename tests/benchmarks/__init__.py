"""Speed beside diffusers' own recipe, as counts and ratios. `python -m tests.benchmarks.step` and so on; no test asserts on time."""
