"""The input's channels against the published rule, computed the long way."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pydantic
import pytest
import torch
import torch.nn.functional as F
from harness.methods.shared.channels import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Channels,
    click_channels,
    image_channels,
    saliency_channel,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.structures import Click


def channel(
    x: float,
    y: float,
    image_size: tuple[int, int],
    size: tuple[int, int] | None = None,
    span: tuple[float, float] = (0.0, 1.0),
) -> np.ndarray:
    clicks = torch.tensor([[[x, y]]], dtype=torch.float32)
    return click_channels(clicks, image_size, size or image_size, span)[0, 0].numpy()


def published(x: int, y: int, image_size: tuple[int, int]) -> np.ndarray:
    """Euclidean distance of every pixel of the full image to the click, min-max to 0 to 1, in float64."""
    rows, columns = np.mgrid[: image_size[0], : image_size[1]].astype(np.float64)
    distance = np.sqrt((columns - x) ** 2 + (rows - y) ** 2)
    return (distance - distance.min()) / (distance.max() - distance.min())


# Height x width, and a click: inside, on every border, in every corner.
PLACES = [
    ((32, 48), (11, 20)),
    ((32, 48), (0, 13)),
    ((32, 48), (47, 13)),
    ((32, 48), (30, 0)),
    ((32, 48), (30, 31)),
    ((32, 48), (0, 0)),
    ((32, 48), (47, 31)),
    ((32, 48), (0, 31)),
    ((32, 48), (47, 0)),
    ((1, 9), (3, 0)),
    ((9, 1), (0, 3)),
]


@pytest.mark.parametrize(("size", "click"), PLACES)
def test_a_native_click_channel_is_the_published_distance_map(size: tuple[int, int], click: tuple[int, int]) -> None:
    found = channel(*click, size)
    np.testing.assert_allclose(found, published(*click, size), rtol=0, atol=1e-6)
    assert found[click[1], click[0]] == 0
    assert found.max() == 1
    assert found.dtype == np.float32


def test_a_click_channel_is_opencvs_distance_transform() -> None:
    elsewhere = np.ones((32, 48), np.uint8)
    elsewhere[20, 11] = 0
    distance = cv2.distanceTransform(elsewhere, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    np.testing.assert_allclose(channel(11, 20, (32, 48)), distance / distance.max(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(64, 96), (128, 128), (100, 30), (240, 360), (512, 768)])
@pytest.mark.parametrize("click", [(120, 40), (0, 0), (359, 239), (359, 100)])
def test_a_resized_click_channel_is_the_published_map_resized(size: tuple[int, int], click: tuple[int, int]) -> None:
    whole = published(*click, (240, 360))
    expected = F.interpolate(torch.from_numpy(whole)[None, None], size=size, mode="bilinear", align_corners=False)
    farthest = np.hypot(max(click[0], 359 - click[0]), max(click[1], 239 - click[1]))
    # Interpolation misses the tip of the cone, and repeats the last pixels at the edges: by half a pixel at most.
    np.testing.assert_allclose(channel(*click, (240, 360), size), expected[0, 0], rtol=0, atol=0.5 / farthest)


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    network=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    where=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
@settings(max_examples=100)
def test_a_click_channel_stays_within_its_span(
    size: tuple[int, int], network: tuple[int, int], where: tuple[float, float]
) -> None:
    click = (int(where[0] * (size[1] - 1)), int(where[1] * (size[0] - 1)))
    found = channel(*click, size, network, (-1.0, 1.0))
    assert np.isfinite(found).all()
    assert -1 <= found.min() <= found.max() <= 1


def test_the_span_is_stretched_linearly() -> None:
    unit, signed = channel(11, 20, (32, 48)), channel(11, 20, (32, 48), span=(-1.0, 1.0))
    np.testing.assert_allclose(signed, 2 * unit - 1, rtol=0, atol=1e-6)
    assert (signed[20, 11], signed.max()) == (-1, 1)


def test_an_image_of_one_pixel_is_the_click() -> None:
    assert channel(0, 0, (1, 1)).tolist() == [[0]]
    assert channel(0, 0, (1, 1), (3, 5)).max() <= 1


def test_every_click_has_a_channel_of_its_own() -> None:
    clicks = torch.tensor([[[3.0, 4], [40, 30]], [[0, 0], [47, 31]]])
    found = click_channels(clicks, (32, 48), (32, 48), (0.0, 1.0))
    assert found.shape == (2, 2, 32, 48)
    for prompt in range(2):
        for number in range(2):
            x, y = clicks[prompt, number].int().tolist()
            np.testing.assert_allclose(found[prompt, number], published(x, y, (32, 48)), rtol=0, atol=1e-6)


def test_channels_stay_float32_whatever_comes_in() -> None:
    image = np.zeros((32, 48, 3), np.uint8)
    assert image_channels(image, (16, 24)).dtype == torch.float32
    assert saliency_channel(torch.ones(1, 32, 48, dtype=torch.float64), (16, 24), (-1.0, 1.0)).dtype == torch.float32
    span = Channels.from_dict({"click_range": [np.float64(-1), np.float64(1)]}).click_range
    assert click_channels(torch.zeros(1, 1, 2), (32, 48), (16, 24), span).dtype == torch.float32


def test_saliency_spans_what_is_asked_for() -> None:
    saliency = torch.linspace(0, 1, 32 * 48).reshape(1, 32, 48)
    assert torch.equal(saliency_channel(saliency, (32, 48), (0.0, 1.0)), saliency)
    torch.testing.assert_close(saliency_channel(saliency, (32, 48), (-1.0, 1.0)), 2 * saliency - 1)


def test_resized_saliency_is_the_mean_of_what_it_covers() -> None:
    saliency = torch.zeros(1, 32, 48)
    saliency[:, :, 24:] = 1
    found = saliency_channel(saliency, (4, 6), (-1.0, 1.0))[0]
    assert found.shape == (4, 6)
    torch.testing.assert_close(found[:, [0, 5]], torch.tensor([[-1.0, 1]]).expand(4, 2))
    torch.testing.assert_close(found.mean(), torch.tensor(0.0), rtol=0, atol=1e-6)


def test_image_channels_are_rgb_with_imagenets_statistics() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    before = image.copy()
    expected = (image / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    image.flags.writeable = False
    np.testing.assert_allclose(image_channels(image, (32, 48)), expected.transpose(2, 0, 1), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(image, before)


def test_a_smaller_image_is_antialiased() -> None:
    stripes = np.zeros((32, 48, 3), np.uint8)
    stripes[:, ::4] = 255
    grey = image_channels(stripes, (4, 6)) * torch.tensor(IMAGENET_STD).view(3, 1, 1)
    grey = grey + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    assert ((grey - 0.25).abs() < 0.05).all()


def test_mirrored_images_need_no_copy_by_the_caller() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    mirrored = image_channels(image[:, ::-1], (32, 48))
    assert torch.equal(mirrored.flip(-1), image_channels(image, (32, 48)))


# (h, w) of the image and of the input, by mmcv's `imrescale` of (2048, 512), worked out by hand:
# the factor is min(2048 / long side, 512 / short side), and int(side * factor + 0.5) the new side.
MMCV = [
    ((375, 500), (512, 683)),  # 512/375 = 1.36533; 500 -> 682.67
    ((500, 375), (683, 512)),
    ((480, 640), (512, 683)),
    ((100, 401), (511, 2048)),  # 2048/401 = 5.10723, under 5.12; 100 -> 510.72
    ((100, 400), (512, 2048)),  # both are 5.12
    ((100, 1000), (205, 2048)),  # 2.048; 100 -> 204.8
    ((1024, 1537), (512, 769)),  # 0.5; 1537 -> 768.5, which rounds up where Python's round() would not
    ((1024, 1539), (512, 770)),  # 0.5; 1539 -> 769.5
    ((683, 1024), (512, 768)),  # 0.74963; 1024 -> 767.63
    ((1, 1), (512, 512)),
]


@pytest.mark.parametrize(("image", "wanted"), MMCV)
def test_the_short_side_rule_is_mmcvs(image: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert Channels().input_size(image) == wanted
    assert Channels().input_size(image[::-1]) == wanted[::-1]


def test_no_side_vanishes() -> None:
    assert Channels().input_size((1, 9000)) == (1, 2048)


def test_square_and_native_sizes() -> None:
    assert Channels(size_rule="square", size=128).input_size((375, 500)) == (128, 128)
    assert Channels(size_rule="native").input_size((375, 500)) == (375, 500)


def test_the_paper_has_five_channels_and_the_code_seven() -> None:
    assert Channels().count == 5
    assert Channels(saliency=False).count == 4
    assert Channels(positive_clicks=2, negative_clicks=1).count == 7


def test_a_layout_survives_json() -> None:
    layout = Channels(False, 2, 1, "square", 128, (-1.0, 1.0), (0.0, 1.0))
    for channels in (Channels(), layout):
        assert Channels.from_dict(json.loads(json.dumps(channels.as_dict()))) == channels


@pytest.mark.parametrize("values", [{"size_rule": "long_side"}, {"size": "big"}, {"sise": 512}])
def test_an_unknown_layout_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError, match=next(iter(values))):
        Channels.from_dict(values)


def test_clicks_are_arranged_positive_first_in_their_order() -> None:
    clicks = [Click(1, 1, False), Click(2, 2), Click(3, 3)]
    assert Channels(positive_clicks=2, negative_clicks=1).arranged(clicks) == (Click(2, 2), Click(3, 3), clicks[0])


@pytest.mark.parametrize(
    ("clicks", "found"),
    [
        ([], "found 0 and 0"),
        ([Click(1, 1), Click(2, 2)], "found 2 and 0"),
        ([Click(1, 1), Click(2, 2, False)], "found 1 and 1"),
        ([Click(2, 2, False)], "found 0 and 1"),
    ],
)
def test_other_numbers_of_clicks_are_refused(clicks: list[Click], found: str) -> None:
    with pytest.raises(ValueError, match=f"1 positive and 0 negative clicks.*{found}"):
        Channels().arranged(clicks)
