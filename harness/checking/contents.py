"""Hashes of a data set's content, so that two objects or two processes can compare it.

Hashes are small enough to send between processes and to keep for 20 images. Each part of a sample has its own, so that
a message can name the part that differs: "a.jpg, the mask of 3 is another one when it is loaded again".
"""

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
    """Hash the list of ids, the fingerprint, and the parts of some samples.

    Args:
        dataset: The data set.
        sample_ids: The samples to load, in this order.

    Returns:
        The part's name -> its hash, or its text where that is short.
    """
    found = {
        "the list of ids": _hash(json.dumps(list(dataset.sample_ids())).encode()),
        "the fingerprint": json.dumps(dict(dataset.fingerprint()), sort_keys=True),
    }
    for sample_id in sample_ids:
        found |= {f"{sample_id}, {what}": value for what, value in _of_sample(dataset.load(sample_id)).items()}
    return found


def contents_elsewhere(name: str, params: Mapping[str, Any], sample_ids: Sequence[str]) -> dict[str, str]:
    """Build a data set by its name and return its `contents`. Another process calls this, as a worker would."""
    return contents(parameters.build("datasets", name, params), sample_ids)


def _of_sample(sample: Sample) -> dict[str, str]:
    ignored = {} if sample.ignore is None else {"its ignored pixels": _of_array(sample.ignore)}
    instances = {f"instance {one.id}": repr((one.category, one.seen, one.text)) for one in sample.instances}
    masks = {f"the mask of {one.id}": _of_array(one.mask) for one in sample.instances}
    return {"the image": _of_array(sample.image), **ignored, **instances, **masks}


def _of_array(array: Any) -> str:
    # The bytes alone would not tell 2 x 6 pixels from 6 x 2, so type and shape are added to their hash. A view, such as
    # a mirrored image, has its bytes in another order in memory; the copy brings them into the order of its pixels.
    made = np.ascontiguousarray(array)
    return f"{made.dtype} {made.shape} {_hash(made.tobytes())}"


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
