"""RITM against the official code's answers, the rules it goes by, and the files it refuses."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from harness.methods.ritm import ritm
from harness.methods.ritm.network import CHECKPOINTS, RitmArchitecture, RitmNetwork, click_maps
from harness.methods.ritm.ritm import EncodedImage, Ritm, RitmMemory
from harness.methods.ritm.zoom import View, Window, ZoomIn
from safetensors.torch import save_file
from torch import Tensor, nn

import real_data
from harness.plugins import parameters
from harness.structures import Click, Prediction, Prompt, UserError

pytestmark = pytest.mark.slow

ANSWERS = Path(__file__).parents[1] / "data" / "ritm_parity.npz"
"""Every 12th row and column of the official predictor's probabilities after each click (SamsungLabs/
ritm_interactive_segmentation at b9b4460, torch 2.14.1, CPU), for the networks, the image and the clicks below."""

BEGUN = Path(__file__).parents[1] / "data" / "initial_parity.npz"
"""Likewise, from a mask: the official predictor's `get_prediction(clicker, prev_mask=mask)` at the first click, then
`get_prediction(clicker)`. "simpleclick" are every 6th row and column of the same predictor's after three clicks, as
uncbiag/SimpleClick at f33112e has it, around the network of methods/simpleclick with weights by rule."""

CLASS = "isegm.model.is_hrnet_model.HRNetModel"
TINY: dict[str, Any] = {
    "width": 4,
    "ocr_width": 8,
    "small": True,
    "use_leaky_relu": True,
    "use_rgb_conv": False,
    "use_disks": True,
    "norm_radius": 5,
    "with_prev_mask": True,
}
MAIN: dict[str, Any] = {"seed": 9, "gain": 0.222, "shift": -2.569}
"""Its weights: such that masks are parts of the image, and windows move."""

CLICKS = [Click(54, 20), Click(10, 50, False), Click(70, 31), Click(30, 5), Click(83, 59, False)]
SETTINGS: dict[str, tuple[ZoomIn | None, bool]] = {
    "none": (None, True),
    "cvpr": (ZoomIn(target_size=48, min_crop_size=16), True),
    "fixed": (ZoomIn(target_size=(40, 56), skip_clicks=-1, min_crop_size=16), False),
    "again": (ZoomIn(target_size=48, skip_clicks=0, min_crop_size=16), True),
}


def random_weights(
    architecture: RitmArchitecture, seed: int, gain: float = 1.0, shift: float = 0.0
) -> dict[str, Tensor]:
    """All tensors of a network at random, from a stream that NumPy keeps as it is; `gain` and `shift` of the logits."""
    rng = np.random.RandomState(seed)
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in RitmNetwork(architecture).state_dict().items()}
    made = {}
    for name in sorted(shapes):
        shape = shapes[name]
        if name.endswith("num_batches_tracked"):
            made[name] = torch.zeros(shape, dtype=torch.int64)
            continue
        if len(shape) > 1:
            values = rng.uniform(-1, 1, shape) * np.sqrt(3 / np.prod(shape[1:]))
        elif name.endswith(("running_var", "scale", "weight")):
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = rng.uniform(-0.1, 0.1, shape)
        if "cls_head" in name:
            values = values * gain + (shift if name.endswith("bias") else 0)
        made[name] = torch.from_numpy(np.asarray(values, np.float32))
    return made


def official(
    path: Path, options: Mapping[str, Any] = TINY, seed: int = 0, gain: float = 1.0, shift: float = 0.0
) -> Path:
    """A checkpoint in the official format, with random weights."""
    weights = random_weights(RitmArchitecture(**options), seed, gain, shift)
    torch.save({"state_dict": weights, "config": config(options)}, path)
    return path


def config(options: Mapping[str, Any]) -> dict[str, Any]:
    """As the official code saves it beside the weights."""
    given = {key: {"type": "builtin", "value": value, "specified": True} for key, value in options.items()}
    norm = {"type": "class", "value": "torch.nn.modules.batchnorm.BatchNorm2d", "specified": False}
    rest = {"norm_layer": norm, "backbone_lr_mult": {"type": "builtin", "value": 0.1, "specified": False}}
    return {"class": CLASS, "params": given | rest}


def picture() -> np.ndarray:
    """A bright blob on waves, 60 x 84."""
    y, x = np.mgrid[:60, :84]
    blob = np.exp(-((y - 22) ** 2 + (x - 55) ** 2) / 150)
    waves = np.stack([np.sin(x / 7 + c) + np.cos(y / 5 - c) for c in range(3)], 2)
    return np.clip(90 + 20 * waves + 120 * blob[..., None], 0, 255).astype(np.uint8)


def answers(method: Ritm, image: np.ndarray, clicks: Sequence[Click]) -> list[RitmMemory]:
    """What the method keeps after each click, given back what it kept of the one before."""
    (state,) = method.encode([image])
    kept: list[RitmMemory] = []
    for number in range(1, len(clicks) + 1):
        prompt = Prompt(tuple(clicks[:number]), None, kept[-1] if kept else None)
        kept += method.segment([(state, [prompt])])[0][0].memory
    return kept


def difference(found: Sequence[RitmMemory], wanted: np.ndarray, stride: int) -> float:
    return max(
        float(np.abs(one.probabilities[::stride, ::stride] - other).max())
        for one, other in zip(found, wanted, strict=True)
    )


@pytest.fixture(scope="module")
def method(tmp_path_factory: pytest.TempPathFactory) -> Ritm:
    """With the tiny network; tests set its options and set them back."""
    return Ritm(official(tmp_path_factory.mktemp("ritm") / "tiny.pth", **MAIN), device="cpu")


@pytest.fixture(autouse=True)
def options_stay(method: Ritm) -> Any:
    before = dict(vars(method))
    yield
    vars(method).update(before)


# The official code's answers.

VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "mixed": (
        {"use_rgb_conv": True, "use_disks": False, "norm_radius": 20, "with_prev_mask": False, "use_leaky_relu": False},
        {"seed": 1, "gain": 15.1, "shift": 0.003},
    ),
    "extended": (
        {"conv_extend": True, "binary_prev_mask": True},
        {"seed": 1, "gain": 13.4, "shift": 0.693},
    ),
    "deep": ({"small": False}, {"seed": 1, "gain": 0.0487, "shift": -28.939}),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_five_clicks_as_the_official_predictor(method: Ritm, setting: str) -> None:
    method.zoom, method.flip = SETTINGS[setting]
    found = answers(method, picture(), CLICKS)
    wanted = np.load(ANSWERS)[setting]
    assert wanted.std() > 0.05
    assert difference(found, wanted, 12) < 1e-4


def begun() -> np.ndarray:
    """A mask to start from: a box with a hole."""
    mask = np.zeros((60, 84), bool)
    mask[12:30, 44:66] = True
    mask[18:22, 50:54] = False
    return mask


@pytest.mark.parametrize("setting", SETTINGS)
def test_five_clicks_from_a_mask_as_the_official_predictor(method: Ritm, setting: str) -> None:
    method.zoom, method.flip = SETTINGS[setting]
    (state,) = method.encode([picture()])
    kept: list[RitmMemory] = []
    for number in range(1, len(CLICKS) + 1):
        prompt = Prompt(tuple(CLICKS[:number]), None, kept[-1] if kept else None, initial=begun())
        kept += method.segment([(state, [prompt])])[0][0].memory
    wanted = np.load(BEGUN)[f"ritm_{setting}"]
    assert difference(kept, wanted, 12) < 1e-4
    if setting != "again":  # There, asked a second time at once, the official predictor has forgotten the mask.
        assert difference(answers(method, picture(), CLICKS), wanted, 12) > 1e-3, "the mask changes the answers"


def test_the_stored_answers_zoom_in(method: Ritm) -> None:
    seen = {}
    for setting in ("cvpr", "again"):
        method.zoom, method.flip = SETTINGS[setting]
        seen[setting] = [memory.window for memory in answers(method, picture(), CLICKS)]
    assert seen["cvpr"][0] is None and seen["again"][0] is not None
    assert len(set(seen["cvpr"][1:])) > 1, "the window moves with the mask"
    assert all(window.size != (60, 84) for window in seen["cvpr"][1:2])


@pytest.mark.parametrize("variant", VARIANTS)
def test_other_networks_of_the_official_class(tmp_path: Path, variant: str) -> None:
    options, weights = VARIANTS[variant]
    made = Ritm(official(tmp_path / "a.pth", TINY | options, **weights), zoom=None, device="cpu")
    wanted = np.load(ANSWERS)[variant]
    assert wanted.std() > 0.05
    assert difference(answers(made, picture(), CLICKS[:3]), wanted, 12) < 1e-4


@real_data.needs("parity", "coco")
def test_hrnet18s_on_a_photograph_as_the_official_predictor() -> None:
    folder = real_data.PARITY / "ritm"
    case = json.loads((folder / "case.json").read_text())
    image = np.asarray(PIL.Image.open(real_data.COCO / "val2017" / case["image"]).convert("RGB"))
    clicks = [Click(x, y, positive) for positive, y, x in case["clicks_positive_row_column"]]
    wanted = np.load(folder / "expected.npz")
    made = Ritm(folder / "hrnet18s_random.pth", device="cpu")
    zooms = {"none": None, "cvpr_400": ZoomIn(), "fixed_400x400": ZoomIn(target_size=(400, 400), skip_clicks=-1)}
    for name, zoom in zooms.items():
        for flip in (False, True):
            made.zoom, made.flip = zoom, flip
            sequence = [wanted[f"{name}__flip{int(flip)}__click{number}"] for number in range(1, 6)]
            assert difference(answers(made, image, clicks), np.stack(sequence), 4) < 1e-4, (name, flip)


# Clicks.


def one_click(row: float, column: float, sign: int, radius: int = 2, disks: bool = True) -> np.ndarray:
    return click_maps(torch.tensor([[[row, column, sign]]], dtype=torch.float32), (7, 9), radius, disks)[0].numpy()


def test_a_click_is_a_disk_that_holds_its_radius() -> None:
    y, x = np.mgrid[:7, :9]
    disk = (y - 3) ** 2 + (x - 5) ** 2 <= 4
    positive, negative = one_click(3, 5, 1)
    np.testing.assert_array_equal(positive, disk)
    assert disk[1, 5] and disk[3, 7] and not disk[2, 7]
    assert not negative.any()
    np.testing.assert_array_equal(one_click(3, 5, -1), np.stack([negative, positive]))


def test_a_click_between_pixels_and_one_outside() -> None:
    y, x = np.mgrid[:7, :9]
    np.testing.assert_array_equal(one_click(2.5, 8.75, 1)[0], (y - 2.5) ** 2 + (x - 8.75) ** 2 <= 4)
    assert one_click(-1, 4, 1)[0].sum() == 4
    assert one_click(4, 9.5, 1)[0].sum() == 3
    assert one_click(0, 0, 1)[0].sum() == 6
    assert not one_click(-1, -1, 1).any(), "above and left of the map: none, as in the official code"
    assert not one_click(3, 5, 0).any()


def test_a_click_as_a_distance() -> None:
    y, x = np.mgrid[:7, :9]
    positive, negative = one_click(3, 5, 1, radius=3, disks=False)
    np.testing.assert_allclose(positive, np.tanh(2 * np.hypot(y - 3, x - 5) / 3), atol=1e-6)
    assert (negative == 1).all()


def test_the_nearest_of_several_clicks_counts() -> None:
    both = click_maps(torch.tensor([[[1.0, 1, 1], [5, 7, 1], [3, 4, -1]]]), (7, 9), 1, True)[0].numpy()
    np.testing.assert_array_equal(both[0], one_click(1, 1, 1, 1)[0] + one_click(5, 7, 1, 1)[0])
    np.testing.assert_array_equal(both[1], one_click(3, 4, -1, 1)[1])


# Where it looks.


def probabilities(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (100, 150)) -> np.ndarray:
    made = np.zeros(size, np.float32)
    for top, bottom, left, right in boxes:
        made[top : bottom + 1, left : right + 1] = 0.9
    return made


def test_the_window_around_a_mask() -> None:
    zoom = ZoomIn(min_crop_size=10)
    mask = probabilities((40, 59, 70, 79)) > 0.5
    # 20 rows x 1.4 = 28, around row 49.5; 10 columns x 1.4 = 14, around 74.5: halves go to the even number.
    assert zoom.around(mask, ()) == Window(36, 64, 68, 82)
    assert zoom.around(mask, [Click(99, 50), Click(0, 0, False)]) == Window(36, 64, 64, 106)
    assert ZoomIn(min_crop_size=60).around(mask, ()) == Window(20, 80, 44, 104)
    assert ZoomIn(min_crop_size=1000).around(mask, ()) == Window.whole((100, 150))
    assert zoom.around(np.zeros((100, 150), bool), [Click(5, 5)]) is None


def test_the_size_at_which_a_window_is_seen() -> None:
    window = Window(10, 29, 0, 79)
    assert window.size == (20, 80)
    assert ZoomIn(target_size=400).size(window) == (100, 400)
    assert ZoomIn(target_size=(30, 50)).size(window) == (30, 50)
    assert ZoomIn(target_size=30).size(Window(0, 0, 0, 99)) == (1, 30), "never nothing"


def test_zooming_starts_after_the_clicks_to_be_skipped() -> None:
    found = probabilities((40, 59, 70, 79))
    zoom = ZoomIn(min_crop_size=10, skip_clicks=1)
    assert zoom.view(found, None, [Click(75, 50)]) == View(None, None)
    window = Window(36, 64, 68, 82)
    assert zoom.view(found, None, [Click(75, 50), Click(0, 0, False)]) == View(window, window)
    whole = Window.whole((100, 150))
    first = ZoomIn(min_crop_size=10, skip_clicks=-1).view(probabilities(), None, [Click(75, 50)])
    assert first == View(whole, whole)


def test_a_window_is_kept_until_it_no_longer_fits() -> None:
    zoom = ZoomIn(min_crop_size=10)
    kept = Window(30, 70, 60, 90)
    inside = [Click(75, 50), Click(0, 0, False)]
    assert zoom.view(probabilities((40, 59, 70, 79)), kept, inside).shown == Window(36, 64, 68, 82)
    assert zoom.view(probabilities((35, 64, 65, 84)), kept, inside).shown == kept
    outside = [*inside, Click(90, 50)]
    assert zoom.view(probabilities((35, 64, 65, 84)), kept, outside).shown != kept, "its last column is not in it"
    assert zoom.view(probabilities((35, 64, 65, 84)), kept, [*inside, Click(89, 69)]).shown == kept
    assert zoom.view(probabilities((35, 64, 65, 84)), kept, [*inside, Click(75, 70)]).shown != kept


def test_an_emptied_mask_shows_the_whole_image_in_the_kept_window() -> None:
    kept = Window(30, 70, 60, 90)
    clicks = [Click(75, 50), Click(76, 50, False)]
    assert ZoomIn().view(probabilities(), kept, clicks) == View(None, kept)
    whole = Window.whole((100, 150))
    assert ZoomIn(skip_clicks=-1).view(probabilities(), kept, clicks) == View(whole, whole)


def test_a_small_first_answer_is_given_again() -> None:
    zoom, small, large = (
        ZoomIn(skip_clicks=0, min_crop_size=10),
        probabilities((40, 59, 70, 79)),
        probabilities((5, 94, 5, 140)),
    )
    assert zoom.again(small, None)
    assert not zoom.again(large, None)
    assert not zoom.again(probabilities(), None)
    assert not zoom.again(small, Window(30, 70, 60, 90))
    assert not ZoomIn(skip_clicks=1, min_crop_size=10).again(small, None)


def test_a_place_in_a_window() -> None:
    window = Window(10, 29, 40, 79)
    assert window.place(Click(60, 15), (40, 20)) == (10.0, 10.0)
    assert window.place(Click(39, 9, False), (40, 20)) == (-2.0, -0.5)


def test_what_is_pasted_lies_in_the_window() -> None:
    window = Window(1, 3, 2, 6)
    image = window.pasted(torch.ones(1, 1, 9, 9), (5, 8))[0, 0]
    assert image.sum() == 15 and (image[1:4, 2:7] == 1).all()
    ramp = torch.arange(40.0).view(1, 1, 5, 8)
    assert torch.equal(window.cut(ramp, (3, 5))[0, 0], ramp[0, 0, 1:4, 2:7])


# The method.


class Drawn(nn.Module):
    """In the place of a network: the object is what lies under positive clicks, and what it was shown is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, pixels: Tensor, previous: Tensor, clicks: Tensor) -> tuple[Tensor, None]:
        self.shown.append((pixels.clone(), previous.clone(), clicks.clone()))
        maps = click_maps(clicks, (pixels.shape[2], pixels.shape[3]), 4, True)
        return 6 * maps[:, :1] - 9 * maps[:, 1:] - 2 + pixels[:, :1] + previous, None


