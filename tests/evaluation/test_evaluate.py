import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from threading import get_ident
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from harness.datasets.coco.coco import Coco

from harness import Click, Dataset, Instance, Method, Prediction, Sample
from harness.clicks import Situation
from harness.config.click_protocol import Clicks
from harness.config.wording import Text
from harness.evaluation import scoring
from harness.evaluation.evaluate import Evaluation, ahead
from harness.evaluation.pictures import prepared
from harness.evaluation.protocol import Names, Protocol
from harness.masks.region import Region
from harness.plugins.failures import DeviceLost
from harness.structures import Image, Listed, Prompt, Record, UserError
from harness.training.samples import SampleCache

H, W = 32, 48
CLASSES = ("left", "middle", "right")


def sample(number: int, **changed: Any) -> Sample:
    """An image of `number` throughout, with three boxes."""
    masks = np.zeros((3, H, W), bool)
    for index in range(3):
        masks[index, 4 : 20 + index, 15 * index + 1 : 15 * index + 13] = True
    instances = tuple(Instance(f"{number}{name[0]}", masks[i], name, i != 1, 2) for i, name in enumerate(CLASSES))
    return Sample(str(number), **{"image": np.full((H, W, 3), number, np.uint8), "instances": instances} | changed)


class Boxes(Dataset):
    """Images 0 to 3; `changes` replaces or raises what image `number` is."""

    classes = CLASSES

    def __init__(self, changes: dict[int, Callable[[], Sample]] | None = None, listing: bool = True) -> None:
        self.changes, self.listing = changes or {}, listing

    def sample_ids(self) -> list[str]:
        return list("0123")

    def load(self, sample_id: str) -> Sample:
        return self.changes.get(int(sample_id), lambda: sample(int(sample_id)))()

    def list_instances(self, sample_id: str) -> list[Listed]:
        if not self.listing:
            return super().list_instances(sample_id)
        return [Listed(one.id, one.category, one.seen) for one in sample(int(sample_id)).instances]


def answer(prompt: Prompt, k: int = 2) -> Prediction:
    """Ever larger discs round the last click."""
    y, x = np.indices((H, W))
    far = np.hypot(y - prompt.clicks[-1].y, x - prompt.clicks[-1].x)
    return Prediction(np.stack([far < 4 + 4 * one for one in range(k)]), {"confidence": [1.0, *[0.0] * (k - 1)]})


class Discs(Method):
    """Discs round clicks; `wrong` changes or raises its answers to some prompts on image `at`, `badly` its encoding."""

    device = "cpu:7"

    def __init__(
        self,
        wrong: Callable[[Prediction, Prompt], Any] | None = None,
        at: int = 1,
        badly: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        self.wrong, self.at, self.badly = wrong, at, badly
        self.prompts: list[Prompt] = []

    def encode(self, images: Sequence[Image]) -> list[Any]:
        states = [int(image[0, 0, 0]) for image in images]
        return self.badly(states) if self.badly and self.at in states else states

    def segment(self, groups: Sequence[tuple[Any, Sequence[Prompt]]]) -> list[list[Prediction]]:
        self.prompts += [prompt for _, prompts in groups for prompt in prompts]
        return [[self._answer(state, prompt) for prompt in prompts] for state, prompts in groups]

    def _answer(self, state: int, prompt: Prompt) -> Any:
        good = answer(prompt)
        return self.wrong(good, prompt) if self.wrong and state == self.at else good


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def one_place(told: str) -> bool:
    """Whether a reason is one line that names a plugin's file at most once."""
    return "\n" not in told and told.count("line ") < 2


@pytest.fixture(scope="module")
def odd(importable: Callable[[str, str], Path]) -> ModuleType:
    """A module of rules that do as a test says, and are sound on the image that a config is checked with."""
    importable("odd", ODD)
    return import_module("odd")


ODD = """
from harness import Click, register_click_rule

def clicks(at):
    return (Click(2, 5),) if at.sample.id == "made up" else CLICKS(at)

def paired(at):
    return (Click(2, 5),)

def text(asked):
    return TEXT(asked)

CLICKS = TEXT = PAIRS = None
register_click_rule("odd/v1", pairs=lambda objects: PAIRS(objects))(paired)
"""


def evaluated(
    method: Method, dataset: Dataset, batch: int = 2, clicks: int = 1, rule: str = "paper/v1", **protocol: Any
) -> list[Record]:
    names = Names("ours", "discs", "toys", "boxes")
    asked = {"run": "r", "seed": 5, "clicks": Clicks(strategy=rule, max_clicks=clicks), "text": Text()}
    asked["metrics"] = ("iou",)
    evaluation = Evaluation(method, dataset, [(names, Protocol(**asked | protocol, images_per_batch=batch))])
    return list(evaluation.records(dataset.sample_ids()))


def plain(records: Sequence[Record]) -> list[dict[str, Any]]:
    return [vars(one) | {"encode_ms": None, "segment_ms": None} for one in records]


def keys(records: Sequence[Record], status: str) -> set[tuple[str, int, str | None]]:
    return {(one.instance_id, one.click_index, one.ranking) for one in records if one.status == status}


def all_ids(numbers: str = "0123") -> set[str]:
    return {f"{number}{name[0]}" for number in numbers for name in CLASSES}


def check_accounted(records: Sequence[Record], failed: set[str]) -> None:
    """One failed row for each of these, a row a ranking for every other, and none twice."""
    assert len(records) == len({(one.instance_id, one.click_index, one.ranking) for one in records})
    assert keys(records, "failed") == {(one, 1, None) for one in failed}
    wanted = {(one, 1, ranking) for one in all_ids() - failed for ranking in ("confidence", "oracle")}
    assert keys(records, "ok") == wanted


@pytest.mark.parametrize("batch", [1, 3, 9])
def test_rows_are_instances_times_rankings(batch: int) -> None:
    records = evaluated(Discs(), Boxes(), batch)
    check_accounted(records, set())
    one = next(r for r in records if r.instance_id == "2m" and r.ranking == "oracle")
    assert (one.run, one.dataset, one.dataset_plugin, one.method, one.method_plugin) == (
        *("r", "toys", "boxes", "ours"),
        "discs",
    )
    assert (one.image_id, one.category, one.seen, one.text, one.same_class_count) == ("2", "middle", False, "middle", 2)
    assert (one.height, one.width, one.device, one.click_strategy) == (H, W, "cpu:7", "paper/v1")
    assert {record.click_options for record in records} == {'{"margin": 0.35}'}
    assert sample(2).instances[1].mask[one.clicks[0].y, one.clicks[0].x]
    assert one.encode_ms is not None and one.segment_ms is not None


def test_batches_do_not_change_rows() -> None:
    assert plain(evaluated(Discs(), Boxes(), 1, 3)) == plain(
        sorted(evaluated(Discs(), Boxes(), 4, 3), key=lambda r: (r.image_id, r.click_index, r.instance_id, r.ranking))
    )


def test_prompts_hold_the_text_and_the_vocabulary_or_no_text() -> None:
    method = Discs()
    evaluated(method, Boxes())
    assert {prompt.text for prompt in method.prompts} == set(CLASSES)
    assert all(prompt.vocabulary == CLASSES and prompt.previous is None for prompt in method.prompts)
    silent = Discs()
    records = evaluated(silent, Boxes(), text=Text(rule="none"))
    assert {prompt.text for prompt in silent.prompts} == {None} == {one.text for one in records}


def test_seen_is_the_split_s_or_else_the_method_s_own() -> None:
    class NoSplit(Boxes):
        def load(self, sample_id: str) -> Sample:
            found = super().load(sample_id)
            return replace(found, instances=tuple(replace(one, seen=None) for one in found.instances))

    own = {"trained_classes": CLASSES[1:2]}
    assert {one.category for one in evaluated(Discs(), NoSplit(), **own) if one.seen} == set(own["trained_classes"])
    assert {one.seen for one in evaluated(Discs(), NoSplit(), **own)} == {True, False}
    assert {one.seen for one in evaluated(Discs(), NoSplit())} == {None}
    split = {one.instance_id: one.seen for one in evaluated(Discs(), Boxes())}
    assert {one.instance_id: one.seen for one in evaluated(Discs(), Boxes(), **own)} == split


def test_a_template_holds_the_text_and_the_vocabulary_alike() -> None:
    method = Discs()
    records = evaluated(method, Boxes(), text=Text(rule="class_name", template="a {}"))
    assert {prompt.text for prompt in method.prompts} == {f"a {name}" for name in CLASSES}
    assert {prompt.vocabulary for prompt in method.prompts} == {tuple(f"a {name}" for name in CLASSES)}
    assert all(one.text == f"a {one.category}" and one.text_rule == "class_name" for one in records)


def test_a_wrong_text_is_the_same_in_any_batch_and_a_missing_one_is_a_failed_row() -> None:
    wrong = Text(rule="wrong_present")
    records = evaluated(Discs(), Boxes(), 1, text=wrong)
    assert {one.instance_id: one.text for one in records} == {
        one.instance_id: one.text for one in evaluated(Discs(), Boxes(), 4, text=wrong)
    }
    assert all(one.text in CLASSES and one.text != one.category for one in records)
    unknown = evaluated(Discs(), Boxes(), text=Text(rule="synonym"))
    assert {(one.status, one.text, one.click_index) for one in unknown} == {("failed", None, 1)}
    assert {one.instance_id for one in unknown} == all_ids()
    assert all("text: no synonym for" in str(one.error) for one in unknown)


def test_one_object_under_two_texts_is_clicked_alike() -> None:
    class Phrases(Boxes):
        def load(self, sample_id: str) -> Sample:
            found = super().load(sample_id)
            twice = [
                replace(one, id=f"{one.id}~{number}", text=f"{one.category} {number}")
                for one in found.instances
                for number in range(2)
            ]
            return replace(found, instances=tuple(twice))

    records = [one for one in evaluated(Discs(), Phrases()) if one.ranking == "oracle"]
    plain = {one.instance_id: one.clicks for one in evaluated(Discs(), Boxes()) if one.ranking == "oracle"}
    assert {one.text for one in records} == {f"{name} {number}" for name in CLASSES for number in range(2)}
    assert [one.clicks for one in records] == [plain[one.instance_id.partition("~")[0]] for one in records]


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (raising(RuntimeError("CUDA out of memory\nTried")), "segment: RuntimeError: CUDA out of memory Tried"),
        (lambda good, _: Prediction(good.masks.astype(np.uint8), good.scores), "uint8"),
        (lambda good, _: Prediction(good.masks[:, :-1], good.scores), "(2, 31, 48)"),
        (lambda good, _: Prediction(good.masks[:0], {}), "(0, 32, 48)"),
        (lambda good, _: Prediction(good.masks, {"confidence": [1, float("nan")]}), "nan"),
        (lambda good, _: Prediction(good.masks), "without scores"),
        (lambda good, _: Prediction(good.masks, [1, 2]), "segment:"),  # type: ignore[arg-type]
        (lambda good, _: None, "NoneType"),
    ],
)
def test_one_wrong_answer_fails_alone(wrong: Callable[..., Any], reason: str, batch: int) -> None:
    method = Discs(lambda good, prompt: wrong(good, prompt) if prompt.text == "middle" else good)
    records = evaluated(method, Boxes(), batch)
    check_accounted(records, {"1m"})
    (failed,) = [one for one in records if one.status == "failed"]
    assert failed.error and failed.error.startswith("segment: ") and reason in failed.error
    assert (failed.category, failed.seen, failed.text, failed.height) == ("middle", False, "middle", H)
    assert len(failed.clicks) == 1 and failed.mask is None and failed.metrics == {}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("short", [[], None, 3, [[]], [[], [], [], []]])
