"""Settings of kohya's sd-scripts, its GUI and SD-Trainer, translated. The tables are in kohya_settings.py."""

import math
import re
from collections.abc import Iterator
from typing import Any

from studio import families
from studio.config import OPTIONAL, Config
from studio.formats.fingerprints import TITLES
from studio.language import say
from studio.runs.foreign import kohya_settings as table
from studio.runs.foreign.imported import Imported, Note, Reading, as_number, choices

TRAINS = ("lora_type", "network_module", "network_dim", "learning_rate", "unet_lr")
FLAGS = re.compile(r"\s--[a-z]+\b.*")
CONVOLVES = re.compile(r"locon|lycoris|loha|lokr")
STEP = 64  # pixels: sides of pictures are multiples of it


def translate(given: dict[str, Any], title: str) -> Imported:
    """The settings of a flat file. `title` is what it is called where it has no name of its own."""
    program = "kohya_ss" if "lora_type" in given else "SD-Trainer" if {"model_train_type", "version"} & given.keys() else "sd-scripts"
    reading = Reading(given | _flags(given.get("additional_parameters")), Imported(program), done={"additional_parameters"})
    reading.made.title = str(reading.take("name", "metadata_title", "output_name") or title)[:60]
    reading.made.about = str(reading.take("description", "metadata_description", "training_comment") or "")[:200]
    for part in (_family, _network, _length, _optimizer, _text_encoder, _schedule, _pictures, _prompts, _rest, _unsaid, _fit):
        part(reading)
    return reading.made


def _family(reading: Reading) -> None:
    """Which kind of base model it is for, where the file tells."""
    kind, module = str(reading.take("model_train_type", "train_type") or ""), str(reading.given.get("network_module", ""))
    if re.search(r"finetune|dreambooth", kind):
        reading.adapt("model_train_type", say("Trains the whole model there; here it becomes a LoRA."))
    by_kind = "model_train_type" if reading.says("model_train_type") else "train_type"
    found = [(kind.partition("-")[0], by_kind)] if kind.partition("-")[0] in table.FAMILIES else []
    found += [(word, "network_module") for word in [module.partition("lora_")[2]] if word]
    found += [(word, sign) for sign, word in table.SIGNS.items() if reading.given.get(sign) not in (*([], "", None), False, "false", 0)]
    if not found and "lora_type" in reading.given:  # kohya_ss has a switch for each other kind
        found.append(("sd", "lora_type"))
    reading.done |= set(table.SIGNS) - {"ae", "clip_g"}
    if reading.on("v_parameterization"):
        reading.put("prediction_type", "v_prediction", "v_parameterization")
    if not found:
        return
    word, theirs = found[0]
    reading.family = table.FAMILIES.get(word, word)
    if reading.family in families.FAMILIES:
        reading.put("family", reading.family, theirs)
    else:
        title = TITLES.get(reading.family, reading.family)
        reading.leave(theirs, say("Is for {family}, which can't be trained here yet. Choose a base model of another kind.", family=title))


def _network(reading: Reading) -> None:
    """Rank, alpha, layers, and which kind of adapter."""
    arguments = dict(_arguments(reading, "network_args", "network_args_custom"))
    rank, alpha = reading.number("network_dim"), reading.number("network_alpha")
    if rank:
        reading.put("lora_rank", rank, "network_dim")
    if alpha:
        reading.put("lora_alpha", alpha, "network_alpha")
    module, lora_type = str(reading.take("network_module") or ""), str(reading.take("lora_type") or "")
    if not (rank or module or lora_type):
        return
    algorithm = (
        arguments.pop("algo", "") or str(reading.take("lycoris_algo") or "") or lora_type.rpartition("/")[2] or module.rpartition(".")[2]
    ).lower()
    asked = "lora_type" if lora_type else "network_module"
    preset = str(arguments.pop("preset", "") or reading.take("lycoris_preset") or "full")
    reading.done.add("lycoris_preset")
    reading.put("lora_targets", ["attention"] if preset == "attn-only" else ["attention", "feed-forward"], asked)
    wanted = "dora" if reading.on("dora_wd") or arguments.pop("dora_wd", "").lower() == "true" else algorithm
    factor = as_number(arguments.pop("factor", None) or reading.take("lokr_factor", "factor")) or -1
    if wanted in choices("adapter"):
        reading.put("adapter", wanted, asked)
        if wanted == "lokr" and factor > 1:  # -1: as near to a square as can be
            reading.put("lokr_factor", factor, "factor" if reading.says("factor") else "lokr_factor")
    elif not re.search(r"^(|lo?ra.*|standard|locon|kohya( locon)?|flux1?|sd3)$", wanted):
        reading.adapt(asked, say("{kind} can't be made here; it becomes a LoRA of the same rank.", kind=wanted))
    _convolutions(reading, arguments, bool(CONVOLVES.search(f"{module} {lora_type}".lower())))
    if "dropout" in arguments and not reading.says("network_dropout"):
        reading.put("lora_dropout", arguments.pop("dropout"), "network_args")
    for key, value in arguments.items():
        reading.leave("network_args", say("There is no such setting here."), f"{key}={value}"[:80])


