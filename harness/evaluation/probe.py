"""Whether a method that does not say `uses_text` reads the text all the same.

Tables measure what the text adds against methods that are given none. A method that reads the words without saying so
would pass for one of these. So the first instance of the first images is asked for twice more, with its own words and
with others, after the image's rows are made: if only the other words change the masks, the method reads them. Chance is
seeded before each call, so that neither a method that draws nor any row is touched.
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
"""Images that are asked about, of each way of asking, by each worker."""

OTHER = "something else"
"""What is asked for where the data set knows no other class."""

_log = logging.getLogger(__name__)


def says_uses_text(method: type[Method]) -> bool:
    """Whether a method's class, or one that it extends, says whether it uses the text."""
    return any("uses_text" in vars(one) for one in method.__mro__ if issubclass(one, Method) and one is not Method)


class Probe:
    """Asks a method with other words, on the first images of every way of asking.

    Attributes:
        found: The labels of the methods that read the text.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.found: set[str] = set()

    def ask(self, method: Method, way: Way, asked: Sequence[Asking]) -> None:
        """Ask about the first of the instances, whose images are encoded and whose rows are made."""
        label = way.names.method
        most = way.protocol.clicks.max_clicks
        first = next((one for one in asked if (one.clicks or not most) and one.text is not None), None)
        if first is None or label in self.found or self.asked[label] >= IMAGES:
            return
        self.asked[label] += 1
        try:
            if _changes(method, way, first):
                self.found.add(label)
        except Exception as error:  # What fails here is no row; where it matters, it fails in the rows, too.
            _log.debug("%s: not asked with other words: %s", label, error)


def _changes(method: Method, way: Way, asking: Asking) -> bool:
    """Whether other words change the masks, and the same words do not."""
    # Three answers: to the own words, to the own words again, and to others. A method that draws in a way that no
    # seed reaches gives other masks the second time, too, and then nothing follows from a difference.
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
