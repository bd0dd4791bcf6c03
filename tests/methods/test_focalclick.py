"""FocalClick against the official code's answers, the mistakes that these show, where it looks, what it refuses."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import torchvision
from harness.methods.focalclick import crops, focalclick
from harness.methods.focalclick.checkpoint import CHECKPOINTS, HRNET, SEGFORMER, HrnetArguments, SegFormerArguments
from harness.methods.focalclick.crops import Crop, box_of, component, focus_box, focus_crop, merged, view
from harness.methods.focalclick.focalclick import FocalClick, FocalClickMemory
from harness.methods.focalclick.network import FocalClickArchitecture, FocalClickNetwork, HrnetArchitecture
from harness.methods.focalclick.segformer import SegFormerArchitecture
from harness.methods.ritm.zoom import View, Window, ZoomIn
from safetensors.torch import save_file
from torch import Tensor, nn

import real_data
from harness.config.click_protocol import Clicks
from harness.config.wording import Text
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.protocol import Names, Protocol
from harness.plugins import parameters
from harness.plugins.interfaces import Dataset
from harness.structures import Click, Mask, Prompt, Sample, UserError
from harness.weights import catalogue

pytestmark = pytest.mark.slow

ANSWERS = Path(__file__).parents[1] / "data" / "focalclick_parity.npz"
"""Every 8th row and column of the official networks' logits (ClickSEG at 0c801cf, torch 2.14.1, CPU) for SegFormer-B0
in the pipeline S1, with the weights and inputs below."""

FOLDER = real_data.PARITY / "focalclick"
B0_S1 = SegFormerArguments(pipeline_version="s1", model_version="b0").architecture()
B3_S2 = SegFormerArguments(pipeline_version="s2", model_version="b3").architecture()
HRNET32 = HrnetArguments(pipeline_version="s2", width=32, ocr_width=128, use_leaky_relu=True).architecture()
HRNET18S = HrnetArguments(pipeline_version="s2", width=18, ocr_width=48, small=True, use_leaky_relu=True).architecture()
TINY = FocalClickArchitecture(SegFormerArchitecture((8, 8, 16, 16), (1, 1, 1, 1), (1, 1, 2, 2), head_width=8))


def weights_by_rule(about: FocalClickArchitecture) -> dict[str, Tensor]:
    """All tensors of the networks, each from its name."""
    made = {}
    with torch.device("meta"):
        tensors = FocalClickNetwork(about).state_dict()
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            made[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)
            continue
        shape, leaf = tuple(tensor.shape), name.split(".")[-1]
        normal = np.random.RandomState(zlib.crc32(name.encode()) + 3).standard_normal(shape)
        if leaf == "running_var":
            values = 0.5 + np.abs(normal)
        elif leaf in ("running_mean", "bias"):
            values = 0.1 * normal
        elif leaf == "weight" and len(shape) == 1:
            values = 1 + 0.2 * normal
        else:
            values = normal / np.sqrt(np.prod(shape[1:]) if len(shape) > 1 else 1)
        made[name] = torch.from_numpy(np.asarray(values, np.float32))
    return made


@torch.inference_mode()
def one_pass(about: FocalClickArchitecture) -> dict[str, np.ndarray]:
    """What both networks find, with weights and inputs by rule."""
    network: Any = CHECKPOINTS.fitted(about, weights_by_rule(about), Path("rule")).eval()
    random = np.random.RandomState(5)
    pixels, previous = (torch.from_numpy(random.rand(1, n, 256, 256).astype(np.float32)) for n in (3, 1))
    clicks = torch.tensor([[[100.5, 200.25, 1], [300, 50, 1], [220, 330, -1]]])
    clicks[..., :2] *= 0.6
    coarse = network.coarse(pixels, previous, clicks)
    box = torch.tensor([[30.5, 20.25, 190, 170.75]])
    refined, trimap = network.refined(pixels.flip(3), clicks, coarse, box)
    maps = {"coarse": coarse.logits, "refined": refined, "trimap": trimap}
    found = {name: one[0, 0, ::4, ::4].numpy() for name, one in maps.items()}
    return found | {"feature_mean_over_channels": coarse.features[0].mean(0).numpy()}


# The official code's answers.


def test_one_forward_pass_as_the_official_networks() -> None:
    found, wanted = one_pass(B0_S1), np.load(ANSWERS)
    for name in wanted.files:
        assert wanted[name].std() > 0.005
        assert np.abs(found[name][::2, ::2] - wanted[name]).max() < 1e-5, name


@real_data.needs("focalclick")
@pytest.mark.parametrize(("name", "about"), [("segformer_b3_s2", B3_S2), ("hrnet32_s2", HRNET32)])
def test_the_large_networks(name: str, about: FocalClickArchitecture) -> None:
    wanted = np.load(FOLDER / "network.npz")
    for key, values in one_pass(about).items():
        answer = wanted[f"{name}__{key}"]
        assert np.abs(values - answer).max() < 1e-4 * max(1, np.abs(answer).max()), key


def case(name: str) -> tuple[dict[str, Any], np.ndarray, list[Click]]:
    """A fixture's description, its image and its clicks."""
    described = json.loads((FOLDER / name).read_text())
    image = np.asarray(PIL.Image.open(real_data.COCO / "val2017" / described["image"]).convert("RGB"))
    return described, image, [Click(x, y, positive) for positive, y, x in described["clicks_positive_row_column"]]


