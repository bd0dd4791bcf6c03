"""Who answers a page's questions: a thread of this process, or processes of a cluster, one a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from harness.structures import Image
from harness.trying.desk import Desk, Facts, Question


class Answering(Protocol):
    """What answers questions."""

    @property
    def facts(self) -> Sequence[Facts]:
        """Of all methods, in the config's order."""

    def call(self, what: str, question: Question, image: Image) -> Future[Any]:
        """Have a desk's method "ask" or "saliency" answer a question; what it raises is the future's exception."""


class Here:
    """Answers in one thread of this process, one question after the other.

    Two browsers at once are served in turn. torch's models bear no two threads at once, and neither does chance: the
    generators from which methods draw belong to the whole process, and are seeded before each question. With methods
    in one process each, a cluster's answer at the same time.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk, self.facts = desk, tuple(desk.facts())
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="methods")

    def call(self, what: str, question: Question, image: Image) -> Future[Any]:
        """As `Answering` says. A question that waits is dropped when its future is cancelled."""
        return self._thread.submit(getattr(self.desk, what), question, image)

    def close(self) -> None:
        """Drop what waits; what is being computed ends by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class There:
    """Answers in a process a method, elsewhere.

    Args:
        hosts: Label -> what calls a function of the desk that holds this method.
    """

    def __init__(self, hosts: Mapping[str, Any]) -> None:
        self.hosts = hosts
        self.facts = tuple(one for host in hosts.values() for one in host.call("facts").result())

    def call(self, what: str, question: Question, image: Image) -> Future[Any]:
        """As `Answering` says."""
        host = self.hosts[question.label]
        return host.call(what, question, host.kept(question.picture, image))
