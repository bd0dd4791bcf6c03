"""One instance as a picture: a panel for each stored mask, the run's own scores, and data that are not there."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest
from matplotlib.figure import Figure

from harness import UserError
from harness.config.run_config import load_run
from harness.figures.source import Pictures
from harness.results.recorded import recorded_at
from harness.running.one_run import run
from harness.trying.explaining import Line, _shown, explained
from toy_runs import STEADY, WIDE, Quiet, written

pytestmark = pytest.mark.slow

FAILING = {"name": "fakes:Fragile", "label": "broken", "params": {"how": "raise", "at": 1}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three methods on two toys with two clicks an instance; one of them fails."""
    place = tmp_path_factory.mktemp("run")
    config = written(
        place / "a.yaml", methods=[STEADY, WIDE, FAILING], clicks={"max_clicks": 2}, limit=2, max_failures=1.0
    )
    run(load_run(config), Quiet(), runs=str(place / "runs"))
    return place / "runs" / "a"


def said(figure: Figure) -> list[list[str]]:
    """What stands below the panels, row by row."""
    panels = [one for one in figure.axes if one.images]
    rows: dict[float, list[str]] = {}
    for one in panels:
        rows.setdefault(one.get_subplotspec().rowspan.start, []).append(one.get_xlabel())  # type: ignore[union-attr]
    return [rows[key] for key in sorted(rows)]


def test_every_stored_mask_is_a_panel_with_its_score(folder: Path) -> None:
    known = recorded_at(folder)
    (figure,) = explained(known, "1b", Pictures(known.config))
    rows = known.rows()
    own = rows[(rows["instance_id"] == "1b") & (rows["status"] == "ok")].sort_values("click_index")
    wanted = sorted(
        [
            f"{click} click{'s' * int(click > 1)}: IoU {100 * iou:.1f}"
            for click, iou in zip(own["click_index"], own["iou"], strict=True)
        ]
    )
    head, *lines = said(figure)
    assert sorted(label for line in lines for label in line if "failed" not in label) == wanted
    assert ["1 click: failed"] in lines or ["no click: failed"] in lines
    assert len(head) == 2 and "1b (" in figure.get_suptitle()


def test_what_prompts_began_with_is_shown(tmp_path: Path) -> None:
    begins = {"name": "fakes:Begins", "label": "begins"}
    variants = [
        {"label": "box", "clicks": {"start": "box/v1", "max_clicks": 0}},
        {"label": "mask", "clicks": {"start": {"rule": "rough/v1", "options": {"how": "holed"}}, "max_clicks": 1}},
    ]
    run(
        load_run(written(tmp_path / "a.yaml", methods=[begins | {"variants": variants}], text="none", limit=2)),
        Quiet(),
        runs=str(tmp_path),
    )
    known = recorded_at(tmp_path / "a")
    (figure,) = explained(known, "1b", Pictures(known.config))
    rows = known.rows().query("instance_id == '1b'").set_index("method")
    began = {name.removeprefix("begins, "): f"{100 * value:.1f}" for name, value in rows["start_iou"].items()}
    labels = {label for line in said(figure)[1:] for label in line} | set(said(figure)[0])
    # The method answers with what it began with.
    assert f"no click, from a box of IoU {began['box']}: IoU {began['box']}" in labels
    assert f"1 click, from a holed mask of IoU {began['mask']}: IoU {began['mask']}" in labels
    (drawn,) = [patch for axes in figure.axes for patch in axes.patches]
    ((box,),) = rows["boxes"].dropna()
    assert drawn.get_bbox().bounds == pytest.approx(  # type: ignore[attr-defined]
        (box["left"], box["top"], box["right"] - box["left"], box["bottom"] - box["top"])
    )


def test_of_many_clicks_the_usual_rounds_and_the_last_are_shown() -> None:
    rounds = tuple({"click_index": click} for click in range(1, 18))
    assert [row["click_index"] for row in _shown(Line("a", rounds))] == [1, 2, 3, 5, 17]
    assert len(_shown(Line("a", rounds[:5]))) == 5


def test_an_instance_or_data_that_are_not_there_are_told(folder: Path) -> None:
    known = recorded_at(folder)
    with pytest.raises(UserError, match="no instance '1z' in its rows"):
        list(explained(known, "1z", Pictures(known.config)))
    pictures = Pictures(known.config)
    pictures._datasets["toys"] = None
    pictures.unread["toys"] = "no folder root=elsewhere"
    with pytest.raises(UserError, match="explain: toys: no folder root=elsewhere. Say where .*--data toys=FOLDER"):
        list(explained(known, "1b", pictures))


def test_the_command_writes_the_picture(
    folder: Path, tmp_path: Path, here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    place = tmp_path / "one.png"
    config = folder.parent.parent / "a.yaml"
    assert here("explain", folder, "1b", "-o", place, "--data", config).stdout.split() == [str(place)]
    assert min(PIL.Image.open(place).size) > 300
    found = here("explain", folder, "1b", "-o", tmp_path / "one.txt")
    assert found.returncode == 2 and "wanted a picture" in found.stderr