def worst(method: FocalClick, name: str, answers: str, mode: str, count: int, start: bool = False) -> float:
    """The greatest difference of probabilities after each of the first clicks; merged masks must be equal."""
    described, image, clicks = case(name)
    wanted, initial = np.load(FOLDER / answers), None
    if start:
        initial = np.zeros(image.shape[:2], bool)
        top, bottom, left, right = described["initial_mask_box_y1_y2_x1_x2"]
        initial[top:bottom, left:right] = True
    (state,), kept, differences = method.encode([image]), None, []
    for number in range(1, count + 1):
        prompt = Prompt(tuple(clicks[:number]), None, kept, initial=initial)
        ((prediction,),) = method.segment([(state, [prompt])])
        (kept,) = prediction.memory
        if (key := f"{mode}__click{number}") in wanted:
            differences.append(np.abs(kept.probabilities[::4, ::4] - wanted[key]).max())
        if (key := f"{mode}__merged{number}") in wanted and start:
            mask = np.unpackbits(wanted[key])[: kept.probabilities.size].reshape(kept.probabilities.shape)
            differences.append(float((mask != prediction.masks[0]).any()))
    return float(max(differences))


def in_pipeline_s1(name: str, folder: Path) -> Path:
    """A fixture's checkpoint with its config's pipeline changed, and with an HRNet's clicks made to count."""
    content = torch.load(FOLDER / name, weights_only=True)
    content["config"]["params"]["pipeline_version"]["value"] = "s1"
    if "maps_transform.3.scale" in content["state_dict"] and "hrnet" in name:
        content["state_dict"]["maps_transform.3.scale"] = content["state_dict"]["maps_transform.3.scale"].float() * 8
    torch.save(content, folder / name)
    return folder / name


B0, H18S = "segformerB0_S2_random.pth", "hrnet18s_S2_random.pth"


@pytest.fixture(scope="module")
def b0() -> FocalClick:
    return FocalClick(FOLDER / B0, device="cpu")


@real_data.needs("focalclick", "coco")
def test_twelve_clicks_as_the_official_predictor(b0: FocalClick) -> None:
    assert worst(b0, "case.json", "expected.npz", "s2_400", 12) < 1e-4


@real_data.needs("focalclick", "coco")
def test_from_a_mask_as_the_official_predictor(b0: FocalClick) -> None:
    assert worst(b0, "case.json", "expected.npz", "s2_400_init", 5, start=True) < 1e-4


