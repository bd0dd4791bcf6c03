"""Merges runs, of several machines or with methods added later, into one by copying their shards together.

Shards are named by their content, and their headers say what made them, so they are copied unchanged:

    laptop/shards/sam-coco-1f../{a, b}     merged/shards/sam-coco-1f../{a, b, c}     b is there once: equal content,
    server/shards/sam-coco-1f../{b, c}                                              equal name

Runs whose rows cannot be compared are refused: those with other seeds, clicks, texts or metrics, and those that give
one label to two things.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from harness.config.run_config import RUN_NAME, RUN_NAME_SAID
from harness.storage.lock import Lock
from harness.storage.manifest import JobFacts, Samples, read_samples, save_manifest, save_samples, with_config
from harness.storage.parts import refuse_at_work
from harness.storage.results_file import write_results
from harness.storage.shards import is_name
from harness.storage.store import READERS, Store, no_run
from harness.storage.verify import job_of, label_of, pairs_of
from harness.structures import UserError

COMMON = ("seed", "clicks", "text", "metrics")
"""The keys of the config that must be equal: methods with other prompts cannot be compared."""


def merged(sources: Sequence[Store], into: Store) -> tuple[int, int]:
    """Copy the shards that the target does not have yet; a target that is a run already counts as a source.

    Returns:
        How many shards were copied, and how many rows results.parquet holds then.

    Raises:
        UserError: A folder holds no run, the runs cannot be compared (the message names what differs), or parts of the
            target are at work.
    """
    name = _name(into)
    with Lock(into.folder):
        refuse_at_work(into.folder)  # They would lose the shards that they are writing, and the number of parts.
        into.remove_left_over()
        runs = {str(source.folder): (source, source.manifest()) for source in (into, *sources)}
        if not runs[str(into.folder)][1]:
            del runs[str(into.folder)]
        if empty := [source for source, manifest in runs.values() if not manifest]:
            raise no_run(empty[0])
        runs = {place: (source, with_config(source.folder, manifest)) for place, (source, manifest) in runs.items()}
        _check_together({place: manifest for place, (_, manifest) in runs.items()})
        lists = {place: read_samples(source.folder) for place, (source, _) in runs.items()}
        longest = _longest(lists)
        samples = {label: lists[place][label] for label, place in longest.items()}
        copied = sum(_copied(source, into, _jobs(manifest)) for source, manifest in runs.values())
        manifest = _manifest({place: manifest for place, (_, manifest) in runs.items()}, lists, longest, name)
        # The shards come first: a kill among them leaves more shards in the folder, which do no harm, and the same
        # command goes on. The samples are written directly before the manifest, which has their hash.
        manifest["samples"] = save_samples(into.folder, samples)
        save_manifest(into.folder, manifest)
        rows = _rows(into, manifest, samples)
    return copied, rows


def _name(into: Store) -> str:
    """The name of the run to be made, which is its folder's.

    Raises:
        UserError: A config could not have this name, so the run could never be continued.
    """
    name = into.folder.path.rstrip("/").rpartition("/")[2]
    if not RUN_NAME.fullmatch(name):
        raise UserError(f"merge: -o {into.folder}: '{name}' is no run's name; wanted {RUN_NAME_SAID}.")
    return name


def _check_together(runs: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse runs that contradict each other: the first value of each claim is kept, and later ones must equal it."""
    said: dict[tuple[str, str], tuple[Any, str]] = {}
    for place, manifest in runs.items():
        for subject, part, value in _claims(manifest):
            before, there = said.setdefault((subject, part), (value, place))
            if before != value:
                raise UserError(
                    f"merge: {subject} differs between these runs: {part} is {before} in {there}, {value} in "
                    f"{place}. Such rows cannot be compared. Give one of them another `label:` if you want both, or "
                    "run both with the same settings."
                )


def _claims(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(subject, part, value): the facts of a run that every other run must agree with, if it has them."""
    for part in COMMON:
        yield "a setting of the whole run", part, manifest["config"][part]
    for job in _jobs(manifest).values():
        for part, value in job.parts.items():
            yield f"the data set '{job.dataset}'" if part == "dataset" else f"the method '{job.method}'", part, value


def _jobs(manifest: Mapping[str, Any]) -> dict[str, JobFacts]:
    """The jobs of a manifest's config, by their keys; rows of earlier configs are not merged."""
    config = manifest["config"]
    jobs = [job_of(manifest, method, dataset) for method, dataset in pairs_of(config)]
    return {job.key: job for job in jobs}


def _longest(runs: Mapping[str, Samples]) -> dict[str, str]:
    """The run with the longest list of samples of each data set; the lists of limited runs must be beginnings of it."""
    #    run 1, limit 2    a b
    #    run 2, limit 4    a b c d      the longer begins with the shorter: a b c d
    #    run 3             a c          neither holds the other: refused
    longest: dict[str, tuple[Mapping[str, int | None], str]] = {}
    for place, listed in runs.items():
        for label, own in listed.items():
            most, there = longest.setdefault(label, (own, place))
            shorter, longer = sorted([own, most], key=len)
            if list(longer)[: len(shorter)] != list(shorter):
                raise UserError(
                    f"merge: the data set '{label}' has other images in {place} ({len(own)}) than in {there} "
                    f"({len(most)}). Wanted the same images, or the first of them. Give one of the data sets another "
                    "label."
                )
            if longer is own:
                longest[label] = (own, place)
    return {label: place for label, (_, place) in longest.items()}


def _copied(source: Store, into: Store, jobs: Mapping[str, JobFacts]) -> int:
    """Copy a run's shards that are not there yet.

    Raises:
        UserError: A shard is damaged, or was not made as its run's manifest says.
    """
    wanted = []
    for key, job in jobs.items():
        there, headers = set(into.folder_of(key).files(".parquet")), source.headers(key)
        for name in filter(is_name, source.folder_of(key).files(".parquet")):
            if name not in headers:
                raise UserError(
                    f"{source.folder_of(key) / name}: no whole shard, for its header cannot be read. Delete it and run "
                    "again: its samples are redone."
                )
        for name, header in headers.items():
            if not header.made_by(job.parts):
                raise UserError(
                    f"{source.folder_of(key) / name}: found rows made with other settings than the run's manifest "
                    "has; wanted the same. Delete this file."
                )
            if name not in there:
                wanted.append((key, name))
    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(lambda one: _copy(source, into, *one), wanted))
    return len(wanted)


