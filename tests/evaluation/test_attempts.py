"""What fails together is tried alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from harness import Click, Method, Prediction
from harness.evaluation.attempts import attempted, segmented
from harness.plugins.failures import DeviceLost
from harness.structures import Prompt

ONE = Prediction(np.ones((1, 2, 3), bool))


class Fussy(Method):
    """Answers the prompts of several images; a state or a text that says "bad" raises."""

    def __init__(self) -> None:
        self.asked: list[list[tuple[str, int]]] = []

    def segment(self, groups: Sequence[tuple[Any, Sequence[Prompt]]]) -> list[list[Prediction]]:
        self.asked.append([(state, len(prompts)) for state, prompts in groups])
        if any(prompt.text == "bad" for _, prompts in groups for prompt in prompts):
            raise ValueError("bad")
        return [[ONE] * len(prompts) for _, prompts in groups]


def prompts(*texts: str) -> list[Prompt]:
    return [Prompt((Click(0, 0),), text) for text in texts]


def test_what_fails_together_is_tried_image_by_image_and_then_prompt_by_prompt() -> None:
    method = Fussy()
    groups = [("a", prompts("x")), ("b", prompts("x", "bad")), ("c", prompts("x"))]
    answers = segmented(method, groups, ["a", "b", "c"], seed=0, number=1)
    types = [[type(one) for one in many.given] for many in answers]
    assert types == [[Prediction], [Prediction, ValueError], [Prediction]]
    together, alone = [("a", 1), ("b", 2), ("c", 1)], [("b", 1), ("b", 1)]
    assert method.asked == [together, [("a", 1)], [("b", 2)], [("c", 1)], alone, alone[:1], alone[1:]]


def test_what_is_returned_in_another_number_is_tried_alone() -> None:
    results, failure = attempted(lambda items: items[:1], [1, 2])
    assert results == [1, 2] and str(failure) == "returned 1 results; wanted 2."
    ((failure,), _) = attempted(lambda items: items * 2, [1])
    assert str(failure) == "returned 2 results; wanted 1."


@pytest.mark.parametrize("odd", [None, (one for one in "ab"), 3])
def test_what_has_no_length_is_named(odd: Any) -> None:
    ((failure,), _) = attempted(lambda _: odd, [1])
    assert str(failure) == f"returned {type(odd).__name__}; wanted a list of 1."


def test_nothing_is_asked_for_nothing() -> None:
    assert attempted(lambda _: pytest.fail("asked"), []) == ([], None)


def test_an_exit_is_a_failure_and_a_lost_gpu_is_not() -> None:
    ((failure,), _) = attempted(lambda _: sys.exit(3), [1])
    assert isinstance(failure, RuntimeError)

    def lost(_: list[Any]) -> list[Any]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(DeviceLost, match="illegal memory access"):
        attempted(lost, [1, 2])
