"""The one walk over the settings: YAML and flags → config, config → commented YAML, help and documentation."""

import argparse
import difflib
import io
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from studio.config import ALIASES, GROUPS, Config, Settings
from studio.errors import InputError
from studio.language import say

LARGEST_FILE = 256 * 1024
DEEPEST = 20
SPELLED = {
    "lora": "LoRA",
    "lr": "learning rate",
    "snr": "SNR",
    "ema": "EMA",
    "ip": "input",
    "rslora": "rsLoRA",
    "lokr": "LoKr",
    "dir": "folder",
    "path": "file",
    "train": "train",
    "conv": "convolution",
    "grad": "gradient",
}


class Given(NamedTuple):
    """A value somebody gave, and where: `my.yaml:7` or `--lora_rank`."""

    value: Any
    where: str


class Fault(NamedTuple):
    """What is wrong with one setting. `key` is empty where several don't go together."""

    where: str
    key: str
    text: str

    def __str__(self) -> str:
        return ": ".join(filter(None, self))


class SettingsError(InputError):
    """Settings that can't be used: every one that is wrong."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = sorted(faults, key=_by_line)
        super().__init__("\n".join(map(str, self.faults)), say("`python studio.py train --help` lists all settings."))


class _Yaml(yaml.SafeLoader):
    """YAML 1.2 core: `2e-4` is a number, `no` is a word, `010` is ten."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own way of declaring it

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """No merge keys: `<<` is a key like any other."""


_Yaml.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Yaml.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Yaml.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"),
    list("-+.0123456789"),
)
_Yaml.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value) if len(node.value) < 4000 else node.value)


