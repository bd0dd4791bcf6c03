"""Asks a run's methods for one of its instances again, and says what differs from the rows that are stored.

    stored rows of the instance  ---------------------------.
    the run's config -> its image, asked as a worker asks it -> compare: clicks, words, masks, scores -> verdict

The whole image is asked, as in the run, so that a method that draws takes the same numbers. This runs the methods and
data sets that the run's folder names, which a stranger may have written. So only such plugins are taken from there as
come with the harness or are installed; everything else is taken from a config of the reader.
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
"""Scores that differ by less are the same: sums of floats in another order."""


@dataclass(frozen=True)
class Verdict:
    """What became of a method's instance when it was asked for again.

    Attributes:
        method: Its label.
        dataset: The data set's label.
        rows: How many rows were compared.
        differing: How they differ, a sentence a row; empty where all are as they were.
    """

    method: str
    dataset: str
    rows: int
    differing: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every row came out as it is stored."""
        return not self.differing


def replayed(
    run: Recorded, instance_id: str, labels: Sequence[str] = (), mine: RunConfig | None = None
) -> Iterator[Verdict]:
    """Ask for an instance again, one method after the other.

    Args:
        run: As its folder tells it.
        instance_id: As the rows have it. Where several data sets have such an instance, all are asked.
        labels: Which methods to ask; all that have rows of the instance by default.
        mine: The reader's config, whose methods and data sets of the same labels are built in place of those that the
            folder names. Clicks, words, seed and metrics are the run's in any case.

    Raises:
        UserError: The run has no such instance or method, the data are others than then, or a plugin is not at hand.
    """
    known = {job.method for job in run.jobs}
    for name in labels:
        if name not in known:
            raise UserError(f"no method labelled '{name}' in {run.store.folder}. {messages.suggest(name, known)}")
    images = images_of(run, instance_id)
    wanted = [job for job in run.jobs if job.dataset in images and (not labels or job.method in labels)]
    for job in wanted:
        _check_at_hand(_named(run, job, mine is not None))
    for job in wanted:
        stored = stored_rows(run, job, images[job.dataset], instance_id)
        if stored:
            yield _verdict(run, job, images[job.dataset], stored, mine)


def images_of(run: Recorded, instance_id: str) -> dict[str, str]:
    """Data set's label -> the image of an instance.

    Raises:
        UserError: No row is of such an instance.
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
    """A job's method and data set as they are built: by the reader's config where there is one."""
    method = _labelled(run.config.methods, job.method)
    dataset = _labelled(run.config.datasets, job.dataset)
    if mine is None:
        return method, dataset
    return _mine(method, mine.methods, "method"), _mine(dataset, mine.datasets, "data set")


def _labelled(entries: Sequence[E], name: str) -> E:
    return next(one for one in entries if label(one) == name)


def _mine(entry: E, entries: Sequence[Plugin], noun: str) -> E:
    """An entry of the run with the plugin and the parameters that the reader's config has under its label."""
    own = next((one for one in entries if label(one) == label(entry)), None)
    if own is None:
        near = messages.suggest(label(entry), map(label, entries))
        raise UserError(f"the config has no {noun} labelled '{label(entry)}', which the run asked. {near}")
    return entry.model_copy(update={"name": own.name, "params": own.params, "label": label(entry)})


_IMPORTABLE = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*")
"""What may name a plugin as module:name, wherever it stands in parameters: a saliency's name in a method's."""


def _check_at_hand(names: Iterable[str]) -> None:
    """Refuse plugins of the run's folder that would have code imported which the reader has not named.

    Raises:
        UserError: Saying which, and that a config of one's own names it.
    """
    for name in names:
        try:
            check_at_hand(name)
        except UserError:
            raise UserError(
                f"{name}: code that the run's folder names and that comes neither with the harness nor from an "
                "installed package; replay would run it. If it is yours, name it by a config of yours: "
                "replay RUN ID --config CONFIG."
            ) from None


def _named(run: Recorded, job: JobFacts, trusted: bool) -> Iterator[str]:
    """The plugins that asking a job's instance again would run; those of the reader's own config left out."""
    method, dataset = _labelled(run.config.methods, job.method), _labelled(run.config.datasets, job.dataset)
    clicks, text = run.config.clicks_of(method), run.config.text_of(method)
    yield from (clicks.strategy, text.rule, *run.config.metrics)
    if not trusted:
        for entry in (method, dataset):
            yield entry.name
            yield from filter(_IMPORTABLE.fullmatch, _texts(entry.params))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
        yield from _texts(inner)


def _verdict(run: Recorded, job: JobFacts, image_id: str, stored: Sequence[Row], mine: RunConfig | None) -> Verdict:
    method, entry = _asked(run, job, mine)
    dataset: Dataset = parameters.build("datasets", entry.name, entry.params)
    check_dataset(entry, dataset, job.about.get("dataset_fingerprint"))
    try:
        bare = as_loaded(method)
        threads = max(1, int(bare.cpus or run.config.workers.cpus))
        loaded = load_method(bare, job.about.get("weights_sha256"), threads)
    except UserError as error:
        return Verdict(job.method, job.dataset, len(stored), (str(error).removesuffix(REMEDY).strip(),))
    was = _labelled(run.config.methods, job.method), _labelled(run.config.datasets, job.dataset)
    names = Names(job.method, was[0].name, job.dataset, was[1].name)
    clicks, text = run.config.clicks_of(was[0]), run.config.text_of(was[0])
    protocol = Protocol(run.config.run, run.config.seed, clicks, text, run.config.metrics)
    records = list(Evaluation(loaded, dataset, [(names, protocol)]).records([image_id]))
    made = table([one for one in records if one.instance_id == stored[0]["instance_id"]], job.metrics).to_pylist()
    return Verdict(job.method, job.dataset, len(stored), tuple(differences(stored, made, job.metrics)))


def differences(stored: Sequence[Row], made: Sequence[Row], metrics: Sequence[str]) -> Iterator[str]:
    """How an instance's rows of now differ from those of then, a sentence a row; nothing where they do not."""
    then, now = ({_key(row): row for row in rows} for rows in (stored, made))
    for key in {**then, **now}:
        if key not in now or key not in then:
            yield f"{_said(key)}: {'no such row now' if key in then else 'a row that is not stored'}"
        elif how := list(_differing(then[key], now[key], metrics)):
            yield f"{_said(key)}: {', '.join(how)}"


def _key(row: Row) -> tuple[int, int, str]:
    return row["draw"], row["click_index"], row["ranking"] or "failed"


def _said(key: tuple[int, int, str]) -> str:
    draw, clicks, ranking = key
    return f"{f'draw {draw}, ' if draw else ''}click {clicks}, {ranking}"


def _differing(then: Row, now: Row, metrics: Sequence[str]) -> Iterator[str]:
    for name in ("clicks", "text", "candidate"):
        if then[name] != now[name]:
            yield f"{name} {then[name]!r} stored, {now[name]!r} now"
    if then["mask"] != now["mask"]:
        yield _other_mask(then, now)
    for name in metrics:
        before, after = then.get(name), now.get(name)
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
        return "the stored mask is none"
    return f"mask differs in {np.count_nonzero(before != rle.decode(now['mask'], size))} pixels"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6f}"
