"""Several seeds of one recipe: means, their spread, and the gain seed by seed, by hand."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts

SHIFTS = {0: 0.0, 1: 0.02, 2: 0.04}
CONTEXT = Context(
    "demo",
    labels={
        f"{name}, seed {seed}": MethodFacts(name == "ours", plugin=plugin, seed_of=name, seed=seed)
        for name, plugin in {"ours": "text_click", "click": "click_only"}.items()
        for seed in SHIFTS
    },
)


@pytest.fixture
def seeded(pair: pd.DataFrame) -> pd.DataFrame:
    """The pair's means, 70 % and 50 %, with seed 0; 2 and 4 points more with seeds 1 and 2, half of it without text."""
    parts = []
    for seed, more in SHIFTS.items():
        shift = pair["method"].map({"ours": more, "click": more / 2})
        parts.append(pair.assign(method=pair["method"] + f", seed {seed}", iou=pair["iou"] + shift))
    return pd.concat(parts)


def test_means_and_spreads(seeded: pd.DataFrame) -> None:
    built = build_table("seeds", seeded, CONTEXT)
    texts = [[cell.text for cell in row.cells] for row in built.body]
    assert [line[1:4] for line in texts] == [
        ["ours", "0, 1, 2", "72.00 ± 2.00"],
        ["click", "0, 1, 2", "51.00 ± 1.00"],
        ["ours over click", "0, 1, 2", "+21.00 ± 1.00"],
    ]
    assert [row.cells[3].value for row in built.body] == pytest.approx([0.72, 0.51, 0.21])
    assert built.body[2].cells[1].notes[0] == "ours over click, overall: +20.00, +21.00, +22.00."
    assert built.body[0].cells[1].notes[1] == "ours, seen: 85.00, 87.00, 89.00."


def test_pairs_are_of_one_seed(seeded: pd.DataFrame) -> None:
    fewer = seeded[~seeded["method"].isin(["click, seed 1", "ours, seed 2"])]
    gain = build_table("seeds", fewer, CONTEXT).body[-1]
    assert [cell.text for cell in gain.cells[2:4]] == ["0", "+20.00"]


def test_a_seed_whose_clicks_differ_is_in_no_gain_and_a_note_says_so(seeded: pd.DataFrame) -> None:
    own = seeded.reset_index(drop=True)
    elsewhere = pd.Series([[{"x": 9, "y": 9, "positive": True}]] * len(own))
    built = build_table(
        "seeds", own.assign(clicks=own["clicks"].mask(own["method"] == "ours, seed 1", elsewhere)), CONTEXT
    )
    assert [cell.text for cell in built.body[-1].cells[1:4]] == ["ours over click", "0, 2", "+21.00 ± 1.41"]
    assert [note.partition(". ")[0] for note in built.notes if "no gain" in note] == ["toy, ours, seed 1: no gains"]


def test_one_seed_has_no_spread(seeded: pd.DataFrame) -> None:
    built = build_table("seeds", seeded[seeded["method"].isin(["ours, seed 0", "click, seed 0"])], CONTEXT)
    assert [[cell.text for cell in row.cells[:4]] for row in built.body] == [
        ["toy", "ours", "0", "70.00"],
        ["toy", "click", "0", "50.00"],
        ["toy", "ours over click", "0", "+20.00"],
    ]
    assert any(note.startswith("toy, ours, seed 0: n = 4, ") for note in built.notes)
    assert [row.starts_section for row in built.body] == [True, False, False]
    apart = build_table("seeds", seeded[seeded["method"].isin(["ours, seed 0", "click, seed 1"])], CONTEXT)
    assert [row.cells[1].text for row in apart.body] == ["ours", "click"], "no seed is in both"


def test_a_seed_that_is_not_whole_is_left_out(seeded: pd.DataFrame) -> None:
    part = seeded[(seeded["method"] != "ours, seed 2") | (seeded["instance_id"] != "A1")]
    built = build_table("seeds", part, CONTEXT)
    # Of 70 and 72 the standard deviation is the root of (1 + 1) / (2 - 1).
    assert [cell.text for cell in built.body[0].cells[2:4]] == ["0, 1", "71.00 ± 1.41"]
    assert built.notes[0] == (
        "toy, ours, seed 2: left out. 1 of 4 instances have no row; a mean over the others is not shown."
    )
    alone = build_table(
        "seeds",
        part[part["method"] == "ours, seed 2"],
        replace(CONTEXT, expected_instances={("ours, seed 2", "toy"): 4}),
    )
    assert alone.body == () and [note.startswith("toy, ours, seed 2: left out") for note in alone.notes] == [True]


def test_what_makes_a_seed_doubtful_is_a_footnote(seeded: pd.DataFrame, make_row: Any) -> None:
    part = seeded[(seeded["method"] != "ours, seed 2") | (seeded["instance_id"] != "A1")]
    failed = pd.DataFrame([make_row("ours, seed 2", "A1", None)])
    built = build_table("seeds", pd.concat([part, failed]), CONTEXT)
    assert any("Over 3 instances, others over 4" in note for note in built.body[0].cells[1].notes)


def test_without_a_split_there_are_dashes_for_its_halves(seeded: pd.DataFrame) -> None:
    built = build_table("seeds", seeded.assign(seen=None), CONTEXT)
    assert [cell.text for cell in built.body[0].cells[3:]] == ["72.00 ± 2.00", "–", "–"]
    assert [cell.value for cell in built.body[0].cells[4:]] == [None, None]
    assert not any("seen: –" in note for note in built.footnotes)


def test_methods_without_seeds(pair: pd.DataFrame) -> None:
    built = build_table("seeds", pair, Context("demo"))
    assert built.body == () and built.notes[0].startswith("No method of this run was trained with several seeds")
    assert build_table("seeds", pair.iloc[:0], Context("demo")).body == ()
