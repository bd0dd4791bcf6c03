"""The configs that train and evaluate a table's networks: Table 1's, small, from photographs to the table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import yaml
from harness.datasets.coco.coco import Coco
from harness.methods.shared.channels import Channels
from harness.methods.shared.prompted_deeplab import Architecture
from safetensors import safe_open

import real_data
from harness import places
from harness.config.recipe import load_recipe
from harness.config.run_config import RunConfig, load_run
from harness.jobs.jobs import Job
from harness.jobs.worker import Outcome
from harness.plugins.class_splits import seen_names
from harness.running.one_run import run
from harness.training.one_rank import Progress
from harness.weights.catalogue import catalogue

WEIGHTS = places.ROOT / "methods" / "weights"
CLIP = {"model": str(WEIGHTS / "scenes_clip.json"), "checkpoint": str(WEIGHTS / "scenes_clip.safetensors")}
SALIENCY = {"name": "maskclip", "params": {**CLIP, "input": 128, "templates": "plain"}}
ENCODER = "tu-regnetx_002"
SMALL: dict[str, Any] = {
    "steps": 2,
    "batch": 2,
    "workers": 0,
    "loaders": 0,
    "batch_norm": "own",
    "device": "cpu",
    "learner.params.encoder": ENCODER,
    "learner.params.size": 64,
    "learner.params.decoder_channels": 16,
    "learner.params.output_stride": 16,
}
MASK_COLUMNS = [
    "MaskPath",
    "ImageID",
    "LabelName",
    "BoxID",
    *(f"Box{end}" for end in ("XMin", "XMax", "YMin", "YMax")),
    "PredictedIoU",
    "Clicks",
]


def outputs(config: RunConfig) -> dict[str, Path]:
    """Label -> the checkpoint that its training makes."""
    return {method.label: method.train.output for method in config.methods if method.train}


@pytest.mark.slow
def named_weights(value: Any) -> Iterator[Path]:
    """Every file of weights that the parameters of a config name, at any depth."""
    if isinstance(value, Mapping):
        yield from (path for one in value.values() for path in named_weights(one))
    elif str(value).endswith((".pth", ".pt", ".safetensors")):
        yield places.located(str(value))


@pytest.mark.slow
def test_every_checkpoint_that_a_config_names_is_there_published_or_made_by_a_training() -> None:
    named: dict[Path, str] = {}
    made = set()
    for path in sorted((places.ROOT / "configs").glob("*.yaml")):
        if "learner" in yaml.safe_load(path.read_text("utf-8")):
            recipes = [load_recipe(path)]
        else:
            methods = load_run(path).methods
            named |= {file: path.name for method in methods for file in named_weights(method.params)}
            recipes = [method.train for method in methods if method.train]
        made |= {recipe.output for recipe in recipes}
        named |= {file: path.name for recipe in recipes for file in named_weights(recipe.learner.params)}
    published = {places.ROOT / "weights" / known.file for known in catalogue().values()}
    lost = {f"{path}: {file}" for file, path in named.items() if file not in published | made and not file.is_file()}
    assert named and not lost


def test_vocs_networks_are_trained_on_its_own_images_and_trainaug_is_a_variant() -> None:
    def splits(name: str) -> set[str]:
        methods = load_run(places.ROOT / "configs" / f"{name}.yaml").methods
        data = [entry for method in methods if method.train for entry in method.train.datasets]
        return {entry.params["split"] for entry in data if entry.name == "voc"}

    assert (splits("table1"), splits("table1_voc_trainaug")) == ({"train"}, {"trainaug"})


@pytest.mark.slow
def test_tables_3_and_4_ask_the_networks_of_tables_5_and_1_beside_sam() -> None:
    third, fourth, first, fifth = (load_run(places.ROOT / "configs" / f"table{number}.yaml") for number in (3, 4, 1, 5))
    assert outputs(third).items() <= outputs(fifth).items() and len(outputs(third)) == 4
    assert outputs(fourth).items() <= outputs(first).items() and len(outputs(fourth)) == 3
    asked = {method.label: method.clicks or fifth.clicks for method in fifth.methods}
    assert all(asked[label] == third.clicks for label in outputs(third)) and fourth.clicks == first.clicks
    assert [config.methods[0].name for config in (third, fourth)] == ["sam", "sam"]


@pytest.mark.slow
def test_table_8_asks_the_networks_of_table_5_beside_lavt_and_vlt() -> None:
    fifth, eighth = (load_run(places.ROOT / "configs" / f"table{number}.yaml") for number in (5, 8))
    ours = {label: path for label, path in outputs(eighth).items() if label.startswith("Text+Click")}
    assert len(ours) == 2 and set(ours.values()) <= set(outputs(fifth).values())
    assert len(set(outputs(eighth).values())) == 3, "PhraseClick's three lines are of one network"
    assert [config.max_clicks for one in eighth.methods if (config := one.clicks)] == [0, 0, 0, 0, 3, 0]
    assert {one.name for one in eighth.methods} == {"lavt", "vlt", "text_click", "phraseclick"}


@pytest.mark.slow
def test_no_other_network_can_pass_for_a_tables_and_tables_share_them() -> None:
    configs = [load_run(places.ROOT / "configs" / f"table{number}.yaml") for number in (1, 2, 5, 6)]
    first, second, _, sixth = found = [outputs(config) for config in configs]
    assert [len(one) for one in found] == [len(set(one.values())) for one in found] == [8, 6, 10, 2]
    assert first["Text+Click (COCO)"] == sixth["Text+Click (COCO)"]
    assert all(first[f"{name} (OpenImages)"] == second[f"{name} 64"] for name in ("Text+Click", "Click only"))
    assert len({path for one in found for path in one.values()}) == 8 + 6 + 10 + 2 - 3
    trained = {
        method.train.output.stem: method.train.key for config in configs for method in config.methods if method.train
    }
    own = {stem for stem, key in trained.items() if stem != key}  # COCO's are those of the recipes as they stand
    assert own == {"paper_code_text_click", "paper_code_click_only"}


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def write_rows(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def open_images(data: Path) -> None:
    """COCO's photographs and masks in the layout of Open Images; of its 350 classes the names of 308 are known."""
    root, real = data / "openimages", real_data.OPENIMAGES
    root.mkdir()
    listed = (real / "segmentable-known-308-of-350.txt").read_text().split("\n")
    known = [line.split(",")[0].strip() for line in listed if line.startswith("/m/")]
    made = [f"/m/made{number}" for number in range(350 - len(known))]
    (root / "oidv7-classes-segmentation.txt").write_text("\n".join([*known, *made]) + "\n")
    names = rows_of(real / "class-descriptions-boxable.csv")
    write_rows(root / "oidv7-class-descriptions-boxable.csv", [*names, *([one, f"Made {one}"] for one in made)])
    header, *pairs = rows_of(real / "coco_openimages_64.csv")
    labels = {row[header.index("coco_name")]: row[header.index("oi_id")] for row in pairs}
    for split, coco_split, count in (("train", "train2017", 6), ("validation", "val2017", 2)):
        write_rows(
            root / f"{split}-annotations-object-segmentation.csv",
            [MASK_COLUMNS, *masks(root, split, coco_split, labels, count)],
        )


