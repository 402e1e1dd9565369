"""What can be typed behind `python studio.py`: commands, their flags, and what each means."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from studio import __version__, fields
from studio.language import say

PRECISIONS = ("fp16", "bf16", "fp32")
Command = Callable[[argparse.Namespace], int | None]


def parser(words: Sequence[str], commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """The parser of all commands. The settings' own flags are only shown where help is asked for: there are many."""
    made = argparse.ArgumentParser(
        "studio.py",
        description=say("LoRA Studio: pictures in, a LoRA out. `python studio.py COMMAND --help` says more."),
        epilog=say("Exit codes: 0 done, 2 something given is wrong, 3 the machine lacks something, 4 the run failed.")
        + " "
        + say("STUDIO_HOME is the workspace, STUDIO_LANGUAGE the language (en, zh)."),
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=f"LoRA Studio {__version__}")
    shelf = made.add_subparsers(metavar=say("COMMAND"), required=True)

    def command(name: str) -> argparse.ArgumentParser:
        run = commands[name]
        about = say(run.__doc__ or "")
        found = shelf.add_parser(name, help=about, description=about, allow_abbrev=False)
        found.set_defaults(command=run)
        return found

    sub = command("app")
    sub.add_argument("--host", help=say("the address it listens on; 127.0.0.1 when absent: only this machine"))
    sub.add_argument("--port", type=int, help=say("the port; the first free one from 7860 on when absent"))
    sub.add_argument("--share", action="store_true", help=say("a public link through Gradio's server; needs --auth"))
    sub.add_argument("--auth", metavar="USER:PASSWORD", help=say("ask for this login; $STUDIO_AUTH does the same and stays out of the process list"))
    sub.add_argument("--no-auth", action="store_true", help=say("let everybody in who reaches the address"))
    sub.add_argument("--root_path", help=say("the path below which a proxy shows it: /studio"))
    sub.add_argument("--workspace", type=Path, help=say("where datasets, models and runs are kept; $STUDIO_HOME when absent"))
    command("demo").add_argument("--output", type=Path, default=Path("before-after.png"), help=say("where the picture goes"))
    sub = command("train")
    sub.add_argument("--config", type=Path, help=say("settings as YAML, one `name: value` per line"))
    sub.add_argument("--preset", help=say("a preset's name, or its file"))
    if {"-h", "--help"} & set(words):
        fields.add_flags(sub)
    sub = command("resume")
    sub.add_argument("run", help=say("a run's id or folder"))
    sub.add_argument("--anyway", action="store_true", help=say("also when data or base model have changed since"))
    command("stop").add_argument("run", help=say("a run's id or folder"))
    command("runs").add_argument("--json", action="store_true", help=say("as JSON"))
    sub = command("import")
    sub.add_argument("source", help=say("a folder, a zip, a file of texts, or a dataset on the Hub: org/name"))
    sub.add_argument("name", nargs="?", help=say("what the dataset shall be called"))
    _add_columns(sub)
    sub = command("check")
    sub.add_argument("--config", type=Path, help=say("settings as YAML, one `name: value` per line"))
    sub.add_argument("--data", type=Path, help=say("folder or zip with pictures or texts, or a file of texts"))
    _add_columns(sub)
    sub.add_argument("--tokenizer", help=say("texts: count tokens as this tokenizer does; a folder, a tokenizer.json or a Hub id"))
    sub.add_argument("--json", action="store_true", help=say("as JSON"))
    sub.add_argument("--markdown", type=Path, help=say("a file for the report, as the record of an experiment has it"))
    sub.add_argument("--fit", metavar="CAPTIONER", help=say("also look whether captions fit their pictures, by blip, blip-large or pocket"))
    sub.add_argument("--source", help=say("where the pictures come from, and their licence; kept with the dataset"))
    sub.add_argument("--preprocessing", help=say("what was done to the pictures; kept with the dataset"))
    sub.add_argument("--captioning", help=say("how the captions came about; kept with the dataset"))
    sub = command("recommend")
    sub.add_argument("--data", type=Path, required=True, help=say("the folder with the pictures"))
    sub.add_argument("--base_model", required=True, help=say("file, folder, Hub id or pocket"))
    sub.add_argument("--metadata_path", type=Path, help=say("file with the captions; the folder's own when absent"))
    sub.add_argument("--output", type=Path, help=say("a new file to write"))
    sub.add_argument("--json", action="store_true", help=say("as JSON"))
    sub = command("export-dataset")
    sub.add_argument("--data", type=Path, required=True, help=say("the folder with the pictures"))
    sub.add_argument("--output", type=Path, required=True, help=say("a new folder, or a new .zip"))
    sub.add_argument("--form", choices=("csv", "jsonl", "txt", "caption", "kohya"), default="csv", help=say("how captions are written [csv]"))
    sub.add_argument("--repeats", type=int, default=1, help=say("kohya: how often a picture is shown in an epoch [1]"))
    sub.add_argument("--name", default="", help=say("kohya: trigger and class, as its folder is called"))
    _add_caption(command("caption"), bool({"-h", "--help"} & set(words)))
    _add_sample(command("sample"))
    _add_export(command("export"))
    sub = command("inspect")
    sub.add_argument("file", help=say("a LoRA file, made here or elsewhere, or a run"))
    sub.add_argument("--json", action="store_true", help=say("as JSON"))
    _add_lora(command("lora"))
    _add_presets(command("presets"))
    command("doctor")
    return made


