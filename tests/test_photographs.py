"""configs/photographs.yaml: read and planned as it is, and run on a photograph with weights of official formats."""

from __future__ import annotations

import csv
import shutil
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import PIL.Image
import pytest
import torch
import yaml
from harness.datasets.coco.coco import Coco
from harness.methods.ritm.network import RitmArchitecture, RitmNetwork
from harness.methods.simpleclick.network import (
    CLASS,
    Backbone,
    Neck,
    Segmenter,
    SimpleClickArchitecture,
    SimpleClickNetwork,
)
from segment_anything import sam_model_registry
from torch import nn

import real_data
from harness import places
from harness.config.run_config import RunConfig, load_run
from harness.jobs.plan import planned
from harness.results import load
from harness.running.one_run import run
from harness.structures import UserError
from harness.weights.catalogue import catalogue
from toy_runs import Quiet

CONFIG = places.ROOT / "configs" / "photographs.yaml"
CLICKS = {"use_disks": True, "norm_radius": 5, "with_prev_mask": True}


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


@pytest.mark.slow
@real_data.needs("coco")
@pytest.mark.parametrize(
    ("name", "rankings"),
    [("sam", ["clip", "confidence", "oracle", "saliency"]), ("ritm", ["single"]), ("simpleclick", ["single"])],
)
def test_a_photograph_is_asked_about(name: str, rankings: list[str], tmp_path: Path) -> None:
    photograph(tmp_path / "mine")
    {"sam": sam_files, "ritm": ritm_file, "simpleclick": simpleclick_file}[name](tmp_path)
    config = of_own(tmp_path, name)
    assert [len(job.sample_ids) for job in planned(config)] == [1]
    run(config, Quiet(), runs=str(tmp_path))
    rows = load(tmp_path / config.run)
    assert (rows["status"] == "ok").all(), rows["error"].dropna().unique()
    assert sorted(rows["ranking"]) == rankings


def of_own(folder: Path, name: str | None = None) -> RunConfig:
    """The config with its pictures and its weights in a folder of the test, of all methods or of one, on the CPU."""
    text = CONFIG.read_text("utf-8").replace("data/mine", str(folder / "mine"))
    written = yaml.safe_load(text.replace(": weights/", f": {folder}/"))
    if name:
        written["workers"] |= {"executor": "local"}
        written["methods"] = [one for one in written["methods"] if one["name"] == name]
        written["methods"][0]["params"]["device"] = "cpu"
    if name == "sam":  # The published 85 templates of every name would take a minute.
        written["methods"][0]["params"]["saliency"]["params"] |= {"device": "cpu", "templates": "plain"}
    path = folder / "photographs.yaml"
    path.write_text(yaml.safe_dump(written), "utf-8")
    return load_run(path)


def photograph(root: Path) -> None:
    """One of COCO's photographs, with one object, as a folder of one's own."""
    coco, rows = Coco(real_data.COCO, "val2017"), [["image", "category"]]
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for one in coco.sample_ids()[:1]:
        instance = max(coco.load(one).instances, key=lambda instance: instance.mask.sum())
        shutil.copy(real_data.COCO / "val2017" / f"{int(one):012d}.jpg", root / "images" / f"{one}.jpg")
        PIL.Image.fromarray(instance.mask.astype(np.uint8) * 255).save(root / "masks" / f"{one}.png")
        rows.append([f"{one}.jpg", instance.category])
    with (root / "texts.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


# Random weights in the formats of the published files.


def sam_files(folder: Path) -> None:
    """SAM's state_dict, as its authors publish it, and CLIP."""
    torch.manual_seed(0)
    torch.save(sam_model_registry["vit_b"]().state_dict(), folder / "sam_vit_b_01ec64.pth")
    openai_clip(folder / "ViT-B-16.pt")


def openai_clip(path: Path) -> None:
    """A TorchScript archive in float16 with three integers among its weights, as OpenAI publishes theirs."""
    torch.manual_seed(0)
    clip = open_clip.CLIP(**open_clip.get_model_config("ViT-B-16-quickgelu")).eval()
    for key, value in {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}.items():
        if hasattr(clip, key):
            delattr(clip, key)
        clip.register_buffer(key, torch.tensor(value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # What tracing fixes to constants does not matter: only weights are read.
        given = torch.zeros(1, 3, 224, 224), torch.zeros(1, 77, dtype=torch.long)
        torch.jit.save(torch.jit.trace(clip, given, check_trace=False).half(), str(path))


def isegm(path: Path, class_name: str, options: dict[str, Any], network: nn.Module) -> None:
    """Weights and the config of their network, as the authors of RITM and of SimpleClick publish theirs."""
    given = {key: {"type": "builtin", "value": value, "specified": True} for key, value in options.items()}
    norm = {"type": "class", "value": "torch.nn.modules.batchnorm.BatchNorm2d", "specified": False}
    config = {"class": class_name, "params": {**given, "norm_layer": norm}}
    torch.save({"state_dict": network.state_dict(), "config": config}, path)


def ritm_file(folder: Path) -> None:
    """RITM's HRNet-18."""
    torch.manual_seed(0)
    options = {"width": 18, "ocr_width": 64, "small": False, "use_leaky_relu": True, "use_rgb_conv": False, **CLICKS}
    network = RitmNetwork(RitmArchitecture(**options))  # type: ignore[arg-type]
    isegm(folder / "coco_lvis_h18_itermask.pth", "isegm.model.is_hrnet_model.HRNetModel", options, network)


def simpleclick_file(folder: Path) -> None:
    """SimpleClick's ViT-B."""
    torch.manual_seed(0)
    widths = (128, 256, 512, 1024)
    about = SimpleClickArchitecture(
        **CLICKS,  # type: ignore[arg-type]
        backbone_params=Backbone(768, 12, 12),
        neck_params=Neck(768, widths),
        head_params=Segmenter(widths, 256),
    )
    options = asdict(about)
    for ours in ("group", "window"):
        del options["backbone_params"][ours]
    options["head_params"]["loss_decode"] = None
    isegm(folder / "cocolvis_vit_base.pth", CLASS, options, SimpleClickNetwork(about))
