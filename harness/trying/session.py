"""Runs methods on one picture, click after click, with the answers that a run would have.

A run segments each instance in rounds: a click, a mask, a further click, and so on. Interactive methods (RITM, SAM)
start each round from their last mask. A session works in the same way, so its answer to k clicks equals a run's row
with click_index k:

    clicks a, b, c   ->   ask(a)   ask(a, b)   ask(a, b, c)       each with the memory of the one before

Where the config's rule makes several clicks in a round, so does a session: with three a round, these are ask(a, b, c).

Answers are kept. After a, b, c a fourth click costs one round, and going back to a, b costs none.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from harness.evaluation import scoring
from harness.evaluation.attempts import segmented
from harness.evaluation.pictures import Picture, encode, prepared
from harness.evaluation.protocol import carried
from harness.images.reading import read_as_viewed
from harness.plugins.failures import contained, described
from harness.plugins.interfaces import Method
from harness.structures import Click, Image, Prediction, Prompt, Sample, UserError
from harness.trying.kept import Kept
from harness.trying.methods import Loaded, check_built

Point = Click | tuple[int, int] | tuple[int, int, bool]
"""A click: (x, y) for a positive one, (x, y, False) for a negative one, in pixels of the full image."""

Asked = tuple[str, tuple[Click, ...], str | None]
"""The things that decide an answer: the method's label, the clicks so far in their order, the words."""

ANSWERS_BYTES = 128 * 2**20
"""Most bytes of masks that are kept for one picture: 140 answers of three masks on 640 x 480 pixels."""


@dataclass(frozen=True, eq=False)
class Answer:
    """A method's answer to a prompt.

    Attributes:
        label: The method's label.
        prediction: The candidates; None if the method failed.
        error: The reason why the method failed; "" if it did not.
        saliency: The saliency map of the words, float32 (h, w) from 0 to 1, if `Session.shown` was called; None for a
            method without one.
        encode_ms: The time of encoding the picture, once for all prompts.
        segment_ms: The time of the last round.
    """

    label: str
    prediction: Prediction | None = None
    error: str = ""
    saliency: Float32[np.ndarray, "h w"] | None = None
    encode_ms: float = 0.0
    segment_ms: float = 0.0

    @property
    def taken(self) -> dict[str, int]:
        """Ranking -> the index of the candidate that it chooses; "single" for a lone candidate without a score."""
        return scoring.choices(self.prediction) if self.prediction else {}

    def scores_of(self, candidate: int) -> dict[str, float | str]:
        """Ranking -> a candidate's own score, for JSON, which has no infinite number: that is a text, "-inf"."""
        scores = self.prediction.scores if self.prediction else {}
        own = {ranking: float(values[candidate]) for ranking, values in scores.items()}
        return {ranking: value if math.isfinite(value) else str(value) for ranking, value in own.items()}


