"""An actor, its phase and the shards that it has."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from harness.cluster.connect import Node
from harness.jobs.jobs import Shard
from harness.jobs.worker import SHARD_S, Outcome


class Phase(Enum):
    """A phase of an actor; `harness.cluster.scheduler` draws the way from phase to phase."""

    PLACING = auto()
    LOADING = auto()
    OPENING = auto()
    WORKING = auto()
    ARRIVING = auto()


@dataclass(eq=False)
class Slot:
    """An actor, its phase and the shards that it has.

    Attributes:
        method: The label of the method that it loads.
        asked: Resources that it holds, by Ray's names.
        phase: Its phase.
        setup: The call that ends PLACING, LOADING or OPENING; None in the other phases.
        loads: The name of the method or data set that the setup loads, for messages.
        node: The node that it runs on; None in PLACING.
        opened: Labels of the data sets that it has built, or builds now.
        trusted: Whether the driver has found a file that it wrote.
        calls: In WORKING and ARRIVING: call -> shard, in the order in which they are answered.
        unseen: In ARRIVING: the answer to the first call, whose files the driver has not found yet.
        busy_since: The time when it began its setup, or the first of its shards.
    """

    actor: Any
    method: str
    asked: dict[str, float]
    phase: Phase
    setup: Any
    loads: str
    node: Node | None = None
    opened: set[str] = field(default_factory=set)
    trusted: bool = False
    calls: dict[Any, Shard] = field(default_factory=dict)
    unseen: Sequence[Outcome] = ()
    busy_since: float = field(default_factory=time.monotonic)

    @property
    def pending(self) -> list[Any]:
        """The calls whose answers the driver waits for, in the order in which they come."""
        if self.phase is Phase.ARRIVING:
            return []
        return list(self.calls) if self.phase is Phase.WORKING else [self.setup]

    def enter(self, phase: Phase, setup: Any = None) -> None:
        """Begin a phase, with the call that ends it if there is one."""
        self.phase, self.setup = phase, setup
        self.begin()

    def begin(self) -> None:
        """Start the clock of `hangs` anew."""
        self.busy_since = time.monotonic()

    def hangs(self, timeout_s: float) -> bool:
        """Whether its setup, or one batch, takes too long; a batch has `timeout_s` for each of the shard's jobs."""
        match self.phase:
            case Phase.PLACING | Phase.ARRIVING:
                return False
            case Phase.LOADING | Phase.OPENING:
                may_take_s = timeout_s
            case Phase.WORKING:
                oldest = next(iter(self.calls.values()), None)
                # A worker begins no batch after SHARD_S, so a shard takes at most SHARD_S plus one batch. A batch goes
                # through the shard's jobs one after the other, and each of them may take `timeout_s`.
                may_take_s = timeout_s * len(oldest.jobs) + SHARD_S if oldest else math.inf
        return time.monotonic() - self.busy_since > may_take_s
