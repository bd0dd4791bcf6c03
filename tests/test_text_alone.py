"""A run without clicks: what it asks and writes, and that everything which reads a run reads it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import UserError
from harness.config.run_config import load_run
from harness.figures.charts import charts
from harness.page.explorer import Listing
from harness.plugins.registry import names
from harness.report.build import build_table
from harness.report.rendering.markdown import to_markdown
from harness.results.recorded import recorded_at
from harness.running.one_run import run
from harness.statistics.comparisons import compare
from harness.statistics.final_clicks import FinalClicks
from harness.storage.store import store_of
from harness.storage.verify import verified
from toy_runs import STEADY, Quiet, written

pytestmark = pytest.mark.slow

NONE = {"max_clicks": 0}
WORDS = {"name": "fakes:ByText", "label": "words"}
PHRASES = {"name": "fakes:ByText", "label": "phrases", "text": {"rule": "class_name", "template": "the {}"}}
CLICKED = {"name": "fakes:ByText", "label": "clicked", "clicks": {"max_clicks": 2, "strategy": "center/v1"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by text alone, and one in which some methods are clicked."""
    folder = tmp_path_factory.mktemp("runs")
    for name, methods in (("alone", [WORDS, PHRASES]), ("mixed", [WORDS, CLICKED, {**STEADY, "clicks": {}}])):
        config = load_run(written(folder / f"{name}.yaml", methods=methods, clicks=NONE, text="class_name"))
        run(config, Quiet(), runs=str(folder))
    return folder


def rows_of(folder: Path, name: str = "alone") -> pd.DataFrame:
    return recorded_at(folder / name).rows(masks=True)


CLICK_COLUMNS = (
    *("clicks", "click_strategy", "click_options", "under_click", "under_click_area_ratio", "click_depth_px"),
    "holds_click",
)


@pytest.mark.slow
def test_rows_without_clicks_have_no_click_columns(folder: Path) -> None:
    rows = rows_of(folder)
    assert len(rows) == 2 * 12
    assert (rows["click_index"] == 0).all() and (rows["status"] == "ok").all()
    for name in CLICK_COLUMNS:
        assert rows[name].isna().all(), name
    mixed = rows_of(folder, "mixed")
    assert mixed.groupby("method")["click_index"].unique().map(list).to_dict() == {
        "clicked": [1, 2],
        "steady": [1],
        "words": [0],
    }
    assert mixed.loc[mixed["method"] != "words", "click_strategy"].notna().all()


def test_the_masks_are_those_that_the_text_asks_for(folder: Path) -> None:
    rows = rows_of(folder, "mixed").set_index(["method", "instance_id", "click_index"])["mask"]
    for instance in rows["words"].index.get_level_values("instance_id"):
        assert rows["words", instance, 0] == rows["clicked", instance, 1] == rows["clicked", instance, 2]


@pytest.mark.parametrize("name", ["alone", "mixed"])
def test_verify_proves_such_a_run(folder: Path, name: str) -> None:
    found = verified(store_of(name, folder))
    assert not found.lacking
    assert any("12 instances x 1 ranking x no click = 12 rows" in one for one in found.proved)


def test_a_start_goes_on_where_the_last_one_ended(folder: Path) -> None:
    watching = Quiet()
    config = load_run(written(folder / "alone.yaml", methods=[WORDS, PHRASES], clicks=NONE, text="class_name"))
    run(config, watching, runs=str(folder))
    assert watching.images == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alone", "mixed"])
def test_every_table_can_be_built(folder: Path, name: str) -> None:
    rows = rows_of(folder, name)
    final, context = FinalClicks.of(rows), recorded_at(folder / name).context(rows)
    said = {table: to_markdown(build_table(table, final, context)) for table in sorted(names("tables"))}
    for table, text in said.items():
        assert not re.search(r"@0(?!\.)|\b0 clicks|click 0", text), (table, text)
    assert "no click" in said["leaderboard"]


def test_the_table_of_clicks_needed_says_who_was_asked_without(folder: Path) -> None:
    rows = rows_of(folder)
    noc = build_table("noc", rows, recorded_at(folder / "alone").context(rows))
    assert not noc.body and "toys, words: asked without clicks." in noc.notes


@pytest.mark.slow
def test_comparisons_charts_and_pages_are_made(folder: Path) -> None:
    rows = rows_of(folder)
    found = compare(rows, ("words", "single"), ("phrases", "single"))
    assert found.clicks == (0, 0, 0)
    assert found.lines["n"].iloc[0] == 12
    mixed = rows_of(folder, "mixed")
    context = recorded_at(folder / "mixed").context(mixed)
    assert charts(mixed, context)
    (cells,) = Listing.of(FinalClicks.of(mixed), context).files({})
    by_entry = {len(one[2][entry][1]) for one in cells for entry in range(3)}
    assert by_entry == {1, 2}
    rounds = [one for line in cells for entry in line[2] for one in entry[1]]
    assert {(made, len(points)) for made, points, *_ in rounds} == {(0, 0), (1, 1), (2, 2)}


def config(path: Path, **changed: Any) -> Path:
    return written(path / "a.yaml", **{"clicks": NONE, "text": "class_name", "methods": [WORDS], **changed})


def test_what_clicks_would_be_made_plays_no_part(tmp_path: Path) -> None:
    plain = load_run(config(tmp_path)).clicks
    other = load_run(config(tmp_path, clicks={"strategy": "center/v1", "max_clicks": 0})).clicks
    assert plain == other and plain.protocol == {"max_clicks": 0}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"methods": [STEADY]}, r"a\.yaml: 'steady' is asked with clicks\.max_clicks: 0, and .*Steady needs a click"),
        ({"methods": [{**STEADY, "clicks": NONE}], "clicks": {}}, "'steady' is asked with .* needs a click"),
        (
            {"methods": [{**STEADY, "variants": [{"label": "none", "clicks": NONE}]}], "clicks": {}},
            "'steady, none' is asked with .* needs a click",
        ),
        ({"text": "none"}, r"'words' is asked with clicks\.max_clicks: 0 and text: none; wanted a click or words"),
        (
            {"clicks": {"max_clicks": 0, "draws": 3}},
            r"clicks\.draws: found 3; wanted 1, since every draw is the same without clicks",
        ),
        ({"clicks": {"max_clicks": -1}}, r"clicks\.max_clicks"),
    ],
)
def test_what_cannot_be_asked_without_a_click_is_refused_before_the_run(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        load_run(config(tmp_path, **changed))


def test_a_config_may_ask_a_method_with_clicks_beside_one_without(tmp_path: Path) -> None:
    found = load_run(config(tmp_path, methods=[WORDS, {**STEADY, "clicks": {"max_clicks": 1}}]))
    assert [method.clicks and method.clicks.max_clicks for method in found.methods] == [None, 1]
