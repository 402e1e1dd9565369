"""Settings as people write them: YAML and flags, what they mean, and what is said when they mean nothing."""

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from studio import fields
from studio.config import Config, unusual
from studio.errors import InputError
from studio.fields import Given

PICTURES = """\
train_data_dir: "./data/style_train"
metadata_path: "./data/style_train/metadata.csv"
base_model: "./models/Stable-diffusion/v1-5-pruned.safetensors"
lora_rank: 8
batch_size: 4
epochs: 10
learning_rate: 2e-4
output_dir: "./output/my_style_lora"
save_steps: 100
"""
TEXTS = """\
base_model: "./models/llama-2-7b-chat.Q4_0.gguf"
task_type: "text-generation"      # also: image-generation; the short forms sd and llm mean the same
train_data_dir: "./data/llm_train"
lora_rank: 8
lora_alpha: 16                    # network_alpha is the same setting
lora_dropout: 0.1
"""
NEEDED = "base_model: pocket\ntrain_data_dir: pictures\n"
NUMBERS = (True, 0, 1, 2, 64, 0.0, 0.25, 1e-05, 2e4)
SAMPLES = (*NUMBERS, "a", "a: b # c", ["1", "no"], {"*.to_q": 2}, "dora", "sd", "skip", "linear", "bf16", "epsilon", "uniform", "adamw", "4bit")
TOGETHER = {
    "keep_tokens": {"shuffle_tags": True},
    "text_encoder_lr": {"train_text_encoder": True},
    "lokr_factor": {"adapter": "lokr"},
    "unmasked_weight": {"masked_loss": True},
}
CHARACTERS = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.fixture
def my(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write my.yaml and build it."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes, *flags: str) -> Config:
        Path("my.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return fields.build(fields.read_yaml(Path("my.yaml")), fields.read_flags(list(flags)))

    return write


def refused(my, text: str | bytes, *flags: str) -> str:
    began = time.monotonic()
    with pytest.raises(InputError) as caught:
        my(text, *flags)
    assert time.monotonic() - began < 1
    return caught.value.what


def test_the_settings_of_a_picture_run(my):
    config = my(PICTURES)
    assert (config.lora_rank, config.batch_size, config.epochs, config.save_steps) == (8, 4, 10, 100)
    assert config.learning_rate == 2e-4
    assert config.output_dir == Path("output/my_style_lora")


def test_the_settings_of_a_text_run(my):
    config = my(TEXTS)
    assert (config.task_type, config.lora_alpha, config.lora_dropout) == ("text-generation", 16, 0.1)


@pytest.mark.parametrize(("short", "long"), [("sd", "image-generation"), ("llm", "text-generation")])
def test_short_names_of_tasks(my, short, long):
    assert my(NEEDED + f"task_type: {short}\n").task_type == long


def test_alpha_is_the_rank_when_absent(my):
    assert my(NEEDED + "lora_rank: 8\n").alpha == 8


def test_network_alpha_is_lora_alpha(my):
    assert my(NEEDED + "network_alpha: 4\n").lora_alpha == 4
    assert "network_alpha: is the same setting as lora_alpha" in refused(my, NEEDED + "network_alpha: 4\nlora_alpha: 4\n")


def test_an_unknown_setting_is_named_with_its_line_and_what_was_meant(my):
    text = NEEDED + "epochs: 1\nlora_rank: 8\nseed: 1\nbatch_size: 1\nlearning_rte: 1e-4\n"
    assert refused(my, text) == "my.yaml:7: learning_rte: unknown setting; did you mean learning_rate?"


def test_all_errors_come_at_once(my):
    said = refused(my, NEEDED + "lora_rank: 8.5\nepochs: no\nlearning_rate: -1\nrnak: 4\n", "--seed", "x")
    assert [line.split(": ")[0:2] for line in said.splitlines()] == [
        ["--seed", "seed"],
        ["my.yaml:3", "lora_rank"],
        ["my.yaml:4", "epochs"],
        ["my.yaml:5", "learning_rate"],
        ["my.yaml:6", "rnak"],
    ]
    assert "must be a whole number, 1 to 1024 (got 8.5)" in said


def test_a_text_given_as_a_flag_is_taken_as_it_is(my):
    assert my(NEEDED, "--sample_prompts", "a cat: blue, #1").sample_prompts == ("a cat: blue, #1",)
    assert my(NEEDED, "--sample_prompts", "[a cat, 'a dog: red']").sample_prompts == ("a cat", "a dog: red")
    assert my(NEEDED, "--purpose=--dashes").purpose == "--dashes"


def test_ranks_by_layer_are_pairs(my):
    wanted = {"mid_block": 32, "*.to_q": 4}
    for text in ("mid_block: 32, *.to_q: 4", "mid_block: 32\n*.to_q: 4", "{mid_block: 32, '*.to_q': 4}"):
        assert my(NEEDED, "--rank_pattern", text).rank_pattern == wanted
    assert my(NEEDED + "rank_pattern:\n  mid_block: 32\n  '*.to_q': 4\n").rank_pattern == wanted
    for text in ("{mid_block: 0}", "{mid_block: 2.5}", "4", "[4]", "mid_block", "'mid_block: few'", "': 4'"):
        assert "rank_pattern: must be pairs of name: whole number, 1 to 1024 (got" in refused(my, NEEDED + f"rank_pattern: {text}\n")


def test_a_flag_without_its_value_is_named(my):
    assert refused(my, NEEDED, "--lora_rank", "--epochs", "5") == "--lora_rank: its value is missing."


def test_flags_win_over_the_file(my):
    assert my(NEEDED + "lora_rank: 8\n", "--lora_rank", "16").lora_rank == 16
    assert my(NEEDED, "--lora-rank=32").lora_rank == 32
    assert my(NEEDED, "--name", "2024").name == "2024"


@pytest.mark.parametrize("flags", [["lora_rank"], ["--lora_rank"]])
def test_a_flag_that_is_none_is_refused(my, flags):
    with pytest.raises(InputError):
        my(NEEDED, *flags)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2e-4", 2e-4), ("no", "no"), ("010", 10), ("12:30:45", "12:30:45"), ("2024-01-01", "2024-01-01"), ("~", None), ("true", True), ("yes", "yes")],
)
def test_values_are_read_as_yaml_1_2_reads_them(my, tmp_path, text, value):
    Path("value.yaml").write_text(f"key: {text}\n")
    assert fields.read_yaml(Path("value.yaml"))["key"] == Given(value, "value.yaml:1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\nseed: 2\n", "my.yaml:2: seed: is already set in line 1."),
        ("a: &x [1]\nb: *x\n", "my.yaml:1: anchors and aliases"),
        ("a: !!python/object/apply:os.system [ls]\n", "my.yaml:1: the tag"),
        ("a: " + "[" * 3000 + "]" * 3000, "my.yaml:1: is nested too deeply"),
        ("a: 1\n\tb: 2\n", "my.yaml:2: is not valid YAML"),
        ("a: 1\n---\nb: 2\n", "my.yaml:2: is nested too deeply or holds several documents"),
        ("a: " + "x" * 300_000, "is larger than 256 kB"),
        (b"a: 1\nb: \xff\xfe\n", "my.yaml:2: is not UTF-8 text."),
        ("- a\n- b\n", "my.yaml:1: is not a list of settings"),
        ("<<: {seed: 1}\n" + NEEDED, "my.yaml:1: <<: unknown setting"),
        ("seed: 1\n[a, b]: 2\n", "my.yaml:2: the name of a setting is one word."),
        ('seed: 1\nname: "\x00"\n', "my.yaml:2: is not valid YAML"),
        ("seed: 1\nepochs: {[a]: 1}\n", "my.yaml:2: is not valid YAML: found unhashable key"),
        ("seed: " + "9" * 5000 + "\n", "my.yaml:1: seed: must be a whole number"),
    ],
)
def test_files_that_are_no_settings(my, text, said):
    assert said in refused(my, text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.yaml: can't be read"):
        fields.read_yaml(tmp_path / "nowhere.yaml")


def test_an_endless_file_is_not_read_to_its_end():
    with pytest.raises(InputError, match="is larger than 256 kB"):
        fields.read_yaml(Path("/dev/zero"))


def test_what_is_written_reads_the_same(my):
    config = my(NEEDED + 'purpose: "2e-4: \\"quoted\\" # 你好"\nsample_prompts: [a cat, "1"]\nsnr_gamma: 5\n')
    assert my(fields.write_yaml(config)) == config


@pytest.mark.parametrize("name", Config.model_fields)
def test_each_setting_is_written_so_that_it_reads_the_same(name: str, tmp_path: Path):
    tried = 0
    for value in SAMPLES:
        try:
            config = Config(**{"base_model": "pocket", "train_data_dir": "pictures", **TOGETHER.get(name, {}), name: value})
        except ValidationError:
            continue
        assert read_back(config, tmp_path / "my.yaml") == config
        tried += 1
    assert tried


@settings(max_examples=50, deadline=None)
@given(purpose=CHARACTERS, prompts=st.lists(CHARACTERS), folder=CHARACTERS.filter(lambda text: "\0" not in text))
def test_any_text_is_written_so_that_it_reads_the_same(tmp_path_factory: Any, purpose: str, prompts: list[str], folder: str):
    config = Config(base_model="pocket", train_data_dir=Path(folder), purpose=purpose, sample_prompts=tuple(prompts))
    assert read_back(config, tmp_path_factory.getbasetemp() / "my.yaml") == config


def read_back(config: Config, path: Path) -> Config:
    path.write_text(fields.write_yaml(config), encoding="utf-8", newline="")
    return fields.build(fields.read_yaml(path))


def test_every_setting_has_its_help_and_its_row():
    table = fields.table()
    names = [name for _, name, _ in fields.settings()]
    assert names == sorted(Config.model_fields, key=names.index)
    assert all(field.description and f"| `{name}` |" in table for _, name, field in fields.settings())


def test_settings_that_only_mean_something_together(my):
    assert refused(my, NEEDED + "keep_tokens: 2\n") == "my.yaml:3: keep_tokens: only means something together with shuffle_tags: true."
    assert refused(my, NEEDED + "lokr_factor: 4\n") == "my.yaml:3: lokr_factor: only means something together with adapter: lokr."
    assert refused(my, NEEDED, "--text_encoder_lr", "1e-5").startswith("--text_encoder_lr: text_encoder_lr: only means something together")


def test_values_far_from_use_are_said(my):
    assert "learning_rate: 1000 is unusual" in unusual(my(NEEDED + "learning_rate: 1e3\n"))[0]


@pytest.mark.parametrize("name", ["a/b", "..", "-rf", "a\x00b", "x" * 65, " "])
def test_names_that_are_no_file_names(my, name):
    with pytest.raises(InputError):
        fields.build({key: Given(value, key) for key, value in {"base_model": "pocket", "train_data_dir": "x", "name": name}.items()})
