"""Trains RITM's network on its own mistakes: each further click is at the deepest pixel of the last mask's error.

    first click -> mask 1 -> click into its error -> mask 2 -> ... -> the loss of the last mask alone

Paper: Sofiiuk, Petrov, Konushin, ICIP 2022, https://arxiv.org/abs/2102.06583, section 3; losses and their weights
follow SamsungLabs/ritm_interactive_segmentation at b9b4460. Four things differ from that code: an example starts
from one click of a simulator, not from up to 24 random ones; a further click is at the deepest pixel of the error, as
in the evaluation, not at a random pixel well inside; pixels that a data set ignores (VOC's void) count as background,
where that code leaves them out of the loss; there are no ImageNet weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from harness.clicks import Situation, interior_depth
from harness.clicks.strategy import ClickRule
from harness.plugins.interfaces import Learner
from harness.plugins.registry import register_learner
from harness.structures import Click, Instance, Mask, Said, Sample

from ..ritm.network import RitmArchitecture, RitmNetwork
from ..ritm.zoom import Window, ZoomIn
from .shared.augmentation import jittered
from .shared.batch_norms import check_batch, evaluating
from .shared.clicking import clicks_made

AUXILIARY_WEIGHT = 0.4
"""The weight of the auxiliary head's loss. That head gives the OCR head a first guess of the object."""

Share = Annotated[float, Field(ge=0, le=1)]


