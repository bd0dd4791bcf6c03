"""Finds out whether a method that does not declare `uses_text` reads the text anyway.

Tables measure the text's gain against methods without text. A method that reads the words without declaring it would be
taken for one of those. So on the first images, after their rows are made, the first instance is prompted again:

    own words                 mask 1
    own words again           mask 1      a method that draws at random may differ here; then nothing follows
    other words               mask 2      differs: the method reads the text

The random generators are seeded before each call, so these extra calls change no row.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.evaluation.attempts import segmented
from harness.evaluation.protocol import Asking, Way
from harness.plugins.interfaces import Method
from harness.structures import Prediction

IMAGES = 3
"""How many images each worker probes, for each way of asking."""

OTHER = "something else"
"""The other words if the data set has no other class."""

_log = logging.getLogger(__name__)


def says_uses_text(method: type[Method]) -> bool:
    """Whether a method's class, or one that it extends, declares `uses_text`."""
    return any("uses_text" in vars(one) for one in method.__mro__ if issubclass(one, Method) and one is not Method)


class Probe:
    """Prompts a method with other words, on the first images of every way of asking.

    Attributes:
        found: The labels of the methods that read the text.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.found: set[str] = set()

    def ask(self, method: Method, way: Way, asked: Sequence[Asking]) -> None:
        """Prompt the first of the instances again; their images must be encoded and their rows made."""
        label = way.names.method
        most = way.protocol.clicks.max_clicks
        first = next((one for one in asked if (one.clicks or not most) and one.text is not None), None)
        if first is None or label in self.found or self.asked[label] >= IMAGES:
            return
        self.asked[label] += 1
        try:
            if _changes(method, way, first):
                self.found.add(label)
        except Exception as error:  # A failure here costs no row. If it matters, it also shows as failed rows.
            _log.debug("%s: not asked with other words: %s", label, error)


def _changes(method: Method, way: Way, asking: Asking) -> bool:
    """Whether other words change the masks, and the same words do not."""
    # The answer to the own words is asked for twice, since a method may draw from a generator that no seed reaches. Its
    # masks then differ anyway, and the difference to other words proves nothing.
    prompt = replace(way.prompt(asking), previous=None)
    other = next((name for name in way.wording.vocabulary if name != asking.text), OTHER)
    prompts = [prompt, prompt, replace(prompt, text=other)]
    picture, seed = asking.picture, way.protocol.seed
    own, again, others = (
        _masks(segmented(method, [(picture.state, [one])], [picture.sample.id], seed, 1)[0].given[0]) for one in prompts
    )
    return np.array_equal(own, again) and not np.array_equal(own, others)


def _masks(answer: Prediction | Exception) -> Any:
    """A copy of the masks, since a method may fill the same array with its next answer."""
    if isinstance(answer, Exception):
        raise answer
    return np.array(answer.masks)