def _convolutions(reading: Reading, arguments: dict[str, str], by_kind: bool) -> None:
    """LoRA on the 3 × 3 convolutions, from network_args; kohya_ss writes them beside each kind of LoRA, and only means them with some."""
    given = {key: as_number(arguments.pop(key, None)) for key in ("conv_dim", "conv_alpha")}
    theirs = "network_args"
    if by_kind and not given["conv_dim"]:
        given, theirs = {key: as_number(reading.take(key)) for key in given}, "conv_dim"
    reading.done |= {"conv_dim", "conv_alpha"}
    inner, alpha = given["conv_dim"], given["conv_alpha"]
    if not inner:
        return
    reading.put("conv_rank", inner, theirs)
    settings = reading.made.settings
    strength = settings.get("lora_alpha", 1) / settings.get("lora_rank", 4)
    if (1 if alpha is None else alpha) / inner != strength:
        reading.leave("conv_alpha", say("Convolutions act as strongly as the other layers here."), f"{1 if alpha is None else alpha:g}")


def _length(reading: Reading) -> None:
    """Epochs or steps: max_train_epochs wins over max_train_steps, that over the epoch of kohya_ss."""
    ours = {"max_train_epochs": "epochs", "max_train_steps": "max_steps", "epoch": "epochs"}
    found = {key: number for key in ours if (number := reading.number(key))}
    for index, (key, number) in enumerate(found.items()):
        if not index:
            reading.put(ours[key], number, key)
        elif not key.startswith("epoch"):
            reading.leave(key, say("{other} wins over it there.", other=next(iter(found))))


def _optimizer(reading: Reading) -> None:
    """Optimizer, its arguments and the learning rate."""
    theirs = "optimizer_type" if reading.says("optimizer_type") else "optimizer"
    name = str(reading.take("optimizer_type", "optimizer") or ("AdamW8bit" if reading.on("use_8bit_adam") else "")).rpartition(".")[2]
    known = table.OPTIMIZERS.get(name.lower(), (name.lower(),))
    ours = next((candidate for candidate in known if candidate in choices("optimizer")), None)
    if name and ours:
        same = ours.replace("_", "") == name.lower().replace("_", "")
        reading.put("optimizer", ours, theirs, "" if same else say("The nearest here is {ours}.", ours=ours))
    elif name:
        reading.leave(theirs, say("There is no such optimizer here; {ours} is used.", ours=Config.model_fields["optimizer"].default))
    for key, value in _arguments(reading, "optimizer_args", "optimizer_args_custom"):
        if key == "weight_decay":
            reading.put("weight_decay", value, "optimizer_args")
        else:
            reading.leave("optimizer_args", say("There is no such setting here."), f"{key}={value}"[:80])
    rate, unet = reading.number("learning_rate"), reading.number("unet_lr")
    asked = "unet_lr" if unet else "learning_rate"
    if unet and rate and unet != rate:
        reading.leave("learning_rate", say("{other} wins over it there.", other="unet_lr"))
    if not (unet or rate):
        return
    if name.lower() in table.FIND_THEIR_RATE and not ours:
        usual = Config.model_fields["learning_rate"].default
        reading.leave(asked, say("Means something else with {optimizer}; {value} is used.", optimizer=name, value=f"{usual:g}"))
    else:
        reading.put("learning_rate", unet or rate, asked)
    if reading.on("network_train_text_encoder_only") or unet == 0:
        reading.adapt(asked, say("Trains the text encoder alone there; here the image model is always trained."))


