"""Trains SimpleClick's network from scratch, in the way of RITM's learner (`learners/ritm.py`).

Paper: Liu, Xu, Bertasius, Niethammer, "SimpleClick", ICCV 2023, https://arxiv.org/abs/2210.11006, section 4; the loss
follows uncbiag/SimpleClick at f33112e, the normalised focal loss alone. Two things differ: training does not start from
weights of a masked autoencoder, and the differences of RITM's learner apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from harness.plugins.registry import register_learner

from ..simpleclick.network import Backbone, Channels, Four, Neck, Segmenter, SimpleClickArchitecture, SimpleClickNetwork
from .ritm import InteractiveLearner, Share

Count = Annotated[int, Field(ge=1)]


@register_learner("simpleclick")
class SimpleClickLearner(InteractiveLearner):
    """SimpleClick: the published layout at any size; the defaults are its smallest, "xtiny".

    Args:
        width: The channels of a patch.
        depth: The number of blocks.
        heads: How many heads the attention has.
        patch: The sides of a patch, in pixels.
        group: The number of blocks in a group. The last one attends over the whole image, the others within windows;
            null is the published rule.
        neck: The channels of the four maps of the pyramid.
        head: The channels before the logits.
        norm_radius: The radius of a click's disk, in pixels of the network's input.
        size: The side of the square inputs, in pixels.
        next_clicks: The most further clicks of a batch; all numbers up to it are equally frequent.
        zoomed: The share of examples that show a part of the image around the object, as ZoomIn does.
        min_crop_size: The least side of that part, in the image's pixels.
        strategy: The simulator of the first click.
        click_options: The simulator's options.
        flip: Whether to mirror half of the examples.
        jitter: The strength of the colour jitter; 0 for none.
    """

    def __init__(
        self,
        width: Channels = 160,
        depth: Count = 8,
        heads: Count = 4,
        patch: Count = 16,
        group: Count | None = None,
        neck: Four = (96, 192, 288, 384),
        head: Channels = 128,
        norm_radius: Count = 5,
        size: Count = 448,
        next_clicks: Annotated[int, Field(ge=0)] = 3,
        zoomed: Share = 0.5,
        min_crop_size: Count = 200,
        strategy: str = "paper/v1",
        click_options: Mapping[str, Any] | None = None,
        flip: bool = True,
        jitter: float = 0.0,
    ) -> None:
        architecture = SimpleClickArchitecture(
            norm_radius=norm_radius,
            use_disks=True,
            with_prev_mask=True,
            # The classifier of the published files is left out.
            backbone_params=Backbone(width, depth, heads, (size, size), (patch, patch), num_classes=0, group=group),
            neck_params=Neck(width, neck),
            head_params=Segmenter(neck, head),
        )
        rounds = (size, next_clicks, zoomed, min_crop_size, strategy, click_options, flip, jitter)
        super().__init__(architecture, SimpleClickNetwork(architecture), *rounds)
