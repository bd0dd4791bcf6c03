"""Crops: where they lie, what they show, and that image, labels, saliency and clicks move together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from harness.methods.learners.prompted_deeplab import PromptedDeepLabLearner
from harness.methods.learners.shared.augmentation import (
    NO_LABEL,
    Window,
    labels_at,
    published_window,
    rescaled,
    window_with,
)
from harness.methods.learners.shared.mask_losses import cross_entropy, soft_dice
from harness.methods.shared.channels import click_channels, normalised_pixels, window_click_channels

from harness.plugins.interfaces import Saliency
from harness.structures import Instance, Said, Sample, UserError

SIZE = (60, 100)
TINY: dict[str, Any] = {"encoder": "tu-regnetx_002", "decoder_channels": 8, "output_stride": 16, "size": 64}
MIRRORING, STRAIGHT = 2, 0


def disk(x: int, y: int, radius: int) -> np.ndarray:
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]]
    return (xs - x) ** 2 + (ys - y) ** 2 <= radius**2


def scene() -> Sample:
    """Two cars and a tie; the pixels of each have a colour of its own."""
    masks = {"car 1": disk(25, 20, 12), "tie": disk(70, 40, 9), "car 2": disk(88, 12, 8)}
    image = np.full((*SIZE, 3), 20, np.uint8)
    for level, mask in zip((100, 170, 240), masks.values(), strict=True):
        image[mask] = level
    ignore = np.zeros(SIZE, bool)
    ignore[50:, :40] = True
    instances = tuple(Instance(f"a/{name}", mask, name.split()[0]) for name, mask in masks.items())
    return Sample("a", image, instances, ignore=ignore)


class OfCategory(Saliency):
    """1 on what the text names, else 0: by the colours of `scene`."""

    def features(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [image[..., 0] for image in images]

    def maps(self, features: np.ndarray, texts: Sequence[str], vocabulary: Sequence[str]) -> np.ndarray:
        levels = {"car": (100, 240), "tie": (170,)}
        return np.stack([np.isin(features, levels[text]) for text in texts]).astype(np.float32)


def learner(**options: Any) -> PromptedDeepLabLearner:
    torch.manual_seed(0)
    return PromptedDeepLabLearner(OfCategory(), **(TINY | {"crop": "must_contain_click"} | options))


def said(instance: Instance) -> Said:
    return Said(instance.category, ("car", "tie"), ("car", "tie"))


def made(of: PromptedDeepLabLearner, number: int = 0, seed: int = STRAIGHT) -> dict[str, np.ndarray]:
    sample = scene()
    return of.example(sample, sample.instances[number], said(sample.instances[number]), np.random.default_rng(seed))


def stacked(*examples: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(np.stack([one[key] for one in examples])) for key in examples[0]}


# Windows.


def test_rescaling_as_mmcv_does() -> None:
    assert rescaled((480, 640), 512) == (512, 683)
    assert rescaled((640, 480), 256) == (341, 256)
    assert rescaled((100, 1000), 512) == (205, 2048)  # the long side ends it


def test_a_window_places_pixels_where_it_shows_them() -> None:
    window = Window((30, 50), (60, 100), 7, 11, 40)
    points = np.array([[5.0, 3.0], [49.0, 29.0]])
    np.testing.assert_allclose(window.place(points), (points + 0.5) * 2 - 0.5 - [11, 7])
    values = np.arange(6000).reshape(60, 100)
    np.testing.assert_array_equal(window.cut(values, -1), values[7:47, 11:51])


def test_padding_is_right_and_below() -> None:
    window = Window((10, 14), (10, 14), 0, 0, 16)
    cut = window.cut(np.ones((10, 14), np.uint8), NO_LABEL)
    assert window.inside == (10, 14)
    assert (cut[:10, :14] == 1).all() and (cut[10:] == NO_LABEL).all() and (cut[:, 14:] == NO_LABEL).all()


def test_the_published_crop_prefers_windows_with_a_quarter_of_object() -> None:
    labels = np.zeros((200, 300), np.uint8)
    labels[:80, :80] = 1

    def share(window: Window) -> float:
        return float(labels[window.top : window.top + 64, window.left : window.left + 64].mean())

    shares = np.array([share(published_window(labels, (200, 300), 64, np.random.default_rng(s))) for s in range(200)])
    places = np.random.default_rng(0).integers(0, [137, 237], (500, 2)).tolist()
    blind = np.array([share(Window((200, 300), (200, 300), top, left, 64)) for top, left in places])
    assert ((shares > 0.25) & (shares < 0.75)).mean() > 3 * ((blind > 0.25) & (blind < 0.75)).mean()
    assert (shares == 0).any()  # as published, the last of the tries may show nothing of it


def test_ignored_pixels_are_none_of_the_75_percent() -> None:
    labels = np.full((64, 65), NO_LABEL, np.uint8)
    labels[:8], labels[8:16] = 0, 1
    rng, once = np.random.default_rng(0), np.random.default_rng(0)
    published_window(labels, (64, 65), 64, rng)
    once.integers(1), once.integers(2)
    assert rng.random() == once.random()  # the first window is taken: half of what counts is object


@pytest.mark.parametrize("scaled", [(60, 100), (31, 52), (120, 200)])
def test_a_window_with_a_click_shows_it_and_lies_anywhere_else(scaled: tuple[int, int]) -> None:
    found = set()
    for seed in range(300):
        window = window_with(np.array([88.0, 12.0]), scaled, SIZE, 40, np.random.default_rng(seed))
        x, y = window.place(np.array([[88.0, 12.0]]))[0]
        rows, columns = window.inside
        assert -0.5 <= x <= columns - 0.5 and -0.5 <= y <= rows - 0.5
        assert 0 <= window.top <= max(0, scaled[0] - 40) and 0 <= window.left <= max(0, scaled[1] - 40)
        found.add((window.top, window.left))
    assert len(found) > (1 if scaled == (31, 52) else 30)


# Examples.


@pytest.mark.slow
@pytest.mark.parametrize("crop", ["published", "must_contain_click"])
@pytest.mark.parametrize("seed", range(6))
def test_image_labels_saliency_and_click_of_a_crop_agree(crop: str, seed: int) -> None:
    example = made(learner(crop=crop), number=2, seed=seed)
    car, other_car, tie = (np.abs(example["rgb"][..., 0].astype(int) - level) < 3 for level in (240, 100, 170))
    inside = np.zeros((64, 64), bool)
    inside[: example["inside"][0], : example["inside"][1]] = True
    target = example["target"] == 1
    assert not target[~inside].any() and (example["target"][~inside] == NO_LABEL).all()
    assert (example["target"][inside] != NO_LABEL).all()
    if car.sum() > 30:
        assert (target & car).sum() / (target | car).sum() > 0.8  # borders are blurred, nothing is shifted
        assert np.median(example["saliency"][target & car]) == 1
    for wrong in (tie, ~inside):
        assert wrong.sum() < 60 or np.median(example["saliency"][wrong]) == -1
    assert other_car.sum() < 60 or np.median(example["saliency"][other_car]) == 1  # the class's, not the instance's
    x, y = example["clicks"][0]
    if 1 <= x < example["inside"][1] - 1 and 1 <= y < example["inside"][0] - 1:
        assert target[round(float(y)), round(float(x))]
    elif crop == "must_contain_click":
        assert -0.5 <= x <= example["inside"][1] - 0.5 and -0.5 <= y <= example["inside"][0] - 0.5


def test_a_crop_without_scaling_is_a_piece_of_the_whole_images_channels() -> None:
    of = learner(scale=(60 / 64, 60 / 64), flip=False, size=64)  # 60 pixels of 60: not rescaled, padded below
    example = made(of, number=0)
    inputs = of._inputs(stacked(example, example))[0]
    click = torch.tensor([[[float(value) for value in scene_click(of)]]])
    whole = click_channels(click, SIZE, SIZE, (0.0, 1.0))[0, 0]
    left = round(float(click[0, 0, 0] - example["clicks"][0, 0]))
    torch.testing.assert_close(inputs[4, :60], whole[:, left : left + 64], rtol=0, atol=1e-5)
    assert (inputs[:3, 60:] == 0).all() and (inputs[3, 60:] == -1).all()
    assert inputs[4].max() <= 1 and inputs[4, 60:].min() > 0  # no pixel of the padding says that the click is there


def scene_click(of: PromptedDeepLabLearner) -> list[int]:
    sample = scene()
    return list(of.clicking.clicks(sample, sample.instances[0], np.random.default_rng(0))[0])


@pytest.mark.parametrize("factor", [1, 2])
def test_distance_maps_of_windows_are_those_of_whole_images(factor: int) -> None:
    clicks = torch.tensor([[[5.0, 3.0], [44.0, 20.0]], [[0.0, 29.0], [12.0, 1.0]]])
    window = Window((30, 50), (30 * factor, 50 * factor), 4, 9, 20)
    placed = torch.from_numpy(np.stack([window.place(one.double().numpy()) for one in clicks])).float()
    corners = torch.from_numpy(window.place(np.array([[0.0, 0.0], [49.0, 29.0]])).ravel()).float().expand(2, 4)
    found = window_click_channels(placed, corners, (20, 20), (-1.0, 1.0))
    whole = click_channels(clicks, (30, 50), (30 * factor, 50 * factor), (-1.0, 1.0))
    torch.testing.assert_close(found, whole[..., 4:24, 9:29], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_channels_spanned_within_the_crop() -> None:
    whole, own = (made(learner(side_channels=rule, scale=(2.0, 2.0)), number=0) for rule in ("whole", "crop"))
    np.testing.assert_array_equal(whole["rgb"], own["rgb"])
    channels = [
        window_click_channels(one["clicks"], one["extent"], (64, 64), (0.0, 1.0))[0, 0]
        for one in (stacked(whole), stacked(own))
    ]
    assert channels[0].max() < 0.99 < channels[1].max() + 1e-6
    assert own["saliency"].min() == -1 and own["saliency"].max() == 1


def test_what_is_not_the_image_is_the_mean_colour() -> None:
    rgb = torch.full((1, 4, 6, 3), 200, dtype=torch.uint8)
    found = normalised_pixels(rgb, torch.tensor([[2, 5]]))
    expected = (200 / 255 - 0.485) / 0.229
    assert found[0, 0, :2, :5].unique().item() == pytest.approx(expected, abs=1e-5)
    assert found[0, :, 2:].abs().max() == found[0, :, :, 5:].abs().max() == 0


def test_a_mirrored_crop_is_one_of_the_mirrored_image() -> None:
    of = learner(scale=(60 / 64, 60 / 64))
    straight, mirrored = made(of, 0, STRAIGHT), made(of, 0, MIRRORING)
    for example in (straight, mirrored):
        x, y = example["clicks"][0].round().astype(int)
        assert example["target"][y, x] == 1 and example["rgb"][y, x, 0] == 100
    assert straight["rgb"].tobytes() != mirrored["rgb"].tobytes()


# The loss.


def test_ignored_pixels_and_padding_cost_nothing() -> None:
    logits = torch.randn(2, 2, 4, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    target = torch.randint(2, (2, 4, 6), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    plain = cross_entropy(logits, target)
    torch.testing.assert_close(plain, cross_entropy(logits, target.bool()))
    torch.testing.assert_close(soft_dice(logits, target), soft_dice(logits, target.bool()))
    target[0, 1], target[1, :, 3:] = NO_LABEL, NO_LABEL
    for loss in (cross_entropy, soft_dice):
        (gradient,) = torch.autograd.grad(loss(logits, target), logits)
        assert gradient[0, :, 1].abs().max() == 0 and gradient[1, :, :, 3:].abs().max() == 0
        assert gradient[0, :, 0].abs().min() > 0
    each = torch.nn.functional.cross_entropy(logits, target.clamp(max=1).long(), reduction="none")
    torch.testing.assert_close(cross_entropy(logits, target), (each * (target != NO_LABEL)).sum() / 48)


@pytest.mark.slow
@pytest.mark.parametrize("crop", ["none", "must_contain_click"])
def test_what_the_data_set_ignores_is_background_as_published_or_skipped(crop: str) -> None:
    background, skipped = (
        made(learner(crop=crop, ignore=rule, scale=(60 / 64, 60 / 64), flip=False))["target"]
        for rule in ("background", "skip")
    )
    inside = slice(0, 60) if crop != "none" else slice(None)
    assert (background[inside] != NO_LABEL).all()
    assert (skipped[inside] == NO_LABEL).any()
    kept = skipped != NO_LABEL
    np.testing.assert_array_equal(skipped[kept], background[kept])


@pytest.mark.slow
def test_an_auxiliary_head_learns_along_and_is_left_out_of_the_answer(tmp_path: Any) -> None:
    from harness.methods.shared.prompted_deeplab import load_weights, read_checkpoint
    from safetensors.torch import save_file

    of = learner(auxiliary=0.4)
    loss = of.loss(stacked(made(of, 0), made(of, 1)))
    loss.backward()
    without = learner()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in of.network.auxiliary[0].parameters())  # type: ignore
    save_file(of.network.state_dict(), tmp_path / "w.safetensors", dict(of.metadata()))
    architecture, kept = read_checkpoint(tmp_path / "w.safetensors")
    assert set(kept) == set(without.network.state_dict())
    load_weights(architecture, kept, tmp_path / "w.safetensors")


# Clicks.


def test_a_channel_for_every_click_positive_ones_first() -> None:
    options = {"positives": 2, "negatives": 1, "distance": 3, "band": 5}
    of = learner(strategy="paper/v2", click_options=options, positive_clicks=2, negative_clicks=1, flip=False)
    example = made(of)
    inputs = of._inputs(stacked(example, example))
    assert inputs.shape[1] == of.architecture.channels.count == 7
    sample = scene()
    (x1, y1), (x2, y2), (x3, y3) = of.clicking.clicks(sample, sample.instances[0], np.random.default_rng(0))
    mask = sample.instances[0].mask
    assert mask[y1, x1] and mask[y2, x2] and not mask[y3, x3]
    assert torch.isfinite(of.loss(stacked(example, example)))


def test_clicks_and_channels_must_be_as_many() -> None:
    with pytest.raises(
        UserError, match=r"paper/v1 with click_options=\{\} makes 1 clicks; wanted 3, one for each channel"
    ):
        learner(positive_clicks=2, negative_clicks=1)


@pytest.mark.slow
def test_an_instance_has_as_many_sets_of_fixed_clicks_as_wanted() -> None:
    def sets(count: int) -> set[tuple[float, ...]]:
        of = learner(samples_per_instance=count, crop="none", flip=False)
        return {tuple(made(of, 0, seed)["clicks"].ravel()) for seed in range(60)}

    assert len(sets(1)) == 1
    assert 3 <= len(sets(5)) <= 5
    assert sets(1) <= sets(5)  # the first is that of a single one


def test_crops_of_any_image_stack() -> None:
    of, small = learner(crop="published"), scene()
    wide = replace(
        small,
        image=np.zeros((40, 190, 3), np.uint8),
        instances=(Instance("b/0", np.ones((40, 190), bool), "tie"),),
        ignore=None,
    )
    examples = [of.example(s, s.instances[0], said(s.instances[0]), np.random.default_rng(1)) for s in (small, wide)]
    assert torch.isfinite(of.loss(stacked(*examples)))
    assert labels_at(np.eye(4, dtype=np.uint8), (8, 8)).shape == (8, 8)