class Session:
    """Runs methods on one picture.

    Args:
        methods: The methods, from `load_methods`.
        picture: An image without instances, or one of a data set.
        vocabulary: The names that words are contrasted with: the data set's. Without any, each method uses the names of
            its own training.
        seed: A run's `seed`, for methods that draw.
        present: The names of the classes in the picture, for methods that get only those (`Method.present_only`).
    """

    def __init__(
        self,
        methods: Iterable[Loaded],
        picture: Picture,
        vocabulary: Sequence[str] = (),
        seed: int = 0,
        present: Sequence[str] = (),
    ) -> None:
        self.methods = {one.label: one for one in methods}
        self.picture, self.seed = picture, seed
        self.vocabulary, self.present = tuple(vocabulary), tuple(present)
        self._pictures: dict[int, Picture] = {}
        self._answers: Kept[Asked, Answer] = Kept(ANSWERS_BYTES)

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the picture."""
        return self.picture.sample.size

    def ask(self, label: str, clicks: Sequence[Click], text: str | None, at_once: bool = False) -> Answer:
        """A method's answer to some clicks and words.

        Args:
            label: The method's label.
            clicks: Clicks inside the picture, in rounds as in a run (`Loaded.signs`), the last of which may have
                fewer. Without any there is one round by text alone.
            text: The words; None for none.
            at_once: Whether all clicks are one prompt, in a single round.
        """
        loaded = self.methods[label]
        said = _said(loaded, text)
        if not clicks and loaded.method.needs_click:
            return Answer(label, error="no click; wanted at least one.")
        if at_once:
            return self._asked(loaded, tuple(clicks), said, None, 1)
        # Rounds that were answered before come from memory; the first new one starts from the last of those. All are
        # put again, also known ones, so that the rounds of the current clicks are the last to be dropped. A round that
        # failed is kept as well, and ends the loop: the next one would have no mask to start from.
        answer = Answer(label)
        a_round = len(loaded.signs)
        for number, count in enumerate((*range(a_round, len(clicks), a_round), len(clicks)), 1):
            key = (label, tuple(clicks[:count]), said)
            known = self._answers.get(key)
            answer = self._asked(loaded, key[1], said, answer.prediction, number) if known is None else known
            self._answers.put(key, answer, answer.prediction.masks.nbytes if answer.prediction else len(answer.error))
            if answer.error:
                break
        return answer

    def saliency(self, label: str, clicks: Sequence[Click], text: str | None) -> Float32[np.ndarray, "h w"] | None:
        """A method's saliency map of the words, from 0 to 1; None for a method without one.

        Raises:
            Exception: Whatever the method raises, for example if it needs words and there are none.
        """
        loaded = self.methods[label]
        picture = self.encoded(loaded.method)
        if isinstance(picture.state, Exception):
            raise picture.state
        prompt = Prompt(tuple(clicks), _said(loaded, text), None, self._names(loaded.method))
        with contained():
            found = loaded.method.saliency_map(picture.state, prompt)
            if found is not None:
                scoring.check_map(found, self.size)
        return found

    def shown(self, label: str, clicks: Sequence[Click], text: str | None, at_once: bool = False) -> Answer:
        """As `ask`, with the method's saliency map of the words."""
        answer = self.ask(label, clicks, text, at_once)
        if answer.prediction is None:
            return answer
        try:
            return replace(answer, saliency=self.saliency(label, clicks, text))
        except Exception as error:
            return replace(answer, prediction=None, error=described(error))

    def encoded(self, method: Method) -> Picture:
        """The picture as encoded by a method; each method encodes it once, for all labels that share the method."""
        # The key is the object's id. It cannot be another object's later, since `self.methods` keeps the method alive.
        if id(method) not in self._pictures:
            own = replace(self.picture, state=None, encode_ms=None)
            encode(method, [own], self.seed)
            self._pictures[id(method)] = own
        return self._pictures[id(method)]

    def _asked(
        self, loaded: Loaded, clicks: tuple[Click, ...], text: str | None, before: Prediction | None, number: int
    ) -> Answer:
        """The round with this number, from 1, which starts from the answer to the round before."""
        picture = self.encoded(loaded.method)
        if isinstance(picture.state, Exception):
            return Answer(loaded.label, error=f"encode: {described(picture.state)}")
        prompt = Prompt(clicks, text, carried(before)[1] if before else None, self._names(loaded.method))
        started = time.perf_counter()
        try:
            asked = [(picture.state, [prompt])]
            (answers,) = segmented(loaded.method, asked, [picture.sample.id], self.seed, number)
            (found,) = answers.given
            if isinstance(found, Exception):
                raise found
            with contained():
                scoring.check(found, self.size)
                # A method may write its next masks into the same array; answers are kept, so they need their own.
                kept = replace(found, masks=found.masks.copy())
        except Exception as error:
            return Answer(loaded.label, error=described(error), encode_ms=picture.encode_ms or 0.0)
        took_ms = (time.perf_counter() - started) * 1000
        return Answer(loaded.label, kept, "", None, picture.encode_ms or 0.0, took_ms)

    def _names(self, method: Method) -> tuple[str, ...]:
        return self.present if method.present_only else self.vocabulary


def _said(loaded: Loaded, text: str | None) -> str | None:
    """The words that the method gets: none if the config asks it without words."""
    return (text or None) if loaded.reads else None


