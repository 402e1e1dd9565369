"""From facts to settings: a table of cases, each with the values it must give and the facts that their reasons must name."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio import families, fields
from studio.config import OPTIONAL, Config
from studio.data.examples import Example
from studio.events import Started, Validated
from studio.fields import Given
from studio.language import speaking
from studio.pocket import SAMPLES
from studio.runs import run as shelf
from studio.runs.advice.facts import Base, Facts, Machine, Pictures, Recommendation, base_of, gather, pictures_of
from studio.runs.advice.lessons import Lesson
from studio.runs.advice.recommend import about, config, notes, recommend

SD = Base("sd", "Stable Diffusion 1.x / 2.x", 512, 64, 77, OPTIONAL)
SD2 = replace(SD, resolution=768)
SDXL = Base("sdxl", "Stable Diffusion XL", 1024, 64, 77, OPTIONAL, {"resolution": 1024})
FLUX = Base("flux", "FLUX.1", 1024, 64, 512, frozenset(), {"resolution": 1024})
STRANGE = Base("strange", "Strange", 256, 32, 77, frozenset(), {"resolution": 256, "learning_rate": 3e-4, "noise_offset": 0.1, "weight_decay": 0.1})
POCKET = Base("pocket", "Stable Diffusion 1.x / 2.x", 64, 16, 24, OPTIONAL)
CPU = Machine("cpu", "cpu x86_64", 6.0, 8.0, "no")


def card(size: float, precision: str = "bf16", taken: float = 0.6) -> Machine:
    return Machine("cuda", f"Card {size}", size - taken, size, precision)


def pictures(count: int, *sizes: tuple[int, int], **more: Any) -> Pictures:
    shapes = sizes or ((1024, 1024),)
    shares = [count // len(shapes) + (index < count % len(shapes)) for index in range(len(shapes))]
    prompts = ("a fox", "a hen", "an owl")
    rows = tuple((*size, share) for size, share in zip(shapes, shares, strict=True))
    return replace(Pictures(count, rows, count, prompts=prompts), **more)


def lesson(how: Any, step: int = 300, **settings: Any) -> Lesson:
    given = {"base_model": "x", "train_data_dir": ".", **settings}
    return Lesson("EXP-20261124-02", how, step, fields.build({key: Given(value, "") for key, value in given.items()}), "It broke.")


def named(given: Sequence[Recommendation]) -> dict[str, Recommendation]:
    return {one.key: one for one in given}


CASES: dict[str, tuple[Facts, dict[str, Any], dict[str, str]]] = {
    "8 pictures, 12 GB": (
        Facts(pictures(8), SD, card(12)),
        {"resolution": 512, "batch_size": 2, "gradient_accumulation_steps": 2, "lora_rank": 4, "lora_alpha": 4, "learning_rate": 1e-4}
        | {"epochs": 20, "num_repeats": 9, "validation_split": 0.0, "validation_steps": 0, "lora_dropout": 0.1, "caption_dropout": 0.1},
        {"epochs": "8", "validation_split": "8 pictures are too few", "batch_size": "24 GB", "lora_rank": "12 GB", "learning_rate": "8 pictures"},
    ),
    "40 pictures, 6 GB": (
        Facts(pictures(40), SD, card(6.4)),
        {"resolution": 512, "batch_size": 2, "lora_rank": 4, "epochs": 18, "num_repeats": 2, "validation_split": 0.1, "warmup_steps": 32}
        | {"mixed_precision": "bf16", "lora_targets": ["attention"], "snr_gamma": 5.0, "lr_scheduler": "cosine", "learning_rate": 1e-4},
        {"lora_rank": "6 GB", "validation_split": "4 of 40", "warmup_steps": "324 steps", "batch_size": "5.8 free"},
    ),
    "40 pictures, 6 GB that another program has half of": (
        Facts(pictures(40), SD, card(6.4, taken=2.6)),
        {"batch_size": 2, "gradient_accumulation_steps": 2, "gradient_checkpointing": True, "resolution": 512},
        {"gradient_checkpointing": "3.8 are free", "batch_size": "of 3.8 free"},
    ),
    "40 pictures, 8 GB, no bf16": (
        Facts(pictures(40), SD, card(8.6, "fp16")),
        {"mixed_precision": "fp16", "lora_rank": 8, "batch_size": 2},
        {"mixed_precision": "Card 8.6 has no bf16", "lora_rank": "9 GB"},
    ),
    "100 pictures, 24 GB": (
        Facts(pictures(100), SD, card(25.4)),
        {"batch_size": 4, "gradient_accumulation_steps": 1, "lora_rank": 16, "epochs": 12, "num_repeats": 1, "gradient_checkpointing": False}
        | {"lora_targets": ["attention", "feed-forward"], "caption_dropout": 0.05, "lora_dropout": 0.0},
        {"epochs": "100", "lora_rank": "100", "lora_targets": "100"},
    ),
    "500 pictures, 24 GB": (
        Facts(pictures(500), SD, card(25.4)),
        {"epochs": 10, "lora_rank": 16, "validation_split": 0.064, "save_steps": 150, "validation_steps": 50, "sample_steps": 150},
        {"validation_split": "32 of 500", "save_steps": "1170 steps", "sample_prompts": "Captions of the set"},
    ),
    "5000 pictures, 80 GB": (
        Facts(pictures(5000), SD, card(85)),
        {"epochs": 4, "batch_size": 8, "lora_rank": 32, "validation_split": 0.006, "warmup_steps": 100},
        {"batch_size": "84.4 free", "epochs": "5000"},
    ),
    "pocket on a CPU": (
        Facts(pictures(40), POCKET, CPU),
        {"resolution": 64, "learning_rate": 2e-3, "max_steps": 190, "batch_size": 16, "lora_rank": 8, "conv_rank": 8, "weight_decay": 1e-4}
        | {"mixed_precision": "no", "lr_scheduler": "linear", "random_flip": True, "warmup_steps": 19, "save_steps": 25, "sample_steps": 50},
        {"learning_rate": "small model", "max_steps": "40 pictures", "mixed_precision": "CPU"},
    ),
    "Stable Diffusion on a CPU": (
        Facts(pictures(40), SD, CPU),
        {"batch_size": 1, "gradient_accumulation_steps": 1, "max_steps": 200, "sample_steps": 0, "train_text_encoder": False},
        {"max_steps": "CPU", "sample_steps": "CPU"},
    ),
    "tags with a coined trigger": (
        Facts(pictures(40, tagged=True, trigger="ohwx", triggered=39, coined=True), SD, card(25.4)),
        {"shuffle_tags": True, "keep_tokens": 1, "train_text_encoder": True, "text_encoder_lr": 2e-5},
        {"keep_tokens": "ohwx is in 39 of 40", "train_text_encoder": "ohwx", "sample_prompts": "ohwx"},
    ),
    "sentences that speak of sides": (
        Facts(pictures(40, sided=("face", "left")), POCKET, CPU),
        {"shuffle_tags": False, "random_flip": False},
        {"random_flip": "face, left", "shuffle_tags": "sentences"},
    ),
    "small pictures": (
        Facts(pictures(60, (400, 400), (400, 400), (800, 800)), SD, card(12)),
        {"resolution": 384},
        {"resolution": "40 of 60 pictures are smaller than 512"},
    ),
    "some small pictures": (
        Facts(pictures(60, (400, 400), (800, 800), (900, 800)), SD, card(12)),
        {"resolution": 512},
        {"resolution": "20 of 60 pictures are smaller"},
    ),
    "each picture of its own shape": (
        Facts(pictures(8, *((round(1000 * 1.2**index), 1000) for index in range(-4, 4))), SD, card(12)),
        {"batch_size": 1, "gradient_accumulation_steps": 4, "enable_bucket": True},
        {"enable_bucket": "6 shapes", "batch_size": "at most 1 have"},
    ),
    "no captions": (
        Facts(pictures(40, captioned=0, prompts=()), SD, card(12)),
        {"missing_captions": "empty", "caption_dropout": 0.0},
        {"missing_captions": "No picture has a caption"},
    ),
    "some without a caption, one unreadable": (
        Facts(pictures(40, captioned=36, unreadable=1), SD, card(12)),
        {"missing_captions": "skip", "bad_images": "skip"},
        {"missing_captions": "4 of 40", "bad_images": "1"},
    ),
    "most without a caption": (
        Facts(pictures(40, captioned=10), SD, card(12)),
        {"missing_captions": "empty", "epochs": 18},
        {"missing_captions": "30 of 40", "epochs": "40"},
    ),
    "SD 2 at 768, 12 GB": (Facts(pictures(40), SD2, card(12.9)), {"resolution": 768, "batch_size": 2}, {"batch_size": "24 GB"}),
    "SDXL, 12 GB": (
        Facts(pictures(40, (1200, 1200)), SDXL, card(12.9)),
        {"resolution": 1024, "batch_size": 2, "gradient_checkpointing": True, "train_text_encoder": False},
        {"gradient_checkpointing": "12.3 are free"},
    ),
    "SDXL, 6 GB": (
        Facts(pictures(40, (1200, 1200)), SDXL, card(8.2)),
        {"resolution": 768, "gradient_checkpointing": True, "batch_size": 1},
        {"resolution": "1024 would take about 7.4 GB, 7.6 are free"},
    ),
    "FLUX.1, 80 GB": (
        Facts(pictures(40, (1200, 1200)), FLUX, card(85)),
        {"resolution": 1024, "batch_size": 1, "gradient_accumulation_steps": 4, "gradient_checkpointing": False},
        {"batch_size": "56.8 GB of 84.4 free"},
    ),
    "FLUX.1, 24 GB": (
        Facts(pictures(40, (1200, 1200)), FLUX, card(25.3)),
        {"load_in": "8bit", "resolution": 1024, "batch_size": 2, "gradient_checkpointing": True},
        {"load_in": "In 16 bits at least 25.4 GB", "gradient_checkpointing": "24.7 are free"},
    ),
    "FLUX.1, 12 GB": (
        Facts(pictures(40, (1200, 1200)), FLUX, card(12.9)),
        {"load_in": "4bit", "resolution": 1024, "gradient_checkpointing": True},
        {"load_in": "bitsandbytes"},
    ),
    "a family without a row": (
        Facts(pictures(40), STRANGE, card(25.4)),
        {"learning_rate": 3e-4, "resolution": 256, "weight_decay": 0.1},
        {"weight_decay": "Strange"},
    ),
    "an earlier run over-fitted": (
        Facts(pictures(40), SD, card(25.4), (lesson("over-fitted", 60, lora_rank=8, lora_dropout=0.1, batch_size=4),)),
        {"lora_rank": 4, "lora_alpha": 4, "lora_dropout": 0.2, "epochs": 9, "num_repeats": 1},
        dict.fromkeys(("lora_rank", "epochs", "lora_dropout"), "tried in EXP-20261124-02: over-fitted after step 60"),
    ),
    "the pocket model over-fitted": (
        Facts(pictures(40), POCKET, CPU, (lesson("over-fitted", 100, batch_size=16, lora_rank=8),)),
        {"max_steps": 125, "lora_rank": 4},
        {"max_steps": "tried in EXP-20261124-02: over-fitted after step 100"},
    ),
    "the pocket model over-fitted almost at once": (
        Facts(pictures(40), POCKET, CPU, (lesson("over-fitted", 10, batch_size=4, lora_rank=8),)),
        {"max_steps": 47},
        {"max_steps": "over-fitted after step 10"},
    ),
    "an earlier run over-fitted later than this one ends": (
        Facts(pictures(40), SD, card(25.4), (lesson("over-fitted", 3000, lora_rank=64, batch_size=4),)),
        {"lora_rank": 8, "epochs": 18, "num_repeats": 2},
        {"epochs": "tried in EXP-20261124-02: over-fitted after step 3000"},
    ),
    "an earlier run diverged": (
        Facts(pictures(40), SD, card(25.4), (lesson("diverged", 12, learning_rate=1e-4),)),
        {"learning_rate": 3.3e-5},
        {"learning_rate": "Not 0.0001: tried in EXP-20261124-02: diverged after step 12"},
    ),
    "an earlier run diverged at its first step": (
        Facts(pictures(40), POCKET, CPU, (lesson("diverged", 0, learning_rate=3e-3),)),
        {"learning_rate": 1e-3},
        {"learning_rate": "tried in EXP-20261124-02: diverged at once"},
    ),
    "an earlier run had too little memory": (
        Facts(pictures(40), SD, card(12), (lesson("memory", 0, batch_size=2, resolution=512),)),
        {"batch_size": 1, "gradient_accumulation_steps": 4, "gradient_checkpointing": False, "resolution": 512},
        {"batch_size": "Not 2: tried in EXP-20261124-02: out of memory"},
    ),
    "two earlier runs had too little memory": (
        Facts(pictures(40), SD, card(12), (lesson("memory", 0, batch_size=1, resolution=512), lesson("memory", 0, batch_size=2, resolution=512))),
        {"batch_size": 1, "gradient_checkpointing": True},
        {"gradient_checkpointing": "tried in EXP-20261124-02: out of memory"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_facts_give_values_with_reasons_that_name_them(name: str):
    facts, values, reasons = CASES[name]
    given = named(recommend(facts))
    assert {key: given[key].value for key in values} == values
    assert {key: given[key].reason for key, part in reasons.items() if part not in given[key].reason} == {}


@pytest.mark.parametrize("name", CASES)
def test_what_is_recommended_is_complete_and_can_be_trained(name: str):
    facts, *_ = CASES[name]
    given = recommend(facts)
    made = config(Config(base_model="x", train_data_dir=Path()), given)
    assert {"resolution", "lora_rank", "batch_size", "learning_rate", "lr_scheduler", "warmup_steps", "save_steps"} <= made.model_fields_set
    assert {one.key for one in given} & OPTIONAL <= facts.base.settings
    assert [one.key for one in given if not one.reason or "\n" in one.reason] == []
    assert {"epochs", "max_steps"} & made.model_fields_set


@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_family_gets_only_what_means_something_for_it(name: str):
    family = families.get(name)
    for size in (512, 1024):
        base = Base(name, family.title, size, 64, 77, family.settings, family.defaults)
        for machine in (CPU, card(8.6), card(85)):
            given = recommend(Facts(pictures(40), base, machine))
            assert {one.key for one in given} & OPTIONAL <= family.settings
            config(Config(base_model="x", train_data_dir=Path()), given)


def test_what_no_setting_mends_is_said_beside():
    facts = Facts(pictures(40, faults=2, trigger="ohwx", triggered=38, cut_off=3), FLUX, card(8.2), (lesson("failed"),))
    said = "\n".join(notes(facts, recommend(facts)))
    assert "2 faults" in said
    assert "ohwx is missing in 2 captions" in said
    assert "3 captions are longer than the 512 tokens" in said
    assert "it may not fit" in said
    assert "EXP-20261124-02: failed (It broke.)" in said


def test_the_sample_set_is_seen_as_it_is_and_its_earlier_runs_are_known():
    given = Config(base_model="pocket", train_data_dir=SAMPLES / "gameboy")
    run = shelf.create(given.model_copy(update={"family": "sd", "batch_size": 16}))
    run.log([Started(step=0, steps=300)])
    run.log([Validated(step=20 * number, loss=0.1 + 0.01 * abs(number - 4)) for number in range(12)])
    run.update(status="finished")
    facts = gather(given, base_of(given), shelf.listed())
    assert (facts.pictures.count, facts.pictures.captioned, facts.pictures.sizes) == (40, 40, ((256, 256, 40),))
    assert (facts.base.kind, facts.base.resolution, facts.base.step, facts.machine.device) == ("pocket", 64, 16, "cpu")
    assert facts.machine.total > facts.machine.free > 0.1
    found = named(recommend(facts))
    assert f"tried in {run.id}: over-fitted after step 80" in found["max_steps"].reason
    assert found["max_steps"].value == 100
    with speaking("zh"):
        assert f"{run.id}" in (reason := named(recommend(facts))["max_steps"].reason)
        assert "过拟合" in reason
        assert "40" in about(facts)


def test_captions_are_read_for_what_settings_depend_on():
    def seen(*captions: str) -> Pictures:
        return pictures_of([Example(Path(f"{n}.png"), f"{n}.png", "", (300, 200), text) for n, text in enumerate(captions)], tokens=20)

    tagged = seen(
        *(f"ohwx, 1girl, {colour} hair, long sleeves" for colour in ("red", "blue", "black", "white", "green")), "tree, sky, cloud, hill", ""
    )
    assert (tagged.count, tagged.captioned, tagged.usable, tagged.sizes) == (7, 6, 6, ((300, 200, 7),))
    assert (tagged.tagged, tagged.trigger, tagged.sided) == (True, "", ("1girl",))
    tagged = seen(*(f"ohwx, {colour} hair, long sleeves" for colour in ("red", "blue", "black", "white", "green")))
    assert (tagged.trigger, tagged.triggered, tagged.coined, tagged.prompts[-1]) == ("ohwx", 5, True, "ohwx")
    told = seen(*(f"Anna walks past house number {number}" for number in range(5)), "Anna " + "and then " * 20)
    assert (told.tagged, told.trigger, told.coined, told.cut_off) == (False, "Anna", False, 1)
