"""MaskCLIP against a separate evaluation of its published formula, on random weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import open_clip
import pytest
import torch
from harness.methods.saliency import maskclip
from harness.methods.saliency.maskclip import MaskClip, dense_features
from harness.methods.shared.clip_maps import log_sum_exp, upsampled
from harness.methods.shared.clip_texts import LONGEST, sentences
from harness.methods.shared.open_clip_model import ClipModel, load_clip
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from torch import Tensor, nn

from harness.plugins.registry import find
from harness.structures import UserError

pytestmark = pytest.mark.slow

SCENES = "methods/weights/scenes_clip.json"
TEXT = {"context_length": 24, "vocab_size": 2014, "width": 32, "heads": 2, "layers": 1}
VISION = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 3, "head_width": 16}
CONFIGS: dict[str, dict] = {
    "vit": {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": TEXT},
    "quick vit": {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": TEXT, "quick_gelu": True},
    "resnet": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "patch_size": None, "width": 8, "layers": [1, 1, 1, 1]},
        "text_cfg": TEXT,
    },
    # The published image towers; a small text tower, to build them quickly.
    **{name: {**open_clip.get_model_config(name), "text_cfg": TEXT} for name in ("RN50", "ViT-B-16")},
}
VOCABULARY = ("person", "car", "tall tree", "house", "lamp")


def randomised(module: nn.Module) -> nn.Module:
    """Every parameter and statistic away from where it starts, so that no term is 0 or 1 by luck."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.is_floating_point() and value.ndim == 1:
                value += 0.2 * torch.rand(value.shape, generator=generator)
        for pool in (part for part in module.eval().modules() if isinstance(part, AttentionPool2d)):
            visual = module if isinstance(module, ModifiedResNet) else module.visual  # type: ignore[union-attr]
            # A random ResNet says nearly the same everywhere: take off what it always says.
            pool.c_proj.bias -= resnet_values(visual, pixels(96, 160)).mean((0, 2, 3))
    return module


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Coarse random patches: something to see at every cell."""
    small = np.random.default_rng(seed).integers(0, 256, (-(-height // 12), -(-width // 12), 3), dtype=np.uint8)
    return np.ascontiguousarray(small.repeat(12, 0).repeat(12, 1)[:height, :width])


def pixels(height: int, width: int) -> Tensor:
    return torch.from_numpy(picture(height, width)).permute(2, 0, 1)[None].float() / 64 - 2


# The published formula once more, from its description, in plain operations.


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


def activation(x: Tensor, quick: bool) -> Tensor:
    return x / (1 + torch.exp(-1.702 * x)) if quick else x * (1 + torch.erf(x / math.sqrt(2))) / 2


def last_block_input(visual: nn.Module, x: Tensor) -> Tensor:
    """What open_clip's own forward hands to the last block, at an input of the model's own size."""
    seen: list[Tensor] = []
    handle = visual.transformer.resblocks[-1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    visual(x)
    handle.remove()
    return seen[0]


def at_size(visual: nn.Module, model: str, size: tuple[int, int]) -> nn.Module:
    """The same image tower built for another size, its positions resized by OpenCV instead of torch."""
    config = CONFIGS[model]
    width, patch = config["vision_cfg"]["width"], config["vision_cfg"]["patch_size"]
    config = {**config, "vision_cfg": {**config["vision_cfg"], "image_size": size}}
    other = open_clip.CLIP(**config).visual.eval()
    grid = (size[1] // patch, size[0] // patch)
    weights = visual.state_dict()
    learned = weights["positional_embedding"].numpy()
    maps = learned[1:].reshape(*visual.grid_size, width)
    maps = np.stack([cv2.resize(maps[..., i], grid, interpolation=cv2.INTER_CUBIC) for i in range(width)], -1)
    weights["positional_embedding"] = torch.from_numpy(np.concatenate([learned[:1], maps.reshape(-1, width)]))
    other.load_state_dict(weights)
    return other


def vit_formula(visual: nn.Module, x: Tensor, grid: tuple[int, int], quick: bool, residual: bool = True) -> Tensor:
    """Dense features from the last block's input (1, 1 + patches, width)."""
    block, width = visual.transformer.resblocks[-1], x.shape[-1]
    weight, bias = block.attn.in_proj_weight[2 * width :], block.attn.in_proj_bias[2 * width :]
    v = torch.einsum("nlc,dc->nld", layer_norm(x, block.ln_1), weight) + bias
    v = torch.einsum("nlc,dc->nld", v, block.attn.out_proj.weight) + block.attn.out_proj.bias
    if residual:
        v = v + x
        hidden = torch.einsum("nlc,dc->nld", layer_norm(v, block.ln_2), block.mlp.c_fc.weight) + block.mlp.c_fc.bias
        hidden = activation(hidden, quick)
        v = v + torch.einsum("nlc,dc->nld", hidden, block.mlp.c_proj.weight) + block.mlp.c_proj.bias
    out = torch.einsum("nlc,cd->nld", layer_norm(v, visual.ln_post), visual.proj)[:, 1:]
    out = out / out.pow(2).sum(-1, keepdim=True).sqrt()
    return out.reshape(1, *grid, -1).permute(0, 3, 1, 2)


