"""configs/photographs.yaml: read and planned as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import places
from harness.config.run_config import RunConfig, load_run
from harness.jobs.plan import planned
from harness.structures import UserError
from harness.weights.catalogue import catalogue

CONFIG = places.ROOT / "configs" / "photographs.yaml"


def test_it_names_published_files_and_trains_nothing() -> None:
    config = load_run(CONFIG)
    assert [(one.name, one.train) for one in config.methods] == [
        ("sam", None),
        ("ritm", None),
        ("simpleclick", None),
    ]
    sam = config.methods[0].params
    assert sam["rankings"] == ["confidence", "clip", "saliency"] and sam["saliency"]["name"] == "maskclip"
    files = {Path(value).name for value in named(yaml.safe_load(CONFIG.read_text("utf-8"))["methods"])}
    fetched = {line.split()[6] for line in CONFIG.read_text("utf-8").splitlines() if "weights fetch" in line}
    assert files == {catalogue()[name].file for name in fetched}


def named(value: Any) -> list[str]:
    """Every file of weights that parameters name, at any depth."""
    if isinstance(value, dict | list):
        return [path for one in (value.values() if isinstance(value, dict) else value) for path in named(one)]
    return [value] if str(value).endswith((".pth", ".pt")) else []


def test_what_is_not_there_is_said_with_how_to_get_it(tmp_path: Path) -> None:
    config = of_own(tmp_path)
    with pytest.raises(UserError) as told:
        planned(config)
    for name in ("sam_vit_b", "clip_vit_b_16", "ritm_coco_lvis_h18", "simpleclick_coco_lvis_vit_base"):
        assert f"python -m harness weights fetch {name}" in str(told.value)


def of_own(folder: Path) -> RunConfig:
    """The config with its pictures and its weights in a folder of the test."""
    path = folder / "photographs.yaml"
    text = CONFIG.read_text("utf-8").replace("data/mine", str(folder / "mine"))
    path.write_text(text.replace(": weights/", f": {folder}/"), "utf-8")
    return load_run(path)