@real_data.needs("focalclick", "coco")
@pytest.mark.parametrize(
    ("name", "about", "answers", "count"),
    [(B0, "case.json", "expected.npz", 5), (H18S, "case_hrnet18s.json", "expected_hrnet18s.npz", 3)],
)
def test_the_other_pipeline(tmp_path: Path, name: str, about: str, answers: str, count: int) -> None:
    method = FocalClick(in_pipeline_s1(name, tmp_path), device="cpu")
    assert worst(method, about, answers, "s1_400", count) < 1e-4


@real_data.needs("focalclick", "coco")
def test_an_hrnet_as_the_official_predictor() -> None:
    method = FocalClick(FOLDER / H18S, device="cpu")
    assert worst(method, "case_hrnet18s.json", "expected_hrnet18s.npz", "s2_400", 4) < 1e-4


@real_data.needs("focalclick", "coco")
def test_the_official_evaluation_of_one_object(b0: FocalClick) -> None:
    described, _, clicks = case("case.json")
    dataset = parameters.build("datasets", "coco", {"root": real_data.COCO, "split": "val2017"})
    names = Names("focalclick", "focalclick", "coco", "coco")
    protocol = Protocol("parity", 0, Clicks(strategy="ritm/v1", max_clicks=2), Text(rule="none"), ("iou",))
    records = [
        one
        for one in Evaluation(b0, dataset, [(names, protocol)]).records([str(int(Path(described["image"]).stem))])
        if one.instance_id == str(described["closed_loop"]["annotation_id"])
    ]
    assert list(records[-1].clicks) == clicks[:2]
    wanted = described["closed_loop"]["from_zero"]["ious"][:2]
    np.testing.assert_allclose([one.metrics["iou"] for one in records], wanted, atol=1e-4)


class OneObject(Dataset):
    """One annotation of a photograph, which starts from a box."""

    classes = ()

    def __init__(self, sample: Sample, annotation: str, start: Mask) -> None:
        (one,) = (instance for instance in sample.instances if instance.id == annotation)
        self.sample = replace(sample, instances=(replace(one, initial=start),))

    def sample_ids(self) -> list[str]:
        return [self.sample.id]

    def load(self, sample_id: str) -> Sample:
        return self.sample


@real_data.needs("focalclick", "coco")
def test_the_official_evaluation_that_starts_from_a_mask(b0: FocalClick) -> None:
    described, image, _ = case("case.json")
    coco = parameters.build("datasets", "coco", {"root": real_data.COCO, "split": "val2017"})
    start = np.zeros(image.shape[:2], bool)
    top, bottom, left, right = described["initial_mask_box_y1_y2_x1_x2"]
    start[top:bottom, left:right] = True
    loop = described["closed_loop"]
    photograph = coco.load(str(int(Path(described["image"]).stem)))
    dataset = OneObject(photograph, str(loop["annotation_id"]), start)
    names = Names("focalclick", "focalclick", "coco", "coco")
    protocol = Protocol("parity", 0, Clicks(strategy="ritm/v1", max_clicks=4), Text(rule="none"), ("iou",))
    records = list(Evaluation(b0, dataset, [(names, protocol)]).records(dataset.sample_ids()))
    wanted = loop["from_init_box"]
    clicks = [[click.positive, click.y, click.x] for click in records[-1].clicks]
    assert clicks == wanted["clicks_positive_row_column"][:4]
    np.testing.assert_allclose([one.metrics["iou"] for one in records], wanted["ious"][:4], atol=1e-4)


Change = Callable[[FocalClick, pytest.MonkeyPatch], None]


def option(**changes: Any) -> Change:
    return lambda method, patch: [patch.setattr(method, name, value) for name, value in changes.items()]  # type: ignore[return-value]


