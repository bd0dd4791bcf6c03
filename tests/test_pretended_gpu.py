"""Every method on a GPU that is pretended: no tensor is left on the CPU, and its masks are the CPU's."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import small_clips
import toy_snapshots
from every_method import NOT_HERE, PARAMS, RANDOM
from harness.plugins import parameters, registry
from harness.structures import Click, Prediction, Prompt
from pretended_gpu import pretended


def test_what_cuda_refuses_is_refused_and_what_it_takes_is_computed() -> None:
    line, given = nn.Linear(3, 4), torch.rand(2, 3)
    wanted = line(given).detach().numpy()
    with pretended():
        line.to("cuda")
        found = line(given.to("cuda"))
        assert found.device.type == "cuda" and torch.tensor([1.0], device="cuda").device.type == "cuda"
        np.testing.assert_array_equal(found.cpu().numpy(), wanted)
        assert found.sum().item() == pytest.approx(wanted.sum())
        found[0] = 1
        assert found.device.type == "cuda" and found[0].tolist() == [1.0] * 4
        assert (found * torch.tensor(2.0)).device.type == "cuda", "a number may lie on the CPU"
        places = torch.tensor([1])
        assert found[places].device.type == "cuda", "places may lie on the CPU"
        for wrong in (
            lambda: line(given),
            lambda: found + torch.rand(2, 4),
            lambda: given[found[:, :3] > 0],
            lambda: found.index_select(0, places),
        ):
            with pytest.raises(RuntimeError, match="tensors on the GPU .* and on the CPU"):
                wrong()
        with pytest.raises(TypeError, match="cuda:0 device type tensor"):
            found.numpy()


AGAIN = {"sam", "ritm", "simpleclick", "focalclick", "sam3", "grounding_dino"}
"""Methods that correct their masks by a second click; the others are trained for one."""


def answered(name: str, params: dict[str, Any], device: str) -> list[list[Prediction]]:
    """A method's answers to a click on four objects of a scene and, of some, to a second one."""
    method = parameters.build("methods", name, parameters.resolve("methods", name, {**params, "device": device}))
    scenes = parameters.build("datasets", "scenes", {"split": "val", "count": 1})
    sample = scenes.load("val-00000")
    (state,) = method.encode([sample.image])
    prompts = []
    for one in sample.instances[:4]:
        y, x = (int(place[len(place) // 2]) for place in np.nonzero(one.mask))
        prompts.append(Prompt((Click(x, y),), f"the {one.category}", None, scenes.classes))
    rounds = method.segment([(state, prompts)])
    if name in AGAIN:
        kept = [one.memory[0] if len(one.memory) else one.masks[0] for one in rounds[0]]
        more = [
            replace(prompt, clicks=(*prompt.clicks, Click(3, 3, positive=False)), previous=one)
            for prompt, one in zip(prompts, kept, strict=True)
        ]
        rounds += method.segment([(state, more)])
    return rounds


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names("methods"))
def test_masks_are_the_cpus(name: str, tmp_path: Path) -> None:
    if name in NOT_HERE or name == "predictions":
        pytest.skip(f"{name} comes in published sizes only, or has no network.")
    params = RANDOM[name](tmp_path) if name in RANDOM else PARAMS[name]
    wanted = answered(name, params, "cpu")
    with pretended():
        found = answered(name, params, "cuda")
    assert any(one.masks.any() for one in wanted[0])
    for mine, theirs in zip(chain(*found), chain(*wanted), strict=True):
        np.testing.assert_array_equal(mine.masks, theirs.masks)


@pytest.mark.slow
@pytest.mark.parametrize("tower", ["vit", "resnet"])
def test_maskclip_is_the_cpus(tower: str, tmp_path: Path) -> None:
    files = small_clips.written(tmp_path, tower)

    def maps(device: str) -> np.ndarray:
        saliency = parameters.build("saliency", "maskclip", {**files, "model": str(files["model"]), "device": device})
        (features,) = saliency.features([small_clips.picture(96, 128)])
        found: np.ndarray = saliency.maps(features, ["car", "tall tree"], ["car", "tall tree", "cup"])
        return found

    wanted = maps("cpu")
    with pretended():
        found = maps("cuda")
    assert wanted.std() > 0
    np.testing.assert_allclose(found, wanted, atol=1e-4)  # A convolution may take its sums in another order.


@pytest.mark.slow
def test_clipseg_is_the_cpus(tmp_path: Path) -> None:
    snapshot = toy_snapshots.clipseg(tmp_path / "snapshot")

    def maps(device: str) -> np.ndarray:
        saliency = parameters.build("saliency", "clipseg", {"snapshot": snapshot, "device": device})
        (features,) = saliency.features([small_clips.picture(32, 48)])
        found: np.ndarray = saliency.maps(features, ["car", "tall tree"], ["car", "tall tree"])
        return found

    wanted = maps("cpu")
    with pretended():
        found = maps("cuda")
    np.testing.assert_allclose(found, wanted, atol=1e-5)
