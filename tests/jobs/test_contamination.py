"""Training images among those that a method is asked on, and the flag that they get."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import UserError
from harness.config.run_config import RunConfig, load_run
from harness.jobs.contamination import asked_again, training_images
from harness.jobs.plan import planned, samples_of
from harness.plugins import registry
from harness.plugins.interfaces import Dataset
from harness.results.recorded import Recorded
from harness.storage.store import Store

SCENES = {"name": "scenes", "params": {"count": 4}}


def loaded(folder: Path, trained_on: Any, **method: Any) -> RunConfig:
    entry = {"name": "fakes:Steady", "label": "steady", "trained_on": trained_on} | method
    path = folder / "a.yaml"
    path.write_text(yaml.safe_dump({"run": "r", "datasets": [SCENES], "methods": [entry]}))
    return load_run(path)


def found(config: RunConfig) -> int | None:
    (job,) = planned(config)
    return job.facts.about["training_images_asked"]


def test_images_of_the_training_data_sets_are_counted(tmp_path: Path) -> None:
    half = {"name": "scenes, half", "datasets": [{"name": "scenes", "params": {"count": 2}}]}
    assert found(loaded(tmp_path, half)) == 2
    assert found(loaded(tmp_path, {"datasets": [{"name": "scenes", "params": {"split": "train", "count": 9}}]})) == 0
    assert found(loaded(tmp_path, half).model_copy(update={"limit": 1})) == 1


def test_a_name_alone_says_nothing_of_images(tmp_path: Path) -> None:
    assert found(loaded(tmp_path, "scenes")) is None


def test_a_file_of_keys(tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text("scenes/val-00003\ncoco/139\n")
    assert found(loaded(tmp_path, {"images": str(keys)})) == 1
    assert training_images(loaded(tmp_path, {"images": str(keys)}).methods[0]) == {"scenes/val-00003", "coco/139"}


@pytest.mark.parametrize(
    "content", [b"coco/139 \r\n\r\n scenes/val-00003\r\n", b"\xef\xbb\xbfcoco/139\nscenes/val-00003"]
)
def test_blanks_and_marks_around_keys_do_not_hide_an_image(tmp_path: Path, content: bytes) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_bytes(content)
    config = loaded(tmp_path, {"images": str(keys)})
    assert training_images(config.methods[0]) == {"scenes/val-00003", "coco/139"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "found no key"), (b"139\ncoco/25\n", "found '139'; wanted .*coco/139"), (b"\xff\xe9", "cannot be read")],
)
def test_a_file_that_is_none_of_keys_is_not_taken_for_no_image(tmp_path: Path, content: bytes, reason: str) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_bytes(content)
    with pytest.raises(UserError, match=rf"keys\.txt: {reason}"):
        training_images(loaded(tmp_path, {"images": str(keys)}).methods[0])


def test_a_recipe_s_data_sets_are_known(tmp_path: Path) -> None:
    recipe = {"learner": {"name": "prompted_deeplab"}, "datasets": [SCENES], "steps": 1}
    config = loaded(tmp_path, {}, name="click_only", label="click", train=recipe)
    assert training_images(config.methods[0]) == {f"scenes/val-{number:05d}" for number in range(4)}


def test_training_data_that_is_not_here_is_unknown_and_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    absent = {"datasets": [{"name": "coco", "params": {"root": str(tmp_path / "none"), "split": "train2017"}}]}
    with caplog.at_level(logging.WARNING):
        assert found(loaded(tmp_path, absent)) is None
    assert "steady: its training images cannot be listed" in caplog.text


def coco(root: Path, *names: str) -> Dataset:
    """An own file in COCO's style: pictures 1, 2, ... by their names, one object on each."""
    box = {"category_id": 1, "segmentation": [[0, 0, 4, 0, 4, 4]]}
    (root / "annotations").mkdir(parents=True)
    (root / "val").mkdir()
    said = {
        "images": [{"id": at, "file_name": name, "height": 9, "width": 9} for at, name in enumerate(names, 1)],
        "annotations": [{"id": at, "image_id": at, **box} for at, _ in enumerate(names, 1)],
        "categories": [{"id": 1, "name": "cup"}],
    }
    (root / "annotations" / "instances_val.json").write_text(json.dumps(said))
    made: Dataset = registry.find("datasets", "coco")(root, split="val", seen=None)
    return made


