"""Captioners as they come from the Hub, of the same classes and a few thousand weights."""

from pathlib import Path

import numpy as np
import torch

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "car", "on", "the", "road"]
SIDE = 32


def blip(folder: Path) -> Path:
    from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration, BlipProcessor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    small = {"hidden_size": 16, "intermediate_size": 16, "projection_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = {**small, **special, "vocab_size": len(WORDS), "encoder_hidden_size": 16, "max_position_embeddings": 24, "is_decoder": True}
    config = BlipConfig(text_config=text, vision_config={**small, "image_size": SIDE, "patch_size": 16}, projection_dim=16, image_text_hidden_size=16)
    torch.manual_seed(0)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(WORDS)})
    BlipProcessor(BlipImageProcessorPil(size={"height": SIDE, "width": SIDE}), tokenizer).save_pretrained(folder)
    return folder


def tagger(folder: Path, chances: list[float], tags: list[tuple[str, int]]) -> Path:
    """A WD tagger that sees the same in every picture: `chances`, plus nothing of the pixels."""
    from onnx import TensorProto, helper, save

    pixels = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", SIDE, SIDE, 3])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", len(chances)])
    nothing = helper.make_tensor("nothing", TensorProto.FLOAT, [3, len(chances)], np.zeros(3 * len(chances), np.float32))
    constant = helper.make_tensor("chances", TensorProto.FLOAT, [len(chances)], np.array(chances, np.float32))
    nodes = [
        helper.make_node("ReduceMean", ["input", "sides"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "chances"], ["output"]),
    ]
    sides = helper.make_tensor("sides", TensorProto.INT64, [2], [1, 2])
    graph = helper.make_graph(nodes, "tagger", [pixels], [output], [nothing, constant, sides])
    folder.mkdir()
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / "model.onnx")
    rows = [f"{number},{name},{category},1" for number, (name, category) in enumerate(tags)]
    (folder / "selected_tags.csv").write_text("\n".join(["tag_id,name,category,count", *rows]))
    return folder


def florence(folder: Path) -> Path:
    from transformers import BartTokenizerFast, Florence2Config, Florence2ForConditionalGeneration, Florence2Processor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    vision = {
        "depths": [1, 1, 1, 1],
        "embed_dim": [8, 8, 8, 8],
        "num_heads": [1, 1, 1, 1],
        "num_groups": [1, 1, 1, 1],
        "projection_dim": 16,
        "window_size": 2,
    }
    text = {
        "vocab_size": 400,
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "max_position_embeddings": 200,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
    }
    characters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *(chr(code) for code in range(33, 127)), "Ġ"]
    tokenizer = BartTokenizerFast(
        vocab={word: number for number, word in enumerate(characters)}, merges=[], extra_special_tokens={"image_token": "<image>"}
    )
    image = tokenizer.convert_tokens_to_ids("<image>")
    torch.manual_seed(0)
    model = Florence2ForConditionalGeneration(Florence2Config(text_config=text, vision_config=vision, image_token_id=image))
    model.save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"height": 64, "width": 64}, do_center_crop=False, image_seq_length=5)
    Florence2Processor(images, tokenizer).save_pretrained(folder)
    return folder
