"""The files of docs/tutorial.md, written as they stand there, pass what is asked of such plugins."""

from __future__ import annotations

import os
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
FIRST = 7
"""Commands of the ten minutes, before those of the examples."""
ROOT = {"PYTHONPATH": str(places.ROOT)}
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
    assert len(FILES) == PAGE.count("```python") + PAGE.count("```yaml") == 7


@pytest.mark.slow
def test_a_method_of_one_s_own_on_pictures_of_one_s_own(
    here: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ten minutes, without Ray: each command as it is typed, and the table and the failure that are printed."""
    check, run, compared, _, broken, again, board = commands()[:7]
    subprocess.run([sys.executable, "pictures.py"], cwd=tmp_path, check=True, env=dict(os.environ, **ROOT))
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    printed = {key: pytest.approx(mean, abs=0.3) for key, mean in scores(PAGE).items()}  # Processors round otherwise.
    local = ["--set", "workers.executor=local", "--runs", str(tmp_path / "runs")]
    assert "grow:Grow: no probe failed" in here(*check).stdout
    done = here(*run, *local)
    assert done.returncode == 0 and scores(done.stdout) == printed and len(printed) == 4
    assert differences(here(*compared).stdout) == pytest.approx(differences(PAGE), abs=0.3)
    assert here(*board).returncode == 0 and (tmp_path / "board.html").is_file()

    grow = tmp_path / "grow.py"
    grow.write_text(FILES["grow.py"].replace("found[None, 1:-1, 1:-1] > 0", "found[None] > 0"))
    sys.modules.pop("grow")
    done = here(*broken, *local)
    (failure,) = re.findall("^Grow on my pictures: the first failure: (.*)$", PAGE, re.MULTILINE)
    assert done.returncode == 1 and failure in done.stderr
    grow.write_text(FILES["grow.py"])
    sys.modules.pop("grow")
    done = here(*again, *local)
    assert done.returncode == 0 and scores(done.stdout) == printed


def scores(text: str) -> dict[tuple[str, ...], float]:
    """The table's mIoU by method and ranking."""
    found = re.findall(r"^my pictures .*?(SAM tiny|Click only|Grow)[¹ ]+(\w+) [² ]*([\d.]+)", text, re.MULTILINE)
    return {(method, ranking): float(mean) for method, ranking, mean in found}


def differences(text: str) -> list[float]:
    """Both means of the comparison's first line, and their difference."""
    return [float(one) for one in re.findall(r"^all +([\d.]+) +([\d.]+) +([-+][\d.]+)", text, re.MULTILINE)[0]]


@pytest.mark.slow
def test_the_fast_method_passes_every_probe(here: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = here(*commands()[FIRST])
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
    _, train, check = commands()[FIRST:]
    recipe, weights = tmp_path / train[1], tmp_path / "tiny.safetensors"
    text = recipe.read_text().replace("weights/tiny.safetensors", str(weights)).replace("steps: 200", "steps: 5")
    recipe.write_text(text)
    done = here(train[0], recipe)
    assert done.returncode == 0 and weights.is_file(), done.stderr
    done = here(*(one.replace("weights/tiny.safetensors", str(weights)) for one in check))
    assert "tiny:Tiny" in done.stdout and "│ failed" not in done.stdout, done.stdout
