"""Draws docs/scenes.png: scenes of the embedded benchmark, plain and with their masks outlined and named.

One command, from the checkout's root: `python -m benchmarks.contact_sheet`
"""

from __future__ import annotations

import colorsys
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from datasets.scenes import CLASSES, Scenes
from harness.structures import Image, Instance, Sample

ROOT = Path(__file__).resolve().parent.parent
COLUMNS, ROWS, GAP = 6, 4, 6
COLOURS = 192


def outlined(sample: Sample) -> Image:
    """The image with every instance's outline in its class's colour, and its name; drawn at twice the size."""
    image = cv2.resize(sample.image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    for instance in sorted(sample.instances, key=lambda one: -int(one.mask.sum())):
        large = cv2.resize(instance.mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(large, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, contours, -1, class_colour(instance.category), 2, cv2.LINE_AA)
    for instance in sample.instances:
        write_name(image, instance)
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def write_name(image: Image, instance: Instance) -> None:
    """The class's name over the mask's innermost point, on an image of twice the mask's size."""
    depth = cv2.distanceTransform(np.pad(instance.mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    (width, height), _ = cv2.getTextSize(instance.category, cv2.FONT_HERSHEY_SIMPLEX, 0.48, 1)
    left = int(np.clip(2 * x - width // 2, 2, image.shape[1] - width - 2))
    place = (left, int(2 * y + height // 2))
    cv2.putText(image, instance.category, place, cv2.FONT_HERSHEY_SIMPLEX, 0.48, (20, 22, 30), 4, cv2.LINE_AA)
    cv2.putText(image, instance.category, place, cv2.FONT_HERSHEY_SIMPLEX, 0.48, (255, 255, 255), 1, cv2.LINE_AA)


def class_colour(category: str) -> tuple[int, int, int]:
    """Hues as far apart as the classes allow."""
    r, g, b = colorsys.hsv_to_rgb(CLASSES.index(category) * 7 % len(CLASSES) / len(CLASSES), 0.85, 1.0)
    return int(255 * r), int(255 * g), int(255 * b)


def sheet(first: int = 0) -> Image:
    """Rows of plain scenes, each above the same scenes with their masks."""
    scenes = Scenes("val")
    ids = scenes.sample_ids()[first : first + COLUMNS * ROWS // 2]
    samples = [scenes.load(sample_id) for sample_id in ids]
    rows = []
    for start in range(0, len(samples), COLUMNS):
        chosen = samples[start : start + COLUMNS]
        rows += [[sample.image for sample in chosen], [outlined(sample) for sample in chosen]]
    return np.concatenate([np.concatenate([_framed(image) for image in row], 1) for row in rows])


def _framed(image: Image) -> Image:
    return np.pad(image, ((GAP // 2, GAP // 2), (GAP // 2, GAP // 2), (0, 0)), constant_values=255)


def main() -> None:
    path = ROOT / "docs" / "scenes.png"
    path.parent.mkdir(exist_ok=True)
    # A palette keeps the file below 600 kB.
    PIL.Image.fromarray(sheet()).quantize(COLOURS, dither=PIL.Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
