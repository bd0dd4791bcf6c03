"""The parameters of every method that can be built here: with the embedded weights, or with random ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

import toy_snapshots
import toy_vlt
from harness import places

CONFIGS = [
    yaml.safe_load((places.ROOT / "configs" / f"{name}_scenes.yaml").read_text("utf-8"))
    for name in ("noc", "table8", "sam_vs_ours")
]
PARAMS = {entry["name"]: entry["params"] for config in CONFIGS for entry in config["methods"]}


def random_vlt(folder: Path) -> dict[str, str]:
    checkpoint, vectors = toy_vlt.checkpoint(folder / "vlt.h5"), toy_vlt.vectors(folder / "vectors.txt")
    return {"checkpoint": str(checkpoint), "vectors": str(vectors)}


def random_grounding_dino(folder: Path) -> dict[str, Any]:
    snapshot = toy_snapshots.grounding_dino(folder / "snapshot")
    return {"snapshot": str(snapshot), "sam_checkpoint": PARAMS["sam"]["checkpoint"], "box_threshold": 0.0}


def random_sam3(folder: Path) -> dict[str, Any]:
    return {"snapshot": str(toy_snapshots.sam3(folder / "snapshot")), "score_threshold": 0.0}


RANDOM = {
    "grounding_dino": random_grounding_dino,
    "sam3": random_sam3,
    "vlt": random_vlt,
}
"""Methods of which no weights are embedded: random ones in the authors' format."""

NOT_HERE = {"sam2", "sam_hq"}
"""Published sizes only: `python -m harness weights list` has them; their own tests load files of those formats."""
