"""The files that describe a whole run: manifest.json, readable and with a checksum, and samples.parquet.

The manifest has everything that is needed to read a run: the config, and for every job the parts that made its rows and
the facts about its method, data set and metrics for the tables. It is filled in when the run is planned, so reading a
run imports no plugin.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.config.parts import fingerprint
from harness.config.run_config import RunConfig
from harness.config.yaml_file import validated
from harness.plugins import files
from harness.storage.folder import Folder
from harness.storage.shards import parquet
from harness.structures import UserError

MANIFEST, SAMPLES = "manifest.json", "samples.parquet"

PARTS = "parts"
"""The key of the number of parts that a run is cut into, and the name of their folder in the run's."""

Samples = Mapping[str, Mapping[str, int | None]]
"""Data set's label -> the samples asked for, in their order -> how many instances each holds.

None if the data set's listing does not give the number, because the image would have to be opened.
"""

_SAMPLES = pa.schema([("dataset", pa.string()), ("image_id", pa.string()), ("instances", pa.int32())])


@dataclass(frozen=True)
class JobFacts:
    """A job, which is a method on a data set: the parts that made its rows, and facts for readers of the rows.

    Attributes:
        method: The method's label.
        dataset: The data set's label.
        parts: "method", "weights", "dataset", "clicks", ... -> a fingerprint or a readable text. Rows of one job with
            different parts are never mixed.
        about: JSON values for people and tables: plugin names, parameters and checkpoint hashes; "metrics" (name ->
            its facts), whether the method "uses_text", its "first_ranking", and more, as `jobs.plan` writes them.
        code: Plugin, such as "method sam" -> the hash of its code. Rows with different code are kept, with a note.
    """

    method: str
    dataset: str
    parts: Mapping[str, str]
    about: Mapping[str, Any]
    code: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The job's folder: a readable start and a hash of the labels."""
        readable = "".join(c if c.isalnum() else "-" for c in f"{self.method}-{self.dataset}")[:48].strip("-")
        return f"{readable}-{fingerprint([self.method, self.dataset])[:8]}"

    @property
    def made_of(self) -> str:
        """A fingerprint of all that makes its rows; unlike `key`, it stays the same when a label changes."""
        return fingerprint(dict(self.parts))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of its rows, a column each; empty where the manifest records none."""
        return tuple(self.about.get("metrics", ()))


def metrics_of(jobs: Iterable[JobFacts]) -> tuple[str, ...]:
    """The metrics of several jobs' rows, each once."""
    return tuple(dict.fromkeys(name for job in jobs for name in job.metrics))


def read_manifest(folder: Folder) -> dict[str, Any]:
    """The manifest, without its checksum; empty where there is none.

    Raises:
        UserError: The file is damaged, or was altered.
    """
    try:
        content = folder.read(MANIFEST)
    except FileNotFoundError:
        return {}
    try:
        manifest = json.loads(content)
        said = manifest.pop("sha256", None)
        missing = {"config", "jobs", "samples", "starts"} - manifest.keys() | ({"sha256"} if said is None else set())
        why = f"it lacks {', '.join(sorted(missing))}" if missing else "its content is not what its sha256 says"
        if not missing and said == checksum(manifest):
            _check_form(manifest)
            return dict(manifest)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        why = str(error)
    raise UserError(
        f"{folder / MANIFEST}: damaged ({why}). Put it back as it was, or delete it and run again: "
        "the shards say what made them, and only the record of earlier starts is lost."
    )


def _check_form(manifest: Mapping[str, Any]) -> None:
    """Refuse jobs, samples, starts and more of another form, such as those of another version.

    Raises:
        TypeError, AttributeError, ValueError: They have another form.
    """
    for key, job in manifest["jobs"].items():
        facts = JobFacts(**job)
        if facts.key != key or not all(isinstance(one, Mapping) for one in (facts.parts, facts.about, facts.code)):
            raise ValueError(f"the job '{key}' has another form")
    if not all({"count", "fingerprint"} <= {*own} for own in manifest["samples"].values()):
        raise ValueError("its samples have another form")
    if not isinstance(manifest["starts"], list) or not all(isinstance(one, Mapping) for one in manifest["starts"]):
        raise ValueError("its starts have another form")
    if not isinstance(manifest.get("results", {}), Mapping) or not isinstance(manifest.get(PARTS, 1), int):
        raise ValueError(f"its results or {PARTS} have another form")


def config_of(folder: Folder, manifest: Mapping[str, Any]) -> RunConfig:
    """The config of a run's last start.

    Raises:
        UserError: It is none that this version reads.
    """
    return validated(RunConfig, manifest["config"], f"{folder / MANIFEST}: config")


