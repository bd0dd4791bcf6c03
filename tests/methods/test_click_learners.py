"""SimpleClick's and FocalClick's learners: what they show their networks is what the methods show them; they learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness.methods.focalclick.crops import Crop, box_of
from harness.methods.focalclick.focalclick import FocalClick
from harness.methods.learners import ritm
from harness.methods.learners.focalclick import FocalClickLearner, band, clicks_in_crop, drawn_range
from harness.methods.learners.simpleclick import SimpleClickLearner
from harness.methods.ritm.zoom import Window, ZoomIn
from harness.methods.simpleclick.simpleclick import SimpleClick
from safetensors.torch import save_file
from torch import Tensor

from harness.config.recipe import Recipe, load_recipe
from harness.plugins import parameters
from harness.running.one_training import stored
from harness.structures import Click, Instance, Prompt, Said, Sample, UserError
from harness.training.state import TrainingState

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SAID = Said("box", ("box",), ("box",))
SIMPLE: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2, "patch": 8, "group": 1, "neck": (8, 8, 8, 8), "head": 8}
SIMPLE |= {"norm_radius": 3, "size": 32, "min_crop_size": 8}
FOCAL: dict[str, Any] = {"widths": (8, 8, 16, 16), "depths": (1, 1, 1, 1), "heads": (1, 1, 2, 2), "head_width": 16}
FOCAL |= {"refiner_width": 8, "radius": 3, "size": 32}


def sample() -> Sample:
    """A box of 12 x 10 in an image of 40 x 60, brighter than what is around it."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 100, (40, 60, 3), dtype=np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[8:20, 30:40] = True
    image[mask] += 150
    return Sample("a", image, (Instance("a/0", mask, "box", True),))


