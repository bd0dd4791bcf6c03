"""Reads a finished run from its folder alone."""

from typing import TYPE_CHECKING

from harness.lazily import imported_when_asked

if TYPE_CHECKING:
    from harness.results.loading import load
    from harness.results.recorded import Recorded, recorded_at
    from harness.results.reported import Finished, report

__all__ = ["Finished", "Recorded", "load", "recorded_at", "report"]
__getattr__ = imported_when_asked(
    __name__,
    {
        "Finished": "reported",
        "Recorded": "recorded",
        "load": "loading",
        "recorded_at": "recorded",
        "report": "reported",
    },
)
