"""A run's folder: its one writer, its files, and the proof that it is whole."""

from harness.storage.folder import Folder
from harness.storage.lock import Lock
from harness.storage.store import Store

__all__ = ["Folder", "Lock", "Store"]
