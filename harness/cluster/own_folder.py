"""Chooses the folder for the sockets and logs of a Ray that is started here: writable, and with a short path."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from harness.structures import UserError

SHORT = "/tmp"
BELOW = f"/ray/session_2026-01-31_23-59-59_999999_{os.getpid()}/sockets/plasma_store"
"""The longest path that Ray adds to the folder, with the time and the id of this process."""
MOST = 103 if sys.platform == "darwin" else 107
"""Bytes that the path of a socket may have."""


def choose() -> None:
    """Let Ray use /tmp if the path of TMPDIR is too long for its sockets, as a batch system's often is.

    Raises:
        UserError: RAY_TMPDIR is too long, or the folder cannot be written.
    """
    name = next((one for one in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(one)), None)
    folder = Path(os.environ[name] if name else SHORT)
    if len(os.fsencode(f"{folder}{BELOW}")) > MOST:
        if name == "RAY_TMPDIR":
            most = MOST - len(BELOW)
            raise UserError(
                f"cluster: Ray cannot start in RAY_TMPDIR={folder}, a path of {len(os.fsencode(folder))} bytes; wanted "
                f"{most} at most, for its sockets lie below. Name a shorter one, or leave it out: {SHORT}."
            )
        os.environ["RAY_TMPDIR"], name, folder = SHORT, None, Path(SHORT)
    try:
        (folder / "ray").mkdir(parents=True, exist_ok=True)
        if not os.access(folder / "ray", os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder / "ray"))
    except OSError as error:
        where = f"{name}={folder}" if name else str(folder)
        raise UserError(
            f"cluster: Ray cannot start in {where} ({error}). Wanted a folder that this user may write. Name one with "
            "RAY_TMPDIR."
        ) from error


def logs() -> str:
    """The folder with the logs of the Ray that was started last."""
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or SHORT
    return f"{folder}/ray/session_latest/logs"
