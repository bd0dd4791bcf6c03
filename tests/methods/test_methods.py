"""The contract that every method of methods/ keeps, with random weights: what they answer is not the point."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from harness.methods.focalclick.network import FocalClickArchitecture, FocalClickNetwork
from harness.methods.focalclick.segformer import SegFormerArchitecture
from harness.methods.ritm.network import RitmArchitecture, RitmNetwork
from harness.methods.sam import tiny as tiny_sam
from harness.methods.shared.channels import Channels
from harness.methods.shared.prompted_deeplab import Architecture
from harness.methods.simpleclick.network import (
    Backbone,
    Neck,
    Segmenter,
    SimpleClickArchitecture,
    SimpleClickNetwork,
)
from safetensors.torch import save_file
from torch import nn

import toy_lavt
import toy_phraseclick
import toy_snapshots
import toy_vlt
from harness.checking.asking import Asked
from harness.checking.methods import PROBES
from harness.checking.probes import Probe, Verdict, outcomes
from harness.checking.questions import Questions
from harness.evaluation.probe import says_uses_text
from harness.plugins import parameters, registry
from harness.plugins.interfaces import Method
from harness.structures import Click, Prompt

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*does not say which names"),  # random weights were trained with none
    pytest.mark.filterwarnings("ignore:.*not the vocabulary of bert-base-uncased"),
]

SEEDS = (0, 1, 2)
VOCABULARY = ("car", "tall tree", "house")
PROMPTS = (
    Prompt((Click(30, 9),), "car", vocabulary=VOCABULARY),
    Prompt((Click(0, 31),), "tall tree", vocabulary=VOCABULARY),
    Prompt((Click(47, 0),), "car", vocabulary=VOCABULARY),
)
MAY_NOT_TELL = ("GPU against CPU", "swapped x and y")
"""Probes that random weights, a method without clicks, or a machine without a GPU cannot answer."""
TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 2014, "width": 32, "heads": 2, "layers": 1},
}


def image(seed: int) -> np.ndarray:
    """Coarse random patches, 32 x 48; read-only, as a method is to leave it."""
    patches = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    made = np.ascontiguousarray(patches.repeat(8, 0).repeat(8, 1))
    made.flags.writeable = False
    return made


MORE = tuple(Prompt((Click(x, 9),), "house", vocabulary=VOCABULARY) for x in (5, 20, 40))
"""Random weights change their masks by the words at some clicks and not at others."""

QUESTIONS = Questions(
    tuple(image(seed) for seed in SEEDS), ((PROMPTS[0], *MORE), PROMPTS[:2], PROMPTS), ("car", "house")
)


def maskclip(folder: Path) -> dict[str, Any]:
    """MaskCLIP with a tiny CLIP."""
    (folder / "clip.json").write_text(json.dumps(TINY_CLIP))
    save_file(open_clip.CLIP(**TINY_CLIP).state_dict(), folder / "clip.safetensors")
    params = {"model": str(folder / "clip.json"), "checkpoint": str(folder / "clip.safetensors")}
    return {"name": "maskclip", "params": params}


def deeplab(folder: Path, saliency: bool) -> str:
    """A DeepLabV3+ whose answers are not all of one class."""
    architecture = Architecture(Channels(saliency, size_rule="native"), "tu-regnetx_002", 8, 16)
    network = architecture.network()
    inputs = torch.randn(4, architecture.channels.count, 64, 96)
    with torch.no_grad():
        for _ in range(20):
            network.train()(inputs)
        logits = network.eval()(inputs)
        network.segmentation_head[0].bias[1] -= (logits[:, 1] - logits[:, 0]).median()
    return described(network, architecture, folder / "deeplab.safetensors")


def described(network: nn.Module, architecture: Any, path: Path) -> str:
    """A checkpoint as training here saves it."""
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, path, {"architecture": json.dumps(asdict(architecture))})
    return str(path)


def sam(folder: Path) -> dict[str, Any]:
    """A SAM of two hundred thousand parameters, ranked by itself and by a tiny CLIP."""
    small = tiny_sam.Architecture(image_size=64, width=32, depth=1, heads=2, prompt_width=32)
    clip = maskclip(folder)["params"]
    return {
        "checkpoint": described(small.network(), small, folder / "sam.safetensors"),
        "rankings": ["confidence", "clip"],
        "clip_model": clip["model"],
        "clip_checkpoint": clip["checkpoint"],
    }


def ritm(folder: Path) -> dict[str, Any]:
    """A RITM with the narrowest HRNet."""
    small = RitmArchitecture(width=4, ocr_width=8, small=True, norm_radius=5, with_prev_mask=True)
    network = RitmNetwork(small)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)  # its own start is so small that all pixels are alike
    return {"checkpoint": described(network, small, folder / "ritm.safetensors")}


def simpleclick(folder: Path) -> dict[str, Any]:
    """A SimpleClick of eight thin blocks."""
    four = (8, 8, 16, 16)
    small = SimpleClickArchitecture(
        norm_radius=5,
        use_disks=True,
        with_prev_mask=True,
        backbone_params=Backbone(32, 8, 2, img_size=(448, 448)),
        neck_params=Neck(32, four),
        head_params=Segmenter(four, 16),
    )
    network = SimpleClickNetwork(small)
    nn.init.normal_(network.head.conv_seg.weight)  # its own start is so small that all pixels are alike
    nn.init.zeros_(network.head.conv_seg.bias)
    return {"checkpoint": described(network, small, folder / "simpleclick.safetensors")}


def focalclick(folder: Path) -> dict[str, Any]:
    """A FocalClick with a SegFormer of four thin blocks."""
    backbone = SegFormerArchitecture((8, 8, 16, 16), (1, 1, 1, 1), (1, 1, 2, 2), head_width=16)
    small = FocalClickArchitecture(backbone, refiner_width=8)
    network = FocalClickNetwork(small)
    nn.init.normal_(network.feature_extractor.get_submodule("decode_head.linear_pred").weight)
    return {"checkpoint": described(network, small, folder / "focalclick.safetensors"), "infer_size": 64}


def lavt(folder: Path) -> dict[str, Any]:
    """A LAVT of some thousand weights, which knows the words that it is asked with."""
    pytest.importorskip("tokenizers", reason="LAVT's word pieces need it: pip install tokenizers")
    checkpoint, vocab = toy_lavt.checkpoint(folder / "lavt.pth"), toy_lavt.vocabulary(folder / "vocab.txt")
    return {"checkpoint": str(checkpoint), "vocab": str(vocab)}


def vlt(folder: Path) -> dict[str, Any]:
    """A narrow VLT, which knows the words that it is asked with."""
    pytest.importorskip("h5py", reason="VLT's weights need it: pip install h5py")
    checkpoint, vectors = toy_vlt.checkpoint(folder / "vlt.h5"), toy_vlt.vectors(folder / "vectors.txt")
    return {"checkpoint": str(checkpoint), "vectors": str(vectors)}


def phraseclick(folder: Path) -> dict[str, Any]:
    """A narrow PhraseClick, which knows the words that it is asked with."""
    return {"checkpoint": str(toy_phraseclick.checkpoint(folder / "phraseclick.safetensors"))}


def grounding_dino(folder: Path) -> dict[str, Any]:
    """A tiny Grounding DINO, whose best box counts whatever its score, and a small SAM."""
    snapshot = toy_snapshots.grounding_dino(folder / "snapshot")
    return {"snapshot": str(snapshot), "sam_checkpoint": sam(folder)["checkpoint"], "box_threshold": 0.0}


def sam3(folder: Path) -> dict[str, Any]:
    """A tiny SAM 3, of which every instance counts."""
    return {"snapshot": str(toy_snapshots.sam3(folder / "snapshot")), "score_threshold": 0.0}


def published_sizes_only(_: Path) -> dict[str, Any]:
    pytest.skip("it comes in published sizes only, by a package of its own: seconds an image on a CPU.")


def computes_nothing(_: Path) -> dict[str, Any]:
    pytest.skip("it looks masks up that were made elsewhere: tests/methods/test_predictions.py.")


PARAMS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "text_click": lambda folder: {"checkpoint": deeplab(folder, saliency=True), "saliency": maskclip(folder)},
    "click_only": lambda folder: {"checkpoint": deeplab(folder, saliency=False)},
    "sam": sam,
    "sam2": published_sizes_only,
    "sam_hq": published_sizes_only,
    "ritm": ritm,
    "simpleclick": simpleclick,
    "focalclick": focalclick,
    "lavt": lavt,
    "vlt": vlt,
    "phraseclick": phraseclick,
    "grounding_dino": grounding_dino,
    "sam3": sam3,
    "predictions": computes_nothing,
}
"""Method -> its parameters, given a folder for random weights. A new method adds itself here."""


@pytest.fixture(scope="module", params=registry.names("methods"))
def method(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Method:
    """Every method that a config may name, built as a worker builds it."""
    if request.param not in PARAMS:
        pytest.fail(
            f"tests/methods/test_methods.py, PARAMS: no entry for methods/{request.param}.py; give it random weights."
        )
    torch.manual_seed(0)
    params = PARAMS[request.param](tmp_path_factory.mktemp(request.param))
    return parameters.build("methods", request.param, parameters.resolve("methods", request.param, params))


def test_a_method_knows_its_name(method: Method) -> None:
    assert registry.find("methods", method.name) is type(method)
    assert says_uses_text(type(method))
    assert (type(method).__doc__ or "").strip()


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_it_passes_the_probes_of_check(method: Method, probe: Probe[Asked]) -> None:
    """With random weights and random patches; `python -m harness check` asks the same about scenes."""
    (outcome,) = outcomes([replace(probe, after=())], Asked(method, QUESTIONS))
    assert outcome.verdict is not Verdict.FAILED, outcome.text
    assert outcome.verdict is Verdict.PASSED or probe.name in MAY_NOT_TELL, outcome.text


def test_every_entry_is_a_method() -> None:
    assert set(PARAMS) <= set(registry.names("methods"))
