"""A folder on a disk, NFS included, or in a bucket: files written whole or not at all.

On a disk a file is written under another name, synced and renamed, so that no reader ever sees a part of it. A bucket
(s3://, gs://) has no renaming; there a file is one object, which appears when its upload is complete and not before.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
from pyarrow import fs

from harness import atomic, places
from harness.messages import readable
from harness.structures import UserError

PIECE_BYTES = 1 << 22
"""The number of bytes of a file in memory at once while it is hashed."""


@dataclass(frozen=True)
class Folder:
    """A folder, on this machine's file system or on one that pyarrow.fs knows.

    Every method takes the names of files in it and raises a UserError if the disk or the bucket refuses, and a
    FileNotFoundError if there is no such file.

    Attributes:
        system: The file system, pyarrow's object.
        path: The folder's path on that system.
        scheme: The prefix of a bucket's path, "s3://"; empty on a disk.
    """

    system: fs.FileSystem
    path: str
    scheme: str = ""

    @classmethod
    def at(cls, place: str | Path) -> Folder:
        """The folder of a path or a URI: `runs`, `s3://bucket/prefix`, `s3://bucket/prefix?endpoint_override=localhost:9000`.

        Raises:
            UserError: pyarrow knows no such file system, a bucket has no name, the path is no Unicode, or it begins
                with the home of a user whom this machine does not know.
        """
        if (said := readable(str(place))) != str(place):
            raise UserError(f"{said}: a path that is no Unicode, such as one in Latin-1. Rename the folder.")
        scheme, colon, _ = str(place).partition("://")
        if not colon:
            return cls(fs.LocalFileSystem(), str(places.with_home(place).absolute()))
        try:
            system, path = fs.FileSystem.from_uri(str(place))
            if not path:
                raise ValueError("no bucket is named")
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(
                f"{place}: {reason(error).rstrip('.')}. Wanted a folder, or a bucket as s3://bucket/prefix or gs://bucket/prefix."
            ) from error
        local = isinstance(system, fs.LocalFileSystem)
        return cls(system, path, "" if local else f"{scheme}://")

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.system, self._path(name), self.scheme)

    def __str__(self) -> str:
        return f"{self.scheme}{self.path}"

    @property
    def local(self) -> Path | None:
        """The folder on a disk; None for one in a bucket."""
        return None if self.scheme else Path(self.path)

    def read(self, name: str) -> bytes:
        """Read a file."""
        with self._reading(name):
            if self.local:
                return (self.local / name).read_bytes()
            with self.system.open_input_file(self._path(name)) as file:
                return bytes(file.read())

    @contextmanager
    def opened(self, name: str) -> Iterator[Any]:
        """Open a file to read parts of it, as pyarrow's random-access file."""
        with self._reading(name), self.system.open_input_file(self._path(name)) as file:
            yield file

    def sha256(self, name: str) -> str:
        """The SHA-256 of a file's content, which is read piece by piece."""
        digest = hashlib.sha256()
        with self.opened(name) as file:
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
        return digest.hexdigest()

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Write a file, which shows under its name only once it is whole."""
        if self.local:
            write_bytes(self.local / name, content)
            return
        with self._writing(name), self.system.open_output_stream(self._path(name)) as file:
            file.write(content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file if it is not there yet.

        Returns:
            Whether it was written. If two processes try at once on a disk, one gets False; in a bucket both may get
            True.
        """
        if self.local is None:
            if self.exists(name):
                return False
            self.write(name, content)
            return True
        with self._writing(name):
            return atomic.create(self.local / name, content)

    def touch(self, name: str) -> None:
        """Set a file's time to now; on a disk this needs no space."""
        if self.local:
            with self._reading(name):
                os.utime(self.local / name)
        else:
            self.write(name, self.read(name))

    def age_s(self, name: str) -> float:
        """Seconds since a file was written, both times by the file system's own clock."""
        with self._reading(name):
            written = self._mtime(name)
        # A node's clock may be minutes off from the file server's: by the node's own "now" a living owner would look
        # dead. So a second file is written, and the server dates both:
        #
        #    lock.json       10:00:15   the server's time of the last touch
        #    .clock.5f0c...  10:00:40   the server's time now      so 25 s old, whatever this node says
        probe = f".clock.{uuid4().hex}"
        self.create(probe, b"")
        try:
            return max(0.0, self._mtime(probe) - written)
        except FileNotFoundError:  # A start has just removed what killed ones left.
            return max(0.0, time.time() - written)
        finally:
            self.remove(probe)

    def writable(self) -> bool:
        """Whether files may be written here, found out by writing one."""
        probe = f".probe.{uuid4().hex}"
        try:
            self.create(probe, b"")
            self.remove(probe)
        except UserError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._writing(name), suppress(FileNotFoundError):
            self.system.delete_file(self._path(name))

    def remove_folder(self, name: str) -> None:
        """Remove a folder and all that is in it, if it is there."""
        with self._writing(name):
            self.system.delete_dir_contents(self._path(name), missing_dir_ok=True)
            # In a bucket a folder is gone once it is empty; on a disk it has to be removed.
            if self.system.get_file_info(self._path(name)).type == fs.FileType.Directory:
                self.system.delete_dir(self._path(name))

    def remove_left_over(self) -> None:
        """Remove files that killed writers left half written. Call it only while holding the folder's lock."""
        if self.local:  # A bucket shows no file before it is whole.
            for name in filter(atomic.is_left_over, self.files()):
                self.remove(name)

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        with self._reading(name):
            return bool(self.system.get_file_info(self._path(name)).type == fs.FileType.File)

    def files(self, suffix: str = "") -> list[str]:
        """The names of the files in this folder that end in `suffix`, sorted; not those in its subfolders."""
        with self._reading(""):
            found = self.system.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return sorted(one.base_name for one in found if one.is_file and one.base_name.endswith(suffix))

    def folders(self) -> list[str]:
        """The names of its subfolders, sorted."""
        # In Google's storage pyarrow lists a folder only if an object of just that name was written. There all objects
        # are listed instead, and the folders are the first parts of their paths.
        everything = self.system.type_name == "gcs"
        with self._reading(""):
            found = self.system.get_file_info(fs.FileSelector(self.path, allow_not_found=True, recursive=everything))
        below = (one.path[len(self.path) :].strip("/").split("/") for one in found)
        return sorted({first for one, (first, *rest) in zip(found, below, strict=True) if rest or not one.is_file})

    def _path(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}" if name else self.path

    def _mtime(self, name: str) -> float:
        if self.local:  # pyarrow would round it.
            return (self.local / name).stat().st_mtime
        written = self.system.get_file_info(self._path(name)).mtime
        return float(written.timestamp()) if written else time.time()

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UserError(f"{self / name}: cannot be read ({reason(error)}). Mend that and run again.") from error

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        with writing(self / name):
            yield


