"""What a plugin promises: Method, Dataset, Saliency and, for what can be trained here, Learner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float32

from harness.structures import Click, Image, Instance, Listed, Prediction, Prompt, Sample

if TYPE_CHECKING:
    import torch

Group = tuple[Any, Sequence[Prompt]]
"""The state of one image, as `encode` made it, and the prompts on that image."""

MAP_ROUNDING = 1e-3
"""By how much a saliency's map, which is from 0 to 1, may pass these limits: half precision's rounding."""


class Method:
    """A model, its weights and how it uses prompts: one row of a leaderboard.

    A plugin writes `predict`, or `encode` and `segment` where work can be shared between the prompts of
    an image; each is derived from the other. A method never sees ground truth, keeps no state between calls
    and leaves its input as it found it.

    An instance may say where it runs in an attribute `device`. Where that is a GPU two threads take turns in calling
    it, so that it has the next image before the last one is scored: what it returned must stay as it is.

    Attributes:
        uses_text: Whether the text changes its masks; the tables' text column.
        published: Data set -> metric -> value, as the method's own paper prints them.
    """

    name: ClassVar[str]
    uses_text: ClassVar[bool] = False
    published: ClassVar[Mapping[str, Mapping[str, float]]] = {}

    def predict(self, image: Image, click: Click | Sequence[Click], text: str | None) -> Prediction:
        """Segment what the clicks and the text mean, at the image's size."""
        clicks = (click,) if isinstance(click, Click) else tuple(click)
        (state,) = self.encode([image])
        return self.segment([(state, [Prompt(clicks, text)])])[0][0]

    def encode(self, images: Sequence[Image]) -> list[Any]:
        """The slow half, once an image: whatever `segment` wants to know of each."""
        return list(images)

    def segment(self, groups: Sequence[Group]) -> list[list[Prediction]]:
        """Answer every prompt of every image; the answers stand as the prompts do."""
        return [
            [_kept(self.predict(image, prompt.clicks, prompt.text)) for prompt in prompts] for image, prompts in groups
        ]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.predict is Method.predict and cls.segment is Method.segment:
            raise TypeError(f"{cls.__module__}:{cls.__name__} must write predict(), or encode() and segment().")


def _kept(prediction: Prediction) -> Prediction:
    """The answer, safe from a `predict` that fills the same arrays with its next one; what is none stays as it is."""
    if not isinstance(prediction, Prediction) or not isinstance(prediction.masks, np.ndarray):
        return prediction
    return replace(prediction, masks=prediction.masks.copy(), scores=deepcopy(prediction.scores))


class Dataset(ABC):
    """Images with instances. Listing is cheap, for ids are what gets sharded; `load` runs in the worker.

    Attributes:
        classes: The category names in the data set's own order; methods get them as a prompt's vocabulary.
    """

    name: ClassVar[str]
    classes: tuple[str, ...]

    @abstractmethod
    def sample_ids(self) -> list[str]:
        """Every sample's id, in a fixed order, without opening an image."""

    @abstractmethod
    def load(self, sample_id: str) -> Sample:
        """Decode one image and its ground truth; the same for the same id, always."""

    def list_instances(self, sample_id: str) -> list[Listed]:
        """A sample's instances, broken ones included; override it where a listing knows them without loading."""
        sample = self.load(sample_id)
        known = [Listed(instance.id, instance.category, instance.seen) for instance in sample.instances]
        return known + [Listed(broken) for broken in sample.broken]

    def image_key(self, sample_id: str) -> str:
        """Which published picture a sample is, whatever data set shows it: "coco/139" in COCO and in refCOCO.

        By it a method's training images are found among those that it is asked on.
        """
        return f"{getattr(self, 'name', type(self).__name__)}/{sample_id}"

    def fingerprint(self) -> Mapping[str, Any]:
        """What a run's manifest keeps, to notice that the data changed: JSON values, cheap to compute."""
        ids = self.sample_ids()
        return {"samples": len(ids), "first": ids[:1], "last": ids[-1:]}


class Saliency(ABC):
    """Text -> where in the image it may be, coarsely.

    An instance may say where it computes in an attribute `device`, as torch names it: on a GPU, training asks for the
    maps of a step together.
    """

    name: ClassVar[str]

    @abstractmethod
    def features(self, images: Sequence[Image]) -> list[Any]:
        """The slow half, once an image."""

    @abstractmethod
    def maps(self, features: Any, texts: Sequence[str], vocabulary: Sequence[str]) -> Float32[np.ndarray, "n h w"]:
        """One map a text, at the image's size, 0 to 1 (1: most likely), contrasted with the vocabulary.

        Args:
            features: One image's, as `features` made them.
            texts: The queries; one that the vocabulary lacks is added to it.
            vocabulary: The names to contrast with; may be empty.
        """

    def maps_of_each(
        self, features: Sequence[Any], texts: Sequence[str], vocabularies: Sequence[Sequence[str]]
    ) -> list[Float32[np.ndarray, "h w"]]:
        """The map of one text for each of several images, for those that are faster together: `maps`'s, to rounding."""
        each = zip(features, texts, vocabularies, strict=True)
        return [self.maps(one, [text], vocabulary)[0] for one, text, vocabulary in each]


def checked_maps(saliency: Saliency, maps: Any, count: int, size: tuple[int, int]) -> Float32[np.ndarray, "n h w"]:
    """What a saliency returned for so many texts on an image of (h, w), as float32.

    Raises:
        ValueError: Maps of another number or size, other values than real ones, or values beyond 0 and 1 by more than
            rounding.
    """
    found, values = np.asarray(maps), ""
    if found.dtype.kind in "fb" and found.shape == (count, *size):
        low, high = (float(found.min()), float(found.max())) if found.size else (0.0, 0.0)
        if low >= -MAP_ROUNDING and high <= 1 + MAP_ROUNDING:
            return found.astype(np.float32, copy=False)
        values = f", {low:g} to {high:g}"
    name = getattr(saliency, "name", f"{type(saliency).__module__}:{type(saliency).__name__}")
    raise ValueError(
        f"saliency {name} returned {found.dtype} {found.shape}{values}; "
        f"wanted float32 (n, {size[0]}, {size[1]}), finite, 0 to 1 (n: {count})."
    )


class Learner(ABC):
    """What one training job optimises: a network, the examples it sees, its loss, and how it is saved.

    Attributes:
        network: The module whose parameters are trained.
    """

    name: ClassVar[str]
    network: torch.nn.Module

    @abstractmethod
    def example(
        self, sample: Sample, instance: Instance, vocabulary: tuple[str, ...], rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        """One training example, for the drawn instance of the sample, as arrays that stack to a batch.

        Args:
            sample: As its data set loads it.
            instance: One of the sample's.
            vocabulary: The data set's categories.
            rng: Of this draw alone; the only source of chance.
        """

    @abstractmethod
    def loss(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The loss of one stacked batch, on the network's device."""

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Optimiser groups; by default no weight decay on vectors (norms, biases)."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        return [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]

    def metadata(self) -> Mapping[str, Any]:
        """What the checkpoint says of itself (architecture, classes, options): JSON values."""
        return {}