def drawing(method: Ritm, **options: Any) -> Drawn:
    """Puts the drawn network into the method."""
    network = Drawn()
    vars(method).update({"network": network, "zoom": None, **options})
    return network


def asked(method: Ritm, image: np.ndarray, *prompts: Prompt) -> list[Prediction]:
    (state,) = method.encode([image])
    return method.segment([(state, prompts)])[0]


def test_one_mask_above_the_threshold_at_the_images_size(method: Ritm) -> None:
    prediction = method.predict(picture(), CLICKS[0], "any text")
    assert prediction.masks.shape == (1, 60, 84)
    assert 0 < prediction.masks.mean() < 1
    (memory,) = prediction.memory
    np.testing.assert_array_equal(prediction.masks[0], memory.probabilities > np.float32(0.49))
    without_text = method.predict(picture(), CLICKS[0], None)
    np.testing.assert_array_equal(without_text.masks, prediction.masks)
    method.threshold = 0.9
    assert method.predict(picture(), CLICKS[0], None).masks.sum() < prediction.masks.sum()


def test_nothing_is_kept_between_calls(method: Ritm) -> None:
    method.zoom, method.flip = SETTINGS["cvpr"]
    other = np.ascontiguousarray(picture()[::-1, :75])
    alone = [answers(method, image, CLICKS[:3]) for image in (picture(), other[:, ::-1])]
    states = method.encode([picture(), other[:, ::-1]])
    kept: list[Any] = [None, None]
    for number in (1, 2, 3):
        groups = [(state, [Prompt(tuple(CLICKS[:number]), None, one)]) for state, one in zip(states, kept, strict=True)]
        kept = [predictions[0].memory[0] for predictions in method.segment(groups)]
    for sequence, last in zip(alone, kept, strict=True):
        np.testing.assert_array_equal(sequence[-1].probabilities, last.probabilities)
        assert sequence[-1].window == last.window


