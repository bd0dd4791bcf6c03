"""Mask files as people save them: what is drawn is read by every data set of pairs, what is not clear raises."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from harness.datasets.berkeley import Berkeley
from harness.datasets.davis import Davis
from harness.datasets.grabcut import GrabCut
from harness.datasets.shared.mask_files import read_colours, read_grey
from harness.datasets.shared.paired_files import PairedFiles

from harness import UserError
from toy_files import picture

H, W = 96, 128
BOX = np.zeros((H, W), bool)
BOX[20:73, 30:83] = True


def _alpha(mode: str) -> PIL.Image.Image:
    """White throughout, the object in the alpha."""
    image = PIL.Image.new("L", (W, H), 255).convert(mode)
    image.putalpha(PIL.Image.fromarray(BOX.astype(np.uint8) * 255))
    return image


def _palette(transparent: bool) -> PIL.Image.Image:
    image = PIL.Image.fromarray(BOX.astype(np.uint8))
    image.putpalette([255, 255, 255, 255, 255, 255] if transparent else [0, 0, 0, 255, 255, 255])
    if transparent:
        image.info["transparency"] = 0
    return image


def _save(path: Path, image: PIL.Image.Image, kind: str = "PNG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, kind)
    return path


def _once_jpeg(image: PIL.Image.Image) -> PIL.Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=50)
    return PIL.Image.open(content)


WHITE = PIL.Image.fromarray(BOX.astype(np.uint8) * 255)
CLEAR: dict[str, Callable[[], PIL.Image.Image]] = {
    "grey": lambda: WHITE,
    "one bit": lambda: PIL.Image.fromarray(BOX),
    "palette": lambda: _palette(transparent=False),
    "three channels": lambda: WHITE.convert("RGB"),
    "opaque": lambda: WHITE.convert("RGBA"),
    "grey, opaque": lambda: WHITE.convert("LA"),
}
UNCLEAR: dict[str, tuple[Callable[[], PIL.Image.Image], str, str]] = {
    "alpha": (lambda: _alpha("RGB"), "PNG", "found transparent pixels; wanted none"),
    "grey alpha": (lambda: _alpha("L"), "PNG", "found transparent pixels; wanted none"),
    "transparent palette": (lambda: _palette(transparent=True), "PNG", "found transparent pixels; wanted none"),
    "JPEG called .png": (lambda: WHITE, "JPEG", "found a JPEG; wanted a PNG"),
    "a JPEG saved as PNG": (lambda: _once_jpeg(WHITE), "PNG", r"found \d+ greys; wanted 11 at most"),
    "made larger": (
        lambda: WHITE.resize((W // 4, H // 4), PIL.Image.Resampling.BOX).resize((W, H), PIL.Image.Resampling.BICUBIC),
        "PNG",
        r"found \d+ greys; wanted 11 at most: no soft edge",
    ),
    "16 bits": (
        lambda: PIL.Image.fromarray(BOX.astype(np.uint16) * 65535),
        "PNG",
        "found PIL mode I;16; wanted 8 bits",
    ),
}
OF: dict[str, type[PairedFiles]] = {"grabcut": GrabCut, "berkeley": Berkeley, "davis": Davis}


def _open(root: Path, name: str, mask: PIL.Image.Image, kind: str = "PNG", suffix: str = "png") -> PairedFiles:
    cls = OF[name]
    _save(root / cls.image_folder / "a.png", picture(H, W, 3))
    _save(root / cls.mask_folder / f"a.{suffix}", mask, kind)
    return cls(root)


@pytest.mark.parametrize("name", OF)
@pytest.mark.parametrize("form", CLEAR)
def test_what_is_drawn_is_read(tmp_path: Path, name: str, form: str) -> None:
    np.testing.assert_array_equal(_open(tmp_path, name, CLEAR[form]()).load("a").instances[0].mask, BOX)


@pytest.mark.parametrize("name", OF)
@pytest.mark.parametrize("form", UNCLEAR)
def test_what_could_be_meant_otherwise_is_a_failed_row(tmp_path: Path, name: str, form: str) -> None:
    make, kind, reason = UNCLEAR[form]
    with pytest.raises(ValueError, match=f"a.png: {reason}"):
        _open(tmp_path, name, make(), kind).load("a")


@pytest.mark.parametrize("name", OF)
def test_a_jpeg_in_the_masks_folder_ends_the_run_before_it_starts(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"a\.jpg'; wanted only files \.png, \.bmp, \.tif, \.tiff"):
        _open(tmp_path, name, WHITE, "JPEG", "jpg").sample_ids()


def test_colours_are_davis_own(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", PIL.Image.fromarray(np.dstack([BOX * 200, BOX * 0, BOX * 9]).astype(np.uint8)))
    assert (read_colours(path)[30, 40] == (200, 0, 9)).all()
    with pytest.raises(ValueError, match=r"a\.png: found colours; wanted grey"):
        read_grey(path)


def test_ten_objects_and_black_are_no_soft_edge(tmp_path: Path) -> None:
    for greys in (11, 12):
        path = _save(tmp_path / f"{greys}.png", PIL.Image.fromarray(np.arange(greys, dtype=np.uint8)[None] * 20))
        if greys == 11:
            np.testing.assert_array_equal(read_grey(path), [range(0, 220, 20)])
        else:
            with pytest.raises(ValueError, match="found 12 greys; wanted 11 at most"):
                read_grey(path)


def test_several_pages_are_refused(tmp_path: Path) -> None:
    WHITE.save(tmp_path / "a.tif", save_all=True, append_images=[WHITE])
    with pytest.raises(ValueError, match="found 2 pages; wanted one image per file"):
        read_grey(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_mask_that_viewers_turn_is_refused(tmp_path: Path, name: str) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 3
    WHITE.save(tmp_path / name, exif=exif)
    with pytest.raises(ValueError, match="found EXIF orientation 3, by which .*; wanted the mask as it is stored"):
        read_grey(tmp_path / name)


def test_a_damaged_and_a_missing_file(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", WHITE)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(OSError, match="found 60 bytes that do not decode"):
        read_grey(path)
    with pytest.raises(FileNotFoundError, match="no such file; wanted a mask"):
        read_grey(tmp_path / "b.png")
