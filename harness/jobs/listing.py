"""Lists a data set once for all methods of a run, and refuses a listing that must be wrong before any work begins."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import messages
from harness.config.parts import Plugin, label
from harness.config.run_config import part_of
from harness.evaluation.pictures import listed
from harness.messages import readable
from harness.plugins import parameters
from harness.plugins.failures import contained, described
from harness.plugins.interfaces import Dataset
from harness.structures import Record, UserError


@dataclass(frozen=True)
class Listing:
    """A data set with its ids and counts.

    Attributes:
        entry: The config's entry.
        dataset: The data set, built from the entry.
        fingerprint: A later start compares it, to see whether the data changed.
        sample_ids: The ids of the run's samples, in the data set's order.
        whole: How many samples the data set has.
        weights: Sample -> how many instances it has; empty if that takes opening the images.
        left_out: Kind of things that are in the data set's files but in no sample -> how many.
    """

    entry: Plugin
    dataset: Dataset
    fingerprint: Mapping[str, Any]
    sample_ids: tuple[str, ...]
    whole: int
    weights: Mapping[str, int]
    left_out: Mapping[str, int]


def listing_of(entry: Plugin, limit: int | None = None, only: Collection[str] = ()) -> Listing:
    """List a data set, or its first `limit` samples, or only those that are named.

    Raises:
        UserError: The plugin fails, or its listing must be wrong: no classes, no sample, ids that are no texts, an id
            twice, no instance.
    """
    dataset: Dataset = parameters.build("datasets", entry.name, entry.params)
    name = f"data set '{label(entry)}'"
    check_classes(dataset, name)
    all_ids = checked_ids(dataset, name)
    sample_ids = part_of(all_ids, limit, only)
    if lacking := set(only) - set(sample_ids):
        raise UserError(
            f"{name}: found no image '{min(lacking)}'. {messages.nearest(min(lacking), dataset.sample_ids())}"
        )
    # The base class lists instances by loading the sample. Doing that for a whole data set would delay a start by
    # minutes, so such data sets have no weights, and shards are then cut by images.
    opens_images = type(dataset).list_instances is Dataset.list_instances
    weights = {} if opens_images else _weights(dataset, sample_ids, name)
    if weights and not any(weights.values()):
        raise UserError(no_instance(name, len(sample_ids)))
    return Listing(
        entry, dataset, dict(dataset.fingerprint()), sample_ids, len(all_ids), weights, dict(dataset.left_out())
    )


def no_instance(name: str, images: int) -> str:
    """The message for a data set that has images and no instance in them."""
    where = "its image" if images == 1 else f"any of its {images} images"
    return f"{name} has no instance in {where}; wanted one at least. Correct its parameters, or the plugin."


def listed_twice(name: str, instance_id: str, how: str = "list_instances() lists") -> str:
    """The message for a data set that gives two instances one id, such as when each image counts its own from 0."""
    return (
        f"{name}: {how} the instance '{instance_id}' twice; wanted ids that are unique in the data set, such as "
        "'<sample>/<instance>'. Correct the plugin."
    )


def check_own_ids(name: str, records: Iterable[Record], image_of: dict[str, str]) -> None:
    """Check that no two images have an instance of the same id, such as when the plugin counts each image's from 0.

    Args:
        name: What messages call the data set.
        records: The records of whole images.
        image_of: Instance -> image, of earlier records; those of these records are added.

    Raises:
        UserError: Two do.
    """
    for record in records:
        if image_of.setdefault(record.instance_id, record.image_id) != record.image_id:
            raise UserError(listed_twice(name, record.instance_id, "load() gives"))


def check_classes(dataset: Dataset, name: str) -> None:
    """Check that a data set names its classes, which prompts and tables need.

    Raises:
        UserError: It does not, or they are no texts.
    """
    classes = getattr(dataset, "classes", None)
    told = "nothing" if classes is None else f"{type(classes).__name__} {classes!r:.80}"
    if not isinstance(classes, (tuple, list)) or not all(isinstance(one, str) for one in classes):
        raise UserError(
            f"{name}: `classes` is {told}; wanted the names of its categories, such as classes = ('cup', 'plate'). "
            "Correct the plugin."
        )


def _weights(dataset: Dataset, sample_ids: Sequence[str], name: str) -> dict[str, int]:
    """Sample -> how many instances it lists.

    Raises:
        UserError: An instance is listed twice.
    """
    weights: dict[str, int] = {}
    known: set[str] = set()
    for sample_id in sample_ids:
        ids = [one.id for one in listed(dataset, sample_id)]
        weights[sample_id] = len(ids)
        if twice := _repeated(ids, known):
            raise UserError(listed_twice(name, twice))
    return weights


def checked_ids(dataset: Dataset, name: str) -> tuple[str, ...]:
    """All samples that a data set lists; `name` is what messages call it.

    Raises:
        UserError: It fails, lists nothing, or anything but texts that differ.
    """
    try:
        with contained():
            found = dataset.sample_ids()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{name}: sample_ids() failed with {described(error)}. Correct the plugin.") from error
    if not isinstance(found, (list, tuple)):  # A generator is empty when it is asked a second time.
        raise UserError(
            f"{name}: sample_ids() returned {type(found).__name__}; wanted a list of texts, such as list(...) of it. "
            "Correct the plugin."
        )
    ids = tuple(found)
    if not ids:
        raise UserError(f"{name} lists no sample; wanted one at least. Correct its parameters, or the plugin.")
    for one in ids:
        if not isinstance(one, str):
            raise UserError(
                f"{name}: sample_ids() returned {type(one).__name__} {one!r}; wanted texts. Correct the plugin."
            )
        if readable(one) != one:
            raise UserError(
                f"{name}: the sample's id '{readable(one)}' is no Unicode text, as where a file is named in Latin-1. "
                "Rename the file, or correct the plugin."
            )
    if twice := _repeated(ids, set()):
        raise UserError(f"{name}: sample_ids() returned '{twice}' twice; wanted every id once. Correct the plugin.")
    return ids


def _repeated(ids: Iterable[str], known: set[str]) -> str | None:
    """The first id that is in `known` already; all ids before it are added to `known`."""
    for one in ids:
        if one in known:
            return one
        known.add(one)
    return None
