"""Trains a small SAM from scratch; an example is a scene with a click on several of its instances, without classes.

Paper: Kirillov et al., ICCV 2023, https://arxiv.org/abs/2304.02643, appendix A: focal and dice loss 20 : 1, the
smallest loss of the three masks, mean squared error of the predicted IoU, and a second click drawn from the first
mask's error. Three things differ: one such round instead of ten, no boxes, and a share of the mean loss is added, since
on so little data the smallest loss alone leaves two of the three masks untrained for long.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from harness.clicks import Situation
from harness.clicks.paper import interior
from harness.plugins.interfaces import Learner
from harness.plugins.registry import register_learner
from harness.structures import Image, Instance, Said, Sample, UserError

from ..sam.sam import input_size, resized
from ..sam.tiny import Architecture
from .shared.augmentation import jittered

FOCAL_WEIGHT = 20.0


@register_learner("sam")
class SamLearner(Learner):
    """SAM, with its losses on the masks of an image's instances, from one click each, and from two.

    Args:
        image_size: The longest side that an image is resized to.
        patch_size: The side of the image encoder's patches, in pixels.
        width: The image encoder's width.
        depth: How many blocks the image encoder has.
        heads: How many attention heads each of its blocks has.
        prompt_width: The width of the prompt encoder and the mask decoder.
        instances: How many instances of each image are clicked; the image is encoded once for all.
        mean_weight: The weight of the three masks' mean loss, beside their smallest.
        refined: How many of each image's instances have a second round: one more click, the first round's logits, one
            mask. With 0 there is no second round.
        jitter: Strength of the colour jitter.
    """

    def __init__(
        self,
        image_size: int = 128,
        patch_size: int = 8,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        prompt_width: int = 64,
        instances: int = 6,
        mean_weight: float = 0.05,
        refined: int = 2,
        jitter: float = 0.3,
    ) -> None:
        self.architecture = Architecture(image_size, patch_size, width, depth, heads, prompt_width)
        self.network: Any = self.architecture.network()
        # Training has no boxes, so the embeddings of a box's corners would never get a gradient.
        self.network.prompt_encoder.point_embeddings[2:].requires_grad_(False)
        if not 0 <= refined <= instances:
            raise UserError(f"learners/sam.py: found refined={refined}; wanted 0 to {instances}, the `instances`.")
        self.instances, self.refined = instances, refined
        self.mean_weight, self.jitter = mean_weight, jitter

    def example(
        self,
        sample: Sample,
        instance: Instance,
        said: Said,  # noqa: ARG002 - no classes
        rng: np.random.Generator,
    ) -> dict[str, np.ndarray]:
        """The image, a click on the instance and on others of the sample, and each one's mask on the logits' grid.

        The others are seen if the instance is: so a recipe for seen classes never trains on unseen ones.
        """
        others = [other for other in sample.instances if other is not instance and other.seen == instance.seen]
        others = others or [instance]
        # All examples of a batch need equally many prompts. Where an image has too few other instances, some are
        # clicked twice.
        picks = rng.choice(len(others), self.instances - 1, replace=len(others) < self.instances - 1)
        chosen = [instance, *(others[pick] for pick in picks)]
        mirror = -1 if rng.random() < 0.5 else 1
        image = jittered(np.ascontiguousarray(sample.image[:, ::mirror]), rng, self.jitter)
        return {
            "pixels": self._pixels(image),
            "clicks": self._clicks(sample, chosen, mirror, rng),
            "target": np.stack([self._target(one, mirror) for one in chosen]),
        }

    def _pixels(self, image: Image) -> Float32[np.ndarray, "3 s s"]:
        pixels = resized(image, self.architecture.image_size, self.network.device)
        return self.network.preprocess(pixels)[0].cpu().numpy()

    def _clicks(
        self, sample: Sample, chosen: Sequence[Instance], mirror: int, rng: np.random.Generator
    ) -> Float32[np.ndarray, "i 2"]:
        """One click on each instance, in pixels of the network's input."""
        made = [interior(Situation(sample, one, (), None, rng))[0] for one in chosen]
        clicks = np.array([(click.x, click.y) for click in made], np.float64)
        if mirror < 0:
            clicks[:, 0] = sample.size[1] - 1 - clicks[:, 0]
        height, width = input_size(sample.size, self.architecture.image_size)
        return (clicks * (width / sample.size[1], height / sample.size[0])).astype(np.float32)

    def _target(self, instance: Instance, mirror: int) -> Float32[np.ndarray, "g g"]:
        """The share of each cell of the logits' grid that the instance covers, 0 to 1; the padding's cells are 0."""
        side = self.architecture.image_size
        whole = instance.mask
        height, width = input_size(whole.shape, side)
        mask = np.ascontiguousarray(whole[:, ::mirror], np.float32)
        square = np.zeros((side, side), np.float32)
        square[:height, :width] = cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA)
        return cv2.resize(square, self.network.prompt_encoder.mask_input_size, interpolation=cv2.INTER_AREA)

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """First clicks with three masks each, then second clicks with one; the sum of both over the instances."""
        embeddings = self.network.image_encoder(batch["pixels"])
        target, points = batch["target"].flatten(0, 1)[:, None], batch["clicks"].flatten(0, 1)[:, None]
        labels = torch.ones(len(points), 1, device=points.device)
        logits, confidence = self._decoded(embeddings, points, labels, None, several=True)
        each = mask_loss(logits, target)
        # A click may mean the whole, a part or a part of the part, and the example has only one of these as its target.
        # If all three masks were trained towards it, they would become one mask. The smallest loss trains only the mask
        # that is nearest already, so that each can specialise in another meaning. `each` is (n, 3).
        first = each.min(1).values + self.mean_weight * each.mean(1) + confidence_loss(logits, confidence, target)
        if not self.refined:
            return first.mean()
        # The plane with the least loss of each prompt, (n 3 g g) -> (n 1 g g). It goes into the second round as a
        # user's earlier mask does, as a mere input: `detach` keeps that round's gradient out of the first.
        best = logits.gather(1, each.argmin(1)[:, None, None, None].expand(-1, 1, *logits.shape[2:])).detach()
        # Prompts are ordered image by image, with `instances` for each. For example with 6 instances and `refined` 2,
        # the prompts 0 1, 6 7, 12 13, ... get a second round.
        again = torch.arange(len(points), device=points.device) % self.instances < self.refined
        second = self._second_loss(embeddings, points[again], labels[again], best[again], target[again])
        return (first.sum() + second.sum()) / len(points)

    def _second_loss(
        self, embeddings: Tensor, points: Tensor, labels: Tensor, logits: Tensor, target: Tensor
    ) -> Float[Tensor, " n"]:
        points, labels = self._second_clicks(points, labels, logits, target)
        refined, confidence = self._decoded(embeddings, points, labels, logits, several=False)
        return mask_loss(refined, target)[:, 0] + confidence_loss(refined, confidence, target)

    def _second_clicks(
        self, points: Float[Tensor, "n 1 2"], labels: Float[Tensor, "n 1"], logits: Tensor, target: Tensor
    ) -> tuple[Float[Tensor, "n 2 2"], Float[Tensor, "n 2"]]:
        """One more click for each prompt: positive on a missing pixel, negative on a surplus one."""
        cells, positive = drawn_from_error(logits[:, 0] > 0, target[:, 0] > 0.5)
        cell = self.architecture.image_size / logits.shape[-1]
        # A cell of 4 pixels begins at pixel 0 and ends with pixel 3: its centre is 1.5 = (0 + 0.5) * 4 - 0.5.
        centres = (cells.to(points.dtype) + 0.5) * cell - 0.5
        return torch.cat([points, centres[:, None]], 1), torch.cat([labels, positive[:, None].to(labels.dtype)], 1)

    def _decoded(
        self, embeddings: Tensor, points: Tensor, labels: Tensor, previous: Tensor | None, several: bool
    ) -> tuple[Float[Tensor, "n k g g"], Float[Tensor, "n k"]]:
        """The mask decoder on all instances of all images at once."""
        network = self.network
        sparse, dense = network.prompt_encoder(points=(points, labels), boxes=None, masks=previous)
        each = len(points) // len(embeddings)
        positions = network.prompt_encoder.get_dense_pe()
        # MaskDecoder.forward takes one image, and repeats its features for every prompt; here each prompt has its own.
        joint = embeddings.repeat_interleave(each, 0) + dense
        return several_images(network.mask_decoder, joint, positions, sparse, several)

    def metadata(self) -> dict[str, str]:
        """The architecture, as JSON."""
        return {"architecture": json.dumps(asdict(self.architecture))}


