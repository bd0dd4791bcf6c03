"""Rows that are missing: no mean over a part is shown, it is said on stderr, and every command has exit code 1."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from harness.config.run_config import load_run
from harness.plugins.registry import names
from harness.report.build import build_table
from harness.report.context import Context
from harness.report.layout import Table
from harness.report.shortfalls import shortfalls
from harness.results.recorded import recorded_at
from harness.running.one_run import run
from harness.statistics.final_clicks import FinalClicks
from harness.storage.shards import header_of, name_of, packed
from harness.storage.store import Store
from harness.storage.verify import verified
from toy_runs import STEADY, WIDE, Quiet, written

Command = Callable[..., CompletedProcess[str]]

DRAWN = {"strategy": "sam/v1", "options": {"first": "random"}, "max_clicks": 2, "draws": 3}
ONCE = DRAWN | {"draws": 1}
SHORT = "1 of 12 instances of toys have no row, or not one of every draw of steady."


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose two methods are asked three times for each of twelve instances, and one with a way of its own."""
    folder = tmp_path_factory.mktemp("runs")
    alone = {"name": "fakes:Steady", "label": "alone", "clicks": ONCE}
    config = load_run(written(folder / "r.yaml", methods=[STEADY, WIDE, alone], clicks=DRAWN))
    run(config, Quiet(), runs=str(folder))
    return folder / "r"


def without(made: Path, copy: Path, method: str, **values: Any) -> Path:
    """A copy of the run from whose shards a method's rows with these values are gone, as if nobody had ever asked."""
    shutil.copytree(made, copy)
    for path in list((copy / "shards").glob(f"{method}-*/*.parquet")):
        table = pq.read_table(path)
        gone = reduce(pc.and_, (pc.equal(table[name], value) for name, value in values.items()))
        content = packed(table.filter(pc.invert(gone)), header_of(path))
        path.unlink()
        (path.parent / name_of(content)).write_bytes(content)
    return copy


@pytest.fixture(scope="module")
def short(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A draw of one instance is gone of one method."""
    return without(made, tmp_path_factory.mktemp("short") / "r", "steady", instance_id="3a", draw=1)


@pytest.fixture(scope="module")
def given(made: Path, short: Path) -> list[tuple[FinalClicks, Context]]:
    """What the tables of both are made of."""
    both = [recorded_at(folder) for folder in (made, short)]
    return [(FinalClicks.of(rows := one.rows()), one.context(rows)) for one in both]


def final_of(folder: Path) -> FinalClicks:
    return FinalClicks.of(recorded_at(folder).rows())


@pytest.mark.slow
def test_an_instance_that_lacks_a_draw_is_missing_whole(made: Path, short: Path) -> None:
    assert not final_of(made).partial
    final = final_of(short)
    assert final.partial == {("steady", "toys"): 1}
    counts = final.segmented.groupby(["method", "ranking"])["instance_id"].nunique()
    assert set(counts["steady"]) == {11} and set(counts["wide"]) == set(counts["alone"]) == {12}
    assert "3a" not in set(final.every.loc[final.every["method"] == "steady", "instance_id"])
    rows = recorded_at(short).rows()
    assert shortfalls("r", final, recorded_at(short).context(rows)) == (f"r: {SHORT}",)
    rows.attrs.clear()  # Rows that do not know their config were asked as often as any instance of their method.
    assert FinalClicks.of(rows).partial == final.partial


@pytest.mark.slow
def test_a_draw_that_lacks_its_last_click_is_missing_too(made: Path, tmp_path: Path) -> None:
    final = final_of(without(made, tmp_path / "r", "wide", instance_id="0b", draw=2, click_index=2))
    assert final.partial == {("wide", "toys"): 1}


@pytest.mark.slow
def test_a_draw_that_all_methods_lack_is_missing_by_the_config(made: Path, tmp_path: Path) -> None:
    folder = made
    for at, method in enumerate(("steady", "wide")):
        folder = without(folder, tmp_path / str(at) / "r", method, draw=2, status="ok")
    assert final_of(folder).partial == {("steady", "toys"): 12, ("wide", "toys"): 12}


def test_with_partners_an_instance_has_as_many_draws_as_any_method(make_row: Any) -> None:
    asked = [("a", "A1", 0), ("a", "A1", 1), ("a", "A2", 0), ("b", "A1", 0), ("b", "A2", 0)]
    rows = [make_row(method, one, 0.5, draw=draw, partner=f"p{draw}") for method, one, draw in asked]
    final = FinalClicks.of(pd.DataFrame(rows))
    assert final.partial == {("b", "toy"): 1}
    assert final.rows[["method", "instance_id"]].to_numpy().tolist() == [["a", "A1"], ["a", "A2"], ["b", "A2"]]


NUMBER = re.compile(r"^[+-]?\d+\.\d+")


def means(table: Table, method: str) -> list[str]:
    """The numbers with a fraction in a method's lines, latencies apart."""
    lines = [row for row in table.body if any(cell.text.split(" (")[0] == method for cell in row.cells)]
    return [cell.text for row in lines for cell in row.cells if NUMBER.match(cell.text)]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(names("tables")))
def test_no_table_shows_a_mean_over_a_part(name: str, given: list[tuple[FinalClicks, Context]]) -> None:
    """What a table prints of the method is printed of the whole run, too, or is blank."""
    whole, part = (build_table(name, final, context) for final, context in given)
    assert set(means(part, "steady")) <= set(means(whole, "steady"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "{run}"],
        ["report", "{run}", "--table", "leaderboard"],
        ["leaderboard", "{run}"],
        ["leaderboard", "{run}", "{whole}", "--format", "md"],
        ["compare", "{run}:steady (confidence)", "{run}:wide (confidence)"],
        ["compare", "{run}:steady (confidence)", "{whole}:steady (confidence)"],
        ["claims", "{run}"],
        ["audit", "{run}"],
        ["page", "{run}", "--no-figures", "--pictures", "0"],
    ],
    ids=lambda given: " ".join(given),
)
def test_every_command_that_prints_tables_says_it_and_ends_with_exit_code_1(
    arguments: list[str], made: Path, short: Path, here: Command
) -> None:
    done = here(*(one.format(run=short, whole=made) for one in arguments))
    said = " ".join(done.stderr.split())
    assert done.returncode == 1 and said.count(SHORT) == 1, done
    assert f"{short.name}: {SHORT}" in said


@pytest.mark.slow
def test_a_comparison_of_the_other_methods_is_whole(short: Path, here: Command) -> None:
    done = here("compare", f"{short}:wide (confidence)", f"{short}:wide (size)", "--format", "md")
    assert done.returncode == 0 and "have no row" not in done.stdout + done.stderr


@pytest.mark.slow
def test_verify_names_it(made: Path, short: Path) -> None:
    assert not verified(Store(made)).lacking
    lacking = [line for line in verified(Store(short)).lacking if "results.parquet" not in line]
    assert lacking == ["steady on toys: 1 instances lack some of 3 draws; the first is '3a'"]
