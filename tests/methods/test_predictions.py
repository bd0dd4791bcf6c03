"""Masks of a file as a method: what each prompt gets, and that a run's masks, exported and scored, score the same."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from harness.methods.predictions import Predictions
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import fakes
import harness
from harness import Click, Prompt, UserError
from harness.config.run_config import load_run
from harness.jobs.predictions import scoring
from harness.masks import rle
from harness.results.coco_export import coco_results
from harness.results.recorded import recorded_at
from harness.running.one_run import run
from toy_runs import STEADY, WIDE, Quiet, written

Command = Callable[..., subprocess.CompletedProcess[str]]
SIZE = (32, 48)
CLICKED = (Click(3, 4),)


def saved(folder: Path, *content: dict[str, Any]) -> Path:
    path = folder / "results.json"
    path.write_text(json.dumps([{"image_id": "toy-1", "instance_id": "1a"} | one for one in content]))
    return path


def mask(*box: int) -> dict[str, Any]:
    x0, y0, x1, y1 = box
    drawn = np.zeros(SIZE, bool)
    drawn[y0:y1, x0:x1] = True
    return {"size": [*SIZE], "counts": rle.encode(drawn).decode("ascii")}


def answered(file: Path, *prompts: Prompt) -> Any:
    method = Predictions(file)
    (state,) = method.encode([np.zeros((*SIZE, 3), np.uint8)])
    return method.segment([(state, prompts)])[0]


def test_a_prompt_gets_the_mask_of_its_instance(tmp_path: Path) -> None:
    square = [[4.0, 5.0, 14.0, 5.0, 14.0, 11.0, 4.0, 11.0]]
    known = [{"segmentation": square}, {"instance_id": "1b", "segmentation": mask(0, 0, 0, 0)}]
    one, other = answered(
        saved(tmp_path, *known), Prompt(CLICKED, instance="1a"), Prompt(CLICKED, instance="1b", draw=2)
    )
    assert one.masks.shape == (1, *SIZE) and one.masks.sum() == 60 and not one.scores
    assert one.masks[0, 5:11, 4:14].all()
    assert not other.masks.any()  # an empty mask is an answer, too


def test_candidates_are_ranked_by_their_scores(tmp_path: Path) -> None:
    known = [{"segmentation": mask(0, 0, 5, 5), "score": 0.2}, {"segmentation": mask(0, 0, 9, 9), "score": 0.7}]
    (found,) = answered(saved(tmp_path, *known), Prompt(CLICKED, instance="1a"))
    assert found.masks.sum((1, 2)).tolist() == [25, 81] and found.scores == {"confidence": [0.2, 0.7]}


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (Prompt(CLICKED), "has masks only for instances of a data set"),
        (Prompt(CLICKED, instance="1b"), "results.json has no mask of instance '1b'."),
        (
            Prompt(CLICKED, instance="1a"),
            r"result 0: found run lengths of size \[4, 4\]; wanted \[32, 48\]",
        ),
    ],
)
def test_what_the_file_lacks_is_said(tmp_path: Path, prompt: Prompt, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        answered(saved(tmp_path, {"segmentation": {"size": [4, 4], "counts": "0"}}), prompt)


def ran(folder: Path, **changed: Any) -> Path:
    """A run of two methods on six toys; its folder."""
    run(load_run(written(folder / "a.yaml", **{"methods": [STEADY, WIDE]} | changed)), Quiet(), runs=str(folder))
    return folder / "a"


def scores(folder: Path, method: str, ranking: str) -> pd.DataFrame:
    rows = harness.load(folder, masks=True)
    own = rows[rows["method"].eq(method) & rows["ranking"].eq(ranking)]
    return own.set_index(["instance_id", "draw", "click_index"])[["iou", "hit", "clicks", "mask"]]


@pytest.mark.slow
def test_a_runs_masks_score_the_same_when_they_come_back(tmp_path: Path, here: Command) -> None:
    folder = ran(tmp_path)
    assert here("export", folder, "--coco", tmp_path / "wide.json", "--method", "wide").returncode == 0
    done = here("score", tmp_path / "wide.json", tmp_path / "a.yaml", "--label", "wide again", "--runs", tmp_path)
    assert done.returncode == 0 and "wide again" in done.stdout
    again = scores(tmp_path / "a_wide_again", "wide again", "single")
    assert len(again) == 12
    pd.testing.assert_frame_equal(again, scores(folder, "wide", "confidence"))
    compared = here("compare", f"{folder}:wide (confidence)", f"{tmp_path}/a_wide_again:wide again")
    assert compared.returncode == 0 and "+0.00" in compared.stdout
    assert "wide again" in here("leaderboard", folder, tmp_path / "a_wide_again").stdout
    assert here("report", tmp_path / "a_wide_again").returncode == 0
    assert here("page", tmp_path / "a_wide_again").returncode == 0
    # Other masks under the same name are other weights.
    written_by_hand = json.loads((tmp_path / "wide.json").read_text())[:-1]
    (tmp_path / "wide.json").write_text(json.dumps(written_by_hand))
    refused = here("score", tmp_path / "wide.json", tmp_path / "a.yaml", "--label", "wide again", "--runs", tmp_path)
    assert refused.returncode == 2 and "weights" in refused.stderr


@pytest.mark.slow
def test_an_instance_without_a_class_is_exported_and_scored(tmp_path: Path, here: Command) -> None:
    nameless = {"name": "fakes:Nameless", "label": "toys", "params": {"count": 2}}
    folder = ran(tmp_path, datasets=[nameless], methods=[STEADY], metrics=["iou"])
    results = coco_results(recorded_at(folder))
    assert [(one["instance_id"], one["category_id"], one["category"]) for one in results] == [
        ("0a", 1, "small"), ("0b", 0, ""), ("1a", 1, "small"), ("1b", 0, "")
    ]  # fmt: skip
    (tmp_path / "annotations.json").write_text(json.dumps({"categories": [{"id": 18, "name": "small"}]}))
    results = coco_results(recorded_at(folder), annotations=tmp_path / "annotations.json")
    assert [one["category_id"] for one in results] == [18, 0, 18, 0]
    (tmp_path / "back.json").write_text(json.dumps(results))
    done = here("score", tmp_path / "back.json", tmp_path / "a.yaml", "--label", "back", "--runs", tmp_path)
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(scores(tmp_path / "a_back", "back", "single"), scores(folder, "steady", "confidence"))


@pytest.mark.slow
def test_each_click_and_draw_comes_back_with_the_same_clicks(tmp_path: Path) -> None:
    folder = ran(tmp_path, clicks={"strategy": "center/v1", "max_clicks": 3}, methods=[STEADY], metrics=["iou"])
    results = coco_results(recorded_at(folder), every_click=True)
    assert len(results) == 36 and results[0].keys() >= {"click_index", "draw"}
    path = tmp_path / "all.json"
    path.write_text(json.dumps(results))
    # The next click goes where the last mask was wrong: only with the same masks are the clicks the same.
    config = load_run(tmp_path / "a.yaml")
    run(scoring(config, path, run="again"), Quiet(), runs=str(tmp_path))
    first, again = scores(folder, "steady", "confidence"), scores(tmp_path / "again", "all", "single")
    pd.testing.assert_frame_equal(again, first)
    assert first.index.get_level_values("click_index").max() == 3


@pytest.mark.slow
def test_an_instance_without_a_mask_is_a_failed_row_and_stops_nothing(tmp_path: Path, here: Command) -> None:
    written(tmp_path / "a.yaml")
    file = saved(tmp_path, {"segmentation": mask(4, 5, 15, 11)})
    done = here("score", file, tmp_path / "a.yaml", "--runs", tmp_path)
    assert done.returncode == 0 and "11 of 12 instances failed" in done.stderr
    rows = harness.load(tmp_path / "a_results").set_index("instance_id")
    assert rows["iou"]["1a"] == 1.0 and rows["status"].eq("ok").sum() == 1
    assert "results.json has no mask of instance '0a'." in rows["error"]["0a"]


@pytest.mark.slow
def test_cocoeval_reads_the_file_and_finds_the_same_ious(tmp_path: Path) -> None:
    folder = ran(tmp_path, metrics=["iou"])
    path = tmp_path / "wide.json"
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps(annotations()))
    path.write_text(json.dumps(coco_results(recorded_at(folder), method="wide", annotations=truth)))
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(str(truth))
        evaluation = COCOeval(known, known.loadRes(str(path)), "segm")
        evaluation.evaluate()
    rows = ious(folder)
    assert len(rows) == 12
    for instance, iou in rows.items():
        image, category = f"toy-{str(instance)[:-1]}", {"a": 30, "b": 70}[str(instance)[-1]]
        assert evaluation.ious[image, category] == pytest.approx(np.array([[iou]]), abs=1e-12)


def ious(folder: Path) -> pd.Series[float]:
    rows = harness.load(folder)
    return rows[rows["method"].eq("wide") & rows["ranking"].eq("confidence")].set_index("instance_id")["iou"]


def annotations() -> dict[str, Any]:
    """The toys' ground truth as COCO has it, with category ids that are no plain count."""
    toys = fakes.Toys(6)
    samples = [toys.load(name) for name in toys.sample_ids()]
    ids = {"small": 30, "large": 70}
    instances = [(sample, one) for sample in samples for one in sample.instances]
    return {
        "images": [{"id": sample.id, "height": SIZE[0], "width": SIZE[1]} for sample in samples],
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
        "annotations": [
            {
                "id": number,
                "image_id": sample.id,
                "category_id": ids[one.category],
                "segmentation": {"size": [*SIZE], "counts": rle.encode(one.mask).decode("ascii")},
                "area": int(one.mask.sum()),
                "iscrowd": 0,
                "bbox": [0, 0, 1, 1],
            }
            for number, (sample, one) in enumerate(instances, start=1)
        ],
    }


