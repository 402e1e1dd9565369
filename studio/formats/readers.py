"""Will it load? What other programs read of a LoRA file, by their own tables of names and not by the code that writes files here."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from studio.formats.fingerprints import TITLES
from studio.formats.gate import Header
from studio.language import say


@dataclass(frozen=True)
class Verdict:
    """What one program makes of a file."""

    program: str
    understood: int
    """Of the file's tensors."""
    total: int
    lost: tuple[str, ...]
    """Layers, as the file calls them, of which it doesn't read everything."""
    why: str
    """What is lost or wrong, as a sentence for the person; empty when nothing is."""

    @property
    def complete(self) -> bool:
        """Whether the program does with the file what it was made for."""
        return not self.why


@dataclass(frozen=True)
class Dialect:
    """A way to write a LoRA that a program reads: how layers are called, and which tensors it takes of one.

    In a name <18> stands for a number up to 18, (a|b) for a choice, (a)? for what may be left out.
    """

    names: tuple[str, ...]
    tensors: frozenset[str]


@dataclass(frozen=True)
class Reader:
    """What one program reads for one kind of model."""

    dialects: tuple[Dialect, ...] = ()
    passed: tuple[str, ...] = ()
    """Layers that it passes over in silence."""
    whole: bool = False
    """Whether it refuses a file that isn't in one of these dialects from beginning to end."""
    settings: bool = False
    """Whether it reads alpha where diffusers writes it, in the metadata."""


# What follows a layer's name → what it is.
TENSORS = {
    r"\.lora_(down|up)\.weight": "lora",
    r"\.alpha": "alpha",
    r"\.lora_mid\.weight": "mid",
    r"\.dora_scale": "dora",
    r"\.lora_[AB]\.weight": "peft",
    r"\.lora_magnitude_vector(\.weight)?": "magnitude",
    r"_lora\.(down|up)\.weight": "processor",
    r"\.lora\.(down|up)\.weight": "older",
    r"\.lora_linear_layer\.(down|up)\.weight": "linear",
    r"\.lokr_(w1|w1_a|w1_b|w2|w2_a|w2_b|t2)": "lokr",
    r"\.hada_(w1_a|w1_b|w2_a|w2_b|t1|t2)": "loha",
}
TENSOR = re.compile("(?P<layer>.+?)(?:" + "|".join(f"(?P<{name}>{pattern})" for pattern, name in TENSORS.items()) + ")")

# kohya's and LyCORIS's tensors. In `dora` a length for each output, as the paper has it; A1111 and InvokeAI take it for one of each input,
# ComfyUI and Forge divide by the base model's lengths instead of the tuned ones.
PLAIN = frozenset({"lora", "alpha"})
LYCORIS = PLAIN | {"mid", "lokr", "loha"}
COMFY = LYCORIS | {"dora", "peft", "processor", "older", "linear"}
PEFT = frozenset({"peft", "magnitude", "processor", "older", "linear"})

CLIP = "text_model.encoder.layers.<31>.(self_attn.(q|k|v|out)_proj|mlp.fc(1|2))"
T5 = "encoder.block.<23>.layer.(0.SelfAttention.(q|k|v|o)|1.DenseReluDense.(wi_0|wi_1|wo))"

# Stable Diffusion's UNet as diffusers names it. Attention may be in any block: small models have it elsewhere.
TRANSFORMER = "(proj_in|proj_out|transformer_blocks.<9>.(attn(1|2).to_(q|k|v|out.0)|ff.net.(0.proj|2)))"
BLOCKS = "(down_blocks.<3>.{0}.<2>|mid_block.{0}.<1>|up_blocks.<3>.{0}.<3>)"
ATTENTIONS = f"{BLOCKS.format('attentions')}.{TRANSFORMER}"
RESNETS = f"{BLOCKS.format('resnets')}.(conv1|conv2|time_emb_proj|conv_shortcut)"
SAMPLERS = "(down_blocks.<2>.downsamplers|up_blocks.<2>.upsamplers).0.conv"
OUTER = "(conv_in|conv_out|time_embedding.linear_(1|2))"
ADDED = "add_embedding.linear_(1|2)"
UNET = (ATTENTIONS, RESNETS, SAMPLERS, OUTER)
# The same with the names that diffusers had before it used PEFT.
PROCESSORS = f"{BLOCKS.format('attentions')}.transformer_blocks.<9>.attn(1|2).processor.to_(q|k|v|out)"
REST = f"{BLOCKS.format('attentions')}.(proj_in|proj_out|transformer_blocks.<9>.ff.net.(0.proj|2))"

