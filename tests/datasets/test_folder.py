"""A folder of one's own: generated ones, every mistake that its page names, and the page's own example."""

from __future__ import annotations

import csv
import io
import json
import pickle
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import yaml
from harness.datasets.folder.folder import Folder
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import Sample, UserError, places
from harness.config.run_config import load_run
from harness.evaluation.pictures import listed, prepared
from harness.plugins import parameters, registry
from harness.running.one_run import run
from harness.structures import Listed
from toy_files import picture
from toy_runs import Quiet

PAGE = Path(__file__).resolve().parents[2] / "docs" / "datasets.md"
H, W = 12, 17


pytestmark = pytest.mark.usefixtures("own_index")


def _box(y: int = 2, x: int = 3, value: int = 255) -> np.ndarray:
    """Rows y to y + 3, columns x to x + 5."""
    values = np.zeros((H, W), np.uint8)
    values[y : y + 4, x : x + 6] = value
    return values


def _picture(mode: str = "RGB") -> PIL.Image.Image:
    return picture(H, W, 3).convert(mode)


def _save(path: Path, image: Any, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (PIL.Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
    return path


def _palette(values: np.ndarray, colours: list[int]) -> PIL.Image.Image:
    image = PIL.Image.fromarray(values)
    image.putpalette(colours)
    return image


def _write(root: Path, masks: Mapping[str, Any], texts: str | None = None) -> Path:
    """A folder with these masks ("a.png", "a/one.png"), an image for each, and texts.csv."""
    (root / "masks").mkdir(parents=True, exist_ok=True)
    for name, mask in masks.items():
        _save(root / "masks" / name, mask)
        stem = Path(name).stem if "/" not in name else name.split("/")[0]
        _save(root / "images" / f"{stem}.png", _picture())
    if texts is not None:
        (root / "texts.csv").write_text(texts, encoding="utf-8")
    return root


def _loaded(root: Path, drawn: Mapping[str, Any], texts: str | None = None, **params: Any) -> Sample:
    folder = Folder(_write(root, drawn, texts), **params)
    (sample_id,) = folder.sample_ids()
    sample = folder.load(sample_id)
    answered = [one.id for one in sample.instances] + list(sample.broken)
    assert sorted(answered) == sorted(one.id for one in folder.list_instances(sample_id))
    return sample


def _reason(root: Path, mask: Any, **params: Any) -> str:
    """Why a mask is broken, its neighbour being sound."""
    sample = _loaded(root, {"a/bad.png": mask, "a/good.png": _box()}, **params)
    assert [one.id for one in sample.instances] == ["a/good"] and list(sample.broken) == ["a/bad"]
    assert str(root / "masks" / "a" / "bad.png") in sample.broken["a/bad"]
    return sample.broken["a/bad"]


# Layouts


def test_one_mask_an_image(tmp_path: Path) -> None:
    sample = _loaded(tmp_path, {"kitchen.png": _box()})
    (instance,) = sample.instances
    assert (sample.id, instance.id, instance.category, instance.text) == ("kitchen", "kitchen", "", "")
    assert (instance.seen, instance.same_class_count, sample.ignore) == (None, 1, None)
    assert instance.mask.dtype == bool and instance.mask.sum() == 4 * 6
    np.testing.assert_array_equal(instance.mask, _box() > 0)
    np.testing.assert_array_equal(sample.image, np.asarray(_picture()))


def test_several_masks_may_overlap_and_are_of_any_lossless_format(tmp_path: Path) -> None:
    masks = {"street/left car.png": _box(), "street/right car.BMP": _box(3, 5), "street/sky.tif": _box(0, 0)}
    texts = "image,instance,category\nstreet,left car,car\nstreet,sky,sky\nstreet.png,right car,car\n"
    sample = _loaded(tmp_path, masks, texts)
    found = {one.id: (one.category, one.same_class_count) for one in sample.instances}
    assert found == {"street/left car": ("car", 2), "street/right car": ("car", 2), "street/sky": ("sky", 1)}
    for instance, mask in zip(sample.instances, masks.values(), strict=True):
        np.testing.assert_array_equal(instance.mask, mask > 0)


@pytest.mark.parametrize("palette", [True, False])
def test_an_index_mask_is_one_instance_a_value(tmp_path: Path, palette: bool) -> None:
    values = _box(0, 0, 2) + _box(6, 9, 10) + _box(0, 8, 1)
    values[5] = 255
    mask = _palette(values, [n * 37 % 256 for n in range(768)]) if palette else values
    sample = _loaded(tmp_path, {"a.png": mask}, "image,instance,category\na,10,dog\n", masks="index", ignore=255)
    assert [(one.id, one.category) for one in sample.instances] == [("a/1", ""), ("a/2", ""), ("a/10", "dog")]
    for instance in sample.instances:
        np.testing.assert_array_equal(instance.mask, values == int(instance.id[2:]))
    np.testing.assert_array_equal(sample.ignore, values == 255)


def test_without_ignore_every_value_of_an_index_mask_is_an_instance(tmp_path: Path) -> None:
    sample = _loaded(tmp_path, {"a.png": _box(value=255)}, masks="index")
    assert [one.id for one in sample.instances] == ["a/255"] and sample.ignore is None


@pytest.mark.slow
@settings(max_examples=40, derandomize=True)
@given(
    names=st.lists(
        st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=12)
        .map(lambda name: unicodedata.normalize("NFC", name))
        .filter(lambda name: name[0] != "." and len(name.encode()) < 200 and name.lower() not in ("thumbs", "desktop")),
        min_size=1,
        max_size=4,
        unique=True,
    ),
    seed=st.integers(0, 2**32 - 1),
    index=st.booleans(),
)
def test_what_is_written_is_what_is_loaded(names: list[str], seed: int, index: bool) -> None:
    rng = np.random.default_rng(seed)
    with TemporaryDirectory() as folder:
        drawn = {}
        for name in names:
            values = rng.integers(0, 4, (H, W)).astype(np.uint8) if index else rng.choice([0, 255], (H, W)).astype("u1")
            drawn[name] = np.maximum(values, np.eye(H, W, dtype=np.uint8) * (1 if index else 255))
            _save(Path(folder) / "masks" / f"{name}.png", drawn[name])
            _save(Path(folder) / "images" / f"{name}.jpg", _picture(rng.choice(["L", "RGB", "CMYK"])))
        rows = [[f"{name}.jpg", 1 if index else "", f"thing {n}"] for n, name in enumerate(names)]
        content = io.StringIO()
        csv.writer(content).writerows([["image", "instance", "category"], *rows])
        spaced = [name for name in names if name != name.strip()]
        if not spaced:  # cells are stripped
            (Path(folder) / "texts.csv").write_text(content.getvalue(), encoding="utf-8", newline="")
        data = Folder(Path(folder), masks="index" if index else "binary")
        assert sorted(data.sample_ids()) == sorted(names)
        ids = []
        for name in names:
            sample = data.load(name)
            assert [one.id for one in data.list_instances(name)] == [one.id for one in sample.instances]
            wanted = [drawn[name] == v for v in np.unique(drawn[name]) if v] if index else [drawn[name] > 0]
            assert len(wanted) == len(sample.instances)
            for instance, mask in zip(sample.instances, wanted, strict=True):
                np.testing.assert_array_equal(instance.mask, mask)
                ids.append(instance.id)
            if not spaced:
                assert sample.instances[0].category == f"thing {names.index(name)}"
        assert len(set(ids)) == len(ids) and not any("~" in one for one in ids)


def test_a_tilde_in_a_name_does_not_join_instances(tmp_path: Path) -> None:
    folder = Folder(_write(tmp_path, {"a~1/x.png": _box(), "a~1/y~2.png": _box(), "a%7E1.png": _box()}))
    instances = [one for sample_id in folder.sample_ids() for one in folder.load(sample_id).instances]
    assert {one.id for one in instances} == {"a%7E1/x", "a%7E1/y%7E2", "a%257E1"}
    assert all(one.object_id == one.id for one in instances)


def test_letters_with_accents_match_however_they_are_composed(tmp_path: Path) -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    _save(tmp_path / "images" / f"{apart}.png", _picture())
    _save(tmp_path / "masks" / f"{composed}.png", _box())
    (tmp_path / "texts.csv").write_text(f"image,category\n{apart}.png,cup\n", encoding="utf-8")
    assert Folder(tmp_path).load(composed).instances[0].category == "cup"


def test_a_root_with_spaces_and_litter_in_it(tmp_path: Path) -> None:
    root = _write(tmp_path / "my dätä", {"a.png": _box(), "b/1.png": _box()})
    for litter in ("images/.DS_Store", "images/Thumbs.db", "masks/._a.png", "masks/b/desktop.ini"):
        (root / litter).write_bytes(b"x")
    assert [len(Folder(root).load(one).instances) for one in Folder(root).sample_ids()] == [1, 1]


def test_listing_opens_no_file(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a.png": _box(), "b/1.png": _box(), "b/2.png": _box()}, "image,text\na,the box\n")
    for path in root.glob("*/*.png"):
        path.write_bytes(b"")
    folder = Folder(root)
    assert folder.list_instances("a") == [Listed("a", text="the box")]
    assert folder.list_instances("b") == [Listed("b/1"), Listed("b/2")] and folder.sample_ids() == ["a", "b"]


# Masks


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "LA", "P"])
@pytest.mark.parametrize("value", [1, 7, 255])
def test_every_form_of_a_binary_mask_gives_the_same(tmp_path: Path, mode: str, value: int) -> None:
    image = PIL.Image.fromarray(_box(value=value))
    if mode == "1":
        image = image.point(lambda v: 255 * (v > 0)).convert("1")
    elif mode == "P":
        image = _palette(_box(value=value), [0, 0, 0] + 255 * [128, 0, 0])
    else:
        image = image.convert(mode)
    (instance,) = _loaded(tmp_path, {"a.png": image}).instances
    np.testing.assert_array_equal(instance.mask, _box() > 0)


