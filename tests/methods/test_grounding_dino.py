"""Grounding DINO's boxes are the package's, SAM's masks of click and box are SAM's; each tower runs once."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from harness.methods.grounding_dino.detector import Boxes, Detector, caption
from harness.methods.grounding_dino.grounding_dino import GroundingDino, chosen
from harness.methods.sam import tiny as tiny_sam
from harness.methods.sam.sam import load_sam
from safetensors.torch import save_file
from segment_anything import SamPredictor

import toy_snapshots
from harness.plugins import parameters
from harness.structures import Click, Prompt, UserError

IMAGES = [
    np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1) for seed in (0, 1)
]
TEXTS = ["car", "tall tree", "red", "Red"]
BOXES = Boxes(torch.tensor([[0.0, 0, 48, 32], [10, 5, 30, 20], [11, 6, 29, 19]]), torch.tensor([0.9, 0.5, 0.2]))


@pytest.mark.parametrize(
    ("clicks", "threshold", "place"),
    [
        ((), 0.25, 0),  # By text alone the best of all, ...
        ((), 1.0, 0),  # ... whatever its score.
        ((Click(12, 7),), 0.25, 0),
        ((Click(12, 7, False),), 0.25, 0),
        ((Click(40, 30),), 0.95, None),
        ((Click(12, 7),), 0.0, 0),
    ],
)
def test_the_best_box_that_holds_the_click(clicks: tuple[Click, ...], threshold: float, place: int | None) -> None:
    found = chosen(BOXES, clicks, threshold)
    assert (found is None) == (place is None)
    if place is not None:
        np.testing.assert_array_equal(found, BOXES.xyxy[place])


def test_a_box_holds_a_click_by_the_middle_of_its_pixel() -> None:
    boxes = Boxes(torch.tensor([[10.5, 5.5, 30.0, 20.0], [9.0, 0, 48, 32]]), torch.tensor([0.9, 0.5]))
    for click, left in (((10, 5), 10.5), ((9, 5), 9.0), ((29, 19), 10.5), ((30, 19), 9.0)):
        assert chosen(boxes, [Click(3, 3, False), Click(*click)], 0.25)[0] == left  # type: ignore[index]
    assert chosen(boxes, [Click(8, 5)], 0.25) is None


def test_a_text_is_said_as_the_authors_say_it() -> None:
    assert [caption(one) for one in ("Kayak paddle", " a cat. ")] == ["kayak paddle.", "a cat."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grounding_dino")
    toy_snapshots.grounding_dino(folder / "snapshot")
    small = tiny_sam.Architecture(image_size=64, width=32, depth=1, heads=2, prompt_width=32)
    torch.manual_seed(0)
    weights = {name: one.contiguous() for name, one in small.network().state_dict().items()}
    save_file(weights, folder / "sam.safetensors", {"architecture": json.dumps(asdict(small))})
    return folder


def built(folder: Path, **more: Any) -> Any:
    given = {"snapshot": str(folder / "snapshot"), "sam_checkpoint": str(folder / "sam.safetensors"), "device": "cpu"}
    return parameters.build("methods", "grounding_dino", parameters.resolve("methods", "grounding_dino", given | more))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["GroundingDino", "MMGroundingDino"])
def test_boxes_are_the_packages(folder: Path, tmp_path: Path, kind: str) -> None:
    snapshot = folder / "snapshot" if kind == "GroundingDino" else toy_snapshots.grounding_dino(tmp_path, 0, kind)
    transformers = toy_snapshots.package()
    detector = Detector(snapshot, torch.device("cpu"), "here", texts_per_batch=8)
    processor = transformers.GroundingDinoProcessor.from_pretrained(snapshot)
    model = getattr(transformers, f"{kind}ForObjectDetection").from_pretrained(snapshot).eval()
    for image in IMAGES:
        found = detector.boxes(detector.see(image), ["car", "red", "tall tree"])
        for text, boxes in found.items():
            given = processor(images=PIL.Image.fromarray(image), text=f"{text}.", return_tensors="pt")
            with torch.inference_mode():
                answer = model(**given)
            (expected,) = processor.post_process_grounded_object_detection(answer, threshold=0, target_sizes=[(32, 48)])
            torch.testing.assert_close(boxes.xyxy, expected["boxes"], atol=1e-3, rtol=0)
            torch.testing.assert_close(boxes.scores, expected["scores"], atol=1e-5, rtol=0)
        assert (found["car"].xyxy - found["red"].xyxy).abs().max() > 0.1


@pytest.mark.slow
def test_masks_are_sams_for_the_clicks_and_the_box(folder: Path) -> None:
    method = built(folder, box_threshold=0.0)
    predictor = SamPredictor(load_sam(folder / "sam.safetensors"))
    predictor.set_image(IMAGES[0])
    (state,) = method.encode(IMAGES[:1])
    prompts = [
        Prompt((Click(30, 9),), "car"),
        Prompt((), "car"),
        Prompt((Click(5, 20), Click(40, 3, False)), "tall tree"),
    ]
    first = method.segment([(state, prompts)])[0]
    prompts.append(Prompt((Click(30, 9), Click(9, 9)), "car", previous=first[0].memory[0]))
    boxed = 0
    for prompt, found in zip(prompts, method.segment([(state, prompts)])[0], strict=True):
        box = chosen(method.detector.boxes(state.seen, [prompt.text])[prompt.text], prompt.clicks, 0.0)
        boxed += box is not None
        clicks = np.array([(click.x, click.y) for click in prompt.clicks], np.float64)
        masks, quality, _ = predictor.predict(
            clicks if len(clicks) else None,
            np.array([int(click.positive) for click in prompt.clicks]) if len(clicks) else None,
            box,
            None if prompt.previous is None else np.asarray(prompt.previous)[None],
            multimask_output=box is None and len(clicks) == 1,
        )
        np.testing.assert_array_equal(found.masks[0], masks[quality.argmax()])
        assert not found.scores and found.masks.shape == (1, 32, 48)
    assert boxed >= 3


@pytest.mark.slow
def test_without_a_box_it_is_sam_by_the_click_alone(folder: Path) -> None:
    alone = {"checkpoint": str(folder / "sam.safetensors"), "candidates": "chosen", "device": "cpu"}
    sam = parameters.build("methods", "sam", parameters.resolve("methods", "sam", alone))
    found = built(folder, box_threshold=1.0).predict(IMAGES[0], Click(30, 9), "car")
    np.testing.assert_array_equal(found.masks, sam.predict(IMAGES[0], Click(30, 9), None).masks)


@pytest.mark.slow
def test_each_tower_runs_once_an_image_and_once_a_text(folder: Path) -> None:
    method, passes = built(folder, prompts_per_batch=8, texts_per_batch=8), []
    method.detector.tower.register_forward_hook(lambda *_: passes.append("image"))
    method.detector.texts.tower.register_forward_hook(lambda _, given, __: passes.append(f"{len(given[0])} texts"))
    method.detector.network.register_forward_hook(lambda *_: passes.append("both"))
    states = method.encode(IMAGES)
    prompts = [Prompt((Click(x, 9),), text) for x in (5, 20, 40) for text in TEXTS]
    method.segment([(state, prompts) for state in states])
    method.segment([(states[0], [Prompt((), "red")])])
    # "red", "Red" and "car" are as long as each other, and "red" and "Red" are one caption.
    first = ["image", "image", "2 texts", "both", "1 texts", "both"]
    assert passes == [*first, "both", "both"]  # "red" was asked on the first image before.
    assert (method.image_encodings, method.detector.image_encodings, method.detector.texts.texts_read) == (2, 2, 3)


@pytest.mark.slow
def test_bad_prompts_and_files_are_told(folder: Path, tmp_path: Path) -> None:
    method = built(folder)
    for text in (None, "  "):
        with pytest.raises(ValueError, match=r"grounding_dino needs a text; found"):
            method.predict(IMAGES[0], Click(3, 3), text)
    with pytest.warns(UserWarning, match="reads the first 32 pieces of a text's words"):
        assert method.predict(IMAGES[0], Click(3, 3), "car " * 300).masks.shape == (1, 32, 48)
    (limit,) = GroundingDino.text_limits({"snapshot": str(folder / "snapshot")})
    assert (limit.most, limit.cut, limit.beyond("a" * 29), limit.beyond("a" * 30)) == (32, True, 0, 33)
    with pytest.raises(UserError, match=r"grounding_dino\.py: found no .*config\.json"):
        built(folder, snapshot=str(tmp_path / "none"))
    toy_snapshots.clipseg(tmp_path / "other")
    with pytest.raises(
        UserError, match="found a snapshot of clipseg; wanted one of grounding-dino or mm-grounding-dino"
    ):
        built(folder, snapshot=str(tmp_path / "other"))
