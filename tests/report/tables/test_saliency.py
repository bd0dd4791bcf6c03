"""Saliencies side by side: means of the maps' metrics and gains over none, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Table

LABELS = {"A": MethodFacts(True), "B": MethodFacts(True), "none": MethodFacts()}
CONTEXT = Context("demo", labels=LABELS)
VALUES = {  # IoU, AUC, pointing of A1 and of B1
    "A": ((0.8, 0.9, 1.0), (0.6, 0.7, 0.0)),
    "B": ((0.5, 0.6, 0.5), (0.5, 0.4, 0.0)),
    "none": ((0.4, None, None), (0.2, None, None)),
}


@pytest.fixture
def rows(make_row: Any) -> pd.DataFrame:
    plugins = {"none": "click_only"}
    return pd.DataFrame(
        [
            make_row(
                method,
                name,
                iou,
                method_plugin=plugins.get(method, "text_click"),
                same_class_count=alone,
                saliency_auc=auc,
                saliency_pointing=pointing,
            )
            for method, own in VALUES.items()
            for (iou, auc, pointing), name, alone in zip(own, ("A1", "B1"), (1, 3), strict=True)
        ]
    )


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


@pytest.mark.usefixtures("two_images_do")
def test_by_hand(rows: pd.DataFrame) -> None:
    built = build_table("saliency", rows, CONTEXT)
    shown = [[*line[1:7], *line[9:]] for line in texts(built)]
    assert shown == [
        ["A", "80.00", "90.00", "50.00", "100.00", "70.00", "+40.00", "2", "0"],
        ["B", "50.00", "60.00", "25.00", "50.00", "50.00", "+20.00", "2", "0"],
        ["none", "", "", "", "", "30.00", "", "2", "0"],
    ]
    assert any(note.startswith("toy, A against none: overall +40.00 [") for note in built.notes)


@pytest.mark.usefixtures("two_images_do")
def test_intervals_stand_behind_means_and_gains(rows: pd.DataFrame) -> None:
    built = build_table("saliency", rows, replace(CONTEXT, intervals=True))
    assert built.body[0].cells[2].whole.startswith("80.00 [70.00, 90.00]")
    assert built.body[0].cells[9].whole.startswith("+40.00 [")


def test_maps_that_were_not_scored_are_said(rows: pd.DataFrame) -> None:
    built = build_table("saliency", rows.drop(columns=["saliency_auc", "saliency_pointing"]), CONTEXT)
    assert {cell for line in texts(built) for cell in line[2:6]} == {""}
    assert "The maps are not scored: add saliency_auc, saliency_pointing to the run's metrics." in built.notes


def test_masks_that_a_saliency_chose_are_held_against_the_same_methods_confidence(make_row: Any) -> None:
    rows = [
        make_row("SAM", name, iou, ranking=ranking, method_plugin="sam", saliency_auc=0.75, saliency_pointing=1.0)
        for ranking, iou in (("confidence", 0.4), ("clip", 0.6), ("saliency", 0.5), ("oracle", 0.9))
        for name in ("A1", "B1")
    ]
    (line,) = texts(build_table("saliency", pd.DataFrame(rows), Context("demo", labels={"SAM": MethodFacts()})))
    assert [line[1], line[2], line[4], line[6], line[9]] == ["SAM", "75.00", "100.00", "50.00", "+10.00"]


def test_a_mean_over_some_of_the_maps_says_over_how_many(make_row: Any) -> None:
    rows = [
        make_row("A", name, 0.5, saliency_auc=auc, saliency_pointing=1.0, same_class_count=count)
        for name, auc, count in (("A1", 0.9, 1), ("A2", float("nan"), 2), ("B1", 0.5, 1))
    ]
    cells = build_table("saliency", pd.DataFrame(rows), Context("demo")).body[0].cells[2:6]
    assert [(cell.text, cell.n) for cell in cells] == [("70.00", 2), ("70.00", 2), ("100.00", 3), ("100.00", 2)]
    assert [cell.notes for cell in cells] == [("Over 2 of 3 instances; the others have no saliency_auc.",), (), (), ()]
