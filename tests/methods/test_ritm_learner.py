"""What RITM's learner shows its network, where it clicks next, and its loss."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness.methods.learners import ritm
from harness.methods.learners.ritm import RitmLearner, next_click, normalised_focal_loss
from harness.methods.ritm.ritm import Ritm
from harness.methods.ritm.zoom import Window, ZoomIn
from safetensors.torch import save_file
from torch import Tensor

from harness.config.recipe import load_recipe
from harness.plugins import parameters
from harness.running.one_training import stored
from harness.structures import Click, Instance, Prompt, Said, Sample, UserError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SAID = Said("box", ("box",), ("box",))
TINY: dict[str, Any] = {"width": 4, "ocr_width": 8, "norm_radius": 3, "size": 32, "min_crop_size": 8}


def sample() -> Sample:
    """A box of 12 x 10 in an image of 40 x 60, brighter than what is around it."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 100, (40, 60, 3), dtype=np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[8:20, 30:40] = True
    image[mask] += 150
    return Sample("a", image, (Instance("a/0", mask, "box", True),))


def learner(**options: Any) -> RitmLearner:
    torch.manual_seed(0)
    return RitmLearner(**(TINY | options))


def batch(of: RitmLearner, count: int = 2, seed: int = 0) -> dict[str, Tensor]:
    shown = sample()
    rngs = np.random.default_rng(seed).spawn(count)
    made = [of.example(shown, shown.instances[0], SAID, rng) for rng in rngs]
    return {key: torch.from_numpy(np.stack([one[key] for one in made])) for key in made[0]}


@pytest.fixture(scope="module")
def shared() -> RitmLearner:
    return learner()


# Examples.


def test_training_shows_the_network_what_inference_shows_it(tmp_path: Path) -> None:
    made = learner(zoomed=0.0, flip=False)
    path = tmp_path / "weights.safetensors"
    weights = {name: stored(tensor, half=True) for name, tensor in made.network.state_dict().items()}
    save_file(weights, path, made.metadata())
    method = Ritm(path, zoom=ZoomIn(target_size=(32, 32), skip_clicks=-1, min_crop_size=8), flip=False, device="cpu")
    shown: list[tuple[Tensor, ...]] = []
    method.network.register_forward_pre_hook(lambda _, inputs: shown.append(inputs))
    example = batch(made)
    row, column, _ = (example["clicks"][0, 0] * torch.tensor([40 / 32, 60 / 32, 1])).round().int().tolist()
    (state,) = method.encode([sample().image])
    method.segment([(state, [Prompt((Click(column, row),))])])
    ((pixels, previous, clicks),) = shown
    torch.testing.assert_close(pixels[0], example["pixels"][0], rtol=0, atol=1e-6)
    torch.testing.assert_close(clicks, example["clicks"][:1])
    assert not previous.any()
    method.network.train()
    assert method.network.architecture == made.architecture


def test_an_example_holds_the_object_and_a_click_on_it() -> None:
    made = learner(zoomed=0.0, flip=False)
    one = made.example(sample(), sample().instances[0], SAID, np.random.default_rng(3))
    assert one["pixels"].shape == (3, 32, 32) and one["pixels"].dtype == np.float32
    assert one["pixels"].min() >= 0 and one["pixels"].max() <= 1
    assert one["target"].shape == (32, 32) and one["target"].dtype == bool
    assert one["target"].mean() == pytest.approx(12 * 10 / (40 * 60), rel=0.2)
    ((row, column, sign),) = one["clicks"]
    assert sign == 1 and one["target"][round(float(row)), round(float(column))]
    assert one["pixels"][:, one["target"]].mean() > one["pixels"][:, ~one["target"]].mean() + 0.4


