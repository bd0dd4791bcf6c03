"""Listings that cannot be right are refused before any work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness import UserError
from harness.config.parts import Plugin
from harness.jobs.listing import listing_of
from harness.plugins import registry
from harness.structures import Listed

KNOWN = Plugin(name="fakes:Known", label="mine")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has fakes:Known list these sample ids, or raise this, and these instances of each."""

    def change(ids: Any, listed: Callable[[str], list[str]] = lambda sample_id: [sample_id]) -> None:
        def sample_ids(_: Any) -> Any:
            if isinstance(ids, BaseException):
                raise ids
            return ids

        cls = registry.find("datasets", "fakes:Known")
        monkeypatch.setattr(cls, "sample_ids", sample_ids)
        monkeypatch.setattr(cls, "list_instances", lambda _, sample_id: [Listed(one) for one in listed(sample_id)])

    return change


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (KeyError("images"), r"sample_ids\(\) failed with KeyError: 'images' \(test_listing.py, line \d+\)\."),
        (SystemExit(3), r"sample_ids\(\) failed with RuntimeError: sys.exit\(3\) \(test_listing.py, line \d+\)\."),
        (None, r"sample_ids\(\) returned NoneType; wanted a list of texts.* Correct"),
        ((one for one in "ab"), r"sample_ids\(\) returned generator; wanted a list of texts.* Correct"),
        ([139, 285], r"sample_ids\(\) returned int 139; wanted texts\."),
        (["a", "b", 7], r"sample_ids\(\) returned int 7; wanted texts\."),
        (["a", "b", "c", "b"], r"sample_ids\(\) returned 'b' twice; wanted every id once\."),
    ],
)
def test_ids_that_are_none_are_a_message(ids: Any, said: str, known: Callable[..., None]) -> None:
    known(ids)
    for limit in (None, 1):
        with pytest.raises(UserError, match=f"^data set 'mine': {said}"):
            listing_of(KNOWN, limit)


def test_a_data_set_s_own_message_stays(known: Callable[..., None]) -> None:
    known(UserError("mine: found no folder; wanted one."))
    with pytest.raises(UserError, match=r"^mine: found no folder; wanted one\.$"):
        listing_of(KNOWN)


def test_a_data_set_without_a_sample_is_a_message(known: Callable[..., None]) -> None:
    known([])
    with pytest.raises(UserError, match="^data set 'mine' lists no sample; wanted one at least"):
        listing_of(KNOWN)


def test_a_data_set_without_an_instance_is_a_message(known: Callable[..., None]) -> None:
    known(["x", "y"], lambda _: [])
    with pytest.raises(UserError, match=r"^data set 'mine' has no instance in any of its 2 images; wanted one"):
        listing_of(KNOWN)
    known(["x", "y"], lambda sample_id: ["y0"][sample_id != "y" :])
    assert listing_of(KNOWN).weights == {"x": 0, "y": 1}


@pytest.mark.parametrize(
    ("classes", "found"),
    [(None, "nothing"), ("cup", "str 'cup'"), ((1, 2), r"tuple \(1, 2\)"), (iter(["cup"]), "list_iterator .*")],
)
def test_a_data_set_that_does_not_say_its_classes_is_a_message(
    known: Callable[..., None], monkeypatch: pytest.MonkeyPatch, classes: Any, found: str
) -> None:
    known(["x", "y"])
    monkeypatch.setattr(registry.find("datasets", "fakes:Known"), "classes", classes)
    with pytest.raises(UserError, match=f"^data set 'mine': `classes` is {found}; wanted the names of its categories"):
        listing_of(KNOWN)


def test_an_instance_that_is_listed_twice_is_a_message(known: Callable[..., None]) -> None:
    known(["x", "y"], lambda sample_id: [f"{sample_id}0", f"{sample_id}1", "y2"[sample_id == "y" :]])
    assert listing_of(KNOWN).weights == {"x": 3, "y": 3}
    for listed in (lambda sample_id: ["0", sample_id], lambda sample_id: [sample_id, "0", "0"]):
        known(["x", "y"], listed)
        with pytest.raises(UserError, match=r"^data set 'mine': list_instances\(\) lists the instance '0' twice;"):
            listing_of(KNOWN)
