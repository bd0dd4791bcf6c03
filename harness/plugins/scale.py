"""The scale of a metric's values: which of two is better, their bounds, and how they are printed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.structures import UserError

ROUNDING = 1e-9
"""The most by which a value may exceed its bounds: rounding in float64 can make a share 1.0000000000000002."""


@dataclass(frozen=True)
class Scale:
    """The facts that a metric declares about its values.

    A share, with bounds 0 and 1 and no unit, is printed in percent, and differences between shares in percentage
    points. Every other value is printed as it is, in its own unit.

    Attributes:
        higher_is_better: Whether the larger of two values is the better one.
        bounds: The least and the largest value; infinite if there is none.
        unit: The unit of the values ("px"); "" for a share or a plain number.

    Raises:
        UserError: The bounds are not two numbers in order.
    """

    higher_is_better: bool = True
    bounds: tuple[float, float] = (0.0, 1.0)
    unit: str = ""

    def __post_init__(self) -> None:
        try:
            low, high = map(float, self.bounds)
            ordered = low < high
        except (TypeError, ValueError):
            ordered = False
        if not ordered:
            raise UserError(f"bounds={self.bounds!r}; wanted the smallest and the largest value, such as (0, 1).")
        object.__setattr__(self, "bounds", (low, high))

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Scale:
        """The scale that `Scale.written` described; missing entries get their defaults."""
        low, high = said.get("bounds", (0.0, 1.0))
        bounds = (-math.inf if low is None else low, math.inf if high is None else high)
        return cls(said.get("higher_is_better", True), bounds, said.get("unit", ""))

    @property
    def written(self) -> dict[str, Any]:
        """The scale as JSON values; null for a bound that does not exist, since JSON has no infinity."""
        bounds = [bound if math.isfinite(bound) else None for bound in self.bounds]
        return {"higher_is_better": self.higher_is_better, "bounds": bounds, "unit": self.unit}

    @property
    def worst(self) -> float:
        """The worst possible value: 0 for a share; infinite where there is no bound."""
        return self.bounds[0] if self.higher_is_better else self.bounds[1]

    @property
    def is_share(self) -> bool:
        """Whether values are printed in percent."""
        return self.bounds == (0.0, 1.0) and not self.unit

    @property
    def sign(self) -> int:
        """1 or -1: a difference times this number is above zero if it is for the better."""
        return 1 if self.higher_is_better else -1

    @property
    def factor(self) -> int:
        """Printed number / value: 100 for a share."""
        return 100 if self.is_share else 1

    @property
    def printed_in(self) -> str:
        """The unit of printed values: "%", "px" or ""."""
        return "%" if self.is_share else self.unit

    @property
    def said(self) -> str:
        """The addition to the metric's name in a heading: ` (px, lower is better)`; "" if higher is better, no unit."""
        told = [*([self.unit] if self.unit else []), *([] if self.higher_is_better else ["lower is better"])]
        return f" ({', '.join(told)})" if told else ""

    def holds(self, value: float) -> bool:
        """Whether a value lies within the bounds; NaN does not."""
        return self.bounds[0] - ROUNDING <= value <= self.bounds[1] + ROUNDING

    def shown(self, value: float) -> str:
        """0.5776 -> `57.76` for a share, 3.25 -> `3.25` for pixels; a dash where there is no number."""
        return "–" if math.isnan(value) else f"{self.factor * value:.2f}"

    def signed(self, difference: float) -> str:
        """0.0452 -> `+4.52` for a share; never `-0.00`; a dash where there is no number."""
        text = "–" if math.isnan(difference) else f"{self.factor * difference:+.2f}"
        return "+0.00" if text == "-0.00" else text


SHARE = Scale()
"""The scale of IoU, and of every metric that declares no other."""

NUMBER = Scale(bounds=(0.0, math.inf))
"""The scale of plain numbers, such as of clicks."""