# SDXL's UNet as its makers name it.
SHALLOW, DEEP = TRANSFORMER.replace("<9>", "<1>"), TRANSFORMER
SGM = (
    f"(input_blocks.(4|5)|output_blocks.(3|4|5)).1.{SHALLOW}",
    f"(input_blocks.(7|8)|middle_block|output_blocks.<2>).1.{DEEP}",
    "(input_blocks.(1|2|4|5|7|8).0|middle_block.(0|2)|output_blocks.<8>.0).(in_layers.2|emb_layers.1|out_layers.3|skip_connection)",
    "(input_blocks.(3|6).0.op|output_blocks.(2|5).2.conv|input_blocks.0.0|out.2|time_embed.(0|2)|label_emb.0.(0|2))",
)

FLUX = (
    "double_blocks.<18>.(img|txt)_(attn.(qkv|proj)|mlp.(0|2)|mod.lin)",
    "single_blocks.<37>.(linear1|linear2|modulation.lin)",
)
FLUX_OUTER = "(img_in|txt_in|(time|vector|guidance)_in.(in|out)_layer|final_layer.(linear|adaLN_modulation.1))"
FLUX_DIFFUSERS = (
    "transformer_blocks.<18>.(attn.(to_(q|k|v|out.0|add_out)|add_(q|k|v)_proj)|ff(_context)?.net.(0.proj|2)|norm1(_context)?.linear)",
    "single_transformer_blocks.<37>.(attn.to_(q|k|v)|proj_mlp|proj_out|norm.linear)",
    "(x_embedder|context_embedder|proj_out|norm_out.linear|time_text_embed.(timestep|text|guidance)_embedder.linear_(1|2))",
)

SD3 = (
    "joint_blocks.<37>.(x|context)_block.(attn.(qkv|proj)|attn2.(qkv|proj)|mlp.fc(1|2)|adaLN_modulation.1)",
    "(x_embedder.proj|context_embedder|(t|y)_embedder.mlp.(0|2)|final_layer.(linear|adaLN_modulation.1))",
)
SD3_DIFFUSERS = (
    "transformer_blocks.<37>.(attn.(to_(q|k|v|out.0|add_out)|add_(q|k|v)_proj)|attn2.to_(q|k|v|out.0)|ff(_context)?.net.(0.proj|2)|norm1(_context)?.linear)",
    "(pos_embed.proj|context_embedder|proj_out|norm_out.linear|time_text_embed.(timestep|text)_embedder.linear_(1|2))",
)

FLUX2 = (
    "double_blocks.<7>.(img|txt)_(attn.(qkv|proj)|mlp.(0|2))",
    "single_blocks.<47>.linear(1|2)",
    "(img_in|txt_in|time_in.(in|out)_layer|final_layer.linear)",
)
FLUX2_OUTER = "(guidance_in.(in|out)_layer|final_layer.adaLN_modulation.1|(single_stream|double_stream)_modulation(_(img|txt))?.lin)"
FLUX2_DIFFUSERS = (
    "transformer_blocks.<7>.(attn.(to_(q|k|v|out.0|add_out)|add_(q|k|v)_proj)|ff(_context)?.linear_(in|out))",
    "single_transformer_blocks.<47>.attn.to_(qkv_mlp_proj|out)",
)

QWEN_IMAGE = (
    "transformer_blocks.<59>.(attn.(to_(q|k|v|out.0|add_out)|add_(q|k|v)_proj)|(img|txt)_(mlp.net.(0.proj|2)|mod.1))",
    "(img_in|txt_in|proj_out|norm_out.linear|time_text_embed.timestep_embedder.linear_(1|2))",
)

Z_BLOCKS = "((layers.<29>|(noise|context)_refiner.<1>).{0}|cap_embedder.1|t_embedder.mlp.(0|2))"
Z_IMAGE = Z_BLOCKS.format("(attention.(qkv|out)|feed_forward.w(1|2|3)|adaLN_modulation.0)")
Z_IMAGE_DIFFUSERS = Z_BLOCKS.format("(attention.to_(q|k|v|out.0)|feed_forward.w(1|2|3)|adaLN_modulation.0)")


