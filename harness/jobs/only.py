"""Narrows a run to a few images: finds the data sets and images that given ids belong to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness import messages
from harness.config.parts import Plugin, label
from harness.config.run_config import RunConfig
from harness.evaluation.pictures import listed
from harness.jobs.listing import checked_ids
from harness.plugins import parameters
from harness.plugins.interfaces import Dataset
from harness.structures import UserError


def narrowed(config: RunConfig, ids: Sequence[str]) -> RunConfig:
    """The config for a few images alone, with the data sets that have them.

    An image is asked for with all its instances, as in the whole run, so that its rows are equal to the whole run's.

    Args:
        config: The config of the whole run.
        ids: Ids of images, or of instances for the images that hold them. An id in several data sets means all of them.

    Raises:
        UserError: There is no id, or no data set has such an image or instance.
    """
    if not ids:
        raise UserError("--only: found no id; wanted those of images or instances, such as --only 139,285.")
    found = {label(entry): _images(entry, ids) for entry in config.datasets}
    for wanted in ids:
        if not any(wanted in own for own in found.values()):
            quoted = " An id with a comma goes in double quotes." if len(ids) > 1 else ""
            raise UserError(f"{_nowhere(wanted, config.datasets)}{quoted}")
    only = {name: tuple(dict.fromkeys(own.values())) for name, own in found.items() if own}
    datasets = tuple(entry for entry in config.datasets if label(entry) in only)
    methods = tuple(
        entry for entry in config.methods if not entry.datasets or not only.keys().isdisjoint(entry.datasets)
    )
    if not methods:
        raise UserError(
            f"--only: found no method in the config that runs on {', '.join(only)}; wanted one. Name an image of "
            "another data set."
        )
    return config.model_copy(update={"datasets": datasets, "methods": methods, "only": only})


def _images(entry: Plugin, ids: Iterable[str]) -> dict[str, str]:
    """Id -> the data set's image that has it, for those of the ids that it knows."""
    dataset: Dataset = parameters.build("datasets", entry.name, entry.params)
    samples = checked_ids(dataset, f"data set '{label(entry)}'")
    known, wanted = set(samples), set(ids)
    found = {one: one for one in wanted if one in known}
    wanted -= found.keys()
    # Instances are looked for last, since some data sets must open each image to list them.
    for sample_id in samples if wanted else ():
        for one in listed(dataset, sample_id):
            if one.id in wanted:
                found[one.id] = sample_id
                wanted.discard(one.id)
        if not wanted:
            break
    return found


def _nowhere(wanted: str, datasets: Sequence[Plugin]) -> str:
    names = " and ".join(label(entry) for entry in datasets)
    first: Dataset = parameters.build("datasets", datasets[0].name, datasets[0].params)
    near = messages.nearest(wanted, first.sample_ids())
    return f"--only: no image or instance '{wanted}' in {names}. {near}".rstrip()
