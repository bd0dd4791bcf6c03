"""One rank of one training: examples, steps, states."""

from typing import TYPE_CHECKING

from harness.lazily import imported_when_asked

if TYPE_CHECKING:
    from harness.training.one_rank import Fitted, Training, fit

__all__ = ["Fitted", "Training", "fit"]
__getattr__ = imported_when_asked(__name__, {"Fitted": "one_rank", "Training": "one_rank", "fit": "one_rank"})
