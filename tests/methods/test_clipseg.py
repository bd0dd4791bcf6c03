"""CLIPSeg's saliency gives what the package's own processor and model give; each image and each text is read once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import torch.nn.functional as F
from harness.methods.saliency.clipseg import ClipSeg

import toy_snapshots
from harness.plugins import files, parameters
from harness.plugins.interfaces import checked_maps
from harness.structures import Click, Prompt, UserError

pytestmark = pytest.mark.slow
TEXTS = ["car", "tall tree", "red"]
IMAGES = [np.random.default_rng(seed).integers(0, 256, (32, 48, 3), np.uint8) for seed in range(3)]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_snapshots.clipseg(tmp_path_factory.mktemp("clipseg"))


@pytest.fixture
def saliency(snapshot: Path) -> Any:
    return built(snapshot)


def built(snapshot: Path, **more: Any) -> Any:
    given = {"snapshot": str(snapshot), "device": "cpu", **more}
    return parameters.build("saliency", "clipseg", parameters.resolve("saliency", "clipseg", given))


def packages(snapshot: Path, image: np.ndarray, texts: list[str]) -> torch.Tensor:
    """The package's own logits, as its documentation asks for them: an image for each text."""
    transformers = toy_snapshots.package()
    processor = transformers.CLIPSegProcessor.from_pretrained(snapshot)
    model = transformers.CLIPSegForImageSegmentation.from_pretrained(snapshot).eval()
    shown = [PIL.Image.fromarray(image)] * len(texts)
    with torch.inference_mode():
        return model(**processor(text=texts, images=shown, padding=True, return_tensors="pt")).logits


def test_maps_are_the_packages(saliency: Any, snapshot: Path) -> None:
    expected = packages(snapshot, IMAGES[0], TEXTS)
    (seen,) = saliency.features(IMAGES[:1])
    with torch.inference_mode():
        assert torch.allclose(saliency.logits([seen] * 3, TEXTS), expected, atol=1e-5)
    stretched = F.interpolate(expected.sigmoid()[:, None], (32, 48), mode="bilinear")[:, 0].numpy()
    found = checked_maps(saliency, saliency.maps(seen, TEXTS, ("car", "house")), 3, (32, 48))
    np.testing.assert_allclose(found, stretched, atol=1e-6)
    assert found.std(axis=(1, 2)).min() > 0.01 and np.abs(found[0] - found[1]).max() > 0.05


def test_a_template_is_part_of_what_is_read(saliency: Any, snapshot: Path) -> None:
    asked = built(snapshot, template="a {}")
    expected = packages(snapshot, IMAGES[0], ["a car"])
    with torch.inference_mode():
        assert torch.allclose(asked.logits(asked.features(IMAGES[:1]), ["car"]), expected, atol=1e-5)
    with pytest.raises(UserError, match=r"template='a photo'; wanted one with \{\} for the text"):
        built(snapshot, template="a photo")


def test_each_image_and_each_text_is_read_once(saliency: Any) -> None:
    passes: list[int] = []
    saliency.clip.vision_model.register_forward_hook(lambda *_: passes.append(1))
    saliency.decoder.transposed_convolution.register_forward_hook(lambda *_: passes.append(100))
    seen = saliency.features(IMAGES)
    for one in seen:
        saliency.maps(one, TEXTS, ())
    saliency.maps_of_each(seen, ["car", "red", "car"], [()] * 3)
    assert (saliency.image_encodings, saliency.text_encodings) == (3, 3)
    assert passes == [1, 100, 100, 100, 100]  # Three images share a forward pass, and so do an image's three texts.


def test_one_text_for_each_of_several_images(saliency: Any) -> None:
    others = [IMAGES[0], np.ascontiguousarray(IMAGES[1][:20]), IMAGES[2]]
    seen = saliency.features(others)
    together = saliency.maps_of_each(seen, ["car", "red", "car"], [("car",), (), ()])
    for one, text, found in zip(seen, ["car", "red", "car"], together, strict=True):
        np.testing.assert_allclose(found, saliency.maps(one, [text], ())[0], atol=1e-6)
    assert saliency.maps(seen[1], [], ()).shape == (0, 20, 48)


def test_a_text_longer_than_clip_reads_is_refused(saliency: Any, snapshot: Path) -> None:
    (seen,) = saliency.features(IMAGES[:1])
    with pytest.raises(ValueError, match=r"found a text of 25 pieces of words .*; CLIPSeg reads 24\. Shorten the text"):
        saliency.maps(seen, ["car", "a" * 23], ())
    assert saliency.maps(seen, ["a" * 22], ()).shape == (1, 32, 48)
    (limit,) = ClipSeg.text_limits({"snapshot": str(snapshot), "template": "a {}"})
    assert (limit.most, limit.cut, limit.beyond("a" * 21), limit.beyond("a" * 22)) == (24, False, 0, 25)


def test_text_and_click_takes_it_as_its_saliency(snapshot: Path) -> None:
    given = {
        "checkpoint": "methods/weights/scenes_text_click.safetensors",
        "saliency": {"name": "clipseg", "params": {"snapshot": str(snapshot), "device": "cpu"}},
        "device": "cpu",
    }
    method = parameters.build("methods", "text_click", parameters.resolve("methods", "text_click", given))
    (state,) = method.encode([IMAGES[0]])
    shown = method.saliency_map(state, Prompt((Click(20, 10),), "car"))
    np.testing.assert_array_equal(shown, method.saliency.maps(method.saliency.features(IMAGES[:1])[0], ["car"], ())[0])
    assert method.predict(IMAGES[0], Click(20, 10), "car").masks.shape == (1, 32, 48)


def test_its_weights_are_hashed_though_they_lie_in_a_folder(snapshot: Path) -> None:
    hashes = files.hashes("saliency", "clipseg", {"snapshot": str(snapshot)})
    assert {"snapshot/config.json", "snapshot/model.safetensors", "snapshot/tokenizer.json"} <= hashes.keys()
