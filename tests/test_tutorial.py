"""The files of docs/tutorial.md, written as they stand there, pass what is asked of such plugins."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from harness import Click, places
from harness.plugins import parameters
from harness.plugins.interfaces import checked_maps

PAGE = (places.ROOT / "docs" / "tutorial.md").read_text("utf-8")
FILES = dict(re.findall(r"`(\w+\.(?:py|yaml))`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in FILES:
        sys.modules.pop(Path(name).stem, None)


def commands() -> list[list[str]]:
    return [shlex.split(one) for one in re.findall(r"^python -m harness (.*)$", PAGE, re.MULTILINE)]


def test_every_block_has_a_file() -> None:
    assert len(FILES) == PAGE.count("```python") + PAGE.count("```yaml") == 4


def test_the_fast_method_passes_every_probe(here: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = here(*commands()[0])
    assert done.returncode == 0 and "method fast:SameColour: no probe failed" in done.stdout, done.stdout


def test_the_fast_method_finds_the_region_of_the_click() -> None:
    image = np.zeros((32, 48, 3), np.uint8)
    image[4:10, 5:20] = image[20:30, 5:20] = (250, 0, 0)
    method = parameters.build("methods", "fast:SameColour", {})
    found = method.predict(image, Click(6, 5), None).masks
    assert found.shape == (1, 32, 48) and found.sum() == 6 * 15 and found[0, 4:10, 5:20].all()


def test_the_saliency_sees_the_colour_that_the_text_names() -> None:
    image = np.zeros((32, 48, 3), np.uint8)
    image[:, :24], image[:, 24:] = (255, 0, 0), (0, 0, 255)
    saliency = parameters.build("saliency", "colours:Colours", {})
    (features,) = saliency.features([image])
    red, nothing = checked_maps(saliency, saliency.maps(features, ["a Red cup", "cup"], ()), 2, (32, 48))
    assert (red[:, :24] == 1).all() and (red[:, 24:] < 0.5).all() and (nothing == 0.5).all()


@pytest.mark.slow
def test_the_learner_trains_weights_that_its_method_takes(
    here: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, resumable: Path
) -> None:
    _, train, check = commands()
    recipe, weights = tmp_path / train[1], tmp_path / "tiny.safetensors"
    text = recipe.read_text().replace("weights/tiny.safetensors", str(weights)).replace("steps: 200", "steps: 5")
    recipe.write_text(text)
    done = here(train[0], recipe)
    assert done.returncode == 0 and weights.is_file(), done.stderr
    done = here(*(one.replace("weights/tiny.safetensors", str(weights)) for one in check))
    assert "tiny:Tiny" in done.stdout and "│ failed" not in done.stdout, done.stdout
