"""Where a layer sits, from its name in any program's spelling."""

import pytest

from studio.formats.blocks import place


@pytest.mark.parametrize(
    ("written", "part", "block", "sort"),
    [
        ("lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_k", "unet", "down_blocks.0", "attention"),
        ("unet.up_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj", "unet", "up_blocks.1", "feed-forward"),
        ("unet.mid_block.attentions.0.proj_in", "unet", "mid_block", "feed-forward"),
        ("lora_unet_mid_block_resnets_1_conv2", "unet", "mid_block", "convolution"),
        ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_v", "unet", "input_blocks.4", "attention"),
        ("lora_unet_middle_block_1_transformer_blocks_9_ff_net_2", "unet", "middle_block", "feed-forward"),
        ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q", "unet", "down_blocks.0", "attention"),
        ("lora_te_text_model_encoder_layers_11_mlp_fc1", "text_encoder", "layers.11", "feed-forward"),
        ("text_encoder.text_model.encoder.layers.3.self_attn.q_proj", "text_encoder", "layers.3", "attention"),
        ("lora_te2_text_model_encoder_layers_31_self_attn_k_proj", "text_encoder_2", "layers.31", "attention"),
        ("lora_te3_encoder_block_0_layer_0_SelfAttention_q", "text_encoder_3", "block.0", "attention"),
        ("lora_unet_double_blocks_18_img_attn_qkv", "transformer", "double_blocks.18", "attention"),
        ("lora_unet_double_blocks_0_img_mod_lin", "transformer", "double_blocks.0", "modulation"),
        ("lora_unet_double_blocks_0_txt_mlp_2", "transformer", "double_blocks.0", "feed-forward"),
        ("lora_unet_single_blocks_37_linear1", "transformer", "single_blocks.37", "feed-forward"),
        ("transformer.single_transformer_blocks.7.attn.to_q", "transformer", "single_transformer_blocks.7", "attention"),
        ("transformer.transformer_blocks.7.ff_context.net.2", "transformer", "transformer_blocks.7", "feed-forward"),
        ("lora_unet_joint_blocks_23_x_block_attn_qkv", "transformer", "joint_blocks.23", "attention"),
        ("diffusion_model.layers.5.attention.qkv", "transformer", "layers.5", "attention"),
        ("base_model.model.model.layers.0.self_attn.q_proj", "transformer", "layers.0", "attention"),
        ("lora_unet_time_embedding_linear_1", "unet", "", "other"),
    ],
)
def test_a_name_tells_part_block_and_sort(written: str, part: str, block: str, sort: str):
    assert place(written) == (part, block, sort)
