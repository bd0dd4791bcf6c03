"""Knows the published checkpoints that methods load, verifies files against them, and fetches them.

`catalogue.csv` has a line for each, with its sources. A checksum may be given by its first digits only: the six digits
in the names of SAM's files are the beginning of their MD5, not of their SHA-256. A checkpoint without a published
checksum can be fetched, but never verified. Some are on a Google Drive, where only a browser gets them: these are
fetched by hand, and `fetch` says how.

A download goes to `<name>.part` and is renamed when it is complete and verified. A later try continues the partial file
(HTTP range), and removes it if the complete file has the wrong checksum. Hashing gigabytes takes long, so a verified
file gets a note beside it, `<name>.sha256`; a note older than the file does not count.
"""

from __future__ import annotations

import csv
import hashlib
import http.client
import re
import shlex
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from harness import atomic
from harness.messages import suggest
from harness.places import ROOT
from harness.structures import UserError

FOLDER = ROOT / "weights"
CHUNK = 1 << 20
TIMEOUT_S = 30.0
LARGEST_MB = 20_000
"""The largest download in MB if the catalogue states no size."""

SLACK = 0.1
"""The share by which a file may differ from its stated size: sources round, and some mean MiB (5 % more) by MB."""

PAGES_NOT_FILES = ("drive.google.com", "sharepoint.com")
"""Ends of hosts that show a page with a button. A program would download that page's HTML instead of the file."""

HUB = "https://huggingface.co/"
"""An address with only an owner and a name after it is a snapshot: a folder, which the hub's program downloads."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and, if the server states it, the bytes of the whole file."""


class State(StrEnum):
    """Whether a file is the published one; UNKNOWN if no checksum was published."""

    MISSING = "missing"
    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Checkpoint:
    """A published file.

    Attributes:
        name: The name that `fetch` takes.
        file: The file's name, as its authors published it, or a snapshot's folder; it is fetched to weights/.
        stated_mb: Megabytes as the source states them, rounded; None if it states none.
        checksum: "sha256:" or "md5:" and hexadecimal digits, all or the first ones; "" if none was published.
        licence: The licence of the weights.
        used_by: The plugin that loads it.
        source: The source of these facts: repository and commit, or page.
    """

    name: str
    file: str
    url: str
    stated_mb: float | None
    checksum: str
    licence: str
    used_by: str
    source: str

    @property
    def by_hand(self) -> bool:
        """Whether `fetch` cannot get it: its url is a page for a browser, or a snapshot."""
        return bool(self.snapshot) or (urllib.parse.urlsplit(self.url).hostname or "").endswith(PAGES_NOT_FILES)

    @property
    def snapshot(self) -> str:
        """OWNER/NAME of a snapshot on Hugging Face's hub; "" for a single file."""
        name = self.url.removeprefix(HUB)
        return name if self.url.startswith(HUB) and name.count("/") == 1 else ""


@dataclass(frozen=True)
class Verdict:
    """The result of hashing a file; `digest` is `algorithm:digits`, or "" if there is no file."""

    state: State
    digest: str = ""


@cache
def catalogue() -> dict[str, Checkpoint]:
    """Every checkpoint by name, in the order of the file."""
    with Path(__file__).with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        return {line["name"]: _checkpoint(line) for line in csv.DictReader(file)}


def find(name: str) -> Checkpoint:
    """The checkpoint with this name, or with this file name.

    Raises:
        UserError: There is no such checkpoint.
    """
    found = next((known for known in catalogue().values() if name in (known.name, known.file)), None)
    if found is None:
        raise UserError(f"weights: no checkpoint '{name}'. {suggest(name, catalogue())}")
    return found


def hint(path: Path) -> str:
    """`Fetch it: <command>` for a missing file of this name; "" if the catalogue does not have it."""
    found = next((known for known in catalogue().values() if known.file == path.name), None)
    return f"Fetch it: {command(found)}" if found else ""


def command(checkpoint: Checkpoint, folder: Path = FOLDER) -> str:
    """The command that fetches it to a folder."""
    if checkpoint.snapshot:
        place = "weights" if folder == FOLDER else shlex.quote(str(folder))
        pickles = "--exclude '*.bin' --exclude '*.pt'"  # The same weights once more, which nothing here loads.
        return f"hf download {checkpoint.snapshot} --local-dir {place}/{checkpoint.file} {pickles}"
    return f"python -m harness weights fetch {checkpoint.name}{_elsewhere(folder)}"


