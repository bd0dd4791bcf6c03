"""Reads Open Images' tables: the large ones in batches, so that memory stays bounded, and those that name classes.

Registers no data set.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv

from harness.messages import number_of
from harness.structures import UserError

_BLOCK_BYTES = 1 << 25
_LINE_EVERY_S = 5

DOWNLOAD = "Download it from https://storage.googleapis.com/openimages/web/download_v7.html"


class Classes(NamedTuple):
    """The classes of a list, and the names of all classes.

    Attributes:
        listed: LabelName ("/m/01yrx") -> display name ("Cat"), for the classes of a list, in its order.
        names: LabelName -> display name, for every class in the descriptions.
    """

    listed: Mapping[str, str]
    names: Mapping[str, str]


def batches(path: Path, types: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
    """The wanted columns of a CSV, block by block; a large file shows its progress on stderr.

    Raises:
        UserError: The file is not a CSV with these columns from the first row to the last, or has no row, or lines that
            are in no row.
    """
    size, said, rows = path.stat().st_size, time.monotonic(), 0
    with path.open("rb") as file:
        _check_header(path, file.readline(), types)
        file.seek(0)
        try:
            blocks = pyarrow.csv.open_csv(
                file,
                pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES),
                convert_options=pyarrow.csv.ConvertOptions(column_types=types, include_columns=list(types)),
            )
            for number, batch in enumerate(blocks, start=1):
                rows += len(batch)
                yield pa.Table.from_batches([batch])
                if time.monotonic() - said > _LINE_EVERY_S:
                    said = time.monotonic()
                    read = min(1, number * _BLOCK_BYTES / size)  # the file itself is read ahead
                    print(f"datasets: {path.name}: {read:.0%} read", file=sys.stderr, flush=True)
        except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
            raise UserError(
                f"datasets/openimages/openimages.py: {path} ({size} bytes) is not a whole table: "
                f"{error}; wanted in every row "
                f"what its first line names. {DOWNLOAD} again."
            ) from error
    if not rows:
        raise UserError(f"datasets/openimages/openimages.py: {path}: found no row below the header. {DOWNLOAD} again.")
    _check_count(path, rows)


def _check_header(path: Path, line: bytes, types: Mapping[str, pa.DataType]) -> None:
    try:
        names = next(csv.reader(line.decode("utf-8-sig", "replace").splitlines()), [])
    except csv.Error:  # 131,072 letters without a comma
        names = []
    missing = [name for name in types if names.count(name) != 1]
    if missing:
        raise UserError(
            f"datasets/openimages/openimages.py: {path}: found the columns {', '.join(names)[:200] or 'of no header'}; "
            f"wanted {', '.join(missing)} once among them. {DOWNLOAD}."
        )


def _check_count(path: Path, rows: int) -> None:
    """Refuse a table of which some lines are in no row: a quote that is never closed takes in all lines behind it."""
    with path.open("rb") as file:
        lines = sum(not line.isspace() for line in file) - 1
    if rows < lines:
        raise UserError(
            f"datasets/openimages/openimages.py: {path}: found {number_of(rows, 'row')} in {lines} lines below the "
            f'header; wanted one in each. A quote (") in it is not closed. {DOWNLOAD} again.'
        )


def read_classes(class_list: Path, descriptions: Path) -> Classes:
    """The classes of a list, with the names that the descriptions give them.

    Both are CSVs with a LabelName first; V7's descriptions have a header, those before have none.

    Raises:
        UserError: The list is empty, or names a class that the descriptions lack.
    """
    names = {row[0]: row[1] for row in _label_rows(descriptions) if len(row) > 1}
    labels = [row[0] for row in _label_rows(class_list)]
    unnamed = [label for label in labels if label not in names]
    if unnamed or not labels:
        raise UserError(
            f"datasets/openimages/openimages.py: found {len(labels)} classes in {class_list}, of which {len(unnamed)} "
            f"({', '.join(unnamed[:3])}) have no name in {descriptions}; wanted a name of each. {DOWNLOAD}."
        )
    return Classes({label: names[label] for label in labels}, names)


def _label_rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [row for row in csv.reader(file) if row and row[0].startswith("/")]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"datasets/openimages/openimages.py: {path} is not a CSV in UTF-8: {error}. {DOWNLOAD} again."
        ) from error
