"""Runs that are cut into parts, each a command of its own: a part's images, the parts at work, the missing images.

    runs/<run>/shards/...                the rows of all parts, in one folder
    runs/<run>/parts/3-of-16/lock.json   while part 3 is at work: by whom
    runs/<run>/manifest.json             "parts": 16

The hash of an image's id decides its part. So every part finds its images without asking the others, and it finds the
same ones at every start, even if the data set grows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.storage.folder import Folder
from harness.storage.lock import Owner, holder
from harness.storage.manifest import PARTS, JobFacts, Samples
from harness.storage.store import Store
from harness.structures import UserError


@dataclass(frozen=True, order=True)
class Part:
    """One of `of` parts of a run, the first of which is number 1."""

    number: int
    of: int

    @classmethod
    def said(cls, text: str) -> Part:
        """The part that a text such as `3/16` means.

        Raises:
            UserError: The text has another form.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(f"--part {text}: wanted a number of a part and how many there are, from 1/16 to 16/16.")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def holding(cls, sample_id: str, of: int) -> Part:
        """The part that a sample belongs to."""
        digest = hashlib.sha256(sample_id.encode("utf-8", "surrogatepass")).digest()
        return cls(int.from_bytes(digest[:8]) % of + 1, of)

    def folder(self, run: Folder) -> Folder:
        """The folder of its lock and its progress."""
        return run / PARTS / f"{self.number}-of-{self.of}"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def at_work(run: Folder) -> dict[str, Owner]:
    """The parts of a run that a process works at now: the folder's name -> the owner of its lock."""
    parts = run / PARTS
    found = {name: holder(parts / name) for name in parts.folders()}
    return {name: owner for name, owner in found.items() if owner}


def refuse_at_work(run: Folder) -> None:
    """Refuse to write a whole run while a process works at one of its parts.

    Raises:
        UserError: One does; the message names it.
    """
    if busy := at_work(run):
        name, owner = next(iter(busy.items()))
        raise UserError(
            f"{run}: found {len(busy)} parts of this run at work, the first {name} ({owner}); wanted none while the "
            "whole run is written. Wait for them, stop them, or give this run another name."
        )


def incomplete(store: Store, jobs: Sequence[JobFacts], samples: Samples) -> list[Part]:
    """The parts in which some images of a job have no rows; empty if the run is not cut into parts."""
    of = store.manifest().get(PARTS)
    if not of:
        return []
    absent = {one for job in jobs for one in samples.get(job.dataset, {}).keys() - store.done(job)}
    return sorted({Part.holding(one, of) for one in absent})


def said_of_parts(run: Folder, parts: Sequence[Part]) -> str:
    """A sentence that names the incomplete parts of a run, and how to complete them."""
    named = ", ".join(map(str, parts))
    each = "Give its command again" if len(parts) == 1 else "Give their commands again"
    return f"{run}: images are missing of part{'s' * (len(parts) > 1)} {named}. {each}: run CONFIG --part {parts[0]}"
