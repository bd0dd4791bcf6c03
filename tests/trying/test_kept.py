"""What was used last stays, and the rest goes."""

from __future__ import annotations

from harness.trying.kept import Kept


def test_what_was_used_longest_ago_is_dropped_first() -> None:
    kept: Kept[str, int] = Kept(3)
    for number, name in enumerate("abc"):
        assert kept.put(name, number) == number
    assert kept.get("a") == 0
    kept.put("d", 3)
    assert [kept.get(name) for name in "abcd"] == [0, None, 2, 3] and len(kept) == 3


def test_weights_count_and_a_value_that_is_put_again_counts_once() -> None:
    kept: Kept[str, str] = Kept(10)
    kept.put("a", "old", 6)
    kept.put("a", "new", 6)
    kept.put("b", "b", 4)
    assert (kept.get("a"), kept.get("b")) == ("new", "b")
    kept.put("c", "larger than all room", 99)
    assert (len(kept), kept.get("c")) == (1, "larger than all room")
    kept.put("d", "d", 1)
    assert (kept.get("c"), kept.get("d")) == (None, "d")
