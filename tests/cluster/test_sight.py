"""What a node must see before it may work, and what it says of what it does not see."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from harness import UserError
from harness.cluster import sight
from harness.config.parts import Plugin
from harness.config.run_config import MethodEntry
from harness.plugins import parameters


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


class Raising:
    """A data set of which no sample can be had."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def load(self, sample_id: str) -> Any:
        raise self.error


def entry(checkpoint: Path) -> MethodEntry:
    return MethodEntry(name="fakes:Steady", label="steady", params={"checkpoint": str(checkpoint)})


def test_what_the_driver_sees_must_be_there(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.touch()
    wanted = sight.visible("methods", entry(weights))
    assert wanted == {"checkpoint"}
    sight.check("methods", entry(weights), wanted)
    weights.unlink()
    with pytest.raises(UserError, match=rf"^'steady': found nothing at checkpoint={weights}; the driver does\. Wanted"):
        sight.check("methods", entry(weights), wanted)


def test_what_the_driver_does_not_see_may_be_absent(tmp_path: Path) -> None:
    absent = entry(tmp_path / "made later")
    assert sight.visible("methods", absent) == frozenset()
    sight.check("methods", absent, frozenset())


def test_a_path_that_may_not_be_entered_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    assert sight.visible("methods", entry(tmp_path)) == frozenset()


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError("a.jpg: no such file"), PermissionError(errno.EACCES, "denied"), OSError(errno.ESTALE, "stale")],
)
def test_files_that_cannot_be_opened(error: OSError) -> None:
    assert sight.unopened(Raising(error), "a").startswith(f"{type(error).__name__}: ")  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [OSError("a.jpg: found 7 bytes that do not decode"), ValueError("no box")])
def test_damage_is_no_lack_of_sight(error: Exception) -> None:
    assert sight.unopened(Raising(error), "a") == ""  # type: ignore[arg-type]


def test_what_loads_is_seen() -> None:
    toys = Plugin(name="fakes:Toys")
    assert sight.unopened(parameters.build("datasets", toys.name, {}), "toy-1") == ""
