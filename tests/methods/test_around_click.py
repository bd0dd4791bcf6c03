"""How well texts fit around a click: by hand, and against MaskCLIP's own map before its softmax."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness.methods.shared.around_click import fits_at
from torch.nn import functional

from harness.structures import Click

SKY, GRASS = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
DENSE = torch.stack([torch.stack([SKY, GRASS], 1), torch.stack([GRASS, SKY], 1)], 1)
"""2 x 2 patches: sky and grass above, grass and sky below."""


@pytest.mark.parametrize(
    ("x", "y", "sky"),
    [
        (0, 0, 1.0),  # left of and above all centres: the corner's patch alone
        (3, 0, 0.0),
        (1, 0, 3 / 4),  # a quarter of the way from the centre at 0.5 to the one at 2.5
        (2, 0, 1 / 4),
        (1, 1, 9 / 16 + 1 / 16),  # the two patches of sky, by (3/4)^2 and (1/4)^2
        (2, 1, 3 / 16 + 3 / 16),
    ],
)
def test_by_hand(x: int, y: int, sky: float) -> None:
    found = fits_at(DENSE, (4, 4), [Click(x, y)], torch.stack([SKY, GRASS]))
    assert found.shape == (1, 2) and found[0] == pytest.approx([sky, 1 - sky])


def test_it_is_the_stretched_map_at_the_clicks_pixel() -> None:
    generator = torch.Generator().manual_seed(0)
    dense = functional.normalize(torch.randn(6, 3, 5, generator=generator), dim=0)
    texts = functional.normalize(torch.randn(4, 6, generator=generator), dim=1)
    cosines = torch.einsum("kd,dhw->khw", texts, dense)
    stretched = functional.interpolate(cosines[None], (32, 48), mode="bilinear", align_corners=False)[0].numpy()
    clicks = [Click(x, y) for x in range(0, 48, 5) for y in range(0, 32, 3)] + [Click(47, 31)]
    wanted = np.array([stretched[:, click.y, click.x] for click in clicks])
    np.testing.assert_allclose(fits_at(dense, (32, 48), clicks, texts), wanted, atol=1e-6)
    assert fits_at(dense, (32, 48), [], texts).shape == (0, 4)
