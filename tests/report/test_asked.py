"""The line that says how a run asked: what all were asked with, and what some were asked with."""

from dataclasses import replace

import pandas as pd
import pytest

from harness.report.asked import asked_line, asked_lines
from harness.report.build import build_table
from harness.report.context import Asked, Context

PAPER = Asked("paper/v1", {"margin": 0.35}, 1, "given", "val")


def test_clicks_with_their_options_words_data_and_seed() -> None:
    asked = {("ours", "VOC"): PAPER, ("ours", "toys"): replace(PAPER, split="")}
    assert asked_line(asked) == "Asked: 1 click by paper/v1 (margin 0.35); text given; VOC val, toys; seed 0."


def test_several_draws_are_said() -> None:
    line = asked_line({("ours", "VOC"): replace(PAPER, draws=5)})
    assert line.startswith("Asked: 1 click by paper/v1 (margin 0.35), 5 draws; text given;")


def test_what_some_were_asked_with_stands_behind_their_names() -> None:
    ritm = Asked("ritm/v1", {"first": None, "sources": ["a", "b"]}, 20, 'none in "a {}"', "val", 3)
    asked = {("ours", "VOC"): PAPER, ("click", "VOC"): PAPER, ("RITM", "VOC"): ritm}
    assert asked_line(asked) == (
        'Asked: 1 click by paper/v1 (margin 0.35); 20 clicks by ritm/v1 (sources ["a", "b"]) for RITM; text given; '
        'text none in "a {}" for RITM; VOC val; seed 0; seed 3.'
    )


def test_a_grid_of_click_rules_is_counted() -> None:
    asked = {(f"cell {n}", "VOC"): replace(PAPER, options={"cell": n}) for n in range(49)}
    assert asked_line(asked).startswith("Asked: 49 click rules; the rows name each; text given;")


def test_runs_that_asked_alike_share_a_line() -> None:
    alike = {("ours", "VOC"): PAPER}
    other = {("ours", "VOC"): replace(PAPER, options={"margin": 0})}
    assert asked_lines({"runs/a": alike, "runs/b": alike}) == [asked_line(alike)]
    assert asked_lines({"runs/a": alike, "runs/b": other}) == [
        "runs/a. Asked: 1 click by paper/v1 (margin 0.35); text given; VOC val; seed 0.",
        "runs/b. Asked: 1 click by paper/v1 (margin 0); text given; VOC val; seed 0.",
    ]
    assert asked_lines({"runs/a": {}}) == [] and asked_line({}) == ""


@pytest.mark.slow
def test_every_table_ends_with_it(pair: pd.DataFrame) -> None:
    context = Context("demo", asked={("ours", "toy"): PAPER})
    for name in ("table1", "leaderboard", "distractors", "noc"):
        assert build_table(name, pair, context).notes[-1] == asked_line(context.asked)