@pytest.mark.parametrize(("setting", "passes"), [("fixed", [4]), ("cvpr", [2, 6])])
def test_prompts_that_share_a_forward_pass(method: Ritm, setting: str, passes: list[int]) -> None:
    method.zoom, method.flip = SETTINGS[setting]
    before = asked(method, picture(), Prompt((CLICKS[0],)))[0].memory[0]
    prompts = [Prompt(tuple(CLICKS[:2]), None, before), *(Prompt((click,)) for click in CLICKS[1:4])]
    alone = asked(method, picture(), *prompts)
    method.prompts_per_batch = 8
    sizes = counted(method)
    together = asked(method, picture(), *prompts)
    assert sizes == passes
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.memory[0].probabilities, other.memory[0].probabilities, atol=1e-5)
        assert one.memory[0].window == other.memory[0].window


def test_a_large_input_has_a_forward_pass_of_its_own(method: Ritm, monkeypatch: pytest.MonkeyPatch) -> None:
    together = asked(method, picture(), Prompt((CLICKS[0],)))[0].memory[0]
    monkeypatch.setattr(ritm, "LARGE_PX", 60 * 84 - 1)
    sizes = counted(method)
    alone = asked(method, picture(), Prompt((CLICKS[0],)))[0].memory[0]
    assert sizes == [1, 1]  # the image and its mirror image
    np.testing.assert_allclose(alone.probabilities, together.probabilities, atol=1e-5)


