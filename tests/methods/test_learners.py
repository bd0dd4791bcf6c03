"""What the learners show a network in training, against what methods show it afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from harness.methods.click_only import ClickOnly
from harness.methods.learners.clip import ClipLearner, coverage, patch_loss
from harness.methods.learners.prompted_deeplab import PromptedDeepLabLearner
from harness.methods.learners.shared.augmentation import jittered
from harness.methods.learners.shared.mask_losses import soft_dice
from harness.methods.shared.prompted_deeplab import described_architecture
from harness.methods.text_click import TextClick
from safetensors.torch import save_file

from harness.config.recipe import Recipe
from harness.plugins.interfaces import Learner, Saliency
from harness.structures import Click, Instance, Prompt, Said, Sample, UserError
from harness.training.batches import Preparing, batches_of

pytestmark = pytest.mark.slow

VOCABULARY = ("person", "shirt", "tie", "car")
TINY: dict[str, Any] = {"encoder": "tu-regnetx_002", "decoder_channels": 8, "output_stride": 16, "size": 64}
MIRRORING, STRAIGHT = 2, 0
"""Seeds of generators whose first number makes a learner mirror its example, or not."""


def rectangle(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((32, 48), bool)
    mask[top:bottom, left:right] = True
    return mask


def scene(seed: int = 0, sample_id: str = "a") -> Sample:
    """A person with a shirt and a tie on it, and two cars; every pixel of the image differs from the next."""
    image = np.random.default_rng(seed).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    masks = {
        "person": rectangle(4, 2, 30, 18),
        "shirt": rectangle(12, 4, 24, 16),
        "tie": rectangle(14, 8, 22, 10),
        "car": rectangle(20, 30, 32, 48),
        "car 2": rectangle(0, 40, 6, 46),
    }
    instances = [Instance(f"{sample_id}/{name}", mask, name.split()[0], True) for name, mask in masks.items()]
    return Sample(sample_id, image, tuple(instances))


class ByName(Saliency):
    """A map of its own for every text and image, with nothing symmetric about it."""

    def __init__(self) -> None:
        self.images = self.asked = 0

    def features(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.images += len(images)
        return [image.mean(2, dtype=np.float32) / 255 for image in images]

    def maps(self, features: np.ndarray, texts: Sequence[str], vocabulary: Sequence[str]) -> np.ndarray:
        self.asked += len(texts)
        found = [np.random.default_rng(len(text)).random(features.shape, np.float32) for text in texts]
        return np.stack(found) * features / (1 + len(vocabulary))


@pytest.fixture(scope="module")
def shared() -> PromptedDeepLabLearner:
    return learner()


def learner(saliency: Saliency | None = None, **options: Any) -> PromptedDeepLabLearner:
    torch.manual_seed(0)
    return PromptedDeepLabLearner(saliency or ByName(), **(TINY | options))


def said(instance: Instance) -> Said:
    return Said(instance.category, VOCABULARY, VOCABULARY)


def examples(of: Learner, number: int = 0, seeds: Sequence[int] = (STRAIGHT,)) -> dict[str, torch.Tensor]:
    """A batch of one instance's examples, one a seed."""
    sample = scene()
    made = [
        of.example(sample, sample.instances[number], said(sample.instances[number]), np.random.default_rng(seed))
        for seed in seeds
    ]
    return {key: torch.from_numpy(np.stack([one[key] for one in made])) for key in made[0]}


def trained(of: Learner, batch: Mapping[str, torch.Tensor], steps: int, lr: float) -> list[float]:
    """Every step's loss, on one batch."""
    optimizer = torch.optim.AdamW(of.parameter_groups(0.01), lr=lr)
    losses = []
    of.network.train()
    for _ in range(steps):
        torch.manual_seed(0)  # the same dropout: only the weights differ
        loss = of.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# Text+Click and click-only.


@pytest.mark.parametrize("span", [(0.0, 1.0), (-1.0, 1.0)])
@pytest.mark.parametrize("with_text", [True, False])
def test_training_shows_the_network_what_inference_shows_it(
    tmp_path: Path, with_text: bool, span: tuple[float, float]
) -> None:
    made = PromptedDeepLabLearner(
        ByName() if with_text else None, **TINY, click_range=span, saliency_range=span, flip=False
    )
    batch = examples(made, number=2)
    path = tmp_path / "weights.safetensors"
    save_file(made.network.state_dict(), path, dict(made.metadata()))
    method = TextClick(path, ByName(), "cpu") if with_text else ClickOnly(path, "cpu")
    shown: list[torch.Tensor] = []
    method.network.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    click = Click(*(int(value) for value in batch["clicks"][0, 0]))
    method.segment([(method.encode([scene().image])[0], [Prompt((click,), "tie", vocabulary=VOCABULARY)])])
    assert shown[0].shape == (1, 5 if with_text else 4, 64, 64)
    torch.testing.assert_close(made._inputs(batch), shown[0], rtol=0, atol=1e-5)


