"""The words that a worker's instances were asked with: each instance counts once, in whatever rows it is."""

from __future__ import annotations

from dataclasses import replace

from fakes import Steady, Taught
from harness.jobs.words import words_asked
from harness.structures import Record

ROW = Record(
    *("r", "d", "d", "m", "m", "image-1", "1", "car", None, "small car", "given", (), 1, "paper/v1", 1, 32, 48, "cpu")
)


def test_each_instance_counts_once_and_failed_ones_too() -> None:
    rows = [
        ROW,
        replace(ROW, ranking="oracle"),
        replace(ROW, click_index=2),
        replace(ROW, draw=1),
        replace(ROW, instance_id="2", text="large old car", status="failed"),
        replace(ROW, instance_id="3", text=None),
        replace(ROW, image_id="image-2", text="small"),
    ]
    assert words_asked(Taught(), rows) == {"image-1": (4, 5), "image-2": (0, 1)}


def test_a_method_without_a_vocabulary_has_nothing_to_count() -> None:
    assert words_asked(Steady(), [ROW]) == {}
    assert words_asked(Taught(), [replace(ROW, text=None)]) == {}


def test_a_method_that_fails_on_a_text_counts_nothing_of_it() -> None:
    assert words_asked(Taught(), [replace(ROW, text="small!")]) == {"image-1": (0, 0)}
