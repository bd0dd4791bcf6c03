"""The files that parameters name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from harness.plugins import files


def test_files_are_those_that_are_there(module: str, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    params = {
        "checkpoint": str(tmp_path / "a"),
        "folds": [str(tmp_path / "gone"), str(tmp_path / "b")],
        "saliency": {"name": f"{module}:Blank", "params": {"weights": str(tmp_path / "c")}},
        "anything": str(tmp_path / "a"),
    }
    found = files.files("methods", f"{module}:Many", params)
    expected = {"checkpoint": tmp_path / "a", "folds[1]": tmp_path / "b", "saliency.weights": tmp_path / "c"}
    assert found == expected
    assert files.files("methods", f"{module}:Many", {"checkpoint": str(tmp_path)}) == {}


def test_metadata_is_what_the_header_says_and_nothing_of_another_file(tmp_path: Path) -> None:
    save_file({"weight": np.zeros(2, np.float32)}, tmp_path / "a.safetensors", {"vocabulary": "[]"})
    (tmp_path / "b.safetensors").write_bytes(b"damaged")
    assert files.metadata(tmp_path / "a.safetensors") == {"vocabulary": "[]"}
    assert files.metadata(tmp_path / "b.safetensors") == files.metadata(tmp_path / "gone") == {}
