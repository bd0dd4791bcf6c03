"""One click in two objects: which pairs there are, which pixel is clicked, and what a run makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import real_data
from fakes import Steady
from harness.clicks import NoClickError, Situation, click_rng
from harness.clicks.shared import overlapping, shared
from harness.config.click_protocol import Clicks
from harness.config.run_config import Text, load_run
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.pictures import prepared
from harness.evaluation.protocol import Names, Protocol
from harness.plugins import parameters
from harness.plugins.interfaces import Dataset
from harness.structures import Click, Instance, Mask, Record, Sample, UserError
from toy_runs import written

H, W = 32, 48


def box(top: int, bottom: int, left: int, right: int) -> Mask:
    mask = np.zeros((H, W), bool)
    mask[top:bottom, left:right] = True
    return mask


PERSON = Instance("person", box(2, 30, 2, 30), "person")
TIE = Instance("tie", box(10, 15, 10, 19), "tie")  # all of its 5 x 9 pixels on the person
BAG = Instance("bag", box(20, 26, 25, 40), "bag")  # 6 x 5 of its pixels on the person
FRIEND = Instance("friend", box(2, 30, 28, 46), "person")  # of the person's class; 6 x 12 of the bag's pixels on it
CUP = Instance("cup", box(0, 6, 2, 8), "cup")  # 4 x 6 = 24 pixels on the person
SAMPLE = Sample("s", np.zeros((H, W, 3), np.uint8), (PERSON, TIE, BAG, FRIEND, CUP))


def found(sample: Sample, **options: int) -> set[tuple[str, str, int]]:
    return {(one.asked.id, one.other.id, one.shared_px) for one in overlapping(prepared(sample).objects, **options)}


def both(a: str, b: str, px: int) -> set[tuple[str, str, int]]:
    return {(a, b, px), (b, a, px)}


def test_pairs_are_of_two_classes_and_share_25_pixels() -> None:
    wanted = both("person", "tie", 45) | both("person", "bag", 30) | both("friend", "bag", 72)
    assert found(SAMPLE) == wanted
    assert found(SAMPLE, least_px=24) == wanted | both("person", "cup", 24)


def test_ignored_pixels_make_no_pair() -> None:
    ignoring = Sample("s", SAMPLE.image, SAMPLE.instances, ignore=box(10, 15, 10, 15))
    assert found(ignoring) == both("person", "bag", 30) | both("friend", "bag", 72)  # 20 pixels of the tie are left
    # With 25 pixels left they are a pair, whose click is the deepest of these: columns 15 to 18 are whole.
    enough = replace(ignoring, ignore=box(10, 14, 10, 15))
    assert found(enough) == found(ignoring) | both("person", "tie", 25)
    assert shared(replace(at(PERSON, TIE), sample=enough)) == (Click(16, 11),)


def test_an_object_with_several_texts_takes_part_once() -> None:
    again = Instance("tie~1", TIE.mask, "tie")
    assert found(Sample("s", SAMPLE.image, (PERSON, Instance("tie~0", TIE.mask, "tie"), again))) == both(
        "person", "tie~0", 45
    )


def at(asked: Instance, partner: Instance | None) -> Situation:
    return Situation(SAMPLE, asked, (), None, click_rng(0, "d", "s", asked.id, 1), partner=partner)


@pytest.mark.parametrize(("a", "b", "click"), [(PERSON, TIE, Click(12, 12)), (BAG, PERSON, Click(27, 22))])
def test_both_have_the_same_click_on_the_deepest_pixel_of_the_overlap(a: Instance, b: Instance, click: Click) -> None:
    # The tie is 5 high: its middle row, 12, is 3 deep from column 12 on. The bag's overlap is x 25 to 29, y 20 to 25.
    assert shared(at(a, b)) == shared(at(b, a)) == (click,)


def test_without_a_partner_there_is_no_click() -> None:
    with pytest.raises(NoClickError, match=r"shared/v1: no other object shares 25 pixels with this one"):
        shared(at(PERSON, None))
    with pytest.raises(NoClickError):
        shared(at(PERSON, CUP))


class One(Dataset):
    classes = ("person", "tie", "bag", "cup")

    def sample_ids(self) -> list[str]:
        return ["s"]

    def load(self, sample_id: str) -> Sample:
        return SAMPLE


def records() -> list[Record]:
    protocol = Protocol("run", 0, Clicks(strategy="shared/v1"), Text(), ("iou",))
    ways = [(Names("steady", "fakes:Steady", "one", "One"), protocol)]
    return list(Evaluation(Steady(), One(), ways).records(["s"]))


def test_an_instance_is_asked_for_once_a_pair_by_its_own_name() -> None:
    own = [one for one in records() if one.ranking == "confidence"]
    asked = {(one.instance_id, one.draw): (one.partner, one.text, one.clicks, one.shared_px) for one in own}
    assert asked == {
        ("person", 0): ("tie", "person", (Click(12, 12),), 45),
        ("person", 1): ("bag", "person", (Click(27, 22),), 30),
        ("tie", 0): ("person", "tie", (Click(12, 12),), 45),
        ("bag", 0): ("person", "bag", (Click(27, 22),), 30),
        ("bag", 1): ("friend", "bag", (Click(30, 22),), 72),
        ("friend", 0): ("bag", "person", (Click(30, 22),), 72),
    }  # The cup has no partner: it is neither asked for nor failed.


def test_a_row_says_how_well_the_mask_meets_the_partner() -> None:
    (one,) = (one for one in records() if (one.instance_id, one.draw, one.ranking) == ("person", 0, "confidence"))
    # Steady's mask is the box of 9 x 9 pixels around the click: 5 x 7 of them on the tie, all of them on the person.
    assert one.partner_iou == pytest.approx(35 / (81 + 45 - 35))
    assert one.metrics["iou"] == pytest.approx(81 / (28 * 28))


def test_a_second_click_would_not_be_shared(tmp_path: Path) -> None:
    config = written(tmp_path / "x.yaml", clicks={"strategy": "shared/v1", "max_clicks": 2})
    with pytest.raises(
        UserError,
        match=r"clicks.max_clicks: found 2; wanted 1, since shared/v1 makes only the clicks that two objects share",
    ):
        load_run(config)


def pairs_of(dataset: Dataset) -> pd.Series[int]:
    """Image -> how many pairs it has, of the images that have any."""
    counts = {one: len(overlapping(prepared(dataset.load(one)).objects)) // 2 for one in dataset.sample_ids()}
    return pd.Series(counts)[lambda found: found > 0]


@pytest.mark.slow
def test_the_pairs_of_the_first_40_scenes() -> None:
    scenes: Dataset = parameters.build("datasets", "scenes", {"split": "val", "count": 40})
    assert (pairs_of(scenes).sum(), len(pairs_of(scenes))) == (153, 37)


@pytest.mark.slow
@real_data.needs("coco")
def test_the_pairs_of_the_coco_images_that_are_there() -> None:
    coco: Dataset = parameters.build("datasets", "coco", {"root": real_data.COCO, "split": "val2017"})
    assert (pairs_of(coco).sum(), len(pairs_of(coco))) == (327, 76)
