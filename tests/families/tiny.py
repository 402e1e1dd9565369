"""Small models of random numbers, some 100 kB each, one of every kind; 16 × 16 pixels."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from tokenizers import pre_tokenizers

from studio.families import POCKET

TOKENS = 1234  # the pocket model's tokenizer
SPECIAL = {"vocab_size": TOKENS, "bos_token_id": TOKENS - 2, "eos_token_id": TOKENS - 1, "pad_token_id": TOKENS - 1}

T5_WORDS = (
    "<pad>",
    "</s>",
    "<unk>",
    *(f"▁{word}" for word in ["a", "the", "red", "blue", "apple", "car", "green", "tree", "cat", "dog", "face"]),
    *"▁abcdefghijklmnopqrstuvwxyz",
)

# Every byte is a token, and the turns of a conversation are marked as Qwen marks them.
QWEN_TOKENS = (*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
QWEN_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)

MISTRAL_TOKENS = (*sorted(pre_tokenizers.ByteLevel.alphabet()), "<s>", "<pad>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]")
MISTRAL_CHAT = (
    "<s>{% for message in messages %}{% set mark = 'SYSTEM_PROMPT' if message.role == 'system' else 'INST' %}"
    "[{{ mark }}]{{ message.content[0].text }}[/{{ mark }}]{% endfor %}"
)


def sd(folder: Path) -> Path:
    """Write a Stable Diffusion 2 below `folder` in the layout of diffusers."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    with torch.random.fork_rng():
        torch.manual_seed(7)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=[2, 4],
            use_linear_projection=True,
            norm_num_groups=4,
        )
        models = {"unet": unet, "vae": _vae(), "text_encoder": CLIPTextModel(_clip(16))}
    return _write(folder, models, "StableDiffusionPipeline")


def sdxl(folder: Path) -> Path:
    """Write an SDXL below `folder`: two text encoders of different widths, told sizes and crops."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    with torch.random.fork_rng():
        torch.manual_seed(8)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2),
            cross_attention_dim=40,
            attention_head_dim=[2, 4],
            use_linear_projection=True,
            norm_num_groups=4,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24 + 6 * 8,
        )
        second = CLIPTextModelWithProjection(_clip(24))
        models = {"unet": unet, "vae": _vae(), "text_encoder": CLIPTextModel(_clip(16)), "text_encoder_2": second}
    return _write(folder, models, "StableDiffusionXLPipeline")


def sd3(folder: Path, t5: bool = True, sample_size: int = 8) -> Path:
    """Write a Stable Diffusion 3.5 below `folder`: two kinds of attention, two CLIPs, and T5 unless it is left out."""
    from diffusers import SD3Transformer2DModel
    from transformers import CLIPTextModelWithProjection

    with torch.random.fork_rng():
        torch.manual_seed(9)
        transformer = SD3Transformer2DModel(
            sample_size=sample_size,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=48,
            caption_projection_dim=16,
            pooled_projection_dim=16 + 24,
            pos_embed_max_size=sample_size,
            dual_attention_layers=(0,),
            qk_norm="rms_norm",
        )
        _noisy(transformer)
        clips = {"text_encoder": CLIPTextModelWithProjection(_clip(16)), "text_encoder_2": CLIPTextModelWithProjection(_clip(24))}
        models = {"transformer": transformer, "vae": _vae(flow=True), **clips} | ({"text_encoder_3": _t5(48)} if t5 else {})
    return _write(folder, models, "StableDiffusion3Pipeline", {"shift": 3.0})


def flux(folder: Path, guided: bool = True) -> Path:
    """Write a FLUX.1 below `folder`: dev, or schnell where it isn't guided."""
    from diffusers import FluxTransformer2DModel
    from transformers import CLIPTextModel

    with torch.random.fork_rng():
        torch.manual_seed(10)
        transformer = FluxTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=16,
            guidance_embeds=guided,
            axes_dims_rope=(2, 2, 4),
        )
        _noisy(transformer)
        models = {"transformer": transformer, "vae": _vae(flow=True), "text_encoder": CLIPTextModel(_clip(16)), "text_encoder_2": _t5(32)}
    return _sized(_write(folder, models, "FluxPipeline", {"shift": 3.0, "use_dynamic_shifting": guided}))


