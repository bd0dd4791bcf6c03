"""Prompts that begin with a box or a mask, from the config to the rows; another run's masks; who is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import harness
import toy_runs
from fakes import Begins, Steady, Toys
from harness.clicks.other_masks import masks_of
from harness.config.run_config import load_run
from harness.masks import rle
from harness.plugins.interfaces import Method
from harness.report.asked import clicks_said
from harness.running.one_run import run
from harness.structures import Sample, UserError
from toy_runs import Quiet


def rows_of(method: Method, start: Any = None, clicks: int = 1, **given: Any) -> Any:
    asked = {"max_clicks": clicks, **({"start": start} if start else {})}
    return harness.evaluate(method, Toys(2), text="none", clicks=asked | given)


def test_a_rough_mask_reaches_the_method_and_the_row() -> None:
    method = Begins()
    rows = rows_of(method, "rough/v1", clicks=2, strategy="center/v1")
    assert set(rows["start"]) <= {"eroded", "dilated", "holed"} and rows["boxes"].isna().all()
    np.testing.assert_allclose(rows["start_iou"], rows["iou"])  # The answer is what it began with.
    by_round = [method.prompts[at : at + 2] for at in range(0, 8, 2)]
    for first, second in ((by_round[0], by_round[1]), (by_round[2], by_round[3])):
        for one, later in zip(first, second, strict=True):
            np.testing.assert_array_equal(one.initial, later.initial)
    assert set(rows["click_options"]) == {'{"start": {"options": {"how": "any", "strength": 0.5}, "rule": "rough/v1"}}'}


def test_the_first_click_corrects_the_mask_that_a_prompt_begins_with() -> None:
    rows = rows_of(Begins(), {"rule": "rough/v1", "options": {"how": "dilated"}}, strategy="center/v1")
    assert [click["positive"] for clicks in rows["clicks"] for click in clicks] == [False] * 4
    assert [click["positive"] for clicks in rows_of(Begins(), strategy="center/v1")["clicks"] for click in clicks] == [
        True
    ] * 4


def test_a_box_alone_stands_for_a_click() -> None:
    method = Begins()
    rows = rows_of(method, "box/v1", clicks=0)
    assert set(rows["click_index"]) == {0} and set(rows["start"]) == {"box"} and rows["click_strategy"].isna().all()
    assert all(len(prompt.boxes) == 1 and not prompt.clicks and prompt.initial is None for prompt in method.prompts)
    boxes = [(one["left"], one["top"], one["right"], one["bottom"]) for own in rows["boxes"] for one in own]
    asked = [(one.left, one.top, one.right, one.bottom) for prompt in method.prompts for one in prompt.boxes]
    assert boxes == asked
    np.testing.assert_allclose(rows["start_iou"], rows["iou"])


def test_every_draw_has_a_box_of_its_own_and_every_method_the_same() -> None:
    rows, again = (rows_of(Begins(), "box/v1", draws=3) for _ in range(2))
    left = [own[0]["left"] for own in rows["boxes"]]
    assert len(set(left)) == len(left) == 12
    assert left == [own[0]["left"] for own in again["boxes"]]


def test_draws_differ_by_what_prompts_begin_with() -> None:
    boxes = rows_of(Begins(), "box/v1", clicks=0, draws=3)
    assert len({own[0]["left"] for own in boxes["boxes"]}) == len(boxes) == 12 and set(boxes["draw"]) == {0, 1, 2}
    holed = {"rule": "rough/v1", "options": {"how": "holed"}}
    assert len(rows_of(Begins(), holed, draws=2, strategy="center/v1")) == 8
    eroded = {"rule": "rough/v1", "options": {"how": "eroded"}}
    tight = {"rule": "box/v1", "options": {"jitter": 0}}
    for start, clicks in ((eroded, 1), (tight, 1), (tight, 0)):
        with pytest.raises(UserError, match=r"draws: found 2; wanted 1"):
            rows_of(Begins(), start, clicks=clicks, draws=2, strategy="center/v1")


class Rough(Toys):
    """Toys whose instances come with a mask to start from."""

    def load(self, sample_id: str) -> Sample:
        sample = super().load(sample_id)
        begun = np.zeros(sample.size, bool)
        begun[:4] = True
        return replace(sample, instances=tuple(replace(one, initial=begun) for one in sample.instances))


def test_the_data_sets_own_mask_counts_and_a_start_takes_its_place() -> None:
    given = harness.evaluate(Begins(), Rough(1), text="none")
    assert set(given["start"]) == {"given"} and (given["start_iou"] == given["iou"]).all()
    boxed = harness.evaluate(method := Begins(), Rough(1), text="none", clicks={"start": "box/v1"})
    assert set(boxed["start"]) == {"box"} and all(prompt.initial is None for prompt in method.prompts)


def test_a_method_that_does_not_take_it_still_gets_the_data_sets_own_and_begins_with_nothing() -> None:
    assert set(harness.evaluate(Steady(), Rough(1), text="none")["status"]) == {"ok"}


def test_without_a_start_rows_have_none() -> None:
    rows = rows_of(Begins())
    assert rows[["start", "boxes", "start_iou"]].isna().all(axis=None)
    assert set(rows["click_options"]) == {'{"margin": 0.35}'}


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("box/v1", "'steady' is asked with clicks.start: box/v1, which fills in a prompt's `boxes`.*sam"),
        ("rough/v1", "fills in a prompt's `initial`.*ritm, simpleclick, focalclick"),
        ("box/v2", r"clicks.start.rule: no 'box/v2'. Did you mean 'box/v1'"),
        ({"rule": "box/v1", "options": {"jiter": 0.1}}, "options.jiter: box/v1 takes no such parameter"),
        ({"rule": "rough/v1", "options": {"strength": 2}}, "strength"),
        ({"rule": "rough/v1", "options": {"run": "runs/none", "method": "a"}}, "no results.parquet in run="),
    ],
)
def test_a_config_that_cannot_be_asked_is_refused(start: Any, said: str, tmp_path: Path) -> None:
    path = toy_runs.written(tmp_path / "a.yaml", clicks={"max_clicks": 1, "start": start})
    with pytest.raises(UserError, match=said):
        load_run(path)


@pytest.mark.slow
def test_a_rough_mask_alone_is_no_prompt(tmp_path: Path) -> None:
    path = toy_runs.written(
        tmp_path / "a.yaml",
        methods=[{"name": "ritm", "params": {"checkpoint": "methods/weights/scenes_ritm.safetensors"}}],
        clicks={"max_clicks": 0, "start": "rough/v1"},
    )
    with pytest.raises(UserError, match="needs a click"):
        load_run(path)


def test_tables_say_what_prompts_began_with() -> None:
    from harness.report.context import Asked

    start = {"rule": "box/v1", "options": {"jitter": 0.1}}
    asked = Asked("center/v1", {"start": start}, 2, "none")
    assert clicks_said(asked) == "2 clicks by center/v1, from box/v1 (jitter 0.1)"
    assert clicks_said(Asked("paper/v1", {"margin": 0.35, "start": start}, 0, "none", draws=2)) == (
        "no click, from box/v1 (jitter 0.1), 2 draws"
    )
    of_people = Asked("recorded/v1", {"file": "clicks", "dataset": "", "sha256": "0123456789abcdef"}, 1, "none")
    assert clicks_said(of_people) == "1 click by recorded/v1 (file clicks, sha256 0123456789ab)"


# Another method's masks.


def finished(folder: Path, **changed: Any) -> Path:
    """A results.parquet of two methods, of which one has two rankings, and two clicks."""
    rows = []
    for number in range(2):
        for instance in Toys(2).load(f"toy-{number}").instances:
            for click in (1, 2):
                known = {"dataset": "toys", "image_id": f"toy-{number}", "instance_id": instance.id, "draw": 0}
                about = {"click_index": click, "status": "ok", "height": 32, "width": 48}
                for method, ranking in (("a", "single"), ("b", "clip"), ("b", "confidence"), ("a", "oracle")):
                    mask = np.zeros((32, 48), bool)
                    mask[: 4 * click, : 10 + number + 10 * (ranking == "confidence")] = True
                    rows.append(known | about | {"method": method, "ranking": ranking, "mask": rle.encode(mask)})
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist([row | changed for row in rows]), folder / "results.parquet")
    return folder


def from_run(folder: Path, **options: Any) -> dict[str, Any]:
    return {"rule": "rough/v1", "options": {"run": str(folder), "method": "a", **options}}


def test_another_methods_last_masks_are_begun_with(tmp_path: Path) -> None:
    method = Begins()
    rows = rows_of(method, from_run(finished(tmp_path / "run")))
    assert set(rows["start"]) == {"run"}
    assert [int(prompt.initial.sum()) for prompt in method.prompts] == [80, 80, 88, 88]  # 8 rows of 10 and of 11
    (said,) = set(rows["click_options"])
    assert '"sha256": "' in said and str(tmp_path) not in said, "by content, wherever the folder lies"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "c"}, "no method labelled 'c'"),
        ({"method": "b"}, "found 2 of ranking: clip, confidence; wanted one"),
        ({"method": "b", "ranking": "size"}, "no ranking 'size'"),
        ({"dataset": "coco"}, "no dataset 'coco'"),
    ],
)
def test_masks_that_a_run_lacks_are_told_before_anything_runs(options: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        rows_of(Begins(), from_run(finished(tmp_path / "run"), **options))


def test_a_ranking_is_chosen_by_name(tmp_path: Path) -> None:
    for ranking, wide in (("clip", 10), ("confidence", 20)):
        method = Begins()
        rows = rows_of(method, from_run(finished(tmp_path / "run"), method="b", ranking=ranking))
        assert set(rows["status"]) == {"ok"}
        assert [int(prompt.initial.sum()) for prompt in method.prompts] == [8 * wide] * 2 + [8 * (wide + 1)] * 2
    assert not masks_of(finished(tmp_path / "run", status="failed"), "a").known


def test_an_instance_without_a_mask_there_fails_with_the_reason(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="4 of 4"):
        rows = rows_of(Begins(), from_run(finished(tmp_path / "run", instance_id="other")))
    assert set(rows["error"]) == {"start: 'a' in run has no mask of this instance"}
    with pytest.warns(UserWarning, match="4 of 4"):
        rows = rows_of(Begins(), from_run(finished(tmp_path / "run", height=48, width=32)))
    assert "has a mask of (48, 32); wanted (32, 48)" in rows["error"].iloc[0]


def test_an_instance_that_failed_at_its_last_click_there_has_no_mask(tmp_path: Path) -> None:
    path = finished(tmp_path / "run") / "results.parquet"
    rows = pq.read_table(path).to_pylist()
    first, second = ({**row, "click_index": 3, "status": "failed", "ranking": None, "mask": None} for row in rows[:9:8])
    # A failure of another draw, or of an instance of that name in another data set, is none of this instance.
    others = [second | {"draw": 1}, second | {"dataset": "others"}, second | {"method": "b"}]
    pq.write_table(pa.Table.from_pylist([*rows, first, *others]), path)
    with pytest.warns(UserWarning, match="1 of 4"):
        found = rows_of(Begins(), from_run(path.parent)).set_index("instance_id")["error"].dropna()
    assert found.to_dict() == {first["instance_id"]: "start: 'a' in run has no mask of this instance"}


def test_a_file_that_was_altered_after_its_run_is_refused(tmp_path: Path) -> None:
    folder = finished(tmp_path / "other")
    digest = hashlib.sha256((folder / "results.parquet").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"results": {"sha256": digest}}))
    assert masks_of(folder, "a").known
    finished(folder, height=3)
    with pytest.raises(UserError, match=r"results\.parquet is not the file that manifest\.json describes.*report "):
        masks_of(folder, "a")


def test_a_file_that_is_replaced_meanwhile_ends_it(tmp_path: Path) -> None:
    from harness.clicks.other_masks import masks_of

    folder = finished(tmp_path / "run")
    with pytest.raises(UserError, match="has changed since this run was planned"):
        masks_of(folder, "a", sha256="0" * 64)


@pytest.mark.slow
def test_a_run_from_boxes_is_resumed_and_another_start_is_refused(tmp_path: Path, run_name: str) -> None:
    method = {"name": "fakes:Begins", "label": "begins"}
    known = {"run": run_name, "methods": [method], "text": "none", "tables": ["refinement"]}
    path = toy_runs.written(tmp_path / "a.yaml", **known, clicks={"max_clicks": 0, "start": "box/v1"})
    run(load_run(path), Quiet())
    again = Quiet()
    run(load_run(path), again)
    assert again.images == 0
    other = {"max_clicks": 0, "start": {"rule": "box/v1", "options": {"jitter": 0.2}}}
    changed = toy_runs.written(tmp_path / "a.yaml", **known, clicks=other)
    with pytest.raises(UserError, match="clicks"):
        run(load_run(changed), Quiet())
