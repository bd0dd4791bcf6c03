from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.paper.published import FLAGS, Published, load_published, published_rows


def implied_share(row: Published) -> float:
    assert row.seen is not None
    assert row.unseen is not None
    return (row.overall - row.unseen) / (row.seen - row.unseen)


def one(table: int, dataset: str, method: str, classes: str | None = None) -> Published:
    found = [row for row in published_rows(table, dataset) if row.method == method]
    (only,) = [row for row in found if classes in (None, row.train_classes)]
    return only


def test_every_table_of_the_paper_is_there() -> None:
    assert {row.table for row in load_published()} == set(range(1, 9))
    assert len(published_rows(1, "coco")) == 2
    assert published_rows(1, "scenes") == []


def test_table_1_is_as_printed() -> None:
    row = one(1, "voc", "text_click")
    assert (row.overall, row.seen, row.unseen, row.positive_clicks) == (57.76, 59.31, 50.73, 1)
    assert row.label == "published: text_click (maskclip)"
    assert one(1, "voc", "click_only").label == "published: click_only"


def test_means_that_the_paper_does_not_print_are_none() -> None:
    row = one(8, "refcoco", "lavt")
    assert (row.overall, row.seen, row.unseen) == (72.73, None, None)


def test_every_flag_concerns_a_row() -> None:
    for flag in FLAGS:
        assert any(flag.text in row.flags for row in load_published()), flag.text


@pytest.mark.parametrize(
    ("table", "dataset", "method", "classes", "share"),
    [
        (1, "coco", "text_click", None, 0.577),
        (1, "coco", "click_only", None, 0.581),
        (1, "voc", "text_click", None, 0.82),
        (2, "openimages", "text_click", "seen34", 0.237),
        (2, "openimages", "click_only", "seen34", 0.245),
        (4, "refcoco", "sam", None, 0.306),
        (4, "coco", "sam", None, 0.415),
        (6, "openimages", "ritm", None, 0.111),
        (6, "openimages", "text_click", None, 0.237),
    ],
)
def test_the_flags_shares_follow_from_the_printed_means(
    table: int, dataset: str, method: str, classes: str | None, share: float
) -> None:
    row = one(table, dataset, method, classes)
    assert implied_share(row) == pytest.approx(share, abs=0.001)
    assert any(f"{share:g}" in flag for flag in row.flags)
    assert bool(row.doubts.get("seen")) == any("swapped:" in flag for flag in row.flags)


def test_flags_that_are_sums() -> None:
    text, click = one(2, "openimages", "text_click", "seen23"), one(2, "openimages", "click_only", "seen23")
    assert text.overall - click.overall == pytest.approx(7.79)
    assert any("+7.79" in flag for flag in text.flags)
    assert not 0.2 < implied_share(one(4, "openimages", "sam")) < 0.3
    assert one(4, "openimages", "text_click").seen == one(1, "openimages", "click_only").seen


def test_flags_stand_at_the_means_that_they_are_about() -> None:
    text = one(2, "openimages", "text_click", "seen23")
    assert text.whole == () and len(text.doubts["overall"]) == 1
    assert text.doubts["seen"] == text.doubts["unseen"] and "does not hold" in text.doubts["seen"][0]
    assert list(one(4, "coco", "sam").doubts) == ["seen", "unseen"]
    assert list(one(4, "openimages", "text_click").doubts) == ["overall", "seen"]
    assert one(8, "refcoco", "lavt").doubts == {} and len(one(8, "refcoco", "lavt").whole) == 3


PLUGINS = {"ours": "text_click", "click": "click_only", "SAM": "sam", "RITM": "ritm"}


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["refcoco", "voc", "coco", "openimages"])
@pytest.mark.parametrize("table", range(1, 9))
def test_every_flag_is_a_footnote_where_the_paper_s_numbers_stand(table: int, dataset: str, make_row: Any) -> None:
    """Those of a mean stand at that very mean, where the table shows it."""
    facts = {name: MethodFacts(plugin == "text_click", plugin=plugin) for name, plugin in PLUGINS.items()}
    ranked = [
        (name, ranking) for name in PLUGINS for ranking in (("clip", "confidence") if name == "SAM" else ("single",))
    ]
    given = {
        "dataset": dataset,
        "dataset_plugin": dataset,
        "text": "cat",
        "category": "cat",
        "union_px": 9,
        "intersection_px": 5,
    }
    rows = [
        make_row(name, instance, 0.5, ranking=ranking, method_plugin=PLUGINS[name], **given)
        for name, ranking in ranked
        for instance in ("A1", "B2")
    ]
    built = build_table(f"table{table}", pd.DataFrame(rows), Context("r", labels=facts))
    printed = published_rows(table, dataset)
    assert {flag for row in printed for flag in row.flags} <= set(built.footnotes)
    quoted = [cell for row in built.body if row.quoted for cell in row.cells]
    for row in printed if table != 3 else ():
        for name, said in row.doubts.items():
            assert [
                one for one in quoted if one.text.startswith(f"{getattr(row, name):.2f}") and set(said) <= {*one.notes}
            ]


def test_printed_gains_are_read() -> None:
    assert one(1, "voc", "text_click").gains == {"overall": 4.52, "seen": 3.2, "unseen": 10.45}
    assert one(1, "voc", "click_only").gains == {}
