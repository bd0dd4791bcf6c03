"""What a click is worth to a method that ignores it, and how often its network works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from harness.methods.shared.text_masks import TextImage, TextMasks, component, two_answers
from scipy import ndimage

from harness.structures import Click, Prompt


def drawn(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


PIECES = drawn(
    "##..#",
    "#...#",
    ".....",
    "..#..",
    ".#...",
)
"""Three pieces; the last two pixels touch at a corner alone."""


@pytest.mark.parametrize(
    ("click", "rows"),
    [
        (Click(4, 1), ("....#", "....#", ".....", ".....", ".....")),
        (Click(1, 4), (".....", ".....", ".....", "..#..", ".#...")),
        (Click(0, 2), ("##...", "#....", ".....", ".....", ".....")),  # beside the mask: one pixel away from it
        (Click(4, 4), (".....", ".....", ".....", "..#..", ".#...")),  # 5 ** 0.5 away, and 3 from the right piece
        (Click(2, 1), ("##...", "#....", ".....", ".....", ".....")),  # 2 ** 0.5 away; 2 from the two others
    ],
)
def test_the_piece_under_the_click_or_nearest_to_it(click: Click, rows: tuple[str, ...]) -> None:
    np.testing.assert_array_equal(component(PIECES, [click]), drawn(*rows))


def test_the_first_positive_click_counts() -> None:
    clicks = [Click(0, 0, positive=False), Click(4, 0), Click(0, 1)]
    np.testing.assert_array_equal(component(PIECES, clicks), component(PIECES, [Click(4, 0)]))


@pytest.mark.parametrize("clicks", [(), (Click(0, 0, positive=False),)])
def test_without_a_positive_click_it_is_the_whole_mask(clicks: tuple[Click, ...]) -> None:
    np.testing.assert_array_equal(component(PIECES, clicks), PIECES)


def test_an_empty_mask_has_no_piece() -> None:
    assert not component(np.zeros((32, 48), bool), [Click(3, 4)]).any()


def test_pieces_are_those_of_another_implementation() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = rng.random((32, 48)) < 0.35
        click = Click(int(rng.integers(48)), int(rng.integers(32)))
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        far = [ndimage.distance_transform_edt(labels != one)[click.y, click.x] for one in range(1, count + 1)]
        found = component(mask, [click])
        one = labels[found].max()
        np.testing.assert_array_equal(found, labels == one)
        assert far[one - 1] == min(far)


def test_two_candidates_with_a_ranking_for_each_and_one_without_a_click() -> None:
    answer = two_answers(PIECES, [Click(4, 0)])
    np.testing.assert_array_equal(answer.masks, [PIECES, component(PIECES, [Click(4, 0)])])
    assert {name: int(np.argmax(scores)) for name, scores in answer.scores.items()} == {"text": 0, "component": 1}
    alone = two_answers(PIECES, ())
    np.testing.assert_array_equal(alone.masks, [PIECES])
    assert not alone.scores


class Counting(TextMasks):
    """Its mask is the left part of the image, as wide as the text is long; it counts what it computes."""

    name = "counting"

    def __init__(self, pairs_per_batch: int = 2) -> None:
        super().__init__(pairs_per_batch)
        self.encoded, self.read_texts, self.forwards = 0, [], []

    def encode(self, images: Sequence[Any]) -> list[TextImage]:
        self.encoded += len(images)
        return [TextImage(None, image.shape[:2]) for image in images]

    def read(self, texts: list[str]) -> list[int]:
        self.read_texts += texts
        return [len(text) for text in texts]

    def masks(self, images: Sequence[TextImage], readings: Sequence[int]) -> list[np.ndarray]:
        self.forwards.append(len(readings))
        return [
            np.broadcast_to(np.arange(image.size[1]) < width, image.size)
            for image, width in zip(images, readings, strict=True)
        ]


def test_each_pair_of_an_image_and_a_text_is_computed_once() -> None:
    method = Counting()
    images = [np.zeros((32, 48, 3), np.uint8)] * 2
    one, other = method.encode(images)
    texts = ["car", "red car", "car", "the car", "car"]
    prompts = [Prompt((Click(x, 3),), text) for x, text in enumerate(texts)]
    answers = method.segment([(one, prompts), (other, prompts[:2])])
    assert method.read_texts == ["car", "red car", "the car"]
    assert method.forwards == [2, 2, 1]  # three texts on one image, two on the other
    assert [[answer.masks[0].sum() // 32 for answer in own] for own in answers] == [[3, 7, 3, 7, 3], [3, 7]]
    method.segment([(one, [Prompt((Click(0, 0), Click(9, 9)), "car")]), (other, [Prompt((), "red car")])])
    assert method.forwards == [2, 2, 1], "further rounds and variants ask for the same masks"


@pytest.mark.parametrize("text", [None, "", "  "])
def test_a_prompt_without_a_text_is_refused(text: str | None) -> None:
    method = Counting()
    with pytest.raises(ValueError, match="counting needs a text; found .*click_only"):
        method.predict(np.zeros((32, 48, 3), np.uint8), Click(1, 1), text)
