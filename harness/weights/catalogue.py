"""Published checkpoints that the methods load: where they come from, whether a file is the right one, fetching it.

`weights.csv` holds the catalogue, each line with its sources. The six digits in the names of SAM's files begin
their MD5, not their SHA-256. A checkpoint with no published checksum can be fetched, but never be called right.
"""

from __future__ import annotations

import csv
import hashlib
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from harness.messages import suggest
from harness.places import ROOT
from harness.structures import UserError

FOLDER = ROOT / "weights"
CHUNK = 1 << 20
TIMEOUT_S = 30.0
SLACK = 0.1
"""Of a stated size, which is rounded, and MB or MiB as its source pleased."""

Progress = Callable[[int, int | None], None]
"""Told the bytes that are there and, where the server says so, how many there will be."""


class State(StrEnum):
    """Whether a file is the published one; UNKNOWN where no checksum was published."""

    MISSING = "missing"
    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Checkpoint:
    """A published file.

    Attributes:
        name: As `fetch` takes it.
        file: Its name, as its authors published it; fetched to weights/.
        stated_mb: Megabytes as its source states them, rounded; None where it states none.
        checksum: "sha256:" or "md5:" and hexadecimal digits, all or the first ones; "" where none was published.
        licence: Of the weights.
        used_by: The plugin that loads it.
        source: Who says so: repository and commit, or page.
    """

    name: str
    file: str
    url: str
    stated_mb: float | None
    checksum: str
    licence: str
    used_by: str
    source: str


@dataclass(frozen=True)
class Verdict:
    """What hashing a file came to; `digest` is `algorithm:digits`, "" where there is no file."""

    state: State
    digest: str = ""


@cache
def catalogue() -> dict[str, Checkpoint]:
    """Every checkpoint by name, in the order of the file."""
    with Path(__file__).with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        return {line["name"]: _checkpoint(line) for line in csv.DictReader(file)}


def find(name: str) -> Checkpoint:
    """The checkpoint of a name, or of its file's name.

    Raises:
        UserError: No such checkpoint.
    """
    found = next((known for known in catalogue().values() if name in (known.name, known.file)), None)
    if found is None:
        raise UserError(f"weights: no checkpoint '{name}'. {suggest(name, catalogue())}")
    return found


def hint(path: Path) -> str:
    """What to do about a missing file of this name: `Fetch it: <command>`; "" for one that is not in the catalogue."""
    found = next((known for known in catalogue().values() if known.file == path.name), None)
    return f"Fetch it: {command(found)}" if found else ""


def command(checkpoint: Checkpoint) -> str:
    """What fetches it."""
    return f"python -m harness weights fetch {checkpoint.name}"


def wanted(checkpoint: Checkpoint) -> str:
    """What is known of the published file: its size, about, and its checksum."""
    size = f"about {checkpoint.stated_mb:g} MB" if checkpoint.stated_mb else ""
    return ", ".join(filter(None, [size, checkpoint.checksum]))


def verify(checkpoint: Checkpoint, folder: Path = FOLDER) -> Verdict:
    """Hash the file that is there, if one is, and remember beside it that it is right."""
    path = folder / checkpoint.file
    if not path.is_file():
        return Verdict(State.MISSING)
    verdict = _judge(checkpoint, path)
    note = _note(checkpoint, path)
    if verdict.state is State.OK:
        note.write_text(f"{verdict.digest.partition(':')[2]}  {path.name}\n", encoding="utf-8")
    else:
        note.unlink(missing_ok=True)
    return verdict


def remembered(checkpoint: Checkpoint, folder: Path = FOLDER) -> State:
    """What is known without hashing: OK only if the file was verified since it last changed, WRONG by its size."""
    path = folder / checkpoint.file
    if not path.is_file():
        return State.MISSING
    note = _note(checkpoint, path)
    fresh = bool(checkpoint.checksum) and note.is_file() and note.stat().st_mtime_ns >= path.stat().st_mtime_ns
    if fresh and note.read_text(encoding="utf-8").startswith(checkpoint.checksum.partition(":")[2]):
        return State.OK
    return State.WRONG if _wrong_size(checkpoint, path) else State.UNKNOWN