def _add_presets(sub: argparse.ArgumentParser) -> None:
    actions = sub.add_subparsers(dest="action", required=True, metavar="list|show|import|diff")
    actions.add_parser("list", help=say("all presets")).add_argument("--json", action="store_true", help=say("as JSON"))
    sub = actions.add_parser("show", help=say("one preset as a commented file"))
    sub.add_argument("name", help=say("a preset's name, or its file"))
    sub.add_argument("--output", type=Path, help=say("a new file to write"))
    sub = actions.add_parser("import", help=say("a settings file as a preset of your own"))
    sub.add_argument("file", type=Path, help=say("our YAML, or TOML or JSON of sd-scripts, kohya_ss or SD-Trainer"))
    sub.add_argument("--title", help=say("what it shall be called; as in the file when absent"))
    sub.add_argument("--json", action="store_true", help=say("as JSON"))
    sub = actions.add_parser("diff", help=say("what differs between two presets"))
    for name in ("a", "b"):
        sub.add_argument(name, help=say("a preset's name, or a settings file"))
    sub.add_argument("--json", action="store_true", help=say("as JSON"))


def _add_columns(sub: argparse.ArgumentParser) -> None:
    about = say("texts: which column holds what, where their names don't say it; also messages, text, input, system")
    sub.add_argument("--columns", default="", metavar="prompt=A,response=B", help=about)


def _add_caption(sub: argparse.ArgumentParser, explained: bool) -> None:
    captioners, changes = "", ""
    if explained:
        from studio.data.writing.captioners import CAPTIONERS
        from studio.data.writing.edits import OPERATIONS

        captioners = "; ".join(f"{name}: {kind.described}" for name, kind in CAPTIONERS.items())
        changes = "; ".join(f"{name}{'=' + change.needs if change.needs else ''}: {say(change.about)}" for name, change in OPERATIONS.items())
    sub.add_argument("--input", type=Path, required=True, help=say("the folder with the pictures"))
    sub.add_argument("--output", type=Path, help=say("metadata file to write; the folder's own when absent"))
    sub.add_argument("--captioner", default="blip", metavar="NAME", help=_literal(f"{say('who writes them [blip].')} {captioners}"))
    sub.add_argument("--captioner_model", default="", help=say("a folder or Hub id in place of the captioner's own model"))
    sub.add_argument("--caption_prefix", default="", help=say("stands in front of every caption that is written"))
    sub.add_argument(
        "--overwrite",
        default="none",
        choices=("none", "auto", "all"),
        help=say("auto: also captions that a captioner wrote and nobody changed; all: also a person's [none]"),
    )
    sub.add_argument("--resume", action="store_true", help=say("go on with the same job where it was interrupted"))
    sub.add_argument("--batch", type=int, default=0, help=say("pictures at once; what suits the device when absent"))
    sub.add_argument("--threshold", type=float, default=0.35, help=say("wd: how sure a tag must be [0.35]"))
    sub.add_argument("--character_threshold", type=float, default=0.85, help=say("wd: how sure a character's name must be [0.85]"))
    sub.add_argument("--no_characters", action="store_true", help=say("wd: leave characters' names out"))
    sub.add_argument("--underscores", action="store_true", help=say("wd: long_hair instead of long hair"))
    sub.add_argument("--ratings", action="store_true", help=say("wd: add the rating as a tag"))
    sub.add_argument("--without", default="", help=say("wd: tags to leave out, with commas between"))
    sub.add_argument("--template", default="{name}", help=say("template: the text; {name}, {folder} and {number} are filled in"))
    about = say("change captions instead of writing them; may be repeated.")
    sub.add_argument("--edit", action="append", default=[], metavar="CHANGE", help=_literal(f"{about} {changes}"))
    sub.add_argument("--preview", action="store_true", help=say("only show what --edit would change"))
    sub.add_argument("--undo", action="store_true", help=say("take the last --edit back"))


