"""Masks of a file on a config's data set: which run scores them, and what is said of a file that does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness import UserError
from harness.config.run_config import RunConfig, load_run
from harness.jobs.predictions import scoring
from toy_runs import STEADY, TOYS, WIDE, written

BOX = [[4, 5, 14, 5, 14, 11, 4, 11]]


def config(folder: Path, **changed: Any) -> RunConfig:
    known: dict[str, Any] = {"methods": [STEADY, WIDE], "clicks": {"strategy": "center/v1", "max_clicks": 3}}
    return load_run(written(folder / "a.yaml", **known | changed))


def results(folder: Path, *content: dict[str, Any], name: str = "by hand.json") -> Path:
    path = folder / name
    known = {"image_id": "toy-1", "instance_id": "1a", "segmentation": BOX}
    path.write_text(json.dumps([known | one for one in content]))
    return path


def test_the_run_is_the_configs_with_the_file_in_place_of_its_methods(tmp_path: Path) -> None:
    whole = config(tmp_path, seed=3, text="none", baseline="wide")
    asked = scoring(whole, results(tmp_path, {}))
    (method,) = asked.methods
    assert (asked.run, method.name, method.label) == ("a_by_hand", "predictions", "by hand")
    assert (asked.seed, asked.text, asked.metrics, asked.datasets) == (3, whole.text, whole.metrics, whole.datasets)
    assert asked.clicks == whole.clicks.model_copy(update={"max_clicks": 1}) and asked.baseline == ()
    named = scoring(whole, results(tmp_path, {}), name="Mine", run="other", uses_text=True)
    assert (named.run, named.methods[0].label, named.methods[0].uses_text) == ("other", "Mine", True)


@pytest.mark.parametrize(("given", "asked"), [((1,), 1), ((1, 2), 2), ((1, 2, 3, 4, 5), 3), ((0,), 0)])
def test_as_many_clicks_are_asked_for_as_the_file_tells_of(tmp_path: Path, given: tuple[int, ...], asked: int) -> None:
    file = results(tmp_path, *({"click_index": number} for number in given))
    assert scoring(config(tmp_path), file).clicks.max_clicks == asked


def test_draws_are_asked_for_where_the_file_has_them(tmp_path: Path) -> None:
    drawn = config(tmp_path, clicks={"draws": 3})
    assert scoring(drawn, results(tmp_path, {})).clicks.draws == 1
    assert scoring(drawn, results(tmp_path, {"draw": 0}, {"draw": 1})).clicks.draws == 3


def test_masks_that_no_prompt_asks_for_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scoring(config(tmp_path), results(tmp_path, {"click_index": 1}, {"click_index": 3}, {"instance_id": "1b"}))
    assert not caplog.messages
    scoring(config(tmp_path), results(tmp_path, {"click_index": 1}, {"click_index": 4}, {"draw": 1}))
    (said,) = caplog.messages
    assert "2 of 3 masks are not scored, for the config asks for 3 clicks and 1 draw; the first is result 1." in said
    caplog.clear()
    pairs = config(tmp_path, clicks={"strategy": "shared/v1", "max_clicks": 1})
    scoring(pairs, results(tmp_path, {"draw": 0}, {"draw": 1}))
    assert not caplog.messages


def test_masks_made_from_a_box_alone_are_scored_as_begun_with_it(tmp_path: Path) -> None:
    begins = {"name": "fakes:Begins", "label": "begins"}
    boxed = config(tmp_path, methods=[begins], clicks={"max_clicks": 0, "start": "box/v1"}, text="none")
    assert scoring(boxed, results(tmp_path, {})).clicks == boxed.clicks


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"image_id": "toy-9", "instance_id": "9a"}, "result 1: no image 'toy-9' in toys. Did you mean"),
        ({"instance_id": "1c"}, "no instance '1c' in image 'toy-1' of data set 'toys'. There are: 1a, 1b."),
        ({"instance_id": "1bb"}, "result 1: no instance '1bb' in image 'toy-1' of data set 'toys'. Did you mean '1b'"),
        ({"image_id": "toy-2", "instance_id": "1b"}, "no instance '1b' in image 'toy-2'"),
        (
            {"instance_id": "1b", "segmentation": {"size": [48, 32], "counts": "0"}},
            r"result 1: found run lengths of size \[48, 32\]; wanted \[32, 48\], the image's .* Resize the masks",
        ),
    ],
)
def test_what_does_not_fit_the_data_set_is_said_before_anything_runs(
    tmp_path: Path, content: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        scoring(config(tmp_path), results(tmp_path, {}, content))


def test_the_data_set_is_that_which_has_the_images(tmp_path: Path) -> None:
    more = {"name": "fakes:Toys", "label": "more", "params": {"count": 9}}
    both = config(tmp_path, datasets=[TOYS, more])
    eighth = results(tmp_path, {"image_id": "toy-8", "instance_id": "8a"})
    assert [one.label for one in scoring(both, eighth).datasets] == ["more"]
    first = results(tmp_path, {})
    with pytest.raises(UserError, match=r"its images are in several data sets of the config \(toys, more\); say"):
        scoring(both, first)
    assert [one.label for one in scoring(both, first, dataset="toys").datasets] == ["toys"]
    with pytest.raises(UserError, match="--dataset: no data set labelled 'toy' in the config. Did you mean 'toys'"):
        scoring(both, first, dataset="toy")


def test_a_name_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--run ../x: wanted letters"):
        scoring(config(tmp_path), results(tmp_path, {}), run="../x")