def resnet_values(visual: nn.Module, x: Tensor) -> Tensor:
    last = visual.forward_intermediates(x, indices=1, intermediates_only=True)["image_intermediates"][0]
    pool = visual.attnpool
    v = torch.einsum("nchw,dc->ndhw", last, pool.v_proj.weight) + pool.v_proj.bias[:, None, None]
    return torch.einsum("nchw,dc->ndhw", v, pool.c_proj.weight) + pool.c_proj.bias[:, None, None]


def resnet_formula(visual: nn.Module, x: Tensor) -> Tensor:
    out = resnet_values(visual, x)
    return out / out.pow(2).sum(1, keepdim=True).sqrt()


def stretched(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear interpolation with half-pixel centres, one axis after the other, in float64."""
    for axis, length in enumerate(size):
        at = np.clip((np.arange(length) + 0.5) * grid.shape[axis] / length - 0.5, 0, grid.shape[axis] - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, grid.shape[axis] - 1)
        share = (at - low).reshape([-1 if i == axis else 1 for i in range(2)])
        grid = grid.take(low, axis) * (1 - share) + grid.take(high, axis) * share
    return grid


def map_formula(dense: Tensor, vectors: Tensor, index: int, size: tuple[int, int]) -> np.ndarray:
    """Cosines of every class, upsampled, softmax over the classes, one channel, min-max."""
    cosines = torch.einsum("nd,dhw->nhw", vectors.double(), dense.double()).numpy()
    large = np.stack([stretched(cosine, size) for cosine in cosines])
    share = np.exp(large[index]) / np.exp(large).sum(0)
    return (share - share.min()) / (share.max() - share.min())


def phrase(clip: ClipModel, text: str, templates: tuple[str, ...]) -> Tensor:
    with torch.no_grad():
        vectors = clip.module.encode_text(clip.tokenizer([t.replace("{}", text) for t in templates])).double()
    mean = (vectors / vectors.pow(2).sum(1, keepdim=True).sqrt()).mean(0)
    return mean / mean.pow(2).sum().sqrt()


Build = Callable[..., MaskClip]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Build:
    """MaskClip with random weights, of one of the configs above."""

    def loaded(model: str, checkpoint: Path | None, device: str) -> ClipModel:
        torch.manual_seed(1)
        clip = load_clip(model, checkpoint, device, allow_random=True)
        randomised(clip.module)
        return clip

    def made(model: str, **params: Any) -> MaskClip:
        return MaskClip(model, **{"device": "cpu", "templates": "plain", **params})

    monkeypatch.setattr(maskclip, "load_clip", loaded)
    monkeypatch.setattr("harness.methods.shared.open_clip_model.model_config", CONFIGS.__getitem__)
    monkeypatch.setattr("harness.methods.shared.clip_tokens.model_config", CONFIGS.__getitem__)
    return made


def tower(model: str) -> nn.Module:
    torch.manual_seed(1)
    return randomised(open_clip.CLIP(**CONFIGS[model]).visual)


def near(found: Tensor, expected: Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("model", ["vit", "quick vit", "ViT-B-16"])
def test_dense_vit_is_open_clips_forward_up_to_the_last_block_and_the_formula_from_there(
    model: str, residual: bool
) -> None:
    visual, patch = tower(model), CONFIGS[model]["vision_cfg"]["patch_size"]
    with torch.inference_mode():
        for grid in ((3, 5), visual.grid_size):
            x = pixels(grid[0] * patch, grid[1] * patch)
            own = visual if grid == visual.grid_size else at_size(visual, model, (x.shape[2], x.shape[3]))
            found = dense_features(visual, x, residual)
            assert found.shape == (1, CONFIGS[model]["embed_dim"], *grid)
            near(found, vit_formula(visual, last_block_input(own, x), grid, model == "quick vit", residual))


@pytest.mark.parametrize("model", ["resnet", "RN50"])
def test_dense_resnet_is_the_attention_pools_values(model: str) -> None:
    # In float32 the two sides are 1e-4 apart on some processors.
    visual = tower(model).double()
    x = pixels(96, 170).double()  # a ResNet rounds down
    with torch.inference_mode():
        found = dense_features(visual, x)
        assert found.shape == (1, CONFIGS[model]["embed_dim"], 3, 5)
        near(found, resnet_formula(visual, x), 1e-9)


def test_vit_input_is_padded_with_zeros_to_whole_patches() -> None:
    visual, x = tower("vit"), pixels(30, 45)
    whole = torch.zeros(1, 3, 32, 48)
    whole[:, :, :30, :45] = x
    found = dense_features(visual, x)
    assert found.shape[2:] == (4, 6)
    assert torch.equal(found, dense_features(visual, whole))


def test_resnet_input_smaller_than_a_cell_is_padded() -> None:
    assert dense_features(tower("resnet"), pixels(20, 70)).shape[2:] == (1, 2)


@pytest.mark.parametrize("model", ["vit", "resnet"])
def test_dense_features_can_be_trained(model: str) -> None:
    visual = tower(model).train()
    wanted = torch.randn(2, 32, 1, 1)
    before = (dense_features(visual, pixels(64, 96).repeat(2, 1, 1, 1)) * wanted).sum()
    before.backward()
    unused = {name for name, p in visual.named_parameters() if p.grad is None or not p.grad.any()}
    last = "transformer.resblocks.2.attn." if model == "vit" else "attnpool."
    assert unused <= {f"{last}{name}" for name in ("positional_embedding", "q_proj.weight", "q_proj.bias")} | {
        f"{last}k_proj.weight",
        f"{last}k_proj.bias",
    }
    if model == "vit":
        grad = visual.transformer.resblocks[-1].attn.in_proj_weight.grad
        assert not grad[:128].any()
        assert grad[128:].any()


@pytest.mark.parametrize("model", ["vit", "resnet", "RN50", "ViT-B-16"])
def test_maps_are_the_published_formula(model: str, build: Build) -> None:
    saliency = build(model)
    image = picture(96, 160)
    (features,) = saliency.features([image])
    found = saliency.maps(features, ["car", "lamp"], VOCABULARY)
    assert found.shape == (2, 96, 160)
    assert found.dtype == np.float32
    x = torch.from_numpy(image).permute(2, 0, 1)[None] / 255.0
    x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    visual = saliency.clip.module.visual
    with torch.inference_mode():
        if isinstance(visual, open_clip.transformer.VisionTransformer):
            grid = (96 // visual.patch_size[0], 160 // visual.patch_size[1])
            dense = vit_formula(visual, last_block_input(at_size(visual, model, (96, 160)), x), grid, quick=False)
        else:
            dense = resnet_formula(visual, x)
    vectors = torch.stack([phrase(saliency.clip, name, ("a photo of a {}.",)) for name in VOCABULARY])
    for row, index in ((0, 1), (1, 4)):
        expected = map_formula(dense[0], vectors, index, (96, 160))
        assert (found[row].min(), found[row].max()) == (0, 1)
        assert np.abs(found[row] - expected).max() < 1e-3  # float32, min and max of random weights stretched to 0 and 1


def test_maps_of_cells_and_classes_in_many_chunks(build: Build) -> None:
    """350 classes, a size that no grid divides, at the features that the network found."""
    saliency = build("vit")
    names = [f"thing {index}" for index in range(350)]
    (features,) = saliency.features([picture(47, 93)])
    found = saliency.maps(features, names[::70], names)
    vectors = torch.stack([saliency.texts.known[name] for name in names])
    for row, index in enumerate(range(0, 350, 70)):
        assert np.abs(found[row] - map_formula(features.dense, vectors, index, (47, 93))).max() < 1e-4


def test_low_temperature_stays_finite(build: Build) -> None:
    saliency = build("vit", temperature=1e-4)
    (features,) = saliency.features([picture(48, 32)])
    found = saliency.maps(features, VOCABULARY, VOCABULARY)
    assert np.isfinite(found).all()
    assert found.max() == 1


def test_images_of_one_size_share_a_forward_and_get_their_own_features(build: Build) -> None:
    saliency = build("vit")
    batches: list[int] = []
    saliency.clip.module.visual.conv1.register_forward_pre_hook(lambda _, args: batches.append(len(args[0])))
    images = [picture(32, 48, 0), picture(48, 32, 1), picture(32, 48, 2)]
    together = saliency.features(images)
    assert sorted(batches) == [1, 2]
    assert saliency.image_encodings == 3
    for image, features in zip(images, together, strict=True):
        (alone,) = saliency.features([image])
        assert features.size == image.shape[:2]
        near(features.dense, alone.dense, 1e-5)
        maps = [saliency.maps(found, ["car"], VOCABULARY) for found in (features, alone)]
        assert np.abs(maps[0] - maps[1]).max() < 1e-4


def test_each_distinct_text_is_encoded_once(build: Build) -> None:
    saliency = build("vit")
    first, second = saliency.features([picture(32, 48), picture(48, 32)])
    for features in (first, second, first):
        saliency.maps(features, ["car", "dog", "car"], VOCABULARY)
    assert saliency.text_encodings == len(VOCABULARY) + 1
    saliency.maps(first, ["zebra"], ())
    assert saliency.text_encodings == len(VOCABULARY) + 2


def test_a_map_does_not_depend_on_the_other_texts_of_the_call(build: Build) -> None:
    saliency = build("vit")
    (features,) = saliency.features([picture(32, 48)])
    together = saliency.maps(features, ["dog", "car", "zebra"], VOCABULARY)
    for row, text in enumerate(["dog", "car", "zebra"]):
        assert np.array_equal(saliency.maps(features, [text], VOCABULARY)[0], together[row])
    vectors = torch.stack([saliency.texts.known[name] for name in (*VOCABULARY, "zebra")])
    assert np.abs(together[2] - map_formula(features.dense, vectors, 5, (32, 48))).max() < 1e-4


@pytest.mark.parametrize("vocabulary", [(), ("car",)])
def test_without_contrast_the_map_is_the_cosine(vocabulary: tuple[str, ...], build: Build) -> None:
    saliency = build("vit")
    (features,) = saliency.features([picture(32, 48)])
    (found,) = saliency.maps(features, ["car"], vocabulary)
    cosine = stretched(
        torch.einsum("d,dhw->hw", saliency.texts.known["car"], features.dense).double().numpy(), (32, 48)
    )
    assert np.abs(found - (cosine - cosine.min()) / (cosine.max() - cosine.min())).max() < 1e-4


def test_a_map_without_variation_is_zero(build: Build) -> None:
    saliency = build("resnet")
    (features,) = saliency.features([picture(33, 49)])  # a single cell
    assert features.dense.shape == (32, 1, 1)
    assert not saliency.maps(features, ["car", "zebra"], VOCABULARY).any()


def test_nothing_asked_is_nothing_answered(build: Build) -> None:
    saliency = build("vit")
    (features,) = saliency.features([picture(32, 48)])
    assert saliency.maps(features, [], ()).shape == (0, 32, 48)
    assert saliency.features([]) == []


@pytest.mark.parametrize(
    ("size", "expected"),
    [((32, 48), (32, 48)), ((1300, 700), (1300, 700)), ((1301, 700), (1024, 550)), ((1200, 1600), (768, 1024))],
)
def test_only_large_images_are_made_smaller(size: tuple[int, int], expected: tuple[int, int], build: Build) -> None:
    assert build("vit").input_size(np.zeros((*size, 3), np.uint8)) == expected


def test_a_fixed_input_squeezes_the_image_and_the_map_has_its_size(build: Build) -> None:
    saliency = build("vit", input=64)
    image = picture(32, 48)
    before = image.copy()
    (features,) = saliency.features([image])
    assert features.dense.shape == (32, 8, 8)
    assert saliency.maps(features, ["car"], VOCABULARY).shape == (1, 32, 48)
    assert np.array_equal(image, before)


def test_normalisation_is_imagenets_or_the_models_own(build: Build) -> None:
    grey = torch.full((1, 2, 3, 3), 128, dtype=torch.uint8)
    found = maskclip.normalised(grey, build("vit", normalise="clip").mean, build("vit", normalise="clip").std)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    near(found[0, :, 1, 2], (128 / 255 - mean) / std, 1e-6)
    assert build("vit").mean == (0.485, 0.456, 0.406)


def test_half_precision_stays_close(build: Build) -> None:
    (whole,), (half,) = (build("vit", half=half).features([picture(32, 48)]) for half in (False, True))
    assert half.dense.dtype == torch.float32
    near(half.dense, whole.dense, 5e-3)
    assert not torch.equal(half.dense, whole.dense)


def test_residual_and_templates_matter(build: Build) -> None:
    image = picture(32, 48)
    maps = []
    for params in ({}, {"residual": False}, {"templates": "published"}):
        saliency = build("vit", **params)
        (features,) = saliency.features([image])
        maps.append(saliency.maps(features, ["car"], VOCABULARY)[0])
    assert np.abs(maps[0] - maps[1]).max() > 0.01
    assert np.abs(maps[0] - maps[2]).max() > 0.01


def test_published_templates_are_85_sentences_that_fit_the_scenes_context() -> None:
    assert len(set(sentences("published"))) == 85
    assert all(template.count("{}") == 1 for template in sentences("published"))
    assert max(len(template) for template in sentences("published")) == len(LONGEST)
    tokenizer = load_clip(SCENES, device="cpu", allow_random=True).tokenizer
    assert max(len(tokenizer.encode(template.replace("{}", "window"))) + 2 for template in sentences("published")) <= 24


def test_the_positional_embedding_is_resized_once_a_grid(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    saliency = build("vit")
    grids: list[tuple[int, int]] = []
    resize = maskclip.positional_embedding
    monkeypatch.setattr(
        maskclip, "positional_embedding", lambda visual, grid: grids.append(grid) or resize(visual, grid)
    )
    for size in ((32, 48), (48, 32), (32, 48), (32, 47)):
        saliency.features([picture(*size)])
    assert grids == [(4, 6), (6, 4)]


def test_the_vocabularys_normaliser_is_computed_once_for_the_objects_of_an_image(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    saliency = build("vit")
    first, second = saliency.features([picture(32, 48, 0), picture(32, 48, 1)])
    asked = [(first, "car", VOCABULARY), (first, "lamp", VOCABULARY), (second, "car", VOCABULARY)]
    asked += [(first, "car", VOCABULARY), (first, "car", VOCABULARY[:2])]
    alone = [build("vit").maps(seen, [text], names) for seen, text, names in asked]
    computed: list[int] = []
    monkeypatch.setattr(maskclip, "log_sum_exp", lambda *both: computed.append(1) or log_sum_exp(*both))
    np.testing.assert_array_equal([saliency.maps(seen, [text], names) for seen, text, names in asked], alone)
    assert len(computed) == 4  # "lamp" needs none of its own
    assert not np.allclose(alone[0], alone[2]) and not np.allclose(alone[0], alone[4])


def test_the_registry_knows_it() -> None:
    assert find("saliency", "maskclip").__name__ == "MaskClip"


def test_weights_are_wanted() -> None:
    with pytest.raises(UserError, match="no checkpoint for model=RN50-quickgelu"):
        MaskClip()


def test_another_image_tower_is_refused() -> None:
    with pytest.raises(UserError, match="wanted CLIP's ResNet or plain ViT"):
        dense_features(nn.Conv2d(3, 3, 1), pixels(32, 48))


@pytest.mark.parametrize("size", [(4, 6), (40, 60)])
def test_the_normaliser_is_that_of_all_classes_and_leaves_their_scores_alone(size: tuple[int, int]) -> None:
    scores = torch.randn(19, 4, 6, generator=torch.Generator().manual_seed(0))
    before = scores.clone()
    torch.testing.assert_close(
        log_sum_exp(scores[None], size)[0], upsampled(scores, size).logsumexp(0), rtol=0, atol=1e-5
    )
    assert torch.equal(scores, before)


def test_one_text_on_each_of_several_images_is_as_alone(build: Build) -> None:
    clip = build("ViT-B-16")
    images = [picture(40, 60, 0), picture(60, 40, 1), picture(40, 60, 2), picture(40, 60, 3)]
    texts, vocabularies = ["dog", "cat", "bird", "dog"], [("dog", "cat"), ("dog", "cat"), ("dog", "cat"), ("dog",)]
    features = clip.features(images)
    found = clip.maps_of_each(features, texts, vocabularies)
    for one, text, vocabulary, dense in zip(found, texts, vocabularies, features, strict=True):
        np.testing.assert_allclose(one, clip.maps(dense, [text], vocabulary)[0], rtol=0, atol=1e-5)
    assert not np.allclose(found[0], found[2])
    assert clip.maps_of_each([], [], []) == []


def test_the_names_of_a_data_set_are_read_once_and_said_before(build: Build) -> None:
    saliency, names = build("vit", templates="published"), [f"name {number}" for number in range(9)]
    assert list(saliency.read_names(names)) == ["embedding 9 names x 85 templates"]
    assert set(saliency.texts.known) == set(names) and list(saliency.read_names(names)) == []
    assert list(build("vit", templates="published").read_names(names)) == []  # another one finds them on the disk