def _add_export(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("run", help=say("a run's id or folder"))
    sub.add_argument("--step", type=int, help=say("the checkpoint's step; the newest when absent"))
    sub.add_argument("--format", choices=("diffusers", "kohya", "peft", "all"), help=say("for which programs; diffusers and kohya when absent"))
    sub.add_argument("--precision", choices=PRECISIONS, help=say("bits of the numbers; 32, as they were trained, when absent"))
    programs = ("a1111", "forge", "comfyui", "invokeai", "diffusers")
    sub.add_argument("--for", dest="program", choices=programs, help=say("only what this program reads whole; refuses where layers would be lost"))
    sub.add_argument("--anyway", action="store_true", help=say("with --for: also where layers would be lost"))
    sub.add_argument(
        "--merged", type=Path, metavar="DIR", help=say("also write the base model with the LoRA in its weights, as a new diffusers folder")
    )
    sub.add_argument("--pack", action="store_true", help=say("a zip to give away: file, picture, settings for A1111 and Forge, model card"))
    sub.add_argument(
        "--send", type=Path, nargs="*", metavar="FOLDER", help=say("copy it to A1111, Forge or ComfyUI; the folders are given once and kept")
    )
    sub.add_argument("--private", action="store_true", help=say("with --pack: also the folder and the tags of the pictures"))


def _add_lora(sub: argparse.ArgumentParser) -> None:
    actions = sub.add_subparsers(dest="action", required=True, metavar="merge|resize|extract")
    merge = actions.add_parser("merge", help=say("several LoRA files as one; exact without --rank"))
    merge.add_argument("files", nargs="+", metavar="FILE[:STRENGTH]", help=say("LoRA files or runs, each with its strength"))
    merge.add_argument("--rank", type=int, help=say("the most directions a layer keeps; the sum of all ranks when absent"))
    resize = actions.add_parser("resize", help=say("a LoRA with fewer directions: a smaller file"))
    resize.add_argument("file", metavar="FILE", help=say("a LoRA file or a run"))
    resize.add_argument("--rank", type=int, help=say("the most directions a layer keeps"))
    resize.add_argument("--keep", type=float, help=say("the share of each layer's change to keep, such as 0.95"))
    for action in (merge, resize):
        action.add_argument("--base_model", help=say("for DoRA and LoKr: the model they were trained on"))
    extract = actions.add_parser("extract", help=say("what a tuned model has learned, as a LoRA"))
    extract.add_argument("--tuned", required=True, help=say("the tuned model: file, folder or Hub id"))
    extract.add_argument("--base_model", required=True, help=say("the model it was made from: file, folder, Hub id or pocket"))
    extract.add_argument("--rank", type=int, required=True, help=say("the most directions a layer keeps"))
    for action in (merge, resize, extract):
        action.add_argument("--output", type=Path, required=True, help=say("the .safetensors file to write"))
        action.add_argument("--format", choices=("kohya", "diffusers", "both"), default="kohya", help=say("whose names the file uses [kohya]"))
        action.add_argument("--precision", choices=PRECISIONS, help=say("bits of the numbers; as in what it is made from when absent"))


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def _add_sample(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--base_model", required=True, help=say("file, folder, Hub id or pocket"))
    sub.add_argument("--lora", action="append", default=[], metavar="FILE[:STRENGTH]", help=say("a LoRA file or a run; may be repeated"))
    sub.add_argument("--prompt", action="append", required=True, help=say("may be repeated, and hold <lora:name:0.8>"))
    sub.add_argument("--strengths", default="0,0.5,1", help=say("factors on all LoRA, one column each [0,0.5,1]"))
    sub.add_argument("--seed", type=int, default=0, help=say("the same noise for all pictures [0]"))
    sub.add_argument("--steps", type=int, help=say("sampling steps; what suits the model when absent"))
    sub.add_argument("--guidance", type=float, help=say("how closely to follow the prompt; what suits the model when absent"))
    sub.add_argument("--negative", default="", help=say("what not to draw"))
    sub.add_argument("--width", type=int, default=0, help=say("pixels; the base model's own when absent"))
    sub.add_argument("--height", type=int, default=0, help=say("pixels; the base model's own when absent"))
    sub.add_argument("--count", type=int, help=say("draw so many of each prompt into the folder OUTPUT, with captions: pictures for prior_data_dir"))
    sub.add_argument("--output", type=Path, required=True, help=say("PNG file"))
