"""Dense features on disk: right ones, within their bounds, never another model's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from harness.methods.saliency.maskclip import MaskClip
from harness.methods.shared.saliency_cache import KeptMaskClip, Remembered, model_hash, remembered

from harness import places
from harness.plugins.interfaces import Saliency
from harness.structures import UserError

WEIGHTS = places.ROOT / "methods" / "weights"
NAMES = ("person", "car", "tie")


def maskclip(side: int = 64, **options: object) -> MaskClip:
    clip = {"model": str(WEIGHTS / "scenes_clip.json"), "checkpoint": WEIGHTS / "scenes_clip.safetensors"}
    return MaskClip(**(clip | options), input=side, device="cpu")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def plain() -> MaskClip:
    return maskclip()


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, 48, 3), dtype=np.uint8)


def test_an_image_is_encoded_once_by_all_that_share_the_folder(tmp_path: Path, plain: MaskClip) -> None:
    kept = KeptMaskClip(plain, tmp_path)
    before = plain.image_encodings
    first, again = (kept.maps(kept.features([image(0)])[0], ["car"], NAMES) for _ in range(2))
    other_process = KeptMaskClip(maskclip(), tmp_path)
    found = other_process.maps(other_process.features([image(0)])[0], ["car"], NAMES)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, found)
    assert (plain.image_encodings - before, other_process.saliency.image_encodings) == (1, 0)
    exact = plain.maps(plain.features([image(0)])[0], ["car"], NAMES)
    assert 0 < np.abs(exact - first).max() < 5e-3


@pytest.mark.slow
def test_images_and_models_have_features_of_their_own(tmp_path: Path, plain: MaskClip) -> None:
    kept = KeptMaskClip(plain, tmp_path)
    one, other = kept.features([image(0), image(1)])
    assert (one.dense - other.dense).abs().max() > 1e-3
    hashes = {model_hash(made) for made in (plain, maskclip(48), maskclip(residual=False), maskclip(normalise="clip"))}
    changed = maskclip()
    next(changed.clip.module.visual.parameters()).data.view(-1)[0] += 1e-3
    config = json.loads((WEIGHTS / "scenes_clip.json").read_text("utf-8"))
    for number, changes in enumerate(
        ({"quick_gelu": True}, {"vision_cfg": {**config["vision_cfg"], "head_width": 16}})
    ):
        (tmp_path / f"{number}.json").write_text(json.dumps(config | changes))
        hashes.add(model_hash(maskclip(model=str(tmp_path / f"{number}.json"))))
    assert len(hashes | {model_hash(changed)}) == 7
    assert model_hash(plain) == model_hash(maskclip(templates="plain", temperature=0.1))  # they change no features


def test_the_folder_keeps_to_its_limit(tmp_path: Path, plain: MaskClip) -> None:
    size = plain.features([image(0)])[0].dense.numel() * 2
    kept = KeptMaskClip(plain, tmp_path, limit_gib=2.5 * size / 2**30)
    for seed in (0, 1, 2, 3):
        kept.features([image(seed)])
    assert len(list(tmp_path.rglob("*.npy"))) == 2
    for path in tmp_path.rglob("*.npy"):
        path.unlink()
    (tmp_path / model_hash(plain) / "ab").mkdir(exist_ok=True)
    (tmp_path / model_hash(plain) / "ab" / "1.tmp").write_bytes(bytes(size))  # of a process that was killed
    one, other = (KeptMaskClip(plain, tmp_path, limit_gib=2.5 * size / 2**30) for _ in range(2))
    for seed in (0, 1, 2):
        one.features([image(seed)])
        other.features([image(seed + 3)])
    assert len(list(tmp_path.rglob("*.npy"))) == 1


def test_a_damaged_file_is_computed_anew(tmp_path: Path, plain: MaskClip) -> None:
    kept = KeptMaskClip(plain, tmp_path)
    (good,) = kept.features([image(0)])
    (path,) = tmp_path.rglob("*.npy")
    for content in (b"", path.read_bytes()[:200]):
        path.write_bytes(content)
        np.testing.assert_array_equal(kept.features([image(0)])[0].dense, good.dense)


def test_only_maskclips_features_are_kept(tmp_path: Path) -> None:
    class Other(Saliency):
        def features(self, images: object) -> list[object]:
            return []

        def maps(self, *_: object) -> np.ndarray:
            return np.zeros((0, 1, 1), np.float32)

    with pytest.raises(UserError, match="found saliency Other; wanted maskclip"):
        KeptMaskClip(Other(), tmp_path)


@pytest.mark.slow
def test_new_images_are_encoded_together_as_they_are_alone(tmp_path: Path, plain: MaskClip) -> None:
    images = [image(seed) for seed in (0, 1, 0, 2)]
    images[3] = images[3][:20]  # another size, by which nothing is mixed up
    alone = [plain.features([one])[0].dense for one in images]
    calls: list[int] = []
    for made, folder in [(maskclip(), None), (maskclip(48), tmp_path)]:
        original = made.features
        made.features = lambda asked, original=original: calls.append(len(asked)) or original(asked)  # type: ignore
        kept = remembered(made, folder, 1.0)
        first, again = kept.features(images), kept.features(images[::-1])[::-1]
        assert all(one is other for one, other in zip(first, again, strict=True))
        assert [one.size for one in first] == [(32, 48), (32, 48), (32, 48), (20, 48)]
        if folder is None:
            for one, expected in zip(first, alone, strict=True):
                np.testing.assert_allclose(one.dense, expected, rtol=0, atol=1e-5)
    assert calls == [3, 3]


def test_memory_keeps_to_its_limit(plain: MaskClip) -> None:
    kept = Remembered(plain, limit=2)
    for seed in (0, 1, 2):
        kept.features([image(seed)])
    before = plain.image_encodings
    kept.features([image(1), image(2)])
    assert (plain.image_encodings, len(kept.kept)) == (before, 2)
    kept.features([image(0)])
    assert plain.image_encodings == before + 1