def test_fewer_answers_than_prompts_fail_all_of_the_image_and_no_other(short: Any, batch: int) -> None:
    class Short(Discs):
        def segment(self, groups: Sequence[tuple[Any, Sequence[Prompt]]]) -> Any:
            return short if any(state == 1 for state, _ in groups) else super().segment(groups)

    records = evaluated(Short(), Boxes(), batch)
    check_accounted(records, all_ids("1"))


def test_a_method_that_skips_an_answer_gets_each_prompt_alone() -> None:
    class Skips(Discs):
        def segment(self, groups: Sequence[tuple[Any, Sequence[Prompt]]]) -> Any:
            return [answers[:2] for answers in super().segment(groups)]

    check_accounted(evaluated(Skips(), Boxes()), set())


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("badly", [raising(ValueError("too small")), lambda states: states[1:], lambda states: None])
def test_an_image_that_does_not_encode_fails_alone(badly: Callable[..., Any], batch: int) -> None:
    records = evaluated(Discs(badly=badly), Boxes(), batch)
    check_accounted(records, all_ids("1"))
    failed = [one for one in records if one.status == "failed"]
    assert all(one.error and one.error.startswith("encode: ") for one in failed)
    assert [(one.category, one.seen, one.same_class_count) for one in failed] == [
        ("left", True, 2),
        ("middle", False, 2),
        ("right", True, 2),
    ]


@pytest.mark.parametrize("batch", [1, 4])
def test_an_image_that_does_not_load_fails_by_its_listing(batch: int) -> None:
    records = evaluated(Discs(), Boxes({2: raising(OSError("cut off"))}), batch)
    check_accounted(records, all_ids("2"))
    failed = [one for one in records if one.status == "failed"]
    assert {(one.category, one.seen) for one in failed} == {("left", True), ("middle", False), ("right", True)}
    (error,) = {str(one.error) for one in failed}
    assert error.startswith("load: OSError: cut off (test_evaluate.py, line ")
    assert {one.image_id for one in failed} == {"2"}


def test_without_a_listing_one_row_stands_for_the_image() -> None:
    records = evaluated(Discs(), Boxes({2: raising(OSError("cut off"))}, listing=False))
    assert keys(records, "failed") == {("2 (not listed)", 1, None)}
    assert {one.instance_id for one in records if one.status == "ok"} == all_ids("013")
    (failed,) = [one for one in records if one.status == "failed"]
    assert failed.text is None