def _copy(source: Store, into: Store, key: str, name: str) -> None:
    source.read(key, name)  # Raises if the shard is damaged.
    path = f"shards/{key}/{name}"
    into.folder.write(path, source.folder.read(path))


def _asked_on(method: str, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The data sets that a method is limited to, by all runs together; empty if any run has it on all data sets."""
    entries = [one for run in runs for one in run["config"]["methods"] if label_of(one) == method]
    named = [one.get("datasets") or [] for one in entries]
    return sorted({name for names in named for name in names}) if all(named) else []


def _manifest(
    of: Mapping[str, Mapping[str, Any]], lists: Mapping[str, Samples], longest: Mapping[str, str], name: str
) -> dict[str, Any]:
    """The first run's config with all methods and data sets, all jobs, and all starts.

    Args:
        of: The manifest of each run.
        lists: The samples of each run.
        longest: The run with the most samples of each data set.
        name: The name of the run to be made.
    """
    runs = list(of.values())
    config = dict(runs[0]["config"])
    for kind in ("methods", "datasets"):
        # Several runs may have an entry with the same label; the first run's is kept. Going backwards writes the first
        # run's entry last. The labels come in the order of the first run, then of the others.
        entries = {label_of(entry): entry for run in reversed(runs) for entry in run["config"][kind]}
        config[kind] = [
            entries[name] for name in dict.fromkeys(label_of(e) for run in runs for e in run["config"][kind])
        ]
    config["methods"] = [one | {"datasets": _asked_on(label_of(one), runs)} for one in config["methods"]]
    config |= _part({label: of[place]["config"] for label, place in longest.items()}, lists, longest)
    config["run"] = name
    starts = _starts(runs)
    starts.sort(key=lambda start: str(start.get("started", "")))
    starts.append(
        {"started": datetime.now(UTC).isoformat(timespec="seconds"), "merged": [r["config"]["run"] for r in runs]}
    )
    return {"config": config, "jobs": _all_jobs(of, lists), "starts": starts}


def _starts(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The starts of all runs, each once; of one that was merged before it ended, the facts of its end are kept."""
    found: dict[str, dict[str, Any]] = {}
    for start in (one for run in runs for one in run["starts"]):
        name = str(start.get("id", start))
        found[name] = max(found.get(name, {}), start, key=len)
    return [dict(one) for one in found.values()]


def _part(
    configs: Mapping[str, Mapping[str, Any]], lists: Mapping[str, Samples], longest: Mapping[str, str]
) -> dict[str, Any]:
    """`limit` and `only`, by which a config asks for just these samples; `configs` has that of each longest list."""
    #    run 1    coco, the first 50             limit 50      coco: limited by `limit`
    #    run 2    voc, the images 7 and 9        only          voc: its two images in `only`
    #
    # One limit holds for all data sets, so one that another limit has cut has its samples in `only`, too.
    limits = {label: one["limit"] for label, one in configs.items() if label not in one.get("only", {})}
    limit = None if None in limits.values() else max(limits.values(), default=None)
    listed = [label for label in longest if limits.get(label, 0) not in (None, limit)]
    return {"limit": limit, "only": {label: list(lists[longest[label]][label]) for label in listed}}


def _all_jobs(of: Mapping[str, Mapping[str, Any]], lists: Mapping[str, Samples]) -> dict[str, Any]:
    """The jobs of all runs. One that is in several is that of the run with the most samples.

    Its facts count over these samples, such as how many of them are training images.
    """
    found: dict[str, tuple[int, JobFacts]] = {}
    for place, run in of.items():
        for key, job in _jobs(run).items():
            count = len(lists[place].get(job.dataset, ()))
            if key in run["jobs"] and (key not in found or count > found[key][0]):
                found[key] = count, job
    return {key: asdict(job) for key, (_, job) in found.items()}


def _rows(into: Store, manifest: Mapping[str, Any], samples: Samples) -> int:
    """Write results.parquet."""
    jobs = list(_jobs(manifest).values())
    return write_results(into, jobs, {job.dataset: samples.get(job.dataset, {}) for job in jobs})
