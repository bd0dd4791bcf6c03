"""A checkpoint's card: what the weights are, and the recipe that trains them again."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from harness import environment, places
from harness.config.recipe import load_recipe
from harness.plugins import registry
from harness.running.one_training import train
from harness.structures import UserError
from harness.training.card import card, card_of
from toy_trainings import SCENES, recipe

pytestmark = pytest.mark.usefixtures("resumable")


def test_a_checkpoint_prints_its_card(tmp_path: Path) -> None:
    job = recipe(tmp_path / "w.safetensors", note="Tiny.")
    train(job, lambda _: None)
    assert card_of(job.output) == job.output.with_suffix(".md").read_text()
    about = metadata(job.output)
    assert set(json.loads(about["classes"])) <= set(registry.find("datasets", "scenes")().seen)
    assert json.loads(about["data"])[0]["name"] == "scenes"
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, other)
    with pytest.raises(UserError, match="found no recipe in its metadata"):
        card_of(other)
    other.write_bytes(b"x")
    with pytest.raises(UserError, match="found no whole safetensors file"):
        card_of(other)
    with pytest.raises(UserError, match="no such file"):
        card_of(tmp_path / "absent.safetensors")


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata() or {}


EMBEDDED = sorted((places.ROOT / "methods" / "weights").glob("*.safetensors"))


@pytest.mark.parametrize("path", EMBEDDED, ids=[path.stem for path in EMBEDDED])
def test_embedded_weights_print_the_card_beside_them(path: Path) -> None:
    assert card_of(path) == path.with_suffix(".md").read_text()


WITH_A_RECIPE = [path for path in EMBEDDED if "recipe_yaml" in metadata(path)]


@pytest.mark.parametrize("path", WITH_A_RECIPE, ids=[path.stem for path in WITH_A_RECIPE])
def test_a_copy_without_its_card_says_the_same_but_the_date(path: Path, tmp_path: Path) -> None:
    """The date of the copied file, which is that of a download or a clone, is not that of the training."""
    kept, alone = path.with_suffix(".md").read_text(), card_of(Path(shutil.copy(path, tmp_path)))
    assert re.search(r"\| Date \| \d{4}-\d\d-\d\d \|", kept) and "| Date | not recorded |" in alone
    assert re.sub(r"\| Date .*", "", alone) == re.sub(r"\| Date .*", "", kept)


def test_the_card_of_another_file_is_not_printed(tmp_path: Path) -> None:
    source = places.ROOT / "methods" / "weights" / "scenes_clip.safetensors"
    other = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(1)}, other)
    other.with_suffix(".md").write_text(source.with_suffix(".md").read_text())
    with pytest.raises(UserError, match=r"found no recipe in its metadata; .*/w\.md names another SHA-256"):
        card_of(other)


def test_a_recipe_of_another_version_is_told(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"recipe_yaml": "learner: {name: sam}\nstep: 3\n", "recipe": "0"})
    with pytest.raises(UserError, match=r"w\.safetensors, the recipe in its metadata, \w+: "):
        card_of(path)


def test_the_card_says_what_the_weights_are(tmp_path: Path) -> None:
    job = recipe(tmp_path / "w.safetensors", note="Tiny | of {no} use.", steps=2, precision="fp16")
    train(job, lambda _: None)
    text = job.output.with_suffix(".md").read_text()
    content = job.output.read_bytes()
    for fact in (
        "# w.safetensors",
        "Tiny | of {no} use.",
        "it is no published model",
        "scenes (split: train, count: 3, size: 32)",
        "of seen categories alone",
        "2, 2 examples each",
        "python -m harness train recipe.yaml --force",
        environment.commit().removesuffix("+"),
        hashlib.sha256(content).hexdigest(),
        f"{len(content)} bytes, fp16",
    ):
        assert fact in text, fact
    categories = next(line for line in text.splitlines() if line.startswith("| Categories")).split("|")[2]
    assert set(categories.strip().split(", ")) <= set(registry.find("datasets", "scenes")().seen)


def test_a_cards_recipe_is_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "elsewhere"))
    clip = {"model": "tiny.json", "checkpoint": str(places.ROOT / "weights" / "clip.safetensors")}
    learner = {"name": "prompted_deeplab", "params": {"saliency": {"name": "maskclip", "params": clip}, "jitter": 0.1}}
    coco = {"name": "coco", "params": {"root": str(tmp_path / "elsewhere" / "coco"), "seen": ["a: b", "yes"]}}
    job = recipe("weights/w.safetensors", learner=learner, datasets=[coco, SCENES], optimizer={"betas": (0.9, 0.98)})
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    text = card(job, tmp_path / "w.safetensors", "0123abc+")
    assert str(places.ROOT) not in text
    assert "root: data/coco" in text
    assert "checkpoint: weights/clip.safetensors" in text
    assert "commit 0123abc, with changed files" in text
    block = re.search(r"```yaml\n(.*?)```", text, re.S)
    assert block is not None
    simpler = re.sub(r"- name: coco\n.*?(?=- name: scenes)", "", block[1], flags=re.S)  # data that a test lacks
    (tmp_path / "recipe.yaml").write_text(simpler)
    again = load_recipe(tmp_path / "recipe.yaml")
    assert again.model_copy() == job.model_copy(update={"datasets": job.datasets[1:]})
