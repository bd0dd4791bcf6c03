"""A metric by its name, and its value on two masks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.masks.region import Region
from harness.plugins.registry import entry
from harness.plugins.scale import SHARE, Scale


@dataclass(frozen=True)
class Metric:
    """A number that says how well a prediction meets the ground truth.

    A metric whose first argument is annotated `Region` is given two of them. Any other is given two masks, bool (h, w)
    at the image's size, in which the pixels that do not count are False. The masks are read-only, and the truth's is
    the same array in every call on an instance.

    Attributes:
        name: Its column in the rows.
        function: (truth, prediction) -> value.
        takes_regions: Whether it is given `Region`s, in place of masks.
        place: The file and the line where it is written.
        scale: Which of two values is the better one, their bounds and their unit.
        description: The first line of its docstring.
    """

    name: str
    function: Callable[[Any, Any], Any]
    takes_regions: bool
    place: str
    scale: Scale = SHARE
    description: str = ""

    def __call__(self, truth: Region, prediction: Region) -> Any:
        """The metric's value."""
        return self.function(truth, prediction) if self.takes_regions else self.function(truth.mask, prediction.mask)

    @property
    def takes(self) -> str:
        """What it is called with, for messages."""
        return f"truth and prediction, two {'harness.masks.Region' if self.takes_regions else 'bool (h, w) arrays'}"


def metric(name: str, where: str = "") -> Metric:
    """The metric that a config calls `name`.

    Raises:
        UserError: There is none of this name.
    """
    found = entry("metrics", name, where)
    says = (inspect.getdoc(found.thing) or "").partition("\n")[0]
    options: Mapping[str, Any] = {"description": says, **found.options}
    return Metric(found.name, found.thing, _takes_regions(found.thing), found.place, **options)


def _takes_regions(function: Callable[..., Any]) -> bool:
    """Whether the first argument is annotated `Region`, by the class or, as text, by its name."""
    try:
        first = next(iter(inspect.signature(function).parameters.values()))
    except ValueError:  # A function of an extension module, which does not say.
        return False
    return first.annotation is Region or str(first.annotation).rpartition(".")[2] == "Region"
