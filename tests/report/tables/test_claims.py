"""The paper's sentences, held against the rows of a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Table
from harness.report.paper.claims import FAILS, HOLDS, OPEN
from harness.report.tables.claims import published_claims

pytestmark = pytest.mark.slow

FACTS = {
    "ours": MethodFacts(True, plugin="text_click"),
    "click": MethodFacts(plugin="click_only"),
    "SAM": MethodFacts(plugin="sam"),
}
PLUGINS = {name: facts.plugin for name, facts in FACTS.items()}


def rows_of(make_row: Any, scores: Mapping[tuple[str, str], tuple[float, float]], **columns: Any) -> pd.DataFrame:
    """Ten images with a seen and an unseen instance each; (method, ranking) -> the mean IoU of either."""
    rng = np.random.default_rng(0)
    found = []
    for image in "ABCDEFGHIJ":
        for number in (1, 2):
            said = {"image_id": image, "seen": number == 1, "same_class_count": number, "under_click": number}
            for (method, ranking), means in scores.items():
                iou = float(np.clip(means[number - 1] + rng.normal(0, 0.01), 0, 1))
                own = {"ranking": ranking, "method_plugin": PLUGINS[method], **said, **columns}
                found.append(make_row(method, f"{image}{number}", iou, **own))
    return pd.DataFrame(found)


def line(table: Table, sentence: str) -> dict[str, str]:
    """The line of the claim that begins so, the first if there are several, by heading."""
    found = next(row for row in table.body if row.cells[0].text.startswith(sentence))
    return {column.heading: cell.text for column, cell in zip(table.columns, found.cells, strict=True)}


@pytest.fixture
def built(make_row: Any) -> Table:
    """Text adds 20 points on unseen instances and 5 on seen ones; SAM's CLIP chooses better than its confidence."""
    scores = {
        ("ours", "single"): (0.75, 0.60),
        ("click", "single"): (0.70, 0.40),
        ("SAM", "confidence"): (0.50, 0.50),
        ("SAM", "clip"): (0.60, 0.60),
    }
    return build_table("claims", rows_of(make_row, scores), Context("demo", labels=FACTS))


def test_a_difference_holds_where_its_interval_agrees(built: Table) -> None:
    found = line(built, "Text improves")
    assert (found["Verdict"], found["In the paper"], found["n"]) == (HOLDS, "holds: 4", "20")
    assert float(found["Difference"]) == pytest.approx(12.5, abs=1)
    low, high = map(float, found["95 %"].strip("[]").split(", "))
    assert low < 12.5 + 1 and high > 12.5 - 1 and low < float(found["Difference"]) < high


def test_a_difference_of_differences(built: Table) -> None:
    found = line(built, "The improvement comes mostly from unseen classes")
    assert (found["Verdict"], found["n"]) == (HOLDS, "10, 10")
    assert float(found["Difference"]) == pytest.approx(15, abs=2)
    assert "ours" in found["Rests on"] and " less " in found["Rests on"]


def test_what_the_rows_contradict_does_not_hold(built: Table) -> None:
    found = line(built, "SAM's confidence chooses better")
    assert found["Verdict"] == FAILS and float(found["Difference"]) == pytest.approx(-10, abs=1)


def test_a_part_that_is_not_there_cannot_be_told(built: Table) -> None:
    """Every unseen instance has another of its class beside it, so none is alone."""
    found = line(built, "The gap is similar")
    assert found["Verdict"] == OPEN and found["Rests on"].startswith("No instance of unseen alone")


@pytest.mark.parametrize(
    ("sentence", "why"),
    [
        ("More clicks decrease", "No method of this run is text_click with 2+1 clicks"),
        ("It generalises better than RITM", "No method of this run is ritm"),
        ("The fewer the seen classes the more text adds (most", "trained on the fewer classes"),
    ],
)
def test_a_method_that_is_not_there_is_named(built: Table, sentence: str, why: str) -> None:
    found = line(built, sentence)
    assert (found["Verdict"], found["Difference"], found["n"]) == (OPEN, "–", "–") and why in found["Rests on"]


@pytest.mark.slow
def test_an_interval_that_holds_zero_leaves_it_open(make_row: Any) -> None:
    scores = {("ours", "single"): (0.5, 0.5), ("click", "single"): (0.5, 0.5)}
    built = build_table("claims", rows_of(make_row, scores), Context("demo", labels=FACTS))
    assert line(built, "Text improves")["Verdict"] == OPEN


@pytest.mark.slow
def test_numbers_of_the_paper_are_asked_on_its_own_data_sets_alone(built: Table, make_row: Any) -> None:
    assert not [row for row in built.body if "10.35" in row.cells[0].text]
    scores = {("ours", "single"): (0.75, 0.60), ("click", "single"): (0.64, 0.50)}
    on_coco = rows_of(make_row, scores, dataset_plugin="coco")
    for training, verdict in (("all", HOLDS), ("seen", OPEN), ("", OPEN)):
        labels = {name: replace(facts, training=training) for name, facts in FACTS.items()}
        found = line(
            build_table("claims", on_coco, Context("demo", labels=labels)), "With one click the text adds 10.35"
        )
        assert (found["Verdict"], found["In the paper"]) == (verdict, HOLDS)
    assert found["Rests on"] == "No method of this run is text_click trained on all classes"


