"""Each text is read once, as long as it is remembered."""

from __future__ import annotations

from harness.methods.shared.texts import EachOnce


def test_each_text_is_computed_once_until_it_is_forgotten() -> None:
    asked: list[list[str]] = []

    def lengths(texts: list[str]) -> list[int]:
        asked.append(texts)
        return [len(text) for text in texts]

    each = EachOnce(lengths, kept=2)
    assert each(["a", "bb", "a"]) == [1, 2, 1]
    assert each(["bb"]) == [2]
    assert each(["ccc", "bb", "a"]) == [3, 2, 1]  # three at once are more than are kept, and all are answered
    assert each(["ccc", "bb"]) == [3, 2]
    assert each(["a"]) == [1]
    assert asked == [["a", "bb"], ["ccc"], ["a"]]
