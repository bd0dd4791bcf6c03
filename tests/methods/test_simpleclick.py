"""SimpleClick against the official code's answers, the mistakes that these answers show, and the files it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from harness.methods.ritm.zoom import ZoomIn
from harness.methods.simpleclick import network as simpleclick_network
from harness.methods.simpleclick import pyramid
from harness.methods.simpleclick.network import (
    CHECKPOINTS,
    CLASS,
    LOSS,
    Backbone,
    Neck,
    Segmenter,
    SimpleClickArchitecture,
    SimpleClickNetwork,
)
from harness.methods.simpleclick.plain_vit import PlainViT
from harness.methods.simpleclick.pyramid import Pyramid
from harness.methods.simpleclick.simpleclick import SimpleClick
from safetensors.torch import save_file
from torch import Tensor, nn

import real_data
from harness.config.click_protocol import Clicks
from harness.config.wording import Text
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.protocol import Names, Protocol
from harness.plugins import parameters
from harness.structures import Click, Prediction, Prompt, UserError
from harness.weights import catalogue

pytestmark = pytest.mark.slow

ANSWERS = Path(__file__).parents[1] / "data" / "simpleclick_parity.npz"
"""Every 16th row and column of the official network's logits (uncbiag/SimpleClick at f33112e, torch 2.14.1, CPU), for
the weights and inputs below."""

NECK = (32, 64, 96, 128)
SHAPES: dict[str, tuple[Backbone, Segmenter]] = {
    "depth12_patch16": (Backbone(96, 12, 3), Segmenter(NECK, 32)),
    "depth8_patch14": (Backbone(96, 8, 3, patch_size=(14, 14)), Segmenter(NECK, 32)),
    "depth8_patch16_x4": (Backbone(96, 8, 3), Segmenter(NECK, 16, "x4")),
}
DIGESTS = {
    "depth12_patch16": "f93a608bbfa44383",
    "depth8_patch14": "c4d6d0b4d73edbc1",
    "depth8_patch16_x4": "cd8e34247e18b5d8",
}
"""How the SHA-256 over the weights' names and bytes begins that the official network was given."""

TINY = SimpleClickArchitecture(
    norm_radius=5,
    use_disks=True,
    with_prev_mask=True,
    backbone_params=Backbone(16, 8, 2),
    neck_params=Neck(16, (4, 8, 8, 8)),
    head_params=Segmenter((4, 8, 8, 8), 8),
)


def architecture(name: str) -> SimpleClickArchitecture:
    backbone, head = SHAPES[name]
    return replace(TINY, backbone_params=backbone, neck_params=Neck(96, NECK), head_params=head)


def weights_by_rule(about: SimpleClickArchitecture) -> dict[str, Tensor]:
    """All tensors of a network, each from its name."""
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in SimpleClickNetwork(about).state_dict().items()}
    made = {}
    for name, shape in shapes.items():
        normal, leaf = np.random.RandomState(zlib.crc32(name.encode()) + 3).standard_normal(shape), name.split(".")[-1]
        if leaf == "bias":
            values = 0.1 * normal
        elif leaf in ("pos_embed", "cls_token"):
            values = 0.3 * normal
        else:
            values = 1 + 0.2 * normal if len(shape) == 1 else normal / np.sqrt(np.prod(shape[1:]))
        made[name] = torch.from_numpy(values.astype(np.float32))
    for name in ("head.conv_seg.weight", "patch_embed_coords.proj.weight"):
        made[name] *= 3
    return made


def built(about: SimpleClickArchitecture) -> SimpleClickNetwork:
    network = CHECKPOINTS.fitted(about, weights_by_rule(about), Path("rule"))
    assert isinstance(network, SimpleClickNetwork)
    return network.eval()


