"""Lists Open Images' masks in one pass over their CSV, with flags from the CSV of boxes, and keeps the list on disk.

There are millions of masks and boxes. So everything is an array with an entry a mask, and masks and boxes are matched
by sorting and binary search, never by a loop in Python. Registers no data set.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, Int, Int64, Shaped, UInt8

from harness.images.reading import within
from harness.structures import UserError

from ..shared.index_cache import cached
from .tables import DOWNLOAD, batches

FLAGS = ("IsGroupOf", "IsDepiction", "IsInside")
"""Columns of the CSV of boxes; the first is bit 0 of `Index.flags`."""

FOUND = 1 << 7
"""The bit of `Index.flags` that is set if the mask's box was found."""

_SAME_BOX = 1e-3
"""The largest difference of one box's coordinates in the two tables, as a share of the image's side. The tables may be
rounded differently, and a thousandth is about a pixel."""

_MASKS_AT_ONCE = 50_000
_MASK_COLUMNS = dict.fromkeys(("MaskPath", "ImageID", "LabelName"), pa.string())
_MASK_BOX = dict.fromkeys(("BoxXMin", "BoxXMax", "BoxYMin", "BoxYMax"), pa.float32())
_BOX_COLUMNS = dict.fromkeys(("ImageID", "LabelName"), pa.string())
_BOX = dict.fromkeys(("XMin", "XMax", "YMin", "YMax"), pa.float32())


Ids = Shaped[np.ndarray, " ids"]
"""Ids as bytes of one width: a sixth of the memory of Python's strings, and they sort in the same order."""


class Row(NamedTuple):
    """A mask: its position, and the index's values there."""

    position: int
    instance_id: str
    use: int
    label: int
    flags: int


@dataclass(frozen=True, eq=False)
class Index:
    """A split's masks, image by image, and within an image in the file's order.

    Attributes:
        image_ids: The ids of the images with masks, in UTF-8, sorted.
        bounds: Image -> its first mask; one more entry at the end.
        instance_ids: The masks' file names without ".png".
        uses: The number of masks with this id up to this one: 1, or 2 and more for a repeated id.
        labels: The distinct LabelNames.
        label: Mask -> position in `labels`.
        flags: Mask -> the bits of those of `FLAGS` that its box has, and `FOUND`; 0 if no box was found or asked for.
    """

    image_ids: Ids
    bounds: Int64[np.ndarray, " images+1"]
    instance_ids: pa.StringArray
    uses: Int[np.ndarray, " masks"]
    labels: tuple[str, ...]
    label: Int[np.ndarray, " masks"]
    flags: UInt8[np.ndarray, " masks"]

    def of_image(self, image_id: str) -> list[Row]:
        """An image's masks.

        Raises:
            KeyError: There is no such image.
        """
        (image,) = _positions(self.image_ids, np.array([image_id.encode()]))
        if image < 0:
            raise KeyError(image_id)
        start, stop = self.bounds[image : image + 2].tolist()
        columns = (column[start:stop].tolist() for column in (self.uses, self.label, self.flags))
        return list(map(Row, range(start, stop), self.instance_ids[start:stop].to_pylist(), *columns))


@lru_cache(maxsize=2)
def index_of(mask_csv: Path, boxes_csv: Path | None, versions: tuple[int, ...]) -> Index:  # noqa: ARG001
    """The index of the files, kept in memory and on disk; it is built anew if a file changes.

    Args:
        mask_csv: "<split>-annotations-object-segmentation.csv".
        boxes_csv: "<split>-annotations-bbox.csv", if flags are needed.
        versions: Sizes and times of the files: a key of the memory's cache.

    Raises:
        UserError: A file is not whole.
    """
    files = [mask_csv] if boxes_csv is None else [mask_csv, boxes_csv]
    table = cached("openimages 2", files, lambda: _built(mask_csv, boxes_csv))
    image, image_ids = _sorted_codes(table["image_id"])
    label, labels = _sorted_codes(table["label"])
    return Index(
        _ids(image_ids),
        np.searchsorted(image, np.arange(len(image_ids) + 1)),
        table["instance_id"].combine_chunks(),
        table["use"].to_numpy(),
        tuple(labels.to_pylist()),
        label,
        table["flags"].to_numpy(),
    )


def _built(mask_csv: Path, boxes_csv: Path | None) -> pa.Table:
    table = pa.concat_tables(batches(mask_csv, _MASK_COLUMNS | (_MASK_BOX if boxes_csv else {})))
    _check_names(mask_csv, table)
    image, image_ids = _sorted_codes(table["ImageID"])
    table = table.take(pa.array(np.argsort(image, kind="stable")))
    image = np.sort(image)
    label, labels = _sorted_codes(table["LabelName"])
    instance_ids = pc.replace_substring_regex(table["MaskPath"], r"\.png$", "")
    # Image and label as one number: with 350 labels, label 7 of image 2 is 2 * 350 + 7 = 707. If boxes are sorted by
    # this key, those of one image and label are in one range, which two binary searches find.
    key = image.astype(np.int64) * len(labels) + label
    flags = np.zeros(len(table), np.uint8)
    if boxes_csv is not None:
        flags = _flags(boxes_csv, _ids(image_ids), labels, key, _coordinates(table, _MASK_BOX))
    return pa.table(
        {
            "image_id": pa.DictionaryArray.from_arrays(image, image_ids),
            "instance_id": instance_ids,
            "use": _uses(instance_ids),
            "label": pa.DictionaryArray.from_arrays(label, labels),
            "flags": flags,
        }
    )