def test_image_object_and_click_are_mirrored_together() -> None:
    straight = learner(zoomed=0.0, flip=False)
    mirroring = learner(zoomed=0.0, flip=True)
    kinds = set()
    for seed in range(8):
        one, other = (
            of.example(sample(), sample().instances[0], SAID, np.random.default_rng(seed))
            for of in (straight, mirroring)
        )
        mirrored = not np.array_equal(one["target"], other["target"])
        kinds.add(mirrored)
        if mirrored:
            other["pixels"], other["target"] = other["pixels"][:, :, ::-1], other["target"][:, ::-1]
            other["clicks"][:, 1] = 31 - other["clicks"][:, 1]
        for key, value in one.items():
            np.testing.assert_allclose(other[key], value, atol=1e-5)
    assert kinds == {True, False}


def test_a_zoomed_example_shows_the_object_larger() -> None:
    whole, zoomed = learner(zoomed=0.0), learner(zoomed=1.0)
    rng = np.random.default_rng
    shares = [zoomed.example(sample(), sample().instances[0], SAID, rng(seed))["target"].mean() for seed in range(5)]
    assert min(shares) > 0.15 > whole.example(sample(), sample().instances[0], SAID, rng(0))["target"].mean()
    assert len(set(shares)) > 1
    tight = learner(zoomed=1.0, min_crop_size=1000)
    assert tight._window(sample().instances[0].mask, (), rng(0)) == Window.whole((40, 60))


def test_the_image_may_be_jittered_but_never_the_samples_own() -> None:
    made, shown = learner(jitter=0.5, zoomed=0.0, flip=False), sample()
    before = shown.image.copy()
    one, other = (made.example(shown, shown.instances[0], SAID, np.random.default_rng(seed)) for seed in (1, 2))
    assert abs(one["pixels"].mean() - other["pixels"].mean()) > 1e-3
    np.testing.assert_array_equal(shown.image, before)


# Further clicks.


