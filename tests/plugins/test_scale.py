"""How a metric's values are read and printed, and what a run's manifest keeps of that."""

import json
import math

import pytest

from harness import UserError, register_metric
from harness.plugins.scale import SHARE, Scale

PIXELS = Scale(higher_is_better=False, bounds=(0, math.inf), unit="px")


def test_only_a_share_is_printed_in_percent() -> None:
    assert (SHARE.shown(0.5776), SHARE.signed(0.0452), SHARE.printed_in, SHARE.said) == ("57.76", "+4.52", "%", "")
    assert (PIXELS.shown(3.25), PIXELS.signed(-1.5), PIXELS.printed_in) == ("3.25", "-1.50", "px")
    assert PIXELS.said == " (px, lower is better)" and Scale(False).said == " (lower is better)"
    assert Scale(bounds=(-1, 1)).shown(0.5) == "0.50" and Scale(unit="px").shown(0.5) == "0.50"
    assert [scale.shown(math.nan) for scale in (SHARE, PIXELS)] == ["–", "–"]
    assert [scale.signed(-0.00001) for scale in (SHARE, Scale(unit="px"))] == ["+0.00", "+0.00"]


@pytest.mark.parametrize("scale", [SHARE, PIXELS, Scale(bounds=(-1, 1)), Scale(False, (-math.inf, 0), "dB")])
def test_what_a_manifest_keeps_is_json_and_reads_back(scale: Scale) -> None:
    assert Scale.read(json.loads(json.dumps(scale.written, allow_nan=False))) == scale


def test_a_manifest_that_says_nothing_is_of_a_share() -> None:
    assert Scale.read({}) == Scale.read({"higher_is_better": True, "bounds": [0.0, 1.0]}) == SHARE


def test_bounds_hold_what_rounding_leaves_of_them() -> None:
    assert SHARE.holds(1 + 1e-12) and SHARE.holds(0) and PIXELS.holds(1e9)
    assert not any(SHARE.holds(value) for value in (1.001, -0.001, math.nan, math.inf)) and not PIXELS.holds(-1)


@pytest.mark.parametrize("bounds", [(1, 0), (0, 0), (0,), 3, ("a", "b"), (0, math.nan)])
def test_bounds_that_are_none_are_refused_where_they_are_written(bounds: object) -> None:
    with pytest.raises(UserError, match=r"register_metric\('wrong'\): bounds=.*; wanted the smallest and the largest"):
        register_metric("wrong", bounds=bounds)  # type: ignore[arg-type]
