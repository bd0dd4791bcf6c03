"""A training's journal: every step once, and no disk or damaged file that ends the training."""

from __future__ import annotations

import logging
import resource
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tensorboardX.proto.event_pb2 import Event

from harness.training.journal import METRICS, Journal
from harness.training.one_rank import Progress


def report(step: int, loss: float = 0.5) -> Progress:
    return Progress(step, 4, loss, lr=0.1, steps_per_s=1.0)


def steps(folder: Path) -> list[int]:
    return [row["step"] for row in pq.read_table(folder / METRICS).to_pylist()]


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process grows beyond 100 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_steps_that_replaced_workers_do_again_stand_in_the_journal_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "job")
    for step, loss in [(1, 0.5), (2, 0.4), (3, 0.3), (2, 0.4), (3, 0.25), (4, 0.2)]:
        journal.add(report(step, loss))
    journal.close()
    rows = pq.read_table(tmp_path / "job" / METRICS).to_pylist()
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 0.5), (2, 0.4), (3, 0.25), (4, 0.2)]


def test_a_full_disk_is_told_once_and_once_there_is_room_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path / "job")
    journal.add(report(1))
    with full_disk(), caplog.at_level(logging.WARNING):
        journal.add(report(2))
        journal.add(report(3))
    assert steps(tmp_path / "job") == [1]
    (told,) = (one.getMessage() for one in caplog.records)
    assert told.startswith(f"training: its journal in {tmp_path}/job cannot be written (") and "File too large" in told
    assert not list((tmp_path / "job").glob(".*"))
    journal.add(report(4))
    journal.close()
    assert steps(tmp_path / "job") == [1, 2, 3, 4]


def test_a_folder_that_cannot_be_made_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "job").write_text("in the way")
    journal = Journal(tmp_path / "job")
    journal.add(report(1))
    assert "cannot be written" in caplog.text
    (tmp_path / "job").unlink()
    journal.add(report(2))
    journal.close()
    assert steps(tmp_path / "job") == [1, 2]


@pytest.mark.parametrize("content", [b"", b"half a file", b"PAR1" + b"x" * 50 + b"PAR1"])
def test_an_unreadable_journal_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    (tmp_path / METRICS).write_bytes(content)
    journal = Journal(tmp_path)
    journal.add(report(3))
    journal.close()
    assert steps(tmp_path) == [3]
    assert f"training: {tmp_path}/{METRICS} is damaged (" in caplog.text


def points(path: Path) -> list[tuple[int, str, float]]:
    """What TensorBoard finds: step, tag, value of every point; records are length, checksum, content, checksum."""
    content, found = path.read_bytes(), []
    while content:
        (length,) = struct.unpack_from("Q", content)
        event = Event.FromString(content[12 : 12 + length])
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        content = content[16 + length :]
    return found


def test_tensorboard_sees_every_report_at_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.add(report(1))
    (path,) = tmp_path.glob("events.out.tfevents.*")
    assert points(path) == [(1, "loss", 0.5), (1, "lr", pytest.approx(0.1)), (1, "steps_per_s", 1), (1, "waited", 0)]
    journal.add(report(2))
    assert [step for step, *_ in points(path)] == [1] * 4 + [2] * 4
    journal.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full, as Linux has one")
def test_tensorboards_file_on_a_full_disk_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = int(time.time())
    for second in range(now, now + 60):
        (tmp_path / f"events.out.tfevents.{second}.{socket.gethostname()}.1").symlink_to("/dev/full")
    journal = Journal(tmp_path)
    for step in range(1, 30):  # More than any queue holds.
        journal.add(report(step))
    journal.close()
    assert steps(tmp_path) == list(range(1, 30))
    assert [one.getMessage() for one in caplog.records] == [
        f"training: its journal in {tmp_path} cannot be written (No space left on device); the training goes on"
    ]
    (real,) = (path for path in tmp_path.glob("events.*") if not path.is_symlink())
    assert {step for step, *_ in points(real)} == set(range(2, 30))
