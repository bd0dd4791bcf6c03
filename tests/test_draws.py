"""Several draws of the click an instance: what a run makes of them; no statistic takes a draw for an instance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness import UserError
from harness.config.run_config import load_run
from harness.figures.charts import charts
from harness.page.explorer import Listing
from harness.plugins.registry import names
from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.results.recorded import recorded_at
from harness.running.one_run import run
from harness.statistics.clicks_needed import sequences
from harness.statistics.comparisons import compare
from harness.statistics.final_clicks import FinalClicks
from harness.statistics.means import summarise
from harness.statistics.ranks import ranks
from harness.storage.store import store_of
from harness.storage.verify import verified
from toy_runs import STEADY, WIDE, Quiet, written

CLICKS = {"strategy": "sam/v1", "options": {"first": "random"}, "max_clicks": 2}


def made(folder: Path, name: str, **clicks: Any) -> pd.DataFrame:
    """The rows of a run on six toys."""
    config = load_run(written(folder / f"{name}.yaml", methods=[STEADY, WIDE], clicks=CLICKS | clicks))
    run(config, Quiet(), runs=str(folder))
    return recorded_at(folder / name).rows(masks=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, pd.DataFrame]:
    """A run with one draw of the click, and the same with three."""
    folder = tmp_path_factory.mktemp("runs")
    return folder, made(folder, "one"), made(folder, "three", draws=3)


APART = ["run", "encode_ms", "segment_ms"]


@pytest.mark.slow
def test_the_first_draw_is_that_of_a_run_of_one(runs: tuple[Path, pd.DataFrame, pd.DataFrame]) -> None:
    _, one, three = runs
    first = three[three["draw"] == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(first.drop(columns=APART), one.drop(columns=APART))
    assert len(three) == 3 * len(one)


@pytest.mark.slow
def test_every_draw_has_clicks_of_its_own_that_all_methods_share(
    runs: tuple[Path, pd.DataFrame, pd.DataFrame],
) -> None:
    *_, three = runs
    first = three[three["click_index"] == 1].assign(click=lambda own: own["clicks"].map(lambda made: str(list(made))))
    assert (first.groupby(["instance_id", "draw"])["click"].nunique() == 1).all()
    assert (first.groupby("instance_id")["click"].nunique() == 3).all()
    assert (first.groupby(["instance_id"])["text"].nunique() == 1).all()


@pytest.mark.slow
def test_a_run_of_several_draws_is_whole_and_counts_instances(
    runs: tuple[Path, pd.DataFrame, pd.DataFrame],
) -> None:
    folder, _, three = runs
    found = verified(store_of("three", folder))
    assert not found.lacking
    assert any(
        "12 instances, asked for 36 times in all, x 3 rankings x 2 clicks = 216 rows" in one for one in found.proved
    )
    context = recorded_at(folder / "three").context(three)
    assert set(context.expected_instances.values()) == {12}
    assert set(summarise(three)["n"]) == {12}


def repeated(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows as if every draw had been the first; of two equal numbers the mean is exact."""
    return pd.concat([rows.assign(draw=draw) for draw in range(2)], ignore_index=True)


CONTEXT = Context(
    "demo",
    labels={"steady": MethodFacts(True, plugin="text_click"), "wide": MethodFacts(plugin="click_only")},
    intervals=True,
)


@pytest.fixture(scope="module")
def alike(runs: tuple[Path, pd.DataFrame, pd.DataFrame]) -> list[FinalClicks]:
    """The run with one draw, and its draw twice."""
    return [FinalClicks.of(rows) for rows in (runs[1], repeated(runs[1]))]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(names("tables")))
def test_draws_that_are_alike_change_no_table(name: str, alike: list[FinalClicks]) -> None:
    once, twice = (build_table(name, final, CONTEXT) for final in alike)
    assert once == twice


@pytest.mark.slow
def test_draws_that_are_alike_change_no_comparison_chart_or_page(
    runs: tuple[Path, pd.DataFrame, pd.DataFrame], alike: list[FinalClicks]
) -> None:
    entries = ("steady", "confidence"), ("wide", "confidence")
    once, twice = (compare(rows, *entries) for rows in (runs[1], repeated(runs[1])))
    for table in ("lines", "noc", "changed"):
        pd.testing.assert_frame_equal(getattr(once, table), getattr(twice, table))
    assert once.dropped == twice.dropped
    pd.testing.assert_frame_equal(*map(ranks, alike))
    drawings = [repr(charts(final, CONTEXT)) for final in alike]
    assert drawings[0] == drawings[1]  # NaN is no other NaN's equal.
    pages = [Listing.of(final, CONTEXT) for final in alike]
    assert pages[0].columns({}) | {"draws": 2} == pages[1].columns({})  # The page says of which draw a mask is.
    assert list(pages[0].files({})) == list(pages[1].files({}))


def drawn(make_row: Any, method: str, instance: str, *ious: float, **more: Any) -> list[dict[str, Any]]:
    """A row a draw, each with a click of its own."""
    clicks = [[{"x": at, "y": 5, "positive": True}] for at in range(len(ious))]
    return [
        make_row(method, instance, iou, draw=at, clicks=click, **{name: one[at] for name, one in more.items()})
        for at, (iou, click) in enumerate(zip(ious, clicks, strict=True))
    ]


