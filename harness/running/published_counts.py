"""The published counts of data sets: images, instances, and the share of instances of seen categories."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from harness.config.parts import Plugin
from harness.plugins import registry
from harness.plugins.parameters import with_defaults

COUNTS = Path(__file__).with_suffix(".csv")


@dataclass(frozen=True)
class Published:
    """The counts of a whole data set; None for a number that was not published.

    Attributes:
        w: The share of instances whose category is seen.
        w_within: The most by which a share may differ from `w`.
        source: The publication of the numbers.
    """

    images: int | None
    instances: int | None
    w: float | None
    w_within: float
    source: str


def published(entry: Plugin) -> Published | None:
    """The counts of a data set with these parameters: the first line of published_counts.csv that fits them."""
    # Defaults count as well: a config that leaves `split` out means the same as one that names the default.
    given = with_defaults(registry.find("datasets", entry.name), entry.params)
    for line in lines():
        wanted = dict(part.split("=", 1) for part in line["params"].split())
        if line["dataset"] == entry.name and all(given.get(key) == yaml.safe_load(wanted[key]) for key in wanted):
            return Published(
                int(line["images"]) if line["images"] else None,
                int(line["instances"]) if line["instances"] else None,
                float(line["w"]) if line["w"] else None,
                float(line["w_within"] or 0),
                line["source"],
            )
    return None


@cache
def lines() -> Sequence[Mapping[str, str]]:
    """The lines of published_counts.csv."""
    with COUNTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
