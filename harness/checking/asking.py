"""Calls the method under test for the probes: with copies of pictures, and with seeded random generators."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.checking.probes import BrokenError
from harness.checking.questions import Questions
from harness.evaluation import chance
from harness.evaluation.scoring import check
from harness.plugins import parameters
from harness.plugins.interfaces import Group, Method
from harness.plugins.registry import find
from harness.structures import Image, Prediction, Prompt

TIPPED = 2e-3
"""The largest share of pixels in which a batch's answer may differ from a single one.

A batch of another size lets a network add its numbers in another order. The last bits of its output then differ, and
pixels whose value is almost the threshold change sides. Those lie on the outline: 0.2 % is 25 pixels of 96 x 128.
"""


@dataclass(frozen=True, eq=False)
class Asked:
    """A method, and the pictures and prompts that the probes give it.

    Attributes:
        method: Built, with its weights.
        questions: Pictures and prompts.
        another: Builds the same method once more. Given a device, it builds it there, or returns None if the
            constructor takes no `device`. None if only the built method is at hand.
        gpu: The name of a GPU on this machine: "cuda". None where there is none.
    """

    method: Method
    questions: Questions
    another: Callable[[str | None], Method | None] | None = None
    gpu: str | None = None

    def states(self, images: Sequence[Image], method: Method | None = None, copied: bool = True) -> list[Any]:
        """Call `encode` once with all images, or with copies of them, and return the states.

        Raises:
            BrokenError: `encode` does not return a list with one state for each image.
        """
        # Before every call the generators get the same seed. A method that draws from them, as a run allows, then draws
        # the same numbers in both answers that a probe compares; only one that draws elsewhere shows a difference.
        chance.seed("check", "encode")
        states = (method or self.method).encode([image.copy() if copied else image for image in images])
        if not isinstance(states, Sequence) or len(states) != len(images):
            raise BrokenError(
                f"encode returned {_count(states)} for {len(images)} images; wanted a list of {len(images)}."
            )
        return list(states)

    def answers(self, groups: Sequence[Group], method: Method | None = None) -> list[list[Prediction]]:
        """Call `segment` once with all groups and return its predictions: a list for each image, in the same order.

        Raises:
            BrokenError: `segment` does not return one prediction for each prompt of each image.
        """
        chance.seed("check", "segment")
        answers = (method or self.method).segment(groups)
        wanted = [len(prompts) for _, prompts in groups]
        found = [len(one) for one in answers] if _nested(answers) else None
        if found != wanted:
            told = found if found is not None else _count(answers)
            raise BrokenError(
                f"segment answered {wanted} prompts of {len(wanted)} images with {told}; wanted as many predictions as "
                "prompts."
            )
        return [list(one) for one in answers]

    def answer(self, image: Image, prompt: Prompt, method: Method | None = None) -> Prediction:
        """Encode a copy of the image, segment one prompt, and return the checked prediction.

        Raises:
            BrokenError: The prediction does not fit an image of this size.
        """
        (state,) = self.states([image], method)
        ((given,),) = self.answers([(state, [prompt])], method)
        return checked(given, image)

    def predicted(self, image: Image, clicks: Any, prompt: Prompt) -> Prediction:
        """Call `predict` with these clicks and a prompt's words, and return the checked prediction."""
        chance.seed("check", "predict")
        # A class that only has `predict` may leave the vocabulary out of its signature, as README's example does.
        # Of a data set without classes it is left out, too: a run then leaves the choice of names to the method.
        names = [prompt.vocabulary] if _takes_vocabulary(self.method, bool(prompt.vocabulary)) else []
        return checked(self.method.predict(image.copy(), clicks, prompt.text, *names), image)


def checked(given: Prediction, image: Image) -> Prediction:
    """Return the prediction if the scorer of a run would accept it for this image.

    Raises:
        BrokenError: The scorer would refuse it; the message is the scorer's.
    """
    try:
        check(given, image.shape[:2])
    except ValueError as error:
        raise BrokenError(str(error)) from None
    return given


def apart(one: Prediction, other: Prediction) -> float:
    """The share of pixels, over all candidates, in which two answers differ; 1 if they cannot be compared."""
    # Other scores count as another answer, even with equal masks: a ranking would pick another candidate by them.
    if one.masks.shape != other.masks.shape or one.scores.keys() != other.scores.keys():
        return 1.0
    same = all(np.allclose(scores, other.scores[name], rtol=1e-3, atol=1e-3) for name, scores in one.scores.items())
    return float((one.masks ^ other.masks).mean()) if same else 1.0


def on_device(kind: str, name: str, params: Mapping[str, Any], device: str) -> dict[str, Any] | None:
    """A plugin's parameters with every `device` set, also in the plugins that it uses; None if nothing takes one.

    For example {"saliency": {"name": "clipseg", "params": {}}} becomes
    {"device": "cpu", "saliency": {"name": "clipseg", "params": {"device": "cpu"}}}.
    """
    wanted = parameters.parameters_of(find(kind, name))
    moved: dict[str, Any] = {"device": device} if "device" in wanted else {}
    for key, value in params.items():
        # A method's own `device` is not enough: its saliency would still compute where the config puts it.
        inner = parameters.plugin_kind(wanted[key][0]) if key in wanted else None
        if inner and value is not None:
            told = on_device(inner, value["name"], value["params"], device)
            moved |= {key: {**value, "params": told}} if told else {}
    return {**params, **moved} if moved else None


def _takes_vocabulary(method: Method, any_names: bool) -> bool:
    """Whether `predict` takes names and, if there are none, whether it must have them all the same."""
    taken = inspect.signature(method.predict).parameters.get("vocabulary")
    return taken is not None and (any_names or taken.default is taken.empty)


def _nested(answers: Any) -> bool:
    return isinstance(answers, Sequence) and all(isinstance(one, Sequence) for one in answers)


def _count(found: Any) -> str:
    return f"{len(found)} things" if isinstance(found, Sequence) else type(found).__name__
