"""A checkpoint's own story held against the config: the saliency, the classes, the images."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
import yaml
from harness.datasets.scenes.scenes import CLASSES, SEEN
from safetensors import safe_open
from safetensors.torch import save_file

from fakes import Toys
from harness import UserError, places
from harness.config.method_entry import MethodEntry
from harness.config.run_config import load_run
from harness.config.trained import Trained, trained_by
from harness.jobs.answers import classes_trained_on, differing, seen_classes
from harness.jobs.contamination import training_images
from harness.jobs.plan import planned
from harness.results.recorded import recorded
from harness.running.doctor import examined
from harness.running.one_run import run
from harness.storage.results_file import read_results
from harness.storage.store import Store
from harness.structures import Sample
from toy_runs import Quiet, written

WEIGHTS = places.ROOT / "methods" / "weights"
CLIP = {
    "model": "methods/weights/scenes_clip.json",
    "checkpoint": "methods/weights/scenes_clip.safetensors",
    "input": 128,
}


def opened(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


def told_anew(path: Path, source: str = "scenes_text_click", **changed: Any) -> Path:
    """Embedded weights whose header tells another story; keywords change the recipe, `classes_drawn` the classes."""
    source_path = WEIGHTS / f"{source}.safetensors"
    told = trained_by(source_path)
    assert told
    drawn = changed.pop("classes_drawn", told.classes)
    recipe = told.recipe.model_dump(mode="json") | changed
    weights, about = opened(source_path)
    about |= {"recipe_yaml": yaml.safe_dump(recipe), "classes": json.dumps(list(drawn)), "data": "[]"}
    save_file(weights, path, about)
    return path


def config(folder: Path, checkpoint: Path | None = None, clip: dict[str, Any] | None = None, **entry: Any) -> Path:
    checkpoint = checkpoint or WEIGHTS / "scenes_text_click.safetensors"
    params = {"checkpoint": str(checkpoint), "saliency": {"name": "maskclip", "params": CLIP | (clip or {})}}
    method = {"name": "text_click", "label": "ours", "params": params} | entry
    path = folder / "a.yaml"
    known = {"run": "a", "datasets": [{"name": "scenes", "params": {"count": 3}}], "methods": [method]}
    path.write_text(yaml.safe_dump(known | {"workers": {"executor": "local"}, "tables": ["table1"]}))
    return path


def the_method(path: Path) -> MethodEntry:
    (method,) = load_run(path).methods
    return method


def test_the_saliency_of_the_training_passes_wherever_its_files_lie(tmp_path: Path) -> None:
    assert differing(the_method(config(tmp_path))) == []
    moved = {name: str(tmp_path / Path(str(CLIP[name])).name) for name in ("model", "checkpoint")}
    for name, place in moved.items():
        Path(place).write_bytes((places.ROOT / str(CLIP[name])).read_bytes())
    assert differing(the_method(config(tmp_path, clip=moved))) == []
    assert differing(the_method(config(tmp_path, clip={"device": "cpu", "half": True, "temperature": 1}))) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("clip", "said"),
    [
        ({"temperature": 0.05}, "saliency.temperature: trained with 1.0, used with 0.05"),
        ({"input": 64}, "saliency.input: trained with 128, used with 64"),
        ({"templates": "plain"}, "saliency.templates: trained with published, used with plain"),
        ({"checkpoint": "methods/weights/scenes_clip_crops.safetensors"}, "saliency.checkpoint: trained with methods/"),
    ],
)
def test_another_saliency_than_that_of_the_training_is_refused(tmp_path: Path, clip: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as refused:
        planned(load_run(config(tmp_path, clip=clip)))
    assert str(refused.value).startswith(f"method 'ours': its saliency is not that of its training: {said}")
    assert "`saliency_differs: footnote`" in str(refused.value)
    findings = [one for one in examined(load_run(config(tmp_path, clip=clip))) if said in one.text]
    assert [one.state.value for one in findings] == ["wrong"]


def test_run_and_plan_refuse_it_and_a_network_that_is_not_trained_yet_too(
    tmp_path: Path, here: Callable[..., CompletedProcess[str]]
) -> None:
    path = config(tmp_path, clip={"temperature": 0.05})
    for command in ("run", "plan"):
        done = here(command, path, "--runs", tmp_path)
        assert done.returncode == 2 and "trained with 1.0, used with 0.05" in done.stderr
    assert not (tmp_path / "a" / "manifest.json").exists()
    told = trained_by(WEIGHTS / "scenes_text_click.safetensors")
    assert told
    recipe = told.recipe.model_dump(mode="json") | {"checkpoint": str(tmp_path / "to_come.safetensors")}
    entry = {"train": recipe, "params": {"saliency": {"name": "maskclip", "params": CLIP | {"temperature": 0.05}}}}
    config_of_one_to_train = load_run(config(tmp_path, **entry))
    with pytest.raises(UserError, match="trained with 1.0, used with 0.05"):
        planned(config_of_one_to_train, config_of_one_to_train.methods)


@pytest.mark.slow
def test_it_runs_on_request_and_every_table_says_so(tmp_path: Path) -> None:
    path = config(tmp_path, clip={"temperature": 0.05}, saliency_differs="footnote")
    finished = run(load_run(path), Quiet(), runs=str(tmp_path))
    said = "ours is not used as it was trained: saliency.temperature: trained with 1.0, used with 0.05."
    assert all(said in table.notes for table in finished.tables) and said in (tmp_path / "a" / "report.md").read_text()


@pytest.mark.slow
def test_every_table_says_that_weights_are_another_recipe_s(tmp_path: Path) -> None:
    checkpoint = told_anew(tmp_path / "old.safetensors", "scenes_click_only")
    key = opened(checkpoint)[1]["recipe"]
    learner = {"name": "prompted_deeplab", "params": {"encoder": "tu-regnetx_002"}}
    train = {"learner": learner, "datasets": [{"name": "scenes", "params": {"split": "train"}}], "steps": 2}
    method = {"name": "click_only", "label": "click", "train": train | {"checkpoint": str(checkpoint)}}
    data = {"name": "scenes", "params": {"count": 1}}
    finished = run(
        load_run(written(tmp_path / "a.yaml", methods=[method], datasets=[data], tables=["table1"])),
        Quiet(),
        runs=str(tmp_path),
    )
    said = f"click: another recipe than the config's made its weights ({key})."
    (table,) = finished.tables
    assert said in table.notes


def test_methods_without_such_weights_are_left_alone() -> None:
    assert differing(MethodEntry(name="fakes:Steady")) == []
    click_only = MethodEntry(name="click_only", params={"checkpoint": str(WEIGHTS / "scenes_click_only.safetensors")})
    assert differing(click_only) == []


def tables_of(folder: Path, checkpoint: Path | None, **entry: Any) -> tuple[list[str], tuple[str, ...], Store]:
    """The means that Table 1 prints of a run, its footnotes, and the run."""
    finished = run(load_run(config(folder, checkpoint, **entry)), Quiet(), runs=str(folder))
    (table,) = finished.tables
    (row,) = [row for row in table.body if not row.quoted]
    return [cell.text for cell in row.cells[3:6]], table.footnotes, Store(folder / "a")


@pytest.mark.slow
def test_weights_of_all_classes_have_no_means_of_seen_and_unseen_ones(tmp_path: Path) -> None:
    for name in ("some", "all"):
        (tmp_path / name).mkdir()
    some, _, _ = tables_of(tmp_path / "some", None)
    assert "–" not in some
    named = {"trained_on": {"name": "scenes", "classes": list(SEEN)}}
    checkpoint = told_anew(tmp_path / "all.safetensors", classes="all", classes_drawn=sorted(CLASSES))
    every, footnotes, store = tables_of(tmp_path / "all", checkpoint, **named)
    assert every == [some[0], "–", "–"]
    assert "Its checkpoint was trained on 20 of the 20 classes here: no means of seen and unseen classes." in footnotes
    found = recorded(store)
    assert found.context(found.rows()).facts("ours").trained_classes == 20


@pytest.mark.slow
def test_nor_have_they_where_the_split_leaves_no_class_unseen(tmp_path: Path) -> None:
    """As on a data set without a split, where the classes of the training are the seen ones."""
    checkpoint = told_anew(tmp_path / "all.safetensors", classes="all", classes_drawn=sorted(CLASSES))
    path = config(tmp_path, checkpoint)
    told = yaml.safe_load(path.read_text())
    told["datasets"][0]["params"]["seen"] = sorted(CLASSES)
    path.write_text(yaml.safe_dump(told))
    (table,) = run(load_run(path), Quiet(), runs=str(tmp_path)).tables
    assert [cell.text for cell in table.body[0].cells[4:6]] == ["–", "–"]
    assert "Its checkpoint was trained on 20 of the 20 classes here: no means of seen and unseen classes." in (
        table.footnotes
    )


@pytest.mark.slow
def test_what_the_split_calls_unseen_is_seen_by_weights_that_were_trained_on_it(tmp_path: Path) -> None:
    checkpoint = told_anew(tmp_path / "more.safetensors", classes="all", classes_drawn=[*SEEN, "hat", "window"])
    means, footnotes, store = tables_of(tmp_path, checkpoint)
    assert "–" not in means
    (said,) = [note for note in footnotes if note.startswith("Its checkpoint")]
    assert said.startswith(
        "Its checkpoint was trained on 12 of the 20 classes here; of those that the split calls unseen"
    )
    raw, rows = read_results(store), recorded(store).rows()
    assert raw is not None and set(raw.loc[raw["seen"], "category"]) <= {*SEEN}
    assert set(rows.loc[rows["seen"].eq(True), "category"]) - {*SEEN} == {*raw["category"]} & {"hat", "window"}
    assert rows["seen"].notna().all()


@pytest.mark.slow
def test_fewer_classes_than_the_split_s_keep_the_split(tmp_path: Path) -> None:
    checkpoint = told_anew(tmp_path / "few.safetensors", classes_drawn=["person", "shirt", "car"])
    means, _, store = tables_of(tmp_path, checkpoint, trained_on={"classes": ["person", "shirt", "car"]})
    assert "–" not in means
    found = recorded(store)
    assert found.context(found.rows()).facts("ours").trained_classes == 3


def test_a_config_that_names_fewer_classes_than_the_checkpoint_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = told_anew(tmp_path / "all.safetensors", classes="all", classes_drawn=sorted(CLASSES))
    with caplog.at_level(logging.WARNING):
        planned(load_run(config(tmp_path, checkpoint, trained_on={"classes": list(SEEN)})))
    assert (
        "ours: the config says that it was trained on 10 classes, its checkpoint says 20, with apple, boat, bus"
        in caplog.text
    )


def trained(*classes: str) -> Trained:
    told = trained_by(WEIGHTS / "scenes_text_click.safetensors")
    assert told
    return Trained(told.recipe, classes)


def test_one_class_may_have_two_names() -> None:
    voc = ("aeroplane", "tvmonitor", "cat", "sofa")
    assert classes_trained_on(trained("airplane", "tv", "cat", "zebra"), voc) == ("aeroplane", "tvmonitor", "cat")
    assert classes_trained_on(trained("cat", "sofa"), voc) == ("cat", "sofa")
    assert classes_trained_on(trained("wine glass", "zebra"), ("wine_glass", "aerosol_can")) == ("wine_glass",)
    assert classes_trained_on(None, voc) == classes_trained_on(trained(), voc) == ()


def test_without_a_split_the_checkpoint_s_classes_are_the_seen_ones() -> None:
    entry = MethodEntry(name="fakes:Steady", trained_on={"classes": ("cup",)})
    assert seen_classes(entry, trained("cup", "tie"), ("cup", "tie", "hat")) == ("cup", "tie")
    assert seen_classes(entry, trained("cup", "zebra"), ("cup", "tie", "hat")) == ("cup",)
    assert seen_classes(entry, None, ("cup", "tie")) == ("cup",)


def test_images_of_the_clip_and_of_the_weights_it_began_from_are_training_images(tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    began = {"name": "clip", "params": {"model": CLIP["model"], "checkpoint": str(first)}}
    told_anew(first, "scenes_clip", datasets=[{"name": "scenes", "params": {"split": "val", "count": 2}}])
    told_anew(second, "scenes_clip", learner=began)
    own = training_images(the_method(config(tmp_path)))
    assert own is not None and {key[:12] for key in own} == {"scenes/train"}
    entry = the_method(config(tmp_path, clip={"checkpoint": str(second)}, saliency_differs="footnote"))
    assert training_images(entry) == own | {"scenes/val-00000", "scenes/val-00001"}


def test_the_config_s_classes_may_have_another_data_set_s_names() -> None:
    entry = MethodEntry(name="fakes:Steady", trained_on={"classes": ("airplane", "tv", "cat", "zebra")})
    voc = ("aeroplane", "tvmonitor", "cat", "sofa")
    assert [name in seen_classes(entry, None, voc) for name in voc] == [True, True, True, False]
    assert seen_classes(entry, None, ("hat",))  # None of them: all classes of the data set are unseen, not unknown.


@pytest.mark.slow
def test_images_of_the_stored_recipe_are_found_where_the_config_says_nothing(tmp_path: Path) -> None:
    on_val = told_anew(tmp_path / "val.safetensors", datasets=[{"name": "scenes", "params": {"split": "val"}}])
    for entry in ({}, {"trained_on": "scenes"}):
        (job,) = planned(load_run(config(tmp_path, on_val, **entry)))
        assert job.facts.about["training_images_asked"] == 3
    (job,) = planned(load_run(config(tmp_path)))
    assert job.facts.about["training_images_asked"] == 0
    _, footnotes, _ = tables_of(tmp_path, on_val, trained_on="scenes")
    assert any(note.startswith("Trained on 3 of the images that it is evaluated on here") for note in footnotes)


def test_a_config_that_leaves_out_images_of_the_checkpoint_is_told_and_they_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    on_val = told_anew(
        tmp_path / "val.safetensors", datasets=[{"name": "scenes", "params": {"split": "val", "count": 5}}]
    )
    named = {"trained_on": {"datasets": [{"name": "scenes", "params": {"split": "train", "count": 2}}]}}
    with caplog.at_level(logging.WARNING):
        found = training_images(the_method(config(tmp_path, on_val, **named)))
    assert found and len({key for key in found if "val" in key}) == 5
    assert len(found) == 5 + 2000  # those of the CLIP, the two of `trained_on` among them
    assert "ours: its checkpoint was trained on 5 images that `trained_on` leaves out, scenes/val-00000" in caplog.text


def test_training_data_that_changed_since_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = told_anew(tmp_path / "a.safetensors")
    weights, about = opened(checkpoint)
    about["data"] = json.dumps([{"name": "scenes", "recipe": "1", "samples": 2000}])
    save_file(weights, checkpoint, about)
    with caplog.at_level(logging.WARNING):
        training_images(the_method(config(tmp_path, checkpoint)))
    assert "ours: the data set scenes has changed since the training (recipe differ)" in caplog.text


class Splitless(Toys):
    """Toys without a split, whose classes COCO calls "couch" and "tv"."""

    classes = ("sofa", "tvmonitor")

    def load(self, sample_id: str) -> Sample:
        sample = super().load(sample_id)
        named = zip(sample.instances, self.classes, strict=True)
        instances = tuple(replace(one, category=name, seen=None) for one, name in named)
        return replace(sample, instances=instances)


def splitless(folder: Path, *classes: str) -> tuple[dict[str, bool | None], set[str]]:
    """Class -> whether a method has seen it that was trained on these classes by the config alone; and what is said."""
    folder.mkdir()
    method = {"name": "fakes:Steady", "label": "steady", "trained_on": {"classes": list(classes)}}
    path = written(folder / "a.yaml", methods=[method], datasets=[{"name": f"{__name__}:Splitless"}])
    run(load_run(path), Quiet(), runs=str(folder))
    found = recorded(Store(folder / "a"))
    rows = found.rows()
    seen = {str(name): rows.loc[rows["category"] == name, "seen"].unique().tolist() for name in Splitless.classes}
    return {name: one for name, (one,) in seen.items()}, set(found.context(rows).seen_otherwise.values())


@pytest.mark.slow
def test_classes_that_the_config_names_are_seen_under_the_data_set_s_names_too(tmp_path: Path) -> None:
    for name, classes in {"own": ("sofa",), "foreign": ("couch", "zebra")}.items():
        assert splitless(tmp_path / name, *classes) == ({"sofa": True, "tvmonitor": False}, set())


@pytest.mark.slow
def test_a_config_that_names_all_classes_leaves_no_means_of_seen_and_unseen_ones(tmp_path: Path) -> None:
    said = "By the config it was trained on all 2 classes here: no means of seen and unseen classes."
    for name, classes in {"own": ("sofa", "tvmonitor"), "foreign": ("couch", "tv", "zebra")}.items():
        assert splitless(tmp_path / name, *classes) == ({"sofa": None, "tvmonitor": None}, {said})
