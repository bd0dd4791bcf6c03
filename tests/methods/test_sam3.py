"""SAM 3's instances and its tracker's masks are the package's; the click chooses; the tower runs once an image."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from harness.methods.sam3.network import Instances
from harness.methods.sam3.sam3 import Sam3, chosen

import toy_snapshots
from harness.evaluation.scoring import check, choices
from harness.plugins import parameters
from harness.structures import Click, Prompt, UserError

IMAGES = [
    np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1) for seed in (0, 1)
]
TEXTS = ["car", "tall tree", "red"]


def instances(*masks: str, scores: tuple[float, ...]) -> Instances:
    """Masks of one row of pixels: "##.." holds the first two."""
    rows = np.array([[[sign == "#" for sign in mask]] for mask in masks])
    return Instances(np.array(scores), rows, torch.zeros(len(masks), 4, 4))


@pytest.mark.parametrize(
    ("clicks", "place"),
    [
        ([], 0),
        ([Click(0, 0, False)], 0),
        ([Click(0, 0)], 0),
        ([Click(2, 0)], 1),
        ([Click(4, 0)], None),  # held by the one below the threshold alone
        ([Click(1, 0)], 0),  # held by two: the higher score
        ([Click(1, 0), Click(2, 0)], 1),  # ... unless the other agrees with more clicks
        ([Click(1, 0), Click(0, 0, False)], 1),
        ([Click(5, 0), Click(0, 0)], None),  # the first click counts most
    ],
)
def test_the_clicks_choose_an_instance(clicks: list[Click], place: int | None) -> None:
    found = instances("##....", ".##...", "#####.", scores=(0.9, 0.6, 0.4))
    assert chosen(found, clicks, 0.5) == place


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_snapshots.sam3(tmp_path_factory.mktemp("sam3"))


def built(snapshot: Path, **more: Any) -> Any:
    given = {"snapshot": str(snapshot), "score_threshold": 0.0, "device": "cpu", **more}
    return parameters.build("methods", "sam3", parameters.resolve("methods", "sam3", given))


@pytest.mark.slow
def test_instances_of_a_text_are_the_packages(snapshot: Path) -> None:
    transformers = toy_snapshots.package()
    processor = transformers.Sam3Processor.from_pretrained(snapshot)
    model = transformers.Sam3Model.from_pretrained(snapshot).eval()
    network = built(snapshot, score_threshold=0.1, texts_per_batch=8).network
    for image in IMAGES:
        with torch.inference_mode():
            found = network.instances(network.features(image), (32, 48), TEXTS)
        for text in TEXTS:
            given = processor(images=PIL.Image.fromarray(image), text=text, return_tensors="pt")
            with torch.inference_mode():
                answer = model(**given)
            (expected,) = processor.post_process_instance_segmentation(answer, 0.1, 0.5, [(32, 48)])
            order = expected["scores"].argsort(descending=True)
            assert 2 <= len(order) <= len(found[text].scores)
            np.testing.assert_allclose(found[text].scores, expected["scores"][order], atol=1e-5)
            np.testing.assert_array_equal(found[text].masks, expected["masks"][order].bool())
        assert any((found["car"].masks[0] ^ one).any() for one in found["red"].masks)


@pytest.mark.slow
@pytest.mark.parametrize("levels", [4, 3])
def test_the_trackers_masks_are_the_packages(snapshot: Path, tmp_path: Path, levels: int) -> None:
    transformers = toy_snapshots.package()
    if levels == 3:  # Then the package adds its vector for "no earlier frame" to the map that it keeps.
        snapshot = Path(shutil.copytree(snapshot, tmp_path / "three"))
        config = json.loads((snapshot / "config.json").read_text())
        config["tracker_config"]["vision_config"]["scale_factors"] = [4.0, 2.0, 1.0]
        (snapshot / "config.json").write_text(json.dumps(config))
    processor = transformers.Sam3TrackerProcessor.from_pretrained(snapshot)
    model = transformers.Sam3TrackerModel.from_pretrained(snapshot).eval()
    method = built(snapshot)
    (state,) = method.encode(IMAGES[:1])
    prompts = [Prompt((Click(30, 9),)), Prompt((Click(3, 30),)), Prompt((Click(40, 3), Click(5, 8, False)))]
    (first,) = method.segment([(state, prompts[:1])])[0]
    prompts.append(Prompt((Click(30, 9), Click(9, 9)), previous=first.memory[0]))
    for prompt, found in zip(prompts, method.segment([(state, prompts)])[0], strict=True):
        check(found, (32, 48))
        given = processor(
            images=PIL.Image.fromarray(IMAGES[0]),
            input_points=[[[[click.x, click.y] for click in prompt.clicks]]],
            input_labels=[[[int(click.positive) for click in prompt.clicks]]],
            return_tensors="pt",
        )
        sizes, pixels = given.pop("original_sizes"), given.pop("pixel_values")
        embedded = model.get_image_embeddings(pixels)
        if levels == 4:
            assert model.no_memory_embedding.abs().max() > 0.1  # Of which none is in what the package gives.
            embedded[-1] = embedded[-1] + model.no_memory_embedding.view(1, 32, 1, 1)
        mask = None if prompt.previous is None else torch.as_tensor(prompt.previous)[None, None]
        with torch.inference_mode():
            answer = model(
                **given, image_embeddings=embedded, input_masks=mask, multimask_output=len(prompt.clicks) == 1
            )
        (masks,) = processor.post_process_masks(answer.pred_masks, sizes)
        np.testing.assert_array_equal(found.masks, masks[0])
        np.testing.assert_allclose(found.scores["confidence"], answer.iou_scores[0, 0], atol=1e-5)
        assert list(found.scores) == ["confidence"] and 0.01 < found.masks.mean() < 0.99


@pytest.mark.slow
def test_a_text_with_a_click_has_two_rankings(snapshot: Path) -> None:
    method = built(snapshot)
    (state,) = method.encode(IMAGES[:1])
    best = method.network.instances(state.features, state.size, ["car"])["car"]
    y, x = map(int, np.argwhere(best.masks.any(0) & ~best.masks.all(0))[0])
    place = chosen(best, [Click(x, y)], 0.0)
    assert place is not None
    with_text, alone = method.segment([(state, [Prompt((Click(x, y),), "car"), Prompt((Click(x, y),))])])[0]
    check(with_text, (32, 48))
    assert choices(with_text) == {"confidence": choices(alone)["confidence"], "concept": 3}
    np.testing.assert_array_equal(with_text.masks, np.concatenate([alone.masks, best.masks[place][None]]))
    assert with_text.scores["concept"][3] == pytest.approx(best.scores[place])
    by_text = method.segment([(state, [Prompt((), "car")])])[0][0]
    np.testing.assert_array_equal(by_text.masks, best.masks[:1])
    # Above every score no instance counts: the text's ranking takes the tracker's best.
    nothing = built(snapshot, score_threshold=1.0)
    unfound = nothing.predict(IMAGES[0], Click(x, y), "car")
    assert choices(unfound)["concept"] == choices(unfound)["confidence"] == choices(alone)["confidence"]
    np.testing.assert_array_equal(nothing.predict(IMAGES[0], (), "car").masks, best.masks[:1])
    # The mask of either ranking serves as the start of the next round.
    for memory in with_text.memory:
        check(method.segment([(state, [Prompt((Click(x, y), Click(1, 1)), "car", memory)])])[0][0], (32, 48))


@pytest.mark.slow
def test_each_tower_runs_once_an_image_and_once_a_text(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, passes = built(snapshot, prompts_per_batch=16, texts_per_batch=8), []
    network = method.network
    network.tower.register_forward_hook(lambda *_: passes.append("image"))
    network.detector.text_encoder.register_forward_hook(
        lambda *given: passes.append(f"{len(given[-1].last_hidden_state)} texts")
    )
    network.detector.detr_decoder.register_forward_hook(lambda *_: passes.append("detector"))
    network.tracker.mask_decoder.register_forward_hook(lambda *_: passes.append("tracker"))
    states = method.encode(IMAGES)
    prompts = [Prompt((Click(x, 9),), text) for x in (5, 20, 40) for text in TEXTS]
    method.segment([(state, prompts) for state in states])
    method.segment([(states[0], prompts[:2])])
    assert passes == ["image", "image", "3 texts", "detector", "tracker", "detector", "tracker", "tracker"]
    assert (method.image_encodings, network.text_encodings) == (2, 3)
    assert not any("backbone" in name for name, _ in network.tracker.named_parameters())  # The tower is there once.
    monkeypatch.setattr("harness.methods.sam3.network.KEPT_PX", 0)
    before = method.segment([(states[0], prompts[:1])])[0][0]
    assert not states[0].features.found  # Masks of many instances of a large picture do not pile up.
    np.testing.assert_array_equal(method.segment([(states[0], prompts[:1])])[0][0].masks, before.masks)


@pytest.mark.slow
def test_bad_prompts_and_files_are_told(snapshot: Path, tmp_path: Path) -> None:
    method = built(snapshot)
    with pytest.raises(ValueError, match="sam3 needs a click or a text; found neither"):
        method.predict(IMAGES[0], (), " ")
    with pytest.raises(ValueError, match=r"found a text of 33 pieces of words .*; SAM 3 reads 32\. Shorten the text"):
        method.predict(IMAGES[0], Click(3, 3), "a" * 31)
    (limit,) = Sam3.text_limits({"snapshot": str(snapshot)})
    assert (limit.most, limit.cut, limit.beyond("a" * 30), limit.beyond("a" * 31)) == (32, False, 0, 33)
    toy_snapshots.clipseg(tmp_path / "other")
    with pytest.raises(UserError, match=r"sam3\.py: .*: found a snapshot of clipseg; wanted one of sam3_video"):
        built(tmp_path / "other")
    with pytest.raises(UserError, match="no/config.json; wanted a snapshot of the hub"):
        built(tmp_path / "no")
