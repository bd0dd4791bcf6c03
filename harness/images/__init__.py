"""Reads picture files as RGB pixels, faithfully or not at all."""

from harness.images.opening import TooLargeError, opened
from harness.images.reading import read_as_viewed, read_rgb, read_rgb_of

__all__ = ["TooLargeError", "opened", "read_as_viewed", "read_rgb", "read_rgb_of"]