def test_a_method_is_never_asked_for_nothing() -> None:
    class Counts(Discs):
        def encode(self, images: Sequence[Image]) -> list[Any]:
            assert images
            encoded.append(len(images))
            return super().encode(images)

        def segment(self, groups: Sequence[tuple[Any, Sequence[Prompt]]]) -> list[list[Prediction]]:
            segmented.append([len(prompts) for _, prompts in groups])
            return super().segment(groups)

    encoded: list[int] = []
    segmented: list[list[int]] = []
    check_accounted(evaluated(Counts(), Boxes({n: raising(OSError("gone")) for n in range(4)})), all_ids())
    assert (encoded, segmented) == ([], [])
    empty = Boxes({1: lambda: sample(1, instances=())})
    records = evaluated(Counts(), empty, batch=4)
    assert {one.instance_id for one in records} == all_ids("023")
    assert (encoded, segmented) == ([3], [[3, 3, 3]])


def test_a_broken_annotation_is_one_failed_row() -> None:
    whole = sample(3)
    broken = sample(3, instances=whole.instances[:2], broken={"3r": "covers no pixel", "3x": "not listed at all"})
    records = evaluated(Discs(), Boxes({3: lambda: broken}))
    check_accounted([one for one in records if one.instance_id != "3x"], {"3r"})
    errors = {one.instance_id: (one.error, one.category, one.seen) for one in records if one.status == "failed"}
    assert errors == {"3r": ("covers no pixel", "right", True), "3x": ("not listed at all", "", None)}


def test_a_broken_annotation_and_a_failing_listing() -> None:
    broken = sample(3, instances=sample(3).instances[:2], broken={"3r": "covers no pixel"})

    class Unlisted(Boxes):
        def list_instances(self, sample_id: str) -> list[Listed]:
            raise OSError("no list")

    check_accounted(evaluated(Discs(), Unlisted({3: lambda: broken})), {"3r"})


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.zeros((H, W), bool), "no pixel"),
        (np.ones((W, H), bool), "(48, 32)"),
        (np.ones((H, W), np.uint8), "uint8"),
        (None, "NoneType; wanted bool"),
        ([[True]], "list; wanted bool"),
    ],
)
def test_a_ground_truth_that_cannot_be_scored_fails_alone(mask: Any, reason: str) -> None:
    bad = Instance("0m", mask, "middle", False)
    instances = sample(0).instances
    dataset = Boxes({0: lambda: sample(0, instances=(instances[0], bad, instances[2]))})
    records = evaluated(Discs(), dataset)
    check_accounted(records, {"0m"})
    (failed,) = [one for one in records if one.status == "failed"]
    assert failed.error and failed.error.startswith("ground truth: ") and reason in failed.error


PIXELS = sample(2).image


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({"image": PIXELS.astype(np.float32) / 255}, "image float32 (32, 48, 3); wanted uint8 (h, w, 3), RGB."),
        ({"image": PIXELS.astype(np.int64)}, "image int64 (32, 48, 3); wanted uint8 (h, w, 3), RGB."),
        ({"image": PIXELS[..., 0]}, "image uint8 (32, 48); wanted uint8 (h, w, 3), RGB."),
        ({"image": np.zeros((H, W, 4), np.uint8)}, "image uint8 (32, 48, 4); wanted uint8 (h, w, 3), RGB."),
        ({"image": PIL.Image.fromarray(PIXELS)}, "image Image; wanted uint8 (h, w, 3), RGB."),
        ({"ignore": np.zeros((H, W), np.uint8)}, "ignore uint8 (32, 48); wanted bool (32, 48), the image's (h, w)."),
        ({"ignore": np.zeros((W, H), bool)}, "ignore bool (48, 32); wanted bool (32, 48), the image's (h, w)."),
        ({"instances": sample(2).instances[:1] * 2}, "instance id '2l' twice; wanted an id of its own for each."),
        ({"broken": {"2l": "no polygon"}}, "instance id '2l' twice; wanted an id of its own for each."),
        ({"broken": {7: "no polygon"}}, "instance id int 7; wanted a text."),
    ],
)
def test_a_sample_that_is_none_fails_by_its_listing(made: dict[str, Any], reason: str) -> None:
    records = evaluated(Discs(), Boxes({2: lambda: sample(2, **made)}))
    check_accounted(records, all_ids("2"))
    assert {one.error for one in records if one.status == "failed"} == {f"load: ValueError: {reason}"}


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (lambda: sample(3), "load('2') returned the sample '3'; wanted that of the id asked for."),
        (lambda: replace(sample(2), id=2), "load('2') returned the sample 2; wanted that of the id asked for."),
        (lambda: None, "load('2') returned NoneType; wanted harness.Sample."),
        (
            lambda: replace(sample(2), instances=(one for one in sample(2).instances)),
            "load('2') returned generator as `instances`; wanted a tuple of harness.Instance.",
        ),
    ],
)
def test_another_sample_than_the_one_asked_for_fails_by_its_listing(found: Callable[[], Any], reason: str) -> None:
    records = evaluated(Discs(), Boxes({2: found}))
    check_accounted(records, all_ids("2"))
    assert {one.error for one in records if one.status == "failed"} == {f"load: ValueError: {reason}"}


def test_a_sample_that_is_none_ends_training_too() -> None:
    with pytest.raises(UserError, match=r"training: sample '2' cannot be read: image float32 \(32, 48, 3\); wanted"):
        SampleCache([Boxes({2: lambda: sample(2, image=PIXELS.astype(np.float32))})]).sample(0, "2")


def test_an_instance_of_ignored_pixels_only_fails() -> None:
    dataset = Boxes({0: lambda: sample(0, ignore=sample(0).instances[1].mask)})
    check_accounted(evaluated(Discs(), dataset), {"0m"})


def test_a_method_cannot_change_the_image_of_others() -> None:
    class Painter(Method):
        def predict(self, image: Image, click: Click | Sequence[Click], text: str | None) -> Prediction:
            if text == "left":
                image[:] = 0
            assert image.any()
            return Prediction(np.ones((1, *image.shape[:2]), bool))

    dataset = Boxes({0: lambda: sample(0, image=np.full((H, W, 3), 200, np.uint8))})
    records = evaluated(Painter(), dataset, batch=1)
    assert {one.instance_id for one in records if one.status == "failed"} == {"0l", "1l", "2l", "3l"}
    assert all("read-only" in str(one.error) for one in records if one.status == "failed")


