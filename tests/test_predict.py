"""`predict(image, click, text)` gives the mask that a run's row has: what is benchmarked is what one gets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness.datasets.scenes.scenes import CLASSES
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from every_method import NOT_HERE, PARAMS, RANDOM
from fakes import Toys
from harness import places
from harness.config.click_protocol import Clicks
from harness.config.wording import Text
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.protocol import Names, Protocol
from harness.masks import rle
from harness.plugins import parameters, registry
from harness.plugins.interfaces import Method
from harness.structures import Click, Image, Prediction, Prompt, Record

INSTANCES = 25
"""Of each method."""


@lru_cache
def built(name: str, **more: Any) -> Method:
    params = parameters.resolve("methods", name, {**PARAMS.get(name, {}), **more, "device": "cpu"})
    return parameters.build("methods", name, params)


def rows(method: Method, count: int, text: Text | None = None, data: Any = None) -> list[Record]:
    """The rows of so many instances of scenes, or of another data set."""
    data = data or parameters.build("datasets", "scenes", {"split": "val"})
    way = Names("m", "m", "scenes", "scenes"), Protocol("r", 0, Clicks(), text or Text(), ("iou",))
    found: list[Record] = []
    for record in Evaluation(method, data, [way]).records(data.sample_ids()):
        found.append(record)
        if len({one.instance_id for one in found}) > count:
            return [one for one in found if one.instance_id != record.instance_id]
    return found


def unequal(method: Method, asked: Sequence[Record], data: Any = None, **more: Any) -> int:
    """How many rows have another mask than `predict` gives for their image, click and text.

    Sums are taken in another order in another batch, so that a pixel in a thousand on the outline may tip.
    """
    data = data or parameters.build("datasets", "scenes", {"split": "val"})
    images = {one.image_id: data.load(one.image_id).image for one in asked}
    answers: dict[str, Prediction] = {}
    wrong = 0
    for row in asked:
        assert row.status == "ok" and row.mask is not None and row.candidate is not None
        if row.instance_id not in answers:
            answers[row.instance_id] = method.predict(images[row.image_id], row.clicks, row.text, **more)
        mask = rle.decode(row.mask, images[row.image_id].shape[:2])
        wrong += bool((answers[row.instance_id].masks[row.candidate] ^ mask).mean() > 1e-3)
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names("methods"))
def test_predict_gives_the_masks_of_the_rows(name: str, tmp_path: Path) -> None:
    if name in NOT_HERE:
        pytest.skip(f"{name} comes in published sizes only: `python -m harness weights list` has them.")
    if name == "predictions":
        pytest.skip("it answers nothing but a data set's instances: tests/methods/test_predictions.py.")
    method = built(name, **RANDOM[name](tmp_path) if name in RANDOM else {})
    asked = rows(method, INSTANCES, Text(template="the {}") if name in RANDOM else None)  # "the" is a word they know.
    assert len({row.instance_id for row in asked}) == INSTANCES
    assert unequal(method, asked) == 0


@pytest.mark.slow
@pytest.mark.parametrize("vocabulary", ["checkpoint", "none", "configs/vocabulary_scenes_seen.txt"])
def test_predict_takes_the_names_that_the_method_was_told_to_take(vocabulary: str) -> None:
    method, other = built("text_click", vocabulary=vocabulary), built("text_click")
    asked = rows(method, 6)
    assert unequal(method, asked) == 0
    assert (unequal(other, asked) == 0) == (vocabulary == "checkpoint")


class Renamed:
    """Scenes under other names than those of the training."""

    def __init__(self) -> None:
        self.scenes = parameters.build("datasets", "scenes", {"split": "val"})
        self.classes = (*CLASSES, "cloud", "lawn")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.scenes, name)


@pytest.mark.slow
def test_predict_is_asked_as_on_another_data_set_by_its_names() -> None:
    method, data = built("text_click"), Renamed()
    asked = rows(method, 3, Text(template="the {}"), data)
    assert unequal(method, asked) > 0
    assert unequal(method, asked, vocabulary=[f"the {name}" for name in data.classes]) == 0
    assert (
        unequal(built("text_click", vocabulary="none"), asked, vocabulary=[f"the {name}" for name in data.classes]) == 0
    )


def test_present_names_are_told_to_no_other_method() -> None:
    told: list[tuple[str, ...]] = []

    class Asked(Method):
        def segment(self, groups: Any) -> list[list[Prediction]]:
            told.extend(prompt.vocabulary for _, prompts in groups for prompt in prompts)
            return [[Prediction(np.ones((1, 32, 48), bool)) for _ in prompts] for _, prompts in groups]

    class Present(Asked):
        present_only = True

    class Third(Toys):
        classes = ("small", "medium", "large")

    for method in (Asked(), Present()):
        rows(method, 1, data=Third(1))
    assert told == [("small", "medium", "large")] * 2 + [("small", "large")] * 2


@pytest.mark.slow
def test_present_names_are_the_prompts_own() -> None:
    method = built("text_click", vocabulary="present")
    asked = rows(method, 6)
    scenes = parameters.build("datasets", "scenes", {"split": "val"})
    for image_id in {row.image_id for row in asked}:
        there = {one.category for one in scenes.load(image_id).instances}
        own = [row for row in asked if row.image_id == image_id]
        assert unequal(method, own, vocabulary=[name for name in CLASSES if name in there]) == 0


def test_a_plugins_own_predict_takes_three_arguments_or_the_names_too() -> None:
    told: list[Any] = []

    class Old(Method):
        def predict(self, image: Image, click: Any, text: str | None) -> Prediction:  # type: ignore[override]
            told.append(text)
            return Prediction(np.ones((1, *image.shape[:2]), bool))

    class New(Method):
        def predict(self, image: Image, click: Any, text: str | None, vocabulary: Any = None) -> Prediction:
            told.append((text, vocabulary))
            return Prediction(np.ones((1, *image.shape[:2]), bool))

    prompt = Prompt((Click(1, 2),), "cat", vocabulary=("cat", "dog"))
    for method in (Old(), New()):
        method.segment([(np.zeros((4, 6, 3), np.uint8), [prompt])])
    assert told == ["cat", ("cat", ("cat", "dog"))]


@pytest.mark.slow
def test_weights_that_do_not_say_their_names_are_warned_of(tmp_path: Path) -> None:
    whole = places.ROOT / PARAMS["text_click"]["checkpoint"]
    with safe_open(whole, "np") as file:
        about = {key: value for key, value in file.metadata().items() if key != "vocabulary"}
    save_file(load_file(whole), tmp_path / "w.safetensors", about)
    method = built("text_click", checkpoint=str(tmp_path / "w.safetensors"))
    image = np.zeros((32, 48, 3), np.uint8)
    with pytest.warns(UserWarning, match=r"w\.safetensors does not say which names it was trained with.*`vocabulary`"):
        method.predict(image, Click(4, 5), "car")
    method.predict(image, Click(4, 5), "car", vocabulary=())