def architecture(**changes: Any) -> Change:
    def changed(method: FocalClick, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(method.network, "architecture", replace(method.network.architecture, **changes))

    return changed


def constant(module: Any, name: str, value: Any) -> Change:
    return lambda _, patch: patch.setattr(module, name, value)


def aligned(**changes: Any) -> Change:
    align = torchvision.ops.roi_align
    return constant(torchvision.ops, "roi_align", lambda *given, **named: align(*given, **(named | changes)))


def prompt_as(change: Callable[[Tensor], Tensor]) -> Change:
    def changed(method: FocalClick, patch: pytest.MonkeyPatch) -> None:
        network = method.network.feature_extractor
        forward = network.forward
        patch.setattr(network, "forward", lambda image, prompt: forward(image, change(prompt)))

    return changed


def normalised_for_the_refiner(method: FocalClick, patch: pytest.MonkeyPatch) -> None:
    network = method.network
    refined = network.refined
    patch.setattr(network, "refined", lambda pixels, *given: refined(network._normalised(pixels), *given))


def blue_first(method: FocalClick, patch: pytest.MonkeyPatch) -> None:
    encode = method.encode
    patch.setattr(method, "encode", lambda images: encode([image[..., ::-1] for image in images]))


def zoom_of_ritm(seen: Mask, kept: Window | None, clicks: list[Click], _: float) -> View:
    return ZoomIn(min_crop_size=10).view(seen.astype(np.float32), kept, clicks)


def without_the_last_row(found: Mask, before: Mask, click: Click, window: Window, ratio: float) -> Crop:
    return focus_crop(found, before, click, window._replace(bottom=window.bottom - 1, right=window.right - 1), ratio)


def not_aligned(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


MISTAKES: dict[str, Change] = {
    "inputs of 384": option(infer_size=384),
    "pipeline s1": architecture(pipeline="s1"),
    "a crop of 1.2": option(focus_crop_ratio=1.2),
    "a window of 1.2": option(target_crop_ratio=1.2),
    "the crop from probabilities above 0.49": constant(focalclick, "CHANGED_ABOVE", 0.49),
    "the window from probabilities above 0.5": constant(focalclick, "SEEN_ABOVE", 0.5),
    "the refiner's image normalised": normalised_for_the_refiner,
    "the refiner's disks of 3": architecture(refiner_radius=3),
    "the coarse disks of 2": architecture(coarse_radius=2),
    "boxes half a pixel off": aligned(aligned=False),
    "two samples a bin": aligned(sampling_ratio=2),
    "RITM's least window": constant(crops, "ZoomIn", lambda **named: ZoomIn(**(named | {"min_crop_size": 200}))),
    "RITM's kept window": constant(focalclick, "view", zoom_of_ritm),
    "a window without its last row": constant(focalclick, "focus_crop", without_the_last_row),
    "the answer's corners not aligned": constant(focalclick, "resized", not_aligned),
    "the mask in the last channel": prompt_as(lambda prompt: prompt[:, [1, 2, 0]]),
    "no prompt": prompt_as(torch.zeros_like),
    "blue first": blue_first,
}


@real_data.needs("focalclick", "coco")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_answers_show_a_mistake(b0: FocalClick, mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MISTAKES[mistake](b0, monkeypatch)
    assert worst(b0, "case.json", "expected.npz", "s2_400", 3) > 5e-4


@real_data.needs("focalclick", "coco")
def test_the_answers_show_that_a_settled_mask_changes_little(b0: FocalClick, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(focalclick, "SETTLED", 99)
    assert worst(b0, "case.json", "expected.npz", "s2_400", 11) > 0.1


# Where it looks.


def boxed(top: int, bottom: int, left: int, right: int, size: tuple[int, int] = (100, 150)) -> Mask:
    mask = np.zeros(size, bool)
    mask[top : bottom + 1, left : right + 1] = True
    return mask


def test_pixels_that_touch_at_a_corner_are_connected() -> None:
    steps = np.eye(5, dtype=bool)
    np.testing.assert_array_equal(component(steps, Click(0, 0)), steps)
    apart = steps.copy()
    apart[2, 2] = False
    assert component(apart, Click(0, 0)).sum() == 2
    np.testing.assert_array_equal(component(steps, Click(1, 0)), ~steps), "a click beside it takes the rest"


def test_progressive_merge_changes_what_lies_under_the_click() -> None:
    before = boxed(10, 29, 10, 29)
    found = before.copy()
    found[10:20, 30:40] = True  # new, beside it
    found[60:70, 60:70] = True  # new, elsewhere
    found[25:30, 10:30] = False  # gone
    added, taken = merged(found, before, Click(35, 15)), merged(found, before, Click(15, 27, False))
    np.testing.assert_array_equal(added, before | boxed(10, 19, 30, 39))
    np.testing.assert_array_equal(taken, before & ~boxed(25, 29, 10, 29))


def test_a_click_where_nothing_changed_takes_all_that_did_not() -> None:
    before, found = boxed(10, 29, 10, 29), boxed(10, 29, 10, 39)
    outside = merged(found, before, Click(140, 90))
    np.testing.assert_array_equal(outside, ~boxed(10, 29, 30, 39))
    assert not merged(found, before, Click(15, 15)).any()


def test_the_first_click_sees_everything_and_the_next_a_window_found_anew() -> None:
    seen, two = boxed(40, 59, 70, 79), [Click(75, 50), Click(2, 2, False)]
    assert view(seen, None, two[:1], 1.4) == View(None, None)
    window = Window(36, 64, 68, 82)  # 20 x 1.4 = 28 rows around 49.5, 10 x 1.4 = 14 columns around 74.5
    assert view(seen, Window(0, 99, 0, 149), two, 1.4) == View(window, window)
    kept = Window(1, 2, 3, 4)
    assert view(boxed(0, -1, 0, -1), kept, two, 1.4) == View(None, kept)


def test_the_crop_is_around_the_change_or_the_click() -> None:
    before, nothing = boxed(20, 79, 20, 79), boxed(0, -1, 0, -1)
    found = before | boxed(20, 59, 80, 119)
    assert focus_box(before, nothing, Click(30, 30)) == (20, 79, 20, 79), "at first, around the mask"
    assert focus_box(found, before, Click(90, 30)) == (20, 59, 80, 119)
    little = before | boxed(30, 34, 80, 84)
    # 0.2 of the mask's longer side, 64 columns from first to last, to each side of the click
    assert focus_box(little, before, Click(82, 31)) == pytest.approx((31 - 12.8, 31 + 12.8, 82 - 12.8, 82 + 12.8))
    assert box_of(boxed(0, 2, 0, 2)) == (0, 100, 0, 150), "fewer than ten pixels"


def test_the_crops_ends() -> None:
    found, nothing = boxed(20, 79, 20, 79), boxed(0, -1, 0, -1)
    whole = Window.whole((100, 150))
    # 60 rows x 1.4 = 84 around 49.5: 7.5 to 91.5, cut towards zero; the last one is not in it
    assert focus_crop(found, nothing, Click(30, 30), whole, 1.4) == Crop(7, 91, 7, 91)
    assert focus_crop(found, nothing, Click(30, 30), Window(10, 85, 30, 60), 1.4) == Crop(10, 86, 30, 61)
    assert Crop(10, 86, 30, 61).within(Window(10, 85, 30, 60), 256) == (0, 0, 256, 256)
    assert Crop(7, 91, 7, 91).place(Click(8, 28), 256) == (21 * 256 / 84, 256 / 84)


def test_a_change_of_one_row_at_the_edge_leaves_a_crop() -> None:
    row, nothing = boxed(0, 0, 20, 79), boxed(0, -1, 0, -1)
    whole = Window.whole((100, 150))
    assert focus_crop(row, nothing, Click(30, 0), whole, 1.4)[:2] == (0, 1)
    assert focus_crop(boxed(20, 79, 0, 0), nothing, Click(0, 30), whole, 1.4)[2:] == (0, 1)
    # Row 50 x 1.4 is from 49.3 to 50.7: row 49 alone, which does not lie in this window.
    assert focus_crop(boxed(50, 50, 20, 79), nothing, Click(30, 50), whole, 1.4)[:2] == (49, 50)
    assert focus_crop(boxed(50, 50, 20, 79), nothing, Click(30, 50), Window(50, 60, 0, 149), 1.4)[:2] == (50, 51)


# The files.


def config(name: str = SEGFORMER, **changes: Any) -> dict[str, Any]:
    """As the official code saves it, with much that has no effect."""
    values = {"use_leaky_relu": True, "use_rgb_conv": False, "use_disks": True, "norm_radius": 260, "conv_extend": True,
              "with_prev_mask": True, "feature_stride": 8, "pipeline_version": "s2"}  # fmt: skip
    values |= {"model_version": "b0"} if name == SEGFORMER else {"width": 18, "ocr_width": 48, "small": True}
    values |= changes
    given = {key: {"type": "builtin", "value": value, "specified": True} for key, value in values.items()}
    return {"class": name, "params": given}


def described(path: Path, **wanted: Any) -> FocalClickArchitecture:
    torch.save({"state_dict": {"maps_transform.0.bias": torch.zeros(1)}, "config": config(**wanted)}, path)
    return CHECKPOINTS.read(path)[0]


def test_the_config_says_which_networks(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    assert described(path).coarse_radius == 5
    assert described(path, pipeline_version="s1", model_version="b3") == replace(B3_S2, pipeline="s1", coarse_radius=3)
    assert described(path, name=HRNET) == HRNET18S
    assert described(path, name=HRNET, pipeline_version="s1") == replace(HRNET18S, pipeline="s1", coarse_radius=2)
    assert (B0_S1.refiner_radius, B0_S1.refiner_width) == (5, 32)
    assert isinstance(HRNET18S.backbone, HrnetArchitecture)


@pytest.mark.parametrize(
    ("about", "mib", "unused"),
    [(replace(B0_S1, pipeline="s2"), 14.38, 0.2), (B3_S2, 174.56, 0.4), (HRNET18S, 16.58, 0), (HRNET32, 119.11, 0)],
)
def test_the_networks_are_as_large_as_the_published_files(
    about: FocalClickArchitecture, mib: float, unused: float
) -> None:
    with torch.device("meta"):
        tensors = FocalClickNetwork(about).state_dict()
    own = sum(one.numel() * one.element_size() for one in tensors.values()) / 2**20
    # A file holds a little more than its tensors, and of a SegFormer a gate and an entrance that are not used.
    assert 0 < mib - own < unused + 0.8


@real_data.needs("focalclick")
@pytest.mark.parametrize(("name", "count", "unused"), [(B0, 250, 7), (H18S, 983, 0)])
def test_what_is_not_used_of_a_file(name: str, count: int, unused: int) -> None:
    weights = torch.load(FOLDER / name, weights_only=True)["state_dict"]
    kept = CHECKPOINTS.read(FOLDER / name)[1]
    assert (len(weights) - len(kept)) == unused, sorted(weights.keys() - kept.keys())
    assert len(kept) == count


def refused(path: Path, *wanted: str) -> None:
    with pytest.raises(UserError) as caught:
        FocalClick(path, device="cpu")
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    for words in ("wanted", *wanted):
        assert words in message, message


def test_files_of_other_systems(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"state_dict": {}, "config": config("isegm.model.is_plainvit_model.PlainVitModel")}, path)
    refused(path, "a model of class 'isegm.model.is_plainvit_model.PlainVitModel'", "FocalClick's SegFormer or HRNet")
    ritms = config(HRNET)
    del ritms["params"]["pipeline_version"]
    torch.save({"state_dict": {}, "config": ritms}, path)
    refused(path, "found no pipeline_version")


@pytest.mark.parametrize(
    ("argument", "value"),
    [("pipeline_version", "s3"), ("model_version", "b2"), ("use_disks", False), ("with_prev_mask", False),
     ("backbone", "hrnet"), ("clicks_groups", [2, 4])],
)  # fmt: skip
def test_arguments_that_these_networks_have_not(tmp_path: Path, argument: str, value: Any) -> None:
    path = tmp_path / "a.pth"
    torch.save({"state_dict": {}, "config": config(**{argument: value})}, path)
    refused(path, argument)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny SegFormer with its refiner, as training here saves it."""
    path = tmp_path_factory.mktemp("focalclick") / "a.safetensors"
    save_file(weights_by_rule(TINY), path, {"architecture": json.dumps(asdict(TINY))})
    return path


def test_every_tensor_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    weights = weights_by_rule(replace(B0_S1, pipeline="s2"))
    missing = {name: one for name, one in weights.items() if name != "refiner.refine_trimap.bias"}
    torch.save({"state_dict": missing, "config": config()}, path)
    refused(path, "found nothing as tensor refiner.refine_trimap.bias")
    torch.save({"state_dict": weights | {"more": torch.zeros(2)}, "config": config()}, path)
    refused(path, "found (2,) as tensor more", "wanted nothing")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "no whole file of tensors")


# The method.


def images() -> list[np.ndarray]:
    return [np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8) for seed in (0, 1)]


def test_one_coarse_and_one_refining_pass_for_prompts_of_several_images(tiny: Path) -> None:
    method = FocalClick(tiny, device="cpu")
    groups = [
        (state, [Prompt((Click(x, 9),)) for x in (5, 30)][: 2 - at]) for at, state in enumerate(method.encode(images()))
    ]
    alone = [method.segment([(state, [prompt])])[0][0] for state, prompts in groups for prompt in prompts]
    sizes: dict[str, list[int]] = {"coarse": [], "refined": []}
    for name, module in (("coarse", method.network.feature_extractor), ("refined", method.network.refiner)):
        module.register_forward_pre_hook(lambda _, given, name=name: sizes[name].append(len(given[0])))
    together = [one for predictions in method.segment(groups) for one in predictions]
    assert sizes == {"coarse": [3], "refined": [3]}
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.memory[0].probabilities, other.memory[0].probabilities, atol=1e-5)


def test_a_mask_to_start_from(tiny: Path) -> None:
    method = FocalClick(tiny, device="cpu")
    (state, _), mask, clicks = method.encode(images()), boxed(5, 20, 10, 40, (40, 60)), (Click(50, 30),)
    given = [Prompt(clicks, None, mask), Prompt(clicks, initial=mask)]
    one, other = method.segment([(state, given)])[0]
    np.testing.assert_array_equal(one.masks, other.masks)
    (memory,) = other.memory
    np.testing.assert_array_equal(memory.mask, other.masks[0])
    np.testing.assert_array_equal(other.masks[0], merged(memory.probabilities > 0.5, mask, clicks[0]))
    method.progressive_merge = False
    (plain,) = method.segment([(state, given[1:])])[0]
    np.testing.assert_array_equal(plain.masks[0], plain.memory[0].probabilities > 0.5)
    with pytest.raises(ValueError, match=r"previous mask of \(40, 59\); wanted \(40, 60\)"):
        method.segment([(state, [Prompt(clicks, initial=mask[:, 1:])])])
    with pytest.raises(ValueError, match="found str as the prompt's previous"):
        method.segment([(state, [Prompt(clicks, None, "mask")])])


def test_several_clicks_at_once_see_the_whole_image(tiny: Path) -> None:
    method = FocalClick(tiny, device="cpu")
    (memory,) = method.predict(images()[0], [Click(3, 4), Click(50, 30, False)], None).memory
    assert isinstance(memory, FocalClickMemory) and memory.window is None
    with pytest.raises(ValueError, match="x=60, y=3"):
        method.predict(images()[0], Click(60, 3), None)


def test_the_defaults_are_those_of_the_published_numbers() -> None:
    params = {name: default for name, (_, default) in parameters.parameters_of(FocalClick).items()}
    assert (params["infer_size"], params["threshold"], params["progressive_merge"]) == (256, 0.5, True)
    assert (params["target_crop_ratio"], params["focus_crop_ratio"]) == (1.4, 1.4)


def test_published_numbers_name_files_of_the_catalogue() -> None:
    files = {one.file for one in catalogue.catalogue().values() if one.used_by == "focalclick"}
    assert len(files) == 8
    assert set(FocalClick.published) == files
