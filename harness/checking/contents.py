"""What a data set holds, as hashes that two objects or two processes can compare."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.plugins import parameters
from harness.plugins.interfaces import Dataset
from harness.structures import Sample


def contents(dataset: Dataset, sample_ids: Sequence[str]) -> dict[str, str]:
    """What it is -> its hash: the list of ids, the fingerprint, and each sample's image, instances and ignored pixels.

    Args:
        dataset: The data set.
        sample_ids: The samples to load, in this order.
    """
    found = {
        "the list of ids": _hash(json.dumps(list(dataset.sample_ids())).encode()),
        "the fingerprint": json.dumps(dict(dataset.fingerprint()), sort_keys=True),
    }
    for sample_id in sample_ids:
        found |= {f"{sample_id}, {what}": value for what, value in _of_sample(dataset.load(sample_id)).items()}
    return found


def contents_elsewhere(name: str, params: Mapping[str, Any], sample_ids: Sequence[str]) -> dict[str, str]:
    """The same, of a data set that this process builds by its name; for a process of its own."""
    return contents(parameters.build("datasets", name, params), sample_ids)


def _of_sample(sample: Sample) -> dict[str, str]:
    ignored = {} if sample.ignore is None else {"its ignored pixels": _of_array(sample.ignore)}
    instances = {f"instance {one.id}": repr((one.category, one.seen, one.text)) for one in sample.instances}
    masks = {f"the mask of {one.id}": _of_array(one.mask) for one in sample.instances}
    return {"the image": _of_array(sample.image), **ignored, **instances, **masks}


def _of_array(array: Any) -> str:
    made = np.ascontiguousarray(array)
    return f"{made.dtype} {made.shape} {_hash(made.tobytes())}"


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
