"""Checkpoints that must be there, and trainings that make those that are absent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from fakes import Steady
from harness import UserError, places
from harness.config.click_protocol import Clicks
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin, label
from harness.config.recipe import identified
from harness.config.run_config import RunConfig, load_run
from harness.jobs.plan import planned
from harness.jobs.requirements import check_clicks_taken, check_weights, untrained

METHOD = MethodEntry(name="fakes:Steady", label="steady")


def config(*methods: MethodEntry) -> RunConfig:
    return RunConfig(run="r", datasets=(Plugin(name="fakes:Toys"),), methods=(METHOD, *methods))


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'steady': no file at checkpoint=.*gone"):
        check_weights([MethodEntry(name="fakes:Steady", label="steady", params={"checkpoint": str(tmp_path / "gone")})])


def test_a_misspelt_checkpoint_is_told_which_file_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"")
    params = {"checkpoint": str(tmp_path / "weihgts.pth")}
    with pytest.raises(UserError, match=r"Did you mean 'weights\.pth'\? "):
        check_weights([MethodEntry(name="fakes:Steady", label="steady", params=params)])


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    gone = [str(tmp_path / name) for name in ("gone.pth", "sam_vit_b_01ec64.pth")]
    entries = tuple(MethodEntry(name="fakes:Steady", label=path[-7:], params={"checkpoint": path}) for path in gone)
    with pytest.raises(UserError) as error:
        check_weights(entries)
    first, second = str(error.value).splitlines()
    assert gone[0] in first and "train it" in first
    assert gone[1] in second and "Fetch it: python -m harness weights fetch sam_vit_b" in second


def test_weights_are_looked_for_before_a_data_set_is(tmp_path: Path) -> None:
    coco = Plugin(name="coco", params={"root": str(tmp_path / "none")})
    gone = MethodEntry(name="fakes:Steady", params={"checkpoint": str(tmp_path / "gone")})
    with pytest.raises(UserError, match="no file at checkpoint="):
        planned(RunConfig(run="r", datasets=(coco,), methods=(gone,)))


@pytest.mark.parametrize(("content", "found"), [(None, "cannot be read"), ("# none\n", "found no name")])
def test_names_that_no_file_holds_are_refused_before_anything(tmp_path: Path, content: str | None, found: str) -> None:
    """A finished run would pass for one with them, since a path that is not there is no part of a job."""
    path = tmp_path / "Dataset"
    if content is not None:
        path.write_text(content)
    entry = MethodEntry(name="fakes:Contrasted", label="ours", params={"vocabulary": str(path)})
    with pytest.raises(UserError, match=rf"method 'ours': vocabulary=.*Dataset: {found}"):
        check_weights([entry])
    path.write_text("cat\n")
    check_weights([entry, entry.model_copy(update={"params": {"vocabulary": "checkpoint"}})])


def trained(tmp_path: Path, label: str, **changed: Any) -> MethodEntry:
    """A method with a recipe whose checkpoint is w.safetensors."""
    weights = tmp_path / "encoder.pth"
    weights.write_bytes(b"weights")
    recipe = {
        "learner": {"name": "prompted_deeplab", "params": {"encoder_weights": str(weights)}},
        "datasets": [{"name": "scenes", "params": {"split": "train"}}],
        "checkpoint": str(tmp_path / "w.safetensors"),
        "steps": 2,
    }
    return MethodEntry.model_validate({"name": "click_only", "label": label, "train": recipe | changed})


def checkpoint(tmp_path: Path, **about: str) -> None:
    save_file({"a": np.zeros(1)}, tmp_path / "w.safetensors", about or None)


@pytest.mark.parametrize("name", ["click_only", "phraseclick", "text_click"])
def test_clicks_for_which_weights_are_not_trained_are_refused(name: str) -> None:
    weights = {"checkpoint": str(places.ROOT / "methods" / "weights" / f"scenes_{name}.safetensors")}
    method = MethodEntry(name=name, label="ours", params=weights)
    check_clicks_taken(config(method))
    two = Clicks(strategy="paper/v2", options={"positives": 1, "negatives": 1}, max_clicks=2)
    for clicks, found in (
        (Clicks(max_clicks=3), "1 positive and 0 negative clicks a round, 3 in all, by paper/v1"),
        (two, "1 positive and 1 negative clicks a round, 2 in all, by paper/v2"),
    ):
        with pytest.raises(UserError, match=f"'ours': its weights are trained for 1 positive and 0 .* found {found}"):
            planned(config(method.model_copy(update={"clicks": clicks})))


class Two(Steady):
    """A method whose weights take as many clicks as a parameter says."""

    def __init__(self, clicks: int = 2) -> None:
        self.clicks = clicks

    @classmethod
    def clicks_taken(cls, params: Mapping[str, Any]) -> tuple[int, int]:
        return params["clicks"], 0


def test_a_method_is_told_its_defaults_when_it_says_what_clicks_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.jobs.requirements.find", lambda *_: Two)
    two = Clicks(strategy="paper/v2", options={"positives": 2}, max_clicks=2)
    check_clicks_taken(config().model_copy(update={"clicks": two}))
    with pytest.raises(UserError, match="trained for 2 positive and 0 negative clicks"):
        check_clicks_taken(config())


def test_clicks_are_held_against_a_recipe_before_it_is_trained(tmp_path: Path) -> None:
    learner = {"name": "prompted_deeplab", "params": {"positive_clicks": 2, "negative_clicks": 1}}
    options = {"positives": 2, "negatives": 1}
    method = trained(tmp_path, "ours", learner=learner)
    asked = method.model_copy(update={"clicks": Clicks(strategy="paper/v2", options=options, max_clicks=3)})
    check_clicks_taken(config(asked), [asked])
    with pytest.raises(UserError, match="trained for 2 positive and 1 negative clicks, .* found 1 positive and 0"):
        check_clicks_taken(config(method), [method])


def due(*methods: MethodEntry) -> list[str]:
    return [label(one) for one in untrained(config(*methods))]


def test_methods_without_their_checkpoint_are_due(tmp_path: Path) -> None:
    there, not_yet = trained(tmp_path, "there"), trained(tmp_path, "due", checkpoint=str(tmp_path / "d.safetensors"))
    checkpoint(tmp_path)
    assert due(there, not_yet) == ["due"]


def test_a_checkpoint_of_another_recipe_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before, now = trained(tmp_path, "a"), trained(tmp_path, "a", steps=9)
    assert before.train is not None and now.train is not None
    then, own = identified(before.train).key, identified(now.train).key
    checkpoint(tmp_path, recipe=then, recipe_yaml="...")
    assert due(before) == [] and not caplog.records
    assert due(now, now.model_copy(update={"label": "the same"})) == []
    assert [one.getMessage() for one in caplog.records] == [
        f"{tmp_path}/w.safetensors was made by another recipe ({then}, now {own}). To train it again: "
        "python -m harness train RECIPE --force"
    ]


def test_what_a_checkpoint_does_not_say_of_its_recipe_is_not_guessed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    method = trained(tmp_path, "a")
    checkpoint(tmp_path)
    assert due(method) == []
    checkpoint(tmp_path, recipe="a key as it was once hashed")
    assert due(method) == []
    (tmp_path / "w.safetensors").write_bytes(b"of another kind")
    assert due(method) == []
    checkpoint(tmp_path, recipe="another", recipe_yaml="...")
    (tmp_path / "encoder.pth").unlink()  # It counts in the key, which cannot be told without it.
    assert due(method) == [] and not caplog.records


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((places.ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_no_embedded_weights_are_of_another_recipe(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    if "learner" not in yaml.safe_load(path.read_text()):
        untrained(load_run(path))
    assert not [one for one in caplog.records if "another recipe" in one.getMessage()]
