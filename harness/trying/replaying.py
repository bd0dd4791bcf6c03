"""Computes the rows of one instance of a run again, and describes how they differ from the stored ones.

    stored rows of the instance  ------------------------------.
    the run's config -> its image, computed as a worker does it -> compare: clicks, words, masks, scores -> verdict

All instances of the image are computed, as in the run. With fewer prompts in a batch, a network may add its numbers in
another order, and a method that draws would take other random numbers, so that masks would differ without a fault.

The run's folder names the methods and data sets, and a stranger may have written it. So plugins named there are used
only if they come with the harness or are installed; all others must be named by a config of the reader.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from harness import messages
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin, label
from harness.config.run_config import RunConfig
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.protocol import Names, Protocol
from harness.jobs.jobs import as_loaded
from harness.jobs.sameness import REMEDY, check_dataset
from harness.jobs.worker import load_method
from harness.masks import rle
from harness.plugins import parameters
from harness.plugins.interfaces import Dataset
from harness.plugins.registry import check_at_hand
from harness.results.recorded import Recorded
from harness.storage.manifest import JobFacts
from harness.storage.results_file import latest_rows
from harness.storage.rows import table
from harness.structures import UserError

E = TypeVar("E", bound=Plugin)
Row = Mapping[str, Any]

CLOSE = 1e-9
"""Scores that differ by less count as equal.

Masks, clicks and words are compared exactly. A score is a float, and another version of NumPy may add its parts in
another order; that changes the last of its 16 digits. A mask with one other pixel changes the IoU by more: by 1e-6 for
an object of a million pixels.
"""


@dataclass(frozen=True)
class Verdict:
    """The result of comparing one method's new rows of the instance with the stored ones.

    Attributes:
        method: The method's label.
        dataset: The data set's label.
        rows: How many rows were compared.
        differing: A sentence for each differing row; empty if all are equal.
    """

    method: str
    dataset: str
    rows: int
    differing: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every new row equals the stored one."""
        return not self.differing


def replayed(
    run: Recorded, instance_id: str, labels: Sequence[str] = (), mine: RunConfig | None = None
) -> Iterator[Verdict]:
    """Compute an instance again, one method after the other.

    Args:
        run: The run, as read from its folder.
        instance_id: The id in the rows. If several data sets have an instance of this id, all are computed.
        labels: The labels of the methods to run; by default all that have rows of the instance.
        mine: The reader's config. Its methods and data sets are built in place of those with the same labels in the
            folder. Clicks, words, seed and metrics are always the run's.

    Raises:
        UserError: The run has no such instance or method, the data have changed since, or a plugin is not at hand.
    """
    known = {job.method for job in run.jobs}
    for name in labels:
        if name not in known:
            raise UserError(f"no method labelled '{name}' in {run.store.folder}. {messages.suggest(name, known)}")
    images = images_of(run, instance_id)
    wanted = [job for job in run.jobs if job.dataset in images and (not labels or job.method in labels)]
    # All jobs are checked before the first is built: building imports code, and the first method may take minutes.
    for job in wanted:
        _check_at_hand(_named(run, job, mine is not None))
    for job in wanted:
        stored = stored_rows(run, job, images[job.dataset], instance_id)
        if stored:
            yield _verdict(run, job, images[job.dataset], stored, mine)


def images_of(run: Recorded, instance_id: str) -> dict[str, str]:
    """The data set's label -> the id of the image that holds the instance.

    Raises:
        UserError: No row has this instance id.
    """
    rows = latest_rows(run.store, run.jobs, run.samples)
    own = rows[rows["instance_id"] == instance_id]
    if own.empty:
        near = messages.nearest(instance_id, rows["instance_id"].unique())
        raise UserError(f"{run.store.folder}: no instance '{instance_id}' in its rows. {near}".rstrip())
    return dict(zip(own["dataset"], own["image_id"], strict=True))


def stored_rows(run: Recorded, job: JobFacts, image_id: str, instance_id: str) -> list[Row]:
    """A job's rows of one instance, with their masks; only the shards that hold the image are read."""
    parts = run.store.tables([job], {job.dataset: [image_id]})
    return [row for part in parts for row in part.to_pylist() if row["instance_id"] == instance_id]


def _asked(run: Recorded, job: JobFacts, mine: RunConfig | None) -> tuple[MethodEntry, Plugin]:
    """The entries by which a job's method and data set are built: the reader's config's, if there is one."""
    method = _labelled(run.config.methods, job.method)
    dataset = _labelled(run.config.datasets, job.dataset)
    if mine is None:
        return method, dataset
    return _mine(method, mine.methods, "method"), _mine(dataset, mine.datasets, "data set")


def _labelled(entries: Sequence[E], name: str) -> E:
    return next(one for one in entries if label(one) == name)


def _mine(entry: E, entries: Sequence[Plugin], noun: str) -> E:
    """The run's entry with the plugin and the parameters that the reader's config has under the same label.

    Everything else of the entry, such as its clicks and its words, stays the run's.
    """
    own = next((one for one in entries if label(one) == label(entry)), None)
    if own is None:
        near = messages.suggest(label(entry), map(label, entries))
        raise UserError(f"the config has no {noun} labelled '{label(entry)}', as the run has. {near}")
    return entry.model_copy(update={"name": own.name, "params": own.params, "label": label(entry)})


_IMPORTABLE = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*")
"""A text that may name a plugin as module:name, such as "mine.maps:Saliency" deep in a method's parameters.

A text that only looks like one ("C:drive") is refused as well, which costs a reader a config; the other way round a
stranger's code would run.
"""


