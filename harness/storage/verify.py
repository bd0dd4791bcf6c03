"""Checks that a run's folder is whole: every file is unchanged, and every row that the config demands is there once.

The folder itself says which rows it must have, so a copy on another machine can be verified without data, weights or
plugins. On request the data sets' listings are compared, too: only they can show an instance that has no row at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness.config.parts import Plugin, label
from harness.config.run_config import asked_on
from harness.messages import number_of
from harness.storage.completeness import (
    LOOKED_AT,
    Findings,
    asked_of,
    check_job,
    check_key,
    check_listing,
    check_repeats,
    check_same_instances,
    check_same_truth,
)
from harness.storage.edits import old_rows, redo, said_of
from harness.storage.folder import Folder
from harness.storage.lock import holder
from harness.storage.manifest import MANIFEST, PARTS, SAMPLES, JobFacts, Samples, metrics_of, read_samples, with_config
from harness.storage.parts import at_work, incomplete, said_of_parts
from harness.storage.results_file import results_intact
from harness.storage.rows import COLUMNS, PIECE, as_frame, schema, with_dictionaries
from harness.storage.shards import Header, changed, is_name
from harness.storage.store import RESULTS, Store, no_run
from harness.structures import UserError

NAMED_AT_MOST = 5
"""How many damaged shards are named one by one, at most."""


def verified(store: Store, data: Sequence[Plugin] = ()) -> Findings:
    """Check everything in a run's folder.

    Args:
        store: The run's store.
        data: Data sets of this machine to compare the run's images and instances with, found by their labels; none by
            default, since a folder can be verified without data.

    Raises:
        UserError: There is no run, or its manifest is damaged or of another version.
    """
    found, manifest = Findings(), store.manifest()
    if not manifest:
        raise no_run(store)
    manifest = with_config(store.folder, manifest)
    if writer := holder(store.folder):
        found.unproved.append(f"what is still to come: {writer} is writing this run")
    for name, owner in at_work(store.folder).items():
        found.unproved.append(f"what is still to come: {owner} works at part {name}")
    samples = _checked_samples(found, store, manifest)
    whole = _check_shards(found, store, manifest["jobs"])
    if samples is None:
        found.unproved.append("the rows: without samples.parquet the images that they must have are unknown")
    elif not whole:
        found.unproved.append("the rows: the damaged shards must be mended first")
    else:
        _check_rows(found, store, manifest, samples, data)
    return found


def _checked_samples(found: Findings, store: Store, manifest: Mapping[str, Any]) -> Samples | None:
    """The samples that were asked for; None if samples.parquet is damaged."""
    try:
        samples = read_samples(store.folder)
    except UserError as error:
        found.lacking.append(str(error))
        return None
    found.say(
        f"{MANIFEST} and {SAMPLES} are intact: {number_of(len(manifest['jobs']), 'job')}, "
        f"{number_of(len(manifest['starts']), 'start')}, "
        f"{number_of(sum(map(len, samples.values())), 'image')} asked for"
    )
    return samples


def _check_shards(found: Findings, store: Store, jobs: Mapping[str, Any]) -> bool:
    """Read every shard of every job, those of earlier configs too.

    Returns:
        Whether all shards with a readable header can be read; those without one count as absent.
    """
    damaged, unsure, counted, rows, whole = [], [], 0, 0, True
    for key in (store.folder / "shards").folders():
        headers = store.headers(key)
        for name in store.folder_of(key).files(".parquet"):
            counted += 1
            if name not in headers and not is_name(name):
                unsure.append(f"shards/{key}/{name}: found a file that is no shard; move it away")
                continue
            try:
                rows += len(store.read(key, name))
            except UserError as error:
                damaged.append(str(error))
                # A shard without a readable header does not count as there: the rows are checked without it, and its
                # samples are reported as missing. A shard with a good header and unreadable rows counts as there, so
                # checking the rows would fail: they are not checked then.
                whole &= name not in headers
                continue
            unsure += [f"shards/{key}/{name}: {why}" for why in _doubts(headers.get(name), jobs.get(key, {}))]
    found.say(
        f"{counted} shards with {rows} rows are readable, as their SHA-256 says, and made as the manifest says",
        *_shortened(damaged),
        *_shortened(unsure),
    )
    return whole


def _doubts(header: Header | None, job: Mapping[str, Any]) -> list[str]:
    """Sentences on what is wrong with a shard that can be read; none if nothing is."""
    if header is None:
        return ["its header does not list its images; delete it and run again"]
    differing = changed(job.get("parts", {}), header.parts)
    return [f"not made as the manifest says (differences in {', '.join(differing)}); delete it"] if differing else []


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - NAMED_AT_MOST
    return lines if more <= 0 else [*lines[:NAMED_AT_MOST], f"and {more} more shards with the same fault"]


def _check_rows(
    found: Findings, store: Store, manifest: Mapping[str, Any], samples: Samples, data: Sequence[Plugin]
) -> None:
    config = manifest["config"]
    asked = [
        asked_of(job_of(manifest, method, dataset), samples.get(label_of(dataset), {}), config, method)
        for method, dataset in pairs_of(config)
    ]
    jobs, wanted = [one.job for one in asked], {one.job.dataset: one.samples for one in asked}
    rows, wrong = _rows_beside_results(store, jobs, wanted)
    for one in asked:
        check_job(found, one, store.done(one.job), rows)
        check_repeats(found, store, one)
    if PARTS in manifest:
        short = incomplete(store, jobs, samples)
        found.say(f"all {manifest[PARTS]} parts are complete", *([said_of_parts(store.folder, short)] if short else []))
    old = old_rows(store, jobs, wanted)
    again = [f"{said_of(old)} Give the run's command again with {redo(old)}"] if old else []
    found.say("no plugin was edited between the rows, as far as their shards say", *again)
    check_same_instances(found, rows)
    check_same_truth(found, rows)
    check_key(found, rows)
    anew = f"python -m harness report {store.folder} writes it again"
    proved = f"results.parquet has {len(rows)} rows, equal to the shards', and the SHA-256 of {MANIFEST}"
    found.say(proved, *([f"{wrong}; {anew}"] if wrong else []))
    for dataset in data:
        if own := [one for one in asked if one.job.dataset == label(dataset)]:
            check_listing(found, dataset, config, own, rows)
        else:
            found.unproved.append(f"the listing of {label(dataset)}: the run has no such data set")


def job_of(manifest: Mapping[str, Any], method: Mapping[str, Any], dataset: Mapping[str, Any]) -> JobFacts:
    """The job of a method on a data set of a manifest's config; without facts if it was never planned."""
    bare = JobFacts(label_of(method), label_of(dataset), {}, {})
    known = manifest["jobs"].get(bare.key)
    return JobFacts(**known) if known else bare


