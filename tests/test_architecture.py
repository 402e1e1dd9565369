"""The shape of the code: imports run one way, heavy libraries stay where they are needed, files stay short."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import studio

STUDIO = Path(studio.__file__).parent
GROUND = {"config", "fields", "events", "errors", "language", "device", "home", "hub", "files", "__init__"}
ROOMS = (
    "pocket",
    "data",
    "formats",
    "families",
    "training",
    "runs",
    "results",
    "ui",
    "terminal",
    "arguments",
    "cli_data",
    "cli_lora",
    "cli_presets",
    "cli",
)
HEAVY = {"torch", "diffusers", "transformers", "peft", "matplotlib", "tensorboard", "safetensors"}
# Opened only when a model is: a family's own file, everything that trains or draws, and the pocket model's recipe.
HEAVY_FAMILIES = ("quantised", "sources", "drawing", "unet", "flow", "flux", "sd", "z_image", "qwen_image")  # also sdxl, sd3 and flux2
MAY_BE_HEAVY = (*(f"families/{name}" for name in HEAVY_FAMILIES), "training/", "results/", "runs/execute.py", "pocket/recipe/", "pocket/build.py")
LIGHT = (
    "cli",
    "config",
    "fields",
    "terminal",
    "data.examples",
    "data.report",
    "formats.gate",
    "formats.lora",
    "families",
    "runs.run",
    "runs.presets",
    "pocket",
)
FILES = sorted(STUDIO.rglob("*.py"))
TOP = {"requirements.txt", "studio.py", "studio", "presets", "tests", "README.md", "LICENSE"}


def name(path: Path) -> str:
    return path.relative_to(STUDIO).as_posix()


def room(path: Path) -> str:
    first = path.relative_to(STUDIO).parts[0].removesuffix(".py")
    return "ground" if first in GROUND else first


def imports(path: Path, everywhere: bool) -> Iterator[str]:
    """Modules that a file imports, at its top or anywhere; what only types need doesn't count."""

    def walk(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                yield from (f"{child.module}.{alias.name}" for alias in child.names)
            elif everywhere or not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield from walk(child)

    return walk(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_run_one_way(path: Path):
    mine = room(path)
    for module in imports(path, everywhere=True):
        if not module.startswith("studio."):
            continue
        other = module.split(".")[1]
        if other in GROUND or other == "__version__" or other == mine:
            continue
        assert mine != "ground", f"{name(path)} imports {module}"
        assert ROOMS.index(other) < ROOMS.index(mine), f"{name(path)} imports {module}"
        assert {mine, other} != {"data", "formats"}, "data and formats don't know each other"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_heavy_libraries_are_opened_late(path: Path):
    if not name(path).startswith(MAY_BE_HEAVY):
        assert [module for module in imports(path, everywhere=False) if module.split(".")[0] in HEAVY] == []
    if room(path) != "ui":
        assert [module for module in imports(path, everywhere=True) if module.split(".")[0] == "gradio"] == []


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_fits_on_a_few_screens(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_light_modules_open_without_the_heavy_ones():
    opened = f"[__import__('studio.' + name) for name in {LIGHT}]"
    code = f"import sys; {opened}; print([name for name in {sorted(HEAVY | {'gradio'})} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=STUDIO.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_top_level_holds_nothing_else():
    done = subprocess.run(["git", "ls-files", "-z"], cwd=STUDIO.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    assert {Path(path).parts[0] for path in done.stdout.split("\0") if path and not path.startswith(".")} == TOP
