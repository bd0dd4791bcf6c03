"""The work behind the commands: runs, trainings, and checks of the machine."""

from typing import TYPE_CHECKING

from harness.lazily import imported_when_asked

if TYPE_CHECKING:
    from harness.running.one_run import run
    from harness.running.one_training import train

__all__ = ["run", "train"]
__getattr__ = imported_when_asked(__name__, {"run": "one_run", "train": "one_training"})
