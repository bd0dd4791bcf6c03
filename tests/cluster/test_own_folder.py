"""Where a Ray that is started here keeps its sockets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness import UserError
from harness.cluster import own_folder


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_a_tmpdir_too_long_for_sockets_is_left_for_a_short_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("x" * 120)))
    own_folder.choose()
    assert os.environ["RAY_TMPDIR"] == "/tmp"
    assert own_folder.logs() == "/tmp/ray/session_latest/logs"


def test_a_tmpdir_that_is_short_enough_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    most = own_folder.MOST - len(own_folder.BELOW)
    folder = Path("/tmp").resolve() / ("x" * (most - 5))
    monkeypatch.setenv("TMPDIR", str(folder))
    assert len(str(folder)) == most
    own_folder.choose()
    (folder / "ray").rmdir()
    folder.rmdir()
    assert "RAY_TMPDIR" not in os.environ


def test_a_ray_tmpdir_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("x" * 120)))
    with pytest.raises(UserError, match=r"^cluster: Ray cannot start in RAY_TMPDIR=.*bytes; wanted \d+ at most"):
        own_folder.choose()


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "/dev/null/x")
    with pytest.raises(UserError, match=rf"^cluster: Ray cannot start in {name}=/dev/null/x \(.*Not a directory"):
        own_folder.choose()
