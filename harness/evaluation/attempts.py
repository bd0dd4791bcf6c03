"""Ask a method for many things at once, and for each alone where that fails: one bad image does not fail the others.

segment([a, b, c])           fails
segment([a])               answers
segment([b])               fails: b has two prompts, which are then tried one by one
segment([b, prompt 1])   answers
segment([b, prompt 2])   fails: this exception is the answer to this prompt
segment([c])               answers
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from harness.evaluation import chance
from harness.plugins.failures import DeviceLost, contained, described, is_device_lost
from harness.plugins.interfaces import Group, Method
from harness.structures import Prediction


def attempted(function: Callable[[list[Any]], list[Any]], items: list[Any]) -> list[Any]:
    """What the function returns for the items together; if that fails, for each alone, exceptions in place."""
    if not items:
        return []
    try:
        with contained():
            results = function(items)
            if len(results) == len(items):
                return list(results)
            failure: Exception = ValueError(f"returned {len(results)} results; wanted {len(items)}.")
    except Exception as error:
        if is_device_lost(error):
            raise DeviceLost(described(error)) from error
        failure = error
    if len(items) == 1:
        return [failure]
    return [result for item in items for result in attempted(function, [item])]


def segmented(
    method: Method, groups: Sequence[Group], ids: Sequence[str], seed: int, click: int
) -> list[list[Prediction | Exception]]:
    """One answer or exception a prompt: all groups at once; if that fails, each image alone, then each prompt alone.

    Chance is seeded before each call from `seed`, `click` and the ids of the images that are asked together.

    Args:
        method: To be asked.
        groups: The images' states and prompts.
        ids: Of the images.
        seed: Of the run.
        click: The number of clicks that the prompts have.
    """

    def asked(items: list[tuple[str, Group]]) -> list[Any]:
        chance.seed(seed, "segment", click, *(id_ for id_, _ in items))
        return method.segment([group for _, group in items])

    answers: list[list[Prediction | Exception]] = []
    items = list(zip(ids, groups, strict=True))
    for (id_, (state, prompts)), answer in zip(items, attempted(asked, items), strict=True):
        if isinstance(answer, Sequence) and len(answer) == len(prompts):
            answers.append(list(answer))
            continue
        alone = attempted(asked, [(id_, (state, [prompt])) for prompt in prompts])
        answers.append([_only(one) for one in alone])
    return answers


def _only(answer: Any) -> Prediction | Exception:
    """The one prediction that answers one prompt."""
    if isinstance(answer, Exception):
        return answer
    if isinstance(answer, Sequence) and len(answer) == 1:
        return answer[0]
    found = f"{len(answer)} predictions" if isinstance(answer, Sequence) else type(answer).__name__
    return ValueError(f"segment answered one prompt with {found}; wanted one prediction.")
