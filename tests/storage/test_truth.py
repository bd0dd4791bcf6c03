"""Methods that were not given the same data: no table shows their data set, and `verify` names it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness import UserError
from harness.config.run_config import load_run
from harness.results.recorded import recorded
from harness.results.reported import report
from harness.running.one_run import run
from harness.statistics.final_clicks import FinalClicks
from harness.storage.shards import header_of, name_of, packed
from harness.storage.store import Store
from harness.storage.truth import disputes
from harness.storage.verify import verified
from toy_runs import SHOWN, STEADY, WIDE, Quiet, written

OTHERS = {"name": "fakes:Toys", "label": "others", "params": {"count": 2}}
TOYS = {"name": "fakes:Toys", "label": "toys", "params": {"count": 3}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods on two data sets, two clicks."""
    tmp_path = tmp_path_factory.mktemp("made")
    local = {"executor": "local"}
    path = written(
        tmp_path / "r.yaml",
        **SHOWN,
        datasets=[TOYS, OTHERS],
        methods=[STEADY, WIDE],
        clicks={"max_clicks": 2},
        workers=local,
    )
    run(load_run(path), Quiet(), runs=str(tmp_path))
    return tmp_path / "r"


@pytest.fixture
def finished(made: Path, tmp_path: Path) -> Store:
    """A copy of that run."""
    shutil.copytree(made, tmp_path / "r")
    return Store(tmp_path / "r")


def rows_of(store: Store) -> pd.DataFrame:
    return recorded(store).rows()


def edited(store: Store, job: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Store:
    """The store with other rows in a job's only shard, which is whole."""
    assert store.folder.local is not None
    (path,) = (store.folder.local / "shards").glob(f"{job}-*/*.parquet")
    table = pq.read_table(path)
    content = packed(pa.Table.from_pylist(change(table), schema=table.schema), header_of(path))
    path.unlink()
    (path.parent / name_of(content)).write_bytes(content)
    return Store(store.folder)


def other_area(table: pa.Table) -> list[dict[str, Any]]:
    return [row | ({"gt_area_px": 7} if row["instance_id"] == "1b" else {}) for row in table.to_pylist()]


def other_click(table: pa.Table) -> list[dict[str, Any]]:
    moved = [{"x": 30, "y": 9, "positive": True}]
    return [
        row | ({"clicks": moved + row["clicks"][1:]} if row["instance_id"] == "0b" else {}) for row in table.to_pylist()
    ]


@pytest.mark.slow
def test_methods_that_were_asked_for_the_same_are_not_disputed(finished: Store) -> None:
    rows = rows_of(finished)
    assert disputes(rows) == {}
    assert not FinalClicks.of(rows).withheld
    later = rows.copy()
    later.loc[(rows["click_index"] == 2) & (rows["method"] == "wide"), "clicks"] = pd.Series(
        [[{"x": 1, "y": 1, "positive": False}] * 2] * len(rows), index=rows.index, dtype=rows["clicks"].dtype
    )
    assert disputes(later) == {}  # Later clicks depend on the answers.
    assert disputes(rows.drop(columns="gt_area_px")) == {}
    assert disputes(rows.iloc[:0]) == {}


@pytest.mark.slow
def test_rows_of_the_last_round_alone_are_disputed_by_their_very_first_click_only(finished: Store) -> None:
    """A leaderboard ranks such rows; their second clicks follow each method's own answers."""
    rows = rows_of(finished)
    last = rows[rows["click_index"] == 2].copy()
    assert len(set(last["clicks"].map(lambda clicks: str(clicks[1])))) > 1
    assert disputes(last) == {}
    moved = rows_of(edited(finished, "wide-toys", other_click))
    assert list(disputes(moved[moved["click_index"] == 2])) == ["toys"]


def test_rows_of_one_click_are_disputed_by_it_also_without_the_columns_of_a_whole_run(finished: Store) -> None:
    rows = rows_of(edited(finished, "wide-toys", other_click))
    first = rows[rows["click_index"] == 1]
    assert list(disputes(first)) == list(disputes(first.drop(columns="run"))) == ["toys"]
    assert disputes(first.drop(columns="click_strategy")) == {}, "nobody knows whether it was one rule"


def test_two_areas_of_one_instance_are_named_with_both_values(finished: Store) -> None:
    rows = rows_of(edited(finished, "wide-toys", other_area))
    assert list(disputes(rows)) == ["toys"]
    said = disputes(rows)["toys"]
    assert said.startswith(
        "toys: methods were not given the same data. The ground truth of 1 instance differs, first that of '1b'"
        " in image 'toy-1': it has 506 px for steady and 7 px for wide. "
    )
    assert "Delete shards/steady-toys-" in said and " and shards/wide-toys-" in said
    with pytest.raises(UserError, match="^toys: methods were not given the same data"):
        FinalClicks.of(rows)


def test_two_first_clicks_by_one_rule_are_named_with_both_values(finished: Store) -> None:
    rows = rows_of(edited(finished, "wide-toys", other_click))
    said = disputes(rows)["toys"]
    assert "The first click of 1 instance differs, first that of '0b' in image 'toy-0': it is at (" in said
    assert ") for steady and (30, 9) for wide" in said
    asked_otherwise = rows.assign(click_options=rows["click_options"].where(rows["method"] != "wide", "{}"))
    assert disputes(asked_otherwise) == {}
    assert disputes(rows.assign(run=rows["method"])) == {}  # Another run may have another seed.


@pytest.mark.slow
def test_a_report_shows_the_other_data_sets_and_says_why_not_this_one(finished: Store) -> None:
    whole = report(recorded(finished))
    assert not whole.shortfalls and all(name in str(whole.tables[0].body) for name in ("toys", "others"))
    made = report(recorded(edited(finished, "wide-toys", other_area)))
    assert len(made.shortfalls) == 1 and made.shortfalls[0].startswith("toys: ")
    (table,) = made.tables
    text = str(table.body)
    assert "others" in text and "toys" not in text
    assert table.notes[0] == made.shortfalls[0]


@pytest.mark.slow
def test_verify_names_it(finished: Store) -> None:
    agreed = "every instance has one ground truth area, and one first click of each click rule, for all methods"
    assert agreed in verified(finished).proved
    found = verified(edited(finished, "wide-toys", other_area))
    assert agreed not in found.proved
    assert any(line.startswith("toys: methods were not given the same data.") for line in found.lacking)