def box(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((20, 30), bool)
    mask[top : bottom + 1, left : right + 1] = True
    return mask


def test_the_next_click_lies_deepest_in_the_error() -> None:
    truth = box(2, 16, 4, 18)
    assert next_click(np.zeros((20, 30), bool), truth) == (9, 11, 1)
    assert next_click(truth | box(0, 19, 21, 29), truth) == (4, 25, -1)
    assert next_click(truth, truth) == (0, 0, 0)
    assert next_click(box(2, 16, 12, 18), truth) == (5, 7, 1), "the first of equally deep pixels"
    assert next_click(np.roll(truth, 4, axis=1), truth)[2] == -1, "a tie goes to what was wrongly taken"


def test_the_images_edge_bounds_an_error() -> None:
    assert next_click(np.zeros((20, 30), bool), box(0, 4, 0, 4)) == (2, 2, 1)


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_each_round_starts_from_the_networks_own_mask(
    shared: RitmLearner, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    monkeypatch.setattr(ritm.torch, "randint", lambda high, shape: torch.tensor(rounds))
    shown: list[tuple[Tensor, ...]] = []
    modes: list[tuple[bool, bool]] = []

    def seen(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shown.append(inputs)
        modes.append((module.training, torch.is_grad_enabled()))

    hook = shared.network.train().register_forward_pre_hook(seen)
    example = batch(shared, 3)
    shared.loss(example)
    hook.remove()
    assert modes == [(False, False)] * rounds + [(True, True)]
    assert [clicks.shape for _, _, clicks in shown] == [(3, 1 + done, 3) for done in range(rounds + 1)]
    assert not shown[0][1].any()
    for (_, _, before), (pixels, previous, clicks) in pairwise(shown):
        assert torch.equal(clicks[:, :-1], before)
        assert previous.shape == (3, 1, 32, 32) and previous.std() > 0 and not previous.requires_grad
        for one in range(3):
            wanted = next_click((previous[one, 0] > 0.49).numpy(), example["target"][one].numpy())
            assert tuple(clicks[one, -1].tolist()) == wanted
        assert torch.equal(pixels, example["pixels"])


def test_rounds_are_drawn_from_none_to_the_most(shared: RitmLearner) -> None:
    example = batch(shared)
    numbers = set()
    for seed in range(16):
        torch.manual_seed(seed)
        numbers.add(shared.interacted(example["pixels"], example["target"], example["clicks"])[1].shape[1] - 1)
    assert numbers == {0, 1, 2, 3}


def test_looking_for_clicks_changes_nothing_in_the_network(shared: RitmLearner) -> None:
    shared.network.train()
    before = {name: tensor.clone() for name, tensor in shared.network.state_dict().items()}
    example = batch(shared)
    torch.manual_seed(1)
    _, clicks = shared.interacted(example["pixels"], example["target"], example["clicks"])
    assert clicks.shape[1] > 1
    assert all(torch.equal(before[name], tensor) for name, tensor in shared.network.state_dict().items())
    assert shared.network.training


# The loss.

LOGITS = [[[2.0, -1.0, 0.5], [-3.0, 0.25, 1.0]], [[4.0, -4.0, 5.0], [-6.0, 3.0, -2.0]]]
TARGETS = [[[1, 0, 0], [1, 1, 0]], [[1, 0, 1], [0, 1, 1]]]
OFFICIAL_LOSS = [0.9443348, 1.0595171]
OFFICIAL_GRADIENT = [
    -0.00057780329,
    0.0062372996,
    0.062413391,
    -0.1336578,
    -0.024680141,
    0.091129847,
    -5.5700152e-06,
    5.5700061e-06,
    -2.8808421e-07,
    1.4547346e-08,
    -0.00010108232,
    -0.34565419,
]


def test_the_focal_loss_is_the_official_one() -> None:
    """Numbers of the official NormalizedFocalLossSigmoid(alpha=0.5, gamma=2), mean over the two images."""
    logits = torch.tensor(LOGITS, requires_grad=True)
    loss = normalised_focal_loss(logits, torch.tensor(TARGETS).bool())
    loss.backward()
    assert loss.item() == pytest.approx(np.mean(OFFICIAL_LOSS), rel=1e-5)
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.flatten(), OFFICIAL_GRADIENT, rtol=1e-4, atol=1e-7)


def test_the_focal_loss_of_a_perfect_answer_is_finite() -> None:
    logits = torch.full((1, 4, 5), 200.0, requires_grad=True)
    loss = normalised_focal_loss(logits, torch.ones(1, 4, 5, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_a_batch_of_one_is_refused(shared: RitmLearner) -> None:
    with pytest.raises(UserError, match="batches of 1"):
        shared.loss(batch(shared, 1))


def test_training_learns() -> None:
    made = learner(zoomed=0.0)
    example = batch(made, 4)
    optimizer = torch.optim.AdamW(made.parameter_groups(0.01), lr=1e-2)
    made.network.train()
    losses = []
    for step in range(12):
        torch.manual_seed(step % 4)
        loss = made.loss(example)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


def test_every_parameter_that_is_trained_gets_a_gradient() -> None:
    made = learner()
    made.loss(batch(made)).backward()
    for group in made.parameter_groups(0.01):
        assert all(parameter.grad is not None for parameter in group["params"])


def test_the_same_seed_the_same_loss() -> None:
    made = learner()
    values = []
    for _ in range(2):
        torch.manual_seed(5)
        values.append(made.loss(batch(made)).item())
        made.network.load_state_dict(learner().network.state_dict())
    assert values[0] == values[1]


# The recipe.


def test_the_recipe_describes_a_small_network() -> None:
    recipe = load_recipe(ROOT / "configs" / "scenes_ritm.yaml")
    made = parameters.build("learners", recipe.learner.name, recipe.learner.params)
    assert made.name == "ritm"
    assert sum(parameter.numel() for parameter in made.network.parameters()) <= 2_500_000
    stored_bytes = sum(stored(tensor, half=True).nbytes for tensor in made.network.state_dict().values())
    assert recipe.precision == "fp16" and stored_bytes <= 5_000_000


def test_an_unknown_simulator() -> None:
    with pytest.raises(UserError, match="strategy: no click rule 'papre/v1'.*paper/v1"):
        learner(strategy="papre/v1")
    with pytest.raises(UserError, match="ritm.py, click_options: .*margin"):
        learner(click_options={"margn": 0.1})
