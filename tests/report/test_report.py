import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import UserError
from harness.report.build import TableError, build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Cell, Column, Row, Table
from harness.report.rendering.markdown import to_markdown
from harness.report.scores import scores
from harness.statistics.final_clicks import FinalClicks

TABLES = ["leaderboard", "table1", "table3", "table4", "table6", "table7"]
PLUGINS = {"ours": "text_click", "click": "sam"}


def test_an_unknown_table_is_refused(pair: pd.DataFrame) -> None:
    with pytest.raises(UserError, match=r"no table 'tabel1'. Did you mean 'table1'\? There are: .*leaderboard"):
        build_table("tabel1", pair, Context("demo"))


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_a_limited_run_says_so_first(pair: pd.DataFrame, name: str) -> None:
    built = build_table(name, pair, Context("demo", limits={"toy": 5}))
    assert built.title.startswith("LIMITED to 5 samples: ")
    assert built.notes[0] == "LIMITED to 5 samples: not a result."
    assert "LIMITED" not in to_markdown(build_table(name, pair, Context("demo")))


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_row_order_changes_no_byte(pair: pd.DataFrame, make_row: Any, name: str) -> None:
    rows = pd.concat([pair, pair.assign(dataset="b"), pd.DataFrame([make_row("click", "C1", None)])])
    rows = rows.assign(method_plugin=rows["method"].map(PLUGINS))
    context = Context("demo", labels={"ours": MethodFacts(uses_text=True)})
    wanted = to_markdown(build_table(name, rows, context))
    for state in range(2):
        assert to_markdown(build_table(name, rows.sample(frac=1, random_state=state), context)) == wanted


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("empty", [True, False])
def test_no_rows_make_an_empty_table(pair: pd.DataFrame, name: str, empty: bool) -> None:
    built = build_table(name, pd.DataFrame() if empty else pair.iloc[:0], Context("demo"))
    assert (built.body, built.notes) == ((), ("No rows.",))


def test_what_never_ran_is_missing_and_not_absent(pair: pd.DataFrame) -> None:
    context = Context("demo", expected_instances={("sam", "toy"): 4, ("ours", "toy"): 4, ("click", "toy"): 4})
    lines = scores(FinalClicks.of(pair), context)
    sam = lines[lines["method"] == "sam"].iloc[0]
    assert (sam["ranking"], sam["n"], sam["missing"]) == ("", 0, 4)
    assert lines["missing"].sum() == 4
    assert scores(FinalClicks.of(pd.DataFrame()), context)["missing"].tolist() == [4, 4, 4]


def test_the_configs_order_is_kept(pair: pd.DataFrame) -> None:
    rows = pd.concat([pair, pair.assign(dataset="a"), pair.assign(method=pair["method"] + "2", dataset="a")])
    context = Context("demo", labels={"ours": MethodFacts(), "click": MethodFacts()})
    found = scores(FinalClicks.of(rows), context)
    assert found["dataset"].tolist() == ["a"] * 4 + ["toy"] * 2
    assert found["method"].tolist() == ["ours", "click", "click2", "ours2", "ours", "click"]
    expected = {("ours", "toy"): 4, ("click", "toy"): 4}
    named = Context("demo", labels=context.labels, expected_instances=expected)
    assert scores(FinalClicks.of(rows), named)["dataset"].tolist()[:2] == ["toy", "toy"]


def test_without_expectations_every_method_must_know_what_any_knows(pair: pd.DataFrame) -> None:
    lines = scores(FinalClicks.of(pair.iloc[:-1]), Context("demo"))
    assert lines.set_index("method")["missing"].to_dict() == {"ours": 0, "click": 1}
    assert lines.set_index("method")["mean"].isna().to_dict() == {"ours": False, "click": True}


def test_a_table_from_elsewhere_gets_texts_and_not_numbers_of_them(
    pair: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "table_of_ones_own.py").write_text(
        "from harness import register_table\n"
        "from harness.report.layout import Cell, Column, Row, Table\n"
        "@register_table('joined')\n"
        "def joined(given, context):\n"
        "    names = (given.rows['method'] + ' on ' + given.rows['dataset']).unique()\n"
        "    return Table('joined', (Column('Name'),), tuple(Row((Cell(name),)) for name in names))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    made = build_table("table_of_ones_own:joined", pair, Context("made"))
    assert {row.cells[0].text for row in made.body} == {"ours on toy", "click on toy"}


@pytest.mark.parametrize(
    ("column", "cell", "wrong"),
    [
        (Column("n"), Cell(0), "a cell with 0 in row 1; wanted a text."),
        (Column("n"), Cell(None), "a cell with None in row 1; wanted a text."),
        (Column("n"), Cell(False), "a cell with False in row 1; wanted a text."),
        (Column("n"), Cell("1", "so"), "a cell with notes='so' in row 1; wanted a tuple of texts."),
        (Column("n"), Cell("1", (2,)), r"a cell with notes=(2,) in row 1; wanted a tuple of texts."),
        (Column("n"), Cell("1", value="1"), "a cell with value='1' in row 1; wanted a number, or None."),
        (Column(7), Cell("1"), "a column with heading=7, group=''; wanted texts."),
        (Column("n", align="middle"), Cell("1"), "a column with align='middle'; wanted 'left', 'center' or 'right'."),
    ],
)
def test_a_table_that_no_format_can_print_is_named(
    pair: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, column: Any, cell: Any, wrong: str
) -> None:
    def odd(rows: Any, context: Any) -> Table:
        return Table("Odd", (column,), (Row((cell,)),))

    monkeypatch.setattr(sys.modules[__name__], "odd", odd, raising=False)
    with pytest.raises(TableError, match=re.escape(f"table '{__name__}:odd' returned {wrong}")):
        build_table(f"{__name__}:odd", pair, Context("demo"))


def test_failures_count_as_the_worst_over_the_instances_that_any_method_tells_of(make_row: Any) -> None:
    ours = {"A1": 0.9, "A2": 0.6, "B1": 0.3, "B2": 0.8}
    rows = pd.DataFrame(
        [
            *(make_row("ours", name, iou) for name, iou in ours.items()),
            *(make_row("click", name, None if name == "A2" else iou) for name, iou in ours.items()),
        ]
    )
    found = scores(FinalClicks.of(rows), Context("demo")).set_index("method")
    assert found["mean"].to_dict() == pytest.approx({"ours": 2.6 / 4, "click": 2.0 / 3})
    assert found["as_worst"].to_dict() == pytest.approx({"ours": 2.6 / 4, "click": 2.0 / 4})
    # No method has a boundary IoU of B2, so it says nothing of either.
    unscored = rows.assign(boundary_iou=rows["boundary_iou"].where(rows["instance_id"] != "B2"))
    found = scores(FinalClicks.of(unscored), Context("demo"), "boundary_iou").set_index("method")
    assert found["as_worst"].to_dict() == pytest.approx({"ours": 0.9 / 3, "click": 0.6 / 3})