def test_a_picture_that_the_network_has_no_memory_for_is_refused(method: Ritm) -> None:
    large = EncodedImage(torch.zeros(1, 1, 1, 1).expand(1, 3, 6000, 8000))  # 48 megapixels, without their memory
    sizes = counted(method)
    with pytest.raises(ValueError, match=r"6000 x 8000 pixels, 48\.0 megapixels; wanted 16 at most.*max_megapixels"):
        method.segment([(large, [Prompt((CLICKS[0],))])])
    assert sizes == []
    method.zoom = ZoomIn(target_size=(40, 56), skip_clicks=-1)  # what the message advises
    small = EncodedImage(torch.zeros(1, 3, 600, 800))
    method.max_megapixels = 0.1
    method.segment([(small, [Prompt((CLICKS[0],))])])
    assert sizes == [2]


def counted(method: Ritm) -> list[int]:
    """The batch size of every forward pass from here on, to the end of the test."""
    sizes: list[int] = []
    network = method.network

    def forward(*inputs: Tensor) -> Any:
        sizes.append(len(inputs[0]))
        return network(*inputs)

    method.network = forward  # type: ignore[assignment]
    return sizes


def test_the_network_sees_image_clicks_and_the_round_before(method: Ritm) -> None:
    network = drawing(method, flip=True)
    image = picture()
    first = asked(method, image, Prompt((Click(54, 20),)))[0].memory[0]
    asked(method, image, Prompt((Click(54, 20), Click(3, 7, False)), None, first))
    (pixels, zeros, clicks), (_, previous, both) = network.shown
    np.testing.assert_allclose(pixels[0].numpy(), image.transpose(2, 0, 1) / 255, atol=1e-6)
    assert torch.equal(pixels[1], pixels[0].flip(2))
    assert not zeros.any()
    np.testing.assert_array_equal(previous[0, 0].numpy(), first.probabilities)
    assert torch.equal(previous[1], previous[0].flip(2))
    assert clicks.tolist() == [[[20, 54, 1]], [[20, 83 - 54, 1]]]
    assert both.tolist() == [[[20, 54, 1], [7, 3, -1]], [[20, 29, 1], [7, 80, -1]]]