_ADDRESS = re.compile(r"[a-z][a-z0-9]+:/")


@contextmanager
def writing(path: object) -> Iterator[None]:
    """A block that writes a file or a folder; an OSError in it becomes a message.

    Raises:
        UserError: It cannot be written, as on a full disk; or a path on this disk is a bucket's address.
    """
    # `Path("s3://bucket/x")` is "s3:/bucket/x", a folder "s3:" in the current one: what is written would be lost there.
    if isinstance(path, Path) and _ADDRESS.match(str(path)):
        raise UserError(f"{path}: found a bucket's address; wanted a file or a folder on this machine, to copy later.")
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def write_bytes(path: Path, content: bytes | pa.Buffer) -> None:
    """Write a file on a disk, which shows under its name only once it is whole.

    Raises:
        UserError: It cannot be written, as on a full disk.
    """
    with writing(path):
        atomic.write(path, content)


def cannot_write(path: object, error: OSError) -> UserError:
    """The message for a file that a disk or a bucket refuses to write."""
    if link := _dead_link(Path(str(path))):
        return UserError(
            f"{path}: cannot be written, since {link} is a link to {link.readlink()}, which is not there. Mount that "
            "disk, make that folder, or remove the link; then run the same command again."
        )
    return UserError(
        f"{path}: cannot be written ({reason(error)}). What was written before is kept: "
        "free some space, or mend what else is wrong there, and run the same command again."
    )


def _dead_link(path: Path) -> Path | None:
    """The link on the way to a path that leads nowhere, as while a disk is not mounted; None if there is none."""
    return next((one for one in (path, *path.parents) if one.is_symlink() and not one.exists()), None)


def reason(error: Exception) -> str:
    """An error's own text, on one line."""
    if isinstance(error, OSError) and error.strerror and error.errno in errno.errorcode:
        return error.strerror
    return " ".join(str(error).split())
