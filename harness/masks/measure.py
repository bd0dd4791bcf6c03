"""A metric by its name, and its value on two masks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from harness.masks.region import Region
from harness.plugins.registry import entry
from harness.plugins.scale import SHARE, Scale
from harness.structures import Mask


@dataclass(frozen=True, eq=False)
class SalientPixels:
    """A text's saliency map, for metrics that measure the map rather than a mask.

    Attributes:
        values: From 0 to 1, at the image's size.
        ignore: Pixels that do not count.
    """

    values: Float[np.ndarray, "h w"]
    ignore: Mask | None = None

    def split(self, mask: Mask) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " m"]]:
        """The values of counted pixels, on a mask and outside it."""
        counted = np.ones(mask.shape, bool) if self.ignore is None else ~self.ignore
        return self.values[mask & counted], self.values[~mask & counted]


@dataclass(frozen=True)
class Metric:
    """A function that scores how well a prediction meets the ground truth, with the facts that its decorator gives.

    The annotations of its arguments decide what it is called with:

    - (Region, Region): two regions;
    - (Region, SalientPixels): the truth's region and the text's saliency map; rows of methods without a map then have
      no value of this metric;
    - anything else: two masks, bool (h, w) at the image's size, in which the pixels that do not count are False. They
      are read-only, and the truth's mask is the same array in every call on an instance.

    Attributes:
        name: Its column in the rows.
        function: (truth, prediction) -> value.
        takes_regions: Whether it is called with `Region`s in place of masks.
        place: The file and the line of its definition.
        scale: Whether higher is better, the bounds and the unit of its values.
        description: The first line of its docstring.
        takes_map: Whether it measures a text's saliency map instead of a predicted mask.
    """

    name: str
    function: Callable[[Any, Any], Any]
    takes_regions: bool
    place: str
    scale: Scale = SHARE
    description: str = ""
    takes_map: bool = False

    def __call__(self, truth: Region, prediction: Any) -> Any:
        """The metric's value, of a predicted `Region` or of `SalientPixels`."""
        if self.takes_map:
            return self.function(truth, prediction)
        return self.function(truth, prediction) if self.takes_regions else self.function(truth.mask, prediction.mask)

    @property
    def takes(self) -> str:
        """Its arguments in words, for messages."""
        if self.takes_map:
            return "truth and map, a harness.masks.Region and SalientPixels"
        return f"truth and prediction, two {'harness.masks.Region' if self.takes_regions else 'bool (h, w) arrays'}"


def metric(name: str, where: str = "") -> Metric:
    """The metric that a config calls `name`.

    Raises:
        UserError: There is none of this name.
    """
    found = entry("metrics", name, where)
    says = (inspect.getdoc(found.thing) or "").partition("\n")[0]
    options: Mapping[str, Any] = {"description": says, **found.options}
    takes = [_annotated(found.thing, place, kind) for place, kind in ((0, Region), (1, SalientPixels))]
    return Metric(found.name, found.thing, takes[0], found.place, **options, takes_map=takes[1])


def _annotated(function: Callable[..., Any], place: int, kind: type) -> bool:
    """Whether an argument is annotated with a class, by itself or, as text, by its name."""
    try:
        arguments = list(inspect.signature(function).parameters.values())
    except ValueError:  # A function of an extension module, which has no readable signature.
        return False
    said = arguments[place].annotation if len(arguments) > place else None
    return said is kind or str(said).rpartition(".")[2] == kind.__name__
