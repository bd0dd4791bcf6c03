"""Ask a method for many things at once, and for each alone where that fails: one bad image does not fail the others.

segment([a, b, c])           fails
segment([a])               answers
segment([b])               fails: b has two prompts, which are then tried one by one
segment([b, prompt 1])   answers
segment([b, prompt 2])   fails: this exception is the answer to this prompt
segment([c])               answers

What b raised explains why the three failed together. Where each answers alone, nothing explains it: memory that does
not suffice for all, or a method that fails now and then. Its first exception is then kept beside the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.evaluation import chance
from harness.plugins.failures import DeviceLost, contained, described, is_device_lost
from harness.plugins.interfaces import Group, Method
from harness.structures import Click, Prediction


class Tried(NamedTuple):
    """What a function returned for items.

    Attributes:
        results: One an item; an exception in place of what failed.
        failure: What the items raised together, where none of them raised anything alone; else None.
    """

    results: list[Any]
    failure: Exception | None = None


class Answers(NamedTuple):
    """What a method answered to the prompts of one image.

    Attributes:
        given: One a prompt; an exception in place of what failed.
        retried: Why a first try failed, where the prompts were answered at a second one; else "".
    """

    given: list[Prediction | Exception]
    retried: str = ""


def attempted(function: Callable[[list[Any]], list[Any]], items: list[Any]) -> Tried:
    """What the function returns for the items together; if that fails, for each alone, exceptions in place."""
    if not items:
        return Tried([])
    try:
        with contained():
            results = function(items)
            if len(results) == len(items):
                return Tried(list(results))
            failure: Exception = ValueError(f"returned {len(results)} results; wanted {len(items)}.")
    except Exception as error:
        if is_device_lost(error):
            raise DeviceLost(described(error)) from error
        failure = error
    if len(items) == 1:
        return Tried([failure])
    # Each alone, not in halves: an image that takes too much memory fails by itself either way, and of few images at
    # once halving saves nothing.
    alone = [result for item in items for result in attempted(function, [item]).results]
    return Tried(alone, None if any(isinstance(one, Exception) for one in alone) else failure)


def segmented(
    method: Method, groups: Sequence[Group], ids: Sequence[str], seed: int, click: int, piece: int = 0
) -> list[Answers]:
    """One answer or exception a prompt: all groups at once; if that fails, each image alone, then each prompt alone.

    Chance is seeded before each call from `seed`, `click`, the ids of the images that are asked together, and `piece`
    from 1 on.

    Args:
        method: To be asked.
        groups: The images' states and prompts.
        ids: The ids of the images.
        seed: The run's seed.
        click: The number of clicks that the prompts have.
        piece: Which part of a large image's prompts these are.

    Returns:
        The answers of each image.
    """

    def asked(items: list[tuple[str, Group]]) -> list[Any]:
        chance.seed(seed, "segment", click, *(id_ for id_, _ in items), *[piece][: bool(piece)])
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
    """How well each name fits around each prompt's first positive click, by the method; all at once, else each alone.

    Args:
        method: To be asked.
        state: Of the image.
        clicks: Those of each prompt; where none is positive, the first one counts.
        names: The data set's classes as they are said; where there are none, the method is not asked.

    Returns:
        As many numbers a prompt as there are names, or why there are none.
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
    """The one prediction that answers one prompt."""
    if isinstance(answer, Exception):
        return answer
    if isinstance(answer, Sequence) and len(answer) == 1:
        return answer[0]
    found = f"{len(answer)} predictions" if isinstance(answer, Sequence) else type(answer).__name__
    return ValueError(f"segment answered one prompt with {found}; wanted one prediction.")