def test_image_mask_saliency_and_click_are_mirrored_together(shared: PromptedDeepLabLearner) -> None:
    batch = examples(shared, number=3, seeds=(STRAIGHT, MIRRORING))
    straight, mirrored = shared._inputs(batch)
    assert (straight - mirrored).abs().amax((1, 2)).min() > 0.1  # no channel is symmetric
    torch.testing.assert_close(mirrored.flip(-1), straight, rtol=0, atol=1e-5)
    assert torch.equal(batch["target"][1].flip(-1), batch["target"][0])
    (x, y), (mirrored_x, mirrored_y) = batch["clicks"][:, 0].tolist()
    assert (mirrored_x, mirrored_y) == (47 - x, y)
    assert scene().instances[3].mask[int(y), int(x)]


def test_an_image_of_one_column_is_mirrored_too(shared: PromptedDeepLabLearner) -> None:
    tall = Instance("a", np.arange(48)[:, None] < 20, "tie")
    sample = Sample("a", np.full((48, 1, 3), 7, np.uint8), (tall,))
    told = Said("tie", VOCABULARY, VOCABULARY)
    one, other = (shared.example(sample, tall, told, np.random.default_rng(seed)) for seed in (STRAIGHT, MIRRORING))
    assert all(np.array_equal(value, other[name]) for name, value in one.items() if name != "clicks")


def test_a_learner_mirrors_half_of_its_examples_or_none(shared: PromptedDeepLabLearner) -> None:
    def share(of: PromptedDeepLabLearner) -> float:
        straight = examples(of)["pixels"][0]
        return float((examples(of, seeds=range(60))["pixels"] - straight).abs().amax((1, 2, 3)).gt(1e-6).float().mean())

    assert 0.3 < share(shared) < 0.7
    assert share(learner(flip=False)) == 0


@pytest.mark.parametrize(("size", "rows", "columns"), [(16, 2, 3), (8, 4, 6)])
def test_the_target_is_the_mask_at_the_networks_size(size: int, rows: int, columns: int) -> None:
    target = examples(learner(size=size, flip=False), number=1)["target"][0].numpy()
    cells = scene().instances[1].mask.reshape(size, rows, size, columns)
    np.testing.assert_array_equal(target, cells.mean((1, 3)) > 0.5)


def test_the_target_of_an_enlarged_image_repeats_its_pixels() -> None:
    target = examples(learner(size=96, flip=False), number=2)["target"][0].numpy()
    np.testing.assert_array_equal(target, scene().instances[2].mask.repeat(3, 0).repeat(2, 1))


def test_the_saliency_is_that_of_the_instances_category(shared: PromptedDeepLabLearner) -> None:
    for number, category in [(0, "person"), (2, "tie"), (4, "car")]:
        expected = ByName().maps(ByName().features([scene().image])[0], [category], VOCABULARY)[0]
        made = examples(shared, number)["saliency"][0]
        assert made.shape == (64, 64)
        torch.testing.assert_close(made.mean(), torch.tensor(2 * expected.mean() - 1), rtol=0, atol=0.02)
    person, tie = (examples(shared, number)["saliency"] for number in (0, 2))
    assert (person - tie).abs().mean() > 0.01


def test_fixed_clicks_stay_and_fresh_ones_change() -> None:
    fixed, fresh = (examples(learner(clicks=rule, flip=False), 0, range(12))["clicks"] for rule in ("fixed", "fresh"))
    assert len(fixed.unique(dim=0)) == 1
    assert len(fresh.unique(dim=0)) > 6
    for x, y in [*fixed[:, 0].int().tolist(), *fresh[:, 0].int().tolist()]:
        assert scene().instances[0].mask[y, x]


def test_every_instance_has_fixed_clicks_of_its_own() -> None:
    made = learner(clicks="fixed", flip=False)
    cars = [examples(made, number)["clicks"].flatten().tolist() for number in (3, 4)]
    assert cars[0] != cars[1]


