"""`python -m studio.pocket.build`: makes the pocket model, its judge and its sample pictures again, from icons on.

Each stage leaves one result in the work folder and is skipped where that is there; the finished parts are then copied to the output.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from studio.errors import InputError, MachineError, StudioError
from studio.language import say

OUTPUT = Path("output/pocket")
WORK = Path("output/pocket-work")


@dataclass(frozen=True)
class Minutes:
    """How long the three trainings take. The defaults are what the shipped files had, but for the VAE, whose time wasn't kept."""

    vae: float = 60
    unet: float = 80
    judge: float = 2.5
    captioner: float = 44


@dataclass(frozen=True)
class Stage:
    """`make(work, result, minutes)` writes a folder, or a file if the result has a suffix, from results of earlier stages."""

    result: str
    needs: tuple[str, ...]
    make: Callable[[Path, Path, Minutes], None]
    program: str = ""
    finished: bool = False
    """Whether the result is one of the parts that are shipped."""


def install(_work: Path, result: Path, _minutes: Minutes) -> None:
    """The icon packages, by npm."""
    from studio.pocket.recipe import icons

    icons.install(result)


def render(work: Path, result: Path, _minutes: Minutes) -> None:
    """Four files of pictures."""
    from studio.pocket.recipe.render import render

    render(work / "icons", result)


def tokenizer(_work: Path, result: Path, _minutes: Minutes) -> None:
    """The pocket model's words."""
    from studio.pocket.recipe import tokenizer

    tokenizer.write(result)


def vae(work: Path, result: Path, minutes: Minutes) -> None:
    """The autoencoder's weights."""
    from safetensors.torch import save_file

    from studio.pocket.recipe import icons, pictures, vae

    save_file(vae.train(pictures.load(work / "pictures", *icons.VERSIONS), minutes.vae), result)


def latents(work: Path, result: Path, _minutes: Minutes) -> None:
    """What the UNet learns from, and the autoencoder as it is shipped."""
    from studio.pocket.recipe import icons, latents, pictures

    latents.write(result, work / "vae.safetensors", pictures.load(work / "pictures", icons.FLAT, icons.COLOUR))


def unet(work: Path, result: Path, minutes: Minutes) -> None:
    """The UNet and the text encoder."""
    from studio.pocket.recipe import unet

    unet.train(result, work / "latents", work / "tokenizer", minutes.unet)


def assemble(work: Path, result: Path, _minutes: Minutes) -> None:
    """The pipeline folder."""
    from studio.pocket.recipe.assemble import assemble

    assemble(result, work / "tokenizer", work / "latents" / "vae.safetensors", work / "unet")


def judge(work: Path, result: Path, minutes: Minutes) -> None:
    """The judge's weights."""
    from safetensors.torch import save_file

    from studio.pocket.recipe import icons, judge_training, pictures

    save_file(judge_training.train(pictures.load(work / "pictures", *icons.VERSIONS), minutes.judge), result)


def captioner(work: Path, result: Path, minutes: Minutes) -> None:
    """The captioner, with its figures."""
    from studio.pocket.recipe import captioner, icons, pictures

    captioner.train(pictures.load(work / "pictures", *icons.VERSIONS), minutes.captioner, result)


def samples(work: Path, result: Path, _minutes: Minutes) -> None:
    """A folder per sample set."""
    from studio.pocket.recipe import icons, pictures, samples

    rendered = pictures.load(work / "pictures", icons.FLAT, icons.LINE)
    for style in samples.STYLES:
        (result / style).mkdir()
        samples.write(result / style, style, rendered)


def reference(work: Path, result: Path, _minutes: Minutes) -> None:
    """What the judge measures against."""
    from studio.pocket.recipe import icons, pictures, reference

    reference.write(result, pictures.load(work / "pictures", icons.FLAT, icons.LINE))


STAGES = {
    "icons": Stage("icons", (), install, program="npm"),
    "render": Stage("pictures", ("icons",), render, program="rsvg-convert"),
    "tokenizer": Stage("tokenizer", (), tokenizer),
    "vae": Stage("vae.safetensors", ("render",), vae),
    "latents": Stage("latents", ("render", "vae"), latents),
    "unet": Stage("unet", ("latents", "tokenizer"), unet),
    "assemble": Stage("base", ("tokenizer", "latents", "unet"), assemble, finished=True),
    "judge": Stage("judge.safetensors", ("render",), judge, finished=True),
    "captioner": Stage("captioner", ("render",), captioner, finished=True),
    "samples": Stage("samples", ("render",), samples, finished=True),
    "reference": Stage("judge.json", ("render",), reference, finished=True),
}


