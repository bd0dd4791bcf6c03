"""People's prompts, as `try` records them: the columns, and files or folders of them read again.

Each prompt has one row: the instance that was meant, the person's clicks, the words typed, and the time it took. No
column identifies the person, the place or the date.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.structures import Click, UserError

COLUMNS = pa.schema(
    [
        ("id", pa.string()),
        ("dataset", pa.string()),
        ("image_id", pa.string()),
        ("instance_id", pa.string()),
        ("category", pa.string()),
        ("text", pa.string()),
        ("clicks", pa.list_(pa.struct([("x", pa.int32()), ("y", pa.int32()), ("positive", pa.bool_())]))),
        ("seconds", pa.float64()),
    ]
)
"""`id` is drawn at random for each prompt, so that one that is sent twice is kept once. `dataset` is the data set's
label; `seconds` runs from the first sight of the picture, or from the prompt before, to the last click or letter."""


def files_of(path: Path) -> list[Path]:
    """The Parquet files of a folder of recordings, or the one file, in the order of their names.

    Raises:
        UserError: There is none.
    """
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path] if path.is_file() else []
    if not files:
        raise UserError(
            f"{path}: no recordings; wanted a .parquet file, or a folder of them, as `try --record FOLDER` writes."
        )
    return files


def read(path: Path) -> pa.Table:
    """All recordings of a file or a folder, sorted by data set, image, instance and id.

    Raises:
        UserError: There is none, or a file is damaged or no file of recordings.
    """
    parts = []
    for file in files_of(path):
        try:
            parts.append(pq.read_table(file, columns=COLUMNS.names).cast(COLUMNS))
        except (OSError, pa.ArrowException) as error:
            wanted = ", ".join(COLUMNS.names)
            said = str(error).partition("\n")[0]
            raise UserError(f"{file}: {type(error).__name__}: {said}; wanted the columns {wanted}.") from error
    order = [(name, "ascending") for name in ("dataset", "image_id", "instance_id", "id")]
    return pa.concat_tables(parts).sort_by(order)


def clicks_by_instance(path: Path, dataset: str = "") -> dict[tuple[str, str], list[tuple[Click, ...]]]:
    """(image's id, instance's id) -> the clicks of each of its recordings, in `read`'s order.

    Args:
        path: A file or a folder.
        dataset: Only recordings on the data set with this label; empty for all.

    Raises:
        UserError: As in `read`; or a recording has no complete click, or none is on this data set; or no data set is
            named, and two have an instance of the same ids.
    """
    found: dict[tuple[str, str], list[tuple[Click, ...]]] = {}
    labels: dict[tuple[str, str], str] = {}
    rows = read(path).to_pylist()
    for row in rows:
        if dataset and row["dataset"] != dataset:
            continue
        key = (row["image_id"], row["instance_id"])
        if (label := labels.setdefault(key, row["dataset"])) != row["dataset"]:
            raise UserError(
                f"{path}: '{label}' and '{row['dataset']}' both have an instance '{key[1]}' of an image '{key[0]}'. "
                "Say whose recordings are meant: `dataset: LABEL` among the options."
            )
        found.setdefault(key, []).append(_clicks(row, path))
    if dataset and not found:
        there = ", ".join(sorted({str(row["dataset"]) for row in rows}))
        raise UserError(f"{path}: no recording on a data set labelled '{dataset}'. There are: {there}.")
    return found


def _clicks(row: Mapping[str, Any], path: Path) -> tuple[Click, ...]:
    made = row["clicks"] or []
    if not made or any(one is None or None in one.values() for one in made):
        raise UserError(f"{path}: recording '{row['id']}' has no clicks, or one without x, y or positive.")
    return tuple(Click(one["x"], one["y"], one["positive"]) for one in made)
