"""The command line: one function a command."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from studio import fields
from studio.arguments import Command, parser
from studio.cli_data import bring, caption, check, export_dataset
from studio.cli_lora import export, inspect, lora
from studio.cli_presets import presets, recommend
from studio.errors import InputError, StudioError
from studio.events import Event, Progress
from studio.language import say

if TYPE_CHECKING:
    from PIL.Image import Image

    from studio.results.generate import Look, LoraChoice
    from studio.runs.run import Run


def main(words: Sequence[str]) -> int:
    """Run one command; the app where there is none. Returns the exit code: 0, 2 input, 3 environment, 4 run failed."""
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help", "--version")):
        words = ["app", *words]
    arguments, flags = parser(words, COMMANDS).parse_known_args(words)
    arguments.flags = flags
    try:
        if arguments.flags and arguments.command is not train:
            raise InputError(
                say("Not understood: {words}", words=" ".join(arguments.flags)), say("See `python studio.py {name} --help`.", name=words[0])
            )
        code: int = arguments.command(arguments) or 0
        return code
    except StudioError as error:
        from studio.terminal import complain

        complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        print(say("Ended."), file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        from studio.terminal import complain, unexpected

        known = unexpected(error)
        complain(known)
        return known.exit_code


def app(arguments: argparse.Namespace) -> None:
    """The app in a browser. It is what comes without a command, too."""
    import os

    if arguments.workspace:
        os.environ["STUDIO_HOME"] = str(arguments.workspace)
    from studio.ui import opening  # noqa: F401 - before anything else opens Gradio
    from studio.ui.app import Address, serve

    host = arguments.host or os.environ.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if "SPACE_ID" in os.environ else "127.0.0.1")
    port = arguments.port or int(os.environ.get("GRADIO_SERVER_PORT", "0")) or None
    login = _login(arguments.auth or os.environ.get("STUDIO_AUTH", ""))
    serve(Address(host, port, arguments.share, login, arguments.no_auth, arguments.root_path or ""))


def train(arguments: argparse.Namespace) -> None:
    """Train a LoRA from a settings file, a preset, flags, or all three: flags win over the file, the file over the preset."""
    layers = []
    if arguments.preset:
        from studio.runs import presets as shelf

        layers.append(shelf.load(arguments.preset).settings)
    if arguments.config:
        layers.append(fields.read_yaml(arguments.config))
    layers.append(fields.read_flags(arguments.flags))
    if not any(layers):
        raise InputError(say("Nothing is said of what to train."), say("Give --config FILE, or try `python studio.py demo`."))
    config = fields.build(*layers)
    from studio.runs import execute, run  # noqa: F401 - opened before there is a run: from then on it is being trained
    from studio.runs.resolve import complete

    _carry_out(run.create(complete(config)))


def resume(arguments: argparse.Namespace) -> None:
    """Go on with a run from its newest checkpoint."""
    from studio.runs import run

    found = run.find(arguments.run)
    if found.state.status == "finished":
        print(say("Run {id} is finished: nothing is left to do.", id=found.id))
        return
    _carry_out(found, arguments.anyway)


def stop(arguments: argparse.Namespace) -> None:
    """Ask a run to save and stop."""
    from studio.runs import jobs, run

    found = run.find(arguments.run)
    jobs.stop(found)
    print(say("Run {id} saves and stops.", id=found.id))


def runs(arguments: argparse.Namespace) -> None:
    """List all runs."""
    from studio.runs import run

    rows: list[dict[str, Any]] = []
    for found in run.listed():
        state, (step, steps) = found.state, found.progress()
        rows.append(
            {
                "id": state.id,
                "status": state.status,
                "step": step,
                "steps": steps,
                "created": state.created,
                "folder": str(found.folder),
                "error": state.error,
            }
        )
    if arguments.json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    if not rows:
        print(say("There are no runs yet. `python studio.py demo` makes the first one."))
    for row in rows:
        when, fault = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["created"])), row["error"].partition("\n")[0]
        print(f"{row['id']}  {when}  {say(row['status']):<12} {row['step']}/{row['steps'] or '?'}  {row['folder']}  {fault}".rstrip())


def sample(arguments: argparse.Namespace) -> None:
    """Draw prompts at several strengths, on one sheet."""
    from studio.results.generate import Look, choice

    strengths = [_strength(word) for word in arguments.strengths.split(",")]
    look = Look(arguments.steps, arguments.guidance, arguments.negative, arguments.width, arguments.height)
    loras = [choice(word) for word in arguments.lora]
    if arguments.count is not None:
        _fill(arguments, loras, look)
        return
    _sheet(arguments.base_model, loras, arguments.prompt, strengths, arguments.seed, look, arguments.output)
    print(say("Drawn: {path}", path=arguments.output))


def demo(arguments: argparse.Namespace) -> None:
    """Train a style on the pictures inside, on the small model inside, and draw before and after. About two minutes without a GPU."""
    from studio.results import demo as example
    from studio.results.generate import LoraChoice
    from studio.runs import run
    from studio.runs.resolve import complete
    from studio.runs.result import DIFFUSERS

    made = run.create(complete(example.config()))
    _carry_out(made)
    if made.state.status != "finished":
        return
    loras = [LoraChoice(made.folder / DIFFUSERS)]
    pictures = _sheet("pocket", loras, example.prompts(), example.STRENGTHS, example.SEED, example.LOOK, arguments.output)
    print(example.verdict(pictures))
    print()
    print(say("Before and after, of things that were not in the training set: {path}", path=arguments.output))
    print(say("The run, with its settings, losses and checkpoints: {path}", path=made.folder))
    print(say("Next:"))
    lora = made.folder / DIFFUSERS
    draw = f"python studio.py sample --base_model pocket --lora {lora}:0.8 --strengths 0,1 --steps 15 --guidance 4"
    print(f'    {draw} --prompt "a blue car" --output car.png')
    print("    python studio.py presets list")
    print("    python studio.py train --help")


def doctor(_: argparse.Namespace) -> int:
    """Say what this machine has, and what is missing."""
    from studio.runs.environment import examine

    lines, fine = examine()
    print("\n".join(lines))
    return 0 if fine else 3


def _carry_out(run: "Run", anyway: bool = False) -> None:
    """Train a run in this process. Ctrl-C and SIGTERM save first; a second Ctrl-C ends at once."""
    from studio.runs.execute import execute
    from studio.terminal import show

    def ask(_: int, __: FrameType | None) -> None:
        if run.stop_requested:
            raise KeyboardInterrupt
        run.request_stop()
        print("\n" + say("Saving, then stopping. Ctrl-C again ends at once."), file=sys.stderr)

    print(say("Run {id} in {folder}", id=run.id, folder=run.folder), file=sys.stderr)
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        show(execute(run, anyway))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if run.state.status == "stopped":
        print(say("Stopped. Go on with: python studio.py resume {id}", id=run.id))
    else:
        from studio.runs.result import DIFFUSERS

        print(say("Your LoRA: {path}", path=run.folder / "exports" / f"{run.name}.safetensors"))
        print(say("For diffusers: {path}", path=run.folder / DIFFUSERS))


def _sheet(
    base_model: str, loras: "list[LoraChoice]", prompts: list[str], strengths: list[float], seed: int, look: "Look", output: Path
) -> "list[list[Image]]":
    """Draw prompts × strengths with a bar, and write the sheet. Returns the pictures by prompt and strength."""
    from studio.results import compare
    from studio.results.generate import Request, draw
    from studio.terminal import show

    requests = [Request(prompt, strength, seed) for prompt in prompts for strength in strengths]
    pictures: dict[int, Image] = {}

    def follow() -> Iterator[list[Event]]:
        for piece in draw(base_model, loras, requests, look):
            if piece.image is not None:
                pictures[piece.index] = piece.image
            part = len(pictures) + (piece.done / piece.total if piece.total else 0)
            yield [Progress(what=say("Drawing"), done=round(100 * part / len(requests)), total=100)]

    show(follow())
    rows = [[pictures[row * len(strengths) + column] for column in range(len(strengths))] for row in range(len(prompts))]
    about = json.dumps(
        {
            "base_model": base_model,
            "lora": [f"{lora.path.name}:{lora.strength:g}" for lora in loras],
            "prompts": prompts,
            "strengths": strengths,
            "seed": seed,
            **vars(look),
        },
        ensure_ascii=False,
    )
    compare.save(compare.sheet(rows, prompts, [f"LoRA {strength:g}" for strength in strengths]), output, about)
    return rows


def _fill(arguments: argparse.Namespace, loras: "list[LoraChoice]", look: "Look") -> None:
    """Draw many pictures into a folder."""
    from studio.results.pictures import fill
    from studio.terminal import show

    steps = fill(arguments.output, arguments.base_model, loras, arguments.prompt, arguments.count, arguments.seed, look)
    show([Progress(what=say("Drawing"), done=done, total=total)] for done, total in steps)
    print(say("{count} pictures: {path}", count=arguments.count * len(arguments.prompt), path=arguments.output))


def _login(text: str) -> tuple[str, str] | None:
    user, colon, password = text.partition(":")
    if text and not (user and colon and password):
        raise InputError(say("--auth: a login is written as USER:PASSWORD."))
    return (user, password) if text else None


def _strength(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise InputError(say("--strengths: {word} is no number.", word=word), say("Write --strengths 0,0.5,1.")) from None


COMMANDS: dict[str, Command] = {
    "app": app,
    "demo": demo,
    "train": train,
    "resume": resume,
    "stop": stop,
    "runs": runs,
    "import": bring,
    "check": check,
    "caption": caption,
    "export-dataset": export_dataset,
    "recommend": recommend,
    "sample": sample,
    "export": export,
    "inspect": inspect,
    "lora": lora,
    "presets": presets,
    "doctor": doctor,
}
