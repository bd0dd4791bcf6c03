"""The index cache: kept, found again, made anew when anything changed or is damaged, and done without."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from harness.datasets.shared.index_cache import cached, index_folder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.places import ROOT


class Builder:
    """Makes a table of the files' texts and counts how often it is asked."""

    def __init__(self, *files: Path) -> None:
        self.files, self.asked = files, 0

    def __call__(self) -> pa.Table:
        self.asked += 1
        texts = [file.read_text() if file.exists() else None for file in self.files]
        return pa.table({"text": pa.array(texts, pa.string())}).replace_schema_metadata({"note": "Füße"})

    def ask(self, name: str = "texts 1") -> list[str | None]:
        table = cached(name, self.files, self)
        assert table.schema.metadata[b"note"].decode() == "Füße"
        return table["text"].to_pylist()


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_INDEX", str(tmp_path / "index"))
    return tmp_path / "index"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a file.csv"
    path.write_text("one")
    return path


def test_the_second_time_nothing_is_built(file: Path, index: Path) -> None:
    first, second = Builder(file), Builder(file)
    assert first.ask() == second.ask() == ["one"]
    assert (first.asked, second.asked) == (1, 0)
    assert [path.suffix for path in index.iterdir()] == [".parquet"]


def _longer(file: Path) -> None:
    file.write_text("three")


def _same_size_later(file: Path) -> None:
    before = file.stat().st_mtime_ns
    file.write_text("two")
    os.utime(file, ns=(before + 1, before + 1))


@pytest.mark.parametrize(("change", "now"), [(_longer, ["three"]), (_same_size_later, ["two"]), (Path.unlink, [None])])
def test_a_changed_file_is_read_again(file: Path, change: Callable[[Path], object], now: list[str | None]) -> None:
    assert Builder(file).ask() == ["one"]
    change(file)
    assert Builder(file).ask() == now