def read_yaml(path: Path) -> dict[str, Given]:
    """Setting → value and line of a flat YAML file. Raises InputError with every line that can't be read as one."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(say("{path}: can't be read: {reason}", path=path, reason=error.strerror), say("Check the path.")) from None
    if len(raw) > LARGEST_FILE:
        raise InputError(say("{path}: is larger than {limit} kB, so it is no settings file.", path=path, limit=LARGEST_FILE // 1024))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(say("{path}:{line}: is not UTF-8 text.", path=path, line=line), say("Save the file as UTF-8.")) from None
    return parse_yaml(text, path)


def parse_yaml(text: str, path: str | Path) -> dict[str, Given]:
    """Setting → value and line of flat YAML; `path` is what messages call it. Raises InputError with every line that can't be read as one."""
    try:
        _refuse_tricks(text, path)
        return dict(_pairs(text, path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else text.count("\n", 0, getattr(error, "position", 0)) + 1
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InputError(
            say("{path}:{line}: is not valid YAML: {reason}", path=path, line=line, reason=reason), say("Write one `name: value` per line.")
        ) from None


def read_flags(words: list[str]) -> dict[str, Given]:
    """`["--lora_rank", "16", "--save_steps=5"]` → settings. Values are read as YAML; dashes in names count as underscores."""
    given, rest = {}, list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise InputError(say("{word}: a setting is written as --name value.", word=word), say("See `train --help`."))
        name, equals, text = word[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise InputError(say("{word}: its value is missing.", word=word), say("Write {word} VALUE.", word=word))
            text = rest.pop(0)
        name = name.replace("-", "_")
        given[name] = Given(scalar(name, text), f"--{name}")
    return given


def build(*layers: dict[str, Given]) -> Config:
    """The config from layers of values, later ones win. Raises SettingsError that lists every wrong setting with its place and remedy."""
    values: dict[str, Given] = {}
    problems: list[Fault] = []
    for layer in layers:
        for key, given in layer.items():
            name = ALIASES.get(key, key)
            if name != key and name in layer:
                problems.append(Fault(given.where, key, say("is the same setting as {name}; give one of them.", name=name)))
            values[name] = given
    try:
        config = Config.model_validate({key: given.value for key, given in values.items()})
    except ValidationError as error:
        problems += [_problem(dict(detail), values) for detail in error.errors()]
    if problems:
        raise SettingsError(problems)
    return config


def settings() -> Iterator[tuple[type[Settings], str, FieldInfo]]:
    """(group, name, field) of every setting, in the order in which they are declared."""
    for group in GROUPS:
        for name in group.__annotations__:
            if name in group.model_fields:
                yield group, name, group.model_fields[name]


def help_text(field: FieldInfo) -> str:
    """The help under a field, in the person's language."""
    return say(field.description or "")


def title(name: str) -> str:
    """A setting's name in words: `lora_rank` is LoRA rank. Translated like any sentence."""
    words = " ".join(SPELLED.get(word, word) for word in name.split("_"))
    return words[0].upper() + words[1:]


def paths() -> tuple[str, ...]:
    """The settings that name a place on the machine."""
    return tuple(name for _, name, field in settings() if kind(field)[0] is Path)


def kind(field: FieldInfo) -> tuple[Any, dict[str, float]]:
    """The bare type of a field (int, a Literal, …), and its bounds by `ge`, `gt`, `le`, `lt`."""
    bounds: dict[str, Any] = {}

    def unwrap(kind: Any) -> Any:
        if typing.get_origin(kind) is typing.Annotated:
            inner, *extras = typing.get_args(kind)
            for extra in extras:
                collect(extra)
            return unwrap(inner)
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            return unwrap(next(part for part in typing.get_args(kind) if part is not type(None)))
        if typing.get_origin(kind) is dict:
            unwrap(typing.get_args(kind)[1])  # the bounds are those of its values
        return kind

    def collect(extra: Any) -> None:
        for item in [extra, *getattr(extra, "metadata", ())]:
            for bound in ("ge", "gt", "le", "lt"):
                if getattr(item, bound, None) is not None:
                    bounds[bound] = getattr(item, bound)

    for item in field.metadata:
        collect(item)
    return unwrap(field.annotation), bounds


def allowed(field: FieldInfo) -> str:
    """What a field takes, in words: `whole number, 1 to 1024`."""
    bare, limits = _kind(field)
    if typing.get_origin(bare) is Literal:
        return say("one of {values}", values=", ".join(str(value) for value in typing.get_args(bare)))
    word = {
        bool: say("true or false"),
        int: say("a whole number"),
        float: say("a number"),
        Path: say("a path"),
        tuple: say("a list of texts"),
        dict: say("pairs of name: whole number"),
    }.get(typing.get_origin(bare) or bare, say("text"))
    return word + (f", {limits}" if limits else "")


def write_yaml(config: Config, only_set: bool = False, reasons: Mapping[str, str] | None = None) -> str:
    """The config as a YAML file with its help as comments, or a reason where there is one; reading it gives the same config."""
    out = io.StringIO()
    dumped = config.model_dump(mode="json")
    for group in GROUPS:
        out.write(f"# {say(group.__doc__ or '')}\n")
        for owner, name, field in settings():
            if owner is not group or (only_set and name not in config.model_fields_set):
                continue
            line = f"{name}: {_as_yaml(dumped[name])}"
            comment = (reasons or {}).get(name) or help_text(field)
            out.write(f"{line}  # {comment}\n" if dumped[name] is not None else f"# {name}:  # {comment}\n")
        out.write("\n")
    return out.getvalue().rstrip("\n") + "\n"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Show every setting in `--help`; `read_flags` reads what the parser leaves over."""
    for group in GROUPS:
        section = parser.add_argument_group(say(group.__doc__ or ""))
        for owner, name, field in settings():
            if owner is group:
                default = "" if field.is_required() or field.default is None else f" [{shown(field.default)}]"
                text = f"{help_text(field)} ({allowed(field)}){default}".replace("%", "%%")
                section.add_argument(f"--{name}", metavar="…", dest=f"setting:{name}", default=argparse.SUPPRESS, help=text)


def table() -> str:
    """All settings as a Markdown table."""
    lines = []
    for group in GROUPS:
        lines += [
            f"**{say(group.__doc__ or '')}**",
            "",
            f"| {say('setting')} | {say('default')} | {say('takes')} | {say('what it does')} |",
            "|---|---|---|---|",
        ]
        for owner, name, field in settings():
            if owner is group:
                default = say("required") if field.is_required() else shown(field.default)
                lines.append(f"| `{name}` | {default} | {allowed(field)} | {help_text(field)} |".replace("<lora:NAME:1>", "`<lora:NAME:1>`"))
        lines.append("")
    return "\n".join(lines)


def shown(value: Any) -> str:
    """A value in short, as tables have it."""
    if value in (None, (), [], "", {}):
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else f"{value:g}" if isinstance(value, float) else str(value)


def _kind(field: FieldInfo) -> tuple[Any, str]:
    """The bare type of a field and its limits in words."""
    bare, bounds = kind(field)
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    match low, high:
        case None, None:
            return bare, ""
        case _, None:
            return bare, say("at least {low}", low=f"{low:g}") if "ge" in bounds else say("above {low}", low=f"{low:g}")
        case None, _:
            return bare, say("at most {high}", high=f"{high:g}")
        case _:
            text = say("{low} to {high}", low=f"{low:.10g}", high=f"{high:.10g}")
            return bare, text if "ge" in bounds else text + ", " + say("above {low}", low=f"{low:g}")


def _problem(detail: dict[str, Any], values: dict[str, Given]) -> Fault:
    """One of pydantic's errors as where it is, which setting, and what to write instead."""
    key = str(detail["loc"][0]) if detail["loc"] else ""
    fields = Config.model_fields
    if detail["type"] == "missing":
        return Fault("", key, say("is missing. {help}", help=help_text(fields[key])))
    if detail["type"] == "value_error":
        text = str(detail["ctx"]["error"])
        name, _, rest = text.partition(": ")
        return Fault(values[name].where, name, rest) if name in values else Fault("", "", text)
    value, where = values[key]
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, [*fields, *ALIASES], n=1, cutoff=0.6)
        hint = say("did you mean {name}?", name=near[0]) if near else say("`python studio.py train --help` lists all settings.")
        return Fault(where, key, say("unknown setting; {hint}", hint=hint))
    if detail["type"] == "string_pattern_mismatch":
        return Fault(where, key, say("can't be the name of a file (got {value})", value=repr(value)))
    return Fault(where, key, say("must be {kind} (got {value})", kind=allowed(fields[key]), value=repr(value)[:80]))


def _by_line(fault: Fault) -> tuple[str, int]:
    path, _, line = fault.where.rpartition(":")
    return (path, int(line)) if line.isdigit() else ("", 0)


def _refuse_tricks(text: str, path: str | Path) -> None:
    """Aliases, tags, deep nesting and several documents have no place in a flat file, and cost time and memory to expand."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=_Yaml):
        line = event.start_mark.line + 1 if event.start_mark else 0
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise InputError(say("{path}:{line}: anchors and aliases are not taken.", path=path, line=line), say("Write the value out."))
        if (tag := getattr(event, "tag", None)) and str(tag) != "!":
            raise InputError(say("{path}:{line}: the tag {tag} is not taken.", path=path, line=line, tag=tag), say("Write a plain value."))
        if depth > DEEPEST or documents > 1:
            raise InputError(
                say("{path}:{line}: is nested too deeply or holds several documents.", path=path, line=line),
                say("Write one `name: value` per line."),
            )


def _pairs(text: str, path: str | Path) -> Iterator[tuple[str, Given]]:
    loader = _Yaml(text)
    root = loader.get_single_node()
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise InputError(say("{path}:1: is not a list of settings.", path=path), say("Write one `name: value` per line."))
    seen: dict[str, int] = {}
    twice = []
    for key_node, value_node in root.value:
        line = key_node.start_mark.line + 1 if key_node.start_mark else 0
        if not isinstance(key_node, yaml.ScalarNode):
            raise InputError(say("{path}:{line}: the name of a setting is one word.", path=path, line=line), say("Write one `name: value` per line."))
        key = str(key_node.value)
        if key in seen:
            twice.append(say("{path}:{line}: {key}: is already set in line {first}.", path=path, line=line, key=key, first=seen[key]))
            continue
        seen[key] = line
        yield key, Given(loader.construct_object(value_node, deep=True), f"{path}:{line}")
    if twice:
        raise InputError("\n".join(twice), say("Keep one of the lines."))


def _as_yaml(value: Any) -> str:
    """JSON, which is YAML and quotes what has to be quoted; characters that YAML takes for line breaks, or not at all, by their numbers."""
    return re.sub(r"[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def scalar(name: str, text: str) -> Any:
    """A flag's text as YAML would read it; settings that take text take it as it is, those that take several also as `[a, b]` or `{a: b}`."""
    field = Config.model_fields.get(ALIASES.get(name, name))
    bare = kind(field)[0] if field else None
    opens = "[" if typing.get_origin(bare) is tuple else "{" if typing.get_origin(bare) is dict else ""
    if bare in (str, Path) or (opens and not text.lstrip().startswith(opens)):
        return text
    try:
        loader = _Yaml(text)
        node = loader.get_single_node()
        return "" if node is None else loader.construct_object(node, deep=True)
    except yaml.YAMLError:
        return text
