"""A run of a few images: ids of images and of instances lead to their images and data sets."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest

import harness
from harness.cli.options import loaded
from harness.config.run_config import RunConfig, load_run, part_of
from harness.jobs.listing import listing_of
from harness.jobs.only import narrowed
from harness.structures import UserError

CONFIG = """
run: few
datasets:
  - {name: scenes, label: A, params: {split: val, count: 3}}
  - {name: scenes, label: B, params: {split: test, count: 2}}
methods:
  - {name: click_only, label: everywhere, params: {checkpoint: methods/weights/scenes_click_only.safetensors}}
  - {name: click_only, label: on B, params: {checkpoint: methods/weights/scenes_click_only.safetensors}, datasets: [B]}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    path = tmp_path_factory.mktemp("config") / "few.yaml"
    path.write_text(CONFIG)
    return load_run(path)


def test_ids_of_images_and_instances_lead_to_their_images(config: RunConfig) -> None:
    part = narrowed(config, ["val-00002", "test-00001/0", "val-00000/1", "val-00000"])
    assert {name: set(own) for name, own in part.only.items()} == {
        "A": {"val-00000", "val-00002"},
        "B": {"test-00001"},
    }
    listing = listing_of(part.datasets[0], None, part.only["A"])
    assert listing.sample_ids == ("val-00000", "val-00002")
    assert listing.whole == len(listing.dataset.sample_ids()) > 2


def test_data_sets_and_methods_without_one_of_them_are_left_out(config: RunConfig) -> None:
    part = narrowed(config, ["val-00001"])
    assert [one.label for one in part.datasets] == ["A"] and [one.label for one in part.methods] == ["everywhere"]
    assert len(list(part.pairs())) == 1
    alone = config.model_copy(update={"methods": config.methods[1:]})
    with pytest.raises(UserError, match="found no method in the config that runs on A"):
        narrowed(alone, ["val-00001"])


def test_an_id_that_nobody_has_is_told_with_those_that_are_near(config: RunConfig) -> None:
    with pytest.raises(UserError, match="no image or instance 'val-00009' in A and B. Did you mean 'val-0000"):
        narrowed(config, ["val-00001", "val-00009"])
    with pytest.raises(UserError, match="found no image 'val-00007'. Did you mean"):
        listing_of(config.datasets[0], None, ["val-00007"])


def test_no_id_at_all_is_refused(config: RunConfig) -> None:
    with pytest.raises(UserError, match=r"^--only: found no id; wanted those of images or instances"):
        narrowed(config, [])


def test_a_part_keeps_the_order_of_the_data_set() -> None:
    assert part_of(["c", "a", "b"], None, {"b", "c"}) == ("c", "b")
    assert part_of(["c", "a", "b"], 2) == ("c", "a") and part_of(["c"], None) == ("c",)


def test_an_id_with_a_comma_goes_in_quotes(tmp_path: Path) -> None:
    white = PIL.Image.new("L", (48, 32), 255)
    for name in ("street, left", "kitchen", "garden"):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
            white.save(tmp_path / folder / f"{name}.png")
    path = tmp_path / "few.yaml"
    methods = "methods:" + CONFIG.partition("methods:")[2].replace("datasets: [B]", "datasets: [A]")
    path.write_text(f"run: few\ndatasets: [{{name: folder, label: A, params: {{root: '{tmp_path}'}}}}]\n{methods}")
    assert set(loaded(path, [], None, '"street, left", kitchen').only["A"]) == {"street, left", "kitchen"}
    with pytest.raises(UserError, match=r"no image or instance 'street' in A\..* An id with a comma goes in double q"):
        loaded(path, [], None, "street, left,kitchen")


@pytest.mark.slow
def test_a_run_of_one_instance_is_marked_as_a_part_and_complete(
    tmp_path: Path, here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    path = tmp_path / "few.yaml"
    path.write_text(CONFIG.replace("run: few", "run: few\nmetrics: [iou]"))
    command = ["run", path, "--runs", tmp_path, "--set", "workers.executor=local", "--only", "val-00001/0"]
    assert "found --limit and --only" in here(*command, "--limit", 2).stderr
    assert "LIMITED to 1 sample: Table 1" in here(*command).stdout
    assert set(harness.load(tmp_path / "few")["image_id"]) == {"val-00001"}
    assert here("verify", tmp_path / "few", "--data", path).returncode == 0
