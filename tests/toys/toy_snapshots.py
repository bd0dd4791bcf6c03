"""Tiny random networks of `transformers`, saved as their authors' snapshots on the hub are: by the package itself.

Whatever imports `transformers` does so when a snapshot is made: it takes seconds, and it may be absent.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

REASON = "it wants the extra: pip install -c constraints.txt '.[transformers]'"


def package() -> Any:
    """The package; a test that wants it is skipped where it is not installed."""
    return pytest.importorskip("transformers", reason=REASON)


def clip_words(transformers: Any) -> Any:
    """A tokenizer of CLIP that knows letters alone; a word's last one is another than the same within."""
    pieces = [
        "<|startoftext|>",
        "<|endoftext|>",
        *string.ascii_lowercase,
        *(f"{one}</w>" for one in string.ascii_lowercase),
    ]
    return transformers.CLIPTokenizer(vocab={piece: place for place, piece in enumerate(pieces)}, merges=[])


CLIP_WORDS = 2 + 2 * 26


def clipseg(folder: Path, seed: int = 0) -> Path:
    """CLIPSeg of some thousand weights, on a square of 48 pixels."""
    transformers = package()
    torch.manual_seed(seed)
    text = {
        "vocab_size": CLIP_WORDS,
        "max_position_embeddings": 24,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    }
    size = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    config = transformers.CLIPSegConfig(
        text_config={**text, **size, "num_hidden_layers": 2},
        vision_config={**size, "num_hidden_layers": 4, "image_size": 32, "patch_size": 8},
        projection_dim=16,
        extract_layers=[0, 1, 3],
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    images = transformers.ViTImageProcessor(size={"height": 48, "width": 48})
    transformers.CLIPSegProcessor(images, clip_words(transformers)).save_pretrained(folder)
    lively(transformers.CLIPSegForImageSegmentation(config)).save_pretrained(folder)
    return folder


def bert_words(transformers: Any) -> Any:
    """A tokenizer of BERT that knows letters alone; its marks have the ids of bert-base-uncased."""
    pieces = {f"[unused{place}]": place for place in range(BERT_WORDS)}
    marks = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029}
    letters = [*string.ascii_lowercase, *(f"##{one}" for one in string.ascii_lowercase)]
    known = marks | {piece: 1030 + place for place, piece in enumerate(letters)}
    free = {name: place for name, place in pieces.items() if place not in known.values()}
    return transformers.BertTokenizer(vocab=known | free)


BERT_WORDS = 1030 + 2 * 26


def grounding_dino(folder: Path, seed: int = 0, kind: str = "GroundingDino") -> Path:
    """Grounding DINO of two layers, which sees images with a shorter side of 96 pixels; MMGroundingDino likewise."""
    transformers = package()
    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(
        backbone_config={
            "model_type": "swin",
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 2, 2],
            "window_size": 4,
            "out_indices": [2, 3, 4],
        },
        text_config={
            "model_type": "bert",
            "vocab_size": BERT_WORDS,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
        },
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=20,
        max_text_len=32,
    )
    images = transformers.GroundingDinoImageProcessor(size={"shortest_edge": 96, "longest_edge": 160})
    transformers.GroundingDinoProcessor(images, bert_words(transformers)).save_pretrained(folder)
    lively(getattr(transformers, f"{kind}ForObjectDetection")(config)).save_pretrained(folder)
    return folder


def sam3(folder: Path, seed: int = 0) -> Path:
    """SAM 3 on a square of 56 pixels, in the form of the published snapshot: the video model's, which holds both parts.

    Its weights are saved by their names in the model: `save_pretrained` of 5.24 writes the tracker's with their prefix
    twice (tracker_model.tracker_model), under which no class of the package finds them.
    """
    transformers = package()
    torch.manual_seed(seed)
    size, side = {"hidden_size": 32, "num_attention_heads": 2}, 56
    tower = {
        **size,
        "model_type": "sam3_vit_model",
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "image_size": side,
    }
    tower |= {"patch_size": 14, "window_size": 2, "global_attn_indexes": [1], "pretrain_image_size": 28}
    vision = {"model_type": "sam3_vision_model", "backbone_config": tower, "fpn_hidden_size": 32}
    vision |= {"backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]]}
    text = {
        "model_type": "clip_text_model",
        "vocab_size": CLIP_WORDS,
        "max_position_embeddings": 32,
        "hidden_act": "gelu",
    }
    text |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "num_hidden_layers": 2, "projection_dim": 16}
    layers = {**size, "num_layers": 2, "intermediate_size": 32}
    detector = {
        "model_type": "sam3",
        "vision_config": vision,
        "text_config": {**text, "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2},
        "geometry_encoder_config": layers,
        "detr_encoder_config": layers,
        "detr_decoder_config": {**layers, "num_queries": 10},
        "mask_decoder_config": size,
    }
    tracker = {
        "model_type": "sam3_tracker_video",
        "vision_config": vision,
        "image_size": side,
        "prompt_encoder_config": {"hidden_size": 32, "image_size": side, "patch_size": 14},
        "mask_decoder_config": {**size, "mlp_dim": 32, "iou_head_hidden_dim": 32},
        "memory_attention_hidden_size": 32,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 32,
        "memory_encoder_hidden_size": 32,
        "memory_encoder_output_channels": 16,
        "mask_downsampler_embed_dim": 32,
        "memory_fuser_embed_dim": 32,
        "memory_fuser_intermediate_dim": 32,
    }
    config = transformers.Sam3VideoConfig(detector_config=detector, tracker_config=tracker)
    network = lively(transformers.Sam3VideoModel(config))
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    weights = {name: one.contiguous().clone() for name, one in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    images = transformers.Sam3ImageProcessor(size={"height": side, "width": side})
    transformers.Sam3Processor(images, clip_words(transformers)).save_pretrained(folder)
    return folder


def lively(network: nn.Module, gain: float = 1.0) -> nn.Module:
    """The network with weights so large that its answers depend on what it is shown and told."""
    for name, one in network.named_parameters():
        if one.ndim > 1 and "position" not in name:
            nn.init.normal_(one, std=gain / (one[0].numel() ** 0.5))
    return network.eval()
