"""The words of the probes: the objects' own, and borrowed ones for a data set that has fewer than two."""

from __future__ import annotations

import numpy as np
import pytest

from harness.checking.questions import of_samples
from harness.structures import Instance, Sample, UserError


def sample(*categories: str) -> Sample:
    mask = np.zeros((32, 48), bool)
    mask[8:24, 8:40] = True
    instances = tuple(Instance(str(number), mask, name) for number, name in enumerate(categories))
    return Sample("a", np.zeros((32, 48, 3), np.uint8), instances)


@pytest.mark.parametrize(
    ("categories", "vocabulary", "said", "words"),
    [
        (("cup", "tie"), (), ["cup", "tie"], ("cup", "tie")),
        (("cup", "cup"), ("cup", "tie"), ["cup", "cup"], ("cup", "tie")),
        (("cup", ""), ("cup",), ["cup", "cup"], ("cup", "car", "house")),
        (("", ""), (), ["car", "car"], ("car", "house")),
    ],
)
def test_a_data_set_of_fewer_than_two_classes_borrows_words(
    categories: tuple[str, ...], vocabulary: tuple[str, ...], said: list[str], words: tuple[str, ...]
) -> None:
    asked = of_samples([sample(*categories)], vocabulary)
    assert asked.words == words and [prompt.text for prompt in asked.prompts[0]] == said


def test_words_that_are_given_must_be_two() -> None:
    assert of_samples([sample("cup")], (), ["red", "blue"]).words == ("red", "blue")
    with pytest.raises(UserError, match="found 1 word in --text; wanted two different ones"):
        of_samples([sample("cup")], (), ["red", "red"])
