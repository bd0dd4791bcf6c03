"""Prompts are written one a file, and read again as one table, or as clicks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness import Click, UserError
from harness.clicks.recordings import clicks_by_instance, read
from harness.storage.recordings import count, record

CLICKS = [{"x": 24, "y": 18, "positive": True}, {"x": 3, "y": 4, "positive": False}]


def row(number: int, **changed: Any) -> dict[str, Any]:
    known = {"id": f"{number:032x}", "dataset": "nested", "image_id": "a", "instance_id": "a/tie", "category": "tie"}
    return known | {"text": "tie", "clicks": CLICKS, "seconds": 2.5} | changed


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    for number, instance in ((3, "a/tie"), (1, "a/tie"), (2, "a/lamp")):
        record(tmp_path / "kept", row(number, instance_id=instance, clicks=CLICKS[:number]))
    found = read(tmp_path / "kept").to_pylist()
    assert [(one["instance_id"], int(one["id"], 16)) for one in found] == [("a/lamp", 2), ("a/tie", 1), ("a/tie", 3)]
    assert found[0] == row(2, instance_id="a/lamp")
    both = (Click(24, 18), Click(3, 4, False))
    assert clicks_by_instance(tmp_path / "kept") == {("a", "a/lamp"): [both], ("a", "a/tie"): [both[:1], both]}
    pq.write_table(read(tmp_path / "kept"), tmp_path / "one.parquet")
    assert read(tmp_path / "one.parquet").to_pylist() == found


def test_a_prompt_that_is_sent_again_is_kept_once(tmp_path: Path) -> None:
    for seconds in (1.0, 2.0):
        record(tmp_path, row(7, seconds=seconds))
    assert count(tmp_path) == 1 and read(tmp_path)["seconds"].to_pylist() == [2.0]


def test_what_is_no_recording_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no recordings; wanted a .parquet file, or a folder of them"):
        read(tmp_path)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match=r"other.parquet: .*wanted the columns id, dataset, image_id"):
        read(tmp_path)
    (tmp_path / "other.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="other.parquet: Arrow"):
        read(tmp_path)
