"""What a recommendation is, and what it rests on: pictures and captions, the base model, the machine, and what earlier runs taught."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from studio import families, home
from studio.config import Config
from studio.data import wording
from studio.data.examples import Dataset, Example, Progress, survey, unwatched
from studio.data.problems import FaultyDataError
from studio.device import device, dtype, precision, room
from studio.runs.advice.habits import POCKET
from studio.runs.advice.lessons import Lesson, Likeness, learned
from studio.runs.environment import device_name
from studio.runs.run import Run


@dataclass(frozen=True)
class Recommendation:
    """A value for a setting, and why."""

    key: str
    value: Any
    reason: str


Chosen = Mapping[str, Recommendation]
GB = 1e9
PROMPTS = 3
RAREST = 45_000
SIDED = re.compile(
    r"\b(?:left|right|texts?|letters?|words?|writing|logos?|signs?|portraits?|persons?|people|(?:wo)?m[ae]n|girls?|boys?|\d(?:girl|boy)s?)\b"
    r"|左|右|文字|字母|标志|肖像|人物|男|女",
    re.IGNORECASE,
)
"""Words of captions whose pictures may not be mirrored."""


@dataclass(frozen=True)
class Pictures:
    """What was seen of a dataset: `sizes` (width, height, how many of them), captions in numbers, and faults that stop a run. `triggered`
    captions hold the `trigger`; it is `coined` when it is no word of the text encoder's. `sided` words' pictures may not be mirrored."""

    count: int
    sizes: tuple[tuple[int, int, int], ...]
    captioned: int
    unreadable: int = 0
    faults: int = 0
    tagged: bool = False
    cut_off: int = 0
    trigger: str = ""
    triggered: int = 0
    coined: bool = False
    sided: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()

    @property
    def usable(self) -> int:
        """How many are trained on: those with a caption, or all where most have none."""
        return self.captioned if 2 * self.captioned >= self.count else self.count


@dataclass(frozen=True)
class Base:
    """The base model: its kind (the family's name, or pocket), its title, its own resolution and the step of buckets, the tokens it reads, and
    what its family declares. `version` is which of its kind it is."""

    kind: str
    title: str
    resolution: int
    step: int
    tokens: int
    settings: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""

    @property
    def size(self) -> str:
        """What its memory is looked up by."""
        return f"{self.kind}-{self.version}"


@dataclass(frozen=True)
class Machine:
    """The device: cpu or cuda, its name, GB that are free and in all, and the precision it is good at."""

    device: str
    name: str
    free: float
    total: float
    precision: str


@dataclass(frozen=True)
class Facts:
    """All that a recommendation rests on."""

    pictures: Pictures
    base: Base
    machine: Machine
    lessons: tuple[Lesson, ...] = ()


def gather(config: Config, base: Base, runs: Iterable[Run], progress: Progress = unwatched) -> Facts:
    """The facts of a config's data on this machine, with the lessons of `runs`, oldest first. Raises FaultyDataError where no picture is readable."""
    seen = survey(config, progress, home.cache() / "archives", remember=True)
    if not seen.examples:
        raise FaultyDataError(problem for problem in seen.problems if problem.severity == "error")
    machine = machine_here()
    kinds = Counter(problem.kind for problem in seen.problems if problem.severity == "error")
    unreadable = seen.found - len(seen.examples)
    pictures = pictures_of(seen.examples, base.tokens, unreadable, kinds.total() - kinds["no-caption"] - unreadable)
    fingerprint = Dataset(seen.folder, seen.examples, ()).fingerprint
    like = Likeness(base.kind, config.train_data_dir, fingerprint, pictures.count, machine.name)
    return Facts(pictures, base, machine, learned(runs, like))


def base_of(config: Config) -> Base:
    """The base model of a config, nothing of it in memory. Raises ModelError."""
    source = families.find(config.base_model)
    family = families.get(config.family or families.recognise(source))
    on = device()
    facts = family.load(source, on, dtype("no")).facts
    pocket = source == families.POCKET
    resolution = facts["resolution"] if pocket else family.defaults.get("resolution") or facts["resolution"]
    kind, version = POCKET if pocket else family.name, str(facts.get("version") or "")
    return Base(kind, family.title, resolution, facts["step"], facts["tokens"], family.settings, family.defaults, version)


def machine_here() -> Machine:
    """The device that a run here would train on."""
    on = device()
    free, total = room(on)
    return Machine(on.type, device_name(on), free / GB, total / GB, precision(None, on))


def pictures_of(examples: Sequence[Example], tokens: int, unreadable: int = 0, faults: int = 0) -> Pictures:
    """What examples come to in numbers; captions of more than `tokens` tokens are counted."""
    captions = {example.name: example.caption for example in examples if example.caption}
    sizes = Counter(example.size for example in examples)
    trigger = wording.guess_trigger(captions)
    return Pictures(
        count=len(examples),
        sizes=tuple((*size, count) for size, count in sizes.items()),
        captioned=len(captions),
        unreadable=unreadable,
        faults=faults,
        tagged=wording.is_tagged(captions),
        cut_off=sum(length > tokens for length in _lengths(captions.values(), tokens)),
        trigger=trigger,
        triggered=len(captions) - len(wording.coverage(captions, trigger)) if trigger else 0,
        coined=any(map(_coined, trigger.split())),
        sided=tuple(sorted({word.lower() for text in captions.values() for word in SIDED.findall(text)})),
        prompts=_prompts(captions, trigger),
    )


def _lengths(texts: Iterable[str], above: int) -> list[int]:
    """The number of tokens of the texts that may have more than `above`: no token is shorter than a byte, and two stand around a text."""
    from studio.families import clip

    suspects = [text for text in texts if len(text.encode()) + 2 > above]
    if not suspects:
        return []
    tokenizer = clip.tokenizer()
    return [len(tokenizer(text).input_ids) for text in suspects]


def _coined(word: str) -> bool:
    """Whether CLIP's text encoder hardly knows the word: it has several tokens, or one of the rarest (they are numbered by frequency)."""
    from studio.families import clip

    tokens = clip.tokenizer()(word, add_special_tokens=False).input_ids
    return not SIDED.fullmatch(word) and (len(tokens) > 1 or any(token > RAREST for token in tokens))


def _prompts(captions: Mapping[str, str], trigger: str) -> tuple[str, ...]:
    """Captions from all over the set, and the trigger alone, which shows what it means by itself."""
    texts = list(dict.fromkeys(captions[name] for name in sorted(captions)))
    count = min(PROMPTS, len(texts))
    chosen = [texts[index * len(texts) // count] for index in range(count)]
    return (*chosen, *([trigger] if trigger else []))
