"""How a method is asked, and what a record says of that, whatever came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.config.run_config import Clicks, Text
from harness.masks.destinations import Place
from harness.masks.metrics import Region
from harness.structures import Click, Instance, Listed, Mask, Record


@dataclass(frozen=True)
class Protocol:
    """What is asked of every method alike.

    Attributes:
        run: The run's name.
        seed: Of the clicks.
        clicks: Strategy, its options and how many.
        text: What the words are.
        trained_classes: The method's, where it names them: what is seen on a data set without a split.
        metrics: Names in `METRICS`.
        images_per_batch: Images given to `encode` at once.
    """

    run: str
    seed: int
    clicks: Clicks
    text: Text
    metrics: tuple[str, ...]
    images_per_batch: int = 1
    trained_classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Names:
    """How the records name a job's method and data set: labels and plugins."""

    method: str
    method_plugin: str
    dataset: str
    dataset_plugin: str


@dataclass(frozen=True, eq=False)
class Target:
    """An instance that can be asked for, with its region: the same for all that ask."""

    instance: Instance
    truth: Region


@dataclass(eq=False)
class Asking:
    """A target with its words, the clicks made on it so far, where they began, and the method's latest mask."""

    target: Target
    text: str | None
    clicks: tuple[Click, ...] = ()
    place: Place | None = None
    predicted: Mask | None = None
    memory: Any = None


def failed(
    names: Names,
    protocol: Protocol,
    sample_id: str,
    instance: Instance | Listed,
    reason: str,
    asking: Asking | None = None,
    device: str = "",
) -> Record:
    """The record of an instance for which there is no mask."""
    return Record(**facts(names, protocol, sample_id, instance, asking, device), status="failed", error=reason)


def facts(
    names: Names,
    protocol: Protocol,
    sample_id: str,
    instance: Instance | Listed,
    asking: Asking | None,
    device: str,
) -> dict[str, Any]:
    """What a record says of the prompt, whatever came of it; there is no asking where there was no prompt."""
    whole = instance if isinstance(instance, Instance) else None
    clicks, place = (asking.clicks, asking.place) if asking else ((), None)
    return {
        **vars(names),
        "run": protocol.run,
        "image_id": sample_id,
        "instance_id": instance.id,
        "category": instance.category,
        "seen": seen(protocol, instance),
        "text": asking.text if asking else None,
        "text_rule": protocol.text.rule,
        "clicks": clicks,
        "click_index": len(clicks) or protocol.clicks.max_clicks,
        "click_strategy": protocol.clicks.strategy,
        "under_click": place.under_click if place else None,
        "under_click_area_ratio": place.area_ratio if place else None,
        "click_depth_px": place.depth if place else None,
        "same_class_count": whole.same_class_count if whole else None,
        "height": whole.mask.shape[0] if whole else None,
        "width": whole.mask.shape[1] if whole else None,
        "device": device,
    }


def seen(protocol: Protocol, instance: Instance | Listed) -> bool | None:
    """By the data set's split; without one, by the classes that the method was trained on, if it names them."""
    if instance.seen is not None or not protocol.trained_classes or not instance.category:
        return instance.seen
    return instance.category in protocol.trained_classes
