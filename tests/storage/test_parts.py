"""A run that is cut into parts: whose images are whose, and which part is at work or lacks some."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import UserError
from harness.storage.folder import Folder
from harness.storage.lock import Lock
from harness.storage.parts import Part, at_work


def test_every_image_belongs_to_one_part_by_its_id_alone() -> None:
    ids = [f"{number:012d}" for number in range(1600)]
    sizes = dict.fromkeys(range(1, 17), 0)
    for one in ids:
        sizes[Part.holding(one, 16).number] += 1
    assert sum(sizes.values()) == 1600 and min(sizes.values()) > 70 and max(sizes.values()) < 130
    # The SHA-256 of "000000000139" begins with these eight bytes; which part it is must never change.
    digest = 0x6AFC83AA15838B1A
    assert [Part.holding("000000000139", of).number for of in (1, 2, 16)] == [1, 1 + digest % 2, 1 + digest % 16]


@pytest.mark.parametrize("said", ["0/4", "5/4", "3", "3/0", "a/b", "-1/4", "1/4/2", ""])
def test_what_is_no_part_is_refused(said: str) -> None:
    with pytest.raises(UserError, match="wanted a number of a part and how many there are"):
        Part.said(said)
    assert str(Part.said("3/16")) == "3/16" and Part.said("3/16") == Part(3, 16)


def test_who_is_at_work_is_seen_in_the_parts_folders(tmp_path: Path) -> None:
    run = Folder.at(tmp_path)
    assert at_work(run) == {}
    with Lock(Part(2, 3).folder(run)) as lock:
        assert at_work(run) == {"2-of-3": lock.owner}
        with pytest.raises(UserError, match="found another process at work on this run"), Lock(Part(2, 3).folder(run)):
            pass
        with Lock(Part(1, 3).folder(run)):
            assert sorted(at_work(run)) == ["1-of-3", "2-of-3"]
    assert at_work(run) == {}
