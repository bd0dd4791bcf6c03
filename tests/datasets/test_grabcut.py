"""GrabCut: generated folders, sound and damaged, and the real pictures where they are at hand."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import PIL.Image
import pytest
from harness.datasets.grabcut import GrabCut
from hypothesis import given, settings
from hypothesis import strategies as st

import real_data
from harness import UserError
from harness.evaluation.pictures import prepared
from harness.plugins import parameters, registry
from harness.structures import Listed
from toy_files import picture

H, W = 12, 17


def _values() -> np.ndarray:
    values = np.zeros((H, W), np.uint8)
    values[2:9, 3:12] = 128
    values[4:7, 5:10] = 255
    return values


def _write(root: Path, names: tuple[str, ...] = ("llama",), values: np.ndarray | None = None) -> Path:
    for folder in ("data_GT", "boundary_GT"):
        (root / folder).mkdir(parents=True)
    for name in names:
        picture(H, W, 3).save(root / "data_GT" / f"{name}.png")
        PIL.Image.fromarray(_values() if values is None else values).save(root / "boundary_GT" / f"{name}.bmp")
    return root


def test_the_object_the_band_and_the_rest(tmp_path: Path) -> None:
    sample = GrabCut(_write(tmp_path)).load("llama")
    (instance,) = sample.instances
    assert (sample.id, instance.id, instance.category, instance.text) == ("llama", "llama", "", "")
    assert (instance.seen, instance.same_class_count, sample.broken) == (None, 1, {})
    assert instance.mask.dtype == bool and sample.ignore is not None and sample.ignore.dtype == bool
    np.testing.assert_array_equal(instance.mask, _values() == 255)
    np.testing.assert_array_equal(sample.ignore, _values() == 128)
    np.testing.assert_array_equal(sample.image, np.asarray(picture(H, W, 3)))
    (target,) = prepared(sample).targets
    assert target.truth.area == 3 * 5


@settings(max_examples=40, derandomize=True)
@given(st.integers(1, 9), st.integers(10, 14), st.integers(0, 2**32 - 1), st.booleans())
def test_any_values_are_read_as_opencv_and_ritms_rule_do(h: int, w: int, seed: int, channels: bool) -> None:
    with TemporaryDirectory() as folder:
        root = _write(Path(folder), ())
        picture(h, w, 3, seed=seed).save(root / "data_GT" / "a.png")
        values = np.random.default_rng(seed).choice(np.array([0, 1, 2, 127, 128, 129, 255], np.uint8), (h, w))
        values[0, 0] = 255
        values = np.repeat(values[:, :, None], 3, axis=2) if channels else values
        PIL.Image.fromarray(values).save(root / "boundary_GT" / "a.bmp")
        sample = GrabCut(root).load("a")
        blue = cv2.imread(str(root / "boundary_GT" / "a.bmp"))[:, :, 0]
        np.testing.assert_array_equal(sample.instances[0].mask, (blue == 1) | (blue > 128))
        ignored = np.zeros((h, w), bool) if sample.ignore is None else sample.ignore
        np.testing.assert_array_equal(ignored, blue == 128)


def test_without_a_band_nothing_is_ignored(tmp_path: Path) -> None:
    sample = GrabCut(_write(tmp_path, values=np.where(_values() == 128, 0, _values()).astype(np.uint8))).load("llama")
    assert sample.ignore is None and sample.instances[0].mask.sum() == 15


@pytest.mark.parametrize("suffix", ["png", "JPG", "jpeg", "Bmp"])
def test_suffixes_are_matched_in_any_case(tmp_path: Path, suffix: str) -> None:
    root = _write(tmp_path, ())
    picture(H, W, 3).save(root / "data_GT" / f"a b.{suffix}")
    PIL.Image.fromarray(_values()).save(root / "boundary_GT" / "a b.BMP")
    grabcut = GrabCut(root)
    assert grabcut.sample_ids() == ["a b"] and grabcut.load("a b").size == (H, W)


def test_names_are_sorted_and_litter_is_passed_over(tmp_path: Path) -> None:
    root = _write(tmp_path, ("music", "21077", "bool"))
    for litter in (".DS_Store", "._music.png", "Thumbs.db"):
        (root / "data_GT" / litter).write_bytes(b"x")
    assert GrabCut(root).sample_ids() == ["21077", "bool", "music"]


def test_listing_opens_no_file(tmp_path: Path) -> None:
    root = _write(tmp_path)
    for path in root.glob("*/*"):
        path.write_bytes(b"")
    grabcut = GrabCut(root)
    assert grabcut.sample_ids() == ["llama"] and grabcut.list_instances("llama") == [Listed("llama")]


def test_pictures_of_bsds_are_known_by_their_number(tmp_path: Path) -> None:
    grabcut = GrabCut(_write(tmp_path))
    assert [grabcut.image_key(one) for one in ("21077", "person1")] == ["bsds/21077", "grabcut/person1"]


# What is wrong with the files


@pytest.mark.parametrize("folder", ["data_GT", "boundary_GT"])
def test_a_missing_folder_is_the_readers_to_mend(tmp_path: Path, folder: str) -> None:
    root = _write(tmp_path / "a")
    (root / folder).rename(root / "elsewhere")
    with pytest.raises(UserError, match=rf"no folder .*{folder}; wanted data_GT and boundary_GT.*GrabCut\.zip"):
        GrabCut(root)


def test_empty_folders_are_the_readers_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no image in .*data_GT\. Unzip GrabCut\.zip"):
        GrabCut(_write(tmp_path, ())).sample_ids()


def test_two_pictures_of_one_name_are_the_readers_to_mend(tmp_path: Path) -> None:
    root = _write(tmp_path)
    picture(H, W, 3).save(root / "data_GT" / "llama.jpg")
    with pytest.raises(UserError, match=r"llama\.png' and 'llama\.jpg'; wanted one file per name"):
        GrabCut(root).sample_ids()


@pytest.mark.parametrize("name", ["notes.txt", "no_suffix", "folder.png"])
def test_a_file_that_is_no_picture_is_the_readers_to_mend(tmp_path: Path, name: str) -> None:
    root = _write(tmp_path)
    (root / "data_GT" / name).mkdir() if name == "folder.png" else (root / "data_GT" / name).write_text("x")
    with pytest.raises(UserError, match=rf"{name}'; wanted only files \.jpg, .* Convert it or move it"):
        GrabCut(root).sample_ids()


@pytest.mark.parametrize(
    ("gone", "where"), [("data_GT/llama.png", "data_GT"), ("boundary_GT/llama.bmp", "boundary_GT")]
)
def test_half_a_pair_is_listed_and_fails(tmp_path: Path, gone: str, where: str) -> None:
    root = _write(tmp_path, ("book", "llama"))
    (root / gone).unlink()
    grabcut = GrabCut(root)
    assert grabcut.sample_ids() == ["book", "llama"] and grabcut.list_instances("llama") == [Listed("llama")]
    with pytest.raises(OSError, match=rf"{where}: no file llama\.\*; wanted one"):
        grabcut.load("llama")
    assert grabcut.load("book").instances


@pytest.mark.parametrize("file", ["data_GT/llama.png", "boundary_GT/llama.bmp"])
@pytest.mark.parametrize("kept", [0, 60])
def test_a_damaged_file_fails(tmp_path: Path, file: str, kept: int) -> None:
    root = _write(tmp_path)
    (root / file).write_bytes((root / file).read_bytes()[:kept])
    with pytest.raises(OSError, match=rf"{file}: found {kept} bytes that do not decode"):
        GrabCut(root).load("llama")


def test_a_mask_of_another_size_fails(tmp_path: Path) -> None:
    root = _write(tmp_path, values=_values().T.copy())
    with pytest.raises(ValueError, match=r"llama\.bmp: found 17 x 12 \(h x w\); wanted 12 x 17"):
        GrabCut(root).load("llama")


def test_a_mask_without_an_object_fails(tmp_path: Path) -> None:
    root = _write(tmp_path, values=np.full((H, W), 128, np.uint8))
    with pytest.raises(ValueError, match=r"llama\.bmp: found no pixel of the object"):
        GrabCut(root).load("llama")


# The object itself


def test_the_registry_builds_it_from_a_config(tmp_path: Path) -> None:
    params = parameters.resolve("datasets", "grabcut", {"root": str(_write(tmp_path))})
    grabcut = parameters.build("datasets", "grabcut", params)
    assert isinstance(grabcut, GrabCut) and grabcut.name == "grabcut" and grabcut.classes == ()
    assert "paired_files" not in registry.names("datasets")


def test_fingerprint_notices_a_mask_drawn_anew_in_a_file_of_the_same_size(tmp_path: Path) -> None:
    one, other = GrabCut(_write(tmp_path / "a")), GrabCut(_write(tmp_path / "b", values=np.flipud(_values()).copy()))
    assert one.fingerprint() == GrabCut(_write(tmp_path / "c")).fingerprint() != other.fingerprint()
    assert json.loads(json.dumps(one.fingerprint())) == one.fingerprint() and one.fingerprint()["samples"] == 1


def test_pickled_it_stays_small_and_works(tmp_path: Path) -> None:
    grabcut = GrabCut(_write(tmp_path, tuple(f"{n:03}" for n in range(60))))
    grabcut.fingerprint()
    pickled = pickle.dumps(grabcut)
    assert len(pickled) < 1_000 and pickle.loads(pickled).sample_ids() == grabcut.sample_ids()


# The real pictures


@pytest.mark.slow
@real_data.needs("grabcut")
def test_the_real_ones_are_read_as_opencv_and_ritms_rule_do() -> None:
    grabcut = GrabCut(real_data.GRABCUT)
    ids = grabcut.sample_ids()
    assert len(ids) >= 33 and sum(grabcut.image_key(one).startswith("bsds/") for one in ids) >= 13
    for sample_id in ids:
        sample = grabcut.load(sample_id)
        blue = cv2.imread(str(real_data.GRABCUT / "boundary_GT" / f"{sample_id}.bmp"))[:, :, 0]
        assert set(np.unique(blue)) <= {0, 128, 255} and sample.size == blue.shape
        np.testing.assert_array_equal(sample.instances[0].mask, blue == 255)
        assert (sample.ignore is None) == (not (blue == 128).any())
        np.testing.assert_array_equal(np.zeros_like(blue) if sample.ignore is None else sample.ignore, blue == 128)
        colours = cv2.cvtColor(cv2.imread(str(real_data.GRABCUT / "data_GT" / f"{sample_id}.png")), cv2.COLOR_BGR2RGB)
        np.testing.assert_array_equal(sample.image, colours)
        assert prepared(sample).targets
    assert any(grabcut.load(one).size[0] != grabcut.load(one).size[1] for one in ids[:2])
