"""Index masks: the numbers as they were written, or a refusal."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from harness.datasets.shared.index_masks import read_indices
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness.plugins import registry

H, W = 32, 48
NUMBERS = (np.arange(H * W, dtype=np.int64).reshape(H, W) * 7 % 256).astype(np.uint8)


def _palette(numbers: np.ndarray, **options: Any) -> PIL.Image.Image:
    """With colours that tell nothing: those of neighbouring numbers may be equal."""
    image = PIL.Image.fromarray(numbers)
    image = PIL.Image.frombytes("P", image.size, image.tobytes())
    image.putpalette(options.get("colours", [value // 3 for value in range(256) for _ in "rgb"]))
    return image


def _saved(image: PIL.Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def _png(bits: int, colour_type: int, rows: list[bytes], palette: bytes = b"") -> bytes:
    """Written chunk by chunk, for depths that PIL does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 48, len(rows), bits, colour_type, 0, 0, 0)
    body = chunk(b"PLTE", palette) if palette else b""
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_palette_indices_come_back_and_no_colours(tmp_path: Path) -> None:
    indices = read_indices(_saved(_palette(NUMBERS), tmp_path / "a.png"))
    assert (indices.shape, indices.dtype) == ((H, W), np.uint8)
    assert indices.flags.writeable and indices.flags.c_contiguous
    np.testing.assert_array_equal(indices, NUMBERS)


def test_8_bit_grey_is_taken_as_it_is(tmp_path: Path) -> None:
    path = _saved(PIL.Image.fromarray(NUMBERS), tmp_path / "a.png")
    np.testing.assert_array_equal(read_indices(path), NUMBERS)


@settings(max_examples=30, derandomize=True)
@given(numbers=arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 11))), grey=st.booleans())
def test_any_numbers_survive(tmp_path_factory: pytest.TempPathFactory, numbers: np.ndarray, grey: bool) -> None:
    image = PIL.Image.fromarray(numbers) if grey else _palette(numbers)
    path = _saved(image, tmp_path_factory.mktemp("ü mask") / "ein Name.png")
    np.testing.assert_array_equal(read_indices(path), numbers)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_palette_of_few_colours_keeps_its_indices(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_png(bits, 3, [bytes([0b01011011] * (W * bits // 8))] * H, bytes(3 * 2**bits)))
    digits = np.unpackbits(np.array([0b01011011], np.uint8)).reshape(-1, bits)
    wanted = digits @ (1 << np.arange(bits)[::-1])
    np.testing.assert_array_equal(read_indices(path), np.tile(wanted, (H, W // len(wanted))))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_is_refused_since_its_numbers_are_scaled(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_png(bits, 0, [bytes([0b01011011] * (W * bits // 8))] * H))
    with pytest.raises(ValueError, match=r"a\.png: found PNG .*, not an index mask; wanted a PNG with a palette"):
        read_indices(path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1", "I;16"])
def test_colours_alpha_and_other_depths_are_refused(tmp_path: Path, mode: str) -> None:
    image = PIL.Image.fromarray(NUMBERS.astype(np.uint16)) if mode == "I;16" else _palette(NUMBERS).convert(mode)
    with pytest.raises(ValueError, match=rf"found PNG {mode}"):
        read_indices(_saved(image, tmp_path / "a.png"))


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "gif", "webp", "tif"])
def test_other_formats_are_refused_whatever_their_name(tmp_path: Path, suffix: str) -> None:
    path = _saved(PIL.Image.fromarray(NUMBERS), tmp_path / f"a.{suffix}")
    with pytest.raises(ValueError, match="not an index mask"):
        read_indices(path.rename(tmp_path / "a.png"))


def test_a_transparent_palette_keeps_its_indices(tmp_path: Path) -> None:
    path = _saved(_palette(NUMBERS), tmp_path / "a.png", transparency=bytes(range(256)))
    np.testing.assert_array_equal(read_indices(path), NUMBERS)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a\.png: no such file; wanted an index mask"):
        read_indices(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError):
        read_indices(tmp_path)


@pytest.mark.parametrize("kept", [0, 7, 33, 60, 300])
def test_a_file_that_is_cut_off(tmp_path: Path, kept: int) -> None:
    path = _saved(_palette(NUMBERS), tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(OSError, match=rf"a\.png: found {kept} bytes that do not decode"):
        read_indices(path)


@pytest.mark.slow
def test_no_flipped_bit_changes_a_number(tmp_path: Path) -> None:
    path = _saved(_palette(np.random.default_rng(0).integers(0, 9, (H, W)).astype(np.uint8)), tmp_path / "a.png")
    whole, wanted = path.read_bytes(), read_indices(path)
    refused = 0
    for position in range(0, len(whole), 3):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        try:
            np.testing.assert_array_equal(read_indices(path), wanted)
        except (OSError, ValueError):
            refused += 1
    assert refused > len(whole) / 3 - 20  # what comes after the last number may pass


def test_it_is_no_data_set() -> None:
    assert "index_masks" not in registry.names("datasets")


def test_a_mask_that_viewers_turn_is_refused(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    _palette(NUMBERS).save(tmp_path / "a.png", exif=exif)
    with pytest.raises(ValueError, match=r"a\.png: found EXIF orientation 6; wanted none"):
        read_indices(tmp_path / "a.png")
