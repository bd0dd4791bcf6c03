"""The interfaces of plugins that are classes: Method, Dataset, Saliency, Learner for what can be trained, Logger."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float32

from harness.structures import Click, Image, Instance, Listed, Prediction, Prompt, Said, Sample

if TYPE_CHECKING:
    import pandas as pd
    import torch

Group = tuple[Any, Sequence[Prompt]]
"""The state of one image, from `encode`, and the prompts on that image."""

MAP_ROUNDING = 1e-3
"""The most by which a saliency's map may lie below 0 or above 1, because of half precision's rounding."""


NO_CLIP = "{} has no CLIP that could tell which name fits around a click."
"""The error by which a method or a saliency without a CLIP answers `text_fits`."""


@dataclass(frozen=True)
class TextLimit:
    """The longest text that a network reads whole.

    Attributes:
        most: The largest number of units.
        units: The name of the units: "tokens", "words".
        reader: The name of the network that reads them: "the CLIP RN50".
        beyond: Text -> the number of its units, with the sentence around it, if that is more than `most`; else 0.
        cut: Whether a longer text loses its end, as in the authors' code. Otherwise its instance is a failed row.
    """

    most: int
    units: str
    reader: str
    beyond: Callable[[str], int]
    cut: bool = False


class Method:
    """A model, its weights and how it uses prompts: one row of a leaderboard.

    A plugin writes `predict`, or `encode` and `segment` if the prompts of an image can share work; each way is derived
    from the other. A method never sees ground truth, keeps no state between calls and does not change its input.

    A method may draw: before each call of `encode` and `segment`, the generators of Python, NumPy, torch and OpenCV are
    seeded from the run's seed and the call's images. Such a method needs one image a call, which is the default: with
    several (`workers.images_per_batch`), the end of a shard decides which images share a seed.

    An instance may have an attribute `device`, the device on which it runs. If that is a GPU, two threads call the
    method in turn: one clicks and scores an image while the method works on the next. So results must not change
    after they were returned.

    Attributes:
        uses_text: Whether the text changes its masks; shown in the text column of tables. Declare it, True or False:
            a method that does not is asked with other words on its first images, and tables show if its masks change.
        needs_click: Whether a prompt must have a click. A method that segments by text alone says False; a run may
            then ask it with `clicks: {max_clicks: 0}`.
        takes: The fields of `Prompt` that it uses besides clicks and text: "boxes" and "initial". A config that asks
            with others is refused.
        present_only: Whether the vocabulary of its prompts is cut to the names of the classes in the image. This uses
            the ground truth, so it is for an ablation alone.
        told_instances: Whether its prompts name the instance (`Prompt.instance`), as no user can: for masks that were
            made elsewhere and are looked up.
        prompts_per_batch: How many prompts of an image it computes together. If an image is so large, or has so many
            instances, that its prompts are asked in pieces, each piece is a number of whole batches, if memory allows.
        published: Numbers that the authors print for their weights: a checkpoint's file name -> a data set plugin's
            name -> "NoC@90" -> mean clicks, or "mIoU@1" -> percent. The table `reproduction` shows them beside ours.
        published_in: The place where the authors print them, for a footnote.
    """

    name: ClassVar[str]
    uses_text: ClassVar[bool] = False
    needs_click: ClassVar[bool] = True
    takes: ClassVar[frozenset[str]] = frozenset()
    present_only: bool = False
    told_instances: ClassVar[bool] = False
    prompts_per_batch: int = 1
    published: ClassVar[Mapping[str, Mapping[str, Mapping[str, float]]]] = {}
    published_in: ClassVar[str] = ""

    def predict(
        self,
        image: Image,
        click: Click | Sequence[Click],
        text: str | None,
        vocabulary: Sequence[str] | None = None,
    ) -> Prediction:
        """Segment the object that the clicks and the text mean: the answer that a run's row has for the same prompt.

        Args:
            image: uint8 (h, w, 3), RGB.
            click: One or several, in the order in which they were made; several are one prompt's and no rounds.
            text: The words for the object, as a run's `text:` would give them; None for none.
            vocabulary: The names that the text is contrasted with, if the method contrasts it with any. With None the
                method chooses them: see its own `predict`.

        Returns:
            The candidates, bool (k, h, w) at the image's size.
        """
        (state,) = self.encode([image])
        return self.segment([(state, [Prompt(clicks_of(click), text, vocabulary=tuple(vocabulary or ()))])])[0][0]

    def encode(self, images: Sequence[Image]) -> list[Any]:
        """Do the slow half, once for each image, and return what `segment` needs of it."""
        return list(images)

    def segment(self, groups: Sequence[Group]) -> list[list[Prediction]]:
        """Answer every prompt of every image, in the order of the prompts."""
        takes = "vocabulary" in inspect.signature(self.predict).parameters  # A plugin's own may take three arguments.
        return [
            [
                _kept(
                    self.predict(image, prompt.clicks, prompt.text, prompt.vocabulary)
                    if takes
                    else self.predict(image, prompt.clicks, prompt.text)
                )
                for prompt in prompts
            ]
            for image, prompts in groups
        ]

    def saliency_map(self, state: Any, prompt: Prompt) -> Float32[np.ndarray, "h w"] | None:  # noqa: ARG002
        """The map of where the method sees the prompt's words, 0 to 1, at the image's size; None without a saliency.

        It is shown (`predict`, `try`) and scored by metrics of maps, and changes no mask.

        Args:
            state: The image's state, from `encode`.
            prompt: The prompt, as `segment` gets it.
        """
        return None

    def text_fits(
        self,
        state: Any,  # noqa: ARG002
        clicks: Sequence[Click],  # noqa: ARG002
        texts: Sequence[str],  # noqa: ARG002
    ) -> Float32[np.ndarray, "n k"]:
        """Scores how well each text fits the picture around each click, by the method's CLIP; the largest fits best.

        A text rule that looks at the picture, such as `auto/v1`, chooses by these scores. It is called once an image,
        before the first `segment`, for all first clicks together. A method that has it declares it by `has_clip`.

        Args:
            state: The image's state, from `encode`.
            clicks: The first click of each prompt on the image.
            texts: The names of the data set's classes, spelled as prompts spell them.

        Raises:
            ValueError: The method has no CLIP.
        """
        raise ValueError(NO_CLIP.format(type(self).__name__))

    @classmethod
    def has_clip(cls, params: Mapping[str, Any]) -> bool:  # noqa: ARG003
        """Whether a method with these parameters, in JSON, has a CLIP that answers `text_fits`."""
        return False

    def unknown_words(self, text: str) -> tuple[int, int] | None:  # noqa: ARG002
        """How many of a text's words it does not know, and how many it reads; None for one without a vocabulary.

        A run counts them over its instances, and its tables show the share of words that the method did not know.
        """
        return None

    def read_names(self, names: Sequence[str]) -> Iterator[str]:  # noqa: ARG002
        """Do the work that all images of a data set with these names share; a worker calls it before the first image.

        Args:
            names: The vocabulary of the data set's prompts.

        Returns:
            Before each step that takes long, a text that names the step.
        """
        yield from ()

    @classmethod
    def text_limits(cls, params: Mapping[str, Any]) -> Sequence[TextLimit]:  # noqa: ARG003
        """The lengths of text that it reads, found without its weights; `doctor` names a run's texts that are longer.

        Args:
            params: All parameters of the constructor, in JSON. A saliency among them is asked separately.
        """
        return ()

    @classmethod
    def clicks_taken(cls, params: Mapping[str, Any]) -> tuple[int, int] | None:  # noqa: ARG003
        """How many positive and negative clicks its weights take, all in one prompt, found without loading them.

        A config that makes other numbers of clicks is refused before anything runs.

        Args:
            params: All parameters of the constructor, in JSON.

        Returns:
            The two numbers; None if it takes any clicks, or if the weights do not say.
        """
        return None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Here each of the two calls the other one. A class that writes neither would call itself without an end.
        if cls.predict is Method.predict and cls.segment is Method.segment:
            raise TypeError(f"{cls.__module__}:{cls.__name__} must write predict(), or encode() and segment().")


def clicks_of(click: Click | Sequence[Click]) -> tuple[Click, ...]:
    """One click or several, as a prompt has them."""
    return (click,) if isinstance(click, Click) else tuple(click)


def _kept(prediction: Prediction) -> Prediction:
    """A copy of the answer, since a `predict` may reuse its arrays; other objects are returned as they are."""
    if not isinstance(prediction, Prediction) or not isinstance(prediction.masks, np.ndarray):
        return prediction
    return replace(prediction, masks=prediction.masks.copy(), scores=deepcopy(prediction.scores))


class Dataset(ABC):
    """Images with instances. Listing ids must be cheap, since the driver cuts them into shards; workers call `load`.

    Attributes:
        classes: The category names in the data set's order. Methods get them as a prompt's vocabulary.
    """

    name: ClassVar[str]
    classes: tuple[str, ...]

    @abstractmethod
    def sample_ids(self) -> list[str]:
        """The ids of all samples, in a fixed order, without opening an image."""

    @abstractmethod
    def load(self, sample_id: str) -> Sample:
        """Decode an image and its ground truth. The same id always gives the same sample."""

    def list_instances(self, sample_id: str) -> list[Listed]:
        """The instances of a sample, broken ones included. Override it if they are known without loading the image."""
        sample = self.load(sample_id)
        known = [Listed(one.id, one.category, one.seen, one.text) for one in sample.instances]
        return known + [Listed(broken) for broken in sample.broken]

    def image_key(self, sample_id: str) -> str:
        """The published image that a sample shows, the same in every data set: "coco/139" in COCO and in refCOCO.

        By it a run finds the images that a method is evaluated on and was trained on.
        """
        return f"{getattr(self, 'name', type(self).__name__)}/{sample_id}"

    def left_out(self) -> Mapping[str, int]:
        """The content of the files that no sample shows: its kind -> how many. `plan`, `doctor` and tables list it."""
        return {}

    def files(self, sample_id: str) -> Sequence[Path]:  # noqa: ARG002 - for those that override it
        """The files that `load` reads for this sample alone, whether they exist or not.

        A run notices if one of them changes while it works. By default there are none.
        """
        return ()

    def fingerprint(self) -> Mapping[str, Any]:
        """JSON values, cheap to compute, by which a run notices that the data have changed; kept in its manifest."""
        ids = self.sample_ids()
        return {"samples": len(ids), "first": ids[:1], "last": ids[-1:]}


class Saliency(ABC):
    """Tells roughly where in the image a text may be.

    An instance may have an attribute `device`, with torch's name of where it computes. On a GPU, training computes the
    maps of a step together.

    Attributes:
        incidental: The parameters that change a map by no more than rounding: a network may be asked with others than
            it was trained with.
    """

    name: ClassVar[str]
    incidental: ClassVar[frozenset[str]] = frozenset({"device"})

    @abstractmethod
    def features(self, images: Sequence[Image]) -> list[Any]:
        """Do the slow half, once for each image."""

    @abstractmethod
    def maps(self, features: Any, texts: Sequence[str], vocabulary: Sequence[str]) -> Float32[np.ndarray, "n h w"]:
        """A map for each text at the image's size, from 0 to 1 (most likely), contrasted with the vocabulary.

        Args:
            features: The result of `features` for one image.
            texts: The texts; one that the vocabulary lacks is added to it.
            vocabulary: The names with which each text is contrasted; may be empty.
        """

    def text_fits(
        self,
        features: Any,  # noqa: ARG002
        clicks: Sequence[Click],  # noqa: ARG002
        texts: Sequence[str],  # noqa: ARG002
    ) -> Float32[np.ndarray, "n k"]:
        """As `Method.text_fits`, from the features of the image; a saliency that has no such measure raises ValueError.

        Args:
            features: The result of `features` for the image.
            clicks: The clicks, in pixels of the full image.
            texts: The texts.
        """
        raise ValueError(NO_CLIP.format(f"the saliency {getattr(self, 'name', type(self).__name__)}"))

    def read_names(self, names: Sequence[str]) -> Iterator[str]:  # noqa: ARG002
        """As `Method.read_names`."""
        yield from ()

    @classmethod
    def text_limits(cls, params: Mapping[str, Any]) -> Sequence[TextLimit]:  # noqa: ARG003
        """As `Method.text_limits`."""
        return ()

    def maps_of_each(
        self, features: Sequence[Any], texts: Sequence[str], vocabularies: Sequence[Sequence[str]]
    ) -> list[Float32[np.ndarray, "h w"]]:
        """One text's map for each of several images, equal to that of `maps` up to rounding; override it if faster."""
        each = zip(features, texts, vocabularies, strict=True)
        return [self.maps(one, [text], vocabulary)[0] for one, text, vocabulary in each]


