import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from harness import UserError
from harness.storage import lock
from harness.storage.folder import Folder
from harness.storage.lock import Lock, Owner, holder, named

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.at(tmp_path / "run")


def lock_file(folder: Folder) -> Path:
    assert folder.local is not None
    return folder.local / "lock.json"


def held_by(folder: Folder, owner: Owner, age_s: float = 0) -> None:
    folder.write("lock.json", json.dumps(asdict(owner)).encode())
    written = time.time() - age_s
    os.utime(lock_file(folder), (written, written))


def dead_pid() -> int:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return gone.pid


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_it_says_who_writes_and_goes_with_the_writer(folder: Folder) -> None:
    with Lock(folder):
        said = json.loads(lock_file(folder).read_text())
        assert said["pid"] == os.getpid() and said["host"] and said["user"] and said["started"].endswith("+00:00")
        assert holder(folder) == Owner(**said)
    assert holder(folder) is None and not lock_file(folder).parent.exists(), "an empty folder goes, too"


def test_it_goes_when_the_work_fails_and_other_files_stay(folder: Folder) -> None:
    with pytest.raises(ZeroDivisionError), Lock(folder):
        folder.write("manifest.json", b"{}")
        raise ZeroDivisionError
    assert folder.files() == ["manifest.json"]


def test_a_living_owner_is_named_with_its_age_and_what_to_do(folder: Folder) -> None:
    held_by(folder, replace(Owner.this(), user="ada", started="2026-01-02"), age_s=70)
    with pytest.raises(UserError) as refused, Lock(folder):
        pass
    said = str(refused.value)
    assert (
        f"lock.json: found another process at work on this run: process {os.getpid()} of ada on {Owner.this().host}"
        in said
    )
    assert "started 2026-01-02; its last sign of life is 70 s old" in said
    assert "Wait for it or stop it" in said and "After 300 s" in said and "delete the file" in said
    assert holder(folder) is not None


@pytest.mark.parametrize(
    ("changed", "age_s", "gone"),
    [
        ({"pid": -1}, 0, False),
        ({"host": "elsewhere", "pid": None}, 200, False),
        ({"host": "elsewhere", "pid": None}, 400, True),
        ({"processes": "of another container", "pid": None}, 200, False),
        ({"pid": None}, 0, True),
        ({}, 200, False),
        ({}, 400, True),
    ],
)
def test_who_is_gone_is_taken_over_from(
    folder: Folder, changed: dict[str, Any], age_s: float, gone: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """None stands for the pid of a process that ended."""
    pid = {"pid": dead_pid()} if changed.get("pid", 0) is None else {}
    held_by(folder, replace(Owner.this(), **changed | pid), age_s)
    if not gone:
        with pytest.raises(UserError, match="found another process"), Lock(folder):
            pass
        return
    with Lock(folder) as mine:
        assert holder(folder) == mine.owner
    assert "taken over from process" in caplog.text and "which is gone" in caplog.text


@pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="Linux alone has namespaces of pids")
def test_an_owner_says_within_which_boot_and_namespace_its_pid_counts(folder: Folder) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with Lock(folder):
        said = json.loads(lock_file(folder).read_text())
    assert said["processes"] == f"{boot} {Path('/proc/self/ns/pid').readlink()}"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux alone tells a zombie by a file")
def test_who_has_ended_is_gone_though_its_parent_never_asked(folder: Folder) -> None:
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    stat = Path(f"/proc/{zombie.pid}/stat")
    until(lambda: ") Z " in stat.read_text())
    held_by(folder, replace(Owner.this(), pid=zombie.pid))
    assert holder(folder) is None
    with Lock(folder) as mine:
        assert holder(folder) == mine.owner
    zombie.wait()


def test_who_is_gone_writes_no_more(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    held_by(folder, replace(Owner.this(), pid=dead_pid()))
    assert holder(folder) is None and named(folder) is not None
    held_by(folder, other := replace(Owner.this(), host="elsewhere"), age_s=200)
    assert holder(folder) == other
    held_by(folder, other, age_s=400)
    assert holder(folder) is None

    def refused(self: Folder, name: str) -> float:
        raise UserError("nothing may be written here")

    monkeypatch.setattr(Folder, "age_s", refused)
    assert holder(folder) == other, "who may only read takes its word"


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid": 3, "other": 4}', b"[]"])
def test_one_that_nobody_can_read_is_respected_until_it_is_old(folder: Folder, content: bytes) -> None:
    folder.write("lock.json", content)
    with pytest.raises(UserError, match="process 0 of somebody on an unknown host"), Lock(folder):
        pass
    os.utime(lock_file(folder), (1, 1))
    with Lock(folder):
        pass


def test_the_owner_shows_that_it_lives(folder: Folder) -> None:
    with Lock(folder, beat_s=0.02, stale_s=5) as mine:
        os.utime(lock_file(folder), (1, 1))
        until(lambda: folder.age_s("lock.json") < 5)
        mine.check()


@pytest.mark.parametrize("how", ["taken", "deleted"])
def test_an_owner_whose_name_is_gone_stops_and_leaves_the_others(folder: Folder, how: str) -> None:
    with Lock(folder, beat_s=0.02) as mine:
        other = replace(Owner.this(), token="other", user="bea")
        if how == "taken":
            held_by(folder, other)
        else:
            folder.remove("lock.json")
        until(lambda: mine.lost)
        with pytest.raises(UserError, match="of bea.*, holds it now" if how == "taken" else "the file is gone, and"):
            mine.check()
    assert holder(folder) == (other if how == "taken" else None)


def test_a_beat_that_fails_is_tried_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    beats = []

    def touch(self: Folder, name: str) -> None:
        beats.append(name)
        raise OSError("the server is away")

    monkeypatch.setattr(Folder, "touch", touch)
    with Lock(folder, beat_s=0.01) as mine:
        until(lambda: len(beats) > 2)
        mine.check()


def at_once(folder: Folder, starts: int) -> list[Any]:
    """What became of several that want the lock at one moment: the owner's token, or what it was told."""
    ready, done, found = threading.Barrier(starts), threading.Event(), []

    def start() -> None:
        ready.wait()
        try:
            with Lock(folder) as mine:
                found.append(mine.owner)
                done.wait(10)
        except UserError as error:
            found.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(starts)]
    for thread in threads:
        thread.start()
    until(lambda: len(found) == starts)
    done.set()
    for thread in threads:
        thread.join()
    return found


def test_of_many_at_once_one_gets_it(folder: Folder) -> None:
    for _ in range(5):
        assert sum(isinstance(one, Owner) for one in at_once(folder, 8)) == 1


@pytest.mark.slow
def test_of_many_that_take_over_at_once_one_gets_it(folder: Folder) -> None:
    for _ in range(3):
        held_by(folder, replace(Owner.this(), pid=dead_pid()))
        assert sum(isinstance(one, Owner) for one in at_once(folder, 6)) == 1


HOLD = """
import sys, time
from harness.storage.folder import Folder
from harness.storage.lock import Lock
with Lock(Folder.at(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_killed_process_blocks_nobody(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "mine\n"
    with pytest.raises(UserError, match=f"process {other.pid} of"), Lock(folder):
        pass
    other.kill()
    other.communicate()
    with Lock(folder):
        assert f"taken over from process {other.pid}" in caplog.text


def test_a_beat_is_shorter_than_silence() -> None:
    assert lock.BEAT_S * 4 + 60 < lock.STALE_S, "NFS shows a file's age up to 60 s late"