def _elsewhere(folder: Path) -> str:
    """The option for another folder than weights/."""
    return "" if folder == FOLDER else f" --folder {shlex.quote(str(folder))}"


def wanted(checkpoint: Checkpoint) -> str:
    """The approximate size and the checksum of the published file, as text."""
    size = f"about {checkpoint.stated_mb:g} MB" if checkpoint.stated_mb else ""
    return ", ".join(filter(None, [size, checkpoint.checksum]))


def verify(checkpoint: Checkpoint, folder: Path = FOLDER) -> Verdict:
    """Hash the file, if there is one, and write a note beside it if it is right."""
    path = folder / checkpoint.file
    if not path.is_file():
        return Verdict(State.MISSING)
    verdict = _judge(checkpoint, path)
    note = _note(checkpoint, path)
    if verdict.state is State.OK:
        atomic.write(note, f"{verdict.digest.partition(':')[2]}  {path.name}\n".encode())
    else:
        note.unlink(missing_ok=True)
    return verdict


def remembered(checkpoint: Checkpoint, folder: Path = FOLDER) -> State:
    """The state without hashing: OK if the file was verified since it last changed, WRONG if its size is wrong."""
    path = folder / checkpoint.file
    if checkpoint.snapshot:
        return State.UNKNOWN if path.is_dir() else State.MISSING
    if not path.is_file():
        return State.MISSING
    note = _note(checkpoint, path)
    # A file that was replaced after its note is newer than the note. The note must also have today's checksum: the
    # catalogue may have been corrected since.
    fresh = bool(checkpoint.checksum) and note.is_file() and note.stat().st_mtime_ns >= path.stat().st_mtime_ns
    if fresh and note.read_text(encoding="utf-8").startswith(checkpoint.checksum.partition(":")[2]):
        return State.OK
    return State.WRONG if _wrong_size(checkpoint, path) else State.UNKNOWN


