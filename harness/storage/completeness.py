"""Checks that no row is missing or double: instances x rankings x clicks of every method, each once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa

from harness.config.parts import Plugin
from harness.config.run_config import part_of
from harness.evaluation.pictures import listed
from harness.messages import number_of
from harness.plugins import parameters
from harness.plugins.interfaces import Dataset
from harness.storage.manifest import JobFacts
from harness.storage.rows import MEASURED, ORDER
from harness.storage.shards import of_samples
from harness.storage.store import Store
from harness.storage.truth import disputes

KEY = [name for name in ORDER if name != "image_id"]
"""The primary key of the rows."""

INSTANCE = [name for name in KEY if name not in ("click_index", "ranking")]
"""The columns that identify a prompted instance: one draw of an instance for one method."""

LOOKED_AT = [
    *ORDER,
    "run",
    "click_strategy",
    "click_options",
    "clicks",
    "partner",
    "gt_area_px",
    "status",
]
"""The columns that the checks here read, besides the metrics."""

APART = (*MEASURED, "device", "run")
"""Columns that may differ between two shards: times, devices, and the name of the run a shard was merged from."""


@dataclass
class Findings:
    """The results of all checks, as lines for people: proved, missing, and impossible to check."""

    proved: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    unproved: list[str] = field(default_factory=list)

    def say(self, proved: str, *lacking: str) -> None:
        """Note what is missing; if nothing is missing, note what is proved."""
        self.lacking += lacking
        if not lacking:
            self.proved.append(proved)


@dataclass(frozen=True, eq=False)
class Asked:
    """The rows that the config demands of a job.

    Attributes:
        job: The job, with what made its rows.
        samples: The images.
        max_clicks: The clicks on each instance.
        draws: The draws of each instance; 1 for rules that click into pairs, whose draws are the partners.
    """

    job: JobFacts
    samples: Collection[str]
    max_clicks: int
    draws: int = 1

    @property
    def name(self) -> str:
        """The job's name in messages."""
        return f"{self.job.method} on {self.job.dataset}"

    def own(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The job's rows among a run's."""
        return rows[(rows["method"] == self.job.method) & (rows["dataset"] == self.job.dataset)]


def check_key(found: Findings, rows: pd.DataFrame) -> None:
    """Check that the primary key is unique."""
    twice = int(rows.duplicated(KEY).sum())
    found.say(
        f"the primary key ({', '.join(KEY)}) is unique over {number_of(len(rows), 'row')}",
        *([f"{twice} of {len(rows)} rows repeat a primary key ({', '.join(KEY)})"] if twice else []),
    )


def check_job(found: Findings, asked: Asked, done: set[str], rows: pd.DataFrame) -> None:
    """Check that no image is missing, and that rows = instances x rankings x clicks."""
    own = asked.own(rows)
    ok, failed = own[own["status"] == "ok"], own[own["status"] != "ok"]
    rankings, clicks = sorted(ok["ranking"].unique()), sorted(map(int, ok["click_index"].unique()))
    asked_for, instances = len(own.drop_duplicates(INSTANCE)), own["instance_id"].nunique()
    broken = failed["instance_id"].nunique()
    clicked = "no click" if clicks == [0] else number_of(len(clicks), "click")
    times = f", asked for {asked_for} times in all," if asked_for > instances else ""
    found.say(
        f"{asked.name}: {number_of(len(asked.samples), 'image')}, {number_of(instances - broken, 'instance')}{times} x "
        f"{number_of(len(rankings), 'ranking')} x {clicked} = {number_of(len(ok), 'row')}; "
        f"{number_of(broken, 'more instance')} failed, each with its reason",
        *_absent(asked, done),
        *_uneven(asked, ok, failed, rankings, clicks),
        *_unmeasured(asked, ok),
    )


def _absent(asked: Asked, done: set[str]) -> Iterator[str]:
    absent = [one for one in asked.samples if one not in done]
    if absent:
        yield f"{asked.name}: {len(absent)} of {len(asked.samples)} images have no rows; the first is '{absent[0]}'"


def _uneven(
    asked: Asked, ok: pd.DataFrame, failed: pd.DataFrame, rankings: list[str], clicks: list[int]
) -> Iterator[str]:
    """The gaps in the grid of rows; an instance that failed at a later click rightly has only the earlier rows."""
    # A rule may place several clicks a round. With two a round there are rows after 2, 4 and 6 clicks: the first number
    # is the step. Rows after 2 and 6 clicks lack a round; rows after 2 and 4 lack the last one, if 6 are wanted.
    #
    # The full grid of an instance that did not fail, here with two rankings and three rounds:
    #
    #                 click 1    click 2    click 3
    #    confidence     row        row        row        a column that is short: a ranking is missing (`rounds`)
    #    oracle         row        row        row        a line that is short: a click is missing (`made_rounds`)
    if clicks and (clicks[-1] < asked.max_clicks or clicks != list(range(clicks[0], clicks[-1] + 1, clicks[0] or 1))):
        made = ", ".join(map(str, clicks))
        yield f"{asked.name}: there are rows after {made} clicks; wanted every round up to {asked.max_clicks}"
    rounds = ok.groupby([*INSTANCE, "click_index"], sort=False).size()
    if len(short := rounds[rounds != len(rankings)]):
        yield f"{asked.name}: {len(short)} rounds lack a row of {', '.join(rankings)}; the first is {short.index[0]}"
    made_rounds = rounds.reset_index().groupby(INSTANCE, sort=False).size()
    given_up = pd.MultiIndex.from_frame(failed[INSTANCE])
    if len(short := made_rounds[(made_rounds != len(clicks)) & ~made_rounds.index.isin(given_up)]):
        yield f"{asked.name}: {len(short)} instances lack some of {len(clicks)} rounds; the first is {short.index[0]}"
    yield from _uneven_draws(asked, ok, failed)


def _uneven_draws(asked: Asked, ok: pd.DataFrame, failed: pd.DataFrame) -> Iterator[str]:
    """Sentences on instances with too few draws, and on those with more than one failed row."""
    # A rule of pairs gives an instance as many draws as it has partners, which the config does not say: such rows,
    # which have a partner, are left out here.
    drawn = ok.loc[ok["partner"].isna() & ~ok["instance_id"].isin(failed["instance_id"])].drop_duplicates(INSTANCE)
    of = drawn.groupby("instance_id", sort=False).size()
    if len(short := of[of < asked.draws]):
        yield f"{asked.name}: {len(short)} instances lack some of {asked.draws} draws; the first is '{short.index[0]}'"
    if twice := int(failed.duplicated(INSTANCE).sum()):
        yield f"{asked.name}: {twice} failed rows too many; wanted one per failed instance"


def _unmeasured(asked: Asked, ok: pd.DataFrame) -> Iterator[str]:
    for name in asked.job.metrics:
        if lacking := int(ok[name].isna().sum()):
            yield f"{asked.name}: {lacking} of {len(ok)} rows have no {name}"


def check_same_instances(found: Findings, rows: pd.DataFrame) -> None:
    """Check that all methods have rows of the same instances."""
    # A click rule of pairs prompts only instances with a partner, so its methods have other instances than the rest.
    for (dataset, _), own in rows.groupby(["dataset", rows["partner"].notna()]):
        named = own.drop_duplicates(INSTANCE)
        methods = named["method"].nunique()
        counts = named.groupby("instance_id")["method"].nunique()
        lone = counts[counts != methods]
        lacking = [f"{dataset}: {len(lone)} instances have rows of some methods only"] if len(lone) else []
        found.say(f"{dataset}: the rows of all {methods} methods are of the same {len(counts)} instances", *lacking)


def check_same_truth(found: Findings, rows: pd.DataFrame) -> None:
    """Check that all methods had the same prompts: one ground truth an instance, and one first click of each rule."""
    agreed = "every instance has one ground truth area, and one first click of each click rule, for all methods"
    found.say(agreed, *disputes(rows).values())


def check_listing(
    found: Findings, plugin: Plugin, config: Mapping[str, Any], asked: list[Asked], rows: pd.DataFrame
) -> None:
    """Check that images and instances are those that the data set lists now.

    Args:
        found: Findings are added here.
        plugin: The data set, as a config of this machine has it.
        config: The manifest's config.
        asked: The jobs on this data set.
        rows: All rows of the run.
    """
    name, samples = asked[0].job.dataset, list(asked[0].samples)
    try:
        dataset: Dataset = parameters.build("datasets", plugin.name, plugin.params)
        now = list(part_of(dataset.sample_ids(), config["limit"], config.get("only", {}).get(name, ())))
        instances = {one.id for sample in samples for one in listed(dataset, sample)}
    except Exception as error:  # A plugin may raise anything if its data is absent.
        found.unproved.append(f"the listing of {name}: {' '.join(str(error).split())}")
        return
    lacking = [] if now == samples else [f"{name}: the data set lists other images now ({len(now)} of them)"]
    for one in asked:
        lacking += _other_instances(one, instances, rows)
    what = f"{number_of(len(samples), 'image')} and {number_of(len(instances), 'instance')}"
    found.say(f"{name}: the data set lists the same {what}", *lacking)


def _other_instances(asked: Asked, instances: set[str], rows: pd.DataFrame) -> Iterator[str]:
    named = set(asked.own(rows)["instance_id"])
    absent = set() if asked.job.about.get("in_pairs") else instances - named
    for what, ids in (("listed, but without a row", absent), ("in rows, but not listed", named - instances)):
        if ids:
            yield f"{asked.name}: {len(ids)} instances are {what}; the first is '{min(ids)}'"


def asked_of(job: JobFacts, samples: Collection[str], config: Mapping[str, Any], method: Mapping[str, Any]) -> Asked:
    """The rows that a manifest's config demands of a job of one of its methods."""
    clicks = method.get("clicks") or config["clicks"]
    return Asked(job, samples, int(clicks["max_clicks"]), int(clicks.get("draws", 1)))


def check_repeats(found: Findings, store: Store, asked: Asked) -> None:
    """Check that all shards with the same image have the same rows of it.

    After a merge or a killed driver an image may be in several shards. Tables show the rows of one of them; if they
    differed, nobody would notice.

    Raises:
        UserError: A shard is damaged.
    """
    first: dict[str, tuple[str, str]] = {}
    other: list[str] = []
    for shard, images, rows in _again(store, asked.job):
        answers = _answers(rows)
        for image in images:
            before, there = first.setdefault(image, (answers.get(image, ""), shard))
            if answers.get(image, "") != before:
                other.append(f"'{image}' in {there} and in {shard}")
    if other:
        found.lacking.append(
            f"{asked.name}: {len(other)} images have different rows in two shards; the first is {other[0]}. Tables "
            f"show those of the shard named first. Delete one of the two from shards/{asked.job.key}, and run again"
        )
    elif first:
        found.proved.append(f"{asked.name}: {len(first)} images lie in several shards, with the same rows")


def _again(store: Store, job: JobFacts) -> Iterator[tuple[str, set[str], pa.Table]]:
    """Each shard that shares images with another one: its name, these images and their rows."""
    headers = {name: one for name, one in store.headers(job.key).items() if one.made_by(job.parts)}
    counts = Counter(image for header in headers.values() for image in header.samples)
    again = {image for image, shards in counts.items() if shards > 1}
    for name, header in headers.items():
        if images := again.intersection(header.samples):
            yield name, images, of_samples(store.read(job.key, name), images)


def _answers(rows: pa.Table) -> dict[str, str]:
    """Image -> a hash of its rows, without the columns that may differ."""
    # Hashes are compared instead of rows: two shards are then never in memory together.
    kept = rows.drop_columns(list(APART)).sort_by([(name, "ascending") for name in ORDER if name in rows.column_names])
    lines: dict[str, list[str]] = {}
    for row in kept.to_pylist():
        said = {name: value for name, value in row.items() if value is not None}  # Early shards have fewer columns.
        lines.setdefault(row["image_id"], []).append(repr({"draw": 0} | said))
    return {image: hashlib.sha256("".join(own).encode()).hexdigest() for image, own in lines.items()}