def test_click_options_reach_the_simulator() -> None:
    made = learner(clicks="fresh", flip=False, click_options={"margin": 1.0})
    for x, y in examples(made, 0, range(20))["clicks"][:, 0].int().tolist():
        assert x in (9, 10)  # the deepest pixels of columns 2 to 17
        assert 11 <= y <= 22


def test_an_example_leaves_the_sample_alone() -> None:
    sample, made = scene(), learner(jitter=0.3)
    made.example(sample, sample.instances[0], said(sample.instances[0]), np.random.default_rng(MIRRORING))
    np.testing.assert_array_equal(sample.image, scene().image)
    np.testing.assert_array_equal(sample.instances[0].mask, scene().instances[0].mask)


def test_chance_comes_from_the_generator_alone() -> None:
    first, second = (examples(learner(jitter=0.3, clicks="fresh"), 0, range(4)) for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["pixels"][0], first["pixels"][1])


def test_images_are_told_apart_by_their_pixels() -> None:
    saliency = ByName()
    made = learner(saliency, flip=False)

    def saliency_of(sample: Sample) -> np.ndarray:
        return made.example(sample, sample.instances[0], said(sample.instances[0]), np.random.default_rng(0))[
            "saliency"
        ]

    one, again, other = saliency_of(scene(0)), saliency_of(scene(0)), saliency_of(scene(1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1
    assert saliency.images == 2


def test_a_gpu_computes_the_maps_of_a_step_together_and_a_cpu_one_by_one() -> None:
    saliency = ByName()
    made = learner(saliency)
    alone = examples(made)
    asked = ([scene(0).image, scene(1).image], [scene(0).instances[0].category] * 2, [VOCABULARY] * 2)
    before = (saliency.images, saliency.asked)
    assert isinstance(made, Preparing) and made.saliency is not None
    made.prepare(*asked)
    assert (saliency.images, saliency.asked) == before
    made.saliency.device = torch.device("cuda")
    made.prepare(*asked)
    assert (saliency.images, saliency.asked) == (2, before[1] + 2)
    together = examples(made)
    assert all(torch.equal(alone[key], together[key]) for key in alone)
    assert saliency.asked == before[1] + 2
    learner(None).prepare(*asked)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda maps: maps * np.float32("nan"), "float32 (1, 32, 48), nan to nan"),
        (lambda maps: 255 * (0 * maps + 1), "float32 (1, 32, 48), 255 to 255"),
        (lambda maps: maps[:, ::2], "float32 (1, 16, 48)"),
    ],
)
@pytest.mark.parametrize("on", ["cpu", "cuda"])
def test_maps_that_are_none_end_training(change: Callable[..., Any], found: str, on: str) -> None:
    class Wrong(ByName):
        def maps(self, features: np.ndarray, texts: Sequence[str], vocabulary: Sequence[str]) -> Any:
            return change(super().maps(features, texts, vocabulary))

    made = learner(Wrong())
    assert made.saliency is not None
    made.saliency.device = torch.device(on)  # in name: there maps are made together
    with pytest.raises(UserError, match=rf"training: saliency .*Wrong returned {re.escape(found)}; wanted float32"):
        made.prepare([scene(0).image], ["person"], [VOCABULARY])
        examples(made)


@pytest.mark.parametrize("loss", ["ce", "ce_dice"])
def test_the_network_can_learn_a_batch_by_heart(loss: str) -> None:
    made = learner(loss=loss, flip=False)
    batches = [examples(made, number) for number in range(4)]
    batch = {key: torch.cat([one[key] for one in batches]) for key in batches[0]}
    losses = trained(made, batch, 15, 4e-3)
    assert losses[-1] < 0.8 * losses[0]


def test_cross_entropy_and_dice_by_hand() -> None:
    made = learner(loss="ce_dice", flip=False)
    made.network = torch.nn.Conv2d(5, 2, 1)
    torch.nn.init.zeros_(made.network.weight)
    made.network.bias = torch.nn.Parameter(torch.tensor([0.0, 1.0]))
    batch = examples(made, 0, (0, 0))
    object_share = batch["target"][0].float().mean().item()
    p = 1 / (1 + np.exp(-1))
    cross_entropy = -(object_share * np.log(p) + (1 - object_share) * np.log(1 - p))
    pixels = 64 * 64
    dice = (2 * p * object_share * pixels + 1) / (p * pixels + object_share * pixels + 1)
    assert made.loss(batch).item() == pytest.approx(cross_entropy + 1 - dice, abs=1e-5)


