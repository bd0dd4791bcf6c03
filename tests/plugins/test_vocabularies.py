"""Which names a text is contrasted with, and where they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from harness.methods.text_click import TextClick
from safetensors.numpy import save_file

from harness.plugins import parameters
from harness.plugins.vocabularies import Contrast, Vocabulary, names_in, recorded_in
from harness.structures import UserError

CHOICES = get_args(get_args(Vocabulary)[0])


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "w.safetensors"
    save_file({"a": np.zeros(3, np.float32)}, path, {"vocabulary": json.dumps(["cat", "tv monitor"])})
    return path


@pytest.mark.parametrize(
    ("choice", "on_a_data_set", "without"),
    [
        ("dataset", ("dog", "cup"), ("cat", "tv monitor")),
        ("present", ("dog", "cup"), ("cat", "tv monitor")),
        ("checkpoint", ("cat", "tv monitor"), ("cat", "tv monitor")),
        ("none", (), ()),
    ],
)
def test_names(weights: Path, choice: Any, on_a_data_set: tuple[str, ...], without: tuple[str, ...]) -> None:
    contrast = Contrast.of(choice, weights)
    assert (contrast.names(("dog", "cup")), contrast.names(())) == (on_a_data_set, without)


def test_the_names_of_a_file(weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("# seen\ncat\n\n tv monitor \ncat\n", "utf-8-sig")
    assert names_in(path) == Contrast.of(path, weights).names(("dog",)) == ("cat", "tv monitor")


def test_a_checkpoint_that_does_not_say(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": np.zeros(3, np.float32)}, path)
    assert recorded_in(path) == recorded_in(tmp_path / "none") == ()
    assert Contrast.of("dataset", path).names(()) == ()
    with pytest.raises(UserError, match=r"w\.safetensors: found no vocabulary in its metadata.*vocabulary: dataset"):
        Contrast.of("checkpoint", path)


@pytest.mark.parametrize(("content", "found"), [(None, "cannot be read"), ("# none\n", "found no name")])
def test_a_file_without_names(weights: Path, tmp_path: Path, content: str | None, found: str) -> None:
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=rf"vocabulary=.*names\.txt: {found}.*`vocabulary"):
        Contrast.of(path, weights)


@pytest.mark.parametrize("choice", [*CHOICES, "configs/vocabulary_scenes_seen.txt"])
def test_a_config_names_them(choice: str) -> None:
    given = {"checkpoint": "w", "saliency": "maskclip", "vocabulary": choice}
    assert parameters.resolve("methods", "text_click", given)["vocabulary"] == choice
    wanted = parameters.parameters_of(TextClick)["vocabulary"][0]
    assert isinstance(parameters.built(wanted, choice), str if choice in CHOICES else Path)


def test_the_embedded_networks_say_theirs() -> None:
    from harness.datasets.scenes.scenes import CLASSES

    folder = Path(__file__).resolve().parents[2] / "methods" / "weights"
    assert all(recorded_in(folder / f"scenes_{name}.safetensors") == CLASSES for name in ("text_click", "clip"))
