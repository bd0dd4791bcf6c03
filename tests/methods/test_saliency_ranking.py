"""Ranking by a text's saliency: the score by hand, which maps are asked for, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness.datasets.scenes.scenes import Scenes
from harness.methods.saliency.maskclip import MaskClip
from harness.methods.sam.sam import Sam
from harness.methods.shared.ranking import EMPTY
from harness.methods.shared.saliency_ranking import TextMaps, inside_outside, saliency_scores

from harness.evaluation.scoring import choices
from harness.plugins import parameters
from harness.plugins.interfaces import Saliency
from harness.structures import Click, Prompt, UserError

pytestmark = pytest.mark.slow
WEIGHTS = Path("methods") / "weights"
SAM = {"checkpoint": str(WEIGHTS / "scenes_sam.safetensors"), "device": "cpu"}
CLIP = {"model": str(WEIGHTS / "scenes_clip.json"), "checkpoint": str(WEIGHTS / "scenes_clip.safetensors")}
MASKCLIP = {"name": "maskclip", "params": {**CLIP, "input": 128, "templates": "plain", "device": "cpu"}}


class ByText(Saliency):
    """A map that is the text's number everywhere on the left half."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], tuple[str, ...]]] = []

    def features(self, images: Sequence[np.ndarray]) -> list[Any]:
        return [image.shape[:2] for image in images]

    def maps(self, features: Any, texts: Sequence[str], vocabulary: Sequence[str]) -> np.ndarray:
        self.asked.append((tuple(texts), tuple(vocabulary)))
        found = np.zeros((len(texts), *features), np.float32)
        for one, text in zip(found, texts, strict=True):
            one[:, : features[1] // 2] = float(text)
        return found


def test_a_score_is_the_mean_inside_less_the_mean_outside() -> None:
    salient = np.float32([[1.0, 0.5, 0.0, 0.0], [1.0, 0.5, 0.2, 0.0]])
    mask = np.array([[True, True, False, False], [True, False, False, False]])
    assert inside_outside(salient, mask) == pytest.approx(2.5 / 3 - 0.7 / 5)
    assert inside_outside(salient, ~mask) == pytest.approx(0.7 / 5 - 2.5 / 3)
    assert inside_outside(salient, mask & False) == EMPTY
    assert inside_outside(salient, mask | True) == 0
    assert saliency_scores(salient, np.stack([mask, ~mask])) == [
        inside_outside(salient, mask),
        inside_outside(salient, ~mask),
    ]


def test_a_mask_that_leaves_out_half_of_what_is_salient_is_worse() -> None:
    salient = np.zeros((8, 8), np.float32)
    salient[2:6, 2:6] = 1
    whole, part, more = (np.zeros((8, 8), bool) for _ in range(3))
    whole[2:6, 2:6] = part[2:6, 2:4] = more[1:7, 1:7] = True
    assert inside_outside(salient, whole) == 1
    assert inside_outside(salient, whole) > max(inside_outside(salient, one) for one in (part, more))


def test_prompts_of_one_text_and_vocabulary_share_a_map() -> None:
    saliency = ByText()
    prompts = [Prompt((Click(0, 0),), vocabulary=names) for names in (("a",), ("a",), ("b",), ("a",))]
    maps = TextMaps(saliency, (4, 6), (4, 6))
    found = maps.of(prompts, ["0.5", "0.25", "0.5", "0.5"])
    assert saliency.asked == [(("0.5", "0.25"), ("a",)), (("0.5",), ("b",))]
    assert [float(one.max()) for one in found] == [0.5, 0.25, 0.5, 0.5]
    assert found[0] is found[3]
    again = maps.of([*prompts, prompts[2]], ["0.5", "0.75", "0.5", "0.5", "0.25"])
    assert saliency.asked[2:] == [(("0.75",), ("a",)), (("0.25",), ("b",))]
    assert [float(one.max()) for one in again] == [0.5, 0.75, 0.5, 0.5, 0.25]


def test_maps_stay_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.methods.shared.saliency_ranking.KEPT_PX", 2 * 4 * 6)
    saliency = ByText()
    maps, prompt = TextMaps(saliency, (4, 6), (4, 6)), Prompt((Click(0, 0),))
    for texts in (["0.25"], ["0.5"], ["0.75"], ["0.5", "0.75"]):
        assert [float(one.max()) for one in maps.of([prompt] * len(texts), texts)] == [float(one) for one in texts]
    assert [texts for texts, _ in saliency.asked] == [("0.25",), ("0.5",), ("0.75",), ("0.75",)]


def prompts_of(sample: Any) -> list[Prompt]:
    rows = (np.argwhere(one.mask) for one in sample.instances)
    places = [one[len(one) // 2] for one in rows]
    names = Scenes("val", count=1).classes
    return [
        Prompt((Click(int(x), int(y)),), one.category, vocabulary=names)
        for (y, x), one in zip(places, sample.instances, strict=True)
    ]


def test_sams_choice_is_that_of_the_map_with_one_clip_pass_an_image() -> None:
    method = parameters.build("methods", "sam", {**SAM, "rankings": ["confidence", "saliency"], "saliency": MASKCLIP})
    assert isinstance(method.saliency, MaskClip)
    data = Scenes("val", count=2)
    samples = [data.load(one) for one in data.sample_ids()]
    states = method.encode([sample.image for sample in samples])
    answers = method.segment([(state, prompts_of(sample)) for state, sample in zip(states, samples, strict=True)])
    assert method.saliency.image_encodings == 2
    other = 0
    for sample, found in zip(samples, answers, strict=True):
        (features,) = method.saliency.features([sample.image])
        for prompt, one in zip(prompts_of(sample), found, strict=True):
            salient = method.saliency.maps(features, [str(prompt.text)], prompt.vocabulary)[0]
            wanted = [salient[mask].mean() - salient[~mask].mean() for mask in one.masks]
            np.testing.assert_allclose(one.scores["saliency"], wanted, atol=1e-4)
            other += choices(one)["saliency"] != choices(one)["confidence"]
    assert other


def test_what_is_missing_is_said() -> None:
    with pytest.raises(UserError, match="found no saliency; wanted both or neither"):
        Sam(WEIGHTS / "scenes_sam.safetensors", rankings=("confidence", "saliency"), device="cpu")
    with pytest.raises(UserError, match=r"found a saliency with rankings=\['confidence'\]"):
        Sam(WEIGHTS / "scenes_sam.safetensors", saliency=ByText(), device="cpu")
    method = Sam(WEIGHTS / "scenes_sam.safetensors", rankings=("saliency",), saliency=ByText(), device="cpu")
    for text in (None, "", " "):
        with pytest.raises(ValueError, match="sam ranks by saliency, which needs a text; found"):
            method.segment([(method.encode([np.zeros((32, 48, 3), np.uint8)])[0], [Prompt((Click(3, 3),), text)])])


def test_there_is_no_map_without_a_text() -> None:
    method = Sam(
        WEIGHTS / "scenes_sam.safetensors", rankings=("confidence", "saliency"), device="cpu", saliency=ByText()
    )
    (state,) = method.encode([np.zeros((4, 6, 3), np.uint8)])
    shown = method.saliency_map(state, Prompt((Click(0, 0),), "0.5"))
    assert shown is not None and shown.max() == 0.5
    for text in (None, "", " "):
        with pytest.raises(ValueError, match="sam needs a text; found"):
            method.saliency_map(state, Prompt((Click(0, 0),), text))
