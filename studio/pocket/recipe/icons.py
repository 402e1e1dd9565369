"""The icons that everything is made from: four sets as npm packages, and which of their icons are used."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from studio.errors import RunError
from studio.language import say

FLAT, COLOUR, LINE, NOTO = "fluent-emoji-flat", "fluent-emoji", "fluent-emoji-high-contrast", "noto"
VERSIONS = {FLAT: "1.2.6", COLOUR: "1.2.7", LINE: "1.2.6", NOTO: "1.2.9"}
"""Fluent Emoji (MIT) in three manners, and Noto Emoji (Apache-2.0)."""

IconSet = dict[str, Any]

# No people, no signs: they are many, alike and nothing that the model is asked for. The last part is skin tones.
_LEFT_OUT = re.compile(
    r"^(man|men|woman|women|person|people)|^(boy|girl)$|^kiss-mark$|^mx-|^flag-in"
    r"|button|arrow|keycap|oclock|-thirty$|symbol$|sign$|-medium-|-(light|medium|dark)$"
)


def install(folder: Path) -> None:
    """Let npm put the packages into `folder`/node_modules; raise RunError where it can't."""
    wanted = {f"@iconify-json/{name}": version for name, version in VERSIONS.items()}
    (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": wanted}, indent=2))
    npm = shutil.which("npm") or "npm"  # on Windows it is npm.cmd
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RunError(
            say("npm couldn't install the icon packages: {reason}", reason=result.stderr.strip()[:300]),
            say("Check that the npm registry can be reached from here, then start the build again."),
        )


def load(folder: Path, name: str) -> IconSet:
    """One icon set as its package holds it: `icons` and `aliases` by name, and their size."""
    content: IconSet = json.loads((folder / "node_modules" / "@iconify-json" / name / "icons.json").read_text(encoding="utf-8"))
    return content


def chosen(flat: IconSet, colour: IconSet) -> list[str]:
    """The 1,200 names that both sets have, without people, signs and skin tones; sorted."""
    return sorted(name for name in _all_names(flat) & _all_names(colour) if not _LEFT_OUT.search(name))


def svg(icons: IconSet, name: str) -> str | None:
    """The SVG document of an icon at 128 × 128, an alias as what it stands for; None where the set hasn't got it."""
    alias = icons.get("aliases", {}).get(name)
    icon = icons["icons"].get(alias["parent"] if alias else name)
    if icon is None:
        return None
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    body = icon["body"].replace("currentColor", "#000")
    return f'<svg {namespaces} width="128" height="128" viewBox="{box}">{body}</svg>'


def _all_names(icons: IconSet) -> set[str]:
    return {*icons["icons"], *icons.get("aliases", {})}
