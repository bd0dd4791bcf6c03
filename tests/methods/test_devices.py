"""Code for a GPU on tensors that lie on one in name alone: what mixes devices, or waits for the GPU, shows without one.

Shapes and devices are computed, values are not (PyTorch's fake tensors). Where code asks for a value (`if`, `.item()`,
a mask as an index), which on a GPU would wait for all that is queued, a fake tensor has none and raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from harness.methods.learners.prompted_deeplab import PromptedDeepLabLearner
from harness.methods.saliency.maskclip import DenseImage, MaskClip
from harness.methods.sam.sam import resized
from harness.methods.shared.channels import image_channels
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness import places
from harness.plugins import parameters
from harness.structures import Said
from harness.training.batches import stacked

pytestmark = pytest.mark.slow

GPU = torch.device("cuda:0")
WEIGHTS = places.ROOT / "methods" / "weights"
VOCABULARY = tuple(f"thing {number}" for number in range(80))
DIMENSIONS = 128


class Kernels(TorchDispatchMode):
    """Notes what is computed on the GPU, and what is copied from there."""

    def __init__(self) -> None:
        super().__init__()
        self.computed: list[str] = []
        self.downloads: list[str] = []

    def __torch_dispatch__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        taken, made = ([one for one in tree_leaves(of) if isinstance(one, Tensor)] for of in ((args, kwargs), result))
        if any(one.device == GPU for one in made) and not getattr(function, "is_view", False):
            self.computed.append(str(function))
        if any(one.device == GPU for one in taken) and any(one.device != GPU for one in made):
            self.downloads.append(str(function))
        return result


@pytest.fixture
def fake() -> Iterator[FakeTensorMode]:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


def moved(module: nn.Module) -> None:
    """Put a module there; `to` would ask for a real one."""
    for part in module.modules():
        for named in (part._parameters, part._buffers):
            for name, value in named.items():
                if value is not None:
                    there = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=GPU)
                    named[name] = nn.Parameter(there) if named is part._parameters else there


def clip() -> MaskClip:
    """Built before anything is fake."""
    return MaskClip(str(WEIGHTS / "scenes_clip.json"), WEIGHTS / "scenes_clip.safetensors", device="cpu")


@pytest.fixture
def on_gpu(request: pytest.FixtureRequest) -> MaskClip:
    made = clip()
    request.getfixturevalue("fake")
    made.device = GPU
    moved(made.clip.module.visual)
    made.texts.known = {name: torch.empty(DIMENSIONS, device=GPU) for name in (*VOCABULARY, "another")}
    return made


def test_what_waits_is_found(fake: FakeTensorMode) -> None:
    there = torch.empty(3, device=GPU)
    with Kernels() as kernels:
        (there + 1).cpu()
        with pytest.raises(DataDependentOutputException):
            _ = 1 if there.max() > 0 else 0
        with pytest.raises(Exception, match="device"):
            _ = there + torch.empty(3)
    assert kernels.downloads[0] == "aten._to_copy.default" and "aten.add.Tensor" in kernels.computed


@pytest.mark.parametrize("text", [VOCABULARY[3], "another"])
def test_maps_of_several_images_come_without_a_wait_and_take_the_kernels_of_one(on_gpu: MaskClip, text: str) -> None:
    def kernels_of(count: int) -> int:
        images = [DenseImage(torch.empty(DIMENSIONS, 15, 20, device=GPU), (480, 640)) for _ in range(count)]
        with Kernels() as kernels, torch.inference_mode(False), torch.no_grad():
            maps = on_gpu._maps(images, [text] * count, VOCABULARY)
        assert maps.shape == (count, 480, 640) and maps.device == GPU
        assert kernels.downloads == []
        return len(kernels.computed)

    one, eight = kernels_of(1), kernels_of(8)
    assert eight - one < 7 * 5  # a few of each image's own and of larger chunks: not 8 times as many


def test_features_of_several_images_are_one_forward_pass(on_gpu: MaskClip) -> None:
    with Kernels() as kernels:
        dense = on_gpu._dense([np.zeros((96, 128, 3), np.uint8)] * 8)
    assert dense.device == GPU and len(dense) == 8
    assert kernels.downloads == []


@pytest.mark.usefixtures("fake")
def test_pictures_become_a_networks_input_there() -> None:
    picture = np.zeros((48, 32, 3), np.uint8)
    with Kernels() as kernels:
        ours, sams = image_channels(picture, (64, 64), GPU), resized(picture, 96, GPU)
    assert (ours.device, ours.shape, sams.device, sams.shape) == (GPU, (3, 64, 64), GPU, (1, 3, 96, 64))
    assert "aten._upsample_bilinear2d_aa.default" in kernels.computed and kernels.downloads == []


@pytest.mark.parametrize("options", [{}, {"auxiliary": 0.4, "loss": "ce_dice"}, {"saliency": None}])
def test_a_training_steps_loss_comes_without_a_wait(options: dict[str, Any], request: pytest.FixtureRequest) -> None:
    shape = {"encoder": "tu-regnetx_002", "decoder_channels": 8, "output_stride": 16, "size": 64, "crop": "published"}
    learner = PromptedDeepLabLearner(**{"saliency": clip(), **shape, **options})
    scenes = parameters.build("datasets", "scenes", {"split": "train", "count": 1, "size": 64})
    sample = scenes.load(scenes.sample_ids()[0])
    rng = np.random.default_rng(0)
    said = [Said(one.category, scenes.classes, scenes.classes) for one in sample.instances[:2]]
    pairs = zip(sample.instances, said, strict=False)
    batch = stacked([learner.example(sample, one, words, rng) for one, words in pairs])
    request.getfixturevalue("fake")
    moved(learner.network)
    there = {name: torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=GPU) for name, x in batch.items()}
    with Kernels() as kernels:
        loss = learner.loss(there)
    assert loss.device == GPU and loss.shape == ()
    assert kernels.downloads == []
