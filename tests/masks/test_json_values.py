"""Whole numbers in JSON, as people's tools write them."""

from __future__ import annotations

from typing import Any

import pytest

from harness.masks.json_values import id_text, kind_of, whole


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1), (1.0, 1), ("1", 1), ("-12.00", -12), (10**38, 10**38), ("1" * 38, int("1" * 38)), (0.0, 0)]
    + [(value, None) for value in (1.5, "1.5", "", "1e3", "x", " 1", "١", True, None, [1], {}, float("nan"))],
)
def test_whole(value: Any, number: int | None) -> None:
    assert whole(value) == number
    assert type(whole(value)) is type(number)


def test_an_id_as_text() -> None:
    values = [1, 1.0, "1", "1.0", "007", 1.5, None, 10**38]
    assert [id_text(value) for value in values] == ["1", "1", "1", "1.0", "007", "1.5", "None", str(10**38)]


def test_kinds_in_words() -> None:
    kinds = [kind_of(value) for value in (None, True, 1, 1.5, "a", [], {})]
    assert kinds == ["nothing", "true or false", "a number", "a number", "text", "a list", "an object"]
