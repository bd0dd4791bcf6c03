"""Lists the plugins, with one line on each."""

from __future__ import annotations

from harness.plugins.kinds import KINDS
from harness.plugins.registry import find, installed_plugins, own_plugins
from harness.plugins.sources import Written, failure
from harness.structures import UserError


def described(kind: str) -> list[tuple[str, str]]:
    """Every name of a kind with the first line of its docstring or, for a broken plugin, why it cannot be used.

    Plugins that come with the harness are read, not imported, so torch is not loaded. Plugins of installed packages are
    imported, for only Python can find their files.
    """
    lines = [(one.name, _line(kind, one)) for one in own_plugins(kind)]
    lines += [(point.name, _imported_line(kind, point.name)) for point in installed_plugins(kind)]
    return sorted(lines)


def _line(kind: str, one: Written) -> str:
    failed = failure(one.file)
    if failed:
        return f"broken: {KINDS[kind].shown(one.file)} cannot be imported. {failed}."
    return one.says or f"({KINDS[kind].noun} without a docstring, {KINDS[kind].shown(one.file)})"


def _imported_line(kind: str, name: str) -> str:
    try:
        return (find(kind, name).__doc__ or "").strip().partition("\n")[0]
    except UserError as error:
        return f"broken: {error}"
