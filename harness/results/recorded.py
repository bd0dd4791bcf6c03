"""A run as its folder describes it: config, jobs and samples as they were, the rows, and the facts for tables.

Nothing but the folder is read: no data, no weights, no plugin. The manifest has all facts about these that tables need;
it was written when the run was made.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.config.method_entry import MethodEntry
from harness.config.parts import label
from harness.config.run_config import RunConfig
from harness.report.context import Asked, Context, MethodFacts, limited_said
from harness.report.paper.lists import difference
from harness.statistics.expected import expected_of
from harness.statistics.final_clicks import DRAWS, SHOWN
from harness.statistics.reasons import doubts
from harness.statistics.scales import Remembered, with_metrics
from harness.storage.edits import old_rows, said_of
from harness.storage.manifest import MANIFEST, JobFacts, Samples, config_of, read_samples
from harness.storage.results_file import latest_rows
from harness.storage.store import Store, found_at, no_run
from harness.storage.words import unknown_words
from harness.structures import UserError

ASKED = ["dataset", "method", "image_id", "instance_id"]
"""The columns that identify a method and the instance that it was asked for."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """A run's config with its jobs.

    Attributes:
        store: The run's folder.
        config: The config of the run's last start, or another one by which its rows are to be reported.
        jobs: The jobs of the config, as they were made.
        samples: Data set's label -> the samples that the jobs were to segment.
    """

    store: Store
    config: RunConfig
    jobs: Sequence[JobFacts]
    samples: Samples

    def rows(self, masks: bool = False, coded: bool = False) -> pd.DataFrame:
        """All rows, with the columns that every table may use; the column of a metric that was not measured is empty.

        Args:
            masks: Whether to read the predicted masks, too.
            coded: Whether text columns are the categoricals of `storage.rows.coded`, as `FinalClicks` has them.
        """
        rows = self._seen_by_checkpoints(latest_rows(self.store, self.jobs, self.samples, masks, coded))
        return self.told(rows.assign(**{name: np.nan for name in SHOWN if name not in rows}))

    def told(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows, with the run's facts about metrics and draws in the frame's attributes."""
        draws: dict[str, dict[str, int]] = {}
        for (method, dataset), asked in self.asked.items():
            draws.setdefault(dataset, {})[method] = asked.draws
        rows.attrs[DRAWS] = Remembered(draws)
        return with_metrics(rows, self.metrics)

    def _seen_by_checkpoints(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows, in which classes that a method's checkpoint was trained on count as seen, whatever the split.

        If that leaves no class unseen, the method's rows are neither seen nor unseen. `attrs["said"]` has a sentence
        for each pair of a method's and a data set's label whose rows were changed.
        """
        # For example a checkpoint trained on 70 of 80 classes, in a split with 60 seen and 20 unseen ones: "unseen"
        # would mix ten classes of its training with ten others. A checkpoint trained on all 80 has no unseen class, and
        # a mean over "seen" alone would only repeat the mean over all.
        said: dict[tuple[str, str], str] = {}
        for job in self.jobs:
            learnt, total = job.about.get("classes_trained_on", ()), job.about.get("dataset_classes", 0)
            by_config = job.about.get("trained_on_all", False)
            if not learnt and not by_config:
                continue
            own = (rows["method"] == job.method) & (rows["dataset"] == job.dataset)
            beyond = own & rows["seen"].eq(False) & rows["category"].isin(learnt)
            names = sorted(rows.loc[beyond, "category"].unique())
            begins = f"Its checkpoint was trained on {len(learnt)} of the {total} classes here"
            if len(learnt) < total:
                # A class that the config alone names stays unseen where a split says so.
                by_config = by_config and not (own & rows["seen"].eq(False)).any()
                begins = f"By the config it was trained on all {total} classes here" if by_config else begins
            every = by_config or len(learnt) == total
            # On a data set without a split the rows of weights of all classes are all seen already.
            if not names and not (every and (own & rows["seen"].eq(True)).any()):
                continue
            if every:
                said[job.method, job.dataset] = f"{begins}: no means of seen and unseen classes."
                rows = rows.assign(seen=rows["seen"].astype(object).mask(own, None))
            else:
                known = f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
                said[job.method, job.dataset] = f"{begins}; of those that the split calls unseen {known} count as seen."
                rows = rows.assign(seen=rows["seen"].astype(object).mask(beyond, True))
        rows.attrs["said"] = Remembered(said)
        return rows

    @property
    def metrics(self) -> dict[str, Mapping[str, Any]]:
        """Metric's name -> the run's facts about it: "higher_is_better", "bounds", "unit", "description"."""
        return {name: said for job in self.jobs for name, said in job.about.get("metrics", {}).items()}

    def context(self, rows: pd.DataFrame) -> Context:
        """The context that tables need besides the rows."""
        again = {(job.method, job.dataset): job.about.get("training_images_asked") or 0 for job in self.jobs}
        expected, uncounted = self._expected(rows)
        facts = {label(method): self._method_facts(method) for method in self.config.methods}
        return Context(
            run=self.config.run,
            limits=self.limits,
            labels=facts,
            expected_instances=expected,
            training_images_asked=again,
            uncounted=uncounted,
            metrics=self.metrics,
            seen_otherwise=rows.attrs.get("said", {}),
            notes=self.notes,
            job_notes=self.job_notes,
            doubts=tuple(doubts(rows, {job.method for job in self.jobs if not job.about.get("needs_click", True)})),
            published={(job.method, job.dataset): job.about.get("published", {}) for job in self.jobs},
            asked=self.asked,
            baseline=self.config.baseline,
            click_s=self.config.effort.click_s,
            word_s=self.config.effort.word_s,
            other_lists={name: how for name, how in self._other_lists(expected).items() if how},
        )

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """The notes under every table: what data sets leave out, and rows of code that was edited since."""
        return tuple(filter(None, [*left_out_of(self.jobs), said_of(old_rows(self.store, self.jobs, self.samples))]))

    @cached_property
    def job_notes(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """(method's label, data set's label) -> what stands under tables that show the two together.

        That a method is asked with another saliency than in training, that its weights are another recipe's than the
        config's, and which share of the words it does not know.
        """
        unknown = unknown_words(self.store, self.jobs, self.samples)
        said = {}
        for job in self.jobs:
            differing, key = job.about.get("saliency_differs", ()), (job.method, job.dataset)
            trained = f"{job.method} is not used as it was trained: {'; '.join(differing)}." if differing else ""
            other = job.about.get("other_recipe")
            made = f"{job.method}: another recipe than the config's made its weights ({other})." if other else ""
            said[key] = tuple(filter(None, [trained, made, unknown.get(key)]))
        return said

    def said(self, method: str) -> list[str]:
        """The notes on a method alone, on any data set."""
        return [note for (label, _), notes in self.job_notes.items() if label == method for note in notes]

    @cached_property
    def limits(self) -> dict[str, int]:
        """Data set's label -> how many samples the run took of it, for those of which it did not take all."""
        # A manifest that does not say how many there are is believed to be of a part if its config asks for one.
        unknown = math.inf if self.config.limit or self.config.only else 0
        taken = {job.dataset: job.about.get("dataset_samples", unknown) for job in self.jobs}
        return {name: some for name, whole in taken.items() if (some := len(self.samples[name])) < whole}

    @property
    def limited(self) -> str:
        """As `Context.limited`."""
        return limited_said(self.limits, {job.dataset for job in self.jobs})

    @property
    def asked(self) -> dict[tuple[str, str], Asked]:
        """(method's label, data set's label) -> how the run asked."""
        return {(job.method, job.dataset): self._asked(job) for job in self.jobs}

    def _asked(self, job: JobFacts) -> Asked:
        """The prompts of a job's instances, by its manifest, and by the config if the manifest lacks a value."""
        method = next(one for one in self.config.methods if label(one) == job.method)
        clicks, text = self.config.clicks_of(method), self.config.text_of(method)
        options = job.about.get("click_options", clicks.options)
        words = text.rule if text.template == "{}" else f'{text.rule} in "{text.template}"'
        split, seed = _split(job), self.config.seed
        return Asked(clicks.strategy, options, clicks.max_clicks, words, split, seed, clicks.draws)

    def _other_lists(self, expected: Mapping[tuple[str, str], int]) -> dict[str, str]:
        """Data set's label -> how its instances differ from the paper's list; "" if they do not."""
        return {
            job.dataset: difference(
                job.about.get("dataset_plugin", ""),
                _split(job),
                expected[job.method, job.dataset],
                job.dataset not in self.limits,
            )
            for job in self.jobs
        }

    def absent(self, job: JobFacts) -> set[str]:
        """The job's samples without rows."""
        return set(self.samples[job.dataset]) - self.store.done(job)

    def _expected(self, rows: pd.DataFrame) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]]:
        """How many instances each job was asked for, and in how many images they were not counted.

        The rows of any method show how many instances the images have that it has done. For the other images the
        number comes from the data set's listing when the run was made. An image without either counts as one instance,
        which is enough for the means to stay blank.
        """
        # Method a has done images 1 and 2, method b image 1 alone, and nobody image 3. Of b's missing images, 2 is
        # counted by a's rows (in `known`, or `of` for a method without rows) and only 3 by the listing.
        known = expected_of(rows)
        of = {dataset: max(own for (_, data), own in known.items() if data == dataset) for _, dataset in known}
        absent = {(job.method, job.dataset): self.absent(job) for job in self.jobs}
        by_nobody = {
            dataset: set.intersection(*(own for (_, data), own in absent.items() if data == dataset))
            for _, dataset in absent
        }
        expected, uncounted = {}, {}
        for (method, dataset), images in absent.items():
            listed = [self.samples[dataset][one] for one in images & by_nobody[dataset]]
            done = known.get((method, dataset), of.get(dataset, 0))
            expected[method, dataset] = done + sum(1 if count is None else count for count in listed)
            uncounted[method, dataset] = listed.count(None)
        return expected, uncounted

    def _method_facts(self, method: MethodEntry) -> MethodFacts:
        own = [job for job in self.jobs if job.method == label(method)]
        about: Mapping[str, Any] = next((job.about for job in own if job.about), {})
        data = about.get("trained_data") or [entry.name for entry in (method.train.datasets if method.train else ())]
        return MethodFacts(
            uses_text=about.get("uses_text", False),
            trained_on=method.trained_on.name or " and ".join(dict.fromkeys(data)) or None,
            trained_data=(*data, *(entry.name for entry in method.trained_on.datasets)),
            weights=method.train.note if method.train else "",
            plugin=method.name,
            variant_of=method.variant_of,
            trained_classes=_count(method.trained_on.classes, about.get("checkpoint_classes", ())),
            training=method.train.classes if method.train else "",
            seed_of=method.seed_of,
            seed=method.train.seed if method.train and method.seed_of else None,
            first_ranking=about.get("first_ranking", ""),
            vocabulary=about.get("vocabulary", ""),
            published_in=next((job.about["published_in"] for job in own if "published_in" in job.about), ""),
            reads_text=not about.get("says_uses_text", False) and any(job.made_of in self._readers for job in own),
        )

    @cached_property
    def _readers(self) -> set[str]:
        """`JobFacts.made_of` of the jobs whose methods were seen to read the text, at any start."""
        return {key for start in self.store.manifest().get("starts", ()) for key in start.get("reads_text", ())}


