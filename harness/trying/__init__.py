"""Tries methods from Python or on a picture of one's own: `predict`, `evaluate`, `replay`, and what answers `try`."""

from typing import TYPE_CHECKING

from harness.lazily import imported_when_asked

if TYPE_CHECKING:
    from harness.trying.methods import Loaded, load_methods, method
    from harness.trying.session import Answer, Session, predict

__all__ = ["Answer", "Loaded", "Session", "load_methods", "method", "predict"]
__getattr__ = imported_when_asked(
    __name__,
    {
        "Answer": "session",
        "Loaded": "methods",
        "Session": "session",
        "load_methods": "methods",
        "method": "methods",
        "predict": "session",
    },
)