def test_without_flip_there_is_one_forward_pass_of_one(method: Ritm) -> None:
    network = drawing(method, flip=False)
    asked(method, picture(), Prompt((Click(54, 20),)))
    assert [len(pixels) for pixels, _, _ in network.shown] == [1]


def test_logits_are_averaged_with_those_of_the_mirror(method: Ritm) -> None:
    class Columns(nn.Module):
        def forward(self, pixels: Tensor, previous: Tensor, clicks: Tensor) -> tuple[Tensor, None]:
            return torch.arange(float(pixels.shape[3])).expand_as(previous), None

    vars(method).update(network=Columns(), zoom=None, flip=True)
    memory = asked(method, picture(), Prompt((Click(0, 0),)))[0].memory[0]
    np.testing.assert_allclose(memory.probabilities, torch.tensor(41.5).sigmoid().item())


def test_only_the_first_clicks_are_shown_if_so_wanted(method: Ritm) -> None:
    network = drawing(method, flip=False, clicks_limit=2)
    asked(method, picture(), Prompt(tuple(CLICKS)))
    assert network.shown[0][2].tolist() == [[[20, 54, 1], [50, 10, -1]]]


def test_a_users_mask_may_come_first(method: Ritm) -> None:
    network = drawing(method, flip=False)
    mask = np.zeros((60, 84), bool)
    mask[10:20, 30:50] = True
    asked(method, picture(), Prompt((Click(54, 20),), None, mask), Prompt((Click(54, 20),), initial=mask))
    for _, previous, _ in network.shown:
        np.testing.assert_array_equal(previous[0, 0].numpy(), mask)
    assert len(network.shown) == 2