def _check_at_hand(names: Iterable[str]) -> None:
    """Refuse plugins that would import code which only the run's folder names.

    Raises:
        UserError: There is one; the message names it, and says that the reader can name it in a config.
    """
    for name in names:
        try:
            check_at_hand(name)
        except UserError:
            raise UserError(
                f"{name}: found this code named in the run's folder; wanted only code of the harness or of an "
                "installed package, since `replay` would execute it. If it is yours, name it in a config of yours: "
                "replay RUN ID --config CONFIG."
            ) from None


def _named(run: Recorded, job: JobFacts, trusted: bool) -> Iterator[str]:
    """The plugins that a replay of a job would run because the run's folder names them."""
    # Click rule, text rule and metrics are the run's even with a config of the reader, so they are always checked.
    method, dataset = _labelled(run.config.methods, job.method), _labelled(run.config.datasets, job.dataset)
    clicks, text = run.config.clicks_of(method), run.config.text_of(method)
    yield from (clicks.strategy, text.rule, *run.config.metrics)
    if not trusted:
        for entry in (method, dataset):
            yield entry.name
            yield from filter(_IMPORTABLE.fullmatch, _texts(entry.params))


def _texts(value: Any) -> Iterator[str]:
    """Every text in nested parameters."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _texts(inner)


def _verdict(run: Recorded, job: JobFacts, image_id: str, stored: Sequence[Row], mine: RunConfig | None) -> Verdict:
    method, entry = _asked(run, job, mine)
    dataset: Dataset = parameters.build("datasets", entry.name, entry.params)
    check_dataset(entry, dataset, job.about.get("dataset_fingerprint"))
    try:
        # Workers load variants of a method once, without the settings of their prompts; `load_method` checks the
        # weights' hashes against the run's. With other weights the verdict is a difference, and other methods go on.
        # The number of threads is the run's, since sums are split by it.
        bare = as_loaded(method)
        threads = max(1, int(bare.cpus or run.config.workers.cpus))
        loaded = load_method(bare, job.about.get("weights_sha256"), threads)
    except UserError as error:
        return Verdict(job.method, job.dataset, len(stored), (str(error).removesuffix(REMEDY).strip(),))
    # The plugins' names take part in seeds and records. They are the run's, also where the reader's config calls the
    # plugin otherwise, such as mine:Method for a file that has moved.
    was = _labelled(run.config.methods, job.method), _labelled(run.config.datasets, job.dataset)
    names = Names(job.method, was[0].name, job.dataset, was[1].name)
    clicks, text = run.config.clicks_of(was[0]), run.config.text_of(was[0])
    protocol = Protocol(run.config.run, run.config.seed, clicks, text, run.config.metrics)
    records = list(Evaluation(loaded, dataset, [(names, protocol)]).records([image_id]))
    made = table([one for one in records if one.instance_id == stored[0]["instance_id"]], job.metrics).to_pylist()
    return Verdict(job.method, job.dataset, len(stored), tuple(differences(stored, made, job.metrics)))


def differences(stored: Sequence[Row], made: Sequence[Row], metrics: Sequence[str]) -> Iterator[str]:
    """Compares an instance's new rows with the stored ones: a sentence for each row that differs.

    Rows are matched by draw, number of clicks and ranking. With stored rows for clicks 1 and 2, and new ones for
    clicks 1 (other mask) and 3:

        click 1, single: mask differs in 12 pixels, iou 0.812000 stored, 0.809000 now
        click 2, single: no such row now
        click 3, single: a row that is not stored
    """
    then, now = ({_key(row): row for row in rows} for rows in (stored, made))
    for key in {**then, **now}:
        if key not in now or key not in then:
            yield f"{_said(key)}: {'no such row now' if key in then else 'a row that is not stored'}"
        elif how := list(_differing(then[key], now[key], metrics)):
            yield f"{_said(key)}: {', '.join(how)}"


def _key(row: Row) -> tuple[int, int, str]:
    # A failed row has no ranking, as no candidate was chosen.
    return row["draw"], row["click_index"], row["ranking"] or "failed"


def _said(key: tuple[int, int, str]) -> str:
    draw, clicks, ranking = key
    return f"{f'draw {draw}, ' if draw else ''}click {clicks}, {ranking}"


def _differing(then: Row, now: Row, metrics: Sequence[str]) -> Iterator[str]:
    # Clicks first: a corrective click is placed by the mask before it, so an earlier difference explains later ones.
    for name in ("clicks", "text", "candidate"):
        if then[name] != now[name]:
            yield f"{name} {then[name]!r} stored, {now[name]!r} now"
    if then["mask"] != now["mask"]:
        yield _other_mask(then, now)
    for name in metrics:
        before, after = then.get(name), now.get(name)
        # Both may be None, for a failed row; then they are equal, which only `!=` below can find.
        close = before is not None and after is not None and math.isclose(before, after, abs_tol=CLOSE)
        if not close and before != after:
            yield f"{name} {_number(before)} stored, {_number(after)} now"


def _other_mask(then: Row, now: Row) -> str:
    size = now["height"], now["width"]
    if then["mask"] is None or now["mask"] is None or (then["height"], then["width"]) != size:
        return "another mask"
    try:
        before = rle.decode(then["mask"], size)
    except ValueError:
        return "the stored mask cannot be decoded"
    return f"mask differs in {np.count_nonzero(before != rle.decode(now['mask'], size))} pixels"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6f}"