@pytest.mark.slow
def test_an_instance_that_failed_at_a_later_click_is_not_exported_as_if_it_had_not(tmp_path: Path) -> None:
    asked = {"clicks": {"strategy": "center/v1", "max_clicks": 2}, "metrics": ["iou"], "limit": 2}
    known = recorded_at(ran(tmp_path, methods=[{"name": "fakes:Tires", "label": "tires"}], **asked))
    # "small" is the second class, though no mask of "large" is left.
    assert [(one["instance_id"], one["category_id"]) for one in coco_results(known)] == [("1a", 2)]
    each = coco_results(known, every_click=True)
    assert [(one["instance_id"], one["click_index"]) for one in each] == [("0a", 1), ("0b", 1), ("1a", 1), ("1a", 2)]


@pytest.mark.slow
def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    known = recorded_at(ran(tmp_path, metrics=["iou"], limit=1))
    with pytest.raises(UserError, match="found several labels for --method: steady, wide; .* Name it: --method LABEL"):
        coco_results(known)
    with pytest.raises(UserError, match="--method: no 'wid' in .*Did you mean 'wide'"):
        coco_results(known, method="wid")
    with pytest.raises(UserError, match="--ranking: no 'clip' in these rows. There are: confidence, oracle, size"):
        coco_results(known, method="wide", ranking="clip")
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"categories": [{"id": 1, "name": "small"}]}))
    with pytest.raises(UserError, match="no category 'large'. There are: small"):
        coco_results(known, method="wide", annotations=other)
    other.write_text("[]")
    with pytest.raises(UserError, match="wanted COCO's annotation file"):
        coco_results(known, method="wide", annotations=other)
    largest = coco_results(known, method="wide", ranking="size")
    assert [one["category_id"] for one in largest] == [2, 1] and [one["image_id"] for one in largest] == ["toy-0"] * 2