def pairs_of(config: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The pairs of a method and a data set that a manifest's config evaluates."""
    for dataset in config["datasets"]:
        for method in config["methods"]:
            if asked_on(method.get("datasets") or (), label_of(dataset)):
                yield method, dataset


def label_of(entry: Mapping[str, Any]) -> str:
    """The name in tables of a method or data set, from its entry in a manifest's config."""
    return str(entry.get("label") or entry["name"])


def _rows_beside_results(
    store: Store, jobs: Sequence[JobFacts], wanted: Mapping[str, Collection[str]]
) -> tuple[pd.DataFrame, str]:
    """The shards' rows, and a sentence on what is wrong with results.parquet, which should have the same rows.

    Both are read side by side in pieces, since all rows with their masks may not fit into memory. After the comparison
    only the columns that later checks need are kept.
    """
    kept = [_looked_at(schema(metrics_of(jobs)).empty_table())]
    with ExitStack() as files:
        results = _Results(store.folder, files)
        for piece in store.tables(jobs, wanted):
            kept.append(_looked_at(piece))
            results.compare(piece)
        results.end()
    wrong = results.wrong
    if not wrong and not results_intact(store):
        wrong = f"results.parquet holds the shards' rows, but is not the file that {MANIFEST} describes"
    return as_frame(pa.concat_tables(kept)), wrong


def _looked_at(rows: pa.Table) -> pa.Table:
    measured = [name for name in rows.column_names if name not in COLUMNS]
    return with_dictionaries(rows.select([*LOOKED_AT, *measured]))


class _Results:
    """Compares the rows of results.parquet with others, from its first to its last.

    Args:
        folder: The run's folder.
        files: The stack that closes the file.

    Attributes:
        wrong: The fault of the file in words, its name alone if it is missing; "" as long as there is no fault.
    """

    def __init__(self, folder: Folder, files: ExitStack) -> None:
        self.wrong = ""
        with self._reading():
            file = pq.ParquetFile(files.enter_context(folder.opened(RESULTS)))
            self.batches = file.iter_batches(PIECE, use_threads=False)
            self.rest = file.schema_arrow.empty_table()

    def compare(self, piece: pa.Table) -> None:
        """Compare the next rows."""
        if not self.wrong:
            with self._reading():
                self._expect(self._next(len(piece)).equals(piece))

    def end(self) -> None:
        """Check that no row is left."""
        if not self.wrong:
            with self._reading():
                self._expect(len(self._next(1)) == 0)

    def _expect(self, same: bool) -> None:
        self.wrong = "" if same else "results.parquet is not what the shards say"

    def _next(self, count: int) -> pa.Table:
        """The next rows; fewer if the file ends."""
        # The file comes in batches of another size than the pieces: `rest` has the rows of the last batch that no piece
        # has taken yet.
        while len(self.rest) < count and (batch := next(self.batches, None)) is not None:
            self.rest = pa.concat_tables([self.rest, pa.Table.from_batches([batch])])
        taken, self.rest = self.rest.slice(0, count), self.rest.slice(count)
        return taken

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            self.wrong = "results.parquet"
        except (pa.ArrowException, OSError) as error:
            self.wrong = f"results.parquet cannot be read ({' '.join(str(error).split())})"
