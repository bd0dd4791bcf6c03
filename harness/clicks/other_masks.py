"""The masks that a method made in a finished run, which another method starts from.

They are read from the run's results.parquet, which every finished run has (docs/results.md). Its manifest.json has the
file's SHA-256; a file that was altered since is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness import places
from harness.masks import rle
from harness.messages import suggest
from harness.structures import Mask, UserError

RESULTS = "results.parquet"
_INSTANCE = ["dataset", "image_id", "instance_id"]
_COLUMNS = [*_INSTANCE, "method", "ranking", "draw", "click_index", "status"]
_OF_MASKS = ["height", "width", "mask"]


@dataclass(frozen=True, eq=False)
class OtherMasks:
    """A method's masks after each instance's last click.

    Attributes:
        said: The run, data set, method and ranking, for messages.
        known: (image's id, instance's id) -> its run lengths and (h, w); of several draws the first one's. An instance
            that failed at any click of it has none.
    """

    said: str
    known: Mapping[tuple[str, str], tuple[bytes, tuple[int, int]]]

    def mask(self, image_id: str, instance_id: str, size: tuple[int, int]) -> Mask:
        """The mask of an instance of an image of (h, w).

        Raises:
            ValueError: There is none, or one of another size.
        """
        if (image_id, instance_id) not in self.known:
            raise ValueError(f"{self.said} has no mask of this instance")
        counts, known = self.known[image_id, instance_id]
        if known != size:
            raise ValueError(f"{self.said} has a mask of {known}; wanted {size}, the image's (h, w)")
        return rle.decode(counts, size)


def masks_of(run: Path, method: str, ranking: str = "", dataset: str = "", sha256: str = "") -> OtherMasks:
    """A method's masks in a finished run, read once as long as the file stays as it is.

    Args:
        run: The run's folder.
        method: The method's label there.
        ranking: The ranking whose masks are taken; may be empty if the method has one ranking besides the oracle's.
        dataset: The data set's label there; may be empty if the run has one.
        sha256: The hash that the file must have; empty accepts any.

    Raises:
        UserError: No such run, method, ranking or data set; several of them, and none was chosen; or another file.
    """
    path = places.located(run) / RESULTS
    if not path.is_file():
        raise UserError(
            f"rough/v1: no {RESULTS} in run={run}; wanted the folder of a finished run, such as runs/quickstart. "
            "Correct `run`, or finish it with `python -m harness run`."
        )
    if sha256 and places.sha256(path) != sha256:
        raise UserError(f"rough/v1: {path} has changed since this run was planned. Give this run another name.")
    return _read(path, places.file_state(path), method, ranking, dataset)


@lru_cache(maxsize=4)
def _read(path: Path, state: tuple[int, int, int], method: str, ranking: str, dataset: str) -> OtherMasks:
    del state  # It is a key of the cache alone: a file that was written anew is read anew.
    _check_unaltered(path)
    try:
        rows = pq.read_table(path, columns=[*_COLUMNS, *_OF_MASKS], filters=[("method", "==", method)])
        if not len(rows):
            there = pc.unique(pq.read_table(path, columns=["method"])["method"]).to_pylist()
            raise UserError(f"rough/v1: {path} has no method labelled '{method}'. {suggest(method, map(str, there))}")
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"rough/v1: {path} cannot be read ({error}); wanted a run's {RESULTS}.") from error
    every, rows = rows, rows.filter(pc.equal(rows["status"], "ok"))
    for column, wanted in (("dataset", dataset), ("ranking", ranking)):
        rows = _only(rows, column, wanted, f"rough/v1: {path}, method '{method}'")
    # Rows are sorted by draw and click. So an instance's last row of the first draw has its last click, and a dict that
    # is built from first to last keeps just this row. If that click failed, the mask of the one before is no answer.
    failed = every.filter(pc.and_(pc.not_equal(every["status"], "ok"), pc.equal(every["draw"], 0)))
    broken = set(zip(*(failed[name].to_pylist() for name in _INSTANCE), strict=True))
    first = rows.filter(pc.equal(rows["draw"], 0)).select([*_INSTANCE, *_OF_MASKS])
    known = {
        (row["image_id"], row["instance_id"]): (row["mask"], (row["height"], row["width"]))
        for row in first.to_pylist()
        if (row["dataset"], row["image_id"], row["instance_id"]) not in broken
    }
    return OtherMasks(f"'{method}' in {path.parent.name}", known)


def _check_unaltered(path: Path) -> None:
    """Check that the file has the hash that the run's manifest gives; a file without a manifest is taken as it is.

    Raises:
        UserError: It has another hash.
    """
    try:
        wanted = json.loads(path.with_name("manifest.json").read_bytes())["results"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    if places.sha256(path) != wanted:
        raise UserError(
            f"rough/v1: {path} is not the file that manifest.json describes: it was altered, or a run was killed "
            f"while it wrote it. Write it again: python -m harness report {path.parent}"
        )


def _only(rows: pa.Table, column: str, wanted: str, where: str) -> pa.Table:
    """The rows of one value of a column; the oracle's masks are chosen by the ground truth, so they never count."""
    there = [str(one) for one in pc.unique(rows[column]).to_pylist() if one != "oracle"]
    if wanted and wanted not in there:
        raise UserError(f"{where}: no {column} '{wanted}'. {suggest(wanted, there)}")
    if not wanted and len(there) > 1:
        raise UserError(
            f"{where}: found {len(there)} of {column}: {', '.join(there)}; wanted one. Name it: `{column}:`."
        )
    return rows.filter(pc.equal(rows[column], wanted or (there or [""])[0]))