def fetch(checkpoint: Checkpoint, progress: Progress, folder: Path = FOLDER) -> Verdict:
    """Download a checkpoint to the folder, whole and checked or not at all; what an earlier try left is continued.

    Args:
        checkpoint: One of the catalogue.
        progress: Told how far it is.
        folder: Where to; the file that is there is replaced.

    Raises:
        UserError: No network, no such file on the server, a transfer that broke off, or not the published file.
    """
    path = folder / checkpoint.file
    part = path.with_name(f"{path.name}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (part.is_file() and _judge(checkpoint, part).state is State.OK):
            _download(checkpoint, part, progress)
        verdict = _judge(checkpoint, part)
        _refuse_wrong(checkpoint, part, verdict)
        part.replace(path)
        return verify(checkpoint, folder) if checkpoint.checksum else verdict
    except OSError as error:
        raise UserError(
            f"weights: {part} cannot be written ({error.strerror or error}). Make room or choose another folder."
        ) from error


def _checkpoint(line: dict[str, str]) -> Checkpoint:
    stated = float(line["stated_mb"]) if line["stated_mb"] else None
    return Checkpoint(**{**line, "stated_mb": stated})  # type: ignore[arg-type]


def _note(checkpoint: Checkpoint, path: Path) -> Path:
    """A checked file's digest, as `sha256sum -c` reads it."""
    return path.with_name(f"{path.name}.{checkpoint.checksum.partition(':')[0] or 'sha256'}")


def _judge(checkpoint: Checkpoint, path: Path) -> Verdict:
    algorithm, _, published = checkpoint.checksum.partition(":")
    with path.open("rb") as file:
        digits = hashlib.file_digest(file, algorithm or "sha256").hexdigest()
    digest = f"{algorithm or 'sha256'}:{digits}"
    if not published:  # The size then is all there is to go by.
        return Verdict(State.WRONG if _wrong_size(checkpoint, path) else State.UNKNOWN, digest)
    return Verdict(State.OK if digits.startswith(published) else State.WRONG, digest)


def _wrong_size(checkpoint: Checkpoint, path: Path) -> bool:
    stated = checkpoint.stated_mb
    return stated is not None and abs(path.stat().st_size / 1e6 - stated) > SLACK * stated


def _refuse_wrong(checkpoint: Checkpoint, part: Path, verdict: Verdict) -> None:
    """Remove what was downloaded if it is not what was published: continuing it would never mend it."""
    if verdict.state is not State.WRONG:
        return
    found = f"{part.stat().st_size:,} bytes, {verdict.digest}"
    part.unlink()
    raise UserError(
        f"weights: {checkpoint.url} is not what was published: found {found}; wanted {wanted(checkpoint)}. It was "
        "removed. "
        "Fetch it again; if that changes nothing, the file on the server, or a proxy before it, is another."
    )


def _download(checkpoint: Checkpoint, part: Path, progress: Progress) -> None:
    """Fill the partial file up to what the server has."""
    done = part.stat().st_size if part.is_file() else 0
    with closing(_opened(checkpoint, part, done)) as response:
        start, total = _range(response, done)
        with part.open("ab" if start else "wb") as file:
            progress(start, total)
            for chunk in _chunks(response, checkpoint):
                file.write(chunk)
                progress(file.tell(), total)
    found = part.stat().st_size
    if total is not None and found != total:
        raise UserError(f"weights: {checkpoint.url} broke off at {found:,} of {total:,} bytes. {_again(checkpoint)}")


def _opened(checkpoint: Checkpoint, part: Path, done: int) -> http.client.HTTPResponse:
    """The server's answer, from byte `done` on if it can."""
    headers = {"User-Agent": "text-click-harness"} | ({"Range": f"bytes={done}-"} if done else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(checkpoint.url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
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
    """From which byte on the server sends, and how many the whole file has, where it says so."""
    length = response.headers.get("Content-Length", "")
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if response.status == http.HTTPStatus.PARTIAL_CONTENT and found and int(found[1]) == done:
        return done, int(found[2])
    return 0, int(length) if length.isdecimal() else None


def _chunks(response: http.client.HTTPResponse, checkpoint: Checkpoint) -> Iterator[bytes]:
    try:
        while chunk := response.read(CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise UserError(f"weights: {checkpoint.url} broke off ({error!r}). {_again(checkpoint)}") from error


def _again(checkpoint: Checkpoint) -> str:
    return f"The same command goes on from there: {command(checkpoint)}"


def _by_hand(checkpoint: Checkpoint, part: Path) -> str:
    check = f"python -m harness weights verify {checkpoint.name}"
    return f"Or fetch it by hand ({checkpoint.source}), put it at {part.with_suffix('')} and check it: {check}"
