"""What training does to an image before a network sees it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8


def jittered(
    image: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator, strength: float = 0.3
) -> UInt8[np.ndarray, "h w 3"]:
    """Contrast, brightness and each colour's gain changed at random, by at most `strength`."""
    contrast, brightness = 1 + strength * rng.uniform(-1, 1, 2)
    gains: Float32[np.ndarray, " 3"] = (1 + strength / 2 * rng.uniform(-1, 1, 3)).astype(np.float32)
    pixels = image.astype(np.float32)
    pixels = (pixels - 128) * np.float32(contrast) + 128
    return np.clip(pixels * (gains * np.float32(brightness)), 0, 255).astype(np.uint8)