def masks(root: Path, split: str, coco_split: str, labels: Mapping[str, str], count: int) -> list[list[Any]]:
    """Draws the masks of the first photographs that show a class of Open Images; its rows."""
    coco = Coco(real_data.COCO, coco_split)
    rows: list[list[Any]] = []
    for folder in (root / split, root / f"{split}-masks"):
        folder.mkdir()
    chosen = [one for one in coco.sample_ids() if any(i.category in labels for i in coco.list_instances(one))][:count]
    for number, sample in enumerate(map(coco.load, chosen)):
        PIL.Image.fromarray(sample.image).save(root / split / f"{number:016x}.jpg")
        for instance in [one for one in sample.instances if one.category in labels][:4]:
            name = f"{number:016x}_{len(rows):08x}.png"
            PIL.Image.fromarray(instance.mask).save(root / f"{split}-masks" / name)
            rows.append([name, f"{number:016x}", labels[instance.category], "b", 0, 1, 0, 1, 0.9, ""])
    return rows


pytestmark = pytest.mark.usefixtures("resumable")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The layouts of docs/datasets.md."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "refer").symlink_to(real_data.REFER)
    (folder / "coco").symlink_to(real_data.COCO)
    (folder / "VOCdevkit").mkdir()
    (folder / "VOCdevkit" / "VOC2012").symlink_to(real_data.VOC)
    open_images(folder)
    monkeypatch.setenv("HARNESS_DATA", str(folder))
    return folder


