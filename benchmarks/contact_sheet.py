"""Draws docs/scenes.png: scenes of the embedded benchmark, plain and with their masks outlined and named.

One command, from the checkout's root: `python -m benchmarks.contact_sheet`
"""

from __future__ import annotations

import colorsys
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from harness.datasets.scenes.scenes import CLASSES, Scenes

from harness.structures import Image, Instance, Mask, Sample

ROOT = Path(__file__).resolve().parent.parent
SHOWN = (12, 15, 23, 70, 44, 45, 67, 37, 47, 66)
"""Numbers of validation scenes in which every class shows at least once."""

COLUMNS, GAP, CELL, ZOOM = 5, 6, 240, 3
"""Scenes a row; pixels between scenes and of a scene's side; how much larger outlines are drawn before shrinking."""

FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.85


def sheet() -> Image:
    """Rows of plain scenes, each above the same scenes with their masks."""
    scenes = Scenes("val")
    samples = [scenes.load(f"val-{number:05d}") for number in SHOWN]
    rows = []
    for start in range(0, len(samples), COLUMNS):
        chosen = samples[start : start + COLUMNS]
        rows += [[enlarged(sample.image) for sample in chosen], [outlined(sample) for sample in chosen]]
    return np.concatenate([np.concatenate([framed(image) for image in row], 1) for row in rows])


def outlined(sample: Sample) -> Image:
    """The image with every instance's outline in its class's colour, and its name."""
    image = enlarged(sample.image)
    for instance in sorted(sample.instances, key=area, reverse=True):
        large = enlarged(instance.mask.astype(np.uint8), cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(large, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, contours, -1, (255, 255, 255), 8, cv2.LINE_AA)
        cv2.drawContours(image, contours, -1, class_colour(instance.category), 5, cv2.LINE_AA)
    for instance in sample.instances:
        write_name(image, instance, own_pixels(instance, sample))
    return image


def own_pixels(instance: Instance, sample: Sample) -> Mask:
    """Pixels of the instance that no smaller one claims: where its name can stand."""
    own = instance.mask.copy()
    for other in sample.instances:
        if area(other) < area(instance):
            own &= ~other.mask
    return own if own.any() else instance.mask


def write_name(image: Image, instance: Instance, where: Mask) -> None:
    """The class's name over the innermost of the pixels given, on an image ZOOM times the mask's size."""
    depth = cv2.distanceTransform(np.pad(where, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    (width, height), _ = cv2.getTextSize(instance.category, FONT, FONT_SCALE, 2)
    left = int(np.clip(x * image.shape[1] / where.shape[1] - width / 2, 4, image.shape[1] - width - 4))
    place = (left, int(y * image.shape[0] / where.shape[0] + height / 2))
    cv2.putText(image, instance.category, place, FONT, FONT_SCALE, (20, 22, 30), 7, cv2.LINE_AA)
    cv2.putText(image, instance.category, place, FONT, FONT_SCALE, (255, 255, 255), 2, cv2.LINE_AA)


def class_colour(category: str) -> tuple[int, int, int]:
    """Hues as far apart as the classes allow, neighbours in the list far from each other."""
    r, g, b = colorsys.hsv_to_rgb(CLASSES.index(category) * 7 % len(CLASSES) / len(CLASSES), 0.85, 1.0)
    return int(255 * r), int(255 * g), int(255 * b)


def area(instance: Instance) -> int:
    return int(np.count_nonzero(instance.mask))


def enlarged(image: Image, interpolation: int = cv2.INTER_CUBIC) -> Image:
    return cv2.resize(image, (CELL * ZOOM, CELL * ZOOM), interpolation=interpolation)


def framed(image: Image) -> Image:
    """The image at the sheet's size, with half a gap around it."""
    small = cv2.resize(image, (CELL, CELL), interpolation=cv2.INTER_AREA)
    return np.pad(small, ((GAP // 2, GAP // 2), (GAP // 2, GAP // 2), (0, 0)), constant_values=255)


def main() -> None:
    path = ROOT / "docs" / "scenes.png"
    path.parent.mkdir(exist_ok=True)
    # 256 colours keep the file below 600 kB.
    drawn = PIL.Image.fromarray(sheet())
    palette = drawn.quantize(256, kmeans=4)
    drawn.quantize(palette=palette, dither=PIL.Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
