"""Each probe of a method passes a good one, and a bad one for it fails it and no other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from checked import BAD_METHODS, Good, Three, around
from fakes import ByText
from harness import Click, Prediction, Prompt
from harness.checking.asking import Asked, on_device
from harness.checking.methods import PROBES, TYPES, check_method
from harness.checking.probes import Outcome
from harness.checking.questions import Questions, of_scenes
from harness.plugins.interfaces import Method


@pytest.fixture(scope="module")
def questions() -> Questions:
    return of_scenes()


def found(method: type[Method], questions: Questions, gpu: str | None = "cuda") -> list[Outcome]:
    """What the probes find; a toy that takes a device is told of a GPU that is none."""

    def another(device: str | None) -> Method | None:
        if device is None:
            return method()
        params = on_device("methods", f"{method.__module__}:{method.__name__}", {}, device)
        return None if params is None else method(**params)

    return list(check_method(Asked(method(), questions, another, gpu)))


def of(outcomes: list[Outcome], verdict: str) -> list[str]:
    return [one.probe for one in outcomes if one.verdict == verdict]


def test_there_are_twelve_each_with_what_to_mend() -> None:
    assert len({probe.name for probe in PROBES}) == len(PROBES) == 12
    assert all(probe.mend.endswith(".") for probe in PROBES)


@pytest.mark.slow
def test_a_good_method_passes_all(questions: Questions) -> None:
    assert of(found(Good, questions), "passed") == [probe.name for probe in PROBES]


@pytest.mark.slow
def test_a_method_for_three_clicks_passes_all_if_it_is_given_three(questions: Questions) -> None:
    three = of_scenes(signs=(True, True, False))
    assert of(found(Three, three), "passed") == [probe.name for probe in PROBES]
    for image, prompts in three:
        for prompt in prompts:
            assert len(set(prompt.clicks)) == 3
            assert all(0 <= one.x < image.shape[1] and 0 <= one.y < image.shape[0] for one in prompt.clicks)
    first = [prompts[0].clicks[0] for _, prompts in three]
    assert first == [prompts[0].clicks[0] for _, prompts in questions]


@pytest.mark.parametrize("bad", BAD_METHODS, ids=lambda bad: bad.__name__)
def test_a_bad_method_fails_its_own_probe_alone(bad: type[Method], questions: Questions) -> None:
    name, _, _ = str(bad.__doc__).partition(":")
    outcomes = found(bad, questions)
    assert of(outcomes, "failed") == [name]
    (failed,) = [one for one in outcomes if one.verdict == "failed"]
    assert failed.text and failed.mend
    for skipped in (one for one in outcomes if one.verdict == "skipped"):
        assert skipped.text == f"not asked, since '{name}' failed" or "takes no `device`" in skipped.text


def test_a_predict_that_draws_from_prompt_to_prompt_is_told_to_seed(questions: Questions) -> None:
    class Drawing(Method):
        uses_text = False

        def predict(self, image, click, text):  # type: ignore[no-untyped-def]
            last = click if isinstance(click, Click) else click[-1]
            return Prediction(around(image.shape[:2], last.x, last.y, 9 + 9 * np.random.random())[None])

    outcomes = {one.probe: one for one in found(Drawing, questions)}
    assert outcomes["the same answer twice"].verdict == "passed", "a run seeds NumPy's generator before each call"
    assert outcomes["batch against single"].verdict == "failed"
    assert "seed them at its start" in outcomes["batch against single"].mend


def test_a_data_set_without_classes_leaves_the_names_to_the_method(questions: Questions) -> None:
    class Contrasted(Good):
        """Uses the two names of its training where it is given none, as a run does without classes."""

        def disk(self, state, prompt):  # type: ignore[no-untyped-def]
            return self.of(state, prompt, prompt.vocabulary or ("small", "large"))

        def of(self, state, prompt, names):  # type: ignore[no-untyped-def]
            return super().disk((state[0], state[1] + len(names)), prompt)

        def predict(self, image, click, text, vocabulary=None):  # type: ignore[no-untyped-def]
            if vocabulary is None:
                return super().predict(image, click, text)
            clicks = (click,) if isinstance(click, Click) else tuple(click)
            return self.of(self.encode([image])[0], Prompt(clicks, text), vocabulary)

    bare = tuple(tuple(replace(one, vocabulary=()) for one in prompts) for prompts in questions.prompts)
    assert of(found(Contrasted, replace(questions, prompts=bare), gpu=None), "failed") == []
    assert of(found(Contrasted, questions, gpu=None), "failed") == []


def test_what_cannot_be_told_is_skipped_with_the_reason(questions: Questions) -> None:
    outcomes = {one.probe: one for one in found(ByText, questions, gpu=None)}
    assert of(list(outcomes.values()), "failed") == []
    assert outcomes["GPU against CPU"].text == "no GPU that it could use"
    assert outcomes["swapped x and y"].text == "a click elsewhere changes few or no pixels near it"
    assert outcomes["empty text"].text.endswith("refuses '': no text")


def test_masks_that_are_all_empty_tell_nothing(questions: Questions) -> None:
    class Blind(Good):
        def disk(self, state, prompt):  # type: ignore[no-untyped-def]
            return type(super().disk(state, prompt))(super().disk(state, prompt).masks & False)

    outcomes = {one.probe: one for one in found(Blind, questions)}
    assert outcomes["the same answer twice"].verdict == "skipped"
    assert "every mask is empty: give words that it knows" in outcomes["the same answer twice"].text


def test_too_few_answers_are_told_and_end_the_rest(questions: Questions) -> None:
    class Torn(Good):
        def segment(self, groups):  # type: ignore[no-untyped-def]
            return [[] for _ in groups]

    first, *others = found(Torn, questions)
    assert (first.probe, first.verdict) == (TYPES, "failed")
    assert first.text == "segment answered [1] prompts of 1 images with [0]; wanted as many predictions as prompts."
    assert {one.verdict for one in others} == {"skipped"}


def test_a_device_is_set_in_a_saliency_too() -> None:
    saliency = {"name": "checked:Map", "params": {"weights": "w"}}
    params = on_device("methods", "checked:Mapped", {"saliency": saliency}, "cuda")
    assert params == {"saliency": {"name": "checked:Map", "params": {"weights": "w", "device": "cuda"}}}
    assert on_device("methods", "checked:Mapped", {"saliency": None}, "cuda") is None