class InteractiveLearner(Learner):
    """Trains a network that takes clicks and the mask before, on the mistakes that it makes round after round.

    Attributes:
        threshold: A pixel whose probability is above it belongs to the mask; the same as in the method.

    Args:
        architecture: A dataclass that describes the network; saved with the weights.
        network: Takes pixels, the probabilities of the round before and the clicks; returns logits, and the logits of
            an auxiliary head or None (a subclass may override `answered` and `loss` for another form).
        size: The side of the square inputs, in pixels.
        next_clicks: A batch gets up to this many further clicks, each number equally often.
        zoomed: Share of the examples that show a part of the image around the object, as ZoomIn does.
        min_crop_size: The least side of that part, in the image's pixels.
        strategy: The simulator of the first click.
        click_options: The simulator's options.
        flip: Mirror half of the examples.
        jitter: Strength of the colour jitter; 0 for none.
    """

    threshold: ClassVar[float] = 0.49

    def __init__(
        self,
        architecture: Any,
        network: nn.Module,
        size: int,
        next_clicks: int,
        zoomed: float,
        min_crop_size: int,
        strategy: str,
        click_options: Mapping[str, Any] | None,
        flip: bool,
        jitter: float,
    ) -> None:
        clicks_made(strategy, click_options or {}, f"methods/learners/{self.name}.py")
        self.click_rule = ClickRule(strategy, dict(click_options or {}))
        self.architecture, self.network = architecture, network
        self.size, self.next_clicks, self.zoomed, self.min_crop_size = (size, size), next_clicks, zoomed, min_crop_size
        self.flip, self.jitter = flip, jitter

    def example(
        self,
        sample: Sample,
        instance: Instance,
        said: Said,  # noqa: ARG002 - there is no text
        rng: np.random.Generator,
    ) -> dict[str, np.ndarray]:
        """A window of the image, the object in it and the first clicks (row, column, sign), in the network's pixels."""
        at = Situation(sample, instance, (), None, rng)
        clicks = self.click_rule.clicks(at)
        mask = instance.mask
        window = self._window(mask, clicks, rng)
        image = jittered(sample.image, rng, self.jitter) if self.jitter else sample.image
        maps = torch.from_numpy(np.dstack([image, mask]).astype(np.float32)).permute(2, 0, 1)[None]
        shown = window.cut(maps, self.size)[0]
        places = np.array(
            [(*window.place(click, self.size), 1 if click.positive else -1) for click in clicks], np.float32
        )
        if self.flip and rng.random() < 0.5:
            # Window, mask and clicks are mirrored together, in the network's pixels: column 0 becomes the last one.
            shown = shown.flip(2)
            places[:, 1] = self.size[1] - 1 - places[:, 1]
        return {"pixels": shown[:3].div(255).numpy(), "target": (shown[3] > 0.5).numpy(), "clicks": places}

    def _window(self, mask: Mask, clicks: tuple[Click, ...], rng: np.random.Generator) -> Window:
        """The whole image, or a part of it around the object: a window as ZoomIn's, but of random tightness."""
        whole = Window.whole((mask.shape[0], mask.shape[1]))
        if rng.random() >= self.zoomed:
            return whole
        zoom = ZoomIn(expansion_ratio=rng.uniform(1.1, 2.0), min_crop_size=self.min_crop_size)
        return zoom.around(mask, clicks) or whole

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Normalised focal loss after the last click, and an auxiliary head's cross-entropy."""
        target = batch["target"]
        previous, clicks = self.interacted(batch["pixels"], target, batch["clicks"])
        logits, auxiliary = self.network(batch["pixels"], previous, clicks)
        loss = normalised_focal_loss(logits[:, 0], target)
        if auxiliary is None:
            return loss
        return loss + AUXILIARY_WEIGHT * F.binary_cross_entropy_with_logits(auxiliary[:, 0], target.float())

    @torch.no_grad()
    def interacted(
        self, pixels: Float[Tensor, "n 3 h w"], target: Bool[Tensor, "n h w"], clicks: Float[Tensor, "n k 3"]
    ) -> tuple[Float[Tensor, "n 1 h w"], Float[Tensor, "n more 3"]]:
        """The network's probabilities after some rounds of clicks, and all clicks with the next one."""
        # With `next_clicks` 3, a batch has 0, 1, 2 or 3 rounds. In each, the network answers to the clicks so far, and
        # the deepest pixel of its error is added: (n k 3) -> (n k+1 3). The loss is that of the answer to all clicks.
        previous = torch.zeros_like(pixels[:, :1])
        # Drawn by torch's generator, which every training step seeds anew: a resumed training makes the same rounds.
        rounds = int(torch.randint(self.next_clicks + 1, ()))
        # These rounds only imitate a user, so they need no gradient. In training mode they would change the batch
        # norms' running statistics, and the answers would differ from those of an evaluation.
        with evaluating(self.network):
            for _ in range(rounds):
                previous = self.answered(pixels, previous, clicks).sigmoid()
                clicks = torch.cat([clicks, next_clicks(previous[:, 0] > self.threshold, target)], dim=1)
        return previous, clicks

    def answered(
        self, pixels: Float[Tensor, "n 3 h w"], previous: Float[Tensor, "n 1 h w"], clicks: Float[Tensor, "n k 3"]
    ) -> Float[Tensor, "n 1 h w"]:
        """The network's logits in a round."""
        logits: Tensor = self.network(pixels, previous, clicks)[0]
        return logits

    def check_batch(self, batch: Mapping[str, Tensor]) -> None:
        """Refuse a batch that batch normalisation cannot be trained with.

        Raises:
            UserError: The batch has one example, and the norms need more.
        """
        check_batch(self.network, len(batch["pixels"]), f"learners/{self.name}.py")

    def metadata(self) -> dict[str, str]:
        """The architecture, as JSON."""
        return {"architecture": json.dumps(asdict(self.architecture))}


