"""The lists of instances that the paper's numbers are over. Tables show the paper's numbers only for the same list."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperList:
    """A split of a data set, and how many objects it holds."""

    split: str
    objects: int


LISTS = {
    "voc": PaperList("val", 3422),
    "coco": PaperList("val2017", 36335),
    "refcoco": PaperList("val", 3811),
    "openimages": PaperList("validation", 24730),
}
"""Data set plugin -> the list, by the data sets' own counts (harness/running/published_counts.csv). The paper names no
split of refCOCO and Open Images; these are the ones that its seen shares fit."""


def difference(plugin: str, split: str, objects: int, whole: bool) -> str:
    """Describes how the instances of a run differ from the paper's list.

    Args:
        plugin: The data set's plugin.
        split: The run's split.
        objects: How many instances the run was to segment.
        whole: Whether it was to segment the whole split, without `--limit`.

    Returns:
        `published: val, 3422 objects; here: trainval, 25`; "" for the same list, and if the paper has none.
    """
    # Split and count together tell a list: the counts are the data sets' own, to the last object, so a run on another
    # split, or without its crowds, has another.
    paper = LISTS.get(plugin)
    if paper is None or (whole and (split, objects) == (paper.split, paper.objects)):
        return ""
    here = f"{split or 'an unnamed split'}, {objects}" + ("" if whole else " (limited)")
    return f"published: {paper.split}, {paper.objects} objects; here: {here}"
