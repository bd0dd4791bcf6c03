"""What of a job is not as it was when its rows were made, in the words of the config that made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.plugins import files
from harness.structures import UserError

_TELL = {
    "method": ("method_plugin", "method_params"),
    "weights": ("weights_sha256",),
    "dataset": ("dataset_plugin", "dataset_params", "dataset_fingerprint"),
    "clicks": ("clicks",),
}
"""Part of a job that is a fingerprint -> what a manifest's `about` has of it."""

_PLUGINS = {"method_params": ("methods", "method_plugin"), "dataset_params": ("datasets", "dataset_plugin")}

_ABSENT = object()


def told(part: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """`method_params.radius: 2.0 then, 3.0 now`, of every value that differs; empty where these do not tell.

    Args:
        part: A key of a job's parts.
        then: What the manifest says about the job.
        now: What is to be said about it now.
    """
    keys = [key for key in _TELL.get(part, ()) if key in then and key in now and _comparable(key, then, now)]
    return ", ".join(one for key in keys for one in _differing(key, *_values(key, then, now)))


def _differing(name: str, then: Any, now: Any) -> Iterator[str]:
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in sorted({*then, *now}, key=str):
            yield from _differing(f"{name}.{key}", then.get(key, _ABSENT), now.get(key, _ABSENT))
    elif then != now:
        yield f"{name}: {_shown(then)} then, {_shown(now)} now"


def _comparable(key: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a value means the same on both sides, as parameters of one plugin do."""
    _, plugin = _PLUGINS.get(key, ("", ""))
    return then.get(plugin) == now.get(plugin)


def _values(key: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Any]:
    """Both values; of parameters those that count: files and folders may move while what they hold stays the same."""
    values = [then[key], now[key]]
    if key not in _PLUGINS:
        return values
    kind, plugin = _PLUGINS[key]
    try:
        return [files.portable(kind, now[plugin], value) for value in values]
    except (UserError, ValueError):  # It takes other parameters than it did.
        return values


def _shown(value: Any) -> str:
    return "absent" if value is _ABSENT else str(value)
