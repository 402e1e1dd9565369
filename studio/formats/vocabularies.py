"""What the layers of each family are called in other programs' files."""

from studio.formats.names import Names

SD = Names(
    kohya={"unet": "lora_unet", "text_encoder": "lora_te"},
    inserted={"text_encoder": "text_model."},
    words=(
        *("down_blocks", "mid_block", "up_blocks", "transformer_blocks", "to_q", "to_k", "to_v", "to_out", "proj_in", "proj_out"),
        *("time_emb_proj", "conv_shortcut", "conv_in", "conv_out", "time_embedding", "linear_1", "linear_2"),
        *("text_model", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj"),
    ),
    also={"lora_te1": "text_encoder"},
    older={
        "unet": {"to_out": "to_out.0"},
        "text_encoder": {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"},
    },
    apart=("resnets", "downsamplers", "upsamplers"),
)

SDXL = Names(
    kohya={"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
    inserted={"text_encoder": "text_model."},
    words=SD.words,
    older=SD.older,
    apart=SD.apart,
)
