"""A run that asks no network: masks of a file are scored as the rows of a method, on the data set of a config."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import messages
from harness.clicks import clicks_a_round
from harness.clicks.strategy import asks_for_pairs
from harness.config.click_protocol import Clicks
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin, label, resolved
from harness.config.run_config import RUN_NAME, RunConfig, Workers
from harness.evaluation.pictures import listed
from harness.jobs.listing import checked_ids
from harness.masks import coco_results
from harness.masks.coco_results import Result, Results
from harness.masks.segmentations import decode
from harness.plugins import parameters
from harness.plugins.interfaces import Dataset
from harness.structures import NOT_LISTED, UserError

_UNFIT = re.compile(r"[^\w.-]+")
"""The signs that a label may have and a run's name may not."""

_log = logging.getLogger(__name__)


def scoring(
    config: RunConfig,
    file: Path,
    *,
    name: str = "",
    dataset: str = "",
    run: str = "",
    uses_text: bool | None = None,
) -> RunConfig:
    """The config of a run that scores a file's masks in place of the config's methods.

    Clicks, words, seed and metrics stay those of the config, so that its rows can be compared with a real method's. The
    number of clicks is the largest `click_index` in the file, but at most the config's; without it there is one round.

    Args:
        config: The config with the data set, clicks and words that the masks were made for.
        file: A file of COCO's results with instances' ids.
        name: The label of the method; the file's name without its suffix by default.
        dataset: The label of the data set, needed if the file's images are in several.
        run: The run's name; "<the config's>_<label>" by default.
        uses_text: Whether the masks were made with the text, for the tables' text column.

    Raises:
        UserError: No data set has an image or an instance of the file, an instance has a mask twice, or the first
            image's masks are of another size than the image.
    """
    results = coco_results.read(file)
    name = name or file.stem
    entry, built = _data_of(config, results, file, dataset)
    _check_instances(built, results, f"data set '{label(entry)}'")
    method = MethodEntry(name="predictions", label=name, params={"file": str(file.resolve())}, uses_text=uses_text)
    clicks = _clicks(config.clicks, results)
    _say_unasked(clicks, results, file)
    changed = {
        "run": _run_name(run) if run else f"{config.run}_{_UNFIT.sub('_', name)}",
        "datasets": (entry,),
        "methods": (resolved(method, "methods", str(file)),),
        "clicks": clicks,
        "tables": ("leaderboard",),
        "baseline": (),
        "max_failures": 1.0,  # a gap of the file costs nothing: there is nothing to stop for
        "training": {},
        "only": {name: own for name, own in config.only.items() if name == label(entry)},
        "workers": Workers(executor="local"),  # Masks are only read, which takes less time than starting Ray.
    }
    return config.model_copy(update=changed)


def _run_name(name: str) -> str:
    if not RUN_NAME.fullmatch(name):
        raise UserError(f"--run {name}: wanted letters, digits, _, - and ., for it names a folder; no - or . first.")
    return name


def _clicks(clicks: Clicks, results: Results) -> Clicks:
    """The config's click protocol, with as many clicks as the masks were made after."""
    most = results.most_clicks
    in_draws = any(one.draw is not None for one in results.all)
    draws = clicks.draws if in_draws else 1
    if not clicks.max_clicks or most == 0:
        return Clicks(max_clicks=0, draws=draws if clicks.start else 1, start=clicks.start)
    a_round = clicks_a_round(clicks.strategy, clicks.options)
    rounds = max(1, min(most or 1, clicks.max_clicks) // a_round)
    return clicks.model_copy(update={"max_clicks": rounds * a_round, "draws": draws})


def _say_unasked(clicks: Clicks, results: Results, file: Path) -> None:
    """Warn of masks that no prompt asks for, since they were made after more clicks or in further draws."""
    # A rule of pairs has a draw for each partner, however many draws the config says.
    in_pairs = clicks.max_clicks > 0 and asks_for_pairs(clicks.strategy)
    beyond = [
        one
        for one in results.all
        if (one.click_index or 0) > clicks.max_clicks or ((one.draw or 0) >= clicks.draws and not in_pairs)
    ]
    if beyond:
        asked = f"{messages.number_of(clicks.max_clicks, 'click')} and {messages.number_of(clicks.draws, 'draw')}"
        _log.warning(
            "%s: %d of %d masks are not scored, for the config asks for %s; the first is %s. To score them, raise "
            "clicks.max_clicks or clicks.draws (--set clicks.max_clicks=3).",
            *(file, len(beyond), len(results.all), asked, beyond[0].where.rpartition(", ")[2]),
        )


def _data_of(config: RunConfig, results: Results, file: Path, wanted: str) -> tuple[Plugin, Dataset]:
    """The data set of a file's masks: the one that has all its images.

    Raises:
        UserError: No data set has all of them, or several do.
    """
    known = {label(entry): entry for entry in config.datasets}
    if wanted and wanted not in known:
        raise UserError(f"--dataset: no data set labelled '{wanted}' in the config. {messages.suggest(wanted, known)}")
    found, lacking = [], {}
    images = {one.image_id: one for one in reversed(results.all)}
    for name in [wanted] if wanted else known:
        dataset: Dataset = parameters.build("datasets", known[name].name, known[name].params)
        ids = checked_ids(dataset, f"data set '{name}'")
        own = set(ids)
        foreign = next((one for image, one in reversed(images.items()) if image not in own), None)
        if foreign is None:
            found.append((known[name], dataset))
        else:
            lacking[name] = (foreign, ids)
    if len(found) > 1:
        names = ", ".join(label(entry) for entry, _ in found)
        raise UserError(f"{file}: its images are in several data sets of the config ({names}); say --dataset LABEL.")
    if not found:
        name, (one, ids) = next(iter(lacking.items()))
        near = messages.nearest(one.image_id, ids)
        raise UserError(f"{one.where}: no image '{one.image_id}' in {' or '.join(lacking)}. {near}".rstrip())
    return found[0]


def _check_instances(dataset: Dataset, results: Results, name: str) -> None:
    """Check that every mask is of an instance of its image, and that masks have their image's size.

    Sizes are checked on the first image only: a network that answers at a size of its own does so for all images. A
    later mask of a wrong size becomes a failed row with that reason.

    Raises:
        UserError: A mask is wrong; the message names the first one.
    """
    by_image: dict[str, list[Result]] = {}
    for one in results.all:
        by_image.setdefault(one.image_id, []).append(one)
    for number, (image_id, own) in enumerate(by_image.items()):
        ids = [one.id for one in listed(dataset, image_id)]
        if ids == [f"{image_id}{NOT_LISTED}"]:
            continue  # the image does not load; its row will have the reason
        for one in own:
            if one.instance_id not in ids:
                raise UserError(
                    f"{one.where}: no instance '{one.instance_id}' in image '{image_id}' of {name}. {_near(one, ids)}"
                )
        if not number:
            _check_sizes(dataset, own)


def _near(one: Result, ids: Sequence[str]) -> str:
    most = 8
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return messages.nearest(one.instance_id, ids) or f"There are: {', '.join(ids[:most])}{more}."


def _check_sizes(dataset: Dataset, own: Sequence[Result]) -> None:
    try:
        height, width = dataset.load(own[0].image_id).size
    except Exception:  # its row will have the reason
        return
    for one in own:
        sized: Mapping[str, object] = one.segmentation if isinstance(one.segmentation, dict) else {}
        if sized.get("size", [height, width]) == [height, width]:
            continue
        try:
            decode(one.segmentation, height, width, may_be_empty=True)
        except ValueError as error:
            raise UserError(f"{one.where}: {error}. Resize the masks to their images.") from error
