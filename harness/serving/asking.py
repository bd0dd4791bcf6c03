"""Who answers a page's questions: a thread of this process, or processes of a cluster, one a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from harness.plugins.failures import DeviceLost
from harness.structures import Image, UserError
from harness.trying.desk import Desk, Facts, Question
from harness.trying.kept import Kept

KEPT_BYTES = 512 * 2**20
"""Pixels of pictures that stay in the cluster for a further click."""


class Answering(Protocol):
    """What answers questions."""

    @property
    def facts(self) -> Sequence[Facts]:
        """What is known of each method, in the config's order."""

    def call(self, what: str, question: Question, image: Image) -> Future[Any]:
        """Have a desk's method "ask" or "saliency" answer a question; what it raises is the future's exception."""


class Hosting(Protocol):
    """What calls a function of a desk elsewhere (`harness.cluster.hosting.Host`)."""

    def call(self, name: str, *given: Any) -> Future[Any]:
        """The future has what the function returns."""


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
        return self._thread.submit(self._answer, what, question, image)

    def _answer(self, what: str, question: Question, image: Image) -> Any:
        try:
            return getattr(self.desk, what)(question, image)
        except DeviceLost as error:
            raise UserError(f"'{question.label}': its GPU is lost ({error}). Start the server again.") from None

    def close(self) -> None:
        """Drop what waits; what is being computed ends by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class There:
    """Answers in a process a method, elsewhere: methods answer at the same time, each one question after the other.

    Args:
        hosts: Label -> what calls a function of the desk that holds this method.
        stored: Puts a picture where all of them find it, and returns what stands for it.
    """

    def __init__(self, hosts: Mapping[str, Hosting], stored: Callable[[Image], Any]) -> None:
        self.hosts, self.stored = hosts, stored
        self._pictures: Kept[str, Any] = Kept(KEPT_BYTES)
        loading = [host.call("facts") for host in hosts.values()]
        self.facts: Sequence[Facts] = tuple(facts for one in loading for facts in one.result())

    def call(self, what: str, question: Question, image: Image) -> Future[Any]:
        """As `Answering` says."""
        known = self._pictures.get(question.picture)
        if known is None:
            known = self._pictures.put(question.picture, self.stored(image), image.nbytes)
        return self.hosts[question.label].call(what, question, known)
