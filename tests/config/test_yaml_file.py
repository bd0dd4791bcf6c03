"""YAML of any kind is read or refused with one message."""

from __future__ import annotations

import pytest

from harness.config.yaml_file import parsed
from harness.structures import UserError


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: " + "[" * 20_000, "too deep"),
        ("\n".join(" " * n + "a:" for n in range(3000)), "too deep"),
        ("seed: " + "9" * 4400, "found 4400 digits at line 1, column 7"),
        ("seed: -" + "9" * 4400, "found 4401 digits at line 1, column 7"),
        ("run: 2001-99-99", "month"),
        ("<<: 5", "expected a mapping"),
        ("<<: [{a: 1}, 5]", "expected a mapping"),
        ("a: 1\na: 2", "found 'a' twice"),
        ("run: x\nmethods: &all [*all]", "recursive node at line 2, column 10"),
        ("run: &own {name: *own}", "recursive node at line 1, column 6"),
        (r'run: "caf\uDCE9"', r"found 'caf\\udce9', which is no Unicode"),
    ],
)
def test_what_cannot_be_read_is_one_message(text: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as told:
        parsed(text, "a.yaml")
    assert len(str(told.value)) < 500 and str(told.value).startswith("a.yaml: ")


def test_merge_keys_give_what_yaml_says() -> None:
    assert parsed("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}", "a.yaml")["b"] == {"x": 1, "y": 3}
