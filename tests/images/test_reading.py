"""Image files -> RGB pixels."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from harness.images.reading import read_as_viewed, read_rgb, read_rgb_of, sizes_digest, within
from toy_files import picture

GRADIENT = (np.arange(32 * 48, dtype=np.uint16).reshape(32, 48) * 42).astype(np.uint16)
"""16 bits a pixel, 0 to 64470: clipped at 255, all but six pixels would be white."""


def _photo(mode: str = "RGB") -> PIL.Image.Image:
    return picture(32, 48, 3).convert(mode)


def _saved(image: PIL.Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_rgb_png_comes_back_as_it_was(tmp_path: Path) -> None:
    pixels = read_rgb(_saved(_photo(), tmp_path / "a.png"))
    assert (pixels.shape, pixels.dtype) == ((32, 48, 3), np.uint8)
    assert pixels.flags.writeable and pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, np.asarray(_photo()))


@pytest.mark.parametrize("name", ["a.tif", "a.webp", "a.png", "a.gif"])
def test_a_stack_and_an_animation_are_no_picture(tmp_path: Path, name: str) -> None:
    other = picture(32, 48, 3, seed=1)
    path = _saved(_photo(), tmp_path / name, save_all=True, append_images=[other, other.rotate(180)])
    with pytest.raises(ValueError, match="found 3 pages or frames; wanted one picture"):
        read_rgb(path)


def test_a_preview_behind_a_picture_does_not_count(tmp_path: Path) -> None:
    path = _saved(_photo(), tmp_path / "a.tif", save_all=True, append_images=[_photo().resize((12, 8))])
    np.testing.assert_array_equal(read_rgb(path), np.asarray(_photo()))
    path = _saved(_photo(), tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[_photo()], quality=95)
    assert read_rgb(path).shape == (32, 48, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_other_8_bit_modes_become_three_channels(tmp_path: Path, mode: str) -> None:
    pixels = read_rgb(_saved(_photo(mode), tmp_path / "a.png"))
    np.testing.assert_array_equal(pixels, np.asarray(_photo(mode).convert("RGB")))


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    path = _saved(PIL.Image.new("RGBA", (48, 32), (200, 100, 50, 0)), tmp_path / "a.png")
    assert (read_rgb(path) == (200, 100, 50)).all()


def test_grey_jpeg_repeats_its_channel(tmp_path: Path) -> None:
    pixels = read_rgb(_saved(_photo("L"), tmp_path / "a.jpg"))
    assert pixels.std() > 10
    assert (pixels == pixels[:, :, :1]).all()


def test_cmyk_jpeg_keeps_its_colour(tmp_path: Path) -> None:
    image = PIL.Image.new("RGB", (48, 32), (220, 30, 40)).convert("CMYK")
    pixels = read_rgb(_saved(image, tmp_path / "a.jpg", quality=95))
    np.testing.assert_allclose(pixels.reshape(-1, 3).mean(0), (220, 30, 40), atol=4)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, name: str) -> None:
    pixels = read_rgb(_saved(PIL.Image.fromarray(GRADIENT), tmp_path / name))
    assert (pixels.shape, pixels.dtype) == ((32, 48, 3), np.uint8)
    np.testing.assert_array_equal(pixels[:, :, 2], GRADIENT // 256)


def test_16_bit_colour_is_scaled_as_16_bit_grey_is(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.stack([GRADIENT, GRADIENT // 2, GRADIENT // 4], axis=2))
    pixels = read_rgb(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels, np.stack([GRADIENT // 4, GRADIENT // 2, GRADIENT], axis=2) // 256)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_values_without_a_known_range_raise(tmp_path: Path, dtype: type) -> None:
    path = _saved(PIL.Image.fromarray(GRADIENT.astype(dtype)), tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: found PIL mode [IF] .*64470.*wanted 8 or 16 bits"):
        read_rgb(path)


def test_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    path = _saved(_photo(), tmp_path / "a.jpg", exif=exif, quality=95)
    assert PIL.Image.open(path).getexif()[0x0112] == 6
    assert read_rgb(path).shape == (32, 48, 3)


@pytest.mark.parametrize(
    ("orientation", "square"), [(2, False), (3, False), (4, False), (5, True), (6, True), (7, True), (8, True)]
)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_a_picture_that_viewers_turn_to_the_same_size_raises(
    tmp_path: Path, name: str, orientation: int, square: bool
) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    path = _saved(_photo().crop((0, 0, 32 if square else 48, 32)), tmp_path / name, exif=exif)
    with pytest.raises(ValueError, match=rf"{name}: found EXIF orientation {orientation}, .* without orientation"):
        read_rgb(path)
    assert read_rgb(path, turned=True).shape[0] == 32


# EXIF 2.3, table 6: where the stored row 0 and column 0 of "abc def" are when it is viewed.
VIEWED = {
    1: "abc def",  # top, left
    2: "cba fed",  # top, right
    3: "fed cba",  # bottom, right
    4: "def abc",  # bottom, left
    5: "ad be cf",  # left, top
    6: "da eb fc",  # right, top
    7: "fc eb da",  # right, bottom
    8: "cf be ad",  # left, bottom
}


@pytest.mark.parametrize(("orientation", "letters"), VIEWED.items())
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_picture_is_read_as_viewers_show_it(tmp_path: Path, name: str, orientation: int, letters: str) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stored = PIL.Image.fromarray(np.frombuffer(b"abcdef", np.uint8).reshape(2, 3).repeat(3).reshape(2, 3, 3))
    pixels = read_as_viewed(_saved(stored, tmp_path / name, exif=exif))
    assert " ".join(row.tobytes().decode() for row in pixels[:, :, 0]) == letters
    assert pixels.flags.c_contiguous and (pixels == pixels[:, :, :1]).all()


def test_exif_that_is_damaged_says_nothing(tmp_path: Path) -> None:
    path = _saved(_photo(), tmp_path / "a.jpg", exif=b"Exif\0\0XX*\0\0\0\0\0")
    assert read_rgb(path).shape == (32, 48, 3)


def test_a_size_that_only_exif_explains_is_told_so(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    path = _saved(_photo(), tmp_path / "a.jpg", exif=exif)
    with pytest.raises(
        ValueError, match=r"found 32 x 48 \(h x w\); wanted 48 x 32, as in x\.json\. Its EXIF orientation"
    ):
        read_rgb_of(path, (48, 32), Path("x.json"))
    with pytest.raises(ValueError, match=r"wanted 47 x 32, as in x\.json\. Fetch the picture again"):
        read_rgb_of(path, (47, 32), Path("x.json"))
    assert read_rgb_of(path, (32, 48), Path("x.json")).shape == (32, 48, 3)


@pytest.mark.parametrize("bits", [9, 10, 12])
@pytest.mark.parametrize("colours", [False, True])
def test_12_bits_in_16_are_not_shown_black(tmp_path: Path, bits: int, colours: bool) -> None:
    values = GRADIENT >> 16 - bits
    cv2.imwrite(str(tmp_path / "a.png"), np.stack([values] * 3, axis=2) if colours else values)
    with pytest.raises(ValueError, match=r"a\.png: found 16 bits a channel and no value above \d+: 12 bits .*black"):
        read_rgb(tmp_path / "a.png")


def test_a_dark_picture_of_16_bits_is_read(tmp_path: Path) -> None:
    values = np.zeros((32, 48), np.uint16)
    assert read_rgb(_saved(PIL.Image.fromarray(values), tmp_path / "a.png")).max() == 0
    values[0, 0] = 4096
    assert read_rgb(_saved(PIL.Image.fromarray(values), tmp_path / "b.png")).max() == 16


def test_a_name_with_backslashes_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Its name has backslashes: write '/' between folders"):
        read_rgb(tmp_path / "a\\b.jpg")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.jpg: no such file; wanted an image"):
        read_rgb(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.95])
def test_truncated_file_raises(tmp_path: Path, name: str, share: float) -> None:
    path = _saved(_photo(), tmp_path / name)
    whole = path.read_bytes()
    kept = int(len(whole) * share)
    path.write_bytes(whole[:kept])
    with pytest.raises(OSError, match=rf"{name}: found {kept} bytes that do not decode .*wanted a whole image"):
        read_rgb(path)


def test_text_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("<html>404</html>")
    with pytest.raises(OSError, match="cannot identify"):
        read_rgb(tmp_path / "a.jpg")


def test_names_and_sizes_decide_the_digest_and_places_do_not(tmp_path: Path) -> None:
    def digest(**sizes: int) -> str:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        for name, size in sizes.items():
            (folder / name).write_bytes(bytes(size))
        return sizes_digest(folder / name for name in ("a", "b"))

    assert digest(a=1, b=2) == digest(a=1, b=2)
    assert len({digest(a=1, b=2), digest(a=2, b=1), digest(a=1), digest(), digest(a=0, b=0)}) == 5


@pytest.mark.parametrize("name", ["1.jpg", "a/b/1.jpg", "a b/Füße..jpg", "...jpg"])
def test_a_name_inside_the_folder_is_taken(name: str) -> None:
    assert within(name) == name


@pytest.mark.parametrize("name", ["../1.jpg", "a/../../1.jpg", "/etc/passwd", "C:\\1.jpg", "\\1.jpg", "a\\..\\1.jpg"])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="leads out of the folder of pictures"):
        within(name)


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"found the file name 'a\\x00.jpg', which no file can have; wanted one inside"
    ):
        within("a\0.jpg")