def made(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return SimpleClickLearner(**(SIMPLE | options)) if name == "simpleclick" else FocalClickLearner(**(FOCAL | options))


def batch(of: Any, count: int = 2, seed: int = 0) -> dict[str, Tensor]:
    shown = sample()
    rngs = np.random.default_rng(seed).spawn(count)
    examples = [of.example(shown, shown.instances[0], SAID, rng) for rng in rngs]
    return {key: torch.from_numpy(np.stack([one[key] for one in examples])) for key in examples[0]}


def saved(of: Any, folder: Path) -> Path:
    path = folder / "weights.safetensors"
    save_file({name: stored(one, half=True) for name, one in of.network.state_dict().items()}, path, of.metadata())
    return path


def test_simpleclick_is_shown_in_training_what_it_is_shown_later(tmp_path: Path) -> None:
    learner = made("simpleclick", zoomed=0.0, flip=False)
    zoom = ZoomIn(target_size=(32, 32), skip_clicks=-1, min_crop_size=8)
    method = SimpleClick(saved(learner, tmp_path), zoom=zoom, flip=False, device="cpu")
    shown: list[tuple[Tensor, ...]] = []
    method.network.register_forward_pre_hook(lambda _, given: shown.append(given))
    example = batch(learner)
    ask(method, example)
    ((pixels, previous, clicks),) = shown
    torch.testing.assert_close(pixels[0], example["pixels"][0], rtol=0, atol=1e-6)
    torch.testing.assert_close(clicks, example["clicks"][:1])
    assert not previous.any() and method.network.architecture == learner.architecture


def test_focalclick_is_shown_in_training_what_it_is_shown_later(tmp_path: Path) -> None:
    learner = made("focalclick", zoomed=0.0, flip=False)
    method = FocalClick(saved(learner, tmp_path), infer_size=32, device="cpu")
    shown: dict[str, Any] = {}
    for name in ("coarse", "refined"):
        keep(method.network, name, shown)
    example = batch(learner)
    ask(method, example)
    pixels, previous, clicks = shown["coarse"]
    torch.testing.assert_close(pixels[0], example["pixels"][0], rtol=0, atol=1e-6)
    torch.testing.assert_close(clicks, example["clicks"][:1])
    assert not previous.any() and method.network.architecture == learner.architecture
    # The refiner's crop is another one, but clicks lie in it where the method puts them.
    _, placed, _, boxes = shown["refined"]
    torch.testing.assert_close(clicks_in_crop(clicks, boxes, 32), placed, atol=1e-4, rtol=1e-4)


def ask(method: Any, example: dict[str, Tensor]) -> None:
    """Ask for the object of an example by the example's click."""
    row, column, _ = (example["clicks"][0, 0] * torch.tensor([40 / 32, 60 / 32, 1])).round().int().tolist()
    (state,) = method.encode([sample().image])
    method.segment([(state, [Prompt((Click(column, row),))])])


def keep(network: Any, name: str, shown: dict[str, Any]) -> None:
    function = getattr(network, name)

    def asked(*given: Any) -> Any:
        shown[name] = given
        return function(*given)

    setattr(network, name, asked)


def test_the_crop_holds_the_object_and_lies_in_the_window() -> None:
    learner, mask = made("focalclick"), sample().instances[0].mask
    window = Window(4, 30, 20, 55)
    for rng in np.random.default_rng(0).spawn(50):
        crop = learner._crop(mask, window, rng)
        assert window.top <= crop.top < crop.bottom <= window.bottom + 1
        assert window.left <= crop.left < crop.right <= window.right + 1
        seen = mask[crop.top : crop.bottom, crop.left : crop.right].sum()
        assert seen > 0.6 * mask.sum() and isinstance(crop, Crop)
    assert box_of(mask) == (8, 19, 30, 39)
    start, end = drawn_range(5, 5, 1.1, (0, 9), np.random.default_rng(0))
    assert start < end, "never empty"


def test_the_band_lies_along_the_outline() -> None:
    target = torch.zeros(1, 20, 20, dtype=torch.bool)
    target[0, 5:15, 5:15] = True
    (found,) = band(target, 7)
    wanted = torch.zeros(20, 20)
    wanted[2:18, 2:18] = 1
    wanted[8:12, 8:12] = 0
    assert torch.equal(found, wanted)


@pytest.mark.parametrize(("name", "steps"), [("simpleclick", 90), ("focalclick", 40)])
def test_training_learns_and_every_parameter_gets_a_gradient(name: str, steps: int) -> None:
    learner = made(name, zoomed=0.0, next_clicks=1)
    optimiser = torch.optim.AdamW(learner.parameter_groups(0.0), lr=3e-3)
    losses = []
    for step in range(steps):
        learner.network.train()
        loss = learner.loss(batch(learner, 4, step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-8:]) < 0.7 * np.mean(losses[:4])
    without = [key for key, one in learner.network.named_parameters() if one.requires_grad and (one.grad is None)]
    assert not without


def test_focalclick_refuses_a_batch_of_one_and_simpleclick_does_not() -> None:
    assert made("simpleclick").loss(batch(made("simpleclick"), 1)).isfinite()
    with pytest.raises(UserError, match="batches of 1"):
        made("focalclick").loss(batch(made("focalclick"), 1))


@pytest.mark.parametrize(("name", "parameters_in_all"), [("simpleclick", 0.6e6), ("focalclick", 0.34e6)])
def test_the_recipe_describes_a_small_network(name: str, parameters_in_all: float) -> None:
    recipe = load_recipe(ROOT / "configs" / f"scenes_{name}.yaml")
    learner = parameters.build("learners", recipe.learner.name, dict(recipe.learner.params))
    count = sum(one.numel() for one in learner.network.parameters())
    assert count == pytest.approx(parameters_in_all, rel=0.15)
    assert count * 2 < 3e6, "in half precision"


@pytest.mark.parametrize("name", ["simpleclick", "focalclick"])
def test_an_unknown_simulator(name: str) -> None:
    with pytest.raises(UserError, match=f"methods/learners/{name}.py, strategy: no click rule 'none'|{name}.*none"):
        made(name, strategy="none")


@pytest.mark.parametrize("rounds", [0, 2])
def test_frozen_norms_stay_frozen_and_take_a_batch_of_one(monkeypatch: pytest.MonkeyPatch, rounds: int) -> None:
    learner = made("focalclick")
    monkeypatch.setattr(ritm.torch, "randint", lambda *_: torch.tensor(rounds))
    with pytest.raises(UserError, match="focalclick.py: found batches of 1.*batch_norm: frozen"):
        learner.loss(batch(learner, 1))
    recipe = Recipe.model_validate(
        {"learner": {"name": "focalclick"}, "datasets": [{"name": "scenes"}], "steps": 1, "batch_norm": "frozen"}
    )
    state = TrainingState(learner, recipe)
    before = {name: value.clone() for name, value in learner.network.named_buffers()}
    for examples in (2, 1):
        state.step(0, [batch(learner, examples)])
    assert all(torch.equal(before[name], value) for name, value in learner.network.named_buffers())
    norms = [one for one in learner.network.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms) and learner.network.training