def own_picture(image: Image | Path | str) -> Picture:
    """A picture without ground truth, from a file or from an array.

    Raises:
        UserError: The file is no image that can be shown faithfully, or the array is not uint8 (h, w, 3).
    """
    try:
        name = Path(image).stem if isinstance(image, str | Path) else "image"
        pixels = read_as_viewed(Path(image)) if isinstance(image, str | Path) else image
        sample = Sample(name, pixels, ())
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from error
    return prepared(sample)


def clicks_on(points: Point | Sequence[Point], size: tuple[int, int]) -> tuple[Click, ...]:
    """Checked clicks on a picture of (h, w).

    Raises:
        UserError: One outside the picture, or one that is not of whole numbers.
    """
    # (3, 5) is one click and ((3, 5), (7, 9)) are two: the first element of a lone click is a number. NumPy's numbers
    # count too, hence `Real`; `_click` refuses those that are not whole.
    given: Any = points  # A type checker cannot tell one pair from several.
    try:
        lone = isinstance(given, Click) or (len(given) in (2, 3) and isinstance(given[0], Real))
        found = [_click(point) for point in ([given] if lone else given)]
    except (KeyError, TypeError):  # None, a number, a mapping
        raise _unclear(given) from None
    height, width = size
    for click in found:
        if not (0 <= click.x < width and 0 <= click.y < height):
            raise UserError(
                f"click ({click.x}, {click.y}): outside the picture; wanted 0 to {width - 1}, 0 to {height - 1} (x, y)."
            )
    return tuple(found)


def _click(point: Any) -> Click:
    values = (point.x, point.y, point.positive) if isinstance(point, Click) else tuple(point)
    if len(values) not in (2, 3) or not all(isinstance(value, Integral) for value in values):
        raise _unclear(point)
    return Click(int(values[0]), int(values[1]), bool(values[2]) if len(values) == 3 else True)


def _unclear(click: Any) -> UserError:
    return UserError(f"click {click!r}: wanted whole pixels, (x, y), or (x, y, False) for a negative click.")


def predict(
    method: Method,
    image: Image | Path | str,
    click: Point | Sequence[Point] = (),
    text: str | None = None,
    vocabulary: Sequence[str] = (),
    at_once: bool = False,
) -> Prediction:
    """Segment one picture by clicks and words, with the answer that a run's row would have.

        found = harness.predict(ours, "photo.jpg", (120, 80), "kayak paddle")
        found.masks[0]  # bool (h, w)

    Args:
        method: A method from `harness.method`, or one that you built.
        image: A file, or uint8 (h, w, 3) in RGB.
        click: (x, y), or (x, y, False) for a negative one, in pixels; or several. Each is a round of its own, as in a
            run that makes one click a round: the method starts it from its last mask. Leave it out for a method that
            segments by text alone.
        text: The words, exactly as the method gets them.
        vocabulary: The names that the words are contrasted with; by default those of the method's training.
        at_once: Whether all clicks are one prompt, in a single round, as a network with a channel for each of several
            clicks needs them.

    Returns:
        The candidates, bool (k, h, w), with their scores.

    Raises:
        UserError: An argument is of another kind, the image cannot be read, a click lies outside of it, the method
            needs a click and gets none, or it fails on the image.
    """
    check_built(method, "harness.predict")
    if not isinstance(text, str | None):
        raise UserError(f"text {text!r}: wanted the words as one str, or None.")
    if isinstance(vocabulary, str):  # Its letters would be the names.
        raise UserError(f"vocabulary {vocabulary!r}: wanted a list of names, [{vocabulary!r}].")
    picture = own_picture(image)
    session = Session([Loaded("method", method, True, "")], picture, vocabulary)
    clicks = clicks_on(click, session.size)
    if not clicks and method.needs_click:
        raise UserError(f"{type(method).__name__}: found no click; wanted at least one, (x, y) in pixels.")
    answer = session.ask("method", clicks, text, at_once)
    if answer.prediction is None:
        raise UserError(f"{type(method).__name__}: {answer.error}")
    return answer.prediction