class Inpainter(Discs):
    """Writes on the image as torch does, which goes through numpy's flag."""

    def __init__(self, on: int, at: str) -> None:
        super().__init__()
        self.on, self.at_last, self.seen = on, at, []  # type: ignore[var-annotated]

    def encode(self, images: Sequence[Image]) -> list[Any]:
        for image in images:
            if self.at_last == "encode" and image[0, 0, 0] == self.on:
                torch.from_numpy(image).zero_()
        return list(images)

    def segment(self, groups: Sequence[tuple[Any, Sequence[Prompt]]]) -> list[list[Prediction]]:
        return [[self._painted(image, prompt) for prompt in prompts] for image, prompts in groups]

    def _painted(self, image: Image, prompt: Prompt) -> Prediction:
        self.seen.append((prompt.text, int(image[0, 0, 0])))
        if image[0, 0, 0] == self.on and prompt.text == self.at_last:
            torch.from_numpy(image)[-1, -1, -1] += 1
        return answer(prompt)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("at", ["encode", "left", "right"])
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_a_method_that_writes_on_its_image_all_the_same_has_no_mask_there(at: str, batch: int) -> None:
    records = evaluated(Inpainter(1, at), Boxes(), batch)
    check_accounted(records, all_ids("1"))
    (error,) = {one.error for one in records if one.status == "failed"}
    said = "the method changed its image; wanted it left as it was (work on a copy)."
    assert error == f"segment: ValueError: {said}"


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_an_image_once_changed_is_lost_to_the_ways_of_asking_that_follow() -> None:
    class Later(Inpainter):
        def _painted(self, image: Image, prompt: Prompt) -> Prediction:
            done = super()._painted(image, prompt)
            if image[0, 0, 0] == self.on and len(prompt.clicks) == 2:
                torch.from_numpy(image).zero_()
            return done

    protocols = [ASKED[0], replace(ASKED[1], text=Text()), ASKED[2]]
    (first, second, third), _ = asked_together(Later(1, "nothing"), Boxes(), protocols, 2)
    ok = {(one.click_index, one.ranking) for one in first if one.status == "ok" and one.image_id == "1"}
    assert ok == {(1, "confidence"), (1, "oracle")}, "the first round's masks are of the image as it was"
    assert keys(first, "failed") == {(one, 2, None) for one in all_ids("1")}
    assert keys(second, "failed") == keys(third, "failed") == {(one, 1, None) for one in all_ids("1")}
    assert all("changed its image" in str(one.error) for many in (first, second, third) for one in many if one.error)


