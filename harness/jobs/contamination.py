"""Finds the images of a run that are among a method's training images.

Pictures are compared by `Dataset.image_key`, which names the picture, not the data set that uses it:

    trained on coco        keys coco/139, coco/285, ...
    asked on refcoco       keys coco/285, coco/632, ...       coco/285 is in both, though the data sets differ
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from harness import places
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin, label
from harness.config.trained import Trained, trained_by
from harness.jobs.answers import training_of
from harness.plugins import files, parameters
from harness.plugins.interfaces import Dataset
from harness.structures import UserError

_log = logging.getLogger(__name__)


def training_images(method: MethodEntry) -> frozenset[str] | None:
    """Keys of the pictures that a method's training could draw from; None if they are unknown.

    They come from the entry's `trained_on`: data sets, and a file of keys. Without it, they come from the data sets of
    the recipe, which is the entry's or the one in the checkpoint. If the checkpoint names more data sets than the
    config, these count, too, and so do those of a CLIP that was trained here. A training on seen classes alone skips
    pictures without them; here these are counted.

    Raises:
        UserError: The file of keys cannot be read, or has other lines than keys.
    """
    # `named` comes from the user, `made` from the checkpoints. Both are united, since a forgotten data set would hide
    # contamination, while one too many only overstates it.
    named, made = method.trained_on, training_of(method)
    by_recipe = made.recipe.datasets if made else ()
    if not (named.datasets or by_recipe or named.images):
        return None
    within = _trainings_within(method, made)
    entries = [*(named.datasets or by_recipe), *(entry for one in within for entry in one.recipe.datasets)]
    keys = _keys_in(places.located(named.images)) if named.images else set()
    try:
        keys |= {key for entry in entries for key in _keys(entry)}
        if named.datasets or named.images:
            keys |= _left_out(method, keys, by_recipe)
        for one in [*filter(None, [made]), *within]:
            _check_data(method, one)
    except UserError as error:
        _log.warning(
            "%s: its training images cannot be listed, so nobody knows whether it is evaluated on some of them: %s",
            label(method),
            error,
        )
        return None
    return frozenset(keys)


def _trainings_within(method: MethodEntry, own: Trained | None) -> list[Trained]:
    """The trainings of a method's other weights: of its CLIP, and of the weights that it or this network began from."""
    found: list[Trained] = []
    paths = files.paths("methods", method.name, method.params)
    paths.pop("checkpoint", None)  # the network's own
    waiting, looked = [*paths.values(), *_starts_of(own)], set[Path]()
    for path in waiting:
        if path not in looked and (trained := trained_by(path)):
            found.append(trained)
            waiting += _starts_of(trained)
        looked.add(path)
    return found


def _starts_of(trained: Trained | None) -> list[Path]:
    """The files that a training began from; none if its learner is not on this machine."""
    learner = trained.recipe.learner if trained else None
    with suppress(UserError):
        return list(files.paths("learners", learner.name, learner.params).values()) if learner else []
    return []


def _left_out(method: MethodEntry, keys: set[str], by_recipe: Sequence[Plugin]) -> set[str]:
    """The images of the checkpoint's own recipe that the config does not name."""
    left_out = {key for entry in by_recipe for key in _keys(entry)} - keys
    if left_out:
        _log.warning(
            "%s: its checkpoint was trained on %d images that `trained_on` leaves out, %s among them. They count as "
            "training images; correct `trained_on`, or leave out its images.",
            *(label(method), len(left_out), min(left_out)),
        )
    return left_out


def _check_data(method: MethodEntry, made: Trained) -> None:
    """Warn if a data set has changed since the training: its images may have changed, too."""
    for name, other in changed_since(made).items():
        said = (
            "%s: the data set %s has changed since the training (%s differ); its images of today count as "
            "training images."
        )
        _log.warning(said, label(method), name, ", ".join(other))


def changed_since(made: Trained) -> dict[str, list[str]]:
    """The data sets that have changed since a training: plugin's name -> the parts of its fingerprint that differ.

    Raises:
        UserError: A data set is not there.
    """
    found = {}
    for entry, then in zip(made.recipe.datasets, made.data, strict=False):
        now = {"name": entry.name, **_built(entry).fingerprint()}
        if other := [key for key, value in then.items() if key in now and json.loads(json.dumps(now[key])) != value]:
            found[entry.name] = other
    return found


def asked_again(images: frozenset[str] | None, dataset: Dataset, sample_ids: Iterable[str]) -> int | None:
    """How many of these samples' images are among the training images; None if these are unknown."""
    return None if images is None else sum(dataset.image_key(sample_id) in images for sample_id in sample_ids)


def _built(entry: Plugin) -> Dataset:
    dataset: Dataset = parameters.build("datasets", entry.name, entry.params)
    return dataset


def _keys(entry: Plugin) -> set[str]:
    dataset = _built(entry)
    return {dataset.image_key(sample_id) for sample_id in dataset.sample_ids()}


def _keys_in(path: Path) -> set[str]:
    try:
        keys = {line.strip() for line in path.read_text("utf-8-sig").splitlines()} - {""}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); wanted keys of images, one per line.") from error
    strange = sorted(key for key in keys if "/" not in key)
    if strange or not keys:
        found = f"'{strange[0][:60]}'" if strange else "no key"
        raise UserError(
            f"{path}: found {found}; wanted keys of images such as coco/139 (the data set and the image's id there), "
            "one per line. Correct the file, or leave out `images`."
        )
    return keys