def _text_encoder(reading: Reading) -> None:
    """sd-scripts trains the text encoder too unless it is told otherwise; its rate is then the general one."""
    cached = reading.on("cache_text_encoder_outputs", *(f"{reading.family}{one}_cache_text_encoder_outputs" for one in ("", "1")))
    only = reading.on("network_train_unet_only")
    rate = reading.number("text_encoder_lr")
    silent = rate is None and reading.made.program == "kohya_ss"
    if only or cached or silent or rate == 0 or not _is_whole(reading):
        return
    said = "text_encoder_lr" if rate else "network_train_unet_only"
    reading.put("train_text_encoder", True, said)
    general = as_number(reading.given.get("learning_rate")) or reading.made.settings.get("learning_rate")
    if "learning_rate" in reading.made.settings and (rate or general):
        reading.put("text_encoder_lr", rate or general, said)
    if not rate and not reading.says(said):
        reading.made.adapted.append(_assumed(reading, said, "false"))


def _schedule(reading: Reading) -> None:
    """Scheduler and warm-up. A warm-up that is a share of all steps needs their number."""
    if custom := reading.take("lr_scheduler_type"):
        reading.leave("lr_scheduler_type", say("Schedules from other packages aren't taken."), str(custom)[:80])
    name = str(reading.take("lr_scheduler") or "").lower()
    ours = next((candidate for candidate in table.SCHEDULERS.get(name, (name,)) if candidate in choices("lr_scheduler")), None)
    if name and ours:
        knob, usual = table.SAME_SCHEDULE.get(name, ("", None))
        same = ours == name or (usual is not None and (as_number(reading.given.get(knob)) or usual) == usual)
        reading.put("lr_scheduler", ours, "lr_scheduler", "" if same else say("The nearest here is {ours}.", ours=ours))
    elif name:
        reading.leave("lr_scheduler", say("There is no such schedule here."))
    theirs = "lr_warmup_steps" if reading.says("lr_warmup_steps") else "lr_warmup"
    warmup, percent = reading.number("lr_warmup_steps"), reading.number("lr_warmup")
    share = percent / 100 if not warmup and percent else warmup if warmup and 0 < warmup < 1 else 0
    if not (warmup or share):
        return
    if name == "constant":
        reading.leave(theirs, say("Isn't used with the constant schedule there."))
    elif not share:
        reading.put("warmup_steps", warmup, theirs)
    elif steps := reading.made.settings.get("max_steps"):
        reading.put("warmup_steps", round(share * steps), theirs, say("A share of all steps there; here their number."))
    else:
        reading.leave(theirs, say("Is a share of all steps, whose number isn't known yet: set warmup_steps."))


def _pictures(reading: Reading) -> None:
    """One side for `512,768`: that of the square of about the same area."""
    theirs = "max_resolution" if reading.says("max_resolution") else "resolution"
    value = reading.take("max_resolution", "resolution")
    sides = [int(side) for side in re.findall(r"\d{1,5}", str(value))][:2] if value else []
    if len(set(sides)) == 1:
        reading.put("resolution", sides[0], theirs)
    elif sides:
        reading.put("resolution", STEP * max(1, round(math.sqrt(sides[0] * sides[1]) / STEP)), theirs, say("A square of about the same area."))
    if reading.given.get("keep_tokens") not in (*([], "", None), 0, "0") and not reading.on("shuffle_caption"):
        reading.done.add("keep_tokens")
        reading.leave("keep_tokens", say("Only acts together with shuffle_caption."))
    reading.done.discard("shuffle_caption")


