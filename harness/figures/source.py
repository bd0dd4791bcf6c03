"""A run, opened for its figures: rows and context and, if they are on this machine, the pictures and the saliency."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32

from harness import messages, places
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin, label
from harness.config.run_config import RunConfig
from harness.config.wording import Wording
from harness.plugins import parameters
from harness.plugins.interfaces import Dataset, Saliency
from harness.plugins.registry import check_at_hand
from harness.plugins.vocabularies import Contrast, Vocabulary
from harness.report.context import Context
from harness.results.recorded import recorded
from harness.statistics.final_clicks import FinalClicks
from harness.storage.store import Store
from harness.structures import Mask, Sample, UserError

_log = logging.getLogger(__name__)

SaliencyMap = Float32[np.ndarray, "h w"]


@dataclass(eq=False)
class Pictures:
    """A run's pictures, their ground truth and saliency, as far as they are on this machine.

    A picture that cannot be read never stops a report: it is left out, and the first reason of each data set is kept in
    `unread`.

    Attributes:
        config: The config of the run's last start.
        roots: Data set's label -> its folder on this machine, if that differs from the run's.
        unread: Data set's label -> why its pictures are not shown.
    """

    config: RunConfig
    roots: Mapping[str, Path] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._datasets: dict[str, Dataset | None] = {}
        self._seen: dict[str, tuple[Saliency, Contrast] | None] = {}
        known = {label(entry) for entry in self.config.datasets}
        if wrong := set(self.roots) - known:
            raise UserError(f"--data: no data set '{min(wrong)}' in this run. {messages.suggest(min(wrong), known)}")

    def sample(self, dataset: str, sample_id: str) -> Sample | None:
        """An image with its ground truth; None, and a line in `unread`, if it cannot be read."""
        plugin = self.dataset(dataset)
        try:
            return plugin.load(sample_id) if plugin else None
        except (OSError, ValueError, KeyError, UserError) as error:
            self._give_up(dataset, f"image '{sample_id}': {error}")
            return None

    def dataset(self, name: str) -> Dataset | None:
        """The data set with a label; None, and a line in `unread`, if it is not on this machine."""
        if name not in self._datasets:
            try:
                self._datasets[name] = self._built(name)
            except (OSError, ValueError, UserError) as error:
                self._give_up(name, str(error))
                self._datasets[name] = None
        return self._datasets[name]

    def saliency_maps(self, dataset: str, sample: Sample, text: str) -> dict[str, SaliencyMap]:
        """The map of a text by each of the run's saliencies; the key is "saliency" for one, else its method's label."""
        plugin, methods = self.dataset(dataset), self._with_saliency()
        if plugin is None:
            return {}
        built = {name: self._saliency(name, method) for name, method in methods.items()}
        return {
            name if len(methods) > 1 else "saliency": self._map(plugin, methods[name], *seen, sample, text)
            for name, seen in built.items()
            if seen is not None
        }

    def _saliency(self, name: str, method: MethodEntry) -> tuple[Saliency, Contrast] | None:
        """A method's saliency and its names to contrast with; None, and a line in `unread`, if a file is missing."""
        if name not in self._seen:
            self._seen[name] = None
            try:
                entry = method.params["saliency"]
                for plugin in (entry["name"], self.config.text_of(method).rule):
                    check_at_hand(plugin)
                saliency = parameters.build("saliency", entry["name"], entry.get("params", {}))
                self._seen[name] = saliency, _contrast(method)
            except (OSError, ValueError, UserError) as error:
                self._give_up("saliency", str(error))
        return self._seen[name]

    def _map(
        self, plugin: Dataset, method: MethodEntry, saliency: Saliency, contrast: Contrast, sample: Sample, text: str
    ) -> SaliencyMap:
        wording = Wording(self.config.text_of(method), plugin.classes)
        # The map is made with the names that the run used: those of the data set, of the training or of a file, or
        # ("present") of the classes in this image, which the ground truth shows.
        present = wording.present(frozenset(one.category for one in sample.instances))
        names = contrast.names(present if contrast.choice == "present" else wording.vocabulary)
        return saliency.maps(saliency.features([sample.image])[0], [text], names)[0]

    def saliency_entry(self) -> Mapping[str, Any] | None:
        """The saliency plugin of the first method that has one, as the config has it."""
        return next((one.params["saliency"] for one in self._with_saliency().values()), None)

    def _with_saliency(self) -> dict[str, MethodEntry]:
        """The first method with each of the run's saliencies, by its label."""
        found: dict[str, MethodEntry] = {}
        for one in self.config.methods:
            own = one.params.get("saliency")
            if isinstance(own, Mapping) and own not in [other.params["saliency"] for other in found.values()]:
                found[label(one)] = one
        return found

    def _built(self, name: str) -> Dataset:
        entry: Plugin = next(one for one in self.config.datasets if label(one) == name)
        check_at_hand(entry.name)
        params = dict(entry.params)
        if name in self.roots:
            params["root"] = str(self.roots[name].resolve())
        built: Dataset = parameters.build("datasets", entry.name, params)
        return built

    def _give_up(self, dataset: str, why: str) -> None:
        if dataset not in self.unread:
            _log.warning("%s: %s", dataset, why)
        self.unread.setdefault(dataset, why)