def test_dice_of_the_truth_and_of_its_opposite() -> None:
    target = torch.zeros(2, 8, 12, dtype=torch.bool)
    target[:, 2:5, 3:9] = True
    logits = torch.stack([-40.0 * target + 20, 40.0 * target - 20], 1)
    assert soft_dice(logits, target).item() == pytest.approx(0, abs=1e-5)
    assert soft_dice(-logits, target).item() == pytest.approx(1 - 1 / (96 + 1), abs=1e-5)


def test_a_checkpoint_says_what_it_is(shared: PromptedDeepLabLearner) -> None:
    about = shared.metadata()["architecture"]
    assert json.loads(about)["channels"]["size"] == 64
    assert described_architecture(about, Path("weights.safetensors")) == shared.architecture


def test_norms_and_biases_do_not_decay(shared: PromptedDeepLabLearner) -> None:
    decaying, free = shared.parameter_groups(0.01)
    assert (decaying["weight_decay"], free["weight_decay"]) == (0.01, 0)
    assert {p.ndim for p in free["params"]} == {1}
    assert len(decaying["params"]) + len(free["params"]) == len(list(shared.network.parameters()))


def test_what_a_recipe_may_get_wrong(shared: PromptedDeepLabLearner) -> None:
    with pytest.raises(UserError, match=r"strategy: no click rule 'paper/v9'\. Did you mean 'paper/v"):
        learner(strategy="paper/v9")
    with pytest.raises(UserError, match=r"strategy: found shared/v1, which clicks into two objects at once"):
        learner(strategy="shared/v1")
    with pytest.raises(UserError, match="found encoder=resnet5"):
        learner(encoder="resnet5")
    with pytest.raises(UserError, match="found batches of 1; wanted 2 or more"):
        shared.loss(examples(shared))


# The small CLIP.


CLIP_CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 2014, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> ClipLearner:
    path = tmp_path_factory.mktemp("clip") / "tiny.json"
    path.write_text(json.dumps(CLIP_CONFIG))
    torch.manual_seed(0)
    return ClipLearner(str(path), jitter=0.0)


def test_coverage_counts_each_patch_for_every_class_on_it() -> None:
    found = coverage(scene().instances, VOCABULARY, (4, 6), 1)
    assert found.shape == (4, 4, 6)
    assert found.dtype == np.float32
    unions = dict.fromkeys(VOCABULARY, np.zeros((32, 48), bool))
    for instance in scene().instances:
        unions[instance.category] = unions[instance.category] | instance.mask
    for row, category in zip(found, VOCABULARY, strict=True):
        np.testing.assert_allclose(row, unions[category].reshape(4, 8, 6, 8).mean((1, 3)), rtol=0, atol=1e-6)
    assert (found[:3, 2, 1] > 0).all()  # a patch of the tie is one of the shirt and of the person, too
    assert found[0, 2, 1] == 1


def test_coverage_is_mirrored_with_the_image() -> None:
    found, mirrored = (coverage(scene().instances, VOCABULARY, (4, 6), mirror) for mirror in (1, -1))
    np.testing.assert_array_equal(mirrored, found[..., ::-1])
    assert (mirrored != found).any()


def test_a_clip_example_mirrors_image_coverage_and_crop_together(clip: ClipLearner) -> None:
    batch = examples(clip, 0, range(20))
    straight = coverage(scene().instances, VOCABULARY, (4, 4), 1)
    mirrored = [not np.array_equal(one, straight) for one in batch["coverage"].numpy()]
    assert 4 < sum(mirrored) < 16
    pixels = batch["pixels"]
    reference = pixels[mirrored.index(False)]
    for image, flipped in zip(pixels, mirrored, strict=True):
        torch.testing.assert_close(image.flip(-1) if flipped else image, reference, rtol=0, atol=0.05)
    assert set(batch["category"].tolist()) == {0}


@pytest.mark.parametrize("number", range(5))
def test_crops_hold_the_whole_instance(clip: ClipLearner, number: int) -> None:
    mask = scene().instances[number].mask
    image = np.where(mask[..., None], np.uint8([250, 0, 0]), np.uint8([0, 0, 250]))
    crops = [clip._crop(image, mask, np.random.default_rng(seed)) for seed in range(20)]
    box = np.ptp(np.nonzero(mask.any(1))[0]) + 1, np.ptp(np.nonzero(mask.any(0))[0]) + 1
    for crop in crops:
        assert (crop[..., 0] == 250).sum() == mask.sum()
        assert crop.shape[0] <= 1.4 * max(box) + 2
        assert crop.shape[1] <= 1.4 * max(box) + 2
    assert len({crop.shape for crop in crops}) > 1 or number == 4  # in its corner there is room for no margin