def inputs(side: int) -> tuple[Tensor, Tensor, Tensor]:
    random = np.random.RandomState(5)
    pixels, previous = (random.rand(1, channels, side, side).astype(np.float32) for channels in (3, 1))
    clicks = [[[100.5, 200.25, 1], [300, 50, 1], [220, 330, -1]]]
    return torch.from_numpy(pixels), torch.from_numpy(previous), torch.tensor(clicks, dtype=torch.float32)


@torch.inference_mode()
def difference(network: SimpleClickNetwork, name: str, side: int = 448) -> float:
    found = network(*inputs(side))[0][0, 0].numpy()
    return float(np.abs(found[::16, ::16] - np.load(ANSWERS)[f"{name}__{side}"]).max())


# The official code's answers.


@pytest.fixture(scope="module")
def deep() -> SimpleClickNetwork:
    """Of a depth of 12; tests that change it put it back."""
    return built(architecture("depth12_patch16"))


@pytest.mark.parametrize("name", DIGESTS)
def test_one_forward_pass_as_the_official_network(name: str) -> None:
    digest, weights = hashlib.sha256(), weights_by_rule(architecture(name))
    for key in sorted(weights):
        digest.update(key.encode() + weights[key].numpy().tobytes())
    assert digest.hexdigest().startswith(DIGESTS[name])
    assert difference(built(architecture(name)), name) < 1e-5


def test_another_size_than_that_of_the_positions(deep: SimpleClickNetwork) -> None:
    assert difference(deep, "depth12_patch16", 672) < 1e-5


def approximate_gelu(network: SimpleClickNetwork, _: pytest.MonkeyPatch) -> None:
    for block in network.backbone.blocks:
        block.mlp.act = nn.GELU(approximate="tanh")


def all_across(network: SimpleClickNetwork, _: pytest.MonkeyPatch) -> None:
    network.backbone.group = 1


def a_quarter_a_group(network: SimpleClickNetwork, _: pytest.MonkeyPatch) -> None:
    network.backbone.group = 3


def first_across(network: SimpleClickNetwork, _: pytest.MonkeyPatch) -> None:
    blocks = network.backbone.blocks
    order = [4, 5, 0, 1, 2, 3, 10, 11, 6, 7, 8, 9]  # the blocks as they are, but the first of six sees everything
    network.backbone.blocks = nn.Sequential(*(blocks[at] for at in order))


def normalised_at_the_end(network: SimpleClickNetwork, _: pytest.MonkeyPatch) -> None:
    network.backbone.blocks[-1] = nn.Sequential(network.backbone.blocks[-1], network.backbone.fc_norm)


def aligned_head(_: SimpleClickNetwork, patch: pytest.MonkeyPatch) -> None:
    spread = nn.functional.interpolate
    aligned = {"mode": "bilinear", "align_corners": True}
    patch.setattr(pyramid.F, "interpolate", lambda maps, size, **_: spread(maps, size, **aligned))


def logits_not_aligned(_: SimpleClickNetwork, patch: pytest.MonkeyPatch) -> None:
    spread = nn.functional.interpolate
    patch.setattr(simpleclick_network, "resized", lambda maps, size: spread(maps, size, mode="bilinear"))


def other_prompt(**changes: Any) -> Callable[[SimpleClickNetwork, pytest.MonkeyPatch], None]:
    def changed(network: SimpleClickNetwork, _: pytest.MonkeyPatch) -> None:
        network.architecture = replace(network.architecture, **changes)

    return changed


def previous_last(_: SimpleClickNetwork, patch: pytest.MonkeyPatch) -> None:
    whole = SimpleClickArchitecture.prompt
    patch.setattr(SimpleClickArchitecture, "prompt", lambda *given: whole(*given)[:, [1, 2, 0]])


def prompt_after_positions(_: SimpleClickNetwork, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PlainViT, "positions", lambda vit, _: vit.pos_embed[:, :-1])