def _check_names(mask_csv: Path, table: pa.Table) -> None:
    """Refuse a table that names files outside the data set's folders."""
    for column in (table["MaskPath"], table["ImageID"]):
        for name in column.filter(pc.match_substring_regex(column, r"[/\\\x00]")).to_pylist():
            try:
                within(name)
            except ValueError as error:
                raise UserError(f"datasets/openimages/openimages.py: {mask_csv}: {error}.") from error


def _sorted_codes(column: pa.ChunkedArray) -> tuple[Int[np.ndarray, " rows"], pa.StringArray]:
    """The distinct values, sorted, and the position of each row's value among them."""
    encoded = column.dictionary_encode().unify_dictionaries().combine_chunks()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int32)
    # `order` lists the values' numbers from the first to the last in sorted order. Its inverse, `rank`, has each
    # value's place in that order. For the dictionary "b c a" the order is 2 0 1 ("a" is number 2) and the rank 1 2 0.
    rank[order] = np.arange(len(order))
    return rank[encoded.indices.to_numpy()], encoded.dictionary.take(order)


def _ids(strings: pa.StringArray) -> Ids:
    return np.array(strings.cast(pa.binary()).to_numpy(zero_copy_only=False), np.bytes_)


def _positions(ids: Ids, wanted: Ids) -> Int[np.ndarray, " wanted"]:
    """The position of each wanted id among sorted ids; -1 for one that is not there."""
    # `searchsorted` gives the place where an id would have to be, which may be one past the end. Whether it is really
    # there is compared afterwards; 0 is as good a place as any for those past the end, since none of them is equal.
    position = np.searchsorted(ids, wanted)
    position[position == len(ids)] = 0
    return np.where(ids[position] == wanted, position, -1)


def _uses(ids: pa.ChunkedArray) -> Int[np.ndarray, " rows"]:
    """For each row the number of rows with its id up to this row: 1 for an id that occurs once."""
    codes, distinct = _sorted_codes(ids)
    if len(distinct) == len(codes):
        return np.ones(len(codes), np.int32)
    # A row's place in a stable sort, minus the place of the first row with the same id, plus 1. For the ids a b a:
    #
    #    sorted stably    a a b     the first a is at 0, the first b at 2
    #    own places       0 2 1     minus the first place, plus 1: 1 1 2
    order = np.argsort(codes, kind="stable")
    first = np.searchsorted(codes[order], codes)
    position = np.empty(len(codes), np.int32)
    position[order] = np.arange(len(codes))
    return position - first.astype(np.int32) + 1


def _coordinates(table: pa.Table | pa.RecordBatch, names: dict[str, pa.DataType]) -> Float32[np.ndarray, "rows 4"]:
    return np.stack([table[name].to_numpy(zero_copy_only=False) for name in names], axis=1)


def _flags(
    boxes_csv: Path,
    image_ids: Ids,
    labels: pa.StringArray,
    key: Int64[np.ndarray, " masks"],
    corners: Float32[np.ndarray, "masks 4"],
) -> UInt8[np.ndarray, " masks"]:
    """The flags of each mask's box, which has the same image, label and corners."""
    box_key, box_corners, box_flags = _boxes(boxes_csv, image_ids, labels)
    start, stop = np.searchsorted(box_key, key), np.searchsorted(box_key, key, "right")
    flags = np.zeros(len(key), np.uint8)
    for first in range(0, len(key), _MASKS_AT_ONCE):
        some = slice(first, first + _MASKS_AT_ONCE)
        # All pairs of a mask and a box of its range, as two flat arrays of equal length, without a loop over masks.
        # With three masks whose ranges begin at 4, 9 and 9 and have 2, 0 and 3 boxes:
        #
        #    mask                       0 0 2 2 2
        #    0 1 2 3 4 + 4 4 7 7 7  =   4 5 9 10 11    box
        #
        # The number that is added for a mask is the start of its range minus its first place in the list: 4 - 0 for
        # mask 0, and 9 - 2 for mask 2.
        counts = (stop - start)[some]
        mask = np.repeat(np.arange(first, first + len(counts)), counts)
        box = np.arange(len(mask)) + np.repeat(start[some] - np.cumsum(counts) + counts, counts)
        same = (np.abs(corners[mask] - box_corners[box]) <= _SAME_BOX).all(axis=1)
        np.bitwise_or.at(flags, mask[same], box_flags[box[same]])
    if not flags.any():
        raise UserError(
            f"datasets/openimages/openimages.py: {boxes_csv}: found none of the {len(key)} masks' boxes in it; "
            f"wanted the boxes of the same split. {DOWNLOAD}, or ask for no `drop_...`."
        )
    return flags


def _boxes(
    path: Path, image_ids: Ids, labels: pa.StringArray
) -> tuple[Int64[np.ndarray, " boxes"], Float32[np.ndarray, "boxes 4"], UInt8[np.ndarray, " boxes"]]:
    """Key, corners and flags of the boxes whose image and label have masks, sorted by key."""
    parts = []
    for batch in batches(path, _BOX_COLUMNS | _BOX | dict.fromkeys(FLAGS, pa.int8())):
        of_batch = batch["ImageID"].combine_chunks().dictionary_encode()
        image = _positions(image_ids, _ids(of_batch.dictionary))[of_batch.indices]
        label = pc.index_in(batch["LabelName"], labels).fill_null(-1).to_numpy()
        near = (image >= 0) & (label >= 0)
        key = image.astype(np.int64) * len(labels) + label
        flags = sum((batch[flag].fill_null(0).to_numpy() == 1) << bit for bit, flag in enumerate(FLAGS)) | FOUND
        parts.append((key[near], _coordinates(batch, _BOX)[near], flags.astype(np.uint8)[near]))
    key, corners, flags = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(key, kind="stable")
    return key[order], corners[order], flags[order]
