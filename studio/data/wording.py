"""What the captions of a set say: words and tags, texts that describe nothing, whether the trigger word is everywhere, and what goes with it."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from studio.data.problems import Problem, shown
from studio.language import say

FEWEST = 5
"""Captions below which nothing is concluded."""
NEARLY_ALL = 0.9
HARDLY_ANY = 0.1
MANY_ALIKE = 3

STOP_WORDS = frozenset(re.findall(r"\w+", "a an and are as at by for from in into is it its of on or that the this to with"))
GENERIC = STOP_WORDS | set(
    re.findall(
        r"\w+",
        """image images picture pictures photo photograph photos pic shot drawing illustration artwork something thing things object
        someone some there untitled img dsc screenshot scan file new very""",
    )
)
GENERIC_CHINESE = re.compile("一[张个幅]|的|图片|照片|图像|东西|图|这是")
FILE_NAME = re.compile(
    r"(img|dsc[nf]?|dscf|pxl|screenshot|scan|image|photo|pic|untitled)?[\W_]*\d[\d\W_]*(\.\w{3,4})?|\w+\.(png|jpe?g|webp|gif|bmp)", re.IGNORECASE
)
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def words(captions: Mapping[str, str]) -> Counter[str]:
    """In how many captions each word stands, in lower case, without articles and the like."""
    return Counter(word for text in captions.values() for word in set(WORD.findall(text.lower())) if word not in STOP_WORDS)


def tags(captions: Mapping[str, str]) -> Counter[str]:
    """In how many captions each comma-separated part stands."""
    return Counter(tag for text in captions.values() for tag in set(_tags(text)))


def is_tagged(captions: Mapping[str, str]) -> bool:
    """Whether most captions are lists of tags, not sentences."""
    filled = [_tags(text) for text in captions.values() if text.strip()]
    listed = [parts for parts in filled if len(parts) >= 3 and sum(len(part.split()) for part in parts) <= 3 * len(parts)]
    return bool(filled) and 2 * len(listed) > len(filled)


def vague(captions: Mapping[str, str]) -> list[str]:
    """Names of pictures whose caption says nothing of them: only words like "a picture", or a camera's file name."""
    return [name for name, text in captions.items() if text.strip() and _is_vague(text)]


def coverage(captions: Mapping[str, str], trigger: str) -> list[str]:
    """Names of pictures whose caption lacks the trigger."""
    found = _pattern(trigger)
    return [name for name, text in captions.items() if not found.search(text)]


def guess_trigger(captions: Mapping[str, str]) -> str:
    """The first tag or first word with which nearly all captions begin, when it is no ordinary word; else nothing."""
    filled = [text for text in captions.values() if text.strip()]
    if len(filled) < FEWEST:
        return ""
    for firsts in (Counter(_tags(text)[0] for text in filled if _tags(text)), Counter(text.split()[0].strip(",.") for text in filled)):
        first, count = firsts.most_common(1)[0] if firsts else ("", 0)
        if count >= NEARLY_ALL * len(filled) and first and first.lower() not in GENERIC and len(first.split()) <= 3:
            return first
    return ""


def companions(captions: Mapping[str, str], trigger: str) -> list[str]:
    """Tags (of tagged captions) or words that stand beside the trigger nearly always, and hardly anywhere else: the trigger will mean them too."""
    found = _pattern(trigger)
    listed = is_tagged(captions)
    parts = {name: set(_tags(text) if listed else WORD.findall(text.lower())) for name, text in captions.items()}
    with_it = [name for name, text in captions.items() if found.search(text)]
    without = captions.keys() - with_it
    if len(with_it) < FEWEST:
        return []
    own = set(WORD.findall(trigger.lower())) | {trigger.lower()}
    beside = Counter(part for name in with_it for part in parts[name])
    elsewhere = Counter(part for name in without for part in parts[name])
    return sorted(
        part
        for part, count in beside.items()
        if count >= NEARLY_ALL * len(with_it) and part not in own | GENERIC and (not without or elsewhere[part] <= HARDLY_ANY * len(without))
    )


def repeated(captions: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Captions that several pictures share, and their names."""
    names: dict[str, list[str]] = {}
    for name, text in captions.items():
        if text.strip():
            names.setdefault(" ".join(text.lower().split()), []).append(name)
    return [(captions[found[0]], found) for found in names.values() if len(found) >= MANY_ALIKE]


def findings(captions: Mapping[str, str], trigger: str = "") -> list[Problem]:
    """What a person should look at. Without `trigger`, a word that nearly all captions begin with is taken for it."""
    if len(captions) < FEWEST:
        return []
    trigger = trigger or guess_trigger(captions)
    problems = [
        Problem(shown(name), None, say("The caption says nothing specific."), say("Say what is in the picture."), "warning", "vague")
        for name in vague(captions)
    ]
    if trigger:
        problems += _without_trigger(captions, trigger)
        for tag in companions(captions, trigger):
            message = say("It stands in nearly every caption with {trigger}, so the trigger will mean it too.", trigger=shown(trigger, 40))
            fix = say("Remove it where it belongs to the trigger, or add pictures without it.")
            problems.append(Problem(shown(tag, 60), None, message, fix, "warning", "fused-tag"))
    for text, names in repeated(captions):
        if len(names) == len(captions) and trigger:  # one phrase for all is a way to train
            continue
        message = say('{count} pictures have the same caption: "{text}"', count=len(names), text=shown(text, 80))
        fix = say("Say what differs: what captions don't say is learned as part of all.")
        problems += [Problem(shown(name), None, message, fix, "warning", "same-caption") for name in names]
    return problems


def _without_trigger(captions: Mapping[str, str], trigger: str) -> Iterable[Problem]:
    fix = say("Put it first in all captions, or leave it out where the subject is not in the picture.")
    message = say("The trigger {trigger} is missing here.", trigger=shown(trigger, 40))
    return [Problem(shown(name), None, message, fix, "warning", "no-trigger") for name in coverage(captions, trigger) if captions[name].strip()]


def _tags(text: str) -> list[str]:
    return [tag for part in re.split(r"[,，、]", text.lower()) if (tag := part.strip())]


def _is_vague(text: str) -> bool:
    if FILE_NAME.fullmatch(text.strip()):
        return True
    found = WORD.findall(GENERIC_CHINESE.sub(" ", text.lower()))
    return all(word in GENERIC for word in found)


def _pattern(trigger: str) -> re.Pattern[str]:
    word = r"\s+".join(map(re.escape, trigger.split()))
    if CJK.search(trigger):
        return re.compile(word)
    return re.compile(rf"(?<![^\W_]){word}(?![^\W_])", re.IGNORECASE)
