"""Answers by hand on overlapping boxes, and against plain full-size masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.masks import destinations
from harness.masks.destinations import HITS, Objects, depth
from harness.masks.metrics import iou
from harness.masks.region import Region
from harness.structures import Click, Instance, Mask

H, W = 32, 48


def box(top: int, bottom: int, left: int, right: int) -> Mask:
    """Rows and columns, the ends excluded."""
    mask = np.zeros((H, W), bool)
    mask[top:bottom, left:right] = True
    return mask


PERSON = Instance("person", box(2, 30, 4, 20), "person")  # 28 x 16 = 448 pixels
TIE = Instance("tie", box(10, 20, 10, 14), "tie")  # 40, all in the person
TWIN = Instance("twin", box(2, 30, 24, 40), "person")  # 448, beside the person
CUP = Instance("cup", box(2, 10, 42, 46), "cup")  # 32
INSTANCES = (PERSON, TIE, TWIN, CUP)


def objects(instances: Sequence[Instance] = INSTANCES, ignore: Mask | None = None) -> Objects:
    return Objects((one, Region(one.mask, ignore)) for one in instances)


def hit(asked: Instance, mask: Mask, instances: Sequence[Instance] = INSTANCES, ignore: Mask | None = None) -> str:
    return objects(instances, ignore).hit(asked, Region(mask, ignore))


@pytest.mark.parametrize(
    ("asked", "click", "wanted"),
    [
        (TIE, Click(12, 15), (2, 40 / 448, 2)),
        (PERSON, Click(12, 15), (2, 1, 8)),  # to the right edge
        (PERSON, Click(5, 25), (1, 1, 2)),
        (CUP, Click(45, 2), (1, 1, 1)),
        (PERSON, Click(30, 5), (2, 1, 0)),  # off it: as under any click, it is counted itself
    ],
)
def test_place(asked: Instance, click: Click, wanted: tuple[float, ...]) -> None:
    found = objects().place(asked, (Click(44, 5, positive=False), click, Click(30, 30)))
    assert found and (found.under_click, found.area_ratio, found.depth) == wanted


def test_a_click_beside_an_object_is_not_on_it() -> None:
    # The tie has the columns 10 to 13 and the rows 10 to 19.
    for x, y in ((9, 15), (14, 15), (12, 9), (12, 20)):
        found = objects().place(PERSON, (Click(x, y),))
        assert found and found.under_click == 1


def test_without_a_positive_click_nothing_is_under_it() -> None:
    assert objects().place(TIE, ()) is None
    assert objects().place(TIE, (Click(12, 15, positive=False),)) is None


def test_one_object_under_two_texts_counts_once() -> None:
    phrases = (Instance("tie~0", TIE.mask, "tie"), PERSON, Instance("tie~1", TIE.mask, "tie"))
    found = objects(phrases).place(phrases[2], (Click(12, 15),))
    assert found and found.under_click == 2
    assert hit(phrases[2], TIE.mask, phrases) == hit(phrases[0], TIE.mask, phrases) == "right"


def test_ignored_pixels_are_in_no_area() -> None:
    ignore = box(2, 16, 0, W)
    found = objects(ignore=ignore).place(TIE, (Click(12, 18),))
    assert found and found.area_ratio == (4 * 4) / (16 * 14)
    assert hit(PERSON, box(2, 16, 4, 20), ignore=ignore) == "nothing"


@pytest.mark.parametrize(
    ("asked", "mask", "wanted"),
    [
        (PERSON, box(0, 0, 0, 0), "nothing"),
        (PERSON, PERSON.mask, "right"),
        (PERSON, box(2, 16, 4, 20), "right"),  # half of it exactly
        (PERSON, box(2, 16, 4, 19), "part"),  # a piece that nobody annotated
        (PERSON, TIE.mask, "part"),
        (PERSON, TWIN.mask, "same_class"),
        (PERSON, CUP.mask, "other_class"),
        (PERSON, box(0, 2, 0, W), "background"),
        # Of 1440 pixels 960 lie on objects; the asked person matches best, as its twin does, but holds only 448.
        (PERSON, box(0, 30, 0, W), "same_class"),
        (TIE, PERSON.mask, "whole"),
        (TIE, TIE.mask, "right"),
        # IoU 40 / 96 with the tie, 96 / 448 with the person; less than half lies in the tie.
        (TIE, box(9, 21, 8, 16), "whole"),
        (TIE, TWIN.mask, "other_class"),
        (CUP, box(2, 10, 41, 48), "right"),  # 32 of 56
        (CUP, box(0, 12, 40, 48), "background"),  # 32 of 96 lie on it, the rest on nothing
        (CUP, box(0, 4, 42, 46), "part"),  # 8 of 16 lie on it: half exactly
        (TIE, box(0, 4, 42, 46), "other_class"),  # 8 of 16 lie on no object: not more than half
    ],
)
def test_hit_by_hand(asked: Instance, mask: Mask, wanted: str) -> None:
    assert hit(asked, mask) == wanted


def test_eight_tenths_of_an_object_make_it_a_part() -> None:
    # The collar has 32 of the tie's 40 pixels, 0.8 exactly, or one row less.
    for rows, whole, part in ((8, "whole", "part"), (7, "same_class", "same_class")):
        collar = Instance("collar", box(10, 10 + rows, 8, 20), "tie")
        assert hit(TIE, collar.mask, (TIE, collar)) == whole
        assert hit(collar, TIE.mask, (TIE, collar)) == part


def test_the_better_match_wins_over_a_right_one() -> None:
    larger = Instance("larger", box(2, 30, 4, 24), "person")  # 560, the person and more
    assert hit(PERSON, box(2, 30, 4, 23), (PERSON, larger)) == "whole"  # 448 / 532 and 532 / 560
    assert hit(larger, box(2, 30, 4, 20), (PERSON, larger)) == "part"
    assert hit(larger, box(2, 30, 4, 20), (larger,)) == "right"  # 448 / 560


def test_a_mask_over_several_objects_went_to_the_best_of_the_others() -> None:
    a, b, c = (Instance(name, box(4, 8, 4 + 8 * i, 12 + 8 * i), name) for i, name in enumerate("abc"))
    over_all = box(4, 8, 4, 28)  # a third of it in each
    assert hit(a, over_all, (a, b, c)) == "other_class"
    same = Instance("b2", b.mask, "a")
    assert hit(a, over_all, (a, same, c)) == "same_class"
    assert hit(a, over_all, (a, c, same)) == "other_class"  # of equals the first
    over_all[5, [14, 22]] = False  # a pixel less of each: what their boxes allow is more than what they have
    assert hit(a, over_all, (a, c, same)) == "other_class"
    assert hit(a, over_all, (a, same, c)) == "same_class"


def test_an_equal_twin_is_right() -> None:
    again = Instance("again", PERSON.mask, "person")
    assert hit(PERSON, PERSON.mask, (again, PERSON)) == "right"


blobs = st.lists(
    st.tuples(st.integers(0, H - 2), st.integers(0, W - 2), st.integers(1, 20), st.integers(1, 20)),
    min_size=1,
    max_size=3,
)


def drawn(boxes: Sequence[tuple[int, int, int, int]]) -> Mask:
    mask = np.zeros((H, W), bool)
    for top, left, height, width in boxes:
        mask[top : top + height, left : left + width] ^= True
    return mask


def plainly(asked: int, masks: Sequence[Mask], kinds: Sequence[str], predicted: Mask) -> str:
    """`Objects.hit` on whole masks, without bounds and crops."""
    ious = [(mask & predicted).sum() / (mask | predicted).sum() for mask in masks]
    best_other = max((i for i in range(len(masks)) if i != asked), key=lambda i: (ious[i], -i), default=None)
    better = best_other is not None and ious[best_other] > ious[asked]
    if not predicted.any():
        return "nothing"
    if not better and ious[asked] >= 0.5:
        return "right"
    if not better and (masks[asked] & predicted).sum() >= predicted.sum() / 2:
        return "part"
    if (np.logical_or.reduce(masks) & predicted).sum() < predicted.sum() / 2:
        return "background"
    if best_other is None or not ious[best_other]:
        return "background"
    shared, areas = (masks[asked] & masks[best_other]).sum(), [mask.sum() for mask in masks]
    if shared / areas[asked] >= 0.8 and areas[best_other] >= areas[asked]:
        return "whole"
    if shared / areas[best_other] >= 0.8:
        return "part"
    return "same_class" if kinds[asked] == kinds[best_other] else "other_class"


@pytest.mark.slow
@settings(max_examples=150, derandomize=True)
@given(st.lists(blobs, min_size=1, max_size=5), blobs)
def test_hit_as_on_whole_masks(several: list[list[tuple[int, int, int, int]]], one: list[tuple[int, ...]]) -> None:
    masks = [mask for mask in map(drawn, several) if mask.any()]
    kinds = [str(number % 2) for number in range(len(masks))]
    instances = [Instance(str(i), mask, kinds[i]) for i, mask in enumerate(masks)]
    predicted = drawn(one)  # type: ignore[arg-type]
    for asked, instance in enumerate(instances):
        found = hit(instance, predicted, instances)
        assert found == plainly(asked, masks, kinds, predicted)
        assert found in HITS


def test_of_many_objects_only_those_that_meet_a_mask_are_compared_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [Instance(f"{y} {x}", box(y, y + 3, x, x + 3), "tile") for y in range(0, H, 4) for x in range(0, W, 4)]
    compared = Counter[str]()
    monkeypatch.setattr(destinations, "iou", lambda *pair: compared.update(["pairs"]) or iou(*pair))
    among = objects(many)
    assert [among.hit(one, Region(one.mask)) for one in many] == ["right"] * 96
    assert compared["pairs"] == 96, "each with its own object, and none of the others"


@settings(max_examples=60, derandomize=True)
@given(blobs, st.integers(0, H - 1), st.integers(0, W - 1))
def test_depth_as_among_all_pixels(boxes: list[tuple[int, int, int, int]], y: int, x: int) -> None:
    mask = np.pad(drawn(boxes), 1)
    if not mask.any():
        return
    rows, columns = np.nonzero(~mask)
    wanted = np.sqrt(((rows - y - 1) ** 2 + (columns - x - 1) ** 2).min())
    assert depth(Region(mask[1:-1, 1:-1]), Click(x, y)) == pytest.approx(wanted)


@settings(max_examples=60, derandomize=True)
@given(st.lists(blobs, min_size=1, max_size=5), st.integers(0, H - 1), st.integers(0, W - 1))
def test_under_as_in_whole_masks(several: list[list[tuple[int, int, int, int]]], y: int, x: int) -> None:
    masks = [mask for mask in map(drawn, several) if mask.any()]
    if not masks:
        return
    instances = [Instance(str(i), mask, "thing") for i, mask in enumerate(masks)]
    found = objects(instances).place(instances[0], (Click(x, y),))
    under = {0, *(i for i, mask in enumerate(masks) if mask[y, x])}
    assert found and found.under_click == len(under)
    assert found.area_ratio == masks[0].sum() / max(masks[i].sum() for i in under)
