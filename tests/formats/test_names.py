import pytest

from .sd import NAMES

LAYERS = [
    (
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k",
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k",
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k",
    ),
    (
        "unet.up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_out.0",
        "unet.up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_out.0",
        "lora_unet_up_blocks_1_attentions_2_transformer_blocks_0_attn2_to_out_0",
    ),
    ("unet.up_blocks.0.resnets.1.time_emb_proj", "unet.up_blocks.0.resnets.1.time_emb_proj", "lora_unet_up_blocks_0_resnets_1_time_emb_proj"),
    ("unet.conv_in", "unet.conv_in", "lora_unet_conv_in"),
    (
        "text_encoder.encoder.layers.11.self_attn.q_proj",
        "text_encoder.text_model.encoder.layers.11.self_attn.q_proj",
        "lora_te_text_model_encoder_layers_11_self_attn_q_proj",
    ),
]


def read(written: str, known: list[str] | None = None) -> str:
    place = NAMES.reader(known)(written)
    assert place is not None
    assert len(place.layers) == 1
    return place.layers[0]


@pytest.mark.parametrize(("layer", "diffusers", "kohya"), LAYERS)
def test_a_layer_has_a_name_in_each_program_and_finds_back(layer: str, diffusers: str, kohya: str) -> None:
    assert NAMES.in_diffusers(layer) == diffusers
    assert NAMES.in_kohya(layer) == kohya
    assert [read(written) for written in (diffusers, kohya)] == [layer, layer]
    assert [read(written, [layer]) for written in (diffusers, kohya)] == [layer, layer]


@pytest.mark.parametrize(
    ("written", "layer"),
    [
        ("text_encoder.encoder.layers.0.mlp.fc1", "text_encoder.encoder.layers.0.mlp.fc1"),
        ("text_encoder.text_model.encoder.layers.0.self_attn.to_out", "text_encoder.encoder.layers.0.self_attn.out_proj"),
        (
            "down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out",
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0",
        ),
        ("lora_te1_encoder_layers_0_self_attn_q_proj", "text_encoder.encoder.layers.0.self_attn.q_proj"),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc2", "text_encoder.encoder.layers.0.mlp.fc2"),
    ],
)
def test_what_other_versions_of_programs_write_is_understood(written: str, layer: str) -> None:
    assert read(written) == layer
    assert read(written, [layer]) == layer


def test_a_kohya_name_that_the_base_model_lacks_is_called_nothing() -> None:
    assert NAMES.reader(["unet.conv_in"])("lora_unet_conv_out") is None
