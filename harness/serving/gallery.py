"""The pictures that a page offers: those of a config's data sets, those of folders, and uploads.

A browser names a picture by its source and by a name from that source's list. Only listed names are looked up. So
"../../secret.png" is an unknown name, even if there is such a file.
"""

from __future__ import annotations

import hashlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness import atomic
from harness.config.parts import Plugin, label
from harness.config.run_config import RunConfig
from harness.config.wording import Text, Wording
from harness.evaluation.pictures import Picture, loaded, prepared
from harness.images.opening import TooLargeError, opened
from harness.images.reading import read_as_viewed
from harness.messages import readable
from harness.plugins import parameters
from harness.plugins.failures import blamed
from harness.plugins.interfaces import Dataset
from harness.serving.views import THUMB_SIDE, picture_file
from harness.structures import Image, Sample, UserError
from harness.trying.kept import Kept

UPLOAD_MIB, UPLOAD_MEGAPIXELS = 32, 50
"""The largest file that can be uploaded, and the most pixels that it may have."""

KEPT_BYTES = 512 * 2**20
"""Bytes of uploaded pictures that are kept; those not used for the longest time are dropped.

As much again is kept of pictures that were shown. Two limits, because a picture of a data set can be read again and an
upload cannot: looking through a data set must not drop it.
"""

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""The formats of uploads, by PIL's names. For others PIL may start a program: for EPS it runs Ghostscript."""

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")

LISTED_MOST = 50_000
"""The largest data set, in pictures, whose instances' classes are searched."""


class NoPictureError(UserError):
    """No picture of that name is here: it never was, or it was dropped for later ones."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture that can be asked about.

    Attributes:
        key: The picture's name among all sources: the source's label, a line break, the name in its list.
        picture: The pixels, read-only, and the ground truth if there is any.
        wording: The wording of the data set's objects; None if the picture is not from a data set.
    """

    key: str
    picture: Picture
    wording: Wording | None = None

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The names that words are contrasted with; empty without a data set."""
        return self.wording.vocabulary if self.wording else ()

    @property
    def present(self) -> tuple[str, ...]:
        """The names of the classes in the picture."""
        return self.wording.present(self.picture.categories) if self.wording else ()


class Source(ABC):
    """A source of pictures.

    Attributes:
        label: The name on the page.
        kind: "data set", "folder" or "uploads".
    """

    label: str
    kind: str

    @abstractmethod
    def names(self, search: str) -> Sequence[str]:
        """The names of its pictures; given a search text in lower case, only those that match it."""

    @abstractmethod
    def load(self, name: str) -> Shown:
        """Read a picture.

        Raises:
            NoPictureError: The name is not in the list.
            UserError: The picture cannot be read.
        """

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The names that are suggested as words."""
        return ()


