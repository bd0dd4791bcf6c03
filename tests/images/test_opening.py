"""Pictures with too many pixels: told as what they are, and read where the reader says so."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from harness.datasets.openimages.masks import read_mask
from harness.datasets.shared.index_masks import read_indices
from harness.datasets.shared.mask_files import read_picture

from harness import UserError
from harness.images import opening
from harness.images.reading import read_rgb

READERS: list[Callable[[Path], Any]] = [read_rgb, read_indices, read_picture, lambda path: read_mask(path, 32, 48)]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A white picture of 1,536 pixels, where 1,000 are the most."""
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 500)  # restored with what `opened` sets
    monkeypatch.setattr(opening, "_PIL_WARNS_AT", 500)
    monkeypatch.delenv("HARNESS_MAX_MEGAPIXELS", raising=False)
    PIL.Image.new("L", (48, 32), 255).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.parametrize("read", READERS)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_each_reader_says_what_it_is_and_reads_it_on_request(
    path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], Any]
) -> None:
    with pytest.raises(opening.TooLargeError, match=r"a\.png: found a picture of more .* set HARNESS_MAX_MEGA"):
        read(path)
    monkeypatch.setenv("HARNESS_MAX_MEGAPIXELS", "0.0016")
    assert read(path) is not None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("read", READERS)
def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    PIL.Image.new("L", (48, 32), 255).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(PermissionError, match=r"Permission denied: '.*a\.png'"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("said", ["many", "0", "-1", "nan", "inf", "1e-9"])
def test_a_limit_that_is_none_is_the_readers_to_mend(path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("HARNESS_MAX_MEGAPIXELS", said)
    with pytest.raises(UserError, match=f"HARNESS_MAX_MEGAPIXELS={said}: wanted a number above 0"):
        opening.opened(path)


def test_pils_own_limit_is_the_default() -> None:
    assert opening._most_pixels() == 178_956_970
