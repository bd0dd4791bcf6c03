"""The commit and the GPUs that a run or a training is made with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness import environment


def test_a_copy_of_the_checkout_is_told_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "CHECKOUT", tmp_path)
    monkeypatch.delenv("HARNESS_COMMIT", raising=False)
    assert environment.commit() == ""
    monkeypatch.setenv("HARNESS_COMMIT", "450b1b1a2b3c")
    assert environment.commit() == "450b1b1a2b3c"


def test_gpus_are_named_where_torch_is_not_loaded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.environment()["gpus"] == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n[ $1 = --query-gpu=name ] && echo 'NVIDIA H100' && echo 'NVIDIA A100'\n")
    tool.chmod(0o755)
    assert environment.environment()["gpus"] == ["NVIDIA H100", "NVIDIA A100"]
    assert "torch" not in sys.modules