def z_image(folder: Path, turbo: bool = False) -> Path:
    """Write a Z-Image below `folder`, or its Turbo."""
    from diffusers import ZImageTransformer2DModel

    with torch.random.fork_rng():
        torch.manual_seed(11)
        transformer = ZImageTransformer2DModel(
            in_channels=4,
            dim=16,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=24,
            axes_dims=[4, 2, 2],
            axes_lens=[600, 16, 16],
        )
        _noisy(transformer)
        models = {"transformer": transformer, "vae": _vae(flow=True), "text_encoder": _qwen3(24)}
    return _sized(_write(folder, models, "ZImagePipeline", {"shift": 3.0 if turbo else 6.0}))


def flux2(folder: Path, klein: bool = False, distilled: bool = False) -> Path:
    """Write a FLUX.2 below `folder`: dev, or klein, which a smaller language model tells."""
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    with torch.random.fork_rng():
        torch.manual_seed(13)
        transformer = Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=3 * 16,
            timestep_guidance_channels=8,
            guidance_embeds=not klein,
            axes_dims_rope=(2, 2, 2, 2),
        )
        _noisy(transformer)
        vae = AutoencoderKLFlux2(block_out_channels=(8, 8), layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=16, **blocks)
        vae.bn.running_mean.normal_(0, 0.3)
        vae.bn.running_var.uniform_(0.3, 2)
        models = {"transformer": transformer, "vae": vae, "text_encoder": _qwen3(16, layers=28) if klein else _mistral3(16)}
    index = {"is_distilled": distilled} if klein else {}
    name = "Flux2KleinPipeline" if klein else "Flux2Pipeline"
    return _sized(_write(folder, models, name, {"shift": 3.0, "use_dynamic_shifting": True}, index))


def qwen_image(folder: Path) -> Path:
    """Write a Qwen-Image below `folder`."""
    from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel

    with torch.random.fork_rng():
        torch.manual_seed(12)
        transformer = QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=24,
            axes_dims_rope=(2, 2, 4),
        )
        _noisy(transformer)
        scales = {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [0.5, 1.5, 1.0, 0.8]}
        vae = AutoencoderKLQwenImage(base_dim=8, z_dim=4, dim_mult=[1, 1], num_res_blocks=1, temperal_downsample=[False], **scales)
        models = {"transformer": transformer, "vae": vae, "text_encoder": _qwen25_vl(24)}
    shift = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 0.9, "max_image_seq_len": 8192, "shift_terminal": 0.02}
    return _sized(_write(folder, models, "QwenImagePipeline", shift))


def _sized(folder: Path) -> Path:
    """Real configurations say nothing of the size, which is 128."""
    path = folder / "transformer/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sample_size": 8}), encoding="utf-8")
    return folder


def _noisy(model: Any) -> None:
    """Some of a fresh transformer's layers are zero, so that most others would have no say."""
    for parameter in model.parameters():
        if not parameter.any():
            parameter.data.normal_(0, 0.1)


def _vae(flow: bool = False) -> Any:
    from diffusers import AutoencoderKL

    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    others = {"scaling_factor": 0.5, "shift_factor": 0.1, "use_quant_conv": False, "use_post_quant_conv": False} if flow else {}
    return AutoencoderKL(block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, sample_size=16, **blocks, **others)


def _clip(width: int) -> Any:
    from transformers import CLIPTextConfig

    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "projection_dim": width}
    return CLIPTextConfig(num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=24, **sizes, **SPECIAL)