def with_config(folder: Folder, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with every key of a run's config, those too that it does not have.

    Raises:
        UserError: As in `config_of`.
    """
    return {**manifest, "config": config_of(folder, manifest).model_dump(mode="json")}


def save_manifest(folder: Folder, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, with its checksum last."""
    whole = {**manifest, "sha256": checksum(manifest)}
    folder.write(MANIFEST, (json.dumps(whole, indent=1) + "\n").encode())


def checksum(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of the manifest's JSON on one line, so that the file's own line breaks and indents do not matter."""
    return hashlib.sha256(json.dumps(manifest).encode()).hexdigest()


def read_samples(folder: Folder) -> dict[str, dict[str, int | None]]:
    """The samples that the last start asked for; empty if there is no manifest.

    Raises:
        UserError: The file is absent or damaged, or does not match its fingerprint in the manifest.
    """
    manifest = read_manifest(folder)
    if not manifest:
        return {}
    found = _listed(folder)
    if described(found) != {label: facts for label, facts in manifest["samples"].items() if facts["count"]}:
        raise UserError(f"{folder / SAMPLES}: not what {MANIFEST} says. Give the run's command again, which writes it.")
    return found


def _listed(folder: Folder) -> dict[str, dict[str, int | None]]:
    try:
        listed = pq.read_table(pa.BufferReader(folder.read(SAMPLES)), schema=_SAMPLES).to_pydict()
    except FileNotFoundError:
        return {}
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{folder / SAMPLES}: damaged ({reason}). Give the run's command again, which writes it."
        ) from error
    found: dict[str, dict[str, int | None]] = {}
    for label, image_id, instances in zip(*listed.values(), strict=True):
        found.setdefault(label, {})[image_id] = instances
    return found


def described(wanted: Samples) -> dict[str, Any]:
    """The manifest's entry on the samples that the run asks for: their count and fingerprint for each data set."""
    return {label: {"count": len(own), "fingerprint": fingerprint(list(own.items()))} for label, own in wanted.items()}


def save_samples(folder: Folder, wanted: Samples) -> dict[str, Any]:
    """Write the samples that are asked for to samples.parquet.

    Returns:
        The manifest's entry on them.
    """
    lines = [(label, one, instances) for label, own in wanted.items() for one, instances in own.items()]
    columns = zip(*lines, strict=True) if lines else ([], [], [])
    folder.write(SAMPLES, parquet(pa.table([list(column) for column in columns], schema=_SAMPLES)))
    return described(wanted)


_TELL = {
    "method": ("method_plugin", "method_params"),
    "weights": ("weights_sha256",),
    "dataset": ("dataset_plugin", "dataset_params", "dataset_fingerprint"),
    "clicks": ("clicks",),
}
"""Part of a job that is a fingerprint -> the keys of `JobFacts.about` with the values that it was made of."""

_PLUGINS = {"method_params": ("methods", "method_plugin"), "dataset_params": ("datasets", "dataset_plugin")}

_ABSENT = object()


def difference(part: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Describes how a part of a job changed, in the config's words: `method_params.radius: 2.0 then, 3.0 now`.

    Args:
        part: A key of `JobFacts.parts`.
        then: The `about` of the job when its rows were made.
        now: Its `about` now.

    Returns:
        Every value that differs; "" if all are equal, as when only a file's content changed.
    """
    keys = [key for key in _TELL.get(part, ()) if key in then and key in now and _comparable(key, then, now)]
    return ", ".join(one for key in keys for one in _differing(key, *_values(key, then, now)))


def _differing(name: str, then: Any, now: Any) -> Iterator[str]:
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in sorted({*then, *now}, key=str):
            yield from _differing(f"{name}.{key}", then.get(key, _ABSENT), now.get(key, _ABSENT))
    elif then != now:
        shown = ["absent" if value is _ABSENT else str(value) for value in (then, now)]
        yield f"{name}: {shown[0]} then, {shown[1]} now"


def _comparable(key: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a value may be compared: parameters only if the plugin is the same on both sides."""
    _, plugin = _PLUGINS.get(key, ("", ""))
    return then.get(plugin) == now.get(plugin)


def _values(key: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Any]:
    """The values then and now, without parameters that are paths: files may move while their content stays the same."""
    values = [then[key], now[key]]
    if key not in _PLUGINS:
        return values
    kind, plugin = _PLUGINS[key]
    try:
        return [files.portable(kind, now[plugin], value) for value in values]
    except (UserError, ValueError):  # It takes other parameters than it did.
        return values
