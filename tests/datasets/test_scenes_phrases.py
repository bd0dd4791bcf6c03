"""Phrases of scenes: counted by hand on masks of single pixels, and unlike each other on whole scenes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from harness.datasets.scenes.phrases import WORDS, phrases
from harness.datasets.scenes.scenes import CLASSES, Scenes


def at(*places: tuple[str, int, int]) -> list[tuple[str, np.ndarray]]:
    """A class and a mask of one pixel at (x, y) for each place."""
    found = []
    for category, x, y in places:
        mask = np.zeros((20, 20), bool)
        mask[y, x] = True
        found.append((category, mask))
    return found


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([("car", 3, 3)], ["car"]),
        ([("car", 9, 3), ("tree", 1, 1), ("car", 2, 5)], ["right car", "tree", "left car"]),
        ([("cup", 9, 3), ("cup", 8, 1), ("cup", 10, 19)], ["middle cup", "top cup", "bottom cup"]),
        (
            [("door", 7, 0), ("door", 1, 0), ("door", 5, 0), ("door", 3, 0)],
            [f"{place} door from the left" for place in ("fourth", "first", "third", "second")],
        ),
        ([("car", 4, 4), ("car", 4, 4)], ["left car", "right car"]),
        ([], []),
    ],
)
def test_a_place_is_told_where_a_class_is_there_twice(
    places: Sequence[tuple[str, int, int]], expected: list[str]
) -> None:
    assert phrases(at(*places)) == expected


@pytest.mark.slow
def test_scenes_give_them_on_request_and_change_in_nothing_else() -> None:
    plain, worded = Scenes("val", count=3), Scenes("val", count=3, text="phrase")
    known = {word for name in CLASSES for word in name.split()} | set(WORDS)
    for sample_id in plain.sample_ids():
        one, other = plain.load(sample_id), worded.load(sample_id)
        np.testing.assert_array_equal(one.image, other.image)
        texts = [instance.text for instance in other.instances]
        assert len(set(texts)) == len(texts) and {word for text in texts for word in text.split()} <= known
        assert {instance.text for instance in one.instances} == {""}
        assert [listed.text for listed in worded.list_instances(sample_id)] == texts
    assert worded.fingerprint() == {**plain.fingerprint(), "text": "phrase"}
