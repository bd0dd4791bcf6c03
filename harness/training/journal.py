"""The reports of a training, kept in a Parquet file and in TensorBoard's events.

If one of them cannot be written, the training goes on with one warning: it may be days long, and is worth more.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness import atomic
from harness.storage.folder import reason
from harness.training.one_rank import Progress

METRICS = "metrics.parquet"
"""The file's name in the training's folder; each report is a row, `Progress` with the time in seconds since 1970."""

_CURVES = ("loss", "lr", "steps_per_s", "waited", "validation")
_SCHEMA = pa.schema(
    [("step", pa.int64()), ("steps", pa.int64())] + [(name, pa.float64()) for name in (*_CURVES, "time_s")]
)

_log = logging.getLogger(__name__)


class Journal:
    """Keeps every report.

    A resumed training repeats the steps since its last state. When its first report arrives, the earlier start's rows
    of these steps are dropped, and their points are removed from TensorBoard. So no step is there twice:

        start 1   20 40 60 80 x             killed after 80; the last state is that of step 50
        start 2           60 80 100 ...     the file then has 20 40 60 80 100 ...

    Args:
        folder: The training's folder; it is made if it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] | None = None
        self.events: Events | None = None
        self.warned = False

    def add(self, progress: Progress) -> None:
        """Keep a report, at least in memory: after a full disk, the file gets all of them once there is room again."""
        earlier = self._kept() if self.rows is None else self.rows
        # Steps go back in two cases: at this start's first report, and after a worker on Ray was replaced.
        if self.rows is None or (earlier and progress.step <= earlier[-1]["step"]):
            self.close()
            self.rows = [row for row in earlier if row["step"] < progress.step]
        self.rows.append({**asdict(progress), "time_s": time.time()})
        try:
            self._write(self.rows)
            self._draw(progress)
        except (OSError, pa.ArrowException) as error:
            self.close()
            if not self.warned:
                _log.warning(
                    "training: its journal in %s cannot be written (%s); the training goes on",
                    self.folder,
                    reason(error),
                )
            self.warned = True

    def _write(self, rows: list[dict[str, Any]]) -> None:
        with atomic.replacing(self.folder / METRICS) as file:
            pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), file)

    def _draw(self, progress: Progress) -> None:
        if self.events is None:
            self.events = Events(self.folder, progress.step)
        self.events.add(progress)

    def _kept(self) -> list[dict[str, Any]]:
        """The rows of earlier starts."""
        path = self.folder / METRICS
        try:
            return pq.read_table(path, schema=_SCHEMA).to_pylist() if path.exists() else []
        except (OSError, pa.ArrowException) as error:
            _log.warning("training: %s is damaged (%s); a new journal is begun", path, reason(error))
            return []

    def close(self) -> None:
        """Close the events' file."""
        if self.events is not None:
            self.events.close()
            self.events = None


class Events:
    """TensorBoard's file, each report written as it arrives.

    tensorboardX's SummaryWriter is not used: it writes in a thread, which a full disk ends, and its caller then waits
    for that thread for ever.

    Args:
        folder: The folder that TensorBoard is pointed to.
        first: TensorBoard forgets earlier files' points from this step on.
    """

    def __init__(self, folder: Path, first: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter  # type: ignore[import-untyped]
        from tensorboardX.proto.event_pb2 import SessionLog  # type: ignore[import-untyped]

        self.writer = EventsWriter(str(folder / "events"), f".{first}")
        self._keep(first, session_log=SessionLog(status=SessionLog.START))

    def add(self, progress: Progress) -> None:
        """A point of every curve.

        Raises:
            OSError: The disk refuses them.
        """
        from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

        given = {name: getattr(progress, name) for name in _CURVES}
        points = [Summary.Value(tag=name, simple_value=value) for name, value in given.items() if value is not None]
        self._keep(progress.step, summary=Summary(value=points))
        self.writer.flush()

    def _keep(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self.writer.write_event(Event(step=step, wall_time=time.time(), **content))

    def close(self) -> None:
        """Close the file; if the disk is full, the last points are lost."""
        with suppress(OSError):
            self.writer.close()
