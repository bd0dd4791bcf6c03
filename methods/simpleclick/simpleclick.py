"""SimpleClick: segments from positive and negative clicks with a plain ViT; each round starts from the mask before.

Paper: Liu, Xu, Bertasius, Niethammer, "SimpleClick: Interactive Image Segmentation with Simple Vision Transformers",
ICCV 2023, https://arxiv.org/abs/2210.11006
Code: https://github.com/uncbiag/SimpleClick at f33112e, MIT. Its predictor and ZoomIn are RITM's, and so they are here
(`methods/ritm`). Only the network differs, and that it always sees a square of 448 pixels: the whole image at the first
click, then the window that ZoomIn chose, both without regard to their aspect.

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
"""What is printed for the authors' checkpoints, as far as it was seen in print (`SimpleClick.published_in`): their
NoC@85 and the rest of those trained on SBD were not."""


@register_method("simpleclick")
class SimpleClick(Ritm):
    """SimpleClick without back-propagating refinement ("NoBRS"); it ignores the text.

    A prompt with a mask to start from (`initial`, or a mask of another method as `previous`) starts from that mask.

    Args:
        checkpoint: The authors' weights (.pth), or such as training here saves (.safetensors).
        zoom: Where it looks, and at which size; the defaults are those of the authors' evaluation but on DAVIS. The ViT
            takes few sizes, so `target_size` is (h, w) and `skip_clicks` -1. Null is the whole image at its own size,
            which must be such a size.
        flip: Average the logits with those of the mirrored image.
        threshold: A pixel whose probability is above it belongs to the mask.
        clicks_limit: The network sees no more than the first so many clicks; null: all.
        device: Where the network runs; "auto" takes the GPU that the worker sees, else the CPU.
        prompts_per_batch: Prompts, also on several images, share forward passes of this many; a CPU gains nothing by
            it.

    Raises:
        UserError: The checkpoint is none of SimpleClick's, or its ViT cannot see `zoom.target_size`.
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
