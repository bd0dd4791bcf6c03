"""What fails together is tried alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from harness import Click, Method, Prediction
from harness.evaluation.attempts import attempted, segmented, text_fits
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
    assert [many.retried for many in answers] == ["", "", ""], "the bad prompt explains it"
    together, alone = [("a", 1), ("b", 2), ("c", 1)], [("b", 1), ("b", 1)]
    assert method.asked == [together, [("a", 1)], [("b", 2)], [("c", 1)], alone, alone[:1], alone[1:]]


class Crowded(Fussy):
    """Answers at most `most` prompts at once, and with a prediction too many where the text says "two"."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def segment(self, groups: Sequence[tuple[Any, Sequence[Prompt]]]) -> list[list[Prediction]]:
        if sum(len(prompts) for _, prompts in groups) > self.most:
            raise ValueError("crowded")
        return [[ONE] * (len(prompts) + (prompts[0].text == "two")) for _, prompts in groups]


@pytest.mark.parametrize(("most", "told"), [(3, (False, False)), (2, (True, True)), (1, (False, True))])
def test_a_failure_that_nothing_explains_is_told(most: int, told: tuple[bool, bool]) -> None:
    # Of at most two prompts, each image passes alone; of at most one, so do the two prompts of "b".
    groups = [("a", prompts("x")), ("b", prompts("x", "x"))]
    answers = segmented(Crowded(most), groups, ["a", "b"], seed=0, number=1)
    assert [many.given for many in answers] == [[ONE], [ONE, ONE]]
    assert tuple(many.retried.startswith("ValueError: crowded") for many in answers) == told


def test_a_prediction_too_many_is_named() -> None:
    (many,) = segmented(Crowded(9), [("a", prompts("two", "x"))], ["a"], seed=0, number=1)
    assert str(many.given[0]) == "segment answered one prompt with 2 predictions; wanted one prediction."
    assert many.given[1] is ONE and not many.retried


class Fits(Fussy):
    """Finds that every name fits by half; `odd` replaces that."""

    def __init__(self, odd: Any = None) -> None:
        super().__init__()
        self.odd = odd
        self.clicks: list[list[Click]] = []

    def text_fits(self, state: Any, clicks: Sequence[Click], texts: Sequence[str]) -> Any:
        self.clicks.append(list(clicks))
        return np.full((len(clicks), len(texts)), 0.5, np.float32) if self.odd is None else self.odd


def test_names_are_scored_around_the_first_positive_click() -> None:
    method, off, on = Fits(), Click(1, 1, False), Click(2, 1)
    assert text_fits(method, "a", [(off, on, Click(0, 0)), (off,)], ["car", "bus"]) == [[0.5, 0.5], [0.5, 0.5]]
    assert method.clicks == [[on, off]]
    assert text_fits(method, "a", [(on,), (on,)], []) == [(), ()] and len(method.clicks) == 1


@pytest.mark.parametrize("odd", [np.ones((1, 2), int), np.ones((2, 1)), np.full((1, 2), np.inf), [0.5, 0.5]])
def test_scores_of_names_in_another_form_are_named(odd: Any) -> None:
    (failure,) = text_fits(Fits(odd), "a", [(Click(0, 0),)], ["car", "bus"])
    assert "wanted finite float32 (1, 2), a number for each click and name" in str(failure)


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
