"""A method under test and how the probes ask it: with copies of pictures, seeded as in a run."""

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
"""The share of pixels by which two answers may differ where sums are taken in another order: pixels on the outline."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A method and what the probes ask it with.

    Attributes:
        method: Built, with its weights.
        questions: Pictures and prompts.
        another: Builds the same method once more; on a device where one is named, and then None is returned if the
            constructor takes no `device`. None where only the built method is at hand.
        gpu: The name of a GPU on this machine: "cuda". None where there is none.
    """

    method: Method
    questions: Questions
    another: Callable[[str | None], Method | None] | None = None
    gpu: str | None = None

    def states(self, images: Sequence[Image], method: Method | None = None, copied: bool = True) -> list[Any]:
        """What `encode` returns for the images together, or for copies of them.

        Raises:
            BrokenError: It is not a list of one state for each image.
        """
        chance.seed("check", "encode")
        states = (method or self.method).encode([image.copy() if copied else image for image in images])
        if not isinstance(states, Sequence) or len(states) != len(images):
            raise BrokenError(
                f"encode returned {_count(states)} for {len(images)} images; wanted a list of {len(images)}."
            )
        return list(states)

    def answers(self, groups: Sequence[Group], method: Method | None = None) -> list[list[Prediction]]:
        """What `segment` answers to the groups together.

        Raises:
            BrokenError: It is not one prediction for each prompt of each image.
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
        """The checked answer to one prompt on an image that is encoded anew.

        Raises:
            BrokenError: It is none for an image of this size.
        """
        (state,) = self.states([image], method)
        ((given,),) = self.answers([(state, [prompt])], method)
        return checked(given, image)

    def predicted(self, image: Image, clicks: Any, prompt: Prompt) -> Prediction:
        """What `predict` returns, given the words and names of a prompt and these clicks."""
        chance.seed("check", "predict")
        names = [prompt.vocabulary] if _takes_vocabulary(self.method) else []
        return checked(self.method.predict(image.copy(), clicks, prompt.text, *names), image)


def checked(given: Prediction, image: Image) -> Prediction:
    """The answer, where it is one for an image of this size.

    Raises:
        BrokenError: It is not.
    """
    try:
        check(given, image.shape[:2])
    except ValueError as error:
        raise BrokenError(str(error)) from None
    return given


def apart(one: Prediction, other: Prediction) -> float:
    """The share of pixels, over all candidates, in which two answers differ; 1 where they cannot be compared."""
    if one.masks.shape != other.masks.shape or one.scores.keys() != other.scores.keys():
        return 1.0
    same = all(np.allclose(scores, other.scores[name], rtol=1e-3, atol=1e-3) for name, scores in one.scores.items())
    return float((one.masks ^ other.masks).mean()) if same else 1.0


def on_device(kind: str, name: str, params: Mapping[str, Any], device: str) -> dict[str, Any] | None:
    """A plugin's parameters with every `device` in it set, those of plugins among them too; None where none has one."""
    wanted = parameters.parameters_of(find(kind, name))
    moved: dict[str, Any] = {"device": device} if "device" in wanted else {}
    for key, value in params.items():
        inner = parameters.plugin_kind(wanted[key][0]) if key in wanted else None
        if inner and value is not None:
            told = on_device(inner, value["name"], value["params"], device)
            moved |= {key: {**value, "params": told}} if told else {}
    return {**params, **moved} if moved else None


def _takes_vocabulary(method: Method) -> bool:
    return "vocabulary" in inspect.signature(method.predict).parameters


def _nested(answers: Any) -> bool:
    return isinstance(answers, Sequence) and all(isinstance(one, Sequence) for one in answers)


def _count(found: Any) -> str:
    return f"{len(found)} things" if isinstance(found, Sequence) else type(found).__name__
