"""Answers the questions of `try`'s page about many pictures, and keeps the last pictures encoded.

A desk answers one question at a time. It is used in one thread of the page's process, or in processes of a cluster. The
page cannot know which pictures a process still holds, so each question brings a key and the pixels: if the key is
known, the pixels are not used, otherwise they are encoded. So a process that was started again needs no extra step.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from harness.config.run_config import RunConfig
from harness.evaluation.pictures import prepared
from harness.evaluation.probe import says_uses_text
from harness.plugins.failures import described
from harness.structures import Click, Image, Sample
from harness.trying.kept import Kept
from harness.trying.methods import Loaded, load_methods
from harness.trying.session import Answer, Session

PICTURES = 8
"""Pictures whose encodings a desk keeps: another click on one of them costs no encoding."""


@dataclass(frozen=True)
class Facts:
    """The facts about a method that a page shows.

    Attributes:
        label: The config's label.
        plugin: The plugin's name.
        reads: Whether the words may change its mask.
        needs_click: Whether it needs a click.
        device: The device on which it runs; "" if the method has no `device`.
    """

    label: str
    plugin: str
    reads: bool
    needs_click: bool
    device: str


@dataclass(frozen=True)
class Question:
    """A prompt on a picture.

    Attributes:
        label: The method's label.
        picture: A key of the picture; equal keys mean equal pixels.
        name: The picture's id, from which methods that draw are seeded, as in a run.
        clicks: The clicks in their order, inside the picture.
        text: The words; None for none.
        vocabulary: The names that the words are contrasted with; if empty, the method uses its own.
        present: The names of the classes in the picture, for methods that get only those.
    """

    label: str
    picture: str
    name: str
    clicks: tuple[Click, ...]
    text: str | None
    vocabulary: tuple[str, ...] = ()
    present: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Seen:
    """A method's saliency map of the words.

    Attributes:
        saliency: The map, from 0 to 1; None if the method has none, or failed.
        error: Why the method failed; "" if it did not.
    """

    saliency: Float32[np.ndarray, "h w"] | None = None
    error: str = ""


class Desk:
    """Answers questions about pictures.

    Args:
        methods: The methods, from `load_methods`.
        seed: A run's `seed`, for methods that draw.
    """

    def __init__(self, methods: Sequence[Loaded], seed: int = 0) -> None:
        self.methods, self.seed = list(methods), seed
        self._sessions: Kept[str, Session] = Kept(PICTURES)

    def facts(self) -> list[Facts]:
        """The facts about each method that a page shows."""
        # A method that does not declare `uses_text` may still read it, so the page offers it words, too.
        return [
            Facts(
                one.label,
                one.plugin,
                one.reads and (one.method.uses_text or not says_uses_text(type(one.method))),
                one.method.needs_click,
                str(getattr(one.method, "device", "")),
            )
            for one in self.methods
        ]

    def ask(self, question: Question, image: Image) -> Answer:
        """A method's answer without its memory. The session keeps the memory for the next click."""
        # The memory may be a tensor on the GPU, which another process could not read, and the page has no use for it.
        answer = self._session(question, image).ask(question.label, question.clicks, question.text)
        return replace(answer, prediction=answer.prediction and replace(answer.prediction, memory=()))

    def saliency(self, question: Question, image: Image) -> Seen:
        """A method's saliency map of the words."""
        try:
            return Seen(self._session(question, image).saliency(question.label, question.clicks, question.text))
        except Exception as error:
            return Seen(error=described(error))

    def _session(self, question: Question, image: Image) -> Session:
        """The picture's session, which holds its methods' encodings and answers."""
        known = self._sessions.get(question.picture)
        if known is not None:
            return known
        picture = prepared(Sample(question.name, image, ()))
        session = Session(self.methods, picture, question.vocabulary, self.seed, question.present)
        return self._sessions.put(question.picture, session)


def desk_of(config: RunConfig, labels: Sequence[str] = ()) -> Desk:
    """A desk with a config's methods, or some of them, with their weights.

    Raises:
        UserError: As in `load_methods`.
    """
    # Images are read-only, which torch warns of; no method may write on them.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    return Desk(load_methods(config, labels), config.seed)