def several_images(
    decoder: Any, joint: Float[Tensor, "n d gh gw"], positions: Tensor, sparse: Float[Tensor, "n t d"], several: bool
) -> tuple[Float[Tensor, "n k h w"], Float[Tensor, "n k"]]:
    """segment_anything's MaskDecoder on prompts of several images.

    Source: `MaskDecoder.predict_masks`, which takes prompts of one image only, at dca509f.

    Args:
        decoder: A `MaskDecoder`.
        joint: Each prompt's image embedding with its dense prompt added.
        positions: The position embeddings of the image embedding's cells, (1, d, gh, gw).
        sparse: Each prompt's tokens.
        several: Whether to return the three masks or the single one.
    """
    # A prompt's tokens are the IoU token, four mask tokens (one for the single mask, three for the others) and the
    # prompt's own. After the transformer each mask token becomes a vector, whose product with every upscaled cell's
    # features is that cell's logit.
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(len(sparse), -1, -1)
    tokens, cells = decoder.transformer(joint, positions.expand(len(joint), -1, -1, -1), torch.cat([own, sparse], 1))
    upscaled = decoder.output_upscaling(cells.transpose(1, 2).reshape(joint.shape))
    masks = tokens[:, 1 : 1 + decoder.num_mask_tokens].unbind(1)
    weights = torch.stack([mlp(token) for mlp, token in zip(decoder.output_hypernetworks_mlps, masks, strict=True)], 1)
    logits = torch.einsum("nkd,ndhw->nkhw", weights, upscaled)
    confidence = decoder.iou_prediction_head(tokens[:, 0])
    return (logits[:, 1:], confidence[:, 1:]) if several else (logits[:, :1], confidence[:, :1])


