"""From the facts to values: a rule for each group of settings, in the order in which one follows from the other."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from studio.data.buckets import bucket_for, fit
from studio.data.examples import held_out
from studio.language import say
from studio.runs.advice.facts import Base, Chosen, Facts, Pictures, Recommendation
from studio.runs.advice.habits import POCKET, QUANTISED, WHOLE, memory, pocket, usual

SMALL_CARD = 24
SMALLEST_CARD = 8
FEW = 100
MANY = 1000
FILLED = 0.9
"""Share of the free memory that a training may take by the estimate, which is rough."""
EPOCHS = ((20, 20), (50, 18), (100, 15), (300, 12), (1000, 10), (3000, 6))
SHOWN = 1500
MOST_REPEATS = 10
POCKET_STEPS = ((20, 120), (100, 190), (500, 300))
ON_A_CPU = 200
FEWEST_HELD_OUT = 10
MOST_HELD_OUT = 32
ROUND = (1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 250, 300, 400, 500, 750, 1000)


def sides(base: Base) -> list[int]:
    """The resolutions that a base model can be trained at, its own first."""
    shares = [share for share in (1.0, 0.75, 0.5) if share >= usual(base.kind).least]
    return list(dict.fromkeys(int(base.resolution * share) // base.step * base.step for share in shares))


def resolution(facts: Facts, _: Chosen) -> Iterator[Recommendation]:
    """The base model's own, lower where most pictures would have to be enlarged."""
    own, count = facts.base.resolution, facts.pictures.count
    small = {side: _enlarged(facts.pictures, side, facts.base.step) for side in sides(facts.base)}
    side = next((side for side, enlarged in small.items() if 2 * enlarged <= count), min(small))
    if side < own:
        reason = say("{small} of {count} pictures are smaller than {own}: enlarged ones would teach blur.", small=small[own], count=count, own=own)
    elif small[own]:
        reason = say("The base model's own; {small} of {count} pictures are smaller and are enlarged.", small=small[own], count=count)
    else:
        reason = say("The base model's own; none of the {count} pictures is smaller.", count=count)
    yield Recommendation("resolution", side, reason)


def shapes(facts: Facts, chosen: Chosen) -> Iterator[Recommendation]:
    """Buckets, and whether pictures may be mirrored."""
    side, pictures = chosen["resolution"].value, facts.pictures
    buckets = _buckets(pictures, side, facts.base.step)
    lost = sum(count * (1 - fit((width, height), (side, side)).kept) for width, height, count in pictures.sizes) / pictures.count
    if len(buckets) > 1:
        reason = say("{shapes} shapes: cropped to squares, {lost} of the pictures would be lost.", shapes=len(buckets), lost=f"{lost:.0%}")
    else:
        reason = say("All pictures have about one shape: one bucket holds them.")
    yield Recommendation("enable_bucket", True, reason)
    if pictures.sided:
        reason = say("Captions speak of {words}: mirrored, that would be wrong.", words=", ".join(pictures.sided[:3]))
        yield Recommendation("random_flip", False, reason)
    elif facts.base.kind == POCKET and pocket().get("random_flip"):
        yield Recommendation("random_flip", True, say("No caption speaks of a left, a right, people or letters: mirrored pictures are new ones."))
    else:
        yield Recommendation(
            "random_flip", False, say("Whether left and right matter here is not known: turn it on for a style, not for logos or faces.")
        )


