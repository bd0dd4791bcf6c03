"""Checks that a worker loads the same code, weights, data set and image files that the run was planned with.

The driver hashes code, weights and data sets before the work and writes the hashes into the manifest. Workers read the
same paths later, perhaps on another node: there may be other files there, and a file may be replaced at any time. Rows
made from both would have one name. So each worker hashes the files that it loads, and a difference ends the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

from harness.config.parts import Plugin, fingerprint, label
from harness.plugins import code, files
from harness.plugins.failures import contained
from harness.plugins.interfaces import Dataset
from harness.structures import UserError

REMEDY = (
    "The run ends here, so that rows of two versions do not get one name. Put the same files at this path on every "
    "node, do not change them during the run, and give the command again; for other files give the run another name."
)


def check_code(wanted: Mapping[str, str]) -> None:
    """Import the plugins that a worker's jobs need, and compare their code with that of the driver.

    In a checkout workers run a copy, but modules on PYTHONPATH, and those of an installed harness, are read whenever a
    worker starts. This process must not have imported them long before: the files are hashed as they are now.

    Args:
        wanted: Plugin -> hash of its code, from `JobFacts.code`.

    Raises:
        UserError: The code of a plugin differs, or it cannot be imported here.
    """
    here = code.present(wanted)
    for plugin, then in wanted.items():
        if here[plugin] != then:
            raise UserError(
                f"the {plugin}: its code has changed since the run was planned, or this node has another copy of it. "
                "The run ends here, so that rows of two versions do not get one name. Give the command again: it says "
                "which rows older code made. To edit a plugin while its run works, edit a copy of it."
            )


@contextmanager
def same_weights(method: Plugin, wanted: Mapping[str, str] | None) -> Iterator[None]:
    """Check a method's files before and after the block that builds the method from them.

    The second check costs nothing if a file's size, time and inode are unchanged.

    Args:
        method: The entry that is built.
        wanted: The result of `files.hashes` when the run was planned; None compares nothing.

    Raises:
        UserError: A file has changed since the run was planned.
    """
    _check_weights(method, wanted)
    yield
    _check_weights(method, wanted)


def _check_weights(method: Plugin, wanted: Mapping[str, str] | None) -> None:
    if wanted is None:
        return
    here = files.hashes("methods", method.name, method.params)
    paths = {**files.paths("methods", method.name, method.params), **files.files("methods", method.name, method.params)}
    # Only files that were there when the run was planned: a new one may have been written by the method itself.
    for key, there in sorted(wanted.items()):
        found = here.get(key, "no file")
        if there != found:
            raise UserError(
                f"'{label(method)}': {key}={paths.get(key)} has changed since the run was planned. Its SHA-256 was "
                f"{there}; a worker found {found}. {REMEDY}"
            )


def check_dataset(entry: Plugin, dataset: Dataset, wanted: Mapping[str, Any] | None) -> None:
    """Compare a data set that a worker built with the one that the run was planned with.

    Args:
        entry: The data set's entry in the config.
        dataset: The data set that the worker built.
        wanted: The result of its `fingerprint()` when the run was planned; None compares nothing.

    Raises:
        UserError: They differ.
    """
    if wanted is None or fingerprint(here := dict(dataset.fingerprint())) == fingerprint(wanted):
        return
    differing = [key for key in {**wanted, **here} if wanted.get(key) != here.get(key)]
    told = ", ".join(f"{key} was {wanted.get(key)}, a worker found {here.get(key)}" for key in differing)
    places = [f"{key}={path}" for key, path in files.paths("datasets", entry.name, entry.params).items()]
    at = f" at {', '.join(places)}" if places else ""
    raise UserError(f"'{label(entry)}': the data{at} have changed since the run was planned: {told}. {REMEDY}")


class FilesAsOpened:
    """The sizes and modification times of a data set's files when it was opened, to compare with later.

    They cannot be in the fingerprint, since each copy of a data set has its own times.

    Args:
        entry: The data set's entry in the config.
        dataset: The data set, built from the entry.
    """

    def __init__(self, entry: Plugin, dataset: Dataset) -> None:
        self.name = label(entry)
        names_files = type(dataset).files is not Dataset.files
        self.states = {one: _states(_files(dataset, one)) for one in dataset.sample_ids()} if names_files else {}

    def check(self, dataset: Dataset, sample_ids: Sequence[str]) -> None:
        """Compare the files of samples that were just read.

        Raises:
            UserError: A file was changed since the data set was opened.
        """
        for sample_id in sample_ids:
            if sample_id not in self.states:
                continue
            paths = _files(dataset, sample_id)
            for path, now, then in zip_longest(paths, _states(paths), self.states[sample_id]):
                if now != then:
                    raise UserError(
                        f"'{self.name}', image '{sample_id}': {path} was changed or removed during the run. {REMEDY}"
                    )


def _files(dataset: Dataset, sample_id: str) -> Sequence[Path]:
    """The files that a data set names for a sample; none if it fails, since loading the sample gives the reason."""
    try:
        with contained():
            return dataset.files(sample_id)
    except Exception:
        return ()


def _states(paths: Sequence[Path]) -> tuple[int, ...]:
    """A number for each file, which changes with its size and time; 0 for a missing file."""
    return tuple(map(_state, paths))


def _state(path: Path) -> int:
    try:
        found = path.stat()
    except OSError:
        return 0
    return hash((found.st_size, found.st_mtime_ns))
