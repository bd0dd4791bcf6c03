"""SimpleClick: segments from positive and negative clicks with a plain ViT; each round starts from the mask before.

Paper: Liu, Xu, Bertasius, Niethammer, "SimpleClick: Interactive Image Segmentation with Simple Vision Transformers",
ICCV 2023, https://arxiv.org/abs/2210.11006
Code: https://github.com/uncbiag/SimpleClick at f33112e, MIT. Its predictor and ZoomIn are RITM's, so `methods/ritm` is
used here. Two things differ: the network, and its input, which is always a square of 448 pixels. The whole image at the
first click, and then the window that ZoomIn chose, are squeezed to this square, whatever their aspect.

The authors' evaluation shows 672 pixels on DAVIS alone: `zoom: {target_size: [672, 672], skip_clicks: -1}`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from harness.plugins.registry import register_method
from harness.structures import UserError

from ..ritm.ritm import Ritm
from ..ritm.zoom import ZoomIn
from ..shared.isegm import IsegmCheckpoints
from .network import CHECKPOINTS, SimpleClickNetwork

OFFICIAL_ZOOM = ZoomIn(target_size=(448, 448), skip_clicks=-1)

PUBLISHED = {
    "sbd_vit_huge.pth": {"sbd": {"NoC@90": 4.15}},
    "cocolvis_vit_base.pth": {
        "grabcut": {"NoC@90": 1.48},
        "berkeley": {"NoC@90": 1.97},
        "sbd": {"NoC@90": 5.62},
        "davis": {"NoC@90": 5.06},
    },
    "cocolvis_vit_large.pth": {
        "grabcut": {"NoC@90": 1.40},
        "berkeley": {"NoC@90": 1.89},
        "sbd": {"NoC@90": 4.89},
        "davis": {"NoC@90": 4.81},
    },
    "cocolvis_vit_huge.pth": {
        "grabcut": {"NoC@90": 1.50},
        "berkeley": {"NoC@90": 1.75},
        "sbd": {"NoC@90": 4.70},
        "davis": {"NoC@90": 4.78},
    },
}
"""Published numbers of the authors' checkpoints (`SimpleClick.published_in`). Their NoC@85, and most numbers of the
checkpoints trained on SBD, were not found in print."""


@register_method("simpleclick")
class SimpleClick(Ritm):
    """SimpleClick without back-propagating refinement ("NoBRS"); it ignores the text.

    A prompt with a mask to start from (`initial`, or a mask of another method as `previous`) starts from that mask.

    Args:
        checkpoint: The authors' weights (.pth), or weights that our training saved (.safetensors).
        zoom: The rules by which a window is chosen, and the input's size; the defaults are those of the authors'
            evaluation, except on DAVIS. A ViT accepts few sizes, so `target_size` is (h, w) and `skip_clicks` -1. With
            null the network sees the whole image at its own size, which must be such a size.
        flip: Whether to average the logits with those of the mirrored image.
        threshold: A pixel whose probability is above it belongs to the mask.
        clicks_limit: The most clicks that the network sees, the first ones; null: all.
        device: The device of the network; "auto" takes the GPU that the worker sees, else the CPU.
        prompts_per_batch: The most prompts, also on several images, that share a forward pass; on a CPU that saves
            nothing.

    Raises:
        UserError: The checkpoint is not one of SimpleClick, or its ViT does not accept `zoom.target_size`.
    """

    checkpoints: ClassVar[IsegmCheckpoints[Any]] = CHECKPOINTS
    published = PUBLISHED
    published_in = (
        "the abstract of the paper (ViT-H on SBD); for COCO+LVIS, SimpleClick's lines in the table of FocSAM (CVPR "
        "2024). 448 pixels, on DAVIS 672, with flip; the authors' clicker (ritm/v1 here), at most 20 clicks."
    )

    def __init__(
        self,
        checkpoint: Path,
        zoom: ZoomIn | None = OFFICIAL_ZOOM,
        flip: bool = True,
        threshold: Annotated[float, Field(ge=0, le=1)] = 0.49,
        clicks_limit: Annotated[int, Field(ge=1)] | None = None,
        device: str = "auto",
        prompts_per_batch: Annotated[int, Field(ge=1)] = 8,
    ) -> None:
        super().__init__(checkpoint, zoom, flip, threshold, clicks_limit, device, prompts_per_batch)
        if zoom is not None:
            self._check(zoom)

    def _check(self, zoom: ZoomIn) -> None:
        if not isinstance(zoom.target_size, tuple) or zoom.skip_clicks != -1:
            raise UserError(
                f"methods/simpleclick/simpleclick.py, zoom: found target_size {zoom.target_size} and skip_clicks "
                f"{zoom.skip_clicks}, by which inputs have any size; wanted (h, w) and -1, for a ViT takes few sizes. "
                "Set `zoom: {target_size: [448, 448], skip_clicks: -1}`."
            )
        assert isinstance(self.network, SimpleClickNetwork)
        try:
            self.network.backbone.cut(zoom.target_size)
        except ValueError as error:
            raise UserError(f"methods/simpleclick/simpleclick.py, zoom.target_size: {error}") from error