@dataclass(eq=False, kw_only=True)
class Source(Pictures):
    """A run's pictures and rows, from which its figures are made.

    Attributes:
        rows: The run's rows, with their masks.
        context: The tables' context.
    """

    rows: pd.DataFrame
    context: Context

    @cached_property
    def final(self) -> FinalClicks:
        """The rows that means are over."""
        return FinalClicks.of(self.rows)


def _contrast(method: MethodEntry) -> Contrast:
    """The names that a method contrasts texts with."""
    choice = parameters.built(Vocabulary, method.params.get("vocabulary", "dataset"))
    return Contrast.of(choice, places.located(str(method.params.get("checkpoint", ""))))


def opened(store: Store, roots: Mapping[str, Path] | None = None) -> Source:
    """Open a stored run for its figures.

    Args:
        store: The run's store.
        roots: As `Source.roots`.

    Raises:
        UserError: The folder holds no run.
    """
    run = recorded(store)
    rows = run.rows(masks=True, coded=True)
    return Source(run.config, roots or {}, rows=rows, context=run.context(rows))


def finds(saliency: SaliencyMap, truth: Mask) -> bool:
    """Whether the saliency finds an object of n pixels: at least half of the n most salient pixels are on it.

    If several pixels are as salient as the last of the n, each counts by the share of them that is needed. So a map
    without any variation finds an object only if it fills half of the image.
    """
    wanted = int(truth.sum())
    if not wanted:
        return False
    # The `wanted`-th largest value: `partition` finds it without sorting all pixels.
    least = np.partition(saliency, -wanted, axis=None)[-wanted]
    above, equal = saliency > least, saliency == least
    # An object of 4 pixels, so the 4 most salient pixels count. Above the fourth value are 2 pixels, 1 of them on the
    # object; 4 pixels are equal to it, 2 of them on the object. Half of the equal ones are needed, so 1 + 0.5 * 2 = 2
    # of 4 are on the object, which is just enough.
    share = (wanted - above.sum()) / equal.sum()
    return bool((above & truth).sum() + share * (equal & truth).sum() >= wanted / 2)


def data_roots(paths: Sequence[str]) -> dict[str, Path]:
    """`--data LABEL=FOLDER`, as often as given.

    Raises:
        UserError: One that is not of this form, or whose folder is not there.
    """
    roots = {}
    for given in paths:
        name, equals, folder = given.partition("=")
        if not (name and equals and Path(folder).is_dir()):
            raise UserError(f"--data {given}: wanted LABEL=FOLDER with a folder that is there, such as coco=data/coco.")
        roots[name] = Path(folder)
    return roots