@pytest.mark.slow
def test_what_training_on_fewer_classes_costs(make_row: Any) -> None:
    """Text+Click loses 5 points, click-only 15."""
    means = {"ours all": 0.7, "ours seen": 0.65, "click all": 0.6, "click seen": 0.45}
    labels = {name: replace(FACTS[name.split()[0]], training=name.split()[1]) for name in means}
    parts = [
        rows_of(make_row, {(name.split()[0], "single"): (mean, mean)}, dataset_plugin="coco").assign(method=name)
        for name, mean in means.items()
    ]
    built = build_table("claims", pd.concat(parts, ignore_index=True), Context("demo", labels=labels))
    found = line(built, "Trained on the seen classes alone, it loses less")
    assert (found["Verdict"], found["In the paper"]) == (HOLDS, FAILS)
    assert float(found["Difference"]) == pytest.approx(10, abs=1.5)


def test_missing_rows_leave_it_open(make_row: Any) -> None:
    rows = rows_of(make_row, {("ours", "single"): (0.75, 0.6), ("click", "single"): (0.7, 0.4)})
    context = Context("demo", labels=FACTS, expected_instances={("ours", "toy"): 21, ("click", "toy"): 20})
    assert "ours has 1 instances too few" in line(build_table("claims", rows, context), "Text improves")["Rests on"]


@pytest.mark.slow
@pytest.mark.parametrize("training", ["most", "fewer", "fewest"])
def test_one_network_is_trained_on_no_more_and_no_fewer_classes(make_row: Any, training: str) -> None:
    """SAM's checkpoint names 20 classes: those 10 of ours are fewer, but ours has no other to be held against."""
    counts = {"ours": 10, "click": 10, "SAM": 20}
    labels = {name: replace(FACTS[name], trained_classes=count) for name, count in counts.items()}
    scores = {("ours", "single"): (0.7, 0.6), ("click", "single"): (0.7, 0.4), ("SAM", "confidence"): (0.5, 0.5)}
    table = build_table("claims", rows_of(make_row, scores), Context("demo", labels=labels))
    found = line(
        table, f"The improvement comes mostly from unseen classes, with {'the ' * (training != 'fewer')}{training}"
    )
    assert (found["Verdict"], found["Difference"]) == (OPEN, "–")


@pytest.mark.slow
def test_fewer_training_classes_are_those_of_the_config(make_row: Any) -> None:
    """Networks of 10 and of 6 classes: what text adds is 5 points with 10 and 15 with 6."""
    labels = {
        f"{name} {count}": MethodFacts(name == "ours", plugin=FACTS[name].plugin, trained_classes=count)
        for count in (10, 6)
        for name in ("ours", "click")
    }
    means = {"ours 10": 0.65, "click 10": 0.6, "ours 6": 0.6, "click 6": 0.45}
    parts = [
        rows_of(make_row, {(name.split()[0], "single"): (mean, mean)}).assign(method=name)
        for name, mean in means.items()
    ]
    built = build_table("claims", pd.concat(parts, ignore_index=True), Context("demo", labels=labels))
    found = line(built, "The fewer the seen classes the more text adds (most against fewer)")
    assert found["Verdict"] == HOLDS and float(found["Difference"]) == pytest.approx(10, abs=1.5)


def test_without_rows_there_is_nothing_to_say() -> None:
    assert build_table("claims", pd.DataFrame(), Context("demo")).notes == ("No rows.",)


def test_the_paper_s_own_numbers_contradict_three_sentences() -> None:
    built = published_claims()
    failed = {(row.cells[0].text[:40], row.cells[2].text) for row in built.body if row.cells[3].text == FAILS}
    assert failed == {
        ("The improvement comes mostly from unseen", "openimages"),
        ("Trained on all examples it outperforms S", "openimages"),
        ("Trained on the seen classes alone, it lo", "coco"),
    }
    assert built.notes[0] == "holds: 32, does not hold: 3, cannot be told: 9."


def test_the_command_prints_the_paper_s_verdicts(here: Any) -> None:
    done = here("claims", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    assert (done.returncode, sum(FAILS in line.values() for line in lines)) == (0, 3), done.stderr


@pytest.mark.slow
def test_more_clicks_are_those_of_the_rows(make_row: Any) -> None:
    """Text adds 20 points to one click, 5 to two positive ones and a negative one."""
    labels = {
        f"{name} {clicks}": MethodFacts(name == "ours", plugin=FACTS[name].plugin)
        for clicks in ("1+0", "2+1")
        for name in ("ours", "click")
    }
    given = [
        {"x": 3, "y": 5, "positive": True},
        {"x": 9, "y": 5, "positive": True},
        {"x": 1, "y": 1, "positive": False},
    ]
    means = {"ours 1+0": 0.6, "click 1+0": 0.4, "ours 2+1": 0.75, "click 2+1": 0.7}
    parts = []
    for label, mean in means.items():
        own = rows_of(make_row, {(label.split()[0], "single"): (mean, mean)}).assign(method=label)
        count = 1 if label.endswith("1+0") else 3
        parts.append(own.assign(click_index=count, clicks=[given[:count]] * len(own)))
    built = build_table("claims", pd.concat(parts, ignore_index=True), Context("demo", labels=labels))
    found = line(built, "More clicks decrease the use of the text")
    assert found["Verdict"] == HOLDS and float(found["Difference"]) == pytest.approx(15, abs=1.5)