def fetch(checkpoint: Checkpoint, progress: Progress, folder: Path = FOLDER) -> Verdict:
    """Download a checkpoint, complete and verified or not at all; an earlier try is continued.

    Args:
        checkpoint: A checkpoint of the catalogue.
        progress: Called as the download goes on.
        folder: The folder for the file; an older file is replaced.

    Raises:
        UserError: There is no network or no such file on the server, the transfer broke off, or the file is wrong; or
            only a browser gets it.
    """
    path = folder / checkpoint.file
    if checkpoint.snapshot:
        raise UserError(
            f"weights: {checkpoint.name} is a folder of several files, {checkpoint.url}, which the hub's own program "
            f"downloads: `{command(checkpoint, folder)}`. Source: {checkpoint.source}."
        )
    if checkpoint.by_hand:
        raise UserError(
            f"weights: {checkpoint.name} can only be downloaded with a browser. Open {checkpoint.url} and save the "
            f"file as {path}. Source: {checkpoint.source}."
        )
    part = path.with_name(f"{path.name}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A process that ended between the last byte and the renaming left a complete partial file.
        if not (part.is_file() and _judge(checkpoint, part).state is State.OK):
            _download(checkpoint, part, progress)
        verdict = _judge(checkpoint, part)
        _refuse_wrong(checkpoint, part, verdict)
        atomic.rename(part, path)
        return verify(checkpoint, folder) if checkpoint.checksum else verdict
    except OSError as error:
        raise UserError(
            f"weights: {part} cannot be written ({error.strerror or error}). Make room or choose another folder."
        ) from error


def _checkpoint(line: dict[str, str]) -> Checkpoint:
    stated = float(line["stated_mb"]) if line["stated_mb"] else None
    return Checkpoint(**{**line, "stated_mb": stated})  # type: ignore[arg-type]


def _note(checkpoint: Checkpoint, path: Path) -> Path:
    """The path of a verified file's note, in the format that `sha256sum -c` reads."""
    return path.with_name(f"{path.name}.{checkpoint.checksum.partition(':')[0] or 'sha256'}")


def _judge(checkpoint: Checkpoint, path: Path) -> Verdict:
    # A name such as sam_vit_b_01ec64.pth has only the first digits of a hash, so the beginning is compared.
    algorithm, _, published = checkpoint.checksum.partition(":")
    with path.open("rb") as file:
        digits = hashlib.file_digest(file, algorithm or "sha256").hexdigest()
    digest = f"{algorithm or 'sha256'}:{digits}"
    if not published:  # Only the size can be checked.
        return Verdict(State.WRONG if _wrong_size(checkpoint, path) else State.UNKNOWN, digest)
    return Verdict(State.OK if digits.startswith(published) else State.WRONG, digest)


def _wrong_size(checkpoint: Checkpoint, path: Path) -> bool:
    stated = checkpoint.stated_mb
    return stated is not None and abs(path.stat().st_size / 1e6 - stated) > SLACK * stated


def _refuse_wrong(checkpoint: Checkpoint, part: Path, verdict: Verdict) -> None:
    """Remove a download that is not the published file, since continuing it would never make it right."""
    if verdict.state is not State.WRONG:
        return
    found = f"{part.stat().st_size:,} bytes, {verdict.digest}"
    part.unlink()
    raise UserError(
        f"weights: {checkpoint.url} is not what was published: found {found}; wanted {wanted(checkpoint)}. It was "
        "removed. Fetch it again; if that changes nothing, the file on the server has changed, or a proxy replaces "
        "it."
    )


def _download(checkpoint: Checkpoint, part: Path, progress: Progress) -> None:
    """Download what the partial file still lacks."""
    done = part.stat().st_size if part.is_file() else 0
    with closing(_opened(checkpoint, part, done)) as response:
        start, total = _range(response, done)
        # `start` is where the server's answer begins: at the end of the partial file or, if the server knows no ranges,
        # at 0, and what was there is overwritten. `file.tell()` therefore counts from the beginning of the whole file.
        with atomic.continuing(part, start) as file:
            progress(start, total)
            for chunk in _chunks(response, checkpoint, part):
                file.write(chunk)
                progress(file.tell(), total)
                _check_length(checkpoint, part, max(file.tell(), total or 0))
    found = part.stat().st_size
    if total is not None and found != total:
        broke = f"weights: {checkpoint.url} broke off at {found:,} of {total:,} bytes."
        raise UserError(f"{broke} {_again(checkpoint, part)}")


def _check_length(checkpoint: Checkpoint, part: Path, length: int) -> None:
    """Stop a download that is longer than the published file: another file, or one that would fill the disk."""
    most = (checkpoint.stated_mb or LARGEST_MB) * (1 + SLACK) * 1e6
    if length > most:
        part.unlink()
        raise UserError(
            f"weights: {checkpoint.url}: the server sends {length:,} bytes or more; wanted {wanted(checkpoint)}. "
            f"Stopped, and removed. {_by_hand(checkpoint, part)}"
        )


def _opened(checkpoint: Checkpoint, part: Path, done: int) -> http.client.HTTPResponse:
    """The server's response, from byte `done` on if it supports that."""
    headers = {"User-Agent": "text-click-harness"} | ({"Range": f"bytes={done}-"} if done else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(checkpoint.url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        # The partial file is as long as the server's or longer, and is not known to be right: start from nothing.
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and done:
            part.unlink()
            return _opened(checkpoint, part, 0)
        raise UserError(
            f"weights: {checkpoint.url}: the server answered {error.code} {error.reason}; wanted the file. "
            f"{_by_hand(checkpoint, part)}"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"weights: {checkpoint.url} cannot be reached ({reason}). Is there a network? {_by_hand(checkpoint, part)}"
        ) from error


def _range(response: http.client.HTTPResponse, done: int) -> tuple[int, int | None]:
    """The byte at which the response starts, and the size of the whole file, if the server states it."""
    length = response.headers.get("Content-Length", "")
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    # A server may ignore the range and send the whole file; then the partial one is overwritten from byte 0.
    if response.status == http.HTTPStatus.PARTIAL_CONTENT and found and int(found[1]) == done:
        return done, int(found[2])
    return 0, int(length) if length.isdecimal() else None


def _chunks(response: http.client.HTTPResponse, checkpoint: Checkpoint, part: Path) -> Iterator[bytes]:
    try:
        while chunk := response.read(CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"weights: {checkpoint.url} broke off ({error!r}). {_again(checkpoint, part)}") from error


def _again(checkpoint: Checkpoint, part: Path) -> str:
    return f"The same command goes on from there: {command(checkpoint, part.parent)}"


def _by_hand(checkpoint: Checkpoint, part: Path) -> str:
    check = f"python -m harness weights verify {checkpoint.name}{_elsewhere(part.parent)}"
    return f"Or fetch it by hand ({checkpoint.source}), put it at {part.with_suffix('')} and check it: {check}"
