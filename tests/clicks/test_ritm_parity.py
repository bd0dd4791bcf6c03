"""The whole loop beside RITM's own: the same clicks, IoUs and NoC on GrabCut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from harness.methods.focalclick.focalclick import FocalClick
from harness.methods.simpleclick.simpleclick import SimpleClick

import real_data
from harness.config.click_protocol import Clicks
from harness.config.wording import Text
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.protocol import Names, Protocol
from harness.plugins import parameters
from harness.plugins.interfaces import Method
from harness.statistics.clicks_needed import sequences
from harness.structures import Click, Image, Prediction, Record

ANSWERS = real_data.PARITY / "ritm_grabcut_clicks.json"
"""Clicks and IoUs of RITM's `Clicker` and `get_iou` at b9b4460 in its loop with the predictor below, and its NoC."""

pytestmark = [real_data.needs("parity", "grabcut"), pytest.mark.slow]


class Nearest(Method):
    """The pixels whose nearest click, the first of equals, is positive and at most 45 pixels away."""

    def predict(self, image: Image, click: Click | Sequence[Click], text: str | None) -> Prediction:
        clicks = [click] if isinstance(click, Click) else click
        nearest, mask = np.full(image.shape[:2], 45**2 + 1, np.int32), np.zeros(image.shape[:2], bool)
        for one in clicks:
            top, left = max(0, one.y - 45), max(0, one.x - 45)
            around = np.s_[top : one.y + 46, left : one.x + 46]
            y, x = np.indices(mask[around].shape, np.int32)
            squared = (y + top - one.y) ** 2 + (x + left - one.x) ** 2
            mask[around][squared < nearest[around]] = one.positive
            nearest[around] = np.minimum(nearest[around], squared)
        return Prediction(mask[None])


class NearestSimpleClick(SimpleClick):
    """SimpleClick's way through a session, with the same predictor in the place of its network."""

    def __init__(self) -> None:
        self.device, self.zoom, self.flip, self.threshold = torch.device("cpu"), None, False, 0.49
        self.clicks_limit, self.prompts_per_batch, self.max_megapixels = None, 8, 16

    def _probabilities(self, batch: Sequence[Any]) -> Any:
        return torch.stack([nearest_of(question, question.state.size) for question in batch])[:, None]


class NearestFocalClick(FocalClick):
    """Likewise FocalClick's; the predictor stands for both networks."""

    def __init__(self) -> None:
        self.device, self.threshold, self.progressive_merge = torch.device("cpu"), 0.5, True
        self.target_crop_ratio, self.prompts_per_batch = 1.4, 8

    def _probabilities(self, batch: Sequence[Any]) -> list[Any]:
        return [nearest_of(question, question.image.size).numpy() for question in batch]


def nearest_of(question: Any, size: tuple[int, int]) -> torch.Tensor:
    """The predictor's mask as probabilities of 0 and 1."""
    (mask,) = Nearest().predict(np.empty((*size, 3), np.uint8), question.clicks, None).masks
    return torch.from_numpy(mask.astype(np.float32))


@pytest.fixture(scope="module")
def official() -> dict[str, Any]:
    answers: dict[str, Any] = json.loads(ANSWERS.read_text())
    return answers


@pytest.fixture(scope="module")
def rows(official: dict[str, Any]) -> dict[str, list[Record]]:
    """Sample -> its twenty rows."""
    dataset = parameters.build("datasets", "grabcut", {"root": real_data.GRABCUT})
    names = Names("nearest", "nearest", "grabcut", "grabcut")
    clicks = Clicks(strategy="ritm/v1", max_clicks=official["max_clicks"])
    protocol = Protocol("parity", 0, clicks, Text(rule="none"), ("iou",))
    found: dict[str, list[Record]] = {}
    for record in Evaluation(Nearest(), dataset, [(names, protocol)]).records(list(official["samples"])):
        assert record.status == "ok", record.error
        found.setdefault(record.image_id, []).append(record)
    return found


def test_the_same_clicks_and_ious(official: dict[str, Any], rows: dict[str, list[Record]]) -> None:
    assert len(rows) == 33
    for name, expected in official["samples"].items():
        clicks = [[click.positive, click.y, click.x] for click in rows[name][-1].clicks]
        assert clicks == expected["clicks_positive_row_column"], name
        ious = [np.float32(row.metrics["iou"]) for row in rows[name]]
        assert ious == [np.float32(iou) for iou in expected["ious"]], name


@pytest.mark.parametrize("method", [NearestSimpleClick, NearestFocalClick])
def test_the_same_clicks_through_the_sessions_of_click_systems(method: type[Method], official: dict[str, Any]) -> None:
    dataset = parameters.build("datasets", "grabcut", {"root": real_data.GRABCUT})
    protocol = Protocol("parity", 0, Clicks(strategy="ritm/v1", max_clicks=20), Text(rule="none"), ("iou",))
    some = list(official["samples"])[::4]
    records = Evaluation(method(), dataset, [(Names("a", "a", "grabcut", "grabcut"), protocol)]).records(some)
    found = {record.image_id: record.clicks for record in records}  # the last round's
    for name in some:
        clicks = [[click.positive, click.y, click.x] for click in found[name]]
        assert clicks == official["samples"][name]["clicks_positive_row_column"], name


def test_the_same_noc(official: dict[str, Any], rows: dict[str, list[Record]]) -> None:
    kept = ("dataset", "image_id", "instance_id", "click_index", "status")
    records = [row for sample in rows.values() for row in sample]
    lines = [{**{key: getattr(row, key) for key in kept}, **row.metrics} for row in records]
    found, qualities = sequences(pd.DataFrame(lines)), (0.8, 0.85, 0.9)
    assert [found.noc(quality) for quality in qualities] == official["noc_80_85_90"]
    assert [found.nof_ritm(quality) for quality in qualities] == official["over_max_80_85_90"]


def test_center_clicks_as_ritm_while_there_is_something_wrong(rows: dict[str, list[Record]]) -> None:
    dataset = parameters.build("datasets", "grabcut", {"root": real_data.GRABCUT})
    protocol = Protocol("parity", 0, Clicks(strategy="center/v1", max_clicks=4), Text(rule="none"), ("iou",))
    names = Names("nearest", "nearest", "grabcut", "grabcut")
    some = list(rows)[::8]
    records = list(Evaluation(Nearest(), dataset, [(names, protocol)]).records(some))
    assert [record.clicks for record in records] == [row.clicks for name in some for row in rows[name][:4]]
