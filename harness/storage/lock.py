"""One writer a run, or a training: `lock.json` in its folder names the owner, and its age shows whether it still runs.

The owner touches the file every 15 s. A second start reads the name and the age, both from the folder:

    seconds        0      15      30      45 ............ 345
    owner A        create touch   touch   killed
    B on A's host          refused         takes over at once: A's process is gone
    C elsewhere            refused         refused        takes over: no touch for 300 s

On a disk (NFS included) the file is created exclusively: if two start at once, one gets it. A bucket offers no such
thing through pyarrow. There each writes its name, waits a moment and reads the file back; the last writer goes on. If
one is delayed for longer than that moment, both go on until the next beat, when the one whose name is gone stops. No
shard can be harmed by then: each is one object, named by its content.

Why not obstore (0.12), whose `put(mode="create")` is exclusive in a bucket? It finds keys in fewer places than pyarrow,
for example not in ~/.aws, and pyarrow does not tell those that it found. So a run whose rows pyarrow can write might
have no lock, or would need its keys and its endpoint a second time, in another form.

Why not filelock's SoftFileLease (4.2)? It cannot be used in a bucket, so this code would still be needed. With it, a
second start must watch a silent file for the whole 300 s, since it trusts only its own clock; here two times of the
file server are compared, which decides at once. Its file names no user and no start, which the message to the second
start needs, and it offers no way for a reader (`watch`, `report`, `verify`) to learn who writes.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import platform
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal
from uuid import uuid4

from harness.storage.folder import Folder
from harness.structures import UserError

NAME = "lock.json"

BEAT_S = 15.0
"""The time between two touches of the file by the owner."""

STALE_S = 300.0
"""The time without a touch after which another start takes over; NFS may show a file's age 60 s late."""

