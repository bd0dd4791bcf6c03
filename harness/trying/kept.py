"""Keeps the values that were used last, up to a given amount of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Values by keys, up to a total weight; those that were not used for the longest time are dropped first.

        kept = Kept(100)
        kept.put("a", one, 60), kept.put("b", two, 30)    a and b: 90
        kept.get("a")                                     a is now the last one used
        kept.put("c", three, 50)                          b, then a is dropped, as a and c together weigh 110

    Several threads may use it.

    Args:
        most: The largest total weight: bytes, or a number of values if each weighs 1. The value that was put last stays
            even if it alone weighs more.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._held: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many values are kept."""
        return len(self._held)

    def get(self, key: K) -> V | None:
        """Return the value and mark it as the last one used; None if it is not kept."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: K, value: V, weight: int = 1) -> V:
        """Keep a value in place of the one under its key, and drop the oldest ones until there is room.

        Two threads that miss the same key both compute the value, and the later one replaces the earlier: the lock is
        not held while a value is made, which may take seconds.
        """
        with self._lock:
            self._weight += weight - (self._held.pop(key)[1] if key in self._held else 0)
            self._held[key] = value, weight
            while self._weight > self.most and len(self._held) > 1:
                _, (_, dropped) = self._held.popitem(last=False)
                self._weight -= dropped
        return value
