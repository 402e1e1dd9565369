"""The command line's part for data: look at it, write captions, change them."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from studio import fields
from studio.config import Config
from studio.data.problems import fixes
from studio.errors import InputError
from studio.fields import Given
from studio.language import say

if TYPE_CHECKING:
    from studio.data.album import Conflict
    from studio.data.datasheet import Facts
    from studio.data.description import Description
    from studio.data.problems import Problem
    from studio.data.text.textreport import CountTokens


def check(arguments: argparse.Namespace) -> int:
    """Look at data as a run would, without training."""
    from studio import home
    from studio.data import datasheet, report
    from studio.data.text import texts
    from studio.families import clip
    from studio.files import write_atomically

    if bool(arguments.config) == bool(arguments.data):
        raise InputError(say("Give either --config FILE or --data DIR."))
    given = fields.read_yaml(arguments.config) if arguments.config else {}
    if arguments.data:
        given = {"base_model": Given("pocket", "--data"), "train_data_dir": Given(str(arguments.data), "--data")}
    config = fields.build(given)
    if config.task_type == "text-generation" or texts.holds_texts(config.train_data_dir, config.metadata_path, home.cache() / "archives"):
        return _check_texts(arguments, config)
    tokenizer = clip.tokenizer()
    found = report.check(
        config, extract_to=home.cache() / "archives", count_tokens=lambda text: len(tokenizer(text, verbose=False).input_ids), limit=clip.LIMIT
    )
    folder = config.train_data_dir
    if arguments.fit:
        found = replace(found, problems=(*found.problems, *_misfits(folder, arguments.fit, config.metadata_path)))
    facts = _facts(arguments, folder)
    if arguments.markdown:
        write_atomically(arguments.markdown, datasheet.markdown(found, facts))
    if arguments.json:
        print(json.dumps({**found.as_json(), "facts": vars(facts)}, ensure_ascii=False, indent=1))
    else:
        for line in (*found.lines(), *(f"→ {fix}" for fix in fixes(found.problems))):
            print(line)
        print(
            say(
                "{pictures} pictures, {captions} captions, {usable} to train on.",
                pictures=found.pictures,
                captions=found.captions,
                usable=found.usable,
            )
        )
        if not found.problems:
            print(say("Nothing is wrong."))
        _tell_about(found.description)
    return InputError.exit_code if found.errors else 0


def _check_texts(arguments: argparse.Namespace, config: Config) -> int:
    """The same for texts."""
    from studio import home
    from studio.data import datasheet
    from studio.data.text import textreport
    from studio.data.text.conversations import parse_columns
    from studio.files import write_atomically

    count, columns = _token_counter(arguments.tokenizer), parse_columns(arguments.columns)
    found = textreport.check(config.train_data_dir, columns, config.metadata_path, home.cache() / "archives", count)
    facts = _facts(arguments, config.train_data_dir)
    if arguments.markdown:
        write_atomically(arguments.markdown, datasheet.text_markdown(found, facts))
    if arguments.json:
        print(json.dumps({**found.as_json(), "facts": vars(facts)}, ensure_ascii=False, indent=1))
        return InputError.exit_code if found.errors else 0
    for line in (*found.lines(), *fixes(found.problems)):
        print(line)
    print(say("{rows} rows, {errors} errors, {warnings} findings.", rows=found.rows, errors=len(found.errors), warnings=found.warnings))
    about = found.description
    for name, counts in ((say("Formats"), about.forms), (say("Roles"), about.roles), (say("Messages in a row"), about.turns)):
        if counts:
            print(f"{name}: " + ", ".join(f"{label}: {count}" for label, count in counts.items()))
    for name, lengths in (
        (say("Characters in a row"), about.characters),
        (say("Words in a row"), about.words),
        (say("Words in an answer"), about.answers),
        (say("Tokens in a row"), about.tokens),
    ):
        if lengths.counts:
            print(f"{name}: {lengths}")
    return InputError.exit_code if found.errors else 0


def _token_counter(source: str | None) -> "CountTokens | None":
    """What counts tokens as the tokenizer in a folder, a tokenizer.json or on the Hub does. Raises InputError."""
    if not source:
        return None
    from tokenizers import Tokenizer

    from studio import hub

    path = Path(source).expanduser()
    if not path.exists() and source.count("/") == 1:
        path = hub.download(source, hub.Wanted(("tokenizer.json",), "tokenizer.json"), "--tokenizer")
    path = path / "tokenizer.json" if path.is_dir() else path
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library knows no other kind
        raise InputError(
            say("{path}: can't be read: {reason}", path=path, reason=str(error)[:200]), say("Give a folder with tokenizer.json.")
        ) from None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _misfits(folder: Path, captioner: str, metadata: Path | None) -> "list[Problem]":
    from studio.data import album
    from studio.data.looking import fitness
    from studio.data.writing.captioners import Options
    from studio.terminal import following

    with following(say("Captions")) as progress:
        return fitness.findings(fitness.judge(folder, dict(album.open_album(folder, metadata).rows), captioner, Options(), progress))


def _facts(arguments: argparse.Namespace, folder: Path) -> "Facts":
    """What was said of the data, with what is said of it now."""
    from studio.data import datasheet

    known = datasheet.read(folder)
    said = {name: text for name in vars(known) if (text := getattr(arguments, name)) is not None}
    if said:
        known = replace(known, **said)
        datasheet.write(folder, known)
    return known


def _tell_about(about: "Description") -> None:
    for name, counts in (
        (say("Shorter side, pixels"), about.sides),
        (say("Aspect ratio"), about.aspects),
        (say("Tokens in a caption"), about.tokens),
    ):
        if counts:
            print(f"{name}: " + ", ".join(f"{label}: {count}" for label, count in counts.items()))
    for bucket in about.buckets:
        shape, kept = f"{bucket.width} × {bucket.height}", f"{bucket.kept:.0%}"
        print(say("Bucket {shape}: {count} pictures, the crop keeps {kept}.", shape=shape, count=bucket.count, kept=kept))


def caption(arguments: argparse.Namespace) -> int:
    """Write captions for the pictures of a folder, or change many at once."""
    from studio.data import album
    from studio.data.writing import captioning, edits
    from studio.data.writing.captioners import Options
    from studio.terminal import following

    metadata = arguments.output.absolute() if arguments.output else None
    if arguments.undo:
        what, count, conflicts = edits.undo(arguments.input)
        print(say("Taken back: {what}. {count} captions are as they were.", what=what, count=count))
        return _told(conflicts)
    if arguments.edit:
        change = edits.parse(arguments.edit)
        found = edits.preview(dict(album.open_album(arguments.input, metadata).rows), change)
        for edit in found[: None if len(found) <= 20 else 10] if arguments.preview else ():
            print(f"{edit.name}\n  - {edit.before}\n  + {edit.after}")
        if arguments.preview:
            print(say("{count} captions would change.", count=len(found)))
            return 0
        _, conflicts = edits.apply(arguments.input, found, " ".join(arguments.edit), metadata)
        print(say("{count} captions changed.", count=len(found) - len(conflicts)))
        return _told(conflicts)
    options = Options(
        model=arguments.captioner_model,
        batch=arguments.batch,
        threshold=arguments.threshold,
        character_threshold=arguments.character_threshold,
        underscores=arguments.underscores,
        ratings=arguments.ratings,
        characters=not arguments.no_characters,
        without=tuple(edits.tags(arguments.without)),
        template=arguments.template,
    )
    job = captioning.Job(arguments.input, arguments.captioner, options, arguments.caption_prefix, arguments.overwrite, arguments.resume, metadata)
    with following(say("Captions")) as progress:
        outcome = captioning.caption(job, progress)
    for problem in outcome.problems:
        print(problem, file=sys.stderr)
    speed = f"{outcome.speed:.1f}"
    if outcome.written:
        print(say("{count} captions written, {speed} pictures a second: {path}", count=outcome.written, speed=speed, path=outcome.source))
    elif not outcome.recovered:
        print(say("Nothing to write."))
    if outcome.recovered:
        print(say("{count} more were written before the interruption.", count=outcome.recovered))
    if outcome.kept:
        print(say("{count} were left as they are (--overwrite auto: what a captioner wrote; all: everything).", count=outcome.kept))
    return _told(outcome.conflicts)


def export_dataset(arguments: argparse.Namespace) -> None:
    """Write a dataset out again as other trainers read it."""
    from studio.data import exporting
    from studio.terminal import following

    with following(say("Copying")) as progress:
        done = exporting.export(arguments.data, arguments.output, arguments.form, arguments.repeats, arguments.name, progress)
    for new, old in done.renamed.items():
        print(say("{old} is called {new} there.", old=old, new=new), file=sys.stderr)
    print(say("{count} pictures: {path}", count=done.pictures, path=done.target))


def bring(arguments: argparse.Namespace) -> None:
    """Copy pictures and captions, or texts, into a dataset of the workspace: from a folder, a zip, a file or the Hub."""
    from studio.data import datasets
    from studio.data.text.conversations import parse_columns
    from studio.terminal import following

    columns = parse_columns(arguments.columns)
    with following(say("Copying")) as progress:
        found, left_out = datasets.bring(datasets.files_of(arguments.source, progress), arguments.name or "", progress, columns)
    for line in left_out:
        print(line, file=sys.stderr)
    print(say("Dataset {name}: {path}", name=found.name, path=found.folder))


def _told(conflicts: "list[Conflict]") -> int:
    for conflict in conflicts:
        print(say("{name}: was changed meanwhile and left as it is: {text}", name=conflict.name, text=conflict.theirs), file=sys.stderr)
    return 0
