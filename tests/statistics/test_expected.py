"""How many instances each method must have rows of, counted by hand."""

from typing import Any

import pandas as pd

from harness.statistics.expected import expected_of, lacking, told_of
from harness.statistics.final_clicks import FinalClicks
from harness.structures import NOT_LISTED


def test_all_that_any_row_names_is_expected_of_every_method(pair: pd.DataFrame) -> None:
    assert expected_of(pair.iloc[1:]) == {("ours", "toy"): 4, ("click", "toy"): 4}
    assert lacking(FinalClicks.of(pair.iloc[1:]), expected_of(pair.iloc[1:])) == {
        ("ours", "toy"): 1,
        ("click", "toy"): 0,
    }


def test_other_runs_tell_of_more(pair: pd.DataFrame) -> None:
    alone = pair[(pair["method"] == "ours") & (pair["instance_id"] != "B1")]
    assert expected_of(alone) == {("ours", "toy"): 3}
    assert expected_of(alone, [pair]) == {("ours", "toy"): 4}


def test_one_row_for_all_of_an_image_is_all_that_is_expected_there(pair: pd.DataFrame, make_row: Any) -> None:
    """Image A could not be opened for one method, and nobody could list it."""
    ours, others = (pair[(pair["method"] == "ours") == own] for own in (True, False))
    image = ours["image_id"].iloc[0]
    stands = make_row("ours", "A1", None) | {"image_id": image, "instance_id": image + NOT_LISTED}
    rows = pd.concat([ours[ours["image_id"] != image], pd.DataFrame([stands]), others])
    assert expected_of(rows) == {("ours", "toy"): 3, ("click", "toy"): 4}
    assert set(lacking(FinalClicks.of(rows), expected_of(rows)).values()) == {0}
    only = pd.DataFrame([stands, stands | {"method": "click"}])
    assert expected_of(only) == {("ours", "toy"): 1, ("click", "toy"): 1}


def test_images_that_nobody_could_list_count_one_by_one(pair: pd.DataFrame, make_row: Any) -> None:
    """Each method's first image is A, of two instances; that of `ours`, and two more, could not be opened."""
    ours, others = (pair[(pair["method"] == "ours") == own] for own in (True, False))
    image = ours["image_id"].iloc[0]
    stands = [
        make_row("ours", "A1", None) | {"image_id": one, "instance_id": one + NOT_LISTED} for one in (image, "X", "Y")
    ]
    rows = pd.concat([ours[ours["image_id"] != image], pd.DataFrame(stands), others])
    # `ours` has all that it can: a row for A, the two of B, and one each for X and Y. The other method lacks X and Y.
    assert expected_of(rows) == {("ours", "toy"): 5, ("click", "toy"): 6}
    assert lacking(FinalClicks.of(rows), expected_of(rows)) == {("ours", "toy"): 0, ("click", "toy"): 2}
    assert told_of(FinalClicks.of(rows), "iou") == {"toy": 6}


def test_the_ranking_that_lacks_most_tells(make_row: Any) -> None:
    rows = [make_row("SAM", name, 0.5, ranking=one) for one in ("clip", "confidence") for name in ("A1", "A2", "B1")]
    assert lacking(FinalClicks.of(pd.DataFrame(rows[:-2])), {("SAM", "toy"): 3, ("gone", "toy"): 3}) == {
        ("SAM", "toy"): 2,
        ("gone", "toy"): 3,
    }
