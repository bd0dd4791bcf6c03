"""`python -m harness run`: execute a config."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import places
from harness.cli.budget import part_within, say_found, seconds_of
from harness.cli.options import Address, AsJson, ConfigPath, Limit, Only, Runs, Set, loaded
from harness.cli.terminal import console, end, live, say, warn
from harness.structures import UserError

if TYPE_CHECKING:
    from harness.config.run_config import RunConfig
    from harness.results.reported import Finished
    from harness.storage.folder import Folder


def run(
    config: ConfigPath,
    set_: Set = [],  # noqa: B006
    limit: Limit = None,
    only: Only = None,
    address: Address = None,
    runs: Runs = None,
    retry_failed: Annotated[
        bool, typer.Option(help="Redo the images in which an instance failed; by default their rows are kept.")
    ] = False,
    redo: Annotated[
        list[str],
        typer.Option(
            metavar="LABEL",
            help="Redo the images of this method or data set whose rows were made before its code was edited.",
        ),
    ] = [],  # noqa: B006
    part: Annotated[
        str | None,
        typer.Option(metavar="K/N", help="Run only the K-th of N parts; they share a folder and need no Ray cluster."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Take as many images as fit into this time (20m, 90s, 1h30m), from all classes alike; every table "
            "says so.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate every method on every data set of a config, and print its tables. The same command again resumes."""
    asked = loaded(config, set_, limit, only)
    given = {"--limit": limit, "--only": only, "--budget": budget, "--address": address, "--runs": runs}
    again = _again(config, set_, given)
    if budget:
        seconds_of(budget)  # Before the imports, which take seconds: a mistyped time is refused at once.
    if part is None:
        asked = execute(asked, again, address, runs, retry_failed, redo, as_json, budget)
        if budget and not as_json:
            say_found(asked, runs)
    elif retry_failed or redo or budget:
        raise UserError(
            "found --part with --retry-failed, --redo or --budget; wanted these without --part, since they are about "
            "the whole run."
        )
    else:
        _execute_part(asked, again, part, address, runs, as_json)


def execute(
    asked: RunConfig,
    again: str,
    address: str | None = None,
    runs: str | None = None,
    retry_failed: bool = False,
    redo: Sequence[str] = (),
    as_json: bool = False,
    budget: str | None = None,
) -> RunConfig:
    """Execute a run's config, show its progress, and print its tables.

    Args:
        asked: The config.
        again: The command that resumes the run.
        address: As in `running.one_run.run`.
        runs: As there.
        retry_failed: As there.
        redo: As there.
        as_json: Whether to write the progress as lines of JSON.
        budget: A time; the run takes as many images as fit into it.

    Returns:
        The config, reduced to the images that the budget allows.
    """
    from harness.running.following import Following, told_of_the_end
    from harness.running.one_run import run as started
    from harness.storage.store import store_of

    _keep_memory_small()
    place = store_of(asked.run, runs).folder
    # `told_of_the_end` is outermost, so that loggers and `on_end:` also get an error that is raised while tables are
    # printed. The follower needs `shown`, so it is made within and handed out by the list.
    with told_of_the_end(asked, place) as following:
        with live(place, as_json) as shown:
            following.append(Following(shown, asked, place))
            asked = part_within(asked, budget, following[0], address, runs, as_json) if budget else asked
            finished = started(asked, following[0], address, runs, retry_failed, redo)
        _end_with(finished, place, asked.max_failures, again)
    return asked


def _execute_part(
    asked: RunConfig, again: str, said: str, address: str | None, runs: str | None, as_json: bool
) -> None:
    """Execute a part; the last one ends as the whole run does, for which `again` is the command."""
    from harness.running.following import Following, told_of_the_end
    from harness.running.one_part import run_part
    from harness.storage.parts import Part, said_of_parts
    from harness.storage.store import store_of

    # The progress is in the part's own folder, since all parts are at work at once; loggers get the run's folder.
    part, place = Part.said(said), store_of(asked.run, runs).folder
    _keep_memory_small()
    with told_of_the_end(asked, place) as following:
        with live(part.folder(place), as_json) as shown:
            following.append(Following(shown, asked, place))
            done = run_part(asked, part, following[0], address, runs)
        say(f"part {part}: {done.images - done.missing} of {done.images} images x methods are done.")
        if done.incomplete:
            say(said_of_parts(place, done.incomplete))
        if done.over_budget:
            failed = f"{done.failed} of {done.instances} instances failed"
            warn(f"{failed}, over max_failures={asked.max_failures:g}: the part was stopped.")
        if done.finished:
            _end_with(done.finished, place, asked.max_failures, again)
        end((), failing=done.over_budget or done.missing > 0)


def _keep_memory_small() -> None:
    """Make Arrow return memory to the system; its own pool keeps freed memory, so a driver would stay at its peak.

    This is done here and not in running/, because the pool belongs to the whole process: a program that imports harness
    may have chosen its own.
    """
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())


def _end_with(finished: Finished, place: Folder, max_failures: float, again: str) -> None:
    """Print a run's tables, and what failed or is missing.

    Raises:
        typer.Exit: With exit code 1, if too much failed or anything is missing.
    """
    from harness.report.rendering.terminal import to_terminal

    for table in finished.tables:
        console.print(to_terminal(table))
    folder = _shown(place)
    say(f"{folder}/report.md, {folder}/results.parquet")
    retry = f"{again} --retry-failed"
    _warn_failed(finished, max_failures, retry)
    for odd in finished.doubts:
        warn(odd)
    more = (retry if finished.over_budget else again) if finished.missing else ""
    end(finished.shortfalls, more, failing=finished.over_budget)


def _again(config: Path, set_: list[str], given: Mapping[str, object]) -> str:
    """The command that was given, as a text to be pasted into a shell."""
    options = [*(part for one in set_ for part in ("--set", one)), *(f"{k}={v}" for k, v in given.items() if v)]
    return shlex.join(["python", "-m", "harness", "run", str(config), *options])


def _warn_failed(finished: Finished, max_failures: float, retry: str) -> None:
    from harness.report.failures import in_a_line

    if finished.failed:
        stopped = ", and the run was stopped" if finished.missing else ""
        whose = f" ({'; '.join(finished.too_many)})" if finished.too_many else ""
        over = f": over max_failures={max_failures:g}{whose}{stopped}" if finished.over_budget else ""
        why = in_a_line(finished.reasons)
        warn(
            f"{finished.failed} of {finished.instances} instances failed{over}. {why}Their rows are kept as they "
            "are. If you mended files of the data, run under another name (--set run=...); if you mended anything "
            f"else: {retry}"
        )


def _shown(folder: Folder) -> str:
    """A folder's path, relative to the checkout if it is inside."""
    local = folder.local
    return str(local.relative_to(places.ROOT) if local and local.is_relative_to(places.ROOT) else folder)