def test_another_name_another_path_and_another_order_are_other_entries(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.csv"
    copy.write_text("one")
    os.utime(copy, ns=(file.stat().st_mtime_ns,) * 2)
    builders = [Builder(file), Builder(copy), Builder(file, copy), Builder(copy, file)]
    for builder in builders:
        builder.ask("texts 1")
        builder.ask("texts 2")
        assert builder.asked == 2


def test_names_that_one_file_name_would_stand_for_stay_apart(file: Path) -> None:
    long = "x" * 300
    builder = Builder(file)
    for name in ("a/b", "a b", "a[b", "ä*?", long, long + "y", "..", ""):
        before = builder.asked
        assert builder.ask(name) == builder.ask(name) == ["one"]
        assert builder.asked == before + 1


def test_what_build_raises_goes_through_and_nothing_is_kept(file: Path, index: Path) -> None:
    def build() -> pa.Table:
        raise ValueError("no such column")

    with pytest.raises(ValueError, match="no such column"):
        cached("texts 1", [file], build)
    assert not index.exists()


@pytest.mark.slow
@settings(max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_entry_is_made_anew(file: Path, index: Path, at: float, flip: int, cut: bool) -> None:
    Builder(file).ask()
    (entry,) = index.iterdir()
    content = bytearray(entry.read_bytes())
    place = int(at * len(content))
    content[place] ^= flip
    entry.write_bytes(content[:place] if cut else content)
    again, then = Builder(file), Builder(file)
    assert again.ask() == then.ask() == ["one"]
    assert (again.asked, then.asked) == (1, 0)
    assert len(list(index.iterdir())) == 1


@pytest.mark.parametrize("kind", ["a file", "under a file", "read-only"])
def test_without_a_folder_to_write_to_it_works_and_keeps_nothing(
    file: Path, index: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "read-only":
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        index.mkdir(mode=0o500)
    else:
        index.write_text("in the way")
        monkeypatch.setenv("HARNESS_INDEX", str(index if kind == "a file" else index / "below"))
    builder = Builder(file)
    assert builder.ask() == builder.ask() == ["one"]
    assert builder.asked == 2


def test_a_full_disk_leaves_no_partial_entry(file: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.atomic._sync", full)
    assert Builder(file).ask() == ["one"]
    assert not list(index.iterdir())


def test_entries_used_last_are_kept_and_old_ones_go(file: Path, index: Path) -> None:
    (index / "nested").mkdir(parents=True)
    (index / ".texts_1-killed.parquet.0123").touch()
    os.utime(index / ".texts_1-killed.parquet.0123", (0, 0))
    Builder(file).ask("other 1")
    for state in range(20):
        os.utime(file, ns=(state, state))
        Builder(file).ask()
        for entry in index.glob("texts_1-*"):  # an hour passes
            os.utime(entry, (entry.stat().st_mtime - 3600,) * 2)
        os.utime(file, ns=(0, 0))
        always = Builder(file)
        always.ask()
        assert always.asked == 0
    assert len(list(index.glob("texts_1-*"))) == 8 and not list(index.glob(".*"))
    assert len(list(index.glob("other_1-*"))) == 1
    for state, built in ((0, 0), (19, 0), (13, 0), (12, 1)):
        os.utime(file, ns=(state, state))
        builder = Builder(file)
        builder.ask()
        assert builder.asked == built


def test_a_new_entry_stays_though_others_have_times_of_a_clock_that_was_ahead(file: Path, index: Path) -> None:
    for state in range(8):
        os.utime(file, ns=(state, state))
        Builder(file).ask()
    for entry in index.iterdir():
        os.utime(entry, (entry.stat().st_mtime + 86_400,) * 2)
    os.utime(file, ns=(8, 8))
    first, second = Builder(file), Builder(file)
    first.ask()
    second.ask()
    assert (first.asked, second.asked) == (1, 0) and len(list(index.iterdir())) == 8


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_could_not_be_read_is_read_once_it_may_be(file: Path) -> None:
    def build() -> pa.Table:
        return pa.table({"text": [file.read_text() if os.access(file, os.R_OK) else "unreadable"]})

    file.chmod(0)
    assert cached("texts 1", [file], build)["text"].to_pylist() == ["unreadable"]
    file.chmod(0o600)
    assert cached("texts 1", [file], build)["text"].to_pylist() == ["one"]


ASKED_BY_A_PROCESS = """
import sys
from pathlib import Path
import pyarrow as pa
from harness.datasets.shared.index_cache import cached

file = Path(sys.argv[1])
for turn in range(30):
    name = f"race {turn % 3}"
    table = cached(name, [file], lambda: pa.table({"number": list(range(5000)), "writer": [sys.argv[2]] * 5000}))
    assert table["number"].to_pylist() == list(range(5000))
    assert len(set(table["writer"].to_pylist())) == 1
    for entry in Path(sys.argv[3]).glob("race*"):
        if turn % 3 == 0:
            entry.unlink(missing_ok=True)
"""


@pytest.mark.slow
def test_processes_at_once_each_get_a_whole_table(file: Path, index: Path) -> None:
    command = [sys.executable, "-c", ASKED_BY_A_PROCESS, str(file)]
    running = [
        subprocess.Popen([*command, f"writer {n}", str(index)], cwd=ROOT, stderr=subprocess.PIPE) for n in range(3)
    ]
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    assert not list(index.glob(".*"))


def test_the_folder_is_in_the_checkout_unless_the_environment_names_another(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, folder in (("", "runs/.index"), ("elsewhere/x", "elsewhere/x"), ("/mnt/index", "/mnt/index")):
        monkeypatch.setenv("HARNESS_INDEX", value)
        assert index_folder() == ROOT / folder
    monkeypatch.setenv("HARNESS_INDEX", "~/index")
    assert index_folder() == Path.home() / "index"
    monkeypatch.delenv("HARNESS_INDEX")
    assert index_folder() == ROOT / "runs" / ".index"
