"""What is asked of a large picture comes in pieces, and memory does not grow with the number of instances."""

from __future__ import annotations

import random
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from harness import Dataset, Instance, Method, Prediction, Sample
from harness.config.click_protocol import Clicks
from harness.config.wording import Text
from harness.evaluation import Evaluation, Names, Protocol, pieces
from harness.evaluation.pictures import prepared
from harness.evaluation.protocol import Asking
from harness.plugins.interfaces import Group
from harness.structures import Record

LARGE = (1500, 2000)


class Spots(Dataset):
    """Pictures of (h, w), each with as many small squares."""

    classes = ("spot",)

    def __init__(self, size: tuple[int, int], instances: int, pictures: int = 1) -> None:
        self.size, self.instances, self.pictures = size, instances, pictures

    def sample_ids(self) -> list[str]:
        return [str(number) for number in range(self.pictures)]

    def load(self, sample_id: str) -> Sample:
        found = []
        for number in range(self.instances):
            mask = np.zeros(self.size, bool)
            left = number * (self.size[1] - 8) // self.instances
            mask[4:12, left : left + 8] = True
            found.append(Instance(f"{sample_id}.{number}", mask, "spot"))
        return Sample(sample_id, np.zeros((*self.size, 3), np.uint8), tuple(found))


class Counting(Method):
    """Answers with the pixels round the last click; notes how much it was asked and what is still held."""

    device = "cpu"
    uses_text = False
    prompts_per_batch = 4

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.encoded = self.most_alive = 0
        self.answers: list[weakref.ref[Any]] = []
        self.drawn: list[float] = []

    def encode(self, images: Sequence[Any]) -> list[Any]:
        self.encoded += len(images)
        return list(images)

    def segment(self, groups: Sequence[Group]) -> list[list[Prediction]]:
        self.asked.append([len(prompts) for _, prompts in groups])
        self.drawn.append(random.random())
        answers = [[self._answer(image.shape[:2], prompt) for prompt in prompts] for image, prompts in groups]
        self.answers += [weakref.ref(one) for own in answers for one in own]
        self.most_alive = max(self.most_alive, sum(one() is not None for one in self.answers))
        return answers

    def _answer(self, size: tuple[int, int], prompt: Any) -> Prediction:
        mask = np.zeros((1, *size), bool)
        x, y = prompt.clicks[-1].x, prompt.clicks[-1].y
        mask[0, max(0, y - 3) : y + 3, max(0, x - 3) : x + 2 + len(prompt.clicks)] = True
        return Prediction(mask)


def evaluated(method: Method, dataset: Dataset, clicks: int = 1, images: int = 1) -> list[Record]:
    asked = Protocol("r", 0, Clicks(strategy="center/v1", max_clicks=clicks), Text(), ("iou",), images)
    evaluation = Evaluation(method, dataset, [(Names("m", "m", "d", "d"), asked)])
    return list(evaluation.records(dataset.sample_ids()))


@pytest.mark.parametrize(
    "size,batch,wanted",
    [
        ((480, 640), 16, 96),  # 109 fit, of which 96 are whole batches
        ((1500, 2000), 8, 8),
        ((1500, 2000), 1, 11),
        ((1500, 2000), 64, 11),  # less than a batch
        ((6000, 8000), 16, 1),
        ((1, 1), 16, 2**25),
    ],
)
def test_a_piece_is_of_whole_batches_where_memory_allows_one(size: tuple[int, int], batch: int, wanted: int) -> None:
    assert pieces.at_once(size[0] * size[1], batch) == wanted


def test_a_large_picture_is_asked_in_pieces_of_which_one_at_a_time_is_held() -> None:
    method = Counting()
    records = evaluated(method, Spots(LARGE, 40), clicks=2)
    assert method.encoded == 1
    assert method.asked == [[8]] * 10  # five pieces, each through both its clicks
    assert method.most_alive <= 2 * 8
    assert [one.click_index for one in records] == [1] * 40 + [2] * 40
    assert len({one.instance_id for one in records}) == 40 and {one.status for one in records} == {"ok"}


def test_an_ordinary_picture_is_one_piece_and_so_are_several() -> None:
    method = Counting()
    evaluated(method, Spots((48, 64), 40, pictures=3), images=3)
    assert method.asked == [[40, 40, 40]]


@pytest.mark.slow
def test_rows_are_the_same_in_pieces_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> list[dict[str, Any]]:
        found = evaluated(Counting(), Spots((48, 64), 10, pictures=2), clicks=3, images=2)
        rows = [vars(one) | {"encode_ms": None, "segment_ms": None} for one in found]
        return sorted(rows, key=lambda row: (row["instance_id"], row["click_index"]))

    whole = rows()
    for most in (1, 4 * 48 * 64, 5 * 48 * 64, 9 * 48 * 64):
        monkeypatch.setattr(pieces, "PIXELS_AT_ONCE", most)
        assert rows() == whole


def test_pieces_of_a_picture_draw_other_numbers_and_the_first_those_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, cut = Counting(), Counting()
    evaluated(whole, Spots((48, 64), 10))
    monkeypatch.setattr(pieces, "PIXELS_AT_ONCE", 4 * 48 * 64)
    evaluated(cut, Spots((48, 64), 10))
    assert cut.drawn[0] == whole.drawn[0] and len(set(cut.drawn)) == 3


def test_what_is_as_large_as_the_picture_is_let_go_after_the_last_round() -> None:
    picture = prepared(Spots((48, 64), 3).load("0"))
    asking = Asking(picture, picture.targets[1])
    truth = asking.target.truth
    whole = truth.mask  # what a metric of masks asks for
    asking.remember(Prediction(whole[None], memory=(whole,)))
    asking.forget()
    assert asking.predicted is None and asking.memory is None and "mask" not in vars(truth)
    np.testing.assert_array_equal(truth.mask, whole)
