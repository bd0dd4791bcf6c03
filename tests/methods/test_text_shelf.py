"""Vectors of texts on disk: whole or told of, bounded, and never needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from harness.methods.shared import text_shelf
from harness.methods.shared.text_shelf import TextShelf

VECTOR = np.linspace(-1, 1, 8, dtype=np.float32)


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_INDEX", str(tmp_path / "index"))
    return tmp_path / "index"


def test_a_vector_is_read_as_it_was_written() -> None:
    shelf = TextShelf("model")
    assert shelf.read("dog") is None
    shelf.keep("dog", VECTOR)
    found = TextShelf("model").read("dog")
    assert found is not None and found.dtype == np.float32 and np.array_equal(found, VECTOR)
    assert TextShelf("model").read("cat") is None and TextShelf("another").read("dog") is None


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_damaged_file_is_told_of_and_written_anew(damage: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    shelf = TextShelf("model")
    shelf.keep("dog", VECTOR)
    (path,) = shelf.folder.iterdir()
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(bytes(content) if damage is None else damage)
    assert shelf.read("dog") is None
    assert "damaged; the vector of 'dog' is computed again" in caplog.text
    shelf.keep("dog", VECTOR)
    assert np.array_equal(np.asarray(shelf.read("dog")), VECTOR)


def test_a_shelf_holds_so_many_texts_and_there_are_so_many_shelves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_shelf, "MOST_TEXTS", 3)
    monkeypatch.setattr(text_shelf, "MOST_SHELVES", 2)
    for name in ("a", "b", "c", "d"):
        shelf = TextShelf(name)
        for text in "12345":
            shelf.keep(text, VECTOR)
        assert [shelf.read(text) is None for text in "12345"] == [False] * 3 + [True] * 2
    assert len(list(shelf.folder.parent.iterdir())) == 2 and TextShelf("d").read("1") is not None


def test_a_disk_that_refuses_is_told_of_once(index: Path, caplog: pytest.LogCaptureFixture) -> None:
    index.write_text("no folder")
    shelf = TextShelf("model")
    with shelf.locked():
        shelf.keep("dog", VECTOR)
    shelf.keep("cat", VECTOR)
    assert shelf.read("dog") is None
    assert len(caplog.messages) == 1 and "embeddings of texts cannot be kept there" in caplog.text
