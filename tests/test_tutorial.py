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
FILES = dict(re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


def test_every_block_of_python_has_a_file() -> None:
    assert len(FILES) == PAGE.count("```python") == 2


def test_the_fast_method_passes_every_probe(here: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    (command,) = re.findall(r"^python -m harness (check .*)$", PAGE, re.MULTILINE)
    done = here(*shlex.split(command))
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
