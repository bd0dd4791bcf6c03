from typing import Any

import pandas as pd
import pytest

CLICK = {"x": 3, "y": 5, "positive": True}
UNKNOWN = dict.fromkeys(["ranking", "seen", "clicks", "click_index", "iou", "boundary_iou"])


def row(method: str, instance: str, iou: float | None, **given: Any) -> dict[str, Any]:
    """A store's row; without an IoU, a failed one. The image is the instance's first letter."""
    known = {
        "run": "r",
        "dataset": "toy",
        "dataset_plugin": "scenes",
        "method": method,
        "ranking": "single",
        "image_id": instance[0],
        "instance_id": instance,
        "seen": instance[-1] in "13579",
        "clicks": [CLICK],
        "click_index": 1,
        "iou": iou,
        "boundary_iou": None if iou is None else iou / 2,
        "status": "ok",
        "error": None,
    }
    gone = {**UNKNOWN, "status": "failed", "error": "out of memory"} if iou is None else {}
    return known | gone | given


@pytest.fixture
def make_row() -> Any:
    return row


@pytest.fixture
def pair() -> pd.DataFrame:
    """Two methods on two images of two instances each; means 70 % and 50 %, and an even split."""
    text = {"A1": 0.9, "A2": 0.7, "B1": 0.8, "B2": 0.4}
    click = {"A1": 0.8, "A2": 0.3, "B1": 0.7, "B2": 0.2}
    listed = [row("ours", name, iou) for name, iou in text.items()]
    return pd.DataFrame([*listed, *(row("click", name, iou) for name, iou in click.items())])
