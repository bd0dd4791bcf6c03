"""A page's folder: a new page replaces the earlier one, and nothing else.

`page_files.txt` lists the files that the page wrote. The next page replaces those that it writes again and removes the
others in the list. Every file that is not in the list is the user's and stays. A new page is built in a folder of its
own inside, and its files are moved when it is whole, so an interrupted build leaves the earlier page.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from harness import atomic
from harness.storage.folder import writing
from harness.structures import UserError

LIST = "page_files.txt"
_HEAD = "# The files of this report page. Building it again replaces or removes these, and no others."
_BUILDING = ".page_being_built"


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """Yield a folder to build a page in; when the block ends, the new page replaces the one in `out`.

    Raises:
        UserError: `out` holds files and no page, or a file that is not a page's where the page would put one; or it
            cannot be written.
    """
    with writing(out):
        yield from _replaced(out)


def _replaced(out: Path) -> Iterator[Path]:
    earlier = _earlier(out)
    new = out / _BUILDING
    shutil.rmtree(new, ignore_errors=True)  # of a building that was interrupted
    new.mkdir(parents=True)
    yield new
    # At each moment the list names every file that may be the page's. If the process is killed in the middle of the
    # moves, the folder holds files of both pages, all of them listed, and the next page replaces them.
    made = {path.relative_to(new).as_posix() for path in new.rglob("*") if path.is_file()}
    _check_free(out, made - earlier)
    _list(out, earlier | made)  # If the moves are interrupted, all files are listed.
    for name in sorted(made):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (new / name).replace(out / name)
    _remove(out, earlier - made)
    _list(out, made)
    shutil.rmtree(new, ignore_errors=True)


def _earlier(out: Path) -> set[str]:
    """The files of the page in `out`; none if there is no page yet.

    The list may come with a folder from anybody, and its files are removed. So names that lead out of the folder
    ("../../notes.txt", or through a link) are ignored.
    """
    if not out.is_dir() or not any(path.name != _BUILDING for path in out.iterdir()):
        return set()
    try:
        head, *names = (out / LIST).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError, ValueError):
        head, names = "", []
    if head != _HEAD:
        raise UserError(
            f"{out}: found files, but no {LIST} of a report page; wanted an empty folder, or that of an earlier "
            "page. Name another folder; nothing was changed."
        )
    return {name for name in names if (out / name).resolve().is_relative_to(out.resolve()) and name}


def _check_free(out: Path, names: set[str]) -> None:
    taken = sorted(name for name in names if (out / name).exists() or (out / name).is_symlink())
    if taken:
        raise UserError(
            f"{out / taken[0]}: found a file that is not of the earlier page, and that the new page would replace. "
            "Move it away, or name another folder; nothing was changed."
        )


def _remove(out: Path, names: set[str]) -> None:
    for name in names:
        (out / name).unlink(missing_ok=True)
    # Deepest first: a folder can be removed once those in it are gone.
    for folder in sorted({out / parent for name in names for parent in PurePosixPath(name).parents}, reverse=True):
        if folder != out:
            with suppress(OSError):  # It holds something, or is a link.
                folder.rmdir()


def _list(out: Path, names: set[str]) -> None:
    atomic.write(out / LIST, "\n".join([_HEAD, *sorted(names), ""]).encode())