@register_learner("ritm")
class RitmLearner(InteractiveLearner):
    """RITM: HRNet18s' layout in any width, with disks for clicks and the mask of the round before as an input.

    Args:
        width: Channels of HRNet at its highest resolution; 18 is HRNet18s.
        ocr_width: Channels of the OCR head; 48 in HRNet18s.
        norm_radius: The radius of a click's disk, in pixels of the network's input.
        size: The side of the square inputs, in pixels.
        next_clicks: A batch gets up to this many further clicks, each number equally often.
        zoomed: Share of the examples that show a part of the image around the object, as ZoomIn does.
        min_crop_size: The least side of that part, in the image's pixels.
        strategy: The simulator of the first click.
        click_options: The simulator's options.
        flip: Mirror half of the examples.
        jitter: Strength of the colour jitter; 0 for none.
    """

    def __init__(
        self,
        width: Annotated[int, Field(ge=1)] = 18,
        ocr_width: Annotated[int, Field(ge=1)] = 48,
        norm_radius: Annotated[int, Field(ge=1)] = 5,
        size: Annotated[int, Field(ge=1)] = 400,
        next_clicks: Annotated[int, Field(ge=0)] = 3,
        zoomed: Share = 0.5,
        min_crop_size: Annotated[int, Field(ge=1)] = 200,
        strategy: str = "paper/v1",
        click_options: Mapping[str, Any] | None = None,
        flip: bool = True,
        jitter: float = 0.0,
    ) -> None:
        architecture = RitmArchitecture(
            width=width,
            ocr_width=ocr_width,
            small=True,
            norm_radius=norm_radius,
            use_disks=True,
            with_prev_mask=True,
            use_leaky_relu=True,
            use_rgb_conv=False,
        )
        rounds = (size, next_clicks, zoomed, min_crop_size, strategy, click_options, flip, jitter)
        super().__init__(architecture, RitmNetwork(architecture), *rounds)

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Normalised focal loss after the last click, and the auxiliary head's cross-entropy.

        Raises:
            UserError: The batch has one example, which has no variance for batch normalisation.
        """
        self.check_batch(batch)
        return super().loss(batch)


def next_clicks(predicted: Bool[Tensor, "n h w"], target: Bool[Tensor, "n h w"]) -> Float[Tensor, "n 1 3"]:
    """Row, column and sign of the deepest missing (1) or surplus (-1) pixel; sign 0 for a perfect mask.

    At a tie the surplus pixel is taken, as in RITM's evaluation.
    """
    made = [next_click(one, truth) for one, truth in zip(predicted.cpu().numpy(), target.cpu().numpy(), strict=True)]
    return torch.tensor(made, dtype=torch.float32, device=target.device)[:, None]


def next_click(predicted: Mask, target: Mask) -> tuple[int, int, int]:
    """`next_clicks` of one mask."""
    # Depths in pixels of the network's input. A click of sign 0 draws nothing (`click_maps`): a perfect mask gets no
    # further click, but its row must be as long as the others' in the batch.
    missed, wrong = deepest(target & ~predicted), deepest(predicted & ~target)
    if missed[0] == wrong[0] == 0:
        return 0, 0, 0
    return (*missed[1:], 1) if missed[0] > wrong[0] else (*wrong[1:], -1)


def deepest(mask: Mask) -> tuple[float, int, int]:
    """Depth, row and column of the first of the pixels farthest from the mask's outside; depth 0 for an empty mask."""
    if not mask.any():
        return 0.0, 0, 0
    depth, left, top = interior_depth(mask)
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return float(depth[row, column]), int(row) + top, int(column) + left


def normalised_focal_loss(
    logits: Float[Tensor, "n h w"], target: Bool[Tensor, "n h w"], alpha: float = 0.5, gamma: float = 2.0
) -> Tensor:
    """Focal loss whose weights have mean 1 over an image's pixels, even if few pixels are wrong; mean over all pixels.

    Source: Sofiiuk et al., "AdaptIS", ICCV 2019, https://arxiv.org/abs/1909.07829. No gradient flows through the mean.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")
    focus = (1 - torch.exp(-cross_entropy)) ** gamma
    # exp(-cross_entropy) is the probability p of the right answer. Focal weights (1 - p)^2 fall as the network learns:
    # at p = 0.99 a pixel weighs 0.0001. In a plain mean over the image the few wrong pixels would then hardly count.
    # Divided by their mean, the weights sum to the number of pixels again, and wrong pixels keep their share of the
    # loss.
    share = focus.mean(dim=(1, 2), keepdim=True).detach().clamp(min=1e-12)
    weight = torch.where(target, alpha, 1 - alpha)
    return (weight * focus / share * cross_entropy).mean()
