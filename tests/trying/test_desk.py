"""Many pictures, of which the last ones stay encoded; the answers are those of a session, and of a run's rows."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

import harness
import tried
from harness import Click, places
from harness.config.run_config import load_run
from harness.plugins import parameters
from harness.trying import Loaded
from harness.trying.desk import PICTURES, Desk, Question, desk_of

CLICK = (Click(10, 10),)


def question(number: int = 0, label: str = "marks", **given: object) -> Question:
    return replace(Question(label, f"p{number}", f"nested-{number}", CLICK, None), **given)


def image(number: int = 0) -> np.ndarray:
    return np.full((tried.H, tried.W, 3), number, np.uint8)


def test_a_picture_is_encoded_once_until_many_others_were_asked_about() -> None:
    method = tried.Marks()
    desk = Desk([Loaded("marks", method, True, "marks")])
    for clicks in (CLICK, (*CLICK, Click(20, 20)), CLICK):
        answer = desk.ask(question(clicks=clicks), image())
        assert answer.prediction and answer.prediction.masks.sum() == 25 * len(clicks)
    assert method.encoded == [0]
    for number in range(1, PICTURES + 1):
        desk.ask(question(number), image(number))
    desk.ask(question(), image())
    assert method.encoded == [*range(PICTURES + 1), 0]


def test_an_answer_leaves_the_memory_at_the_desk_and_the_next_click_has_it() -> None:
    desk = Desk([Loaded("marks", tried.Marks(), True, "marks")])
    first = desk.ask(question(), image())
    assert first.prediction and first.prediction.memory == ()
    second = desk.ask(question(clicks=(*CLICK, Click(12, 10, False))), image())
    assert second.prediction and second.prediction.masks.sum() == 10


def test_a_method_is_said_to_read_words_unless_it_says_no_or_is_given_none() -> None:
    methods = [tried.Marks(), tried.Names(), tried.Breaks(), tried.Names()]
    loaded = [Loaded(str(place), one, place < 3, "p") for place, one in enumerate(methods)]
    assert [one.reads for one in Desk(loaded).facts()] == [False, True, True, False], "Breaks does not say"
    assert [one.needs_click for one in Desk([Loaded("w", tried.Words(), True, "w")]).facts()] == [False]


class Told(tried.Names):
    """Says which names it was given."""

    def predict(self, image, click, text, vocabulary=None):
        raise ValueError(f"given {' and '.join(vocabulary)}")


def test_a_method_for_what_is_present_is_given_those_names_alone() -> None:
    named = question(label="told", text="a", vocabulary=("a", "b", "c"), present=("a", "c"))
    for present_only, said in ((False, "given a and b and c"), (True, "given a and c")):
        method = Told()
        method.present_only = present_only
        assert said in Desk([Loaded("told", method, True, "told")]).ask(named, image()).error


@pytest.mark.slow
def test_the_embedded_methods_answer_as_predict_does_and_a_further_click_is_quick() -> None:
    config = load_run(places.config(harness.places.Path("sam_vs_ours_scenes")))
    desk = desk_of(config)
    sample = parameters.build("datasets", "scenes", {"split": "val"}).load("val-00003")
    for loaded in desk.methods:
        asked = Question(loaded.label, "k", sample.id, (Click(152, 132),), "tie")
        found = desk.ask(asked, sample.image).prediction
        alone = loaded.method.predict(sample.image, Click(152, 132), "tie")
        assert found is not None and (found.masks == alone.masks).mean() > 0.999, loaded.label
        started = time.process_time()
        other = desk.ask(replace(asked, clicks=(Click(30, 80),), text="bottle"), sample.image)
        assert other.prediction is not None and time.process_time() - started < 2, loaded.label
