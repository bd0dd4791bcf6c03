"""Types and defaults as a reader of YAML knows them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import Field

from harness import Saliency
from harness.plugins.annotations import default_in_words, in_words


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (str, "text"),
        (int | None, "whole number or null"),
        (Optional[Path], "path or null"),  # noqa: UP045 - both writings
        (Annotated[float, Field(ge=0, le=1)], "number, from 0, to 1"),
        (Annotated[int, Field(gt=0)] | None, "whole number, above 0 or null"),
        (Annotated[tuple[str, ...], Field(min_length=1)], "list of text, at least 1 of them"),
        (tuple[float, float], "list of number"),
        (tuple[int, str], "list of whole number, text"),
        (Sequence[str] | str, "list of text or text"),
        (dict[str, tuple[str, ...]], "mapping of text to list of text"),
        (Literal["binary", 3], "`binary` or 3"),
        (Saliency | None, "Saliency or null"),
        (Any, "anything"),
    ],
)
def test_a_type(annotation: Any, said: str) -> None:
    assert in_words(annotation) == said


@pytest.mark.parametrize(
    ("default", "said"),
    [(inspect.Parameter.empty, "needed"), (None, "null"), (False, "false"), (0.5, "0.5"), ("", '""'), ("a", "a")],
)
def test_a_default(default: Any, said: str) -> None:
    assert default_in_words(default) == said
    assert default_in_words((1, None)) == "[1, null]"
