"""Short probes that show whether a method or a data set behaves as a run needs it to."""

from typing import TYPE_CHECKING

from harness.lazily import imported_when_asked

if TYPE_CHECKING:
    from harness.checking.datasets import check_dataset
    from harness.checking.methods import check_method
    from harness.checking.probes import Outcome, Verdict
    from harness.checking.subjects import Subject, named

__all__ = ["Outcome", "Subject", "Verdict", "check_dataset", "check_method", "named"]
__getattr__ = imported_when_asked(
    __name__,
    {
        "Outcome": "probes",
        "Subject": "subjects",
        "Verdict": "probes",
        "check_dataset": "datasets",
        "check_method": "methods",
        "named": "subjects",
    },
)