def small(folder: Path) -> RunConfig:
    """Table 1 with networks and trainings that take no time, from ImageNet's file of a small encoder."""
    encoder: Any = Architecture(Channels(), ENCODER, 16, 16).network().encoder
    named = {name.removeprefix("model."): value for name, value in encoder.state_dict().items()}
    torch.save({"state_dict": {**named, "stem.conv.weight": named["stem.conv.weight"][:, :3]}}, folder / "encoder.pth")
    content = yaml.safe_load((places.ROOT / "configs" / "table1.yaml").read_text("utf-8"))
    for method in content["methods"]:
        changes = method["train"]["set"]
        changes |= SMALL | {"learner.params.encoder_weights": str(folder / "encoder.pth")}
        changes["checkpoint"] = str(folder / f"{method['label']}.safetensors")
        if method["name"] == "text_click":
            method["params"]["saliency"] = changes["learner.params.saliency"] = SALIENCY
    path = folder / "table1.yaml"
    path.write_text(yaml.safe_dump(content | {"workers": {"executor": "local"}, "limit": 1}), "utf-8")
    return load_run(path)


class Watcher:
    """Remembers what was trained and evaluated."""

    def __init__(self) -> None:
        self.trained: dict[str, Progress] = {}
        self.outcomes: list[Outcome] = []

    def begins(self, what: str) -> None:
        """Ray and methods are not watched."""

    def training(self, method: str, progress: Progress) -> None:
        self.trained[method] = progress

    def planned(self, jobs: Sequence[Job], done: Mapping[str, int]) -> None:
        self.asked = [(job.facts.dataset, job.facts.method) for job in jobs]

    def outcome(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


def categories(path: Path) -> set[str]:
    """Those of the instances that the training could draw, as its checkpoint says."""
    with safe_open(path, "pt") as file:
        return set(yaml.safe_load(file.metadata()["classes"]))


@pytest.mark.slow
@real_data.needs("coco", "voc", "refer", "openimages")
def test_one_command_trains_what_is_missing_and_prints_table_1(data: Path, tmp_path: Path) -> None:
    config, watcher = small(tmp_path), Watcher()
    finished = run(config, watcher, runs=str(tmp_path / "runs"))
    pairs = [
        (name, f"{method} ({name})")
        for name in ("refCOCO", "COCO", "VOC", "OpenImages")
        for method in ("Text+Click", "Click only")
    ]
    assert sorted(watcher.asked) == sorted(pairs)
    assert sorted(watcher.trained) == sorted(method for _, method in pairs)
    assert all(progress.step == 2 and np.isfinite(progress.loss) for progress in watcher.trained.values())
    assert finished.instances > 8 and finished.failed == finished.missing == 0
    seen = {"refCOCO": "coco_20", "COCO": "coco_20", "VOC": "voc_15", "OpenImages": "openimages_64"}
    for name, method in pairs:
        assert set() < categories(outputs(config)[method]) <= set(seen_names(seen[name]))
    text = (tmp_path / "runs" / "table1" / "report.md").read_text("utf-8")
    assert all(f"| {name} | {method}" in text for name, method in pairs)
    again = Watcher()
    assert run(config, again, runs=str(tmp_path / "runs")).instances == finished.instances
    assert again.trained == {} and again.outcomes == []
