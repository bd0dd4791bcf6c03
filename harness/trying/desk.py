"""Methods that are asked about many pictures, of which the last ones stay encoded: what answers `try`'s page.

A desk answers one question at a time. It lives in a thread of the page's own process, or in a process of a cluster,
which is why a question names its picture by a key and brings the pixels along.
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
    """What a page says of a method.

    Attributes:
        label: As the config calls it.
        plugin: The plugin's name.
        reads: Whether the words may change its mask.
        needs_click: Whether it answers only to a click.
        device: Where it runs; "" where it does not say.
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
        label: The method's.
        picture: A key of the picture, the same for the same pixels.
        name: The picture's id, on which the chance of methods that draw depends, as in a run.
        clicks: In their order, inside the picture.
        text: The words; None for none.
        vocabulary: The names that the words are contrasted with; none leaves them to the method.
        present: The names of what is in the picture, for methods that are told those alone.
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
    """Where a method saw the words.

    Attributes:
        saliency: From 0 to 1; None where the method looks at no saliency, or failed.
        error: Why it failed; "" where it did not.
    """

    saliency: Float32[np.ndarray, "h w"] | None = None
    error: str = ""


class Desk:
    """Answers questions about pictures.

    Args:
        methods: As `load_methods` returns them.
        seed: As a run's, for methods that draw.
    """

    def __init__(self, methods: Sequence[Loaded], seed: int = 0) -> None:
        self.methods, self.seed = list(methods), seed
        self._sessions: Kept[str, Session] = Kept(PICTURES)

    def facts(self) -> list[Facts]:
        """What a page says of the methods."""
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
        """A method's answer, without its memory, which stays here for the next click."""
        answer = self._session(question, image).ask(question.label, question.clicks, question.text)
        return replace(answer, prediction=answer.prediction and replace(answer.prediction, memory=()))

    def saliency(self, question: Question, image: Image) -> Seen:
        """Where a method saw the words."""
        try:
            return Seen(self._session(question, image).saliency(question.label, question.clicks, question.text))
        except Exception as error:
            return Seen(error=described(error))

    def _session(self, question: Question, image: Image) -> Session:
        """The picture's, which holds what its methods encoded and answered."""
        known = self._sessions.get(question.picture)
        if known is not None:
            return known
        picture = prepared(Sample(question.name, image, ()))
        session = Session(self.methods, picture, question.vocabulary, self.seed, question.present)
        return self._sessions.put(question.picture, session)


def desk_of(config: RunConfig, labels: Sequence[str] = ()) -> Desk:
    """A desk with a config's methods, or some of them, with their weights.

    Raises:
        UserError: As `load_methods`.
    """
    # Images are read-only, which torch warns of; no method may write on them.
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    return Desk(load_methods(config, labels), config.seed)