class OfDataset(Source):
    """A data set of the config, with its ground truth; built when it is first looked at."""

    kind = "data set"

    def __init__(self, entry: Plugin, text: Text) -> None:
        self.label, self.entry, self.text = label(entry), entry, text

    @cached_property
    def dataset(self) -> Dataset:
        """The data set.

        Raises:
            UserError: The data are not on this machine, or the plugin's code fails.
        """
        with blamed(f"data set '{self.label}'"):
            built: Dataset = parameters.build("datasets", self.entry.name, self.entry.params)
        return built

    @cached_property
    def ids(self) -> dict[str, None]:
        """The samples' ids in order; a dictionary, since every request looks up an id."""
        with blamed(f"data set '{self.label}', sample_ids()"):
            return dict.fromkeys(self.dataset.sample_ids())

    @cached_property
    def _wording(self) -> Wording:
        return Wording(self.text, self.dataset.classes)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The data set's classes in their spoken form."""
        return self._wording.vocabulary

    def names(self, search: str) -> Sequence[str]:
        """The samples' ids; a search also looks at classes, if instances are listed without opening images."""
        if not search:
            return list(self.ids)
        return [one for one in self.ids if search in one.lower() or search in self._classes.get(one, "")]

    @cached_property
    def _classes(self) -> dict[str, str]:
        """Sample -> its classes in lower case; empty if finding them would open every image."""
        # The base class lists instances by loading the sample, so only a plugin's own listing is cheap.
        cheap = type(self.dataset).list_instances is not Dataset.list_instances
        if not cheap or len(self.ids) > LISTED_MOST:
            return {}
        with blamed(f"data set '{self.label}', list_instances()"):
            listed = {one: self.dataset.list_instances(one) for one in self.ids}
        return {one: "\n".join({own.category.lower() for own in owns}) for one, owns in listed.items()}

    def load(self, name: str) -> Shown:
        """A sample with its ground truth."""
        if name not in self.ids:
            raise NoPictureError(f"data set '{self.label}': no picture '{name}'.")
        picture = loaded(self.dataset, name)
        if not picture.sample.image.size:
            raise UserError(f"data set '{self.label}', picture '{name}': {picture.failed[0][1]}")
        return Shown(f"{self.label}\n{name}", picture, self._wording)