MISTAKES = {
    "approximate GELU": approximate_gelu,
    "no windows": all_across,
    "groups of a quarter at a depth of 12": a_quarter_a_group,
    "the first of a group sees everything": first_across,
    "a last norm": normalised_at_the_end,
    "corners aligned in the head": aligned_head,
    "corners not aligned after it": logits_not_aligned,
    "smaller disks": other_prompt(norm_radius=3),
    "distances": other_prompt(use_disks=False),
    "a mask, no probabilities": other_prompt(binary_prev_mask=True),
    "the mask in the last channel": previous_last,
    "the class token's position": prompt_after_positions,
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_stored_answers_show_a_mistake(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = built(architecture("depth12_patch16"))
    MISTAKES[mistake](network, monkeypatch)
    assert difference(network, "depth12_patch16") > 1e-4


def answers(method: SimpleClick, image: np.ndarray, clicks: list[Click]) -> Iterator[np.ndarray]:
    """The probabilities after each click."""
    (state,) = method.encode([image])
    kept = None
    for number in range(1, len(clicks) + 1):
        ((prediction,),) = method.segment([(state, [Prompt(tuple(clicks[:number]), None, kept)])])
        (kept,) = prediction.memory
        yield kept.probabilities


def test_three_clicks_from_a_mask_as_the_official_predictor(tmp_path: Path) -> None:
    network = built(TINY)
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, tmp_path / "tiny.safetensors", {"architecture": json.dumps(asdict(TINY))})
    zoom = ZoomIn(target_size=(448, 448), skip_clicks=-1, min_crop_size=16)
    method = SimpleClick(tmp_path / "tiny.safetensors", zoom=zoom, device="cpu")
    y, x = np.mgrid[:60, :84]
    blob = np.exp(-((y - 22) ** 2 + (x - 55) ** 2) / 150)
    waves = np.stack([np.sin(x / 7 + c) + np.cos(y / 5 - c) for c in range(3)], 2)
    image = np.clip(90 + 20 * waves + 120 * blob[..., None], 0, 255).astype(np.uint8)
    mask = np.zeros((60, 84), bool)
    mask[12:30, 44:66] = True
    mask[18:22, 50:54] = False
    clicks = [Click(54, 20), Click(10, 50, False), Click(70, 31)]
    (state,), kept, wanted = method.encode([image]), None, np.load(ANSWERS.with_name("initial_parity.npz"))
    for number, expected in enumerate(wanted["simpleclick"], 1):
        ((found,),) = method.segment([(state, [Prompt(tuple(clicks[:number]), None, kept, initial=mask)])])
        (kept,) = found.memory
        assert np.abs(kept.probabilities[::6, ::6] - expected).max() < 1e-4, number
    ((alone,),) = method.segment([(state, [Prompt(tuple(clicks[:1]))])])
    assert np.abs(alone.memory[0].probabilities[::6, ::6] - wanted["simpleclick"][0]).max() > 1e-3


FOLDER = real_data.PARITY / "simpleclick"


@real_data.needs("simpleclick", "coco")
@pytest.mark.parametrize(
    ("mode", "size", "flip", "count"),
    [("cvpr_448", (448, 448), True, 5), ("cvpr_448", (448, 448), False, 2), ("davis_672", (672, 672), True, 2),
     ("fixed_448x672", (448, 672), True, 2)],
)  # fmt: skip
def test_clicks_on_a_photograph_as_the_official_predictor(
    mode: str, size: tuple[int, int], flip: bool, count: int
) -> None:
    case, wanted = json.loads((FOLDER / "case.json").read_text()), np.load(FOLDER / "expected.npz")
    image = np.asarray(PIL.Image.open(real_data.COCO / "val2017" / case["image"]).convert("RGB"))
    clicks = [Click(x, y, positive) for positive, y, x in case["clicks_positive_row_column"]][:count]
    zoom = ZoomIn(target_size=size, skip_clicks=-1)
    method = SimpleClick(FOLDER / "vit_xtiny_random.pth", zoom=zoom, flip=flip, device="cpu")
    for number, found in enumerate(answers(method, image, clicks), 1):
        assert np.abs(found[::4, ::4] - wanted[f"{mode}__flip{int(flip)}__click{number}"]).max() < 1e-5, number


@real_data.needs("simpleclick", "coco")
def test_the_official_evaluation_of_one_object() -> None:
    case = json.loads((FOLDER / "case.json").read_text())["closed_loop"]
    dataset = parameters.build("datasets", "coco", {"root": real_data.COCO, "split": "val2017"})
    method = SimpleClick(FOLDER / "vit_xtiny_random.pth", device="cpu")
    names = Names("simpleclick", "simpleclick", "coco", "coco")
    protocol = Protocol("parity", 0, Clicks(strategy="ritm/v1", max_clicks=3), Text(rule="none"), ("iou",))
    sample = str(int(Path(case["image"]).stem))
    records = [
        one
        for one in Evaluation(method, dataset, [(names, protocol)]).records([sample])
        if one.instance_id == str(case["annotation_id"])
    ]
    clicks = [[click.positive, click.y, click.x] for click in records[-1].clicks]
    assert clicks == case["clicks_positive_row_column"][:3]
    np.testing.assert_allclose([one.metrics["iou"] for one in records], case["ious"][:3], atol=2e-5)


def test_the_norms_epsilon(deep: SimpleClickNetwork) -> None:
    # The answers hardly show it: 4e-6 with 1e-5 instead.
    norms = [module for module in deep.backbone.blocks.modules() if isinstance(module, nn.LayerNorm)]
    assert [one.eps for one in norms] == [1e-6] * 24


# How an input is cut.


def test_windows_and_groups_of_the_published_sizes() -> None:
    def vit(depth: int, patch: int = 16) -> PlainViT:
        with torch.device("meta"):
            return Backbone(16, depth, 2, patch_size=(patch, patch)).build()

    assert [vit(depth).group for depth in (8, 12, 24, 32)] == [2, 6, 6, 8]
    assert vit(12).cut((448, 448)) == ((28, 28), (2, 2))
    assert vit(12).cut((672, 448)) == ((42, 28), (3, 2))
    assert vit(32, 14).cut((448, 448)) == ((32, 32), (2, 2))
    assert vit(12).cut((512, 512)) == ((32, 32), (2, 2)), "windows of 16 x 16"
    for size in ((464, 464), (128, 128), (450, 448), (448, 96)):
        with pytest.raises(ValueError, match=rf"{size[0]} x {size[1]} pixels; wanted whole patches .* equal windows"):
            vit(12).cut(size)


@pytest.mark.parametrize(
    ("width", "depth", "heads", "patch", "neck", "channels", "count", "mib"),
    [
        (160, 8, 4, 16, (96, 192, 288, 384), 128, 166, 15.5),
        (768, 12, 12, 16, (128, 256, 512, 1024), 256, 214, 373.9),
        (1024, 24, 16, 16, (192, 384, 768, 1536), 256, 358, 1236.7),
        (1280, 32, 16, 14, (240, 480, 960, 1920), 256, 454, 2526.0),
    ],
)
def test_the_published_sizes_have_the_official_tensors(
    width: int, depth: int, heads: int, patch: int, neck: Any, channels: int, count: int, mib: float
) -> None:
    backbone = Backbone(width, depth, heads, patch_size=(patch, patch))
    about = replace(
        TINY, backbone_params=backbone, neck_params=Neck(width, neck), head_params=Segmenter(neck, channels)
    )
    with torch.device("meta"):
        tensors = SimpleClickNetwork(about).state_dict()
    assert len(tensors) == count
    assert sum(one.numel() for one in tensors.values()) * 4 / 2**20 == pytest.approx(mib, rel=3e-3)


def test_the_pyramids_strides() -> None:
    with torch.no_grad():
        maps = Pyramid(16, (4, 8, 12, 16))(torch.zeros(1, 16, 8, 6))
    assert [tuple(one.shape[1:]) for one in maps] == [(4, 32, 24), (8, 16, 12), (12, 8, 6), (16, 4, 3)]


# The files.


def config(about: SimpleClickArchitecture, loss: Any = None) -> dict[str, Any]:
    """As the official code saves it beside the weights."""
    values = asdict(about)
    values["head_params"] |= {"loss_decode": loss}
    for key in ("group", "window"):  # ours alone
        del values["backbone_params"][key]
    given = {key: {"type": "builtin", "value": value, "specified": True} for key, value in values.items()}
    norm = {"type": "class", "value": "torch.nn.modules.batchnorm.BatchNorm2d", "specified": False}
    return {"class": CLASS, "params": given | {"norm_layer": norm}}


@pytest.fixture
def loss(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An object as the published files hold it: of a class, and with a function, that are not installed here."""
    with monkeypatch.context() as patch:
        for name in ("isegm", "isegm.model", "isegm.model.modeling", LOSS.rpartition(".")[0], LOSS):
            patch.setitem(sys.modules, name, ModuleType(name))

        class CrossEntropyLoss(nn.Module):
            pass

        def cross_entropy() -> None:
            raise AssertionError("it was called")

        for made in (CrossEntropyLoss, cross_entropy):
            made.__module__, made.__qualname__ = LOSS, made.__name__
            setattr(sys.modules[LOSS], made.__name__, made)
        one: Any = CrossEntropyLoss()
        one.cls_criterion = cross_entropy
        yield one


@pytest.fixture
def path(tmp_path: Path, loss: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny checkpoint in the official format; its loss's module is gone when it is read."""
    made = tmp_path / "a.pth"
    torch.save({"state_dict": weights_by_rule(TINY), "config": config(TINY, loss)}, made)
    for name in [name for name in sys.modules if name.partition(".")[0] == "isegm"]:
        monkeypatch.delitem(sys.modules, name)
    return made


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write a checkpoint anew without its loss, after a change."""
    content = {"state_dict": weights_by_rule(TINY), "config": config(TINY)}
    change(content)
    torch.save(content, path)


def refused(path: Path, *wanted: str, **options: Any) -> None:
    with pytest.raises(UserError) as caught:
        SimpleClick(path, device="cpu", **options)
    message = str(caught.value)
    assert "\n" not in message
    for words in ("wanted", *wanted):
        assert words in message, message


def test_the_pickled_loss_is_skipped(path: Path) -> None:
    foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    assert sorted(foreign) == [f"{LOSS}.CrossEntropyLoss", f"{LOSS}.cross_entropy"]
    with pytest.raises(Exception, match="Unsupported global"):
        torch.load(path, weights_only=True)
    found, weights = CHECKPOINTS.read(path)
    assert found == TINY
    assert weights.keys() == weights_by_rule(TINY).keys()
    SimpleClick(path, device="cpu")


class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def test_a_third_object_is_refused(path: Path, tmp_path: Path) -> None:
    changed(path, lambda content: content["config"]["params"].update(more=Hostile(tmp_path / "harm")))
    refused(path, f"{path}: found an object of posix.mkdir", "nothing of it was executed")
    assert not (tmp_path / "harm").exists()
    changed(path, lambda content: content["config"]["params"]["head_params"]["value"].update(loss_decode=nn.ReLU()))
    refused(path, "found an object of torch.nn.modules.activation.ReLU")


def test_files_of_other_systems(path: Path) -> None:
    other = "isegm.model.is_segformer_model.SegFormerModel"
    changed(path, lambda content: content["config"].update({"class": other}))
    refused(path, f"a model of class '{other}'", "SimpleClick's plain ViT")
    torch.save(weights_by_rule(TINY), path)
    refused(path, "`config` and `state_dict`")


def test_a_truncated_file(path: Path) -> None:
    whole = path.read_bytes()
    for length in (0, 1000, len(whole) - 30):
        path.write_bytes(whole[:length])
        refused(path, str(path), "no whole file of tensors")


def test_an_older_file_lacks_two_arguments(path: Path) -> None:
    def older(content: dict[str, Any]) -> None:
        del content["config"]["params"]["random_split"], content["config"]["params"]["head_params"]["value"]["upsample"]

    changed(path, older)
    assert CHECKPOINTS.read(path)[0] == TINY


@pytest.mark.parametrize(
    ("part", "argument", "value"),
    [("backbone_params", "depth", 0), ("backbone_params", "num_heads", 3), ("backbone_params", "swiglu", True),
     ("neck_params", "in_dim", 32), ("head_params", "align_corners", True), ("head_params", "upsample", "x8"),
     ("head_params", "in_channels", (4, 8, 8, 4))],
)  # fmt: skip
def test_arguments_that_this_network_has_not(path: Path, part: str, argument: str, value: Any) -> None:
    changed(path, lambda content: content["config"]["params"][part]["value"].update({argument: value}))
    refused(path, argument)


def test_every_tensor_must_be_there(path: Path) -> None:
    changed(path, lambda content: content["state_dict"].pop("backbone.cls_token"))
    refused(path, "found nothing as tensor backbone.cls_token")
    changed(path, lambda content: content["state_dict"].update(more=torch.zeros(2)))
    refused(path, "found (2,) as tensor more", "wanted nothing")


# The method.


@pytest.mark.parametrize(
    ("zoom", "words"),
    [
        (ZoomIn(target_size=(96, 96), skip_clicks=-1), "zoom.target_size: found an input of 96 x 96 pixels"),
        (ZoomIn(target_size=(448, 450), skip_clicks=-1), "450"),
        (ZoomIn(), "found target_size 400 and skip_clicks 1"),
        (ZoomIn(target_size=(448, 448)), "skip_clicks 1"),
    ],
)
def test_a_size_that_the_vit_cannot_see(path: Path, zoom: ZoomIn, words: str) -> None:
    refused(path, words, "[448, 448]", zoom=zoom)


def test_a_small_image_at_its_own_size_is_a_failed_row(path: Path) -> None:
    method = SimpleClick(path, zoom=None, device="cpu")
    with pytest.raises(ValueError, match=r"96 x 96 pixels; wanted whole patches.*Set `zoom.target_size`"):
        method.predict(np.zeros((96, 96, 3), np.uint8), Click(3, 4), None)
    assert SimpleClick(path, device="cpu").predict(np.zeros((96, 96, 3), np.uint8), Click(3, 4), None).masks.size


@pytest.mark.parametrize("flip", [False, True])
def test_prompts_of_several_images_share_a_forward_pass(path: Path, flip: bool) -> None:
    method = SimpleClick(path, flip=flip, device="cpu")
    images = [np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8) for seed in (0, 1)]
    groups = [
        (state, [Prompt((Click(x, 9),)) for x in (5, 30)][: 2 - at]) for at, state in enumerate(method.encode(images))
    ]
    alone = [method.segment([(state, [prompt])])[0][0] for state, prompts in groups for prompt in prompts]
    sizes: list[int] = []
    method.network.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    together = [one for predictions in method.segment(groups) for one in predictions]
    assert sizes == [3 * (1 + flip)]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.memory[0].probabilities, other.memory[0].probabilities, atol=1e-5)


def test_the_defaults_are_the_official_evaluations(path: Path) -> None:
    params = {name: default for name, (_, default) in parameters.parameters_of(SimpleClick).items()}
    assert params["zoom"] == ZoomIn((448, 448), -1, 1.4, 200, 0.5, 0.5)
    assert (params["flip"], params["threshold"], params["clicks_limit"]) == (True, 0.49, None)
    given: Prediction = SimpleClick(path, device="cpu").predict(np.zeros((30, 44, 3), np.uint8), Click(9, 9), "text")
    assert given.masks.shape == (1, 30, 44)


def test_published_numbers_name_files_of_the_catalogue() -> None:
    files = {one.file for one in catalogue.catalogue().values() if one.used_by == "simpleclick"}
    assert len(files) == 7
    assert SimpleClick.published.keys() <= files
