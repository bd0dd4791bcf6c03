"""Evaluates a method on a data set in this process: the rows of a run, without a config and without a folder."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from harness.config.click_protocol import Clicks, check_takes, checked_clicks
from harness.config.parts import Plugin, resolved
from harness.config.parts import label as label_of
from harness.config.run_config import RunConfig, check_metrics
from harness.config.wording import Text, checked_text, looks_at_pictures
from harness.config.yaml_file import validated
from harness.evaluation import chance
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.protocol import Names, Protocol
from harness.jobs.answers import with_own_names
from harness.jobs.listing import check_classes, check_own_ids, checked_ids
from harness.jobs.plan import metric_facts
from harness.masks.measure import metric
from harness.plugins import class_splits, parameters
from harness.plugins.interfaces import Dataset, Method
from harness.plugins.registry import name_of
from harness.statistics.final_clicks import DRAWS
from harness.statistics.scales import with_metrics
from harness.storage.rows import as_frame, ordered, schema, table
from harness.structures import Record, UserError
from harness.trying.methods import check_built

WHERE = "harness.evaluate"
"""The start of messages."""


def evaluate(
    method: Method,
    dataset: Dataset | str | Mapping[str, Any],
    *,
    limit: int | None = None,
    clicks: Clicks | Mapping[str, Any] | None = None,
    text: Text | Mapping[str, Any] | str | None = None,
    metrics: Sequence[str] | None = None,
    seed: int | None = None,
    label: str = "",
    trained_on: Sequence[str] = (),
    masks: bool = False,
) -> pd.DataFrame:
    """Compute a method's rows on a data set, equal to those of a run with the same settings; nothing is written.

        ours = harness.method("quickstart", "Text+Click")
        rows = harness.evaluate(ours, "scenes", limit=20)
        rows.groupby("seen")["iou"].mean()

    In a training loop, put the networks into evaluation mode first. The generators of Python, NumPy and torch are
    left as they were, so that the training draws what it would have drawn.

    Args:
        method: A method from `harness.method`, or one that you built.
        dataset: A data set that you built, a name, or an entry as in a config: `{"name": "scenes", "params":
            {"split": "val"}}`.
        limit: The most images; the first ones are taken.
        clicks: The clicks as in a config: `{"strategy": "center/v1", "max_clicks": 3}`; by default a config's default,
            one random click well inside the object.
        text: The text rule as in a config: a rule's name, or `{"rule": ..., "template": ...}`.
        metrics: The metrics of each mask; "iou" and "boundary_iou" by default.
        seed: The seed of random clicks and words; 0 by default.
        label: The value of the column `method`; the plugin's name by default.
        trained_on: The classes that the method was trained on, or the name of a split. They count as seen on a data set
            that has no split of its own.
        masks: Whether the rows hold the predicted masks, too.

    Returns:
        The columns of docs/results.md, sorted as in results.parquet; `run` is "evaluate". An instance on which the
        method failed has a row with the reason, and a warning counts these rows.

    Raises:
        UserError: An argument has a value that no config could have, or the data set's list of ids is not valid.
    """
    check_built(method, WHERE)
    # The arguments become a config, so that defaults, checks and messages are the same as in a run. Arguments that are
    # None are left out of it, so that they get the config's defaults.
    plugin = name_of("methods", type(method))
    data = _entry(dataset)
    asked = {"limit": limit, "clicks": clicks, "text": text, "metrics": metrics, "seed": seed}
    config = _checked(
        {
            "run": "evaluate",
            "methods": [{"name": plugin, "label": label, "trained_on": {"classes": trained_on}}],
            "datasets": [data],
            **{name: value for name, value in asked.items() if value is not None},
        }
    )
    _check_askable(method, config)
    # An evaluation seeds the generators before every image. Without this, a training that evaluates after each epoch
    # would draw the same augmentations in every epoch.
    with chance.kept():
        records = _records(method, dataset if isinstance(dataset, Dataset) else _built(data), config)
    return _as_rows(records, config, masks)


def _entry(dataset: Dataset | str | Mapping[str, Any]) -> Plugin:
    """A data set as a config names it."""
    if isinstance(dataset, Dataset):
        return Plugin(name=name_of("datasets", type(dataset)))
    if not isinstance(dataset, str | Mapping):
        raise UserError(
            f"{WHERE}, dataset: found {dataset!r}; wanted a name, an entry as in a config, or one that you built."
        )
    raw = {"name": dataset} if isinstance(dataset, str) else dataset
    entry: Plugin = validated(Plugin, raw, f"{WHERE}, dataset")
    return resolved(entry, "datasets", f"{WHERE}, dataset")


def _built(entry: Plugin) -> Dataset:
    dataset: Dataset = parameters.build("datasets", entry.name, entry.params)
    return dataset


def _checked(raw: Mapping[str, Any]) -> RunConfig:
    """The arguments as a checked config with defaults. The method is already built, so it has no parameters there."""
    config: RunConfig = validated(RunConfig, raw, WHERE)
    check_metrics(WHERE, config.metrics)
    checked = {
        "clicks": checked_clicks(config.clicks, f"{WHERE}, clicks"),
        "text": checked_text(config.text, f"{WHERE}, text"),
    }
    return config.model_copy(update=checked)


def _check_askable(method: Method, config: RunConfig) -> None:
    """Refuse prompts that the method cannot answer.

    A prompt needs a click or words; some methods need the click, and a guessed text needs the method's own CLIP.
    """
    if looks_at_pictures(config.text) and type(method).text_fits is Method.text_fits:
        raise UserError(
            f"{WHERE}: found text: {config.text.rule}, which guesses words by the method's own CLIP, and "
            f"{type(method).__name__} has none; wanted another rule, such as class_name."
        )
    if looks_at_pictures(config.text) and not config.clicks.max_clicks:
        raise UserError(f"{WHERE}: found text: {config.text.rule} and clicks.max_clicks: 0; wanted a click.")
    check_takes(config.clicks, type(method), f"{WHERE}: {type(method).__name__}")
    if config.clicks.max_clicks or config.clicks.by_box_alone:
        return
    if method.needs_click:
        raise UserError(f"{WHERE}: found clicks.max_clicks: 0, and {type(method).__name__} needs a click; wanted 1.")
    if config.text.rule == "none":
        raise UserError(f"{WHERE}: found clicks.max_clicks: 0 and text: none; wanted a click or words.")


def _records(method: Method, dataset: Dataset, config: RunConfig) -> list[Record]:
    (asked,), (data,) = config.methods, config.datasets
    where = f"{WHERE}, data set '{label_of(data)}'"
    check_classes(dataset, where)
    names = Names(label_of(asked), asked.name, label_of(data), data.name)
    classes = with_own_names(class_splits.seen_names(asked.trained_on.classes), dataset.classes)
    protocol = Protocol(config.run, config.seed, config.clicks, config.text, config.metrics, 1, classes)
    sample_ids = checked_ids(dataset, where)[: config.limit]
    with warnings.catch_warnings():
        # Images are read-only, which torch warns of; no method may write on them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        records = list(Evaluation(method, dataset, [(names, protocol)]).records(sample_ids))
    check_own_ids(where, records, {})
    _warn_failed(records, f"instances of {label_of(data)}", label_of(asked))
    return records


def _warn_failed(records: Sequence[Record], of: str, method: str) -> None:
    failed = {record.instance_id: record.error for record in records if record.status != "ok"}
    if failed:
        total = len({record.instance_id for record in records})
        first = next(iter(failed.values()))
        warnings.warn(f"{method}: {len(failed)} of {total} {of} failed. {first}", stacklevel=4)


def _as_rows(records: Sequence[Record], config: RunConfig, masks: bool) -> pd.DataFrame:
    """The records as a frame like the one of `harness.load`, with its attributes on metrics and draws.

    Columns and order are those of results.parquet: a table's function, or a reader's script, takes either.
    """
    (asked,), (data,) = config.methods, config.datasets
    measured = {one.name: metric_facts(one) for one in map(metric, config.metrics)}
    whole = table(records, tuple(measured)).select(schema(measured, masks).names)
    # `ordered` yields pieces, and none for no rows; the empty slice keeps the columns then.
    rows = as_frame(pa.concat_tables([whole.slice(0, 0), *ordered([whole])]))
    rows.attrs[DRAWS] = {label_of(data): {label_of(asked): config.clicks.draws}}
    return with_metrics(rows, measured)