def _prompts(reading: Reading) -> None:
    """Prompts to draw, a line each, without the flags behind them."""
    theirs = "positive_prompts" if reading.says("positive_prompts") else "sample_prompts"
    value = reading.take("positive_prompts", "sample_prompts")
    lines = [line.strip() for line in (value if isinstance(value, list) else str(value or "").splitlines()) if isinstance(line, str)]
    lines = [line for line in lines if line and not line.startswith("#")]
    if len(lines) == 1 and re.search(r"\.(txt|toml|json)$", lines[0]):
        reading.leave(theirs, table.reasons()["train_data_dir"])
    elif lines:
        bare = [FLAGS.sub("", line) for line in lines]
        reading.put("sample_prompts", bare, theirs, say("Without what follows --.") if bare != lines else "")


def _rest(reading: Reading) -> None:
    """Settings that only have another name here, and those that have no counterpart."""
    reasons = table.reasons()
    multires = str(reading.take("noise_offset_type") or "").lower()
    unused = {"original": r"multires_|$", "multires": r"noise_offset|adaptive_noise"}.get(multires, "$")
    for key, value in reading.given.items():
        off = str(value).lower() in ("0", "0.0", "false", "none")
        by_flow = key in table.FOR_FLOW and (not reading.family or reading.family in table.BY_DIFFUSION)
        if key == "prior_loss_weight" and not reading.says("reg_data_dir"):
            continue  # nothing is weighed
        if key in reading.done or value in ("", None, []) or by_flow or (unused != "$" and re.match(unused, key)):
            continue
        if ours := table.RENAMED.get(key):
            default = Config.model_fields[ours].default if ours in Config.model_fields else None
            if not off or (default and key not in table.ZERO_IS_UNSET and (key, reading.made.program) != ("seed", "kohya_ss")):
                reading.put(ours, value, key)
        elif not (off or key in table.SILENT or str(value) == str(table.NEUTRAL.get(key))):
            reading.leave(key, reasons.get(key, say("There is no such setting here.")))


def _unsaid(reading: Reading) -> None:
    """What the other program does where the file is silent."""
    if not _is_whole(reading):
        return
    for key, (ours, value) in table.DEFAULTS.items():
        elsewhere = key in table.OF_THE_DATA and reading.says("dataset_config")
        by_form = reading.made.program == "kohya_ss" and key != "network_alpha"  # a form fills all in
        if ours in reading.made.settings or reading.says(key) or elsewhere or by_form or (ours == "max_steps" and "epochs" in reading.made.settings):
            continue
        reading.put(ours, value, key)
        reading.made.adapted.append(_assumed(reading, key, str(value).lower()))


def _is_whole(reading: Reading) -> bool:
    """Whether the file is all that the other program goes by. SD-Trainer's templates, which have a version, only hold what they change."""
    template = reading.says("version") and not reading.says("model_train_type")
    return not template and any(reading.says(key) for key in TRAINS)


def _fit(reading: Reading) -> None:
    """Leave out what means nothing for the family, and what can't be used."""
    if reading.family in families.FAMILIES and OPTIONAL & reading.made.settings.keys():
        family = families.get(reading.family)
        for ours in sorted(OPTIONAL & reading.made.settings.keys() - family.settings):
            reading.drop(ours, say("Means nothing for {family}.", family=family.title))
    reading.check()


def _assumed(reading: Reading, key: str, value: str) -> Note:
    return Note(key, value, say("Isn't in the file; {program} does this then.", program=reading.made.program))


def _flags(text: Any) -> dict[str, Any]:
    """`--name value --switch`, as kohya_ss takes more of them in one text."""
    words = re.findall(r"""(?:"[^"]*"|'[^']*'|[^\s"'])+""", text) if isinstance(text, str) else []
    found: dict[str, Any] = {}
    key = ""
    for word in words:
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            found[key.lower()[:80]] = value.strip("\"'") if equals else True
        elif key:
            found[key.lower()[:80]] = word.strip("\"'")
    return found


def _arguments(reading: Reading, *keys: str) -> Iterator[tuple[str, str]]:
    """`["conv_dim=8", …]`, or the same in one text."""
    for key in keys:
        value = reading.take(key)
        words = value if isinstance(value, list) else re.sub(r",\s+", ",", str(value or "")).split()
        for word in words:
            name, equals, text = str(word).partition("=")
            if equals:
                yield name.strip().lower()[:80], text.strip().strip("\"'")
