"""Text+Click and click-only: what changes their masks, what does not, and which checkpoints they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from harness.methods.click_only import ClickOnly
from harness.methods.shared.channels import Channels, click_channels, image_channels, saliency_channel
from harness.methods.shared.prompted_deeplab import Architecture, PaddedNetwork, PromptedDeepLab, read_checkpoint
from harness.methods.text_click import TextClick
from safetensors.torch import load_file, save_file

from harness.config.click_protocol import Clicks
from harness.config.wording import Text
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.protocol import Names, Protocol
from harness.plugins.interfaces import Dataset, Saliency, checked_maps
from harness.structures import Click, Instance, Prompt, Sample, UserError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*does not say which names"),  # random weights were trained with none
]

IMAGE = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
WITH_TEXT = Architecture(Channels(size_rule="native"), "tu-regnetx_002", 16, 16)
WITHOUT = replace(WITH_TEXT, channels=Channels(saliency=False, size_rule="native"))
CLICK = Click(30, 9)


class Sides(Saliency):
    """ "left" and "right" are what they say, with the vocabulary's length as a little extra everywhere."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.images = 0

    def features(self, images: Sequence[np.ndarray]) -> list[Any]:
        self.images += len(images)
        return [image.shape[:2] for image in images]

    def maps(self, features: Any, texts: Sequence[str], vocabulary: Sequence[str]) -> np.ndarray:
        self.asked.append(tuple(texts))
        ramp = np.linspace(0, 1, features[1], dtype=np.float32)
        ramps = np.stack([ramp[::-1] if text == "left" else ramp for text in texts])
        return np.broadcast_to(ramps[:, None] / (1 + len(vocabulary)), (len(texts), *features)).copy()


class OneImage(Dataset):
    """IMAGE, with one box to the right."""

    classes = ()

    def sample_ids(self) -> list[str]:
        return ["a"]

    def load(self, sample_id: str) -> Sample:
        mask = np.zeros(IMAGE.shape[:2], bool)
        mask[8:24, 30:44] = True
        return Sample(sample_id, IMAGE, (Instance("a0", mask, "right", True),))