def test_a_mask_of_the_whole_image_is_one(tmp_path: Path) -> None:
    assert _loaded(tmp_path, {"a.png": np.full((H, W), 255, np.uint8)}).instances[0].mask.all()


def test_ignored_pixels_of_every_mask_count_for_no_instance(tmp_path: Path) -> None:
    first, second = _box(), _box(6, 8)
    first[2], second[10] = 128, 128
    sample = _loaded(tmp_path, {"a/1.png": first, "a/2.png": second}, ignore=128)
    np.testing.assert_array_equal(sample.ignore, (first == 128) | (second == 128))
    np.testing.assert_array_equal(sample.instances[0].mask, first == 255)
    assert prepared(sample).targets[0].truth.area == 3 * 6


def test_of_a_broken_mask_nobody_knows_what_it_ignores(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a/1.png": _box(), "a/2.png": _box().T.copy()})
    assert len(Folder(root).load("a").instances) == 1
    with pytest.raises(ValueError, match=r"2\.png: found 17 x 12.*Which pixels it ignores is not known"):
        Folder(root, ignore=128).load("a")


SOFT = np.where(_box() > 0, np.linspace(0, 255, W).astype(np.uint8), 0)
GREY16 = PIL.Image.fromarray(_box().astype(np.uint16) * 257)
RED = np.stack([_box(), 0 * _box(), 0 * _box()], axis=2)
CLEAR = np.stack([_box(), _box(), _box(), _box()], axis=2)
BROKEN = {
    "transposed": (_box().T.copy(), r"found 17 x 12 \(h x w\); wanted 12 x 17, the image's without EXIF rotation"),
    "empty": (_box(value=0), r"found no pixel of an object"),
    "soft edge": (
        SOFT,
        r"found the values \d+, \d+, \d+, \d+ and 2 more besides 0.*`masks: index`.*`ignore`.*soft edge",
    ),
    "two values": (_box() + _box(0, 9, 128), r"found the values 128, 255 besides 0; wanted one"),
    "16 bits": (GREY16, r"found PIL mode I;16; wanted 8 bits or fewer"),
    "colours": (RED, r"found colours; wanted grey or a palette"),
    "alpha": (CLEAR, r"found transparent pixels"),
    "white first": (_palette(_box(value=1), [255, 255, 255, 0, 0, 0]), r"a palette in which 0 is not black"),
    "two blacks": (_palette(_box(value=1), [0, 0, 0, 0, 0, 0]), r"or not the only black"),
}


@pytest.mark.parametrize(("mask", "reason"), BROKEN.values(), ids=list(BROKEN))
def test_broken_mask(tmp_path: Path, mask: Any, reason: str) -> None:
    assert re.search(reason, _reason(tmp_path, mask))


def test_only_ignored_pixels_are_no_object(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        _reason(tmp_path / "a", _box(value=128))
    sample = _loaded(tmp_path / "b", {"a.png": _box(value=128)}, ignore=128)
    assert re.search("found no pixel of an object", sample.broken["a"])


def test_a_jpeg_called_png(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a.png": _box()})
    _save(root / "masks" / "a.png", _box(), format="JPEG")
    assert re.search(r"found a JPEG; wanted a PNG: other formats change", Folder(root).load("a").broken["a"])


def test_floating_point_and_pages(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a/1.tif": _box().astype(np.float32), "a/2.tif": _box()})
    _save(root / "masks/a/2.tif", _box(), save_all=True, append_images=[PIL.Image.fromarray(_box(5, 5))])
    broken = Folder(root).load("a").broken
    assert re.search(r"found PIL mode F; wanted 8 bits", broken["a/1"])
    assert re.search(r"found 2 pages; wanted one image per file", broken["a/2"])


@pytest.mark.parametrize("kept", [0, 50])
def test_a_damaged_mask(tmp_path: Path, kept: int) -> None:
    root = _write(tmp_path, {"a/1.png": _box(), "a/2.png": _box()})
    (root / "masks/a/1.png").write_bytes((root / "masks/a/1.png").read_bytes()[:kept])
    sample = Folder(root).load("a")
    assert re.search(rf"1\.png: found {kept} bytes that do not decode", sample.broken["a/1"])
    assert len(sample.instances) == 1


def test_a_mask_that_is_gone_since_it_was_listed(tmp_path: Path) -> None:
    folder = Folder(_write(tmp_path, {"a/1.png": _box(), "a/2.png": _box()}))
    folder.sample_ids()
    (tmp_path / "masks/a/1.png").unlink()
    assert re.search(r"1\.png: no such file", folder.load("a").broken["a/1"])


def _decodes(path: Path) -> bool:
    try:
        with PIL.Image.open(path) as image:
            image.load()
    except Exception:
        return False
    return True


def test_a_flipped_bit_in_a_mask_is_noticed_also_where_it_decodes(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a.png": np.random.default_rng(0).choice([0, 255], (H, W)).astype(np.uint8)})
    path = root / "masks" / "a.png"
    content = path.read_bytes()
    for position in range(content.index(b"IDAT") + 4, content.index(b"IEND") - 4):
        path.write_bytes(content[:position] + bytes([content[position] ^ 32]) + content[position + 1 :])
        if _decodes(path):
            assert "do not decode" in Folder(root).load("a").broken["a"]
            return
    raise AssertionError("wanted a flipped bit that decodes")


INDEX_BROKEN = {
    "colours": (RED, ValueError, "PNG RGB"),
    "16 bits": (GREY16, ValueError, "PNG I;16"),
    "empty": (_box(value=0), ValueError, "found no pixel of an object"),
    "ignored only": (_box(value=9), ValueError, "found no pixel of an object"),
    "transposed": (_box().T.copy(), ValueError, "found 17 x 12"),
    "cut": (None, OSError, "found 0 bytes that do not decode"),
}


@pytest.mark.parametrize(("mask", "kind", "reason"), INDEX_BROKEN.values(), ids=list(INDEX_BROKEN))
def test_broken_index_mask_is_listed_and_fails(tmp_path: Path, mask: Any, kind: type, reason: str) -> None:
    texts = "image,instance,text\ngood,255,the box\nbad,3,something\n" if mask is None else "image,text\ngood,the box\n"
    root = _write(tmp_path, {"bad.png": _box() if mask is None else mask, "good.png": _box()}, texts)
    if mask is None:
        (root / "masks/bad.png").write_bytes(b"")
    folder = Folder(root, masks="index", ignore=9)
    assert folder.sample_ids() == ["bad", "good"]
    assert [one.id for one in folder.list_instances("bad")] == (["bad/255"] if reason == "found 17 x 12" else ["bad"])
    with pytest.raises(kind, match=reason):
        folder.load("bad")
    assert folder.load("good").instances[0].text == "the box"


def test_index_masks_are_opened_once_and_again_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _write(tmp_path, {"a.png": _box(value=3)})
    assert Folder(root, masks="index").list_instances("a") == [Listed("a/3")]
    with monkeypatch.context() as patched:
        patched.setattr("harness.datasets.folder.folder.read_indices", None)
        assert Folder(root, masks="index").list_instances("a") == [Listed("a/3")]
        assert Folder(root, masks="index", ignore=3).list_instances("a") == [Listed("a")]
    _save(root / "masks" / "a.png", _box(value=3) + _box(7, 9, 44))
    assert Folder(root, masks="index").list_instances("a") == [Listed("a/3"), Listed("a/44")]


# Images


@pytest.mark.parametrize("orientation", [1, 6])
def test_masks_are_of_the_stored_pixels(tmp_path: Path, orientation: int) -> None:
    root = _write(tmp_path, {"a/as_stored.png": _box(), "a/as_shown.png": _box().T.copy()})
    (root / "images/a.png").unlink()
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    _save(root / "images" / "a.jpg", _picture(), exif=exif)
    sample = Folder(root).load("a")
    assert sample.size == (H, W) and [one.id for one in sample.instances] == ["a/as_stored"]
    assert "the image's without EXIF rotation" in sample.broken["a/as_shown"]


@pytest.mark.parametrize(("orientation", "square"), [(2, False), (3, False), (4, False), (6, True), (8, True)])
def test_an_image_turned_to_the_same_size_fails(tmp_path: Path, orientation: int, square: bool) -> None:
    root = _write(tmp_path, {"a.png": _box()[:, :H] if square else _box()})
    (root / "images/a.png").unlink()
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    _save(root / "images" / "a.jpg", _picture().crop((0, 0, H if square else W, H)), exif=exif)
    with pytest.raises(ValueError, match=rf"a\.jpg: found EXIF orientation {orientation}, .* without orientation"):
        Folder(root).load("a")


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "I;16"])
def test_images_of_other_modes_are_rgb(tmp_path: Path, mode: str) -> None:
    root = _write(tmp_path, {"a.png": _box()})
    image = PIL.Image.fromarray(_box().astype(np.uint16) * 257) if mode == "I;16" else _picture(mode)
    _save(root / "images" / "a.png", image)
    assert Folder(root).load("a").image.shape == (H, W, 3)


def test_a_grey_jpeg(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a.png": _box()})
    (root / "images/a.png").unlink()
    _save(root / "images" / "a.JPEG", _picture("L"))
    image = Folder(root).load("a").image
    assert image.shape == (H, W, 3) and (image[:, :, 0] == image[:, :, 2]).all()


@pytest.mark.parametrize("kept", [0, 100])
def test_a_damaged_image_fails_with_all_its_instances(tmp_path: Path, kept: int) -> None:
    root = _write(tmp_path, {"a/1.png": _box(), "a/2.png": _box()})
    (root / "images/a.png").write_bytes((root / "images/a.png").read_bytes()[:kept])
    folder = Folder(root)
    with pytest.raises(OSError, match=rf"a\.png: found {kept} bytes that do not decode"):
        folder.load("a")
    assert [one.id for one in listed(folder, "a")] == ["a/1", "a/2"]


# What ends a run before it starts


def _mistaken(root: Path, **params: Any) -> str:
    with pytest.raises(UserError) as caught:
        Folder(root, **params).sample_ids()
    return " ".join(str(caught.value).split())


def test_missing_folders(tmp_path: Path) -> None:
    assert re.search(
        r"no folder .*nowhere/images; wanted images and masks.*docs/datasets\.md", _mistaken(tmp_path / "nowhere")
    )
    (tmp_path / "images").mkdir()
    assert re.search(r"no folder .*/masks;", _mistaken(tmp_path))
    (tmp_path / "masks").mkdir()
    assert re.search(r"no image in .*/images\. docs", _mistaken(tmp_path))


def test_an_image_without_a_mask(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a.png": _box()})
    for name in ("b", "c"):
        _save(root / "images" / f"{name}.png", _picture())
    (root / "masks" / "c").mkdir()
    assert re.search(
        r"no mask of 2 of 3 images, the first .*images/b\.png; wanted .*masks/b\.png.*: b, c\.", _mistaken(root)
    )


def test_a_mask_without_an_image(tmp_path: Path) -> None:
    root = _write(tmp_path, {"kitchen.png": _box()})
    _save(root / "masks" / "kitchen_mask.png", _box())
    assert re.search(r"masks/kitchen_mask and no image of that name.* Did you mean 'kitchen'\?", _mistaken(root))
    (root / "masks" / "kitchen_mask.png").unlink()
    _save(root / "masks" / "street" / "1.png", _box())
    assert re.search(r"masks/street and no image", _mistaken(root))


def test_two_images_of_one_name(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a.png": _box()})
    _save(root / "images" / "a.jpg", _picture())
    assert re.search(r"images/a\.png' and 'a\.jpg'; wanted one file per name, whatever its suffix", _mistaken(root))


def test_two_masks_of_one_name(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a.png": _box(), "a.bmp": _box()})
    assert re.search(r"masks/a\.png' and 'a\.bmp'; wanted one file per name", _mistaken(root))
    (root / "masks/a.bmp").unlink()
    _save(root / "masks" / "a" / "1.png", _box())
    assert re.search(r"found .*masks/a and masks/a\.\*; wanted either", _mistaken(root))


def test_a_folder_of_masks_is_no_index_mask(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a/1.png": _box()})
    assert re.search(
        r"found .*masks/a .*; wanted one file per image, since masks is 'index'", _mistaken(root, masks="index")
    )


@pytest.mark.parametrize("name", ["images/b.heic", "images/more", "masks/a.jpg", "masks/a.npy", "masks/c/d/1.png"])
def test_files_of_other_kinds(tmp_path: Path, name: str) -> None:
    root = _write(tmp_path, {"a.png": _box(), "c/1.png": _box()})
    if name == "images/more":
        (root / name).mkdir()
    else:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")
    found = re.escape(name.removesuffix("/1.png"))
    assert re.search(rf"found .*{found}'; wanted only files \.\w+, .* Convert it or move it elsewhere", _mistaken(root))


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a.png": _box()})
    (root / "images" / "a.png").rename(root / "images" / "b\udcff.png")
    assert re.search(r"found '.*b\\udcff\.png'; wanted a name in UTF-8", _mistaken(root))


@pytest.mark.parametrize("ignore", [0, -1, 256])
def test_ignore_is_a_value_of_a_mask(tmp_path: Path, ignore: int) -> None:
    assert re.search(
        rf"found ignore={ignore}; wanted a mask's value, 1 to 255",
        _mistaken(_write(tmp_path, {"a.png": _box()}), ignore=ignore),
    )


# texts.csv

TWO = {"a/1.png": _box(), "a/2.png": _box(5, 5), "b.png": _box()}
TEXTS = "image,instance,category,text,seen\na.png,1,cup,the left one,TRUE\na,2,dog,,no\nb,,cup,,1\n"


def test_what_texts_say(tmp_path: Path) -> None:
    folder = Folder(_write(tmp_path, TWO, TEXTS))
    assert folder.list_instances("a") == [Listed("a/1", "cup", True, "the left one"), Listed("a/2", "dog", False)]
    assert folder.list_instances("b") == [Listed("b", "cup", True)] and folder.classes == ("cup", "dog")
    found = [(one.category, one.seen, one.text, one.same_class_count) for one in folder.load("a").instances]
    assert found == [("cup", True, "the left one", 1), ("dog", False, "", 1)]


def test_instances_without_a_category_may_differ_in_seen(tmp_path: Path) -> None:
    folder = Folder(_write(tmp_path, TWO, "image,instance,seen\na,1,true\na,2,false\n"))
    assert [one.seen for one in folder.list_instances("a")] == [True, False]


def test_columns_come_in_any_order_rows_may_be_short_or_blank_and_excel_writes_a_mark(tmp_path: Path) -> None:
    root = _write(tmp_path, TWO)
    (root / "texts.csv").write_bytes('\ufeffseen , image,text\r\n, b,"a ""cup"", red"\r\n\r\n'.encode())
    folder = Folder(root)
    assert folder.list_instances("b") == [Listed("b", text='a "cup", red')] and folder.classes == ()
    assert folder.list_instances("a") == [Listed("a/1"), Listed("a/2")]


def test_an_image_is_called_by_its_whole_name_first(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a.png": _box(), "a.png.png": _box()}, "image,text\na.png,first\na.png.png,second\n")
    assert [Folder(root).list_instances(one)[0].text for one in ("a", "a.png")] == ["first", "second"]


HEAD = "image,instance,category,text,seen\n"
CSV = {
    "unknown column": ("image,label\nb,cup\n", r"texts\.csv: found the column 'label'; wanted some of image, instance"),
    "semicolons": ("image;category\nb;cup\n", r"found the column 'image;category'; wanted some of .*with commas"),
    "column twice": ("image,text,text\nb,x,y\n", r"found the column 'text' twice"),
    "no image column": ("category\ncup\n", r"found no column 'image'"),
    "empty file": ("", r"found no column 'image'"),
    "unknown image": (HEAD + "kitchn,,,,\n", r"line 2: found image 'kitchn'; wanted one in images/\."),
    "no image": (HEAD + ",,cup,,\n", r"line 2: found image ''"),
    "unknown instance": (HEAD + "a,3,,,\n", r"line 2: found instance '3'; wanted one of the image's 2: 1, 2\."),
    "which instance": (HEAD + "b,,,,\na,,cup,,\n", r"line 3: found instance ''; wanted one of the image's 2"),
    "instance of a lone mask": (HEAD + "b,1,,,\n", r"line 2: found instance '1'; wanted one of the image's 1: b\."),
    "second row": (
        HEAD + "a,1,,x,\nb,,,,\na.png,1,,y,\n",
        r"line 4: found a second row of an instance, after .* line 2",
    ),
    "seen": (HEAD + "b,,cup,,maybe\n", r"line 2: found seen='maybe'; wanted true, false or nothing"),
    "seen and unseen": (HEAD + "b,,cup,,1\na,1,cup,,0\n", r"line 3: found seen='0' for 'cup', unlike .* line 2"),
    "a comma too many": (HEAD + "b,,cup,one, red,true\n", r"line 2: found 6 cells; wanted 5. Put text with a comma"),
    "open quote": (HEAD + 'b,,cup,"one\n', r"cannot be read \(unexpected end of data\)"),
}


@pytest.mark.parametrize(("texts", "reason"), CSV.values(), ids=list(CSV))
def test_mistakes_in_texts(tmp_path: Path, texts: str, reason: str) -> None:
    assert re.search(reason, _mistaken(_write(tmp_path, TWO, texts)))


def test_the_mask_of_a_lone_instance_may_be_called_by_its_files_name(tmp_path: Path) -> None:
    root = _write(tmp_path, TWO, HEAD + "b,b,cup,,\n")
    assert Folder(root).list_instances("b") == [Listed("b", "cup")]


def test_texts_in_another_encoding_and_a_folder_of_that_name(tmp_path: Path) -> None:
    root = _write(tmp_path, TWO)
    (root / "texts.csv").write_bytes("image,text\nb,caf\u00e9\n".encode("latin-1"))
    assert re.search(r"cannot be read \('utf-8' codec.* Wanted a CSV in UTF-8", _mistaken(root))
    (root / "texts.csv").unlink()
    (root / "texts.csv").mkdir()
    assert re.search(r"cannot be read .* Wanted a CSV", _mistaken(root))


@pytest.mark.parametrize("name", ["Texts.csv", "texts.CSV", "texts.csv.txt", "text.csv", "Initial", "initials"])
def test_what_is_optional_is_not_passed_over_under_another_name(tmp_path: Path, name: str) -> None:
    root = _write(tmp_path, {"a.png": _box()})
    wanted = "texts.csv" if name.lower().startswith("text") else "initial"
    if wanted == "initial":
        (root / name).mkdir()
    else:
        (root / name).write_text("image,category\na,cup\n")
    assert f"{root / name} and no {wanted}; wanted {wanted}, letter by letter" in _mistaken(root)
    (root / name).rename(root / wanted)
    (root / f"{wanted}-old").touch()
    assert Folder(root).list_instances("a") == [Listed("a", "cup" if wanted == "texts.csv" else "")]


def test_a_lone_instance_may_be_named_or_not_but_once(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a/1.png": _box()}, "image,instance,text\na,,x\na,1,y\n")
    assert re.search(r"line 3: found a second row of instance '1'", _mistaken(root))
    (root / "texts.csv").write_text("image,instance,text\na,,x\n")
    assert Folder(root).list_instances("a") == [Listed("a/1", text="x")]


# The object itself


def test_the_registry_builds_it_from_a_config(tmp_path: Path) -> None:
    params = {"root": str(_write(tmp_path, {"a.png": _box()})), "masks": "index", "ignore": 1}
    folder = parameters.build("datasets", "folder", parameters.resolve("datasets", "folder", params))
    assert isinstance(folder, Folder) and folder.name == "folder" and folder.ignore == 1
    with pytest.raises(UserError, match=r"params\.masks: found 'rle'"):
        parameters.resolve("datasets", "folder", params | {"masks": "rle"})
    assert not {"folder_masks", "folder_texts"} & set(registry.names("datasets"))


def test_pictures_of_two_folders_are_not_taken_for_each_other(tmp_path: Path) -> None:
    one, other = (Folder(_write(tmp_path / name, {"a.png": _box()})) for name in ("one", "other"))
    assert one.image_key("a") != other.image_key("a") and one.image_key("a").startswith("folder/")


@pytest.mark.parametrize("changed", ["mask", "image", "texts", "name"])
def test_fingerprint_notices_a_change(tmp_path: Path, changed: str) -> None:
    root = _write(tmp_path, TWO, TEXTS)
    before = Folder(root).fingerprint()
    assert Folder(root).fingerprint() == before and before["samples"] == 2
    assert json.loads(json.dumps(before)) == before
    if changed == "mask":
        _save(root / "masks/a/1.png", _box(2, 4))
    elif changed == "image":
        _save(root / "images/a.png", _picture("L"))
    elif changed == "texts":
        (root / "texts.csv").write_text(TEXTS.replace("left", "last"))
    else:
        (root / "masks/a/2.png").rename(root / "masks/a/3.png")
        (root / "texts.csv").write_text(TEXTS.replace("a,2", "a,3"))
    assert Folder(root).fingerprint() != before


def test_links_that_lead_nowhere_are_failed_rows(tmp_path: Path) -> None:
    root = _write(tmp_path, TWO)
    for name in ("images/b.png", "masks/a/1.png"):
        (root / name).unlink()
        (root / name).symlink_to(root / "gone")
    folder = Folder(root)
    assert folder.fingerprint()["samples"] == 2 and list(folder.load("a").broken) == ["a/1"]
    with pytest.raises(OSError, match="no such file"):
        folder.load("b")


def test_pickled_it_stays_small_and_works(tmp_path: Path) -> None:
    folder = Folder(_write(tmp_path, {f"{n:03}.png": _box() for n in range(60)}))
    folder.fingerprint()
    pickled = pickle.dumps(folder)
    assert len(pickled) < 1_000 and pickle.loads(pickled).sample_ids() == folder.sample_ids()


def test_loading_twice_gives_the_same(tmp_path: Path) -> None:
    folder = Folder(_write(tmp_path, {"a.png": _box()}))
    one, other = folder.load("a"), folder.load("a")
    assert one.instances[0].mask is not other.instances[0].mask
    np.testing.assert_array_equal(one.instances[0].mask, other.instances[0].mask)


# The page's example, run

PLUGIN = '''
import numpy as np

from harness import Method, Prediction


class LeftHalf(Method):
    """The left half of the image."""

    uses_text = True

    def predict(self, image, click, text):
        mask = np.zeros(image.shape[:2], bool)
        mask[:, : image.shape[1] // 2] = True
        return Prediction(mask[None])
'''


def _blocks(kind: str) -> str:
    own = PAGE.read_text("utf-8").split("## Your own images: `folder`")[1].split("\n## ")[0]
    (block,) = re.findall(rf"```{kind}\n(.*?)```", own, re.DOTALL)
    return block


@pytest.mark.slow
def test_the_pages_example_gives_the_rows_counted_by_hand(
    tmp_path: Path, run_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _write(tmp_path / "mine", {"street/left car.png": _box(2, 3), "street/right car.png": _box(2, 10)})
    _save(root / "images" / "kitchen.jpg", _picture())
    _save(root / "masks" / "kitchen.png", _box(2, 5))
    _save(root / "images" / "torn.jpg", _picture())
    _save(root / "masks" / "torn.png", _box())
    (root / "images" / "torn.jpg").write_bytes(b"")
    (root / "texts.csv").write_text(_blocks("csv"), encoding="utf-8")
    (tmp_path / "left_half_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = yaml.safe_load(_blocks("yaml"))
    (entry,) = config["datasets"]
    assert entry["params"] == {"root": "data/mine"}
    entry["params"]["root"] = str(root)
    changed = {"run": run_name, "workers": {"executor": "local"}, "max_failures": 1.0}
    methods = [{"name": "left_half_plugin:LeftHalf", "label": "left"}]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config | changed | {"methods": methods}))
    finished = run(load_run(tmp_path / "mine.yaml"), Quiet())
    assert (finished.instances, finished.failed) == (4, 1)
    rows = pd.read_parquet(places.ROOT / "runs" / run_name / "results.parquet").set_index("instance_id")
    # Of 12 x 17 pixels the left half is 12 x 8 = 96; each object is 4 x 6 = 24.
    counted = {
        "kitchen": ("cup", "the cup with a chip, not the glass", True, 4 * 3, 96 + 24 - 12, "ok"),
        "street/left car": ("car", "the car on the left", False, 4 * 5, 96 + 24 - 20, "ok"),
        "street/right car": ("car", "car", False, 0, 96 + 24, "ok"),
    }
    columns = ["category", "text", "seen", "intersection_px", "union_px", "status"]
    assert {key: tuple(row[columns]) for key, row in rows[rows.status == "ok"].iterrows()} == counted
    assert dict(rows.iou.dropna()) == {key: row[3] / row[4] for key, row in counted.items()}
    assert list(rows.index[rows.status == "failed"]) == ["torn"] and "0 bytes" in rows.error["torn"]
    assert rows.same_class_count["street/left car"] == 2


def test_the_pages_config_is_one_that_the_harness_takes(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(_blocks("yaml"))
    config = load_run(tmp_path / "mine.yaml")
    assert [method.name for method in config.methods] == ["text_click", "click_only"]


# Masks to start from


def test_masks_to_start_from(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a.png": _box(), "b/1.png": _box(), "b/2.png": _box()})
    without = Folder(root).fingerprint()
    start = _save(root / "initial" / "b" / "2.png", _box(x=9))
    _save(root / "initial" / "a.png", _box(y=5))
    folder = Folder(root)
    (one,), (first, second) = (folder.load(name).instances for name in folder.sample_ids())
    np.testing.assert_array_equal(one.initial, _box(y=5) > 0)
    np.testing.assert_array_equal(second.initial, _box(x=9) > 0)
    assert first.initial is None
    assert start in folder.files("b") and folder.fingerprint() != without


def test_masks_to_start_from_that_fit_nothing(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a.png": _box()})
    _save(root / "initial" / "a.png", _box()[1:])
    (reason,) = Folder(root).load("a").broken.values()
    assert str(root / "initial" / "a.png") in reason
    _save(root / "initial" / "b.png", _box())
    with pytest.raises(UserError, match=r"initial/b\.png and no mask of that name"):
        Folder(root).sample_ids()
    with pytest.raises(UserError, match="masks='index'; wanted one mask file per instance"):
        Folder(root, masks="index")