def left_out_of(jobs: Sequence[JobFacts]) -> list[str]:
    """A sentence for each kind of thing that the files of a data set hold and that no sample of it shows."""
    counts = {(job.dataset, what): count for job in jobs for what, count in job.about.get("left_out", {}).items()}
    return [f"{dataset} leaves out {count} {what}." for (dataset, what), count in counts.items()]


def _split(job: JobFacts) -> str:
    return str(job.about.get("dataset_split") or job.about.get("dataset_params", {}).get("split", ""))


def _count(named: Collection[str], own: Collection[str]) -> int | None:
    """The number of classes that weights were trained on: by the config, unless the checkpoint lists others."""
    # A checkpoint lists the classes of its own training. If the config names all of these and more, the config counts:
    # it may include an earlier training, such as a backbone's.
    return len(named if {*own} <= {*named} else own) or None


def recorded(store: Store) -> Recorded:
    """A run as its last start left it.

    Raises:
        UserError: The folder holds no run.
    """
    manifest = store.manifest()
    if not manifest:
        raise no_run(store)
    config = config_of(store.folder, manifest)
    samples = read_samples(store.folder)
    jobs = []
    for method, entry in config.pairs():
        bare = JobFacts(label(method), label(entry), {}, {})
        known = manifest["jobs"].get(bare.key)
        jobs.append(JobFacts(**known) if known else bare)
    return Recorded(store, config, jobs, {job.dataset: samples.get(job.dataset, {}) for job in jobs})


def recorded_at(run: str | Path) -> Recorded:
    """A run by its folder, bucket or name (`found_at`).

    Raises:
        UserError: There is no such run, or its files are damaged.
    """
    named = found_at(run)
    if Path(run).suffix in (".yaml", ".yml") and not named.folder.exists(MANIFEST):
        raise UserError(f"{run}: found the name of a config; wanted a run's folder, such as runs/x, or its name, x.")
    return recorded(named)