class OfFolder(Source):
    """The pictures in a folder and in those below it."""

    kind = "folder"

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise UserError(f"--images {root}: no such folder; wanted one with pictures in it.")
        self.root, self.label = root, root.resolve().name or str(root)
        self._paths: dict[str, Path] = {}

    def names(self, search: str) -> Sequence[str]:
        """The pictures' paths below the folder, which is read anew each time: a picture may have been added.

        Hidden ones, such as the `._a.jpg` that macOS leaves beside `a.jpg`, are left out.
        """
        found = sorted(path for path in self.root.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
        parts = {path: path.relative_to(self.root).parts for path in found}
        # A browser can send Unicode alone, and a name may hold other bytes.
        self._paths = {
            readable("/".join(own)): path for path, own in parts.items() if not any(one.startswith(".") for one in own)
        }
        return [one for one in self._paths if search in one.lower()]

    def load(self, name: str) -> Shown:
        """A picture, turned by its EXIF orientation."""
        # After a restart a link may name a picture before any list was asked for, so the folder is read then.
        if name not in self._paths:
            self.names("")
        path = self._paths.get(name)
        if path is None:
            raise NoPictureError(f"{self.label}: no picture '{name}'.")
        try:
            return Shown(f"{self.label}\n{name}", prepared(Sample(name, read_as_viewed(path), ())))
        except (OSError, ValueError) as error:
            raise UserError(str(error)) from error


class Uploads(Source):
    """Pictures that were dropped on the page. They are in memory only, and are gone when the server ends."""

    label, kind = "your own", "uploads"

    def __init__(self) -> None:
        self._held: Kept[str, Image] = Kept(KEPT_BYTES)

    def names(self, search: str) -> Sequence[str]:
        """No name: an upload is never listed, and only the browser that sent it has its name, the hash of its bytes.

        So people who share a server do not see each other's pictures: a name of 128 bits cannot be guessed.
        """
        del search
        return []

    def load(self, name: str) -> Shown:
        """A picture that was uploaded and is still here."""
        pixels = self._held.get(name)
        if pixels is None:
            raise NoPictureError("This picture of your own is not here any more: drop it on the page again.")
        return Shown(f"{self.label}\n{name}", prepared(Sample(name, pixels, ())))

    def take(self, content: bytes, called: str) -> str:
        """Read a picture and keep it.

        Args:
            content: The file's bytes.
            called: Its name on the browser's machine; used in messages only.

        Returns:
            The name in this source; equal bytes have equal names.

        Raises:
            UserError: It is too large, or is no picture that can be shown faithfully.
        """
        if len(content) > UPLOAD_MIB * 2**20:
            raise UserError(
                f"'{called}': found {len(content) / 2**20:.0f} MiB; wanted {UPLOAD_MIB} at most. Shrink it."
            )
        name = hashlib.sha256(content).hexdigest()[:32]
        if self._held.get(name) is None:
            pixels = _read(content, called)
            self._held.put(name, pixels, pixels.nbytes)
        return name


def _read(content: bytes, called: str) -> Image:
    """The pixels of an uploaded file, read by the same reader as every other picture."""
    # That reader takes a path, so the bytes go through a temporary file. Its path must not reach the browser: messages
    # name the file as the browser does.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        atomic.write(path, content)
        try:
            _check(path)
            return read_as_viewed(path)
        except (OSError, ValueError) as error:
            raise UserError(str(error).replace(f"{path}: ", f"'{called}': ").replace(str(path), called)) from error


def _check(path: Path) -> None:
    """Refuse a file that may be dangerous or too large, by its header alone.

    A PNG of a few megabytes can hold 50,000 x 50,000 pixels of one colour, which would be 7 GB in memory. The header
    shows this before anything is decoded.

    Raises:
        ValueError: The format is not one of `FORMATS`, or there are too many pixels. A file that is no picture passes,
            since the reader refuses it with a better message.
    """
    try:
        with opened(path) as image:
            found, (width, height) = image.format, image.size
    except TooLargeError as error:
        raise ValueError(
            f"{path}: found more megapixels than can be read; wanted {UPLOAD_MEGAPIXELS} at most. Shrink it."
        ) from error
    except (OSError, SyntaxError):
        return
    if found not in FORMATS:
        raise ValueError(f"{path}: found a file of the kind {found}; wanted JPEG, PNG, WebP, GIF, BMP or TIFF.")
    if width * height > UPLOAD_MEGAPIXELS * 1e6:
        raise ValueError(
            f"{path}: found {width} x {height}, {width * height / 1e6:.0f} megapixels; wanted {UPLOAD_MEGAPIXELS} at "
            "most. Shrink it."
        )


class Gallery:
    """All sources, and the pictures that were shown last.

    Args:
        config: The config, whose data sets are sources.
        folders: Folders with pictures, which are sources as well.
    """

    def __init__(self, config: RunConfig, folders: Sequence[Path] = ()) -> None:
        of_config = [OfDataset(entry, config.text) for entry in config.datasets]
        self.uploads = Uploads()
        self.sources: dict[str, Source] = {}
        for source in (*of_config, *map(OfFolder, folders), self.uploads):
            while source.label in self.sources:  # Two folders have one name, or a folder has a data set's.
                source.label += " (another)"
            self.sources[source.label] = source
        self._shown: Kept[str, Shown] = Kept(KEPT_BYTES)
        self._thumbs: Kept[str, tuple[bytes, str]] = Kept(2000)

    def source(self, name: str) -> Source:
        """A source by its label.

        Raises:
            NoPictureError: There is none.
        """
        # A dictionary of names, never a path: a name from a browser selects a source and cannot make one.
        if name not in self.sources:
            raise NoPictureError(f"no data set or folder '{name}' here.")
        return self.sources[name]

    def known(self, source: str, name: str) -> Shown | None:
        """A picture that is in memory; None if `shown` would have to read it."""
        return self._shown.get(f"{source}\n{name}")

    def shown(self, source: str, name: str) -> Shown:
        """A picture, which is read if it is not in memory.

        Raises:
            NoPictureError: There is none of that name.
            UserError: It cannot be read.
        """
        found = self.known(source, name)
        if found is None:
            found = self.source(source).load(name)
            self._shown.put(found.key, found, found.picture.sample.image.nbytes)
        return found

    def thumb(self, source: str, name: str) -> tuple[bytes, str]:
        """A small picture for the list, as a file's bytes and their media type."""
        key = f"{source}\n{name}"
        found = self._thumbs.get(key)
        return found or self._thumbs.put(key, picture_file(self.shown(source, name).picture.sample.image, THUMB_SIDE))