def save(architecture: Architecture, path: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Random weights, with statistics and a bias of which both classes come out."""
    torch.manual_seed(1)
    network = architecture.network()
    inputs = torch.randn(4, architecture.channels.count, 64, 96)
    for _ in range(20):
        network.train()(inputs)
    with torch.no_grad():
        logits = network.eval()(inputs)
        network.segmentation_head[0].bias[1] -= (logits[:, 1] - logits[:, 0]).median()
    weights = {
        key: value.to(dtype) if value.is_floating_point() else value for key, value in network.state_dict().items()
    }
    save_file(weights, path, {"architecture": json.dumps(asdict(architecture))})
    return path


@pytest.fixture(scope="module")
def text_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(WITH_TEXT, tmp_path_factory.mktemp("weights") / "text.safetensors")


@pytest.fixture(scope="module")
def click_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(WITHOUT, tmp_path_factory.mktemp("weights") / "click.safetensors")


def answers(method: PromptedDeepLab, prompts: Sequence[Prompt], image: np.ndarray = IMAGE) -> list[np.ndarray]:
    (state,) = method.encode([image])
    (predictions,) = method.segment([(state, prompts)])
    return [prediction.masks for prediction in predictions]


def test_text_changes_the_mask_of_text_click_only(text_weights: Path, click_weights: Path) -> None:
    both = TextClick(text_weights, Sides(), "cpu"), ClickOnly(click_weights, "cpu")
    changed = [
        (method.predict(IMAGE, CLICK, "left").masks ^ method.predict(IMAGE, CLICK, "right").masks).mean()
        for method in both
    ]
    assert changed[0] > 0.02
    assert changed[1] == 0


def test_the_click_changes_both_masks(text_weights: Path, click_weights: Path) -> None:
    for method in (TextClick(text_weights, Sides(), "cpu"), ClickOnly(click_weights, "cpu")):
        near, far = (method.predict(IMAGE, click, "left").masks for click in (CLICK, Click(0, 31)))
        assert (near ^ far).any(), type(method)


def test_the_vocabulary_reaches_the_saliency(text_weights: Path) -> None:
    alone, among = answers(
        TextClick(text_weights, Sides(), "cpu"),
        [Prompt((CLICK,), "left"), Prompt((CLICK,), "left", vocabulary=("left", "right", "up"))],
    )
    assert (alone ^ among).any()


def test_masks_are_bool_at_the_images_size(text_weights: Path) -> None:
    masks = TextClick(text_weights, Sides(), "cpu").predict(IMAGE, CLICK, "left").masks
    assert masks.dtype == bool
    assert masks.shape == (1, 32, 48)
    assert 0.02 < masks.mean() < 0.98  # else the tests here would compare nothing


def test_one_saliency_an_image_and_a_text(text_weights: Path) -> None:
    saliency = Sides()
    method = TextClick(text_weights, saliency, "cpu", prompts_per_batch=2)
    texts = ["left", "left", "right", "left", "right"]
    prompts = [Prompt((Click(5 * number, 7),), text) for number, text in enumerate(texts)]
    found = answers(method, prompts)
    assert saliency.asked == [("left", "right")]
    assert saliency.images == 1
    for prompt, masks in zip(prompts, found, strict=True):
        np.testing.assert_array_equal(masks, method.predict(IMAGE, prompt.clicks, prompt.text).masks)


def test_vocabularies_are_kept_apart(text_weights: Path) -> None:
    saliency = Sides()
    prompts = [Prompt((CLICK,), "left", vocabulary=names) for names in (("a",), ("a", "b"), ("a",))]
    first, second, third = answers(TextClick(text_weights, saliency, "cpu"), prompts)
    assert saliency.asked == [("left",), ("left",)]
    np.testing.assert_array_equal(first, third)
    assert (first ^ second).any()


@pytest.mark.parametrize("prompts_per_batch", [1, 3, 7, 100])
def test_batches_do_not_change_the_masks(text_weights: Path, prompts_per_batch: int) -> None:
    prompts = [Prompt((Click(6 * number, 4 * number),), "left") for number in range(7)]
    found = answers(TextClick(text_weights, Sides(), "cpu", prompts_per_batch), prompts)
    expected = answers(TextClick(text_weights, Sides(), "cpu"), prompts)
    # Convolutions sum in another order for another batch: a pixel on the boundary may tip.
    assert np.mean(np.stack(found) ^ np.stack(expected)) < 1e-3


class Wrong(Sides):
    """Sides, changed on the way out."""

    name = "my_maps:Wrong"

    def __init__(self, change: Callable[[np.ndarray], Any]) -> None:
        super().__init__()
        self.change = change

    def maps(self, features: Any, texts: Sequence[str], vocabulary: Sequence[str]) -> Any:
        return self.change(super().maps(features, texts, vocabulary))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda maps: maps * np.float32("nan"), "float32 (1, 32, 48), nan to nan"),
        (lambda maps: np.where(maps > 0.9, np.float32("inf"), maps), "float32 (1, 32, 48), 0 to inf"),
        (lambda maps: np.where(maps > 0.9, np.float32("nan"), maps), "float32 (1, 32, 48), nan to nan"),
        (lambda maps: 255 * maps, "float32 (1, 32, 48), 0 to 255"),
        (lambda maps: maps - 0.5, "float32 (1, 32, 48), -0.5 to 0.5"),
        (lambda maps: (255 * maps).astype(np.uint8), "uint8 (1, 32, 48)"),
        (lambda maps: maps[:, ::2], "float32 (1, 16, 48)"),
        (lambda maps: maps[0], "float32 (32, 48)"),
        (lambda maps: maps[..., None], "float32 (1, 32, 48, 1)"),
        (lambda maps: np.concatenate([maps, maps]), "float32 (2, 32, 48)"),
        (lambda _: None, "object ()"),
    ],
)
def test_maps_that_are_none_fail_their_rows(change: Callable[..., Any], found: str, text_weights: Path) -> None:
    names, protocol = Names("ours", "text_click", "one", "one"), Protocol("r", 0, Clicks(), Text(), ("iou",))
    method = TextClick(text_weights, Wrong(change), "cpu")
    (record,) = Evaluation(method, OneImage(), [(names, protocol)]).records(["a"])
    wanted = "wanted float32 (n, 32, 48), finite, 0 to 1 (n: 1)."
    assert record.error == f"segment: ValueError: saliency my_maps:Wrong returned {found}; {wanted}"


def test_harmless_maps_are_taken_as_float32(text_weights: Path) -> None:
    good = TextClick(text_weights, Sides(), "cpu")
    ((expected,),) = answers(good, [Prompt((CLICK,), "left")])
    for change in (np.float64, torch.from_numpy, list, lambda maps: np.minimum(maps * np.float32(1.0005), 1.0005)):
        found = Sides().maps((32, 48), ["left"], ())
        taken = checked_maps(good.saliency, change(found), 1, (32, 48))
        assert taken.dtype == np.float32
        np.testing.assert_allclose(taken, found, atol=1e-3)
        ((mask,),) = answers(TextClick(text_weights, Wrong(change), "cpu"), [Prompt((CLICK,), "left")])
        assert (mask == expected).mean() > 0.99
    assert checked_maps(good.saliency, np.ones((1, 32, 48), bool), 1, (32, 48)).dtype == np.float32
    with pytest.raises(ValueError, match=r"saliency \S*test_prompted_deeplab:Sides returned float32 \(1, 2, 3\)"):
        checked_maps(Sides(), np.zeros((1, 2, 3), np.float32), 1, (3, 2))


def test_no_prompts_no_answers(text_weights: Path) -> None:
    method = TextClick(text_weights, Sides(), "cpu")
    assert answers(method, []) == []
    assert method.segment([]) == []
    assert method.encode([]) == []


def test_images_of_any_sizes_share_a_call(click_weights: Path) -> None:
    method = ClickOnly(click_weights, "cpu")
    images = [IMAGE, IMAGE[:20, :33], IMAGE[:1, :1], IMAGE[:, ::-1]]
    states = method.encode(images)
    found = method.segment([(state, [Prompt((Click(0, 0),))]) for state in states])
    for image, (prediction,) in zip(images, found, strict=True):
        assert prediction.masks.shape == (1, *image.shape[:2])
        np.testing.assert_array_equal(prediction.masks, method.predict(image, Click(0, 0), None).masks)


@pytest.mark.parametrize("channels", [Channels(size_rule="square", size=64), Channels(size_rule="short_side", size=40)])
def test_the_mask_is_the_argmax_of_the_networks_logits_at_the_images_size(tmp_path: Path, channels: Channels) -> None:
    path = save(replace(WITH_TEXT, channels=channels), tmp_path / "weights.safetensors")
    found = TextClick(path, Sides(), "cpu").predict(IMAGE, CLICK, "left").masks[0]
    size = {"square": (64, 64), "short_side": (40, 60)}[channels.size_rule]
    saliency = torch.from_numpy(Sides().maps((32, 48), ["left"], ()))
    inputs = torch.cat(
        [
            image_channels(IMAGE, size),
            saliency_channel(saliency, size, (-1.0, 1.0)),
            click_channels(torch.tensor([[[30.0, 9.0]]]), (32, 48), size, (0.0, 1.0))[0],
        ]
    )
    network = WITH_TEXT.network().eval()
    network.load_state_dict(load_file(path))
    with torch.inference_mode():
        padded = F.pad(inputs[None], (0, 64 - size[1], 0, (48 if size[0] == 40 else 64) - size[0]), mode="replicate")
        logits = network(padded)[..., : size[0], : size[1]]
        expected = F.interpolate(logits, (32, 48), mode="bilinear", align_corners=False).argmax(1)[0].numpy() == 1
    np.testing.assert_array_equal(found, expected)


def test_padding_is_cropped_and_says_nothing_of_a_click() -> None:
    seen: list[torch.Tensor] = []

    class Echo(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            seen.append(inputs)
            return inputs

    inputs = torch.rand(1, 2, 33, 42) + 1
    assert torch.equal(PaddedNetwork(Echo(), 16)(inputs), inputs)
    assert seen[0].shape == (1, 2, 48, 48)
    assert torch.equal(seen[0][..., :33, 42:], inputs[..., 41:].expand(-1, -1, -1, 6))
    assert seen[0].min() >= 1


@pytest.mark.parametrize(("encoder", "stride"), [("resnet50", 8), ("resnet50", 16), ("tu-regnetx_002", 8)])
def test_encoders_of_the_paper_and_of_the_embedded_benchmark(tmp_path: Path, encoder: str, stride: int) -> None:
    architecture = Architecture(Channels(size_rule="native"), encoder, 16, stride)
    path = tmp_path / "weights.safetensors"
    save_file(architecture.network().state_dict(), path, {"architecture": json.dumps(asdict(architecture))})
    prediction = TextClick(path, Sides(), "cpu").predict(IMAGE[:30, :41], CLICK, "left")
    assert prediction.masks.shape == (1, 30, 41)


@pytest.mark.parametrize(("encoder", "stride"), [("resnet5", 8), ("tu-regnety", 16), ("resnet18", 4)])
def test_an_encoder_that_there_is_not(encoder: str, stride: int) -> None:
    with pytest.raises(UserError, match=f"found encoder={encoder}, output_stride={stride}; wanted an encoder"):
        Architecture(Channels(), encoder, 16, stride).network()


def test_several_clicks_go_to_their_channels(tmp_path: Path) -> None:
    channels = Channels(saliency=False, positive_clicks=2, negative_clicks=1, size_rule="native")
    method = ClickOnly(save(replace(WITHOUT, channels=channels), tmp_path / "seven.safetensors"), "cpu")
    clicks = [Click(3, 4), Click(40, 30), Click(20, 2, positive=False)]
    one, other, swapped = (
        method.predict(IMAGE, made, None).masks
        for made in (clicks, [clicks[2], *clicks[:2]], [Click(3, 4, False), Click(40, 30), Click(20, 2)])
    )
    np.testing.assert_array_equal(one, other)
    assert (one ^ swapped).any()
    with pytest.raises(ValueError, match="found 1 and 0"):
        method.predict(IMAGE, CLICK, None)


def test_half_precision_weights_load_as_float32(tmp_path: Path, text_weights: Path) -> None:
    half = save(WITH_TEXT, tmp_path / "half.safetensors", torch.float16)
    assert half.stat().st_size < 0.6 * text_weights.stat().st_size
    architecture, weights = read_checkpoint(half)
    assert architecture == WITH_TEXT
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    found, expected = (TextClick(path, Sides(), "cpu").predict(IMAGE, CLICK, "left") for path in (half, text_weights))
    assert np.mean(found.masks ^ expected.masks) < 0.01


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_text_click_wants_a_text(text_weights: Path, text: str | None) -> None:
    with pytest.raises(ValueError, match=r"text_click needs a text; found .* Use click_only"):
        TextClick(text_weights, Sides(), "cpu").predict(IMAGE, CLICK, text)


def test_click_only_wants_none(click_weights: Path) -> None:
    assert ClickOnly(click_weights, "cpu").predict(IMAGE, CLICK, None).masks.shape == (1, 32, 48)


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file at checkpoint=.*/none\.safetensors; wanted weights.*Train it"):
        ClickOnly(tmp_path / "none.safetensors", "cpu")


@pytest.mark.parametrize("share", [0, 0.0001, 0.5, 0.999])
def test_a_truncated_checkpoint(tmp_path: Path, click_weights: Path, share: float) -> None:
    content = click_weights.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"cut\.safetensors: found no whole safetensors file .* Train or copy it again"):
        ClickOnly(tmp_path / "cut.safetensors", "cpu")


def test_a_checkpoint_that_says_nothing_of_itself(tmp_path: Path, click_weights: Path) -> None:
    save_file(load_file(click_weights), tmp_path / "bare.safetensors")
    with pytest.raises(UserError, match=r"bare\.safetensors: found no architecture in its metadata; wanted .*Train it"):
        ClickOnly(tmp_path / "bare.safetensors", "cpu")


@pytest.mark.parametrize(
    "about",
    [
        "null",
        "{",
        "{}",
        json.dumps({"channels": {"size": "big"}}),
        json.dumps({"channels": {"boxes": 1}}),
        json.dumps({"channels": {}, "decoder": "upernet"}),
    ],
)
def test_an_architecture_unknown_here(tmp_path: Path, click_weights: Path, about: str) -> None:
    save_file(load_file(click_weights), tmp_path / "new.safetensors", {"architecture": about})
    with pytest.raises(UserError, match=r"new\.safetensors: found the architecture .*; wanted one that training here"):
        ClickOnly(tmp_path / "new.safetensors", "cpu")


@pytest.mark.parametrize(
    "saved",
    [
        replace(WITHOUT, encoder="resnet18"),
        replace(WITHOUT, decoder_channels=8),
        replace(WITHOUT, channels=replace(WITHOUT.channels, negative_clicks=1)),
    ],
    ids=["encoder", "decoder", "channels"],
)
def test_another_networks_weights(tmp_path: Path, saved: Architecture) -> None:
    about = {"architecture": json.dumps(asdict(WITHOUT))}
    save_file(saved.network().state_dict(), tmp_path / "other.safetensors", about)
    with pytest.raises(
        UserError, match=r"other\.safetensors: found .* as tensor .*; wanted .*, for tu-regnetx_002.* train it again"
    ):
        ClickOnly(tmp_path / "other.safetensors", "cpu")


def test_weights_of_the_other_method(text_weights: Path, click_weights: Path) -> None:
    with pytest.raises(UserError, match=r"text\.safetensors: .* have a saliency channel; wanted none.* Use text_click"):
        ClickOnly(text_weights, "cpu")
    with pytest.raises(
        UserError, match=r"click\.safetensors: .* have no saliency channel; wanted one.*else click_only"
    ):
        TextClick(click_weights, Sides(), "cpu")


def test_impossible_options(click_weights: Path) -> None:
    with pytest.raises(UserError, match="found prompts_per_batch=0; wanted 1 or more"):
        ClickOnly(click_weights, "cpu", prompts_per_batch=0)
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="found no GPU for device=cuda"):
            ClickOnly(click_weights, "cuda")
