"""Whether a worker loads what the run was planned with: the weights, the data set, and each file as it is read.

The driver hashes weights and data sets before the work, and the manifest says what it found. Workers read the same
paths later and elsewhere: another node may hold other files there, and a file may be replaced at any time. Rows of
both would stand under one name. So each worker hashes what it loads, and a difference ends the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from harness.config.parts import Plugin, fingerprint, label
from harness.plugins import files
from harness.plugins.interfaces import Dataset
from harness.structures import UserError

REMEDY = (
    "Rows of both would stand under one name, so the run ends here. Put the same files at this path on every node, "
    "leave them as they are while it works, and give the command again; for other files give the run another name."
)


@contextmanager
def same_weights(method: Plugin, wanted: Mapping[str, str] | None) -> Iterator[None]:
    """Build a method within: its files are hashed before, and are still the same afterwards.

    The second look costs nothing where a file's size, time and inode are what they were.

    Args:
        method: The entry that is built.
        wanted: What `files.hashes` gave when the run was planned; None compares nothing.

    Raises:
        UserError: A file is another one than when the run was planned.
    """
    _check_weights(method, wanted)
    yield
    _check_weights(method, wanted)


def _check_weights(method: Plugin, wanted: Mapping[str, str] | None) -> None:
    if wanted is None:
        return
    here = files.hashes("methods", method.name, method.params)
    paths = files.paths("methods", method.name, method.params)
    for key in sorted({*wanted, *here}):
        there, found = wanted.get(key, "no file"), here.get(key, "no file")
        if there != found:
            raise UserError(
                f"'{label(method)}': {key}={paths.get(key)} is another file than when the run was planned. Its SHA-256 "
                f"was {there}; a worker found {found}. {REMEDY}"
            )


def check_dataset(entry: Plugin, dataset: Dataset, wanted: Mapping[str, Any] | None) -> None:
    """Compare a data set that a worker built with the one that the run was planned with.

    Args:
        entry: The config's.
        dataset: As the worker built it.
        wanted: What its `fingerprint()` gave when the run was planned; None compares nothing.

    Raises:
        UserError: They differ.
    """
    if wanted is None or fingerprint(here := dict(dataset.fingerprint())) == fingerprint(wanted):
        return
    differing = [key for key in {**wanted, **here} if wanted.get(key) != here.get(key)]
    told = ", ".join(f"{key} was {wanted.get(key)}, a worker found {here.get(key)}" for key in differing)
    places = [f"{key}={path}" for key, path in files.paths("datasets", entry.name, entry.params).items()]
    at = f" at {', '.join(places)}" if places else ""
    raise UserError(f"'{label(entry)}': the data{at} are others than when the run was planned: {told}. {REMEDY}")