def test_methods_are_compared_draw_by_draw(make_row: Any) -> None:
    # A has gains of 0.3 and 0.1, B of 0 and of a draw on which the other failed: B is dropped whole.
    rows = [*drawn(make_row, "a", "A1", 0.8, 0.4), *drawn(make_row, "b", "A1", 0.5, 0.3)]
    rows += [*drawn(make_row, "a", "B1", 0.5, 0.5), *drawn(make_row, "b", "B1", 0.5, 0.5)]
    rows[-1] |= {"status": "failed", "iou": None, "ranking": None}
    rows += [*drawn(make_row, "a", "C1", 0.9, 0.9), *drawn(make_row, "b", "C1", 0.9, 0.5)]
    found = compare(pd.DataFrame(rows), "a", "b")
    line = found.lines.iloc[0]
    assert (line["n"], line["win"], line["images"]) == (2, 2, 2)
    assert line["difference"] == pytest.approx((0.2 + 0.2) / 2)
    assert found.dropped["the second failed on"] == 1


def test_a_slice_by_what_lies_under_the_click_means_over_the_draws_in_it(make_row: Any) -> None:
    rows = [*drawn(make_row, "m", "A1", 0.2, 0.4, 0.9, under_click=[2, 2, 1], hit=["part", "right", "right"])]
    rows += drawn(make_row, "m", "B1", 0.5, 0.5, 0.5, under_click=[2, 2, 2], hit=["part"] * 3)
    table = build_table("ambiguity", pd.DataFrame(rows), Context("demo"))
    assert [cell.text for cell in table.body[0].cells][4:] == ["40.00", "90.00", "2", "1", "0"]  # (0.3 + 0.5) / 2
    hits = build_table("destinations", pd.DataFrame(rows), Context("demo"))
    assert [cell.text for cell in hits.body[0].cells][4:6] == [
        "25.00",
        "75.00",
    ]  # right: half of A's draws, none of B's


def test_clicks_are_counted_in_every_draw_and_averaged(make_row: Any) -> None:
    def walk(instance: str, draw: int, *ious: float) -> list[dict[str, Any]]:
        return [make_row("m", instance, iou, draw=draw, click_index=at) for at, iou in enumerate(ious, 1)]

    rows = [*walk("A1", 0, 0.95, 0.95), *walk("A1", 1, 0.5, 0.6), *walk("B1", 0, 0.5, 0.92), *walk("B1", 1, 0.5, 0.95)]
    found = sequences(pd.DataFrame(rows))
    assert found.noc(0.9) == pytest.approx((1.5 + 2) / 2)
    assert found.needed(0.9).tolist() == [1.5, 2.0]
    assert found.ious[:, 0].mean() == pytest.approx((0.725 + 0.5) / 2)
    assert (len(found.ious), found.nof_strict(0.9), found.nof_ritm(0.9)) == (2, 0, 2)  # half an instance rounds to even
    short = sequences(pd.DataFrame(rows[:-1]))
    assert (len(short.ious), short.failed) == (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("image_spread", "click_spread"), [(0.1, 0.02), (0.01, 0.2)])
def test_intervals_cover_the_truth_whether_images_or_clicks_differ(image_spread: float, click_spread: float) -> None:
    # 200 data sets of 30 images with 2 instances and 3 draws each; the mean IoU over all images and clicks is 0.5.
    rng, at = np.random.default_rng(0), np.arange(180)
    images = np.repeat(0.5 + rng.normal(0, image_spread, (200, 30)), 6, axis=1)
    ious = images + rng.normal(0, click_spread, (200, 180))
    names = [f"toy{number:03}" for number in range(200)]
    rows = pd.DataFrame({
        "dataset": np.repeat(names, 180),
        "image_id": np.tile(at // 6, 200).astype(str),
        "instance_id": np.tile(at // 3, 200).astype(str),
        "draw": np.tile(at % 3, 200),
        "iou": ious.ravel(),
    }).assign(
        run="r", method="m", ranking="single", seen=None, click_index=1, status="ok", clicks=[[]] * ious.size
    )  # fmt: skip
    found = summarise(rows, by=["dataset"], intervals=True)
    covered = (found["mean_low"] <= 0.5) & (found["mean_high"] >= 0.5)
    assert len(covered) == 200 and 0.91 <= covered.mean() <= 0.985


@pytest.mark.parametrize(
    "clicks",
    [{"strategy": "ritm/v1"}, {"strategy": "shared/v1"}, {"strategy": "grid/v1", "options": {"cell": 4}}],
    ids=str,
)
def test_draws_that_would_all_be_the_same_are_refused(tmp_path: Path, clicks: dict[str, Any]) -> None:
    with pytest.raises(
        UserError,
        match=rf"clicks.draws: found 5; wanted 1, since {clicks['strategy']} .* the same clicks in every draw",
    ):
        load_run(written(tmp_path / "x.yaml", clicks=clicks | {"draws": 5}))


def test_one_draw_goes_without_saying(tmp_path: Path) -> None:
    protocols = [
        load_run(written(tmp_path / "x.yaml", clicks={"strategy": "paper/v1"} | more)).clicks.protocol
        for more in ({}, {"draws": 1}, {"draws": 2})
    ]
    assert protocols[0] == protocols[1] == {"strategy": "paper/v1", "options": {}, "max_clicks": 1}
    assert protocols[2]["draws"] == 2
