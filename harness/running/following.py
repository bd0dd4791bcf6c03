"""Calls a config's loggers with every row and at the run's end, and its commands at the end.

Nothing here makes rows, and no row may be lost through it: if a logger or a command fails, there is one warning, and
the run goes on without it.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness.config.parts import label
from harness.config.run_config import RunConfig
from harness.interrupts import in_order, undisturbed
from harness.jobs.jobs import Job
from harness.jobs.worker import Outcome
from harness.plugins import parameters
from harness.plugins.failures import contained, described
from harness.plugins.interfaces import Ended, Logger
from harness.running.one_run import Watcher
from harness.storage.folder import Folder
from harness.storage.rows import as_frame
from harness.storage.shards import rows_of
from harness.structures import UserError

if TYPE_CHECKING:
    from harness.running import one_training as training

ERROR_MOST = 10_000
"""The most characters of an error that a command gets. Linux takes at most 128 KiB; an escaped sign has 10 bytes."""

_log = logging.getLogger(__name__)


class Following:
    """Passes a run's events on to its watcher, and its new rows to the config's loggers.

    Args:
        watcher: The run's watcher.
        config: The run's config, whose loggers are built now.
        folder: The run's folder.

    Raises:
        UserError: A logger cannot be built.
    """

    def __init__(self, watcher: Watcher, config: RunConfig, folder: Folder) -> None:
        self.watcher, self.folder = watcher, folder
        self.loggers: dict[str, Logger] = {
            label(one): parameters.build("loggers", one.name, one.params) for one in config.loggers
        }

    def begins(self, what: str) -> None:
        """As `Watcher`."""
        self.watcher.begins(what)

    def training(self, method: str, progress: training.Progress) -> None:
        """As `Watcher`."""
        self.watcher.training(method, progress)

    def planned(self, jobs: Sequence[Job], done: Mapping[str, int]) -> None:
        """As `Watcher`."""
        self.watcher.planned(jobs, done)

    def outcome(self, outcome: Outcome) -> None:
        """As `Watcher`; a shard that a worker wrote is read for the loggers."""
        self.watcher.outcome(outcome)
        if self.loggers and outcome.file:
            self._tell("on_rows", lambda: self._rows(outcome.file))

    def ended(self, ended: Ended) -> None:
        """Pass the end of the run to the loggers."""
        self._tell("on_end", lambda: ended)

    def _rows(self, file: str) -> Any:
        rows = rows_of(self.folder.read(file))
        return as_frame(rows.drop_columns(["mask"]))

    def _tell(self, hook: str, what: Any) -> None:
        """Call a hook of every logger, and drop a logger that raises."""
        # A tracker that is down must not end a run of hours: rows are on the disk anyway. A logger that failed once is
        # not called again, or each shard would wait for its timeout.
        try:
            told = what()
        except (UserError, ValueError, OSError) as error:
            _log.warning("loggers: some rows were not logged (%s)", described(error))
            return
        for name, logger in list(self.loggers.items()):
            try:
                with contained():
                    getattr(logger, hook)(told)
            except Exception as error:  # A plugin may raise anything.
                _log.warning("loggers: %s failed in %s and is switched off: %s", name, hook, described(error))
                del self.loggers[name]


@contextmanager
def told_of_the_end(config: RunConfig, folder: Folder) -> Iterator[list[Following]]:
    """Surround a command's work on a run: however it ends, the loggers get the result, and `on_end:` is run.

    Yields:
        A list, to which the command adds the `Following` whose loggers get the result.
    """
    following: list[Following] = []
    code, said = 1, ""
    try:
        with in_order():  # Also while tables are printed: a process that ends at once would tell nobody.
            yield following
        code = 0
    except UserError as error:
        code, said = 2, str(error)
        raise
    except BaseException as error:
        ends = getattr(error, "exit_code", getattr(error, "code", None))  # typer's Exit has one, SystemExit the other
        code, said = (ends, "") if isinstance(ends, int) else (1, described(error))
        raise
    finally:
        ended = Ended(config.run, str(folder), code, said)
        with undisturbed():
            for one in following:
                one.ended(ended)
            run_commands(config.on_end, ended)


def run_commands(commands: Sequence[str], ended: Ended) -> None:
    """Run the commands of `on_end:` one after the other in a shell; their output goes to this terminal.

    Args:
        commands: The commands, as the config has them.
        ended: The result of the run, which goes into their environment.
    """
    # By the environment and not by arguments: an error's message may hold quotes, which a shell would interpret. Signs
    # that the locale lacks are escaped: Python would refuse to start the command, and that error would hide the run's.
    told = {
        "HARNESS_RUN": ended.run,
        "HARNESS_RUN_FOLDER": ended.folder,
        "HARNESS_EXIT_CODE": str(ended.exit_code),
        "HARNESS_ERROR": ended.error.replace("\0", r"\0")[:ERROR_MOST],
    }
    env: dict[str, str | bytes] = dict(os.environ)
    env |= {key: text.encode(sys.getfilesystemencoding(), "backslashreplace") for key, text in told.items()}
    for command in commands:
        sys.stdout.flush()
        done = subprocess.run(command, shell=True, env=env, check=False)
        if done.returncode:
            _log.warning("on_end: found exit code %d after the command: %s", done.returncode, command)