@pytest.mark.parametrize("array", ["image", "ignore"])
def test_a_click_rule_that_writes_on_the_sample_fails_and_the_method_is_not_blamed(
    array: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def writes(at: Situation) -> tuple[Click, ...]:
        if at.sample.id == "1":
            getattr(at.sample, array)[:] = 0
        return (Click(1, 4),)

    monkeypatch.setattr(sys.modules[__name__], "writes", writes, raising=False)
    given = {number: partial(sample, number, ignore=np.zeros((H, W), bool)) for number in range(4)}
    records = evaluated(Discs(), Boxes(given), rule=f"{__name__}:writes")
    assert keys(records, "failed") == {(one, 1, None) for one in all_ids("1")}
    reasons = {str(one.error) for one in records if one.status == "failed"}
    (reason,) = reasons
    assert reason.startswith("clicks: ") and "assignment destination is read-only (test_evaluate.py, line " in reason


@pytest.mark.parametrize("size", [(32, 48), (31, 47), (1, 1)])
@pytest.mark.parametrize("at", [(0, 0, 0), (-1, -1, -1)])
def test_one_pixel_is_a_change(size: tuple[int, int], at: tuple[int, ...]) -> None:
    whole = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for image in (whole, whole[::-1], whole[:, ::-1].copy()[:, ::-1]):
        picture = prepared(Sample("a", image, ()))
        assert not picture.changed()
        image[at] ^= 1
        assert picture.changed()


def test_a_predict_that_fills_the_same_arrays_is_answered_by_each_prompt_s_own() -> None:
    class Reuses(Method):
        device = "cpu:7"
        masks, scores = np.zeros((2, H, W), bool), np.zeros(2)

        def predict(self, image: Image, click: Click | Sequence[Click], text: str | None) -> Prediction:
            assert isinstance(click, tuple)
            found = answer(Prompt(click))
            self.masks[:], self.scores[:] = found.masks, found.scores["confidence"]
            if text == "middle":
                self.scores[:] = self.scores[::-1].copy()
            return Prediction(self.masks, {"confidence": self.scores})

    class Swaps(Discs):
        def _answer(self, state: int, prompt: Prompt) -> Any:
            found = super()._answer(state, prompt)
            return replace(found, scores={"confidence": [0.0, 1.0]}) if prompt.text == "middle" else found

    assert plain(evaluated(Reuses(), Boxes())) == plain(evaluated(Swaps(), Boxes()))


@pytest.mark.parametrize("wrong", [None, 3, Prediction("no masks"), Prediction(np.zeros((1, 2, 3), bool), 3)])  # type: ignore[arg-type]
def test_what_a_predict_returns_in_place_of_an_answer_is_named(wrong: Any) -> None:
    class Wrong(Method):
        def predict(self, image: Image, click: Click | Sequence[Click], text: str | None) -> Any:
            return wrong

    assert all(
        str(one.error).startswith("segment: ValueError: predict returned ") for one in evaluated(Wrong(), Boxes())
    )


@pytest.mark.parametrize("half", ["load", "list_instances", "encode", "segment"])
def test_a_plugin_that_ends_the_process_ends_no_run(half: str) -> None:
    class Ends(Boxes):
        def load(self, sample_id: str) -> Sample:
            return sys.exit(3) if half in ("load", "list_instances") and sample_id == "1" else super().load(sample_id)

        def list_instances(self, sample_id: str) -> list[Listed]:
            return sys.exit(4) if half == "list_instances" else super().list_instances(sample_id)

    method = {"encode": Discs(badly=lambda _: sys.exit(3)), "segment": Discs(lambda *_: sys.exit(3))}
    records = evaluated(method.get(half, Discs()), Ends())
    failed = [one for one in records if one.status == "failed"]
    wanted = {"1 (not listed)"} if half == "list_instances" else all_ids("1")
    assert {one.instance_id for one in failed} == wanted
    phase = half if half in ("encode", "segment") else "load"
    assert all(str(one.error).startswith(f"{phase}: RuntimeError: sys.exit(3) (test_evaluate.py") for one in failed)
    assert {one.instance_id for one in records if one.status == "ok"} == all_ids("023")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (lambda *_: math.nan, " is nan; wanted 0 to 1, the bounds that it declares."),
        (lambda *_: np.float32("nan"), " is nan; wanted 0 to 1, "),
        (lambda *_: 1.5, " is 1.5; wanted 0 to 1, the bounds that it declares."),
        (lambda *_: -1, " is -1; wanted 0 to 1, "),
        (lambda *_: math.inf, " is inf; wanted 0 to 1, "),
        (lambda *_: None, " returned NoneType; wanted a number."),
        (lambda *_: "0.5", " returned str; wanted a number."),
        (lambda *_: 10**400, "OverflowError: int too large to convert to float"),
        (raising(RuntimeError("no hull\nfound")), "RuntimeError: no hull found (test_evaluate.py, line "),
        (lambda *_: sys.exit(3), "RuntimeError: sys.exit(3) (test_evaluate.py, line "),
    ],
)
def test_a_metric_that_fails_on_an_instance_fails_it_alone(
    value: Callable[..., Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = sample(1).instances[1].mask
    asked: list[int] = []

    def mine(one: Region, other: Region) -> Any:
        asked.append(other.area)
        return value() if one.area == truth.sum() else 0.25

    monkeypatch.setattr(sys.modules[__name__], "mine", mine, raising=False)
    only = Boxes({n: lambda n=n: sample(n, instances=sample(n).instances[:: 1 if n == 1 else 2]) for n in range(4)})
    records = evaluated(Discs(), only, clicks=2, metrics=("iou", f"{__name__}:mine"))
    assert keys(records, "failed") == {("1m", 1, None)}
    (failed,) = [one for one in records if one.status == "failed"]
    error = str(failed.error)
    assert re.match(r"metrics: metric 'mine' \(tests/evaluation/test_evaluate\.py, line \d+\) ", error)
    assert reason in error and "\n" not in error and failed.text == "middle"
    assert ("failed on truth and prediction, two harness.masks.Region: " in error) == ("Error" in reason)
    ok = [one for one in records if one.status == "ok"]
    assert {one.metrics["mine"] for one in ok} == {0.25} and all(type(one.metrics["mine"]) is float for one in ok)
    assert len(ok) == 2 * 2 * len(all_ids("023") - {"0m", "2m", "3m"} | {"1l", "1r"})


WHOLE = "wanted whole numbers, x from 0 to 47 and y from 0 to 31, and positive True or False."


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda at: raising(RuntimeError("a bug"))(), "failed with RuntimeError: a bug"),
        # A KeyboardInterrupt of its own would pass for the user's, exit code 130 and no word of the rule.
        (lambda at: raising(GeneratorExit("mine"))(), "failed with RuntimeError: GeneratorExit: mine"),
        (lambda at: raising(UserError("options that do not fit"))(), "failed with UserError: options that do not fit"),
        (lambda at: None, "returned NoneType; wanted a tuple of 1."),
        (lambda at: (), "returned 0 clicks; wanted a tuple of 1."),
        (lambda at: [Click(2, 5)], "returned list; wanted a tuple of 1."),
        (lambda at: (Click(2, 5), Click(2, 5)), "returned 2 clicks; wanted a tuple of 1."),
        (lambda at: ((2, 5),), "returned tuple in place of a click; wanted harness.Click."),
        (lambda at: (Click(2.0, 5),), f"clicked at (2.0, 5); {WHOLE}"),
        (lambda at: (Click(2, np.float32(5.5)),), f"clicked at (2, np.float32(5.5)); {WHOLE}"),
        (lambda at: (Click(9999, 9999),), f"clicked at (9999, 9999); {WHOLE}"),
        (lambda at: (Click(48, 5),), f"clicked at (48, 5); {WHOLE}"),
        (lambda at: (Click(2, 32),), f"clicked at (2, 32); {WHOLE}"),
        (lambda at: (Click(2, -1),), f"clicked at (2, -1); {WHOLE}"),
        (lambda at: (Click(-1, 5),), f"clicked at (-1, 5); {WHOLE}"),
        (lambda at: (Click("2", 5),), f"clicked at ('2', 5); {WHOLE}"),
        (lambda at: (Click(True, 5),), f"clicked at (True, 5); {WHOLE}"),
        (lambda at: (Click(2, None),), f"clicked at (2, None); {WHOLE}"),
        (lambda at: (Click(2, 5, positive=1),), f"clicked at Click(x=2, y=5, positive=1); {WHOLE}"),
    ],
)
def test_what_a_click_rule_does_wrong_on_one_instance_is_its_failed_row(
    made: Callable[[Any], Any], reason: str, odd: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(odd, "CLICKS", lambda at: made(at) if at.instance.id == "1m" else (Click(2, 5),))
    records = evaluated(Discs(), Boxes(), rule="odd:clicks")
    check_accounted(records, {"1m"})
    told = str(next(one.error for one in records if one.instance_id == "1m"))
    assert told.startswith(f"clicks: odd:clicks {reason}") and one_place(told)


def test_rows_name_all_options_of_the_click_rule_in_one_order() -> None:
    wanted = '{"band": 40, "margin": 2.0, "negatives": 1, "negatives_by": 3, "positives": 1, "step": 3.0}'
    for options in ({"step": 3.0, "margin": 2.0}, {"margin": 2.0, "step": 3.0}):
        assert Protocol("r", 0, Clicks(strategy="xu/v1", options=options), Text(), ("iou",)).click_options == wanted


@pytest.mark.parametrize(("kind", "x", "y"), [(int, 2, 5), (np.int8, 0, 0), (np.int64, 47, 31), (np.uint16, 0, 31)])
def test_whole_numbers_of_numpy_are_clicks(
    kind: Any, x: int, y: int, odd: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(odd, "CLICKS", lambda at: (Click(kind(x), kind(y), np.bool_(True)),))
    records = evaluated(Discs(), Boxes(), rule="odd:clicks")
    check_accounted(records, set())
    clicks = {click for one in records for click in one.clicks}
    assert clicks == {Click(x, y)} and {type(value) for one in clicks for value in vars(one).values()} == {int, bool}


def test_pairs_that_a_click_rule_cannot_tell_fail_their_image(odd: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(odd, "PAIRS", lambda objects: 1 // 0)
    records = evaluated(Discs(), Boxes(), rule="odd:paired")
    assert {(one.instance_id, one.status) for one in records} == {(one, "failed") for one in all_ids()}
    assert {str(one.error).split(" (")[0] for one in records} == {
        "clicks: odd:paired: its pairs failed with ZeroDivisionError: integer division or modulo by zero"
    }


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (raising(KeyError("dog")), "failed with KeyError: 'dog'"),
        (raising(SystemExit(1)), "failed with RuntimeError: sys.exit(1)"),
        (lambda asked: 3, "returned int; wanted a text, or None for none."),
        (lambda asked: b"dog", "returned bytes; wanted a text, or None for none."),
        (lambda asked: "", "returned an empty text; wanted words, or None for none."),
        (lambda asked: " \n", "returned an empty text; wanted words, or None for none."),
    ],
)
def test_what_a_text_rule_does_wrong_on_one_instance_is_its_failed_row(
    made: Callable[[Any], Any], reason: str, odd: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(odd, "TEXT", lambda asked: made(asked) if asked.instance.id == "1m" else None)
    records = evaluated(Discs(), Boxes(), text=Text(rule="odd:text"))
    check_accounted(records, {"1m"})
    told = str(next(one.error for one in records if one.instance_id == "1m"))
    assert told.startswith(f"text: odd:text {reason}") and one_place(told)


class Flaky(Discs):
    """Raises at its first call of `segment`, or of `encode`, with an image of this number, and never again."""

    def __init__(self, half: str, number: int) -> None:
        super().__init__()
        self.half, self.number, self.failed = half, number, False

    def encode(self, images: Sequence[Image]) -> list[Any]:
        self._fail("encode", [int(image[0, 0, 0]) for image in images])
        return super().encode(images)

    def segment(self, groups: Sequence[tuple[Any, Sequence[Prompt]]]) -> list[list[Prediction]]:
        self._fail("segment", [state for state, _ in groups])
        return super().segment(groups)

    def _fail(self, half: str, numbers: Sequence[int]) -> None:
        if half == self.half and self.number in numbers and not self.failed:
            self.failed = True
            raise RuntimeError("now and then")


@pytest.mark.parametrize(
    ("half", "batch", "images"),
    [("segment", 1, "1"), ("segment", 2, "01"), ("segment", 4, "0123"), ("encode", 2, "01")],
)
def test_rows_of_a_second_try_say_why_the_first_one_failed(half: str, batch: int, images: str) -> None:
    records = evaluated(Flaky(half, 1), Boxes(), batch)
    check_accounted(records, set())
    retried = {one.image_id: str(one.retried).split(" (")[0] for one in records if one.retried}
    assert retried == dict.fromkeys(images, f"{half}: RuntimeError: now and then")
    assert [plain([replace(one, retried=None)]) for one in records] == [
        plain([one]) for one in evaluated(Discs(), Boxes(), batch)
    ]


def test_what_one_prompt_explains_is_no_second_try_of_the_others() -> None:
    records = evaluated(Discs(raising(ValueError("too small")), at=1), Boxes(), 4)
    assert any(one.error for one in records) and not any(one.retried for one in records)


def test_rows_say_whether_the_mask_holds_the_first_click() -> None:
    def beside(good: Prediction, prompt: Prompt) -> Prediction:
        return replace(good, masks=np.roll(good.masks, 20, axis=1)) if prompt.text == "middle" else good

    records = evaluated(Discs(beside, at=2), Boxes())
    assert {(one.image_id, one.category) for one in records if not one.holds_click} == {("2", "middle")}
    assert all(type(one.holds_click) is bool for one in records)


def test_three_clicks_make_three_rounds() -> None:
    method = Discs()
    records = evaluated(method, Boxes(), clicks=3)
    assert keys(records, "ok") == {(i, c, r) for i in all_ids() for c in (1, 2, 3) for r in ("confidence", "oracle")}
    assert all(len(one.clicks) == one.click_index for one in records)
    later = [prompt for prompt in method.prompts if len(prompt.clicks) == 3]
    assert len(later) == 12
    for prompt in later:
        earlier = Prompt(prompt.clicks[:2])
        assert prompt.previous is not None and np.array_equal(prompt.previous, answer(earlier).masks[0])


def test_the_previous_mask_is_kept_from_a_method_that_reuses_its_array() -> None:
    class Reuses(Discs):
        array = np.zeros((1, H, W), bool)

        def predict(self, image: Image, click: Click | Sequence[Click], text: str | None) -> Prediction:
            raise NotImplementedError

        def segment(self, groups: Sequence[tuple[Any, Sequence[Prompt]]]) -> list[list[Prediction]]:
            self.prompts += [prompt for _, prompts in groups for prompt in prompts]
            self.array[:] = len(groups[0][1][0].clicks) % 2
            return [[Prediction(self.array) for _ in prompts] for _, prompts in groups]

    method = Reuses()
    evaluated(method, Boxes(), clicks=3)
    shown = {
        len(prompt.clicks): bool(prompt.previous.any()) for prompt in method.prompts if prompt.previous is not None
    }
    assert shown == {2: True, 3: False}


def test_what_fails_in_a_later_round_keeps_its_earlier_rows() -> None:
    def second(good: Prediction, prompt: Prompt) -> Prediction:
        if len(prompt.clicks) == 2 and prompt.text == "middle":
            raise RuntimeError("second click")
        return good

    records = evaluated(Discs(second), Boxes(), clicks=3)
    assert keys(records, "failed") == {("1m", 2, None)}
    wanted = {(i, c, r) for i in all_ids() for c in (1, 2, 3) for r in ("confidence", "oracle")}
    assert keys(records, "ok") == {key for key in wanted if key[0] != "1m" or key[1] == 1}


def test_a_failed_load_counts_at_the_last_click() -> None:
    records = evaluated(Discs(), Boxes({2: raising(OSError("cut off"))}), clicks=3)
    assert keys(records, "failed") == {(one, 3, None) for one in all_ids("2")}


def test_a_bug_in_a_data_set_keeps_its_traceback() -> None:
    class Nameless(Boxes):
        @property
        def classes(self) -> Any:  # type: ignore[override]
            raise AttributeError("forgot the classes")

    with pytest.raises(AttributeError, match="forgot the classes"):
        evaluated(Discs(), Nameless())


@pytest.fixture
def coco(tmp_path: Path) -> Coco:
    """Three real pictures: one whole, one truncated, one with an annotation that is none."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val").mkdir()
    square = [[5.0, 5.0, 30.0, 5.0, 30.0, 25.0, 5.0, 25.0]]
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in (1, 2, 3):
        pixels = rng.integers(0, 255, (H, W, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / "val" / f"{number}.jpg")
        images.append({"id": number, "file_name": f"{number}.jpg", "height": H, "width": W})
        for which in (1, 2):
            shape: Any = [[1, 2]] if (number, which) == (3, 2) else square
            one = {"id": 10 * number + which, "image_id": number, "category_id": which, "segmentation": shape}
            annotations.append(one | {"area": 500, "iscrowd": 0})
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "zebra"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(document))
    whole = (tmp_path / "val" / "2.jpg").read_bytes()
    (tmp_path / "val" / "2.jpg").write_bytes(whole[: len(whole) // 2])
    return Coco(tmp_path, "val", seen=["person"])


def test_a_truncated_jpeg_and_a_broken_polygon(coco: Coco) -> None:
    records = evaluated(Discs(), coco, batch=3)
    failed = {one.instance_id: one for one in records if one.status == "failed"}
    assert set(failed) == {"21", "22", "32"}
    assert {one.instance_id for one in records if one.status == "ok"} == {"11", "12", "31"}
    assert (failed["21"].category, failed["21"].seen, failed["22"].seen) == ("person", True, False)
    assert "do not decode" in str(failed["21"].error) and "polygon" in str(failed["32"].error)


def test_loading_stays_ahead_of_the_consumer_but_not_by_more() -> None:
    seen: list[str] = []
    coming = ahead(lambda one: seen.append(one) or one, "abcdef", 2)  # type: ignore[func-returns-value]
    assert next(coming) == "a"
    assert set(seen) <= set("abc")
    assert list(coming) == list("bcdef")


@pytest.mark.parametrize(("device", "ahead"), [("cpu", False), ("cuda:0", True), (None, True)])
def test_images_are_decoded_ahead_unless_the_method_says_that_it_works_on_the_cpu(
    device: str | None, ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()
    changes = {number: lambda number=number: threads.add(get_ident()) or sample(number) for number in range(4)}
    monkeypatch.setattr(Discs, "device", device)
    evaluated(Discs(), Boxes(changes))
    assert (threads != {get_ident()}) is ahead


class OnGpu(Discs):
    """Notes whether two threads were ever in it at once, and how often it was called."""

    device = "cuda:0"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.calls, self.inside, self.crowded = 0, 0, False

    def encode(self, images: Sequence[Image]) -> list[Any]:
        with self._alone():
            return super().encode(images)

    def segment(self, groups: Sequence[tuple[Any, Sequence[Prompt]]]) -> list[list[Prediction]]:
        self.calls += 1
        with self._alone():
            return super().segment(groups)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.inside += 1
        self.crowded |= self.inside > 1
        time.sleep(0.002)
        yield
        self.inside -= 1


@pytest.mark.slow
@pytest.mark.parametrize("clicks", [1, 3])
def test_on_a_gpu_two_images_are_under_way_and_nothing_else_changes(clicks: int) -> None:
    method, many = OnGpu(), Boxes()
    many.sample_ids = lambda: [str(number) for number in range(40)]  # type: ignore[method-assign]
    wanted = plain(evaluated(Discs(), many, 1, clicks))
    found = plain(evaluated(method, many, 1, clicks))
    assert [one | {"device": ""} for one in found] == [one | {"device": ""} for one in wanted]
    assert method.calls == 40 * clicks and not method.crowded


def test_an_image_is_scored_while_a_gpu_works_on_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    method, score, waited = OnGpu(), scoring.score, []

    def patient(*args: Any) -> Any:
        deadline = time.monotonic() + 5
        while method.calls < 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        waited.append(method.calls >= 2)
        return score(*args)

    monkeypatch.setattr(scoring, "score", patient)
    assert evaluated(method, Boxes(), 1)
    assert all(waited)


@pytest.mark.parametrize("method", [Discs, OnGpu])
def test_what_is_begun_in_time_is_finished(method: type[Discs]) -> None:
    names, dataset = Names("ours", "discs", "toys", "boxes"), Boxes()
    protocol = Protocol("r", 5, Clicks(), Text(), ("iou",))

    def done(until: float) -> list[str]:
        return [
            one for ids, _ in Evaluation(method(), dataset, [(names, protocol)]).batches("0123", until) for one in ids
        ]

    assert done(0) == ["0"]
    assert done(time.monotonic() + 60) == list("0123")


def test_a_gpu_that_is_lost_in_a_thread_ends_the_evaluation() -> None:
    with pytest.raises(DeviceLost, match="CUDA error"):
        evaluated(OnGpu(raising(RuntimeError("CUDA error: an illegal memory access"))), Boxes(), 1)


def test_rows_say_what_lies_under_the_first_click_and_what_was_hit() -> None:
    whole = np.zeros((H, W), bool)
    whole[2:30, 1:25] = True
    inner, far = sample(0).instances[0], sample(0).instances[2]
    instances = (Instance("0w", whole, "whole", True), inner, replace(far, category="whole"))
    records = evaluated(Discs(), Boxes({0: lambda: sample(0, instances=instances)}), clicks=3)
    own = {(one.instance_id, one.click_index, one.ranking): one for one in records if one.image_id == "0"}
    small = [own["0l", number, "confidence"] for number in (1, 2, 3)]
    assert {(one.under_click, one.under_click_area_ratio) for one in small} == {(2, 16 * 12 / (28 * 24))}
    first = small[0].clicks[0]
    assert {one.click_depth_px for one in small} == {
        min(first.x - 1 + 1, 12 - first.x + 1, first.y - 4 + 1, 19 - first.y + 1)
    }
    assert {own["0r", 1, "oracle"].under_click, own["0r", 1, "oracle"].under_click_area_ratio} == {1}
    # The smaller disc has 45 pixels: a piece of either box.
    assert (own["0l", 1, "confidence"].hit, own["0w", 1, "confidence"].hit) == ("part", "part")
    assert all(one.hit for one in records)


def test_what_was_hit_is_each_candidate_s_own() -> None:
    def two(good: Prediction, prompt: Prompt) -> Prediction:
        masks = np.stack([sample(1).instances[2].mask, sample(1).instances[0].mask])
        return Prediction(masks, good.scores) if prompt.text == "left" else good

    records = evaluated(Discs(two), Boxes())
    hits = {one.ranking: one.hit for one in records if one.instance_id == "1l"}
    assert hits == {"confidence": "other_class", "oracle": "right"}


def test_a_failed_row_has_its_click_s_surroundings_but_hit_nothing() -> None:
    method = Discs(raising(RuntimeError("bad")))
    (failed, *_) = [one for one in evaluated(method, Boxes()) if one.status == "failed"]
    assert (failed.under_click, failed.under_click_area_ratio, failed.hit) == (1, 1, None) and failed.click_depth_px
    (unclicked, *_) = evaluated(Discs(), Boxes({2: raising(OSError("cut off"))}))[6 * 2 :]
    assert unclicked.status == "failed" and unclicked.under_click is None and unclicked.click_depth_px is None


def test_several_clicks_a_round_are_one_row_each_round() -> None:
    options = {"positives": 2, "negatives": 1, "distance": 4}
    clicks = Clicks(strategy="paper/v2", options=options, max_clicks=6)
    method = Discs()
    names = Names("ours", "discs", "toys", "boxes")
    protocol = Protocol("r", 5, clicks, Text(), ("iou",))
    records = list(Evaluation(method, Boxes(), [(names, protocol)]).records(["0"]))
    assert {one.click_index for one in records} == {3, 6}
    assert all(len(one.clicks) == one.click_index for one in records)
    assert {sum(click.positive for click in one.clicks) / one.click_index for one in records} == {2 / 3}
    assert {len(prompt.clicks) for prompt in method.prompts} == {3, 6}


@pytest.mark.parametrize("batch", [1, 4])
def test_an_instance_on_which_no_click_can_be_made_fails_alone(batch: int) -> None:
    full = Instance("0m", np.ones((H, W), bool), "middle", False)
    left, _, right = sample(0).instances
    dataset = Boxes({0: lambda: sample(0, instances=(left, full, right))})
    clicks = Clicks(strategy="paper/v2", options={"positives": 1, "negatives": 1}, max_clicks=2)
    names = Names("ours", "discs", "toys", "boxes")
    protocol = Protocol("r", 5, clicks, Text(), ("iou",), batch)
    method = Discs()
    records = list(Evaluation(method, dataset, [(names, protocol)]).records(dataset.sample_ids()))
    assert keys(records, "failed") == {("0m", 2, None)}
    assert keys(records, "ok") == {(one, 2, rank) for one in all_ids() - {"0m"} for rank in ("confidence", "oracle")}
    (failed,) = [one for one in records if one.status == "failed"]
    assert failed.error and failed.error.startswith("clicks: paper/v2: no pixel off the object")
    assert failed.clicks == () and failed.under_click is None and failed.text == "middle"
    assert len(method.prompts) == 11


ASKED = [
    Protocol("r", 5, Clicks(max_clicks=3), Text(), ("iou",)),
    Protocol("r", 5, Clicks(), Text(rule="synonym"), ("iou", "boundary_iou")),  # of "right" alone
    Protocol("r", 5, Clicks(strategy="center/v1", max_clicks=2), Text(rule="none"), ("boundary_iou",)),
]


class Counts(Discs):
    """Discs that remember which images they encoded, in which batches."""

    def __init__(self, **wrong: Any) -> None:
        super().__init__(**wrong)
        self.encoded: list[list[int]] = []

    def encode(self, images: Sequence[Image]) -> list[Any]:
        self.encoded.append([int(image[0, 0, 0]) for image in images])
        return super().encode(images)


def asked_together(
    method: Method, dataset: Dataset, protocols: Sequence[Protocol], batch: int
) -> tuple[list[list[Record]], list[list[Record]]]:
    """The records of each protocol, asked with the others and asked alone."""
    ways = [
        (Names(f"way {number}", "discs", "toys", "boxes"), replace(protocol, images_per_batch=batch))
        for number, protocol in enumerate(protocols)
    ]
    found: list[list[Record]] = [[] for _ in ways]
    for _, some in Evaluation(method, dataset, ways).batches(dataset.sample_ids()):
        for own, new in zip(found, some, strict=True):
            own += new
    return found, [list(Evaluation(method, dataset, [way]).records(dataset.sample_ids())) for way in ways]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ({}, {}),
        ({"badly": raising(ValueError("too small"))}, {}),
        ({"wrong": raising(RuntimeError("bad"))}, {}),
        ({}, {1: raising(OSError("cut off")), 2: lambda: sample(2, instances=())}),
        ({}, {3: lambda: sample(3, instances=sample(3).instances[:2], broken={"3r": "covers no pixel"})}),
    ],
)
def test_asked_together_is_asked_alone(
    method: dict[str, Any], changes: dict[int, Any], batch: int, words: Path
) -> None:
    protocols = [ASKED[0], replace(ASKED[1], text=Text(rule="synonym", words=str(words))), ASKED[2]]
    together, alone = asked_together(Discs(**method), Boxes(changes), protocols, batch)
    assert [plain(records) for records in together] == [plain(records) for records in alone]
    assert len({one.text for one in together[1]}) == 2 and all(records for records in together)


@pytest.fixture
def words(tmp_path: Path) -> Path:
    (tmp_path / "words.csv").write_text("name,said,synonym,hypernym\nright,,starboard,\n")
    return tmp_path / "words.csv"


def test_an_image_is_decoded_and_encoded_once_however_it_is_asked() -> None:
    loads: list[int] = []
    changes = {number: lambda number=number: loads.append(number) or sample(number) for number in range(4)}
    method = Counts()
    (found, _) = asked_together(method, Boxes(changes), ASKED, batch=3)
    assert (loads, method.encoded) == ([0, 1, 2, 3] * 4, [[0, 1, 2], [3]] * 3)  # once together, then thrice alone
    times = {one.encode_ms for records in found for one in records if one.image_id == "0"}
    assert len(times - {None}) == 1


def test_a_batch_s_encoding_is_shared_out_among_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(step=3)  # 3 s later at each look
    monkeypatch.setattr("harness.evaluation.pictures.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    together, alone = asked_together(Discs(), Boxes(), [ASKED[0], ASKED[2]], batch=3)
    for records in (*together, *alone):
        assert {(one.image_id, one.encode_ms) for one in records} == {
            ("0", 1000),
            ("1", 1000),
            ("2", 1000),
            ("3", 3000),
        }


def test_an_image_is_encoded_for_those_who_can_ask_of_it(words: Path) -> None:
    few = {n: lambda n=n: sample(n, instances=sample(n).instances[: 3 - n % 2]) for n in range(4)}
    texts = (Text(rule="synonym", words=str(words)), Text(rule="none"))
    protocols = [replace(ASKED[1], text=text) for text in texts]
    method = Counts()
    asked_together(method, Boxes(few), protocols, batch=4)
    assert method.encoded[:2] == [[0, 2], [1, 3]]  # first for "right", then for the others
    silent = Counts()
    asked_together(silent, Boxes(few), [ASKED[1]], batch=4)
    assert silent.encoded == []


def test_metrics_of_a_text_s_map_are_in_the_rows_of_methods_that_have_one() -> None:
    class Seeing(Discs):
        def saliency_map(self, state: Any, prompt: Prompt) -> np.ndarray:
            if prompt.text == CLASSES[2]:
                raise RuntimeError("saw nothing")
            return np.linspace(0, 1, H * W, dtype=np.float32).reshape(H, W)

    names = ("iou", "saliency_auc", "saliency_pointing")
    records = evaluated(Seeing(), Boxes(), metrics=names)
    ok = [one for one in records if one.status == "ok"]
    assert ok and {tuple(one.metrics) for one in ok} == {names}
    assert all(0 < one.metrics["saliency_auc"] < 1 and one.metrics["saliency_pointing"] == 0 for one in ok)
    failed = [one for one in records if one.status == "failed"]
    assert {one.category for one in failed} == {CLASSES[2]}
    assert all(one.error and one.error.startswith("metrics: saliency_map failed: RuntimeError") for one in failed)
    without = evaluated(Discs(), Boxes(), metrics=names)
    assert {tuple(one.metrics) for one in without if one.status == "ok"} == {("iou",)}


@pytest.mark.parametrize("wrong", [np.zeros((W, H), np.float32), np.full((H, W), np.nan, np.float32)])
def test_what_is_no_map_of_the_image_is_a_failed_row(wrong: np.ndarray) -> None:
    class Wrong(Discs):
        def saliency_map(self, state: Any, prompt: Prompt) -> np.ndarray:
            return wrong

    for record in evaluated(Wrong(), Boxes(), metrics=("iou", "saliency_auc")):
        assert record.status == "failed"
        assert f"saliency_map failed: ValueError: found float32 {wrong.shape}; wanted finite" in str(record.error)


def test_an_instance_that_starts_from_a_mask() -> None:
    plain = sample(0)
    starts = [np.zeros((H, W), bool) for _ in range(2)]
    starts[0][4:12, 1:13] = True  # the upper half of the first box
    starts[1][:, 40:] = True  # nothing of the second
    own = [*(replace(one, initial=start) for one, start in zip(plain.instances, starts, strict=False))]
    shown = sample(0, instances=(*own, plain.instances[2]))
    method = Discs()
    protocol = Protocol("demo", 0, Clicks(strategy="ritm/v1", max_clicks=2), Text(rule="none"), ("iou",))
    names = Names("discs", "discs", "boxes", "boxes")
    records = list(Evaluation(method, Boxes({0: lambda: shown}), [(names, protocol)]).records(["0"]))
    assert [record.status for record in records] == ["ok"] * 12, "two rankings, two clicks"
    first = {record.instance_id: record.clicks[0] for record in records if len(record.clicks) == 1}
    assert first["0l"].positive and first["0l"].y >= 12, "into what the mask lacks"
    (prompts, later) = method.prompts[:3], method.prompts[3:]
    for asked in (prompts, later):
        assert asked[2].initial is None
        for one, start in zip(asked, starts, strict=False):
            np.testing.assert_array_equal(one.initial, start)
            assert one.initial is not None and not one.initial.flags.writeable
    assert all(one.previous is None for one in prompts) and all(one.previous is not None for one in later)


def test_a_mask_to_start_from_of_another_size_is_a_failed_row() -> None:
    plain = sample(0)
    wrong = replace(plain.instances[0], initial=np.zeros((W, H), bool))
    shown = sample(0, instances=(wrong, *plain.instances[1:]))
    protocol = Protocol("demo", 0, Clicks(max_clicks=1), Text(rule="none"), ("iou",))
    names = Names("discs", "discs", "boxes", "boxes")
    records = list(Evaluation(Discs(), Boxes({0: lambda: shown}), [(names, protocol)]).records(["0"]))
    assert [record.status for record in records] == ["failed", *["ok"] * 4]
    assert records[0].error == "initial mask: bool (48, 32); wanted bool (32, 48), the image's (h, w)."
