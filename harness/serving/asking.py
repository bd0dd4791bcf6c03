"""Answers a page's questions in a thread of this process, or in processes of a cluster, one for each method.

Here     question 1 (SAM) -> question 2 (RITM) -> question 3 (SAM)      one queue
There    SAM: question 1 -> question 3      RITM: question 2            a queue for each method
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from harness.plugins.failures import DeviceLost
from harness.structures import Image, UserError
from harness.trying.desk import Desk, Facts, Question
from harness.trying.kept import Kept

KEPT_BYTES = 512 * 2**20
"""Bytes of pictures that stay in the cluster for a further click."""


class Answering(Protocol):
    """Answers questions; `Here` and `There` are the two ways."""

    @property
    def facts(self) -> Sequence[Facts]:
        """The facts of each method, in the config's order."""

    def call(self, what: str, question: Question, image: Image) -> Future[Any]:
        """Call a desk's function "ask" or "saliency" with a question; an error becomes the future's exception."""


class Hosting(Protocol):
    """Calls a function of a desk in another process (`harness.cluster.hosting.Host`)."""

    def call(self, name: str, *given: Any) -> Future[Any]:
        """Call a function by its name; the future has its result."""


class Here:
    """Answers in one thread of this process, one question after the other.

    Two browsers at once are served in turn, for two reasons. Models of torch are not safe in two threads at once. And
    the generators from which methods draw belong to the whole process: each question seeds them, so a second question
    in between would change the first one's numbers. In a cluster each method has a process of its own.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk, self.facts = desk, tuple(desk.facts())
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="methods")

    def call(self, what: str, question: Question, image: Image) -> Future[Any]:
        """As in `Answering`. A question that still waits is dropped when its future is cancelled."""
        return self._thread.submit(self._answer, what, question, image)

    def _answer(self, what: str, question: Question, image: Image) -> Any:
        try:
            return getattr(self.desk, what)(question, image)
        except DeviceLost as error:
            raise UserError(f"'{question.label}': its GPU is lost ({error}). Start the server again.") from None


class There:
    """Answers in other processes, one for each method. Methods compute at the same time, each one question at a time.

    Args:
        hosts: Label -> what calls a function of the desk that holds this method.
        stored: Puts a picture into the cluster's memory, and returns a reference to it.
    """

    def __init__(self, hosts: Mapping[str, Hosting], stored: Callable[[Image], Any]) -> None:
        self.hosts, self.stored = hosts, stored
        self._pictures: Kept[str, Any] = Kept(KEPT_BYTES)
        # All processes are started before the first is waited for, so that methods load their weights at the same time.
        loading = [host.call("facts") for host in hosts.values()]
        self.facts: Sequence[Facts] = tuple(facts for one in loading for facts in one.result())

    def call(self, what: str, question: Question, image: Image) -> Future[Any]:
        """As in `Answering`."""
        # A picture is sent to the cluster once, not once for each method and click. When its reference is dropped here,
        # the cluster frees the pixels; a later click sends them again.
        known = self._pictures.get(question.picture)
        if known is None:
            known = self._pictures.put(question.picture, self.stored(image), image.nbytes)
        return self.hosts[question.label].call(what, question, known)
