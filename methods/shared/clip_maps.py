"""Turns a text's scores in the cells of a grid into a map of the image; common to the saliencies on CLIP."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from torch import Tensor

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

IMAGES_AT_ONCE = 8
"""The most images in a forward pass of CLIP's image tower."""

_CLASSES_AT_ONCE = 8
"""How many classes are upsampled together on a CPU, few enough for its cache; the least number on a GPU."""
_ON_GPU_AT_ONCE = 2**26
"""How many pixels, of all classes together, a GPU upsamples at once: it is faster with many."""
# The step between two float32 numbers is about 1e-7 of their size. A map that varies by a few steps only shows the
# rounding of a constant, and stretched to 0..1 it would look like a saliency.
_FLAT = 1e-6


def alike_together(keys: Sequence[K], compute: Callable[[K, Sequence[int]], Iterable[T]]) -> list[T]:
    """Compute a result for each of several items; items with equal keys are computed together.

    Args:
        keys: A key for each item, such as an image's size.
        compute: (key, the places of at most `IMAGES_AT_ONCE` items that have it) -> a result for each.

    Returns:
        The results, in the order of the items.
    """
    places: dict[K, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    found: dict[int, T] = {}
    for key, own in places.items():
        for start in range(0, len(own), IMAGES_AT_ONCE):
            some = own[start : start + IMAGES_AT_ONCE]
            found |= zip(some, compute(key, some), strict=True)
    return [found[place] for place in range(len(keys))]


class Last(Generic[T]):
    """Remembers the last result of a computation.

    A worker asks about one image after the other, and about the many objects of a large image in several calls. The
    softmax's normaliser over the vocabulary is the same in all of them, and takes longer than the maps themselves. Only
    one is kept, since it has the image's size.
    """

    def __init__(self) -> None:
        self._kept: tuple[Any, T] | None = None

    def get(self, key: Any, compute: Callable[[], T]) -> T:
        """The result for a key: the one that is kept, or else `compute()`, which is then kept."""
        # Key and result are replaced together, so that another thread never sees one with the other's.
        kept = self._kept
        if kept is None or kept[0] != key:
            self._kept = kept = key, compute()
        return kept[1]


def own_stream(device: torch.device) -> torch.cuda.Stream | None:
    """A GPU's stream for the loaders' work, which would otherwise wait behind the training steps that are queued."""
    if device.type != "cuda":
        return None
    # CUDA serves streams with lower numbers first: waiting kernels of this one start before those of the training step.
    stream = torch.cuda.Stream(device, priority=-1)
    stream.wait_stream(torch.cuda.current_stream(device))  # The weights may still be on their way to the GPU.
    return stream


@contextmanager
def aside(stream: torch.cuda.Stream | None) -> Iterator[None]:
    """On a GPU, compute the block in a stream, and wait for it at the end, so that other streams may use the result."""
    with torch.cuda.stream(stream):
        yield
    if stream is not None:
        stream.synchronize()


def normalised(
    images: UInt8[Tensor, "n h w 3"], mean: Sequence[float], std: Sequence[float]
) -> Float32[Tensor, "n 3 h w"]:
    """The network's input for RGB images; mean and std are of pixels from 0 to 1."""
    scaled = images.float() / 255 - torch.tensor(mean, device=images.device)
    return (scaled / torch.tensor(std, device=images.device)).permute(0, 3, 1, 2).contiguous()


def upsampled(scores: Float32[Tensor, "n gh gw"], size: tuple[int, int]) -> Float32[Tensor, "n h w"]:
    """Stretched bilinearly over (h, w), align_corners=False."""
    return F.interpolate(scores[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def log_sum_exp(scores: Float32[Tensor, "n k gh gw"], size: tuple[int, int]) -> Float32[Tensor, "n h w"]:
    """The softmax's normaliser over k classes at (h, w), a few classes in memory at a time."""
    # For the numbers 2, 5 and 1: log(e^2 + e^5 + e^1) = 5 + log(e^-3 + e^0 + e^-4). With the largest taken out, no exp
    # can overflow. Here the largest over the classes is taken in each cell and upsampled, `bound`. Interpolation is
    # monotone, so no class exceeds it at any pixel; and it is linear, so subtracting it from the few cells before the
    # upsampling is the same as subtracting it from all pixels after.
    most = scores.amax(1, keepdim=True)
    bound = upsampled(most[:, 0], size)
    total = torch.zeros_like(bound)
    at_once = max(_CLASSES_AT_ONCE, _ON_GPU_AT_ONCE // bound.numel()) if bound.is_cuda else _CLASSES_AT_ONCE
    for part in (scores - most).split(at_once, dim=1):
        total += upsampled(part.flatten(0, 1), size).exp_().unflatten(0, part.shape[:2]).sum(1)
    # Between two cells with different winners the bound lies above every class. With a small temperature it may do so
    # by more than 100, and all exponentials are 0 in float32. The least number above 0 keeps the logarithm finite
    # there.
    return total.clamp_min_(torch.finfo(total.dtype).tiny).log_() + bound


def min_max(values: Float32[Tensor, "n h w"]) -> Float32[Tensor, "n h w"]:
    """Each map stretched to [0, 1]; zeros for a map whose values vary by no more than rounding errors."""
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    flat = high - low <= _FLAT * torch.maximum(low.abs(), high.abs())  # Not an `if`, which would wait for a GPU.
    return (values - low).div_(high - low).masked_fill_(flat, 0.0)  # In place: a map takes 4 bytes a pixel.


def contrasted(
    score: Float32[Tensor, "n h w"], others: Float32[Tensor, "m h w"] | None, places: Sequence[int], known: int
) -> Float32[Tensor, "n h w"]:
    """The texts' probabilities among the vocabulary and themselves; their scores if there is no vocabulary.

    Args:
        score: The scores of the texts.
        others: The vocabulary's normaliser, one for all texts or one for each.
        places: The texts' places among all names, the first `known` of which are the vocabulary.
        known: How many names the vocabulary has.
    """
    if others is None:
        return score
    # The normaliser is log(e^a + e^b + ...) over the vocabulary. A text that is not in the vocabulary is added to the
    # sum, log(e^others + e^score); one that is in it was counted already.
    if max(places) >= known:
        joined = torch.tensor([place >= known for place in places], device=score.device)[:, None, None]
        others = torch.where(joined, torch.logaddexp(others, score), others)
    # A softmax is e^score / e^others. A pixel with the scores 3 for "cup" and 1 for "plate" has the normaliser log(e^3
    # + e^1) = 3.13 and a probability of e^(3 - 3.13) = 0.88 for "cup"; "mug" with 3 joins to log(e^3.13 + e^3) = 3.76
    # and has 0.47.
    probability = (score - others).exp_()
    if known > 1:
        return probability
    # If the vocabulary is just the text itself, its share is 1 everywhere and shows nothing: the score is used instead.
    alone = torch.tensor([place < known for place in places], device=score.device)[:, None, None]
    return torch.where(alone, score, probability)
