"""What a run's folder says of the whole run: manifest.json, for people and checksummed, and samples.parquet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.config.parts import fingerprint
from harness.storage.folder import Folder
from harness.storage.shards import parquet
from harness.structures import UserError

MANIFEST, SAMPLES = "manifest.json", "samples.parquet"

_SAMPLES = pa.schema([("dataset", pa.string()), ("image_id", pa.string())])


def read(folder: Folder) -> dict[str, Any]:
    """The manifest, without its checksum; empty where there is none.

    Raises:
        UserError: The file is damaged, or was altered.
    """
    try:
        content = folder.read(MANIFEST)
    except FileNotFoundError:
        return {}
    try:
        manifest = json.loads(content)
        said = manifest.pop("sha256", None)
        lacking = {"config", "jobs", "samples", "starts"} - manifest.keys()
        why = f"it lacks {', '.join(sorted(lacking))}" if lacking else "its content is not what its sha256 says"
        if not lacking and said == checksum(manifest):
            return dict(manifest)
    except (ValueError, AttributeError, TypeError) as error:
        why = str(error)
    raise UserError(
        f"{folder / MANIFEST}: damaged ({why}). Put it back as it was, or delete it and run again: "
        "the shards say what made them, and only the record of earlier starts is lost."
    )


def save(folder: Folder, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, with its checksum last."""
    whole = {**manifest, "sha256": checksum(manifest)}
    folder.write(MANIFEST, (json.dumps(whole, indent=1) + "\n").encode())


def checksum(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of the JSON, however it is laid out."""
    return hashlib.sha256(json.dumps(manifest).encode()).hexdigest()


def samples(folder: Folder) -> dict[str, list[str]]:
    """Data set's label -> the samples that the last start asked for, in their order; empty where no manifest says.

    Raises:
        UserError: The file is absent, damaged or not what the manifest says of it.
    """
    manifest = read(folder)
    if not manifest:
        return {}
    said = manifest["samples"]
    found = _listed(folder)
    if _described(found) != {label: facts for label, facts in said.items() if facts["count"]}:
        raise UserError(f"{folder / SAMPLES}: not what {MANIFEST} says. Run again, which writes it anew.")
    return found


def _listed(folder: Folder) -> dict[str, list[str]]:
    try:
        listed = pq.read_table(pa.BufferReader(folder.read(SAMPLES)), schema=_SAMPLES).to_pandas()
    except FileNotFoundError:
        return {}
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{folder / SAMPLES}: damaged ({reason}). Run again, which writes it anew.") from error
    return {str(label): list(own["image_id"]) for label, own in listed.groupby("dataset", sort=False)}


def _described(wanted: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {label: {"count": len(ids), "fingerprint": fingerprint(list(ids))} for label, ids in wanted.items()}


def save_samples(folder: Folder, wanted: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Write which samples are asked for.

    Returns:
        What the manifest says of them.
    """
    pairs = [(label, one) for label, ids in wanted.items() for one in ids]
    columns = {"dataset": [label for label, _ in pairs], "image_id": [one for _, one in pairs]}
    folder.write(SAMPLES, parquet(pa.table(columns, schema=_SAMPLES)))
    return _described(wanted)