def _mistral3(width: int) -> Any:
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    sizes = {"hidden_size": width, "intermediate_size": width, "num_attention_heads": 2, "head_dim": 8}
    text = {"model_type": "mistral", "vocab_size": len(MISTRAL_TOKENS), "num_hidden_layers": 31, "num_key_value_heads": 1, **sizes}
    sight = {"model_type": "pixtral", "num_hidden_layers": 1, "image_size": 28, "patch_size": 14, **sizes}
    return Mistral3ForConditionalGeneration(Mistral3Config(text_config=text, vision_config=sight)).eval()


def _mistral_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    known = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(MISTRAL_TOKENS)}, merges=[]))
    known.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    marks = {"bos_token": "<s>", "pad_token": "<pad>", "additional_special_tokens": list(MISTRAL_TOKENS[-4:])}
    made = PreTrainedTokenizerFast(tokenizer_object=known, padding_side="left", chat_template=MISTRAL_CHAT, **marks)
    made.save_pretrained(folder)


def _qwen3(width: int, layers: int = 3) -> Any:
    from transformers import Qwen3Config, Qwen3Model

    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "head_dim": 8, "num_attention_heads": 2, "num_key_value_heads": 1}
    return Qwen3Model(Qwen3Config(vocab_size=len(QWEN_TOKENS), num_hidden_layers=layers, **sizes)).eval()


def _qwen25_vl(width: int) -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 2}
    rope = {"rope_type": "default", "mrope_section": [2, 2, 2], "rope_theta": 10000.0}
    text = {"vocab_size": len(QWEN_TOKENS), "bos_token_id": 256, "eos_token_id": 256, "rope_parameters": rope, **sizes}
    sight = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": width, "fullatt_block_indexes": [0]}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=sight)).eval()


def _qwen_tokenizer(folder: Path) -> None:
    from transformers import Qwen2Tokenizer

    tokenizer = Qwen2Tokenizer(vocab={token: number for number, token in enumerate(QWEN_TOKENS)}, merges=[], chat_template=QWEN_CHAT)
    tokenizer.add_special_tokens({"additional_special_tokens": list(QWEN_TOKENS[-5:])})
    tokenizer.save_pretrained(folder)


def _t5(width: int) -> Any:
    from transformers import T5Config, T5EncoderModel

    sizes = {"d_model": width, "d_ff": 2 * width, "d_kv": 8, "num_heads": 2, "num_layers": 1}
    return T5EncoderModel(T5Config(vocab_size=len(T5_WORDS), feed_forward_proj="gated-gelu", **sizes)).eval()


def t5_tokenizer(folder: Path) -> None:
    from transformers import T5TokenizerFast

    T5TokenizerFast(vocab=[(word, -float(number)) for number, word in enumerate(T5_WORDS)], extra_ids=0).save_pretrained(folder)


def _write(
    folder: Path, models: Mapping[str, Any], pipeline: str, flow: Mapping[str, Any] | None = None, rest: Mapping[str, Any] = MappingProxyType({})
) -> Path:
    index: dict[str, Any] = {"_class_name": pipeline, **rest}
    for part, model in models.items():
        model.save_pretrained(folder / part)
        if part.startswith("text_encoder"):
            tokenizer = part.replace("text_encoder", "tokenizer")
            if type(model).__name__ == "T5EncoderModel":
                t5_tokenizer(folder / tokenizer)
            elif type(model).__name__.startswith("Mistral"):
                _mistral_tokenizer(folder / tokenizer)
            elif type(model).__name__.startswith("Qwen"):
                _qwen_tokenizer(folder / tokenizer)
            else:
                shutil.copytree(POCKET / "tokenizer", folder / tokenizer)
    if flow is None:
        shutil.copytree(POCKET / "scheduler", folder / "scheduler")
    else:
        (folder / "scheduler").mkdir()
        schedule = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, **flow}
        (folder / "scheduler/scheduler_config.json").write_text(json.dumps(schedule), encoding="utf-8")
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder
