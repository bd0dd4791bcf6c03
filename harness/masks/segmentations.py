"""Checks COCO's segmentations (polygons; run lengths as a list or as COCO's string) and turns them into masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pycocotools.mask

from harness.masks import rle
from harness.masks.json_values import whole
from harness.structures import Mask


def decode(segmentation: Any, height: int, width: int, may_be_empty: bool = False) -> Mask:
    """The mask of a COCO segmentation: polygons, or run lengths, as a list or as COCO's string.

    Everything is checked before pycocotools gets it, because its C code does not check: NaN and coordinates far off the
    image end the process, and run lengths that are too short fill the rest of the mask from uninitialised memory.

    Raises:
        ValueError: It describes no mask of that size, or an empty one that may not be.
    """
    if isinstance(segmentation, list) and segmentation:
        _check_nesting(segmentation)
        polygons = [_polygon(polygon, height, width) for polygon in segmentation]
        _check_unit(polygons)
        encoded = pycocotools.mask.merge(pycocotools.mask.frPyObjects(polygons, height, width))
        runs = rle.unpacked(encoded["counts"])
    elif isinstance(segmentation, dict):
        runs = _runs(segmentation, height, width)
    else:
        raise ValueError(
            f"found the segmentation {short(segmentation)}; wanted polygons or run lengths (a `bbox` is no mask)"
        )
    if not may_be_empty and not runs[1::2].any():
        raise ValueError("found a segmentation that covers no pixel; wanted one at least")
    return rle.filled(runs, (height, width))


def _check_nesting(segmentation: list[Any]) -> None:
    """Refuse a flat list of numbers: one polygon without the outer list, or run lengths, which look the same.

    Raises:
        ValueError: It is a flat list; the message shows how either form is written.
    """
    if not isinstance(segmentation[0], list):
        raise ValueError(
            f"found the segmentation {short(segmentation)}; wanted a list of polygons, [[x, y, x, y, ...]], of three "
            "points at least, or run lengths, {'counts': ..., 'size': [h, w]}"
        )


def _polygon(points: Any, height: int, width: int) -> list[float]:
    try:
        xy = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"found the polygon {short(points)}; wanted numbers") from error
    if xy.ndim == 2 and xy.shape[1] == 2:  # Some tools write a list of points.
        xy = xy.ravel()
    if xy.ndim != 1 or xy.size % 2 or xy.size < 6:
        raise ValueError(
            f"found the polygon {short(points)} of {xy.size} numbers; wanted x, y of three points at least"
        )
    if not np.isfinite(xy).all():
        raise ValueError("found a polygon with a coordinate that is not finite")
    # pycocotools walks along each edge pixel by pixel, so far points would take gigabytes. Points that lie a little
    # outside are common in COCO, and are cut off there, too.
    largest = max(height, width)
    if xy.min() < -largest or xy.max() > 2 * largest:
        raise ValueError(
            f"found a polygon from {xy.min():g} to {xy.max():g}; wanted it on the {height} x {width} image"
        )
    return xy.tolist()


def _check_unit(polygons: Sequence[Sequence[float]]) -> None:
    """Refuse polygons in shares of the image's sides, which would become one pixel in its corner.

    They are refused only if all polygons look like that: one small polygon among others is a sliver in that corner, as
    in masks that were traced by a program.

    Raises:
        ValueError: All numbers lie between 0 and 1, and not all of them are whole.
    """
    numbers = np.concatenate([np.asarray(polygon) for polygon in polygons])
    if numbers.min() >= 0 and numbers.max() <= 1 and (numbers % 1).any():
        raise ValueError(
            f"found the polygon {short(polygons[0])}, between 0 and 1; wanted pixels, not shares of the sides"
        )


def _runs(segmentation: Mapping[str, Any], height: int, width: int) -> rle.Runs:
    size, counts = _read_whole(segmentation.get("size")), segmentation.get("counts")
    if size != [height, width]:
        raise ValueError(f"found run lengths of size {short(size)}; wanted {[height, width]}, the image's [h, w]")
    if isinstance(counts, str) and counts[:2] in ("b'", 'b"'):
        raise ValueError(f"found the counts {short(counts)}, as Python prints bytes; wanted their text, .decode()")
    text = isinstance(counts, str)
    runs = rle.unpacked(str(counts).encode(errors="surrogatepass")).tolist() if text else _read_whole(counts)
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise ValueError(f"found the counts {short(counts)}; wanted lengths of 0 or more")
    if sum(runs) != height * width:
        raise ValueError(f"found run lengths of {sum(runs)} pixels; wanted {height * width} ({height} x {width})")
    return np.array(runs, np.int64)


def _read_whole(values: Any) -> Any:
    """A list's numbers as ints if all are whole numbers, as 48.0 and "48" are; anything else as it is."""
    if not isinstance(values, list):
        return values
    read = [whole(value) for value in values]
    return values if None in read else read


def short(value: Any) -> str:
    """A value's `repr`, shortened for a message."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
