"""What Grad-CAM and Chefer et al.'s saliency share: batches, texts, contrast, sizes and counts."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch
from harness.methods.saliency.chefer import Chefer
from harness.methods.saliency.gradcam import Gradcam
from harness.methods.shared.clip_saliency import ClipSaliency, squeezed

import small_clips
from small_clips import embedded, picture

pytestmark = pytest.mark.slow
VOCABULARY = ("person", "car", "tall tree")


@pytest.fixture(params=["gradcam vit", "gradcam heads", "gradcam resnet", "chefer", "chefer all"])
def saliency(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ClipSaliency:
    small_clips.small(monkeypatch, "resnet" if request.param.endswith("resnet") else "vit")
    if request.param.startswith("chefer"):
        return Chefer("toy", start_layer=0 if request.param.endswith("all") else -1, device="cpu")
    return Gradcam("toy", layer="attention" if request.param.endswith("heads") else "auto", device="cpu")


def test_maps_are_of_the_images_size_from_0_to_1_and_leave_it_alone(saliency: ClipSaliency) -> None:
    image = picture(40, 60)
    before = image.copy()
    (features,) = saliency.features([image])
    found = saliency.maps(features, ["car", "tie", "lamp"], ())
    assert found.shape == (3, 40, 60)
    assert found.dtype == np.float32
    assert all((one.min(), one.max()) in ((0, 1), (0, 0)) for one in found)
    assert any(one.any() for one in found)
    np.testing.assert_array_equal(image, before)
    assert saliency.maps(features, [], ()).shape == (0, 40, 60)
    assert saliency.features([]) == []


def test_images_and_texts_together_are_as_alone(saliency: ClipSaliency) -> None:
    images = [picture(40, 60, 0), picture(60, 40, 1), picture(40, 60, 2)]
    texts = ["car", "tie", "lamp"]
    features = saliency.features(images)
    assert saliency.image_encodings == 3
    each = saliency.maps_of_each(features, texts, [VOCABULARY] * 3)
    for image, text, found in zip(images, texts, each, strict=True):
        (alone,) = saliency.features([image])
        several = saliency.maps(alone, ["door", text], VOCABULARY)
        np.testing.assert_allclose(several[1], saliency.maps(alone, [text], ())[0], atol=2e-4)
        np.testing.assert_allclose(found, several[1], atol=2e-4)
    assert saliency.maps_of_each([], [], []) == []


def test_each_text_is_encoded_once_and_none_of_the_vocabulary_without_contrast(saliency: ClipSaliency) -> None:
    first, second = saliency.features([picture(32, 48), picture(48, 32)])
    for features in (first, second, first):
        saliency.maps(features, ["car", "dog", "car"], VOCABULARY)
    assert saliency.text_encodings == 2


def test_with_contrast_a_map_is_the_texts_share_among_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    small_clips.small(monkeypatch, "vit")
    saliency = Gradcam("toy", contrast="softmax", temperature=0.2, device="cpu")
    (features,) = saliency.features([picture(40, 60)])
    names = [*VOCABULARY, "zebra"]
    with torch.inference_mode():
        cells = saliency.evidence(features.kept[None], saliency._vectors(names)[:, None])[:, 0]
        large = torch.nn.functional.interpolate(cells[None], (40, 60), mode="bilinear")[0].double()
    large = large / cells[:3].abs().max() / 0.2
    for text, among in (("car", large[:3]), ("zebra", large)):
        wanted = among.softmax(0)[names.index(text)]
        wanted = (wanted - wanted.min()) / (wanted.max() - wanted.min())
        together = saliency.maps(features, ["lamp", text], VOCABULARY)[1]
        np.testing.assert_allclose(together, wanted, atol=1e-3)
        np.testing.assert_allclose(saliency.maps_of_each([features], [text], [VOCABULARY])[0], wanted, atol=1e-3)
    without = Gradcam("toy", device="cpu")
    plain = without.maps(without.features([picture(40, 60)])[0], ["car"], VOCABULARY)
    assert np.abs(plain - saliency.maps(features, ["car"], VOCABULARY)).max() > 0.1
    np.testing.assert_allclose(saliency.maps(features, ["car"], ()), plain, atol=1e-5)


def test_the_names_evidence_is_computed_once_for_the_objects_of_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    small_clips.small(monkeypatch, "vit")
    saliency = Gradcam("toy", contrast="softmax", device="cpu")
    first, second = saliency.features([picture(40, 60), picture(40, 60)[::-1].copy()])
    counts: list[int] = []
    evidence = saliency.evidence
    monkeypatch.setattr(saliency, "evidence", lambda kept, texts: counts.append(len(texts)) or evidence(kept, texts))
    found = [saliency.maps(one, [text], VOCABULARY) for one, text in ((first, "car"), (first, "lamp"), (second, "car"))]
    assert counts == [1, 3, 1, 1, 3]
    np.testing.assert_allclose(found[1], saliency.maps(first, ["lamp"], VOCABULARY), atol=1e-5)
    assert not np.allclose(found[0], found[2])


def test_a_map_without_evidence_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    small_clips.small(monkeypatch, "vit")
    saliency = Chefer("toy", device="cpu")
    monkeypatch.setattr(saliency, "evidence", lambda kept, texts: -torch.ones(len(texts), len(kept), 4, 4))
    assert not saliency.maps(saliency.features([picture(32, 48)])[0], ["car"], ()).any()


@pytest.mark.parametrize("templates", ["none", "plain", "published"])
def test_texts_are_put_into_templates(templates: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small_clips.small(monkeypatch, "vit")
    saliency = Chefer("toy", templates=templates, device="cpu")  # type: ignore[arg-type]
    sentences = {"none": ("{}",), "plain": ("a photo of a {}.",)}.get(templates, saliency.templates)
    with torch.inference_mode():
        found = saliency._vectors(["red car"])
    torch.testing.assert_close(found, embedded(saliency.clip, ["red car"], sentences))
    assert len(saliency.templates) == {"none": 1, "plain": 1, "published": 85}[templates]


@pytest.mark.parametrize(("model", "side"), [("vit", 48), ("resnet", 128)])
def test_another_input_than_the_models_own(model: str, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    small_clips.small(monkeypatch, model)
    saliency = Gradcam("toy", input=side, device="cpu")
    (features,) = saliency.features([picture(40, 60)])
    with torch.inference_mode():
        found = saliency.evidence(features.kept[None], saliency._vectors(["car"])[:, None])
    assert found.shape == (1, 1, *((6, 6) if model == "vit" else (4, 4)))
    assert saliency.maps(features, ["car"], ()).shape == (1, 40, 60)


def test_the_whole_image_is_squeezed_by_clips_own_filter() -> None:
    image = picture(40, 60)
    wanted = PIL.Image.fromarray(image).resize((24, 32), PIL.Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(squeezed(image, (32, 24)), np.asarray(wanted))
    assert squeezed(image, (40, 60)) is image
