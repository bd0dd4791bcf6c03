"""Scores how well each of several texts fits CLIP's features of the image around a click.

Paper: Warner et al., BMVC 2023, https://arxiv.org/abs/2311.14822, section 5, leaves to later work "automatically
detecting the best category present around a user's foreground click". It gives no method; the definition is ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from harness.structures import Click


def fits_at(
    dense: Float[Tensor, "d gh gw"], size: tuple[int, int], clicks: Sequence[Click], texts: Float[Tensor, "k d"]
) -> Float32[np.ndarray, "n k"]:
    """The cosine of each text with the patches around each click, -1 to 1.

    The grid of patches is stretched over the image, as MaskCLIP's map is. Around a click are the four patches whose
    centres enclose it: two at the image's edge, one in its corner. Their cosines are averaged by bilinear weights, as
    in MaskCLIP's map: the result is the value of that map at the click's pixel, before its softmax.

    Example: an image of 4 x 4 pixels under 2 x 2 patches, whose centres lie at pixel 0.5 and 2.5 of either axis. A
    click at (1, 0), a quarter of the way from the left centre to the right one and above both, counts the top left
    patch by 3/4 and the top right one by 1/4.

    Args:
        dense: The patches' unit vectors, in CLIP's joint space.
        size: (h, w) of the image.
        clicks: The clicks, in pixels of the image.
        texts: The texts' unit vectors.
    """
    # A cosine is linear in the patch's unit vector, so it may be interpolated itself: k numbers a patch instead of d.
    # This is what MaskCLIP's map does, whose cosines are enlarged and not its vectors.
    cosines = torch.einsum("kd,dhw->khw", texts, dense)
    at = np.array([(click.y, click.x) for click in clicks], np.float64).reshape(-1, 2)
    (top, bottom, down), (left, right, across) = (
        _between(at[:, axis], cosines.shape[1 + axis], size[axis]) for axis in (0, 1)
    )
    rows = torch.as_tensor(down, dtype=cosines.dtype, device=cosines.device)
    columns = torch.as_tensor(across, dtype=cosines.dtype, device=cosines.device)
    # Two indices pick one patch for each click: `cosines[:, top, left]` is (k n). First along x, in the row above the
    # click and in the row below it, then between the two rows.
    above = cosines[:, top, left] * (1 - columns) + cosines[:, top, right] * columns
    below = cosines[:, bottom, left] * (1 - columns) + cosines[:, bottom, right] * columns
    return (above * (1 - rows) + below * rows).T.float().cpu().numpy()


def _between(pixels: np.ndarray, patches: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along one axis: the patch before each pixel's centre, the patch after it, and the latter's weight."""
    # A pixel's centre lies at (pixel + 1/2) / length of the side, a patch's at (patch + 1/2) / patches; the clip keeps
    # pixels before the first patch's centre, and after the last one's, at that patch.
    at = np.clip((pixels + 0.5) * patches / length - 0.5, 0, patches - 1)
    before = np.floor(at).astype(np.int64)
    return before, np.minimum(before + 1, patches - 1), at - before