def texts(facts: Facts, _: Chosen) -> Iterator[Recommendation]:
    """What is done with captions, and with pictures that have none or can't be read."""
    pictures = facts.pictures
    missing, count = pictures.count - pictures.captioned, pictures.count
    if pictures.unreadable:
        yield Recommendation("bad_images", "skip", say("{count} pictures can't be read and are left out.", count=pictures.unreadable))
    if not pictures.captioned:
        yield Recommendation("missing_captions", "empty", say("No picture has a caption. With captions it would learn to tell things apart."))
        yield Recommendation("caption_dropout", 0.0, say("There are no captions to leave out."))
        return
    if pictures.usable == pictures.captioned < count:
        reason = say("{missing} of {count} pictures have no caption: they are left out until they have one.", missing=missing, count=count)
        yield Recommendation("missing_captions", "skip", reason)
    elif missing:
        reason = say(
            "{missing} of {count} pictures have no caption: too many to leave out, they are trained without one.", missing=missing, count=count
        )
        yield Recommendation("missing_captions", "empty", reason)
    if pictures.usable < FEW:
        reason = say(
            "{count} captions come again and again: without them in a tenth of the steps they aren't learned by heart.", count=pictures.captioned
        )
        yield Recommendation("caption_dropout", 0.1, reason)
    else:
        yield Recommendation("caption_dropout", 0.05, say("A twentieth of the steps without a caption keeps guidance working."))
    if not pictures.tagged:
        yield Recommendation("shuffle_tags", False, say("The captions are sentences: their order has a meaning."))
        return
    yield Recommendation("shuffle_tags", True, say("The captions are lists of tags: their order means nothing and should not be learned."))
    if pictures.trigger:
        reason = say(
            "{trigger} is in {count} of {all} captions and stays first.", trigger=pictures.trigger, count=pictures.triggered, all=pictures.captioned
        )
        yield Recommendation("keep_tokens", 1, reason)
    else:
        yield Recommendation("keep_tokens", 0, say("No tag stands first in nearly all captions."))


def adapter(facts: Facts, _: Chosen) -> Iterator[Recommendation]:
    """How much the LoRA can hold, and where it sits."""
    count, base, machine = facts.pictures.usable, facts.base, facts.machine
    small = machine.device == "cuda" and machine.total < SMALL_CARD
    if base.kind == POCKET:
        rank, reason = int(pocket()["lora_rank"]), say("The small model's layers are narrow: this holds a style.")
    elif small:
        rank = 4 if machine.total < SMALLEST_CARD or count < 20 else 8
        reason = say("4 to 8 is usual with less than {limit} GB; here are {total} GB.", limit=SMALL_CARD, total=f"{machine.total:.0f}")
    else:
        rank = 4 if count < 20 else 8 if count < FEW else 16 if count < MANY else 32
        reason = say("As much as {count} pictures teach; a higher rank learns them by heart.", count=count)
    yield Recommendation("lora_rank", rank, reason)
    yield Recommendation(
        "lora_alpha", rank, say("Equal to the rank: the LoRA acts at full strength, and the learning rate means what it usually means.")
    )
    if base.kind == POCKET:
        yield Recommendation("lora_targets", list(pocket()["lora_targets"]), say("The small model needs every layer for a style."))
        yield Recommendation("conv_rank", pocket()["conv_rank"], say("The small model needs every layer for a style."))
    elif count >= FEW and not small:
        yield Recommendation("lora_targets", ["attention", "feed-forward"], say("{count} pictures are enough to train more layers.", count=count))
    else:
        reason = say("Enough for a subject, with the least memory and the least to over-fit with.")
        yield Recommendation("lora_targets", ["attention"], reason)
    if base.kind != POCKET:
        yield Recommendation("conv_rank", 0, say("Convolutions learn texture, and pictures by heart: 8 for a style that needs it."))
        few = count < FEW
        reason = (
            say("Against learning {count} pictures by heart.", count=count) if few else say("{count} pictures vary enough without it.", count=count)
        )
        yield Recommendation("lora_dropout", 0.1 if few else 0.0, reason)
    yield from _text_encoder(facts)


def _text_encoder(facts: Facts) -> Iterator[Recommendation]:
    pictures, rate = facts.pictures, usual(facts.base.kind).text_encoder_rate
    if rate and pictures.coined and facts.machine.device != "cpu":
        reason = say("{trigger} is no word that the text encoder knows: it learns it.", trigger=pictures.trigger)
        yield Recommendation("train_text_encoder", True, reason)
        yield Recommendation("text_encoder_lr", rate, say("A fifth of the usual learning rate: what other words mean stays."))
    else:
        reason = say("It stays as it is, what words mean too, and each caption goes through it once.")
        yield Recommendation("train_text_encoder", False, reason)