def test_half_of_the_crops_are_masked(clip: ClipLearner) -> None:
    mask = rectangle(4, 2, 30, 18)
    mask[10:20, 6:12] = False
    crops = [clip._crop(np.full((32, 48, 3), 9, np.uint8), mask, np.random.default_rng(seed)) for seed in range(60)]
    assert 0.3 < np.mean([(crop == 127).any() for crop in crops]) < 0.7


def test_rare_patches_weigh_more() -> None:
    logits = torch.zeros(1, 2, 10, 10)
    covered = torch.zeros(1, 2, 10, 10)
    covered[0, 0, 0, :5] = 1  # 5 % of the patches: 6
    assert patch_loss(logits, covered).item() == pytest.approx(np.log(2) * (5 * 6 + 95 + 100) / 200, rel=1e-5)
    covered = torch.zeros(1, 1, 50, 50)
    covered[0, 0, 0, 0] = 1  # 0.04 % would weigh 67: 30 at most
    assert patch_loss(logits[:, :1, :1, :1].expand(1, 1, 50, 50), covered).item() == pytest.approx(
        np.log(2) * (30 + 2499) / 2500, rel=1e-5
    )


def test_clip_can_learn_a_batch_by_heart(clip: ClipLearner) -> None:
    made = [examples(clip, number, (STRAIGHT,)) for number in range(5)]
    losses = trained(clip, {key: torch.cat([one[key] for one in made]) for key in made[0]}, 15, 3e-3)
    assert losses[-1] < 0.8 * losses[0]


def test_a_clip_can_learn_on_from_weights_which_classes_an_image_holds(tmp_path: Path, clip: ClipLearner) -> None:
    model, weights = tmp_path / "tiny.json", tmp_path / "tiny.safetensors"
    model.write_text(json.dumps(CLIP_CONFIG))
    save_file(dict(clip.network.state_dict()), weights)
    options = {"jitter": 0.0, "patch_weight": 0.0, "crop_weight": 0.0, "name_weight": 0.0}
    taught = ClipLearner(str(model), weights, image_weight=2.0, scale=5.0, offset=1.0, **options)
    batch = examples(taught, 0, (STRAIGHT,))
    batch["coverage"][:, 2] = 0
    batch["coverage"][:, 3, 0, :] = 0
    with torch.no_grad():
        image = taught.network.encode_image(batch["pixels"], normalize=True)
        names = taught.network.encode_text(batch["names"][0, 0], normalize=True)
        logits = (5 * image @ names.T - 1)[0]
    expected = [F.softplus(-one if name != "tie" else one) for one, name in zip(logits, VOCABULARY, strict=True)]
    assert taught.loss(batch).item() == pytest.approx(2 * float(torch.stack(expected).mean()), rel=1e-4)
    untaught = ClipLearner(str(model), weights, **options)
    assert untaught.loss(batch).item() == 0


# Augmentation.


def test_jitter_changes_colours_by_no_more_than_its_strength() -> None:
    image = np.full((4, 6, 3), 128, np.uint8)
    made = [jittered(image, np.random.default_rng(seed), 0.3) for seed in range(200)]
    values = np.stack([one[0, 0] for one in made]).astype(float)
    assert values.min() >= int(128 * 0.7 * 0.85)
    assert values.max() <= 128 * 1.3 * 1.15
    assert values.std() > 10
    assert np.ptp(values, axis=1).max() > 10  # each colour has a gain of its own
    assert all(one.dtype == np.uint8 and one.shape == (4, 6, 3) for one in made)
    assert (image == 128).all()


def test_jitter_of_no_strength_changes_nothing() -> None:
    image = scene().image
    np.testing.assert_array_equal(jittered(image, np.random.default_rng(0), 0.0), image)


def test_jitter_does_not_wrap_around() -> None:
    image = np.repeat(np.uint8([0, 255]), 72).reshape(8, 6, 3)
    for seed in range(50):
        made = jittered(image, np.random.default_rng(seed), 0.9)
        assert made[:4].mean() <= made[4:].mean()


