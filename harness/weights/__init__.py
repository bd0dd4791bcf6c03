"""Published checkpoints: where they are, their size, licence and checksum."""

from typing import TYPE_CHECKING

from harness.lazily import imported_when_asked

if TYPE_CHECKING:
    from harness.weights.catalogue import Checkpoint, fetch, find, verify

__all__ = ["Checkpoint", "fetch", "find", "verify"]
__getattr__ = imported_when_asked(
    __name__, {"Checkpoint": "catalogue", "fetch": "catalogue", "find": "catalogue", "verify": "catalogue"}
)