def test_an_emptied_mask_keeps_its_window(method: Ritm) -> None:
    network = drawing(method, flip=False, zoom=ZoomIn(min_crop_size=10))
    window = Window(5, 24, 40, 69)
    emptied = RitmMemory(np.zeros((60, 84), np.float32), window)
    (memory,) = asked(method, picture(), Prompt((Click(54, 20), Click(50, 20, False)), None, emptied))[0].memory
    assert [pixels.shape for pixels, _, _ in network.shown] == [(1, 3, 60, 84)], "the whole image at its own size"
    assert memory.window == window
    assert memory.probabilities[5:25, 40:70].all()
    assert memory.probabilities.astype(bool).sum() == 20 * 30, "and its answer within the window"


@pytest.mark.parametrize("previous", [np.zeros((84, 60), bool), RitmMemory(np.zeros((3, 4), np.float32)), "mask"])
def test_a_previous_of_something_else(method: Ritm, previous: Any) -> None:
    with pytest.raises(ValueError, match="previous"):
        asked(method, picture(), Prompt((Click(54, 20),), None, previous))


@pytest.mark.parametrize("click", [Click(84, 0), Click(0, 60), Click(-1, 3), Click(3, -1, False)])
def test_a_click_outside_the_image(method: Ritm, click: Click) -> None:
    with pytest.raises(ValueError, match=f"x={click.x}, y={click.y}.*84 x 60"):
        method.predict(picture(), [Click(5, 5), click], None)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (37, 5)])
@pytest.mark.parametrize("setting", ["none", "cvpr", "fixed", "again"])
def test_tiny_images(method: Ritm, size: tuple[int, int], setting: str) -> None:
    method.zoom, method.flip = SETTINGS[setting]
    image = picture()[: size[0], : size[1]]
    corner = Click(size[1] - 1, size[0] - 1)
    for memory in answers(method, image, [corner, Click(0, 0, False), Click(0, 0)]):
        assert memory.probabilities.shape == size
        assert np.isfinite(memory.probabilities).all()


