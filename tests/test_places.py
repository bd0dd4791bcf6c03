"""Where paths lead in a checkout, and in an empty folder beside an installed harness."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from harness import UserError, environment, places

WEIGHTS = "methods/weights/scenes_clip.json"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package as a wheel leaves it; the current folder is an empty one."""
    package, here = tmp_path / "site-packages" / "harness", tmp_path / "here"
    for name in (WEIGHTS, "configs/quickstart.yaml", "config/words.csv", "weights/catalogue.csv"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).touch()
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    for name, value in {"_PACKAGE": package, "CHECKOUT": None, "ROOT": here}.items():
        monkeypatch.setattr(places, name, value)
    return package


def test_what_is_not_in_the_current_folder_may_come_with_the_package(package: Path) -> None:
    here = Path.cwd()
    assert places.located(WEIGHTS) == package / WEIGHTS and places.is_installed(package / WEIGHTS)
    assert places.located("harness/config/words.csv") == package / "config" / "words.csv"
    assert places.located("weights") == here / "weights"  # the user's folder, not the package harness.weights
    assert places.located("methods/mine.pth") == here / "methods/mine.pth"
    (here / WEIGHTS).parent.mkdir(parents=True)
    (here / WEIGHTS).touch()
    assert places.located(WEIGHTS) == here / WEIGHTS and not places.is_installed(here / WEIGHTS)


def test_workers_get_absolute_paths_of_all_that_does_not_come_with_the_harness(package: Path) -> None:
    here = Path.cwd()
    assert places.for_workers(WEIGHTS) == Path(WEIGHTS)
    assert places.for_workers("mine/words.csv") == here / "mine" / "words.csv"
    assert places.for_workers("data/coco") == here / "data" / "coco"
    (here / WEIGHTS).parent.mkdir(parents=True)
    (here / WEIGHTS).touch()
    assert places.for_workers(WEIGHTS) == here / WEIGHTS


def test_workers_have_a_copy_of_the_checkout_but_not_of_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    assert places.for_workers("mine/words.csv") == Path("mine/words.csv")
    assert places.for_workers(places.ROOT / "mine") == places.ROOT / "mine"
    assert not places.is_installed(places.ROOT / WEIGHTS)
    for name in ("data", "weights", "runs"):
        assert places.for_workers(f"{name}/a") == places.ROOT / name / "a"
    monkeypatch.setenv("HARNESS_DATA", "/mnt/images")
    assert places.for_workers("data/a") == Path("/mnt/images/a")


def test_a_config_that_comes_along_goes_by_its_name(package: Path) -> None:
    shipped = package / "configs" / "quickstart.yaml"
    assert places.config(Path("quickstart")) == places.config(Path("configs/quickstart.yaml")) == shipped
    for other in ("quickstrt", "quickstart.yaml", "mine/quickstart", "configs/gone.yaml"):
        assert places.config(Path(other)) == Path(other)
    Path("quickstart").touch()
    assert places.config(Path("quickstart")) == Path("quickstart")


def test_an_installed_harness_names_its_version_and_no_commit_of_the_current_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment, "CHECKOUT", None)
    monkeypatch.setattr(environment, "version", {"text-click-harness": "0.1.0"}.__getitem__)
    monkeypatch.delenv("HARNESS_COMMIT", raising=False)
    assert environment.commit() == "v0.1.0"
    monkeypatch.setenv("HARNESS_COMMIT", "0123456789ab")
    assert environment.commit() == "0123456789ab"


def test_a_file_that_another_one_replaces_is_hashed_anew_whatever_its_time_says(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"once")
    before, digest = path.stat(), places.sha256(path)
    other.write_bytes(b"anew")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert places.sha256(path) == hashlib.sha256(b"anew").hexdigest() != digest


def test_the_home_of_a_user_that_nobody_knows_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert places.with_home("~/a") == Path("/home/me/a") and places.with_home("a/~b") == Path("a/~b")
    with pytest.raises(UserError, match="^~nobody-here/a: this machine knows no home folder of '~nobody-here'"):
        places.located("~nobody-here/a")
    monkeypatch.setenv("HARNESS_INDEX", "~nobody-here/index")
    with pytest.raises(UserError, match="^~nobody-here/index: this machine"):
        places.index_folder()
