"""Common to methods that read a text: checks that there is one, and reads each text once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from harness.structures import Prompt

R = TypeVar("R")


def required_text(prompt: Prompt, method: str) -> str:
    """The prompt's text.

    Raises:
        ValueError: It has no text, or only spaces.
    """
    if not prompt.text or not prompt.text.strip():
        raise ValueError(f"{method} needs a text; found {prompt.text!r}. Use click_only for prompts by clicks alone.")
    return prompt.text


class EachOnce(Generic[R]):
    """Computes a result for each distinct text, once as long as it is kept.

    Args:
        compute: Texts, all different -> a result for each.
        kept: How many results are kept at least; the oldest are dropped first.
    """

    def __init__(self, compute: Callable[[list[str]], Sequence[R]], kept: int) -> None:
        self.compute, self.kept = compute, kept
        self.known: dict[str, R] = {}

    def __call__(self, texts: Sequence[str]) -> list[R]:
        """The result of each text."""
        if new := [text for text in dict.fromkeys(texts) if text not in self.known]:
            self.known |= dict(zip(new, self.compute(new), strict=True))
        found = [self.known[text] for text in texts]
        # Only after the answer is complete: a call with more texts than are kept still finds all of its own.
        for text in list(self.known)[: -self.kept]:
            del self.known[text]
        return found