def mask_loss(logits: Float[Tensor, "n k g g"], target: Float[Tensor, "n 1 g g"]) -> Float[Tensor, "n k"]:
    """20 times the focal loss (gamma 2, alpha 0.25) plus the dice loss, of each mask."""
    # The target is a cell's covered share, 0 to 1, so `right` is the probability of the right answer only at 0 and 1,
    # and a mix of both in a cell on the outline. Dice has 1 above and below the line, which keeps an empty target
    # finite.
    target = target.expand_as(logits)
    probability = logits.sigmoid()
    right = probability * target + (1 - probability) * (1 - target)
    alpha = 0.25 * target + 0.75 * (1 - target)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = (alpha * (1 - right) ** 2 * entropy).mean((2, 3))
    overlap = (probability * target).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + target.sum((2, 3)) + 1)
    return FOCAL_WEIGHT * focal + dice


def confidence_loss(
    logits: Float[Tensor, "n k g g"], confidence: Float[Tensor, "n k"], target: Float[Tensor, "n 1 g g"]
) -> Float[Tensor, " n"]:
    """Mean over the masks of the squared error of the predicted IoU."""
    predicted, truth = logits.detach() > 0, target > 0.5
    intersection = (predicted & truth).sum((2, 3))
    union = (predicted | truth).sum((2, 3)).clamp(min=1)
    return ((confidence - intersection / union) ** 2).mean(1)


def drawn_from_error(
    predicted: Bool[Tensor, "n g g"], truth: Bool[Tensor, "n g g"]
) -> tuple[Tensor, Bool[Tensor, " n"]]:
    """A random cell (x, y) of each mask's error, and whether it is on the object; any cell for a perfect mask."""
    wrong = (predicted ^ truth).flatten(1).float()
    wrong = torch.where(wrong.any(1, keepdim=True), wrong, torch.ones_like(wrong))
    # Flattened row by row, so cell 10 of a grid with 4 columns is row 2, column 2: 10 // 4 and 10 % 4.
    pick = torch.multinomial(wrong, 1)[:, 0]
    columns = truth.shape[-1]
    on_object = truth.flatten(1).gather(1, pick[:, None])[:, 0]
    return torch.stack([pick % columns, pick // columns], 1), on_object