def test_coco_s_pictures_are_known_by_their_names_and_refcoco_s_by_their_ids(tmp_path: Path) -> None:
    names = ("000000000139.jpg", "a/COCO_val2014_000000000139.jpg", "139.jpg")
    keys = list(map(coco(tmp_path, *names).image_key, "123"))
    assert keys == ["coco/139", "coco/139", f"coco/{tmp_path.as_posix()}/val/139.jpg"]
    refcoco = registry.find("datasets", "refcoco")
    assert refcoco.image_key(object.__new__(refcoco), "139") == "coco/139"


def test_pictures_of_two_files_that_both_count_from_1_are_other_pictures(tmp_path: Path) -> None:
    trained, asked = (coco(tmp_path / name, "a.jpg", "b.jpg") for name in ("tools", "toys"))
    images = frozenset(map(trained.image_key, trained.sample_ids()))
    assert asked_again(images, asked, asked.sample_ids()) == 0
    assert asked_again(images, trained, trained.sample_ids()) == 2
    assert asked_again(None, asked, asked.sample_ids()) is None


def test_tables_flag_a_method_that_was_trained_on_what_it_is_asked(tmp_path: Path) -> None:
    config = loaded(tmp_path, {"datasets": [{"name": "scenes", "params": {"count": 3}}]})
    jobs = planned(config)
    store = Store(tmp_path / "run")
    made = Recorded(store, config, [job.facts for job in jobs], samples_of(jobs))
    context = made.context(made.rows())
    assert context.training_images_asked == {("steady", "scenes"): 3}


@pytest.mark.parametrize(
    ("trained_on", "reason"),
    [
        ({"images": "none.txt"}, r"trained_on\.images: no file none\.txt"),
        ({"classes": "coco_21"}, r"trained_on\.classes: .*no split .*coco_21.*Did you mean 'coco_20'"),
        ({"datasets": [{"name": "scens"}]}, r"trained_on\.datasets\[0\]\.name: no datasets/scens\.py"),
        ({"clases": []}, r"trained_on\.clases: no such key\. Did you mean 'classes'"),
    ],
)
def test_a_mistaken_entry(tmp_path: Path, trained_on: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=rf"methods\[0\]\.{reason}"):
        loaded(tmp_path, trained_on)


def test_classes_are_a_split_or_names(tmp_path: Path) -> None:
    assert loaded(tmp_path, {"classes": ["cup", "tie"]}).methods[0].trained_on.classes == ("cup", "tie")
    assert len(loaded(tmp_path, {"classes": "coco_20"}).methods[0].trained_on.classes) == 20


def test_tables_name_all_data_sets_of_a_training_by_its_recipe_or_its_checkpoint(tmp_path: Path) -> None:
    recipe = {"learner": {"name": "prompted_deeplab"}, "datasets": [SCENES, {"name": "fakes:Toys"}], "steps": 1}
    checkpoint = {"checkpoint": "methods/weights/scenes_click_only.safetensors"}
    for entry, data in [({"train": recipe}, ("scenes", "fakes:Toys")), ({"params": checkpoint}, ("scenes",))]:
        config = loaded(tmp_path, {}, name="click_only", **entry)
        jobs = planned(config, [one for one in config.methods if one.train])
        made = Recorded(Store(tmp_path / "run"), config, [job.facts for job in jobs], samples_of(jobs))
        facts = made.context(made.rows()).facts("steady")
        assert (facts.trained_on, facts.trained_data) == (" and ".join(data), data)
