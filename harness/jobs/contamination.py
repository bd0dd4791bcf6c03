"""Which of the images that a method is asked on are among those it was trained on: found, not declared.

Pictures go by `Dataset.image_key`, so a method that was trained on COCO's train2017 is found out on refCOCO.
"""

from __future__ import annotations

import logging
from pathlib import Path

from harness import places
from harness.config.parts import Plugin, label
from harness.config.run_config import MethodEntry
from harness.plugins import parameters
from harness.plugins.interfaces import Dataset
from harness.structures import UserError

_log = logging.getLogger(__name__)


def training_images(method: MethodEntry) -> frozenset[str] | None:
    """Keys of the pictures that a method's training could draw from; None where nobody can say.

    What its `trained_on` names: data sets, a file of keys; or else its recipe's data sets. Training on seen classes
    alone skips pictures without any, which count here all the same.

    Raises:
        UserError: The file of keys is none.
    """
    trained = method.trained_on
    entries = trained.datasets or (method.train.datasets if method.train else ())
    if not entries and not trained.images:
        return None
    keys = _keys_in(places.located(trained.images)) if trained.images else set()
    try:
        return frozenset(keys.union(*(_keys(entry) for entry in entries)))
    except UserError as error:
        _log.warning("%s: its training images are not at hand, so none can be found here: %s", label(method), error)
        return None


def asked_again(images: frozenset[str] | None, dataset: Dataset, limit: int | None = None) -> int | None:
    """How many of a data set's images, of its first `limit`, are among the training images; None where unknown."""
    if images is None:
        return None
    return sum(dataset.image_key(sample_id) in images for sample_id in dataset.sample_ids()[:limit])


def _keys(entry: Plugin) -> set[str]:
    dataset: Dataset = parameters.build("datasets", entry.name, entry.params)
    return {dataset.image_key(sample_id) for sample_id in dataset.sample_ids()}


def _keys_in(path: Path) -> set[str]:
    try:
        keys = {line.strip() for line in path.read_text("utf-8-sig").splitlines()} - {""}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); wanted keys of images, one a line.") from error
    strange = sorted(key for key in keys if "/" not in key)
    if strange or not keys:
        found = f"'{strange[0][:60]}'" if strange else "no key"
        raise UserError(
            f"{path}: found {found}; wanted keys of images such as coco/139 (the data set and the image's id there), "
            "one a line. Correct the file, or leave out `images`."
        )
    return keys
