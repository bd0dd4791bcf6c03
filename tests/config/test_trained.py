"""What a checkpoint says of its training, in its header or on the card beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from harness import places
from harness.config.trained import trained_by

RECIPE = {"learner": {"name": "prompted_deeplab"}, "datasets": [{"name": "scenes"}], "steps": 3, "classes": "all"}
WEIGHTS = places.ROOT / "methods" / "weights"


def saved(path: Path, **about: str) -> Path:
    save_file({"a": np.zeros(1, np.float32)}, path, about)
    return path


def test_the_header_tells_recipe_classes_and_data(tmp_path: Path) -> None:
    data = [{"name": "scenes", "samples": 2000}]
    about = {"recipe_yaml": yaml.safe_dump(RECIPE), "classes": '["cup", "tie"]', "data": json.dumps(data)}
    found = trained_by(saved(tmp_path / "a.safetensors", **about))
    assert found and (found.recipe.steps, found.recipe.classes) == (3, "all")
    assert (found.classes, list(found.data)) == (("cup", "tie"), data)


def test_older_weights_are_told_by_the_card_that_names_their_sha256(tmp_path: Path) -> None:
    found = trained_by(WEIGHTS / "scenes_text_click.safetensors")
    assert found and found.recipe.learner.params["saliency"]["params"]["input"] == 128
    assert found.classes == ("bottle", "car", "cup", "door", "house", "person", "shirt", "table", "tree", "wheel")
    for suffix in ("safetensors", "md"):
        shutil.copy(WEIGHTS / f"scenes_sam.{suffix}", tmp_path / f"own.{suffix}")
    assert trained_by(tmp_path / "own.safetensors")
    shutil.copy(WEIGHTS / "scenes_text_click.md", tmp_path / "own.md")
    assert trained_by(tmp_path / "own.safetensors") is None


@pytest.mark.parametrize(
    "about", [{}, {"recipe": "abc"}, {"recipe_yaml": "steps: [", "recipe": "a"}, {"recipe_yaml": "a: 1"}]
)
def test_weights_that_say_nothing_that_is_understood_are_unknown(tmp_path: Path, about: dict[str, str]) -> None:
    assert trained_by(saved(tmp_path / "a.safetensors", **about)) is None


def test_files_of_others_are_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"pickle")
    (tmp_path / "a.safetensors").write_bytes(b"cut off")
    assert [trained_by(tmp_path / name) for name in ("a.pth", "a.safetensors", "none.safetensors")] == [None] * 3


def test_every_embedded_checkpoint_answers_for_itself() -> None:
    assert all(trained_by(path) for path in WEIGHTS.glob("*.safetensors"))
