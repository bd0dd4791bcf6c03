"""Does a worker's node see what the driver sees? Only names travel, so each node has to find the same files.

A node that does not see them would make failed rows of good images: what it lacks ends the run instead.
"""

from __future__ import annotations

from pathlib import Path

from harness.config.parts import Plugin, label
from harness.plugins import files
from harness.plugins.failures import described
from harness.plugins.interfaces import Dataset
from harness.structures import UserError

REMEDY = (
    "Wanted it under the same path on every node: put it on a disk that all nodes share (HARNESS_DATA names the "
    "folder of the data), copy it to this node, or keep this node out of the run."
)


def visible(kind: str, entry: Plugin) -> frozenset[str]:
    """The keys of a plugin's paths at which this machine finds something."""
    paths = files.paths(kind, entry.name, entry.params)
    return frozenset(key for key, path in paths.items() if _is_there(path))


def check(kind: str, entry: Plugin, wanted: frozenset[str]) -> None:
    """Look for what the driver finds.

    Args:
        kind: "methods" or "datasets".
        entry: The plugin.
        wanted: The keys of `visible` on the driver.

    Raises:
        UserError: Something is not there.
    """
    paths = files.paths(kind, entry.name, entry.params)
    absent = [f"{key}={paths[key]}" for key in sorted(wanted) if not _is_there(paths[key])]
    if absent:
        raise UserError(f"'{label(entry)}': found nothing at {', '.join(absent)}; the driver does. {REMEDY}")


def unopened(dataset: Dataset, sample_id: str) -> str:
    """Why the files of a sample cannot be opened; empty where they can, whatever then becomes of them."""
    try:
        dataset.load(sample_id)
    except OSError as error:  # A damaged image is one too, but without an error of the system's.
        return described(error) if isinstance(error, FileNotFoundError) or error.errno else ""
    except Exception:  # The evaluation makes failed rows of it.
        return ""
    return ""


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
