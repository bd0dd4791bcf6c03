"""A click beside the image is refused by every method that comes with the harness, whoever asks it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness.methods.shared.clicks_inside import check_clicks

from harness import places
from harness.config.run_config import load_run
from harness.structures import Click
from harness.trying import load_methods

BESIDE = [Click(6, 0), Click(0, 4), Click(-1, 0), Click(0, -1)]


def test_clicks_in_the_corners_are_inside() -> None:
    check_clicks([Click(x, y) for x in (0, 5) for y in (0, 3)], (4, 6))
    for click in BESIDE:
        with pytest.raises(ValueError, match=rf"x={click.x}, y={click.y}; wanted one on the 6 x 4 image"):
            check_clicks([Click(0, 0), click], (4, 6))


@pytest.mark.slow
def test_no_method_answers_a_click_beside_the_image() -> None:
    image: Any = np.zeros((4, 6, 3), np.uint8)
    loaded = load_methods(load_run(places.config(Path("sam_vs_ours_all_scenes"))))
    assert len(loaded) == 8
    for one in loaded:
        assert one.method.predict(image, Click(5, 3), "car").masks.shape[1:] == (4, 6)
        for click in BESIDE:
            with pytest.raises(ValueError, match="wanted one on the 6 x 4 image"):
                one.method.predict(image, click, "car")