def batches(facts: Facts, chosen: Chosen) -> Iterator[Recommendation]:
    """Precision, batch, accumulation and checkpointing: what fits into the free memory, else a lower resolution."""
    machine, base = facts.machine, facts.base
    yield Recommendation("mixed_precision", machine.precision, _why_precision(facts))
    together = pictures_a_step(facts)
    most, why = _most(facts, chosen["resolution"].value, together)
    load_in = _bits(facts)
    if load_in != WHOLE:
        yield Recommendation("load_in", load_in, _why_bits(facts))
    batch, checkpointed, side = _fitting(facts, chosen["resolution"].value, most, load_in)
    free, need = f"{machine.free:.1f}", f"{memory(base.size, side, batch, checkpointed, machine.precision, load_in):.1f}"
    room = say("About {need} GB of {free} free ones are needed.", need=need, free=free)
    if side < chosen["resolution"].value:
        wanted = f"{memory(base.size, chosen['resolution'].value, 1, True, machine.precision, load_in):.1f}"
        reason = say("{side} would take about {need} GB, {free} are free.", side=chosen["resolution"].value, need=wanted, free=free)
        yield Recommendation("resolution", side, reason)
    yield Recommendation("batch_size", batch, say("{one} {two}", one=why, two=room) if batch == most else room)
    reason = say("{batch} × {times}: each step averages {together} pictures.", batch=batch, times=together // batch, together=together)
    yield Recommendation("gradient_accumulation_steps", together // batch, reason)
    if checkpointed:
        wanted = f"{memory(base.size, side, batch, False, machine.precision, load_in):.1f}"
        reason = say("Without it about {need} GB would be needed, {free} are free.", need=wanted, free=free)
    else:
        reason = say("The memory suffices without it, and it would take a third more time.")
    yield Recommendation("gradient_checkpointing", checkpointed, reason)


def pictures_a_step(facts: Facts) -> int:
    """How many pictures a step averages."""
    if facts.base.kind == POCKET:
        return int(pocket()["batch_size"])
    if facts.machine.device == "cpu":
        return 1
    return 8 if facts.pictures.usable >= MANY else usual(facts.base.kind).pictures


def _why_precision(facts: Facts) -> str:
    match facts.machine.precision:
        case "bf16":
            return say("{name} has it: half the memory of 32 bits, and nothing overflows.", name=facts.machine.name)
        case "fp16":
            return say("{name} has no bf16: this is half the memory of 32 bits.", name=facts.machine.name)
        case _:
            return say("A CPU computes best in 32 bits.")


def _most(facts: Facts, side: int, together: int) -> tuple[int, str]:
    """The largest batch that makes sense, and why no larger one."""
    machine, pictures = facts.machine, facts.pictures
    most, why = together, say("All pictures of a step at once.")
    if machine.device == "cuda" and machine.total < SMALL_CARD and most > 2:
        most, why = 2, say("2 is usual with less than {limit} GB.", limit=SMALL_CARD)
    middle = _middle(_buckets(pictures, side, facts.base.step))
    if middle < most:
        most = 2 ** int(math.log2(middle))
        why = say("Half of the pictures are of a shape that at most {count} have: a larger batch would show one twice.", count=middle)
    return most, why


def _bits(facts: Facts) -> str:
    """`load_in`: 16 bits, unless a base model doesn't fit a card even at its lowest resolution; then 8, else 4."""
    fits = (load_in for load_in in QUANTISED if _least(facts, load_in) <= FILLED * facts.machine.free)
    return next(fits, "4bit") if facts.machine.device == "cuda" else WHOLE


def _why_bits(facts: Facts) -> str:
    need, free = f"{_least(facts, WHOLE):.1f}", f"{facts.machine.free:.1f}"
    return say("In 16 bits at least {need} GB would be needed, {free} are free. It needs the package bitsandbytes.", need=need, free=free)


def _least(facts: Facts, load_in: str) -> float:
    """GB of the smallest training."""
    return memory(facts.base.size, min(sides(facts.base)), 1, True, facts.machine.precision, load_in)


def _fitting(facts: Facts, side: int, most: int, load_in: str) -> tuple[int, bool, int]:
    """The batch, whether activations are computed twice, and the resolution: the first that fit, in the order of what they cost in quality."""
    base, machine = facts.base, facts.machine
    halves = [2**power for power in range(int(math.log2(most)), -1, -1)]
    ladder = [(batch, twice, lower) for lower in sides(base) if lower <= side for twice in (False, True) for batch in halves]
    ladder = [step for step in ladder if step[1] or step[2] == side] if machine.device == "cuda" else ladder[: len(halves)]
    for batch, twice, lower in ladder:
        if memory(base.size, lower, batch, twice, machine.precision, load_in) <= FILLED * machine.free:
            return batch, twice, lower
    return ladder[-1]


def held(facts: Facts, _: Chosen) -> Iterator[Recommendation]:
    """Pictures to measure the loss on."""
    count = facts.pictures.usable
    share = 0.0 if count < FEWEST_HELD_OUT else min(0.1, round(MOST_HELD_OUT / count, 3))
    if share:
        reason = say(
            "{held} of {count} pictures are not trained on: only the loss on such ones shows over-fitting.", held=held_out(count, share), count=count
        )
    else:
        reason = say("{count} pictures are too few to spare any: the samples show how it goes.", count=count)
    yield Recommendation("validation_split", share, reason)


def length(facts: Facts, chosen: Chosen) -> Iterator[Recommendation]:
    """How often pictures are shown: in epochs, or in steps where that says more."""
    count = facts.pictures.usable
    trained = count - held_out(count, chosen["validation_split"].value)
    if facts.base.kind == POCKET:
        steps = next((steps for below, steps in POCKET_STEPS if count < below), 400)
        yield Recommendation("max_steps", steps, say("The small model takes a style from {count} pictures in about as many.", count=count))
        yield Recommendation("num_repeats", 1, say("The length is given in steps."))
        return
    if facts.machine.device == "cpu":
        yield Recommendation("max_steps", ON_A_CPU, say("A CPU takes long for each step of a model of this size: enough to see whether it learns."))
        yield Recommendation("num_repeats", 1, say("The length is given in steps."))
        return
    epochs = next((epochs for below, epochs in EPOCHS if count < below), 4)
    repeats = max(1, min(MOST_REPEATS, round(SHOWN / (trained * epochs)))) if count < FEW else 1
    if count < FEW:
        reason = say("15 to 20 are usual for fewer than {few} pictures; here are {count}.", few=FEW, count=count)
    else:
        reason = say("{count} pictures need fewer passes than a few do.", count=count)
    yield Recommendation("epochs", epochs, reason)
    times = say("Each picture is shown {times} times in all.", times=repeats * epochs)
    yield Recommendation("num_repeats", repeats, times)


def steps(facts: Facts, chosen: Chosen) -> int:
    """The number of steps that the values come to, about."""
    if "max_steps" in chosen:
        return int(chosen["max_steps"].value)
    count = facts.pictures.usable
    trained = (count - held_out(count, chosen["validation_split"].value)) * chosen["num_repeats"].value
    together = chosen["batch_size"].value * chosen["gradient_accumulation_steps"].value
    total: int = -(-chosen["epochs"].value * trained // together)
    return max(1, total)


def rates(facts: Facts, chosen: Chosen) -> Iterator[Recommendation]:
    """How fast it learns."""
    base, count = facts.base, facts.pictures.usable
    taken = pocket() if base.kind == POCKET else dict(base.defaults)
    rate = taken.get("learning_rate", usual(base.kind).learning_rate)
    if base.kind == POCKET:
        reason = say("What the small model wants: ten times what Stable Diffusion 1.5 does and more.")
    elif count < FEW:
        reason = say("Gentle, for {count} pictures; with alpha equal to the rank.", count=count)
    else:
        reason = say("In use for {title} with alpha equal to the rank.", title=base.title)
    yield Recommendation("learning_rate", rate, reason)
    yield Recommendation("optimizer", taken.get("optimizer", "adamw"), say("Steady without tuning; a LoRA's share of the memory is small."))
    reason = say("It falls to zero, so that the last steps settle what was learned.")
    yield Recommendation("lr_scheduler", taken.get("lr_scheduler", "cosine"), reason)
    total = steps(facts, chosen)
    reason = say("A tenth of the {steps} steps, 100 at most: the first gradients are wild.", steps=total)
    yield Recommendation("warmup_steps", min(100, total // 10), reason)
    if base.kind != POCKET and usual(base.kind).snr_gamma:
        yield Recommendation("snr_gamma", usual(base.kind).snr_gamma, say("It evens out the timesteps; 5 is usual."))


def watching(facts: Facts, chosen: Chosen) -> Iterator[Recommendation]:
    """What is measured, saved and drawn on the way."""
    total = steps(facts, chosen)
    every = _round(total / 20)
    if chosen["validation_split"].value:
        yield Recommendation("validation_steps", every, say("About {times} measurements in {steps} steps.", times=total // every, steps=total))
    else:
        yield Recommendation("validation_steps", 0, say("Nothing is held out to measure on."))
    every = _round(total / 8)
    yield Recommendation(
        "save_steps", every, say("About {times} checkpoints in {steps} steps, to choose the best from.", times=total // every, steps=total)
    )
    yield Recommendation("keep_checkpoints", 0, say("All of them: the best is often not the last."))
    prompts = facts.pictures.prompts
    if not prompts:
        return
    if facts.pictures.trigger:
        reason = say("Captions of the set, and {trigger} alone: they show when it learns and when it copies.", trigger=facts.pictures.trigger)
    else:
        reason = say("Captions of the set: they show when it learns and when it copies.")
    yield Recommendation("sample_prompts", list(prompts), reason)
    if facts.machine.device == "cpu" and facts.base.kind != POCKET:
        yield Recommendation("sample_steps", 0, say("Drawing takes minutes on a CPU: only at the end."))
    elif facts.machine.device == "cpu":
        few = _round(total / 4)
        yield Recommendation("sample_steps", few, say("About {times} times in {steps} steps: a CPU draws slowly.", times=total // few, steps=total))
    else:
        yield Recommendation("sample_steps", every, say("With every checkpoint."))


def rest(facts: Facts, chosen: Chosen) -> Iterator[Recommendation]:
    """What the base model's family or preset sets besides."""
    values: dict[str, Any] = dict(facts.base.defaults) | (pocket() if facts.base.kind == POCKET else {})
    name = say("the pocket model") if facts.base.kind == POCKET else facts.base.title
    for key, value in values.items():
        if key not in chosen and key not in ("family", "base_model", "task_type"):
            yield Recommendation(key, value, say("As is usual for {title}.", title=name))


def _buckets(pictures: Pictures, side: int, step: int) -> Counter[tuple[int, int]]:
    found: Counter[tuple[int, int]] = Counter()
    for width, height, count in pictures.sizes:
        found[bucket_for((width, height), side, step)] += count
    return found


def _middle(buckets: Counter[tuple[int, int]]) -> int:
    """The size of the bucket that the middle picture is in, when they stand by the size of their buckets."""
    passed = 0
    for size in sorted(buckets.values()):
        passed += size
        if 2 * passed >= buckets.total():
            return size
    return 1


def _enlarged(pictures: Pictures, side: int, step: int) -> int:
    """How many pictures have to be enlarged for that resolution."""
    return sum(count for width, height, count in pictures.sizes if fit((width, height), bucket_for((width, height), side, step)).resize[0] > width)


def _round(number: float) -> int:
    """The nearest round number."""
    return min(ROUND, key=lambda value: abs(math.log(value / number)))
