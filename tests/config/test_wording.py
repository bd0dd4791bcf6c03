"""What an instance is called: by one function, for evaluation and training; and what of it is in a recipe's key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.config.click_protocol import Clicks
from harness.config.recipe import Recipe, identified
from harness.config.wording import Text, Wording, checked_text, deciding
from harness.evaluation.pictures import prepared
from harness.evaluation.protocol import Names, Protocol, Way
from harness.structures import Instance, Said, Sample, UserError
from harness.training.batches import Batches
from harness.training.samples import Draws, SampleCache, words_rng
from toy_words import MASKS, Screens


class Told:
    """Keeps what it is told of each instance; prepares steps as a GPU does."""

    def __init__(self) -> None:
        self.said: dict[str, set[Said]] = {}
        self.prepared: set[tuple[str, tuple[str, ...]]] = set()

    def prepare(self, images: Any, texts: list[str], vocabularies: list[tuple[str, ...]]) -> None:
        assert len(images) == len(texts)
        self.prepared |= set(zip(texts, vocabularies, strict=True))

    def example(self, _: Sample, instance: Instance, said: Said, rng: np.random.Generator) -> dict[str, np.ndarray]:
        self.said.setdefault(instance.id, set()).add(said)
        return {"drawn": rng.random(2)}


def recipe(text: Any) -> Recipe:
    values = {"learner": {"name": "toy"}, "datasets": [{"name": "screens"}], "steps": 4, "batch": 40}
    return Recipe.model_validate(values | {"text": text})


def trained(text: Any) -> tuple[Told, np.ndarray]:
    """What four steps tell a learner, and the chance that its examples were left."""
    made, learner, samples = recipe(text), Told(), SampleCache([Screens()])
    batches = Batches(learner, samples, Draws(samples.draws(True), made), text=made.text)  # type: ignore[arg-type]
    chance = [batch["drawn"].numpy() for step in batches.steps(0, 4) for batch in step]
    return learner, np.concatenate(chance)


def asked(text: Any) -> dict[str, tuple[str | None, tuple[str, ...]]]:
    """Instance -> what evaluation asks for it by, and among which names."""
    names, data = Names("m", "m", "screens", "screens"), Screens()
    way = Way(names, Protocol("r", 0, Clicks(), recipe(text).text, ("iou",)), data.classes)
    pictures = [prepared(data.load(one)) for one in data.sample_ids()]
    askings = [asking for picture in pictures for asking in way.askings(picture)]
    for asking in askings:
        way.word(asking)
    return {asking.target.instance.id: (asking.text, way.wording.vocabulary) for asking in askings}


def test_words_in_their_sentence_and_the_class_that_a_guess_names() -> None:
    classes = ["tvmonitor", "tv monitor", "cup"]
    guess, none = (Wording(Text(rule=rule, template="a {}."), classes) for rule in ("auto/v1", "none"))
    assert guess.vocabulary == ("a tv monitor.", "a tv monitor.", "a cup.")
    instance = Instance("1", np.ones((2, 3), bool), "cup")
    said = guess.said(instance, frozenset(classes), np.random.default_rng, fits=[0.1, 0.2, 0.2])
    assert said.text == "a tv monitor."  # of equal fits the first
    assert [guess.guessed(text) for text in (said.text, "a cup.", "cup", None)] == ["tvmonitor", "cup", None, None]
    assert none.said(instance, frozenset(), np.random.default_rng).text is None and none.guessed("a cup.") is None


@pytest.mark.parametrize(
    "text", ["given", "class_name", "synonym", {"rule": "given", "template": "a photo of a {}."}, {"words": ""}]
)
def test_training_tells_the_very_words_that_evaluation_asks_by(text: Any) -> None:
    learner, _ = trained(text)
    told = {key: (one.text, one.vocabulary) for key, said in learner.said.items() for one in said}
    assert told == asked(text)
    assert learner.prepared == set(told.values())


def test_the_names_that_a_data_set_prints_as_one_word_are_said_in_training() -> None:
    learner, _ = trained("given")
    (screen,), (cat,), (called,) = (learner.said[name] for name in ("a/0", "a/1", "b/1"))
    assert screen == Said("tv monitor", ("cat", "potted plant", "tv monitor"), Screens.classes)
    assert (cat.text, called.text) == ("cat", "the left one")


def test_random_words_change_from_draw_to_draw_and_take_nothing_from_other_chance() -> None:
    (wrong, chance), (_, without) = trained("wrong_absent"), trained("given")
    assert {one.text for one in wrong.said["a/0"]} == {"potted plant"}
    np.testing.assert_array_equal(chance, without)
    rng = np.random.default_rng(5).spawn(2)[1]
    first, again = words_rng(rng).random(3), words_rng(rng).random(3)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(rng.random(3), np.random.default_rng(5).spawn(2)[1].random(3))
    assert not np.array_equal(first, words_rng(np.random.default_rng(5).spawn(2)[0]).random(3))


def test_an_instance_without_words_gives_its_place_to_another(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    words = tmp_path / "words.csv"
    words.write_text("name,said,synonym,hypernym\ncat,,feline,animal\n", "utf-8")
    learner, _ = trained({"rule": "synonym", "words": str(words)})
    assert {name[-1] for name in learner.said} == {"1"}
    assert "instance a/0 is left out: text: no synonym for 'tvmonitor'" in caplog.text
    assert {text for text, _ in learner.prepared} == {"feline"}


def test_a_rule_that_returns_no_text_fails_the_instance() -> None:
    wording = Wording(Text(), Screens.classes)
    wording.rule = lambda _: 3
    with pytest.raises(ValueError, match="given returned int; wanted a text"):
        wording.said(Instance("a", MASKS[0], "cat"), frozenset(), lambda: np.random.default_rng(0))


def test_the_names_present_come_in_the_data_sets_order() -> None:
    wording = Wording(Text(template="a {}"), Screens.classes)
    assert wording.present(frozenset({"tvmonitor", "cat"})) == ("a cat", "a tv monitor")


def test_a_recipes_key_is_of_its_words(tmp_path: Path) -> None:
    header, cup = "name,said,synonym,hypernym\n", "cup,,mug,vessel\n"
    for name, content in {"a": cup, "b": "cup,,beaker,vessel\n", "c": "cup,small cup,mug,vessel\n"}.items():
        (tmp_path / f"{name}.csv").write_text(header + content, "utf-8")

    def key(name: str, rule: str = "given", **more: str) -> str:
        text = Text(rule=rule, words=str(tmp_path / f"{name}.csv"), **more)
        plugins = {"learner": {"name": "sam"}, "datasets": [{"name": "scenes"}]}
        return identified(Recipe.model_validate({**plugins, "steps": 1, "text": text})).key

    assert key("a") == key("b")  # A synonym is nothing to a network that is trained on class names.
    assert len({key("a"), key("c"), key("a", "synonym"), key("b", "synonym"), key("a", template="a {}")}) == 5


def test_only_what_a_rule_may_read_decides() -> None:
    assert deciding(Text())["said"] == {
        "diningtable": "dining table",
        "motorbike": "motorcycle",
        "pottedplant": "potted plant",
        "tvmonitor": "tv monitor",
    }
    assert "cat" in deciding(Text(rule="hypernym"))["words"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (Text(rule="clas_name"), r"a\.yaml, text\.rule: no text rule 'clas_name'"),
        (Text(template="a photo"), r"a\.yaml, text\.template: found 'a photo'; wanted one {}"),
        (Text(words="no.csv"), r"a\.yaml, text\.words: .*no\.csv: cannot be read"),
    ],
)
def test_a_mistaken_text(text: Text, reason: str) -> None:
    with pytest.raises(UserError, match=rf"^{reason}"):
        checked_text(text, "a.yaml, text")
