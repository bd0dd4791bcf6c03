"""Calls a method for many items at once and, if that fails, for each alone: one bad image does not fail the others.

    segment([a, b, c])              fails
      segment([a])                  answers
      segment([b])                  fails: b has two prompts, which are then tried one by one
        segment([b, prompt 1])      answers
        segment([b, prompt 2])      fails: this exception is the answer to this prompt
      segment([c])                  answers

Here the failure of b explains why the three failed together. If all answer when they are alone, nothing explains the
first failure: perhaps memory was short for all at once, or the method fails now and then. Its exception is then kept
beside the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from typing import Any, NamedTuple

import numpy as np

from harness.evaluation import chance
from harness.plugins.failures import DeviceLost, contained, described, is_device_lost
from harness.plugins.interfaces import Group, Method
from harness.structures import Click, Prediction


class Tried(NamedTuple):
    """The results of a function for several items.

    Attributes:
        results: A result for each item; the exception for an item that failed.
        failure: The exception of the call for all items, if none of them failed alone; else None.
    """

    results: list[Any]
    failure: Exception | None = None


class Answers(NamedTuple):
    """A method's answers to the prompts of one image.

    Attributes:
        given: An answer for each prompt; the exception for a prompt that failed.
        retried: The reason why the first try failed, if a second one succeeded; else "".
    """

    given: list[Prediction | Exception]
    retried: str = ""


def attempted(function: Callable[[list[Any]], list[Any]], items: list[Any]) -> Tried:
    """The function's results for all items together; if that fails, for each alone, with exceptions for failures."""
    if not items:
        return Tried([])
    try:
        with contained():
            results = function(items)
            if not isinstance(results, Sized):
                raise ValueError(f"returned {type(results).__name__}; wanted a list of {len(items)}.")
            if len(results) == len(items):
                return Tried(list(results))
            failure: Exception = ValueError(f"returned {len(results)} results; wanted {len(items)}.")
    except Exception as error:
        if is_device_lost(error):
            raise DeviceLost(described(error)) from error
        failure = error
    if len(items) == 1:
        return Tried([failure])
    # Each alone, not in halves: a batch has few images, so halving would save no calls, and an image that takes too
    # much memory fails alone in either case.
    alone = [result for item in items for result in attempted(function, [item]).results]
    return Tried(alone, None if any(isinstance(one, Exception) for one in alone) else failure)


def segmented(
    method: Method, groups: Sequence[Group], ids: Sequence[str], seed: int, number: int, piece: int = 0
) -> list[Answers]:
    """Ask all groups at once; if that fails, each image alone, then each prompt alone.

    The random generators are seeded before each call from `seed`, `number`, the ids of the images in the call and, from
    1 on, `piece`.

    Args:
        method: The method to call.
        groups: The images' states and prompts.
        ids: The ids of the images.
        seed: The run's seed.
        number: The number of the round of clicks, from 1.
        piece: The number of the part of a large image's prompts.

    Returns:
        The answers for each image: one answer or exception for each prompt.
    """

    def asked(items: list[tuple[str, Group]]) -> list[Any]:
        # Piece 0 is left out of the seed: nearly all images have no other, and their numbers stay as without pieces.
        chance.seed(seed, "segment", number, *(id_ for id_, _ in items), *[piece][: bool(piece)])
        return method.segment([group for _, group in items])

    answers: list[Answers] = []
    items = list(zip(ids, groups, strict=True))
    tried = attempted(asked, items)
    for (id_, (state, prompts)), answer in zip(items, tried.results, strict=True):
        failure = tried.failure or (answer if isinstance(answer, Exception) else None)
        if isinstance(answer, Sequence) and len(answer) == len(prompts):
            answers.append(Answers(list(answer), described(failure) if failure else ""))
            continue
        again = attempted(asked, [(id_, (state, [prompt])) for prompt in prompts])
        given = [_only(one) for one in again.results]
        passed = not any(isinstance(one, Exception) for one in given)
        failure = failure or again.failure
        answers.append(Answers(given, described(failure) if failure and passed else ""))
    return answers


def text_fits(
    method: Method, state: Any, clicks: Sequence[Sequence[Click]], names: Sequence[str]
) -> list[Sequence[float] | Exception]:
    """Let the method score how well each name fits around each prompt's first positive click.

    All prompts are asked at once; if that fails, each alone.

    Args:
        method: The method to call.
        state: The image's state, as `encode` returned it.
        clicks: The clicks of each prompt; if none is positive, the first one counts.
        names: The data set's classes as prompts spell them; without any, the method is not called.

    Returns:
        For each prompt a number for each name, or the exception that was raised.
    """

    def asked(some: list[Click]) -> list[Any]:
        found = np.asarray(method.text_fits(state, some, names))
        if found.dtype.kind != "f" or found.shape != (len(some), len(names)) or not np.isfinite(found).all():
            raise ValueError(
                f"text_fits returned {found.dtype} {found.shape}; wanted finite float32 {(len(some), len(names))}, a "
                "number for each click and name."
            )
        return found.tolist()

    firsts = [next((click for click in own if click.positive), own[0]) for own in clicks]
    return attempted(asked, firsts).results if names else [() for _ in clicks]


def _only(answer: Any) -> Prediction | Exception:
    """The one prediction in an answer to one prompt, or an exception that describes the wrong answer."""
    if isinstance(answer, Exception):
        return answer
    if isinstance(answer, Sequence) and len(answer) == 1:
        return answer[0]
    found = f"{len(answer)} predictions" if isinstance(answer, Sequence) else type(answer).__name__
    return ValueError(f"segment answered one prompt with {found}; wanted one prediction.")