def test_what_it_is_given_stays_as_it_was(method: Ritm) -> None:
    method.zoom, method.flip = SETTINGS["cvpr"]
    image = picture()
    image.flags.writeable = False
    first = answers(method, image, CLICKS[:2])[-1]
    kept = first.probabilities.copy()
    asked(method, image, Prompt(tuple(CLICKS[:3]), None, first))
    np.testing.assert_array_equal(image, picture())
    np.testing.assert_array_equal(first.probabilities, kept)


def test_no_prompts(method: Ritm) -> None:
    assert asked(method, picture()) == []
    assert method.segment([]) == []


# What a config says.


def test_a_config_reaches_the_method(tmp_path: Path) -> None:
    path = official(tmp_path / "a.pth")
    zoom = {"target_size": [30, 40], "skip_clicks": -1}
    params = parameters.resolve("methods", "ritm", {"checkpoint": str(path), "zoom": zoom, "flip": False})
    made = parameters.build("methods", "ritm", json.loads(json.dumps(params)))
    assert made.zoom == ZoomIn(target_size=(30, 40), skip_clicks=-1)
    params = parameters.resolve("methods", "ritm", {"checkpoint": str(path), "zoom": None})
    assert parameters.build("methods", "ritm", params).zoom is None


@pytest.mark.parametrize(
    "wrong",
    [{"zoom": {"target": 400}}, {"zoom": {"target_size": 0}}, {"zoom": {"skip_clicks": -2}}, {"prompts_per_batch": 0},
     {"threshold": 49}],
)  # fmt: skip
def test_a_config_that_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        parameters.resolve("methods", "ritm", {"checkpoint": "weights/a.pth"} | wrong)


def test_the_defaults_are_the_official_evaluations(method: Ritm) -> None:
    params = {name: default for name, (_, default) in parameters.parameters_of(Ritm).items()}
    assert params["zoom"] == ZoomIn(400, 1, 1.4, 200, 0.5, 0.5)
    assert (params["flip"], params["threshold"], params["clicks_limit"]) == (True, 0.49, None)
    assert params["max_megapixels"] == 16  # Ours: the official code has no such limit.


# Checkpoints.


def refused(path: Path, *wanted: str) -> None:
    with pytest.raises(UserError) as caught:
        Ritm(path, device="cpu")
    message = str(caught.value)
    assert str(path) in message
    for words in ("wanted", *wanted):
        assert words in message, message


class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("old_format", [False, True])
def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path, old_format: bool) -> None:
    harm, path = tmp_path / "harm", tmp_path / "a.pth"
    content = {"state_dict": {}, "config": config(TINY), "more": Hostile(harm)}
    torch.save(content, path, _use_new_zipfile_serialization=not old_format)
    refused(path, "nothing of it was executed")
    assert not harm.exists()
    torch.load(path, weights_only=False)
    assert harm.exists(), "the file is not harmful, so the test shows nothing"


def test_a_class_path_is_data(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"state_dict": {}, "config": {"class": "antigravity.fly", "params": {}}}, path)
    refused(path, "antigravity.fly", "HRNet")