def _flat(prefix: str, *names: str) -> tuple[str, ...]:
    """As kohya writes names: with a beginning, and underscores for dots."""
    return tuple(f"{prefix}_{name}".replace(".", "_") for name in names)


def _dotted(prefix: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{prefix}{name}" for name in names)


# Programs that share their code with ComfyUI know a layer by all of these.
COMFY_UNET = (*_flat("lora_unet", *UNET, ADDED), *_dotted("(unet.)?", PROCESSORS, REST, RESNETS, SAMPLERS, OUTER))
COMFY_TEXT = (*_flat("lora_(te|te1)", CLIP), *_dotted("text_encoder.", CLIP))
COMFY_TEXT_2 = (*_flat("lora_te2", CLIP), *_dotted("text_encoder_2.", CLIP))
COMFY_SDXL = (*COMFY_UNET, *_flat("lora_unet", *SGM), *_dotted("diffusion_model.", *SGM), *COMFY_TEXT, *COMFY_TEXT_2)
COMFY_FLUX = (
    *(*_flat("lora_unet", *FLUX, FLUX_OUTER), *_dotted("diffusion_model.", *FLUX, FLUX_OUTER)),
    *(*_dotted("transformer.", *FLUX_DIFFUSERS), *COMFY_TEXT, *_flat("lora_te3", T5)),
)
COMFY_SD3 = (*_flat("lora_unet", *SD3), *_dotted("diffusion_model.", *SD3), *COMFY_TEXT, *COMFY_TEXT_2, *_flat("lora_te3", T5))
NEW_DIFFUSERS = (*_dotted("unet.", *UNET, ADDED, PROCESSORS), *_dotted("text_encoder.", CLIP), *_dotted("text_encoder_2.", CLIP))

SD_TEXT = _flat("lora_(te|te1)", CLIP)
SDXL_TEXT = _flat("lora_(te1|te2)", CLIP)
DIFFUSERS_FLUX = (*_dotted("transformer.", *FLUX_DIFFUSERS), *_dotted("text_encoder.", CLIP))
GENERIC = "(diffusion_model.|transformer.)?"
DIFFUSERS_SD3 = (*_dotted("transformer.", *SD3_DIFFUSERS), *_dotted("text_encoder(_2)?.", CLIP))


def _single(*names: str) -> tuple[str, ...]:
    """Layers of a transformer that are written one by one in kohya's style, as OneTrainer and SimpleTuner do."""
    return (*_flat("lora_transformer", *names), *_flat("lycoris", *names))


SD = {
    "A1111": Reader((Dialect((*_flat("lora_unet", *UNET), *SD_TEXT), LYCORIS),)),
    "Forge": Reader((Dialect((*COMFY_UNET, *COMFY_TEXT), COMFY),)),
    "ComfyUI": Reader((Dialect((*COMFY_UNET, *_flat("lycoris", *UNET), *COMFY_TEXT), COMFY),)),
    "InvokeAI": Reader((Dialect((*_flat("lora_unet", *UNET), *_flat("lora_te", CLIP)), LYCORIS), Dialect(NEW_DIFFUSERS, PEFT - {"magnitude"}))),
    "diffusers": Reader((Dialect((*_flat("lora_unet", *UNET), *SD_TEXT), PLAIN), Dialect(NEW_DIFFUSERS, PEFT)), whole=True, settings=True),
}
PROGRAMS: Mapping[str, Mapping[str, Reader]] = {
    "sd1": SD,
    "sd2": SD,
    "sdxl": {
        # A1111 looks for the layer that makes pictures larger where SD 1.5 has it; one of SDXL's two is there.
        "A1111": Reader(
            (
                Dialect(
                    _flat("lora_unet", *SGM, ATTENTIONS, RESNETS, OUTER, "(down_blocks.<2>.downsamplers|up_blocks.1.upsamplers).0.conv"), LYCORIS
                ),
                Dialect(SDXL_TEXT, LYCORIS),
            )
        ),
        "Forge": Reader((Dialect(COMFY_SDXL, COMFY),)),
        "ComfyUI": Reader((Dialect((*COMFY_SDXL, *_flat("lycoris", *UNET, ADDED)), COMFY),)),
        "InvokeAI": Reader(
            (Dialect((*_flat("lora_unet", *SGM, *UNET, ADDED), *SDXL_TEXT), LYCORIS), Dialect(NEW_DIFFUSERS, PEFT - {"magnitude"})), whole=True
        ),
        "diffusers": Reader(
            (Dialect((*_flat("lora_unet", *SGM, *UNET), *SDXL_TEXT), PLAIN), Dialect(NEW_DIFFUSERS, PEFT)), whole=True, settings=True
        ),
    },
    "flux": {
        "A1111": Reader(),
        "Forge": Reader((Dialect(COMFY_FLUX, COMFY),)),
        "ComfyUI": Reader((Dialect((*COMFY_FLUX, *_single(*FLUX_DIFFUSERS), *_flat("lora_te2", T5)), COMFY),)),
        "InvokeAI": Reader(
            (
                Dialect((*_flat("lora_unet", *FLUX), *_flat("lora_te1", CLIP)), LYCORIS),
                Dialect(_dotted("transformer.", *FLUX_DIFFUSERS), frozenset({"peft"})),
                Dialect(_flat("lora_transformer", *FLUX_DIFFUSERS), LYCORIS),
            ),
            whole=True,
        ),
        "diffusers": Reader(
            (Dialect((*_flat("lora_unet", *FLUX), *_flat("lora_te1", CLIP)), PLAIN), Dialect(DIFFUSERS_FLUX, PEFT)),
            passed=(*_flat("lora_unet", FLUX_OUTER), *_flat("lora_te3", T5)),
            whole=True,
            settings=True,
        ),
    },
    "sd3": {
        "A1111": Reader(),
        "Forge": Reader((Dialect(COMFY_SD3, COMFY),)),
        "ComfyUI": Reader((Dialect((*COMFY_SD3, *_dotted("transformer.", *SD3_DIFFUSERS), *_single(*SD3_DIFFUSERS)), COMFY),)),
        "InvokeAI": Reader(),
        "diffusers": Reader((Dialect(DIFFUSERS_SD3, PEFT),), whole=True, settings=True),
    },
    # What other programs do with the following isn't known.
    "flux2": {
        "ComfyUI": Reader(
            (
                Dialect((*_flat("lora_unet", *FLUX2, FLUX2_OUTER), *_dotted("diffusion_model.", *FLUX2, FLUX2_OUTER)), COMFY),
                Dialect((*_dotted("(transformer.)?", *FLUX2_DIFFUSERS), *_single(*FLUX2_DIFFUSERS)), COMFY),
            )
        ),
        "diffusers": Reader(
            (Dialect(_flat("lora_unet", *FLUX2), PLAIN), Dialect(_dotted("transformer.", *FLUX2_DIFFUSERS), PEFT)),
            passed=_flat("lora_unet", FLUX2_OUTER),
            whole=True,
            settings=True,
        ),
    },
    "qwen-image": {
        "ComfyUI": Reader(
            (Dialect((*_flat("lora_unet", *QWEN_IMAGE), *_flat("lycoris", *QWEN_IMAGE), *_dotted(GENERIC, *QWEN_IMAGE)), COMFY),),
        ),
        "diffusers": Reader(
            (
                Dialect(_flat("lora_unet", *QWEN_IMAGE), PLAIN),
                Dialect(_dotted("diffusion_model.", *QWEN_IMAGE), PLAIN | {"peft"}),
                Dialect(_dotted("transformer.", *QWEN_IMAGE), PEFT),
            ),
            whole=True,
            settings=True,
        ),
    },
    "z-image": {
        "ComfyUI": Reader(
            (
                Dialect((*_flat("lora_unet", Z_IMAGE), *_dotted("diffusion_model.", Z_IMAGE)), COMFY),
                Dialect((*_flat("lycoris", Z_IMAGE_DIFFUSERS), *_dotted(GENERIC, Z_IMAGE_DIFFUSERS)), COMFY),
            )
        ),
        "diffusers": Reader(
            (
                Dialect(_flat("lora_unet", Z_IMAGE, Z_IMAGE_DIFFUSERS), PLAIN),
                Dialect(_dotted("diffusion_model.", Z_IMAGE_DIFFUSERS), PLAIN | {"peft", "lokr"}),
                Dialect(_dotted("transformer.", Z_IMAGE_DIFFUSERS), PEFT),
            ),
            whole=True,
            settings=True,
        ),
    },
}
KINDS = tuple(PROGRAMS)


def will_load(header: Header, kind: str) -> tuple[Verdict, ...]:
    """A verdict for each program on a LoRA file for a kind of model (a key of TITLES); none where the programs' ways with it aren't known."""
    return tuple(_verdict(program, reader, header, kind) for program, reader in PROGRAMS.get(kind, {}).items())


def _verdict(program: str, reader: Reader, header: Header, kind: str) -> Verdict:
    if not reader.dialects:
        why = say("{program} reads no LoRA for {title}.", program=program, title=TITLES[kind])
        return Verdict(program, 0, len(header.tensors), _every(header), why)
    ways = [(dialect,) for dialect in reader.dialects] if reader.whole else [reader.dialects]
    _, verdict = max((_by(program, reader, dialects, header) for dialects in ways), key=lambda found: found[0])
    return verdict


def _by(program: str, reader: Reader, dialects: tuple[Dialect, ...], header: Header) -> tuple[int, Verdict]:
    """How many of the tensors these dialects know, and what the program makes of the file by them."""
    total, bent = len(header.tensors), False
    unread: dict[str, list[str]] = {"strange": [], "passed": [], "dora": []}
    for tensor in header.tensors:
        layer, role = _taken_apart(tensor)
        known = [dialect for dialect in dialects if _pattern(dialect.names).fullmatch(layer)]
        bent |= role == "dora" and any(role in dialect.tensors for dialect in known)
        if not any(role in dialect.tensors for dialect in known):
            passed = bool(_pattern(reader.passed).fullmatch(layer))
            unread["dora" if known and role in {"dora", "magnitude"} else "passed" if passed else "strange"].append(layer)
    lost = tuple(sorted({layer for layers in unread.values() for layer in layers}))
    understood = total - sum(len(layers) for layers in unread.values())
    strange = unread["strange"]
    if strange and (reader.whole or not understood):
        sentence = (
            say("{program} refuses the whole file because of {layer}, which it doesn't know.", program=program, layer=strange[0])
            if understood
            else say("{program} doesn't know layers by such names: {layer}.", program=program, layer=strange[0])
        )
        return understood, Verdict(program, 0, total, _every(header), sentence)
    if beside := strange + unread["passed"]:
        count = len(set(beside))
        why = say("{program} passes over what it doesn't know, such as {layer}: {count} layers.", program=program, layer=beside[0], count=count)
    elif unread["dora"]:
        why = say("{program} doesn't read DoRA as this file has it: the pictures would be others.", program=program)
    elif bent:
        why = say("{program} reads DoRA in a way of its own: the pictures come near what was trained.", program=program)
    elif not reader.settings and _other_strength(header):
        why = say("{program} doesn't read alpha in the metadata, so the strength would be another one.", program=program)
    else:
        why = ""
    return understood, Verdict(program, understood, total, lost, why)


def _every(header: Header) -> tuple[str, ...]:
    return tuple(sorted({_taken_apart(tensor)[0] for tensor in header.tensors}))


def _taken_apart(tensor: str) -> tuple[str, str]:
    match = TENSOR.fullmatch(tensor)
    if match is None:
        return tensor, ""
    return match["layer"], next(name for name in TENSORS.values() if match[name] is not None)


@cache
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """Layers by any of these names."""
    spelled = "|".join(names).replace(".", r"\.").replace("(", "(?:") if names else "(?!)"
    return re.compile(re.sub(r"<(\d+)>", lambda match: "(?:" + "|".join(map(str, range(int(match[1]) + 1))) + ")", spelled))


def _other_strength(header: Header) -> bool:
    """Whether the file leaves alpha to the metadata of diffusers, and it isn't the rank."""
    if any(tensor.endswith(".alpha") for tensor in header.tensors):
        return False
    try:
        settings = json.loads(header.metadata.get("lora_adapter_metadata", "{}"))
    except (ValueError, RecursionError):
        return False
    if not isinstance(settings, dict):
        return False
    beginnings = [name.removesuffix("lora_alpha") for name in settings if name.endswith("lora_alpha")]
    pairs = (("lora_alpha", "r"), ("alpha_pattern", "rank_pattern"))
    return any(settings.get(begin + alpha) != settings.get(begin + rank) for begin in beginnings for alpha, rank in pairs)
