"""Ranking by CLIP: what it is shown of a candidate, and what it is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from harness.methods.learners import clip
from harness.methods.shared.open_clip_model import load_clip
from harness.methods.shared.ranking import EMPTY, GREY, ClipRanking, Crop, cropped, padded
from safetensors.torch import save_file

from harness.structures import UserError

pytestmark = pytest.mark.slow

CONFIG = "methods/weights/scenes_clip.json"
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def box(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((40, 56), bool)
    mask[top:bottom, left:right] = True
    return mask


MASKS = np.stack([box(3, 20, 5, 30), box(0, 40, 0, 56), box(39, 40, 55, 56), box(10, 12, 0, 50)])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "clip.safetensors"
    save_file(dict(load_clip(CONFIG, device="cpu", allow_random=True).module.state_dict()), path)
    return path


def ranking(weights: Path, crop: Crop = "box", **options: object) -> ClipRanking:
    return ClipRanking(CONFIG, weights, crop, device="cpu", **options)  # type: ignore[arg-type]


def test_the_box_shows_what_surrounds_the_candidate() -> None:
    mask = box(3, 20, 5, 30) & ~box(3, 10, 5, 12)
    np.testing.assert_array_equal(cropped(IMAGE, mask, "box"), IMAGE[3:20, 5:30])


def test_masked_shows_the_candidate_alone() -> None:
    mask = box(3, 20, 5, 30) & ~box(3, 10, 5, 12)
    crop = cropped(IMAGE, mask, "masked")
    assert crop.shape == (17, 25, 3)
    assert (crop[:7, :7] == GREY).all()
    np.testing.assert_array_equal(crop[7:], IMAGE[10:20, 5:30])


def test_what_surrounds_a_candidate_is_what_the_embedded_clip_was_taught() -> None:
    assert GREY == clip.GREY


def test_padding_keeps_the_shape_of_a_long_candidate() -> None:
    crop = cropped(IMAGE, box(10, 13, 4, 54), "masked_padded")
    assert crop.shape == (50, 50, 3)
    np.testing.assert_array_equal(crop[23:26], IMAGE[10:13, 4:54])
    assert (np.delete(crop, slice(23, 26), axis=0) == GREY).all()
    tall = padded(IMAGE[:, :3])
    np.testing.assert_array_equal(tall[:, 18:21], IMAGE[:, :3])


def test_one_pixel_has_a_crop() -> None:
    np.testing.assert_array_equal(cropped(IMAGE, box(39, 40, 55, 56), "box"), IMAGE[39:, 55:])


@pytest.mark.parametrize("crop", ["box", "masked", "masked_padded"])
def test_scores_are_cosines_of_crop_and_sentence(weights: Path, crop: Crop) -> None:
    found = ranking(weights, crop, template="one {} here").scores(IMAGE, MASKS, ["cat", "dog", "cat", "tie"])
    model = load_clip(CONFIG, weights, "cpu")
    mean, std = (np.array(value)[:, None, None] for value in (model.image_mean, model.image_std))
    for mask, text, value in zip(MASKS, ["cat", "dog", "cat", "tie"], found, strict=True):
        shown = PIL.Image.fromarray(cropped(IMAGE, mask, crop)).resize((128, 128), PIL.Image.Resampling.BICUBIC)
        pixels = (np.asarray(shown).transpose(2, 0, 1) / 255 - mean) / std
        with torch.inference_mode():
            image = model.module.encode_image(torch.tensor(pixels, dtype=torch.float32)[None])
            words = model.module.encode_text(model.tokenizer([f"one {text} here"]))
        assert value == pytest.approx(torch.cosine_similarity(image, words).item(), abs=1e-5)


def test_the_crop_the_text_and_the_mask_all_count(weights: Path) -> None:
    scores = ranking(weights).scores(IMAGE, np.stack([MASKS[0]] * 2 + [MASKS[3]]), ["cat", "tie", "cat"])
    assert len({round(float(value), 6) for value in scores}) == 3
    holed = (MASKS[0] & ~box(5, 15, 8, 25))[None]
    styles = [ranking(weights, crop).scores(IMAGE, holed, ["cat"])[0] for crop in ("box", "masked", "masked_padded")]
    assert len({round(float(value), 6) for value in styles}) == 3


def test_an_empty_candidate_is_last_and_finite(weights: Path) -> None:
    ranker, empty = ranking(weights), box(0, 0, 0, 0)
    scores = ranker.scores(IMAGE, np.stack([empty, MASKS[0], empty]), ["cat", "tie", "cat"])
    assert scores.tolist()[::2] == [EMPTY, EMPTY]
    assert scores[1] == pytest.approx(ranker.scores(IMAGE, MASKS[:1], ["tie"])[0], abs=1e-6)
    assert scores[1] != pytest.approx(ranker.scores(IMAGE, MASKS[:1], ["cat"])[0], abs=1e-6)
    assert ranking(weights).scores(IMAGE, box(0, 0, 0, 0)[None], ["cat"]).tolist() == [EMPTY]


def test_many_at_once_score_as_one_by_one(weights: Path) -> None:
    texts = ["cat", "dog", "cat", "tie"]
    together = ranking(weights, crops_per_batch=3).scores(IMAGE, MASKS, texts)
    alone = [ranking(weights).scores(IMAGE, MASKS[i : i + 1], [text])[0] for i, text in enumerate(texts)]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_one_batch_of_crops_and_one_encoding_a_phrase(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranker = ranking(weights)
    images, texts = [], []
    encode_image, mean_of = ranker.clip.module.encode_image, ranker.embedded.sentences.mean_of
    monkeypatch.setattr(ranker.clip.module, "encode_image", lambda x: images.append(len(x)) or encode_image(x))
    monkeypatch.setattr(ranker.embedded.sentences, "mean_of", lambda text: texts.append(text) or mean_of(text))
    for _ in range(2):
        ranker.scores(IMAGE, MASKS, ["cat", "dog", "cat", "cat"])
    ranker.scores(IMAGE, MASKS[:1], ["tie"])
    assert images == [4, 4, 1]
    assert texts == ["cat", "dog", "tie"]


def test_bfloat16_is_close(weights: Path) -> None:
    exact, rough = (
        ranking(weights, dtype=kind).scores(IMAGE, MASKS, ["cat"] * 4) for kind in (torch.float32, torch.bfloat16)
    )
    np.testing.assert_allclose(exact, rough, atol=0.03)
    assert (exact != rough).any()


def test_what_is_missing_is_said(weights: Path) -> None:
    with pytest.raises(UserError, match="clip_checkpoint"):
        ClipRanking(CONFIG, None)
    with pytest.raises(UserError, match="a photo of a cat"):
        ClipRanking(CONFIG, weights, template="a photo of a cat")
