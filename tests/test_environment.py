"""The commit that a run or a training is made with."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import environment


def test_a_copy_of_the_checkout_is_told_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "CHECKOUT", tmp_path)
    monkeypatch.delenv("HARNESS_COMMIT", raising=False)
    assert environment.commit() == ""
    monkeypatch.setenv("HARNESS_COMMIT", "450b1b1a2b3c")
    assert environment.commit() == "450b1b1a2b3c"
