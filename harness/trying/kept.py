"""Keeps what was used last, as much of it as memory is set aside for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Values by keys, up to a weight; those that were not used for the longest time are dropped first.

    Several threads may use it.

    Args:
        most: The weight of all values together: bytes, or a number of them where each weighs 1. The value that was put
            last stays even where it alone weighs more.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._held: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._held)

    def get(self, key: K) -> V | None:
        """The value, which is then the last one used; None where it is not kept."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: K, value: V, weight: int = 1) -> V:
        """Keep a value, in place of what was kept under its key, and drop what there is no room for."""
        with self._lock:
            self._weight += weight - (self._held.pop(key)[1] if key in self._held else 0)
            self._held[key] = value, weight
            while self._weight > self.most and len(self._held) > 1:
                _, (_, dropped) = self._held.popitem(last=False)
                self._weight -= dropped
        return value