def test_two_samples_stack_whatever_their_sizes(shared: PromptedDeepLabLearner) -> None:
    small = scene()
    wide = replace(
        small, image=np.zeros((40, 90, 3), np.uint8), instances=(Instance("b/0", np.ones((40, 90), bool), "tie"),)
    )
    made = [
        shared.example(one, one.instances[0], said(one.instances[0]), np.random.default_rng(STRAIGHT))
        for one in (small, wide)
    ]
    batch = {key: torch.from_numpy(np.stack([one[key] for one in made])) for key in made[0]}
    assert batch["image_size"].tolist() == [[32, 48], [40, 90]]
    assert torch.isfinite(shared.loss(batch))


def test_the_saliency_is_of_the_words_that_the_recipe_says() -> None:
    sample, vocabulary = scene(), ("person", "shirt", "neck tie", "car")
    told = Said("neck tie", vocabulary, VOCABULARY)
    found = learner(flip=False).example(sample, sample.instances[2], told, np.random.default_rng(0))["saliency"]
    expected = ByName().maps(ByName().features([sample.image])[0], ["neck tie"], vocabulary)[0]
    assert found.mean() == pytest.approx(2 * expected.mean() - 1, abs=0.02)


@pytest.mark.parametrize("text", [None, "", " "])
def test_a_saliency_wants_words(text: str | None) -> None:
    sample = scene()
    told = Said(text, VOCABULARY, VOCABULARY)
    with pytest.raises(UserError, match=r"instance a/person of sample a: found no words; wanted some for the saliency"):
        learner().example(sample, sample.instances[0], told, np.random.default_rng(0))


def test_clip_learns_names_as_they_are_said_and_no_other_words(clip: ClipLearner) -> None:
    sample, said_names = scene(), ("human", "shirt", "neck tie", "car")
    told = Said("neck tie", said_names, VOCABULARY)
    made = clip.example(sample, sample.instances[2], told, np.random.default_rng(STRAIGHT))
    assert made["category"] == 2
    np.testing.assert_array_equal(made["coverage"], examples(clip, 2)["coverage"][0])
    assert (made["names"] != examples(clip, 2)["names"][0].numpy()).any()
    with pytest.raises(UserError, match=r"found the words 'the left one'; wanted the class name, 'neck tie'"):
        clip.example(sample, sample.instances[2], told._replace(text="the left one"), np.random.default_rng(0))


@pytest.mark.parametrize(("category", "found"), [("", "nothing"), ("zebra", "zebra")])
def test_clip_learns_no_instance_without_a_class(clip: ClipLearner, category: str, found: str) -> None:
    sample, told = scene(), Said("car", VOCABULARY, VOCABULARY)
    sample = replace(sample, instances=(*sample.instances[:3], replace(sample.instances[3], category=category)))
    with pytest.raises(UserError, match=f"instance .* of sample a: found {found} for its class; wanted one"):
        clip.example(sample, sample.instances[3], told, np.random.default_rng(STRAIGHT))


def test_clip_refuses_to_read_one_data_sets_names_for_another(clip: ClipLearner) -> None:
    own, sample = examples(clip, 3), scene()
    turned = Said("car", VOCABULARY[::-1], VOCABULARY[::-1])
    told = clip.example(sample, sample.instances[3], turned, np.random.default_rng(STRAIGHT))
    other = {key: torch.from_numpy(value[None]) for key, value in told.items()}
    with pytest.raises(UserError, match="data sets with different classes in a batch; wanted the same"):
        clip.loss({key: torch.cat([own[key], other[key]]) for key in own})
    assert torch.isfinite(clip.loss({key: torch.cat([other[key], other[key]]) for key in own}))


@pytest.mark.parametrize(
    ("weights", "honest"),
    [({"crop_weight": 0}, False), ({"patch_weight": 0, "image_weight": 1}, False), ({"patch_weight": 0}, True)],
)
def test_clip_does_not_call_seen_what_it_learns_from_all_classes(weights: dict[str, Any], honest: bool) -> None:
    learner = {"name": "clip", "params": {"model": "methods/weights/scenes_clip.json", **weights}}
    datasets = [{"name": "scenes", "params": {"split": "train", "count": 2}}]
    recipe = Recipe.model_validate({"learner": learner, "datasets": datasets, "steps": 1})
    with nullcontext() if honest else pytest.raises(UserError, match="found classes: seen; wanted `classes: all` for"):
        batches_of(recipe, 0, 1, torch.device("cpu"))
    batches_of(recipe.model_copy(update={"classes": "all"}), 0, 1, torch.device("cpu"))