def checked_maps(saliency: Saliency, maps: Any, count: int, size: tuple[int, int]) -> Float32[np.ndarray, "n h w"]:
    """The maps that a saliency returned for `count` texts on an image of (h, w), as float32.

    Raises:
        ValueError: Their number, size or type is wrong, or values lie outside of 0 to 1 by more than rounding.
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


@dataclass(frozen=True)
class Ended:
    """The end of a run's command.

    Attributes:
        run: The run's name.
        folder: The run's folder, or its bucket.
        exit_code: As README lists them: 0 complete, 1 too many failures or missing rows, 2 a mistake, 130 interrupted.
        error: The error's message, in one line or several; "" if there is none.
    """

    run: str
    folder: str
    exit_code: int
    error: str = ""


class Logger:
    """Follows a run in the process that directs it, such as for a tracker's page.

    It changes no row, and it cannot lose one: if one of its methods raises, that is logged once, and the logger is not
    called again.
    """

    name: ClassVar[str]

    def on_rows(self, rows: pd.DataFrame) -> None:
        """Called with each shard's rows once they are written: the columns of docs/results.md, without masks."""

    def on_end(self, ended: Ended) -> None:
        """Called when the command ends, successfully or not; not called if the process is killed."""


class Learner(ABC):
    """The parts of a training: a network, its examples, its loss, and the facts saved with the weights.

    Attributes:
        network: The module whose parameters are trained.
        learns_all: Whether it learns from all instances of an image, whichever is drawn. Its recipe must then say
            `classes: all`: `seen` would promise what it does not keep.
        incidental: The parameters that change no weight, such as the limit of a cache: a training that was stopped may
            go on with others.
    """

    name: ClassVar[str]
    network: torch.nn.Module
    learns_all: bool = False
    incidental: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def example(
        self, sample: Sample, instance: Instance, said: Said, rng: np.random.Generator
    ) -> Mapping[str, np.ndarray]:
        """One training example, for the drawn instance of the sample, as arrays that stack to a batch.

        Args:
            sample: The sample, as its data set loaded it.
            instance: An instance of the sample.
            said: The words for the instance by the recipe's `text:`, as a run with that `text:` would ask for it.
            rng: A generator for this draw alone, and the only source of chance.
        """

    @abstractmethod
    def loss(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The loss of one stacked batch, on the network's device."""

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """The optimiser's groups; by default without weight decay on vectors (norms, biases)."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        return [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]

    @classmethod
    def clicks_taken(cls, params: Mapping[str, Any]) -> tuple[int, int] | None:  # noqa: ARG003
        """The answer of `Method.clicks_taken` for the weights that it will save.

        Args:
            params: All parameters of the constructor, in JSON.
        """
        return None

    def metadata(self) -> Mapping[str, Any]:
        """JSON values that are stored in the checkpoint: architecture, classes, options."""
        return {}
