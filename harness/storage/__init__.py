"""A run's folder: its one writer, its files, and the proof that it is whole."""

from typing import TYPE_CHECKING

from harness.lazily import imported_when_asked

if TYPE_CHECKING:
    from harness.storage.folder import Folder
    from harness.storage.lock import Lock
    from harness.storage.store import Store

__all__ = ["Folder", "Lock", "Store"]
__getattr__ = imported_when_asked(__name__, {"Folder": "folder", "Lock": "lock", "Store": "store"})