def test_no_file_and_a_truncated_one(tmp_path: Path) -> None:
    for name, remedy in (("no.pth", "train it"), ("sbd_h18_itermask.pth", "harness weights fetch ritm_sbd_h18, or")):
        with pytest.raises(UserError, match=f"methods/ritm/ritm.py: no file at checkpoint=.*{name}.*{remedy}"):
            Ritm(tmp_path / name, device="cpu")
    path = official(tmp_path / "a.pth")
    whole = path.read_bytes()
    for length in (0, 10, 1000, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        refused(path, "Fetch it again")
    path.write_bytes(np.random.RandomState(0).bytes(5000))
    refused(path, "Fetch it again")
    refused(path.rename(tmp_path / "sbd_h18_itermask.pth"), "weights fetch ritm_sbd_h18 --force")


def test_a_checkpoint_saved_by_a_wrapped_training(tmp_path: Path) -> None:
    path = official(tmp_path / "a.pth")
    wanted = CHECKPOINTS.read(path)[1]
    weights = {f"module.{name}": one for name, one in torch.load(path)["state_dict"].items()}
    torch.save({"model_state_dict": weights, "config": config(TINY), "best": np.float64(0.9)}, path)
    found = CHECKPOINTS.read(path)[1]
    assert found.keys() == wanted.keys() and all(torch.equal(one, wanted[name]) for name, one in found.items())


def test_checkpoints_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    sam = {
        "image_encoder.pos_embed": torch.zeros(1),
        "prompt_encoder.a": torch.zeros(1),
        "b": torch.zeros(1),
        "c": torch.zeros(1),
    }
    torch.save(sam, path)
    refused(path, "image_encoder.pos_embed", "`config` and `state_dict`")
    torch.save({"state_dict": {}}, path)
    refused(path, "keys state_dict")
    torch.save([{"state_dict": {}, "config": config(TINY)}], path)
    refused(path, "a list")
    torch.save({"state_dict": [1], "config": config(TINY)}, path)
    refused(path, "`state_dict`")
    torch.save({"state_dict": {1: torch.zeros(1)}, "config": config(TINY)}, path)
    refused(path, "`state_dict`")
    for no_config in (None, {"class": CLASS}, {"class": CLASS, "params": {"width": 18}}, [CLASS]):
        torch.save({"state_dict": {}, "config": no_config}, path)
        refused(path, "without a class and its arguments")
    torch.save(
        {"state_dict": {}, "config": config(TINY) | {"class": "isegm.model.is_deeplab_model.DeeplabModel"}}, path
    )
    refused(path, "DeeplabModel")


@pytest.mark.parametrize(
    ("argument", "value"),
    [("clicks_groups", [2, 4]), ("cpu_dist_maps", True), ("width", 0), ("width", 10**12), ("ocr_width", -1),
     ("backbone", "hrnet"), ("norm_mean_std", ([0.5], [0.5])), ("norm_radius", 0)],
)  # fmt: skip
def test_arguments_that_this_network_has_not(tmp_path: Path, argument: str, value: Any) -> None:
    path = tmp_path / "a.pth"
    torch.save({"state_dict": {}, "config": config(TINY | {argument: value})}, path)
    refused(path, argument)


def test_a_default_that_the_class_no_longer_has(tmp_path: Path) -> None:
    path = official(tmp_path / "a.pth")
    content = torch.load(path, weights_only=True)
    content["config"]["params"]["dist_map_mode"] = {"type": "builtin", "value": "disk", "specified": False}
    torch.save(content, path)
    assert CHECKPOINTS.read(path)[0] == RitmArchitecture(**TINY)
    content["config"]["params"]["dist_map_mode"]["specified"] = True
    torch.save(content, path)
    refused(path, "dist_map_mode")


def test_weights_of_another_size(tmp_path: Path) -> None:
    path = official(tmp_path / "a.pth")
    content = torch.load(path, weights_only=True)
    content["config"]["params"]["width"]["value"] = 6
    torch.save(content, path)
    refused(path, "as tensor feature_extractor", "width 6")
    content["config"]["params"]["width"]["value"] = 4
    del content["state_dict"]["feature_extractor.cls_head.bias"]
    torch.save(content, path)
    refused(path, "nothing as tensor feature_extractor.cls_head.bias")


def test_weights_trained_here(tmp_path: Path) -> None:
    about = RitmArchitecture(**TINY)
    weights = random_weights(about, 0)
    path = tmp_path / "a.safetensors"
    save_file({name: one.half() if one.is_floating_point() else one for name, one in weights.items()}, path,
              {"architecture": json.dumps(asdict(about))})  # fmt: skip
    found, tensors = CHECKPOINTS.read(path)
    assert found == about
    assert all(one.dtype == torch.float32 for one in tensors.values() if one.is_floating_point())
    loaded = CHECKPOINTS.fitted(found, tensors, path).state_dict()
    assert torch.equal(
        loaded["feature_extractor.conv1.weight"], weights["feature_extractor.conv1.weight"].half().float()
    )
    for metadata, words in (
        ({"architecture": '{"channels": {}}'}, "channels"),
        ({"architecture": "nothing"}, "no architecture"),
        ({"architecture": "[1]"}, "architecture"),
        (None, "no architecture"),
    ):
        save_file(weights, path, metadata)
        refused(path, words)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="whole safetensors"):
        Ritm(path, device="cpu")


@pytest.mark.parametrize(
    ("width", "ocr_width", "small", "count"), [(18, 48, True, 924), (18, 64, False, 1890), (32, 128, False, 1890)]
)
def test_the_published_sizes_have_the_official_tensors(width: int, ocr_width: int, small: bool, count: int) -> None:
    with torch.device("meta"):
        network = RitmNetwork(RitmArchitecture(**TINY | {"width": width, "ocr_width": ocr_width, "small": small}))
    assert sum(name.startswith("feature_extractor.") for name in network.state_dict()) == count