SETTLE_S = {"disk": 0.2, "bucket": 2.0}
"""The wait before the file is read back, where creation is not exclusive."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owner:
    """The process that writes.

    Attributes:
        host: The host's name.
        processes: The boot and the pid namespace, within which a pid means one process; empty if the host does not say.
        pid: The process's number.
        user: The name of the user who started it.
        started: The time of the start, UTC.
        token: A random text that only this start has.
    """

    host: str = "an unknown host"
    processes: str = ""
    pid: int = 0
    user: str = "somebody"
    started: str = "an unknown time"
    token: str = ""

    @classmethod
    def this(cls) -> Owner:
        """This process."""
        started = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(platform.node(), _processes(), os.getpid(), _user(), started, uuid4().hex)

    def died(self) -> bool:
        """Whether it ran on this host and its process has ended; False if that cannot be found out."""
        if (self.host, self.processes) != (platform.node(), _processes()) or self.pid <= 0:
            return False
        try:
            # Signal 0 is never delivered: the call only checks whether there is such a process. A process of another
            # user may not be signalled, but it is there.
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return _is_zombie(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host}, started {self.started}"


class HeldError(UserError):
    """Another living process holds the lock."""


class Lock:
    """Holds the folder of a run, or of a training, for one writer, as a context.

    Raises:
        HeldError: On entering, if a living process holds it.
        UserError: On entering, if the folder cannot be written.
    """

    def __init__(
        self,
        folder: Folder,
        beat_s: float = BEAT_S,
        stale_s: float = STALE_S,
        what: Literal["run", "training"] = "run",
    ) -> None:
        self.folder, self.beat_s, self.stale_s, self.what = folder, beat_s, stale_s, what
        self.owner = Owner.this()
        self.lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lock", daemon=True)

    def __enter__(self) -> Lock:
        self._take()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The beat ends before the file goes. In a bucket a touch is a read and a write: one that ran beside the removal
        # could write the name again, and the next start would wait for a ghost.
        self._ended.set()
        self._thread.join()
        with suppress(UserError, OSError):  # If the file cannot be removed now, it ages, and the next start takes over.
            if self._mine():
                self.folder.remove(NAME)
            if self.folder.local:
                # An empty folder only: a run that failed before it wrote anything leaves no folder behind. With files
                # in it, `rmdir` raises, which is suppressed.
                self.folder.local.rmdir()

    def check(self) -> None:
        """Refuse to go on once another writer has taken over.

        Raises:
            UserError: Another writer has.
        """
        if self.lost:
            other = holder(self.folder)
            gone = "the file is gone, and perhaps the folder with it. Run again: what is missing is computed"
            found = f"{other}, holds it now. Let it finish, or run again" if other else gone
            raise UserError(f"{self.folder / NAME}: this process no longer holds the lock of the {self.what}: {found}.")

    def _take(self) -> None:
        mine = (json.dumps(asdict(self.owner), indent=1) + "\n").encode()
        # If the file is new and on a disk, it was created exclusively, and the lock is held. In all other cases the
        # last writer wins:
        #
        #    A    finds no living owner, writes A          reads B: not A's, and B lives: refused
        #    B    finds no living owner,       writes B    reads B: goes on
        #         -------------------------------------------------------------------> time
        #
        # All earlier writers read the last one's name, provided that each waits long enough for the others' writes to
        # become visible. If the name that is read is not ours, the loop begins again, with `_refuse_living`.
        if self.folder.create(NAME, mine) and self.folder.local:
            return
        while True:
            if not self._mine():
                self._refuse_living()
                self.folder.write(NAME, mine)
            time.sleep(SETTLE_S["disk" if self.folder.local else "bucket"])
            if self._mine():
                return

    def _refuse_living(self) -> None:
        other = named(self.folder)
        if other is None:
            return
        age_s = last_sign_s(self.folder, other, self.stale_s)
        if age_s is not None:
            otherwise = ", or give this run another name (`run:`)" if self.what == "run" else ""
            raise HeldError(
                f"{self.folder / NAME}: found another process at work on this {self.what}: {other}; its last sign of "
                f"life is {age_s:.0f} s old. Wanted only one. Wait for it or stop it{otherwise}. After "
                f"{self.stale_s:.0f} s without a sign of life the lock is free; if you are sure that the process is "
                "gone, delete the file."
            )
        _log.warning("%s: taken over from %s, which is gone.", self.folder / NAME, other)

    def _mine(self) -> bool:
        # The token, not the pid: pids are used again, and one process may start twice in the same folder.
        return (named(self.folder) or Owner()).token == self.owner.token

    def _beat(self) -> None:
        while not self._ended.wait(self.beat_s):
            try:
                # The name must be read first: touching another owner's file would keep it young, and neither of the two
                # would ever notice the other.
                if not self._mine():
                    self.lost = True
                    return
                self.folder.touch(NAME)
            # The disk may be full or out of reach for a while. The next beat tries again; only 300 s of failures lose
            # the lock.
            except (UserError, OSError) as error:
                _log.debug("%s: %s", self.folder / NAME, error)


def holder(folder: Folder) -> Owner | None:
    """The owner of a folder's lock if it still runs; None if there is none, as after a start that was killed."""
    other = named(folder)
    try:
        return other if other and last_sign_s(folder, other, STALE_S) is not None else None
    except UserError:  # Finding the age takes a file of one's own, and this process may only read.
        return other


def last_sign_s(folder: Folder, owner: Owner, stale_s: float) -> float | None:
    """The seconds since an owner last touched the file; None if the owner is gone.

    The owner is gone if its process ended, which can only be seen on its own host, or if its file is gone or older than
    `stale_s`.
    """
    if owner.died():
        return None
    try:
        age_s = folder.age_s(NAME)
    except FileNotFoundError:
        return None
    return age_s if age_s < stale_s else None


def named(folder: Folder) -> Owner | None:
    """The owner that a folder's lock names, dead or alive; None without a lock."""
    try:
        content = folder.read(NAME)
    except FileNotFoundError:
        return None
    try:
        return Owner(**json.loads(content))
    except (ValueError, TypeError):
        return Owner()  # Just being written, or damaged: its age decides.


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended but its parent has not collected its exit status yet, which some never do.

    Such a process still has a pid, so signal 0 finds it. /proc/<pid>/stat has its state after the name, which stands in
    brackets and may contain brackets and blanks itself: hence the search for the last bracket.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] in ("Z", "X")
    except (OSError, IndexError):
        return False


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _processes() -> str:
    """A text that is equal for processes whose pids are comparable: containers may share a host's name, not pids."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    try:
        return f"{boot.read_text().strip()} {namespace.readlink()}"
    except OSError:
        return ""
