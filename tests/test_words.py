"""A network is asked with the texts and among the names that it was trained with, as its checkpoint says them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness.methods.text_click import TextClick
from safetensors import safe_open

import real_data
from harness.config.click_protocol import Clicks
from harness.config.recipe import Recipe
from harness.config.wording import Text
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.protocol import Names, Protocol
from harness.plugins import parameters
from harness.running.one_training import train
from toy_words import Heard, Screens

NETWORK = {"encoder": "tu-regnetx_002", "decoder_channels": 8, "output_stride": 16, "size": 64}
VOC_AS_SAID = (
    "aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, dining table, dog, horse, motorcycle, person, "
    "potted plant, sheep, sofa, train, tv monitor"
)

pytestmark = pytest.mark.usefixtures("resumable")


@pytest.fixture(autouse=True)
def silence() -> None:
    Heard.asked.clear()


def trained(folder: Path, dataset: dict[str, Any], text: Any = "given", steps: int = 3) -> Path:
    """A Text+Click network of a few steps."""
    recipe = Recipe.model_validate({
        "learner": {"name": "prompted_deeplab", "params": {**NETWORK, "saliency": "toy_words:Heard"}},
        "datasets": [dataset],
        "text": text,
        "checkpoint": str(folder / "w.safetensors"),
        "classes": "all",
        "steps": steps,
        "batch": 4,
        "device": "cpu",
    })  # fmt: skip
    learner = parameters.resolve("learners", "prompted_deeplab", recipe.learner.params)
    plugin = recipe.learner.model_copy(update={"params": learner})
    return train(recipe.model_copy(update={"learner": plugin}), lambda _: None)


def told(path: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """The names and the text rule in a checkpoint."""
    with safe_open(path, "np") as file:
        about = file.metadata()
    return tuple(json.loads(about["vocabulary"])), json.loads(about["text"])


def rows(path: Path, dataset: Any, text: Text, count: int) -> list[Any]:
    protocol = Protocol("r", 0, Clicks(), text, ("iou",))
    way = (Names("ours", "text_click", "data", "data"), protocol)
    found = list(Evaluation(TextClick(path, Heard(), "cpu"), dataset, [way]).records(dataset.sample_ids()[:count]))
    assert found and all(one.status == "ok" for one in found)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("text", ["given", {"rule": "class_name", "template": "a photo of a {}."}, "hypernym"])
def test_training_evaluation_and_predict_say_the_same(tmp_path: Path, text: Any) -> None:
    path = trained(tmp_path, {"name": "toy_words:Screens"}, text, steps=8)
    training, wording = set(Heard.asked), Text.model_validate({"rule": text} if isinstance(text, str) else text)
    vocabulary, said = told(path)
    assert said == {"rule": wording.rule, "template": wording.template}
    assert {names for _, names in training} == {vocabulary}
    assert vocabulary == tuple(wording.template.replace("{}", name) for name in ("cat", "potted plant", "tv monitor"))
    Heard.asked.clear()
    asked = rows(path, Screens(), wording, count=8)
    assert Heard.asked == training
    method = TextClick(path, Heard(), "cpu")
    Heard.asked.clear()
    for one in asked:
        method.predict(Screens().load(one.image_id).image, one.clicks, one.text)
    assert Heard.asked == training


@pytest.mark.slow
@real_data.needs("voc")
def test_a_voc_network_is_asked_as_it_was_trained(tmp_path: Path) -> None:
    params = {"root": str(real_data.VOC), "split": "train", "void": "background"}
    path = trained(tmp_path, {"name": "voc", "params": params}, steps=20)
    training, (vocabulary, said) = set(Heard.asked), told(path)
    assert vocabulary == tuple(VOC_AS_SAID.split(", "))
    assert said == {"rule": "given", "template": "{}"}
    assert {names for _, names in training} == {vocabulary} and {text for text, _ in training} <= {*vocabulary}
    Heard.asked.clear()
    rows(path, parameters.build("datasets", "voc", {**params, "split": "val"}), Text(), count=3)
    assert {names for _, names in Heard.asked} == {vocabulary} and {text for text, _ in Heard.asked} <= {*vocabulary}


@pytest.mark.slow
@real_data.needs("refer")
def test_phrases_are_trained_on_where_they_are_asked_for(tmp_path: Path) -> None:
    params = {"root": str(real_data.REFER), "split": "val", "text": "all_phrases"}
    trained(tmp_path, {"name": "refcoco", "params": params}, steps=2)
    data = parameters.build("datasets", "refcoco", params)
    phrases = {one.text for sample_id in data.sample_ids() for one in data.list_instances(sample_id)}
    assert {text for text, _ in Heard.asked} <= phrases
    assert {names for _, names in Heard.asked} == {data.classes}