def build(output: Path, work: Path, only: Sequence[str] = (), minutes: Minutes | None = None) -> None:
    """Run the stages (all, or `only` some) that have no result in `work` yet, and copy the finished parts among them to `output`.

    Raises MachineError where a program is missing, InputError where an earlier stage's result is.
    """
    wanted = [name for name in STAGES if name in only or not only]
    ahead = [name for name in wanted if not (work / STAGES[name].result).exists()]
    check_programs(ahead)
    check_needs(ahead, work)
    work.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        if name in ahead:
            run(name, work, minutes or Minutes())
        else:
            _tell(say("{stage}: there already; delete {path} to make it again", stage=name, path=work / STAGES[name].result))
    parts = [STAGES[name].result for name in wanted if STAGES[name].finished]
    for part in parts:
        publish(work / part, output / part)
    if parts:
        _tell(say("Finished: {parts} in {folder}", parts=", ".join(parts), folder=output))


def run(name: str, work: Path, minutes: Minutes) -> None:
    """Run one stage. Its result gets its name when it is whole, so one that was interrupted starts again."""
    result = work / STAGES[name].result
    unfinished = result.with_name(f"unfinished-{result.name}")
    _remove(unfinished)
    if not result.suffix:
        unfinished.mkdir()
    _tell(say("{stage}: begun", stage=name))
    begin = time.monotonic()
    STAGES[name].make(work, unfinished, minutes)
    unfinished.rename(result)
    _tell(say("{stage}: done in {seconds} s", stage=name, seconds=round(time.monotonic() - begin)))


def publish(result: Path, target: Path) -> None:
    """Copy a finished file or folder over what is at `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if result.is_dir():
        _remove(target)
        shutil.copytree(result, target, copy_function=shutil.copyfile)  # contents only: diffusers writes files that nobody else may read
    else:
        shutil.copyfile(result, target)


def check_programs(stages: Sequence[str]) -> None:
    """Raise MachineError if a program that one of the stages calls isn't installed."""
    for name in stages:
        program = STAGES[name].program
        if program and not shutil.which(program):
            raise MachineError(
                say("The stage {stage} needs the program {program}, which isn't installed.", stage=name, program=program),
                say("npm comes with Node.js; rsvg-convert is in Debian's package librsvg2-bin and in Homebrew's librsvg."),
            )


def check_needs(stages: Sequence[str], work: Path) -> None:
    """Raise InputError if a stage needs a result that isn't in `work` and none of the stages makes."""
    for name in stages:
        for earlier in STAGES[name].needs:
            if earlier not in stages and not (work / STAGES[earlier].result).exists():
                raise InputError(
                    say(
                        "The stage {stage} needs what the stage {earlier} makes, which isn't in {folder}.",
                        stage=name,
                        earlier=earlier,
                        folder=work,
                    ),
                    say("Add {earlier} to --only, or leave --only out.", earlier=earlier),
                )


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    options = argparse.ArgumentParser(
        prog="python -m studio.pocket.build",
        description=say("Makes the pocket model, its judge and its sample pictures again, from icons on."),
    )
    options.add_argument(
        "--output",
        type=Path,
        default=OUTPUT,
        help=say("where the finished parts go; studio/pocket replaces the shipped ones (default: {path})", path=OUTPUT),
    )
    options.add_argument("--work", type=Path, default=WORK, help=say("where every stage leaves its result (default: {path})", path=WORK))
    options.add_argument("--only", nargs="+", choices=STAGES, default=[], metavar="STAGE", help=say("some of: {stages}", stages=", ".join(STAGES)))
    for name, default in vars(Minutes()).items():
        options.add_argument(
            f"--minutes-{name}",
            type=_positive,
            default=default,
            help=say("minutes that {name} trains (default: {minutes})", name=name, minutes=default),
        )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is the error's."""
    options = parser().parse_args(arguments)
    try:
        build(
            options.output,
            options.work,
            options.only,
            Minutes(options.minutes_vae, options.minutes_unet, options.minutes_judge, options.minutes_captioner),
        )
    except StudioError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _positive(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes < 10_000:
        raise argparse.ArgumentTypeError(say("must be more than 0"))
    return minutes


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _tell(sentence: str) -> None:
    print(sentence, flush=True)


if __name__ == "__main__":
    sys.exit(main())
