"""The common part of Segment Anything and its successors: several candidate masks for a click, and their ranking.

The network encodes an image once and decodes all prompts on it in batches. A single click is ambiguous: it may mean the
whole, a part, or a part of the part. So the network answers it with three candidates, and rankings choose among them:

    image -> features --+-> decode -> logits (n k 256 256) -> masks (n k h w) --+-> "confidence": predicted IoU
    n prompts ----------+                                                       +-> "clip": each candidate's crop, text
                                                                                +-> "saliency": the text's map

The oracle, which knows the ground truth, is added by the scorer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor

from harness.plugins.interfaces import NO_CLIP, Group, Method, Saliency, TextLimit
from harness.plugins.registry import fits_texts
from harness.structures import Click, Image, Masks, Prediction, Prompt, UserError

from .clicks_inside import check_clicks
from .clip_tokens import clip_text_limit
from .ranking import ClipRanking
from .saliency_ranking import TextMaps, saliency_scores, text_maps
from .texts import required_text

Ranking = Literal["confidence", "clip", "saliency"]
MultimaskRule = Literal["first", "always", "never"]
Candidates = Literal["all", "chosen"]
Precision = Literal["float32", "bfloat16", "float16"]

PIXELS_AT_ONCE = 2**25
"""How many logits are upsampled together: 128 MiB in float32."""


class Network(ABC):
    """A promptable model: the part in which SAM, SAM-HQ and SAM 2 differ.

    Attributes:
        device: The device on which it runs.
        logits_size: (h, w) of the logits that it returns, and that a prompt of the next round may contain.
    """

    device: torch.device
    logits_size: tuple[int, int]

    @abstractmethod
    def features(self, image: Image) -> Any:
        """The image encoder's features, which all prompts on the image share."""

    @abstractmethod
    def decode(
        self,
        features: Any,
        size: tuple[int, int],
        clicks_xy: Float64[np.ndarray, "n c 2"],
        labels: Int64[np.ndarray, "n c"],
        previous: Float[Tensor, "n 1 gh gw"] | None,
        multimask: bool,
    ) -> tuple[Float[Tensor, "n k gh gw"], Float[Tensor, "n k"]]:
        """Logits and predicted IoU of every candidate of n prompts with c clicks each.

        Args:
            features: Features of the image.
            size: (h, w) of the image.
            clicks_xy: The clicks, in pixels of the image.
            labels: 1 for a positive click, 0 for a negative one.
            previous: Logits of an earlier round.
            multimask: Whether to return three masks, for an ambiguous prompt, or one.
        """

    @abstractmethod
    def upsampled(self, logits: Float[Tensor, "m 1 gh gw"], size: tuple[int, int]) -> Float[Tensor, "m 1 h w"]:
        """The logits at the image's size; a mask is where they exceed 0."""


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """The data that all prompts on one image share.

    Attributes:
        image: The image, of which the CLIP ranking takes crops.
        size: (h, w) of the image.
        features: The network's features of the image.
        seen: The saliency's maps of the image; None without a ranking by saliency.
        patches: Computes the ranking CLIP's patches of the image, once, at its first call; None without that CLIP.
    """

    image: Image
    size: tuple[int, int]
    features: Any
    seen: Any = None
    patches: Callable[[], Any] | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """One prompt's candidates at the network's resolution.

    Attributes:
        logits: One plane for each candidate.
        confidence: The network's own estimate of each candidate's IoU.
    """

    logits: Float[Tensor, "k gh gw"]
    confidence: Float[Tensor, " k"]

    def only(self, index: int) -> Answer:
        """The answer with this candidate alone."""
        return Answer(self.logits[index : index + 1], self.confidence[index : index + 1])


class MultiMask(Method):
    """A method that returns a network's candidates with a score for each ranking.

    Args:
        network: The network with its weights.
        rankings: The rankings of candidates. With several clicks, the first ranking's choice goes into the next round.
        clip: The model for the ranking "clip".
        saliency: The saliency for the ranking "saliency".
        multimask: The rounds in which the network returns several candidates: the "first", "always" or "never".
        candidates: Whether "all" are returned, or only the one "chosen" by the single ranking. The scorer calls the
            ranking of a single mask "single" and has no oracle for it, since the other candidates might be better.
        prompts_per_batch: How many prompts are decoded at once; by default 8 on the CPU, where more is slower, and 64
            on a GPU.

    Attributes:
        image_encodings: How many images were encoded so far.
    """

    uses_text = False  # Words choose among its masks, by a ranking; they change no mask.

    @classmethod
    def text_limits(cls, params: Mapping[str, Any]) -> Sequence[TextLimit]:
        """CLIP's limit, if it ranks."""
        if "clip" not in params["rankings"]:
            return ()
        template = params["template"]
        return (clip_text_limit(params["clip_model"], lambda: (template,), template),)

    def __init__(
        self,
        network: Network,
        rankings: Sequence[Ranking] = ("confidence",),
        clip: ClipRanking | None = None,
        multimask: MultimaskRule = "first",
        candidates: Candidates = "all",
        prompts_per_batch: int | None = None,
        saliency: Saliency | None = None,
    ) -> None:
        check_options(self.name, rankings, candidates, prompts_per_batch, saliency)
        self.network, self.clip, self.saliency = network, clip, saliency
        self.rankings, self.multimask, self.candidates = tuple(rankings), multimask, candidates
        self.device = network.device
        self.prompts_per_batch = prompts_per_batch or (64 if self.device.type == "cuda" else 8)
        self.image_encodings = 0

    @torch.inference_mode()
    def encode(self, images: Sequence[Image]) -> list[EncodedImage]:
        """Encode the images one by one; larger batches are no faster, even on a GPU."""
        self.image_encodings += len(images)
        return [
            EncodedImage(image, image.shape[:2], self.network.features(image), one, self._patches(image))
            for image, one in zip(images, text_maps(self.saliency, images), strict=True)
        ]

    def _patches(self, image: Image) -> Callable[[], Any] | None:
        # Only a text rule that looks at the picture needs them: other runs save this forward pass.
        return cache(partial(self.clip.patches, image)) if self.clip else None

    @torch.inference_mode()
    def segment(self, groups: Sequence[Group]) -> list[list[Prediction]]:
        """The candidates of every prompt with their scores; the `memory` of a candidate is its logits."""
        return [self._predictions(state, prompts) for state, prompts in groups]

    def _predictions(self, state: EncodedImage, prompts: Sequence[Prompt]) -> list[Prediction]:
        for prompt in prompts:
            self._check(prompt, state.size)
        answers = self._answers(state, prompts)
        if self.candidates == "chosen" and self.rankings == ("confidence",):
            # The network's own score needs no mask, so the choice is made before upsampling, which costs fifteen times
            # as much for three masks as for one.
            answers = [answer.only(int(answer.confidence.argmax())) for answer in answers]
        masks = self._masks(answers, state.size)
        scores = self._scores(state, prompts, answers, masks)
        found = [
            Prediction(mask, score, tuple(answer.logits))
            for mask, score, answer in zip(masks, scores, answers, strict=True)
        ]
        return [_lone(prediction) for prediction in found] if self.candidates == "chosen" else found

    @torch.inference_mode()
    def read_names(self, names: Sequence[str]) -> Iterator[str]:
        """See `Method.read_names`: the names that the saliency contrasts a text with."""
        if self.saliency is not None:
            yield from self.saliency.read_names(names)

    def saliency_map(self, state: EncodedImage, prompt: Prompt) -> Float32[np.ndarray, "h w"] | None:
        """The map that ranks a prompt's candidates; None without a ranking by saliency.

        Raises:
            ValueError: The prompt has no text.
        """
        if self.saliency is None:
            return None
        seen: TextMaps = state.seen
        return seen.of([prompt], [required_text(prompt, self.name)])[0]

    @torch.inference_mode()
    def text_fits(
        self, state: EncodedImage, clicks: Sequence[Click], texts: Sequence[str]
    ) -> Float32[np.ndarray, "n k"]:
        """See `Method.text_fits`: by the saliency that ranks or, without one, by the patches of the CLIP that ranks."""
        if self.saliency is not None:
            return self.saliency.text_fits(state.seen.features, clicks, texts)
        if state.patches is None or self.clip is None:
            raise ValueError(NO_CLIP.format(f"{self.name} without a ranking by clip or saliency"))
        return self.clip.text_fits(state.patches(), state.size, clicks, texts)

    @classmethod
    def has_clip(cls, params: Mapping[str, Any]) -> bool:
        """Whether `text_fits` works: it needs the ranking by CLIP, or by a saliency that can score texts."""
        return fits_texts(params.get("saliency")) if params.get("saliency") else "clip" in params["rankings"]

    def _check(self, prompt: Prompt, size: tuple[int, int]) -> None:
        check_clicks(prompt.clicks, size)
        height, width = size
        if prompt.boxes and ("boxes" not in self.takes or len(prompt.boxes) > 1):
            wanted = "one" if "boxes" in self.takes else "none"
            raise ValueError(f"{self.name}: found {len(prompt.boxes)} boxes; wanted {wanted}.")
        # A box may reach beyond the image, as boxes drawn by hand do: its corners are just points for the prompt
        # encoder. A box that misses the image altogether has nothing to segment.
        for box in prompt.boxes:
            if box.right < 0 or box.left > width - 1 or box.bottom < 0 or box.top > height - 1:
                raise ValueError(f"found {box}; wanted one that reaches into the {width} x {height} image.")
        if not prompt.clicks and not prompt.boxes:
            raise ValueError(f"{self.name} needs a click{' or a box' * ('boxes' in self.takes)}; found none.")
        by_text = [one for one in self.rankings if one != "confidence"]
        if by_text and not (prompt.text and prompt.text.strip()):
            raise ValueError(
                f"{self.name} ranks by {' and '.join(by_text)}, which needs a text; found {prompt.text!r}. "
                "Set `rankings: [confidence]` for prompts by clicks alone."
            )

    def _answers(self, state: EncodedImage, prompts: Sequence[Prompt]) -> list[Answer]:
        """Decode the prompts in batches of equally many clicks, all of a first round or all of a later one."""
        answers: dict[int, Answer] = {}
        for batch in batches(prompts, self.prompts_per_batch):
            logits, confidence = self._decoded(state, [prompts[index] for index in batch])
            answers |= {
                index: Answer(*pair) for index, pair in zip(batch, zip(logits, confidence, strict=True), strict=True)
            }
        return [answers[index] for index in range(len(prompts))]

    def _decoded(self, state: EncodedImage, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        # Three masks are for the ambiguity of a single click. After a second click, and with a box, SAM's authors take
        # the single mask. All prompts of a batch have equally many clicks and boxes, so the first one decides for all.
        clicks, shape = [prompt.clicks for prompt in prompts], (len(prompts), len(prompts[0].clicks))
        lone = len(clicks[0]) == 1 and not prompts[0].boxes
        several = self.multimask == "always" or (self.multimask == "first" and lone)
        # Passed on only if there are boxes, so networks without boxes need no such argument.
        boxes = [(one.left, one.top, one.right, one.bottom) for prompt in prompts for one in prompt.boxes]
        boxed = {"boxes_xyxy": np.array(boxes, np.float64)} if boxes else {}
        return self.network.decode(
            state.features,
            state.size,
            np.array([[(click.x, click.y) for click in row] for row in clicks], np.float64).reshape(*shape, 2),
            np.array([[click.positive for click in row] for row in clicks], np.int64).reshape(shape),
            self._previous(prompts),
            several,
            **boxed,
        )

    def _previous(self, prompts: Sequence[Prompt]) -> Float[Tensor, "n 1 gh gw"] | None:
        if prompts[0].previous is None:
            return None
        # The previous round's logits come from `Prediction.memory`, which may have been on another device or in NumPy.
        found = [torch.as_tensor(prompt.previous) for prompt in prompts]
        for one in found:
            if one.shape != self.network.logits_size or not one.is_floating_point():
                raise ValueError(
                    f"found {one.dtype} {tuple(one.shape)} as the previous round's memory; wanted the float logits "
                    f"{self.network.logits_size} of a candidate, as an earlier Prediction.memory holds them."
                )
        return torch.stack(found)[:, None].to(self.device, torch.float32)

    def _masks(self, answers: Sequence[Answer], size: tuple[int, int]) -> list[Masks]:
        """The masks of every answer at the image's size."""
        if not answers:
            return []
        # All candidates of all answers in one batch, (sum of k, 1, 256, 256). Each is a batch item with one channel,
        # since on the CPU torch's bilinear resizing is three times slower on several channels. The batch is upsampled
        # in parts, so that many prompts on a large image do not fill the memory; `ends` splits it by answer again.
        logits = torch.cat([answer.logits for answer in answers])[:, None]
        at_once = max(1, PIXELS_AT_ONCE // (size[0] * size[1]))
        parts = [(self.network.upsampled(part, size)[:, 0] > 0).cpu().numpy() for part in logits.split(at_once)]
        ends = np.cumsum([len(answer.logits) for answer in answers])[:-1]
        return np.split(np.concatenate(parts), ends)

    def _scores(
        self, state: EncodedImage, prompts: Sequence[Prompt], answers: Sequence[Answer], masks: Sequence[Masks]
    ) -> list[dict[str, list[float]]]:
        """For each prompt: ranking -> a score for each candidate."""
        # The rankings judge the same candidates and change no mask. Each is computed for all prompts of the image
        # together: ranking -> prompt -> candidate. A `Prediction` belongs to one prompt, so the last line turns that
        # into prompt -> ranking -> candidate.
        scores: dict[str, list[list[float]]] = {}
        for ranking in self.rankings:
            if ranking == "clip":
                scores[ranking] = self._similarities(state, prompts, masks)
            elif ranking == "saliency":
                scores[ranking] = self._salience(state, prompts, masks)
            else:
                scores[ranking] = [answer.confidence.float().cpu().tolist() for answer in answers]
        return [{ranking: scores[ranking][index] for ranking in self.rankings} for index in range(len(answers))]

    def _similarities(
        self, state: EncodedImage, prompts: Sequence[Prompt], masks: Sequence[Masks]
    ) -> list[list[float]]:
        assert self.clip is not None
        if not prompts:
            return []
        # The candidates of all prompts go through CLIP together; each is compared with its own prompt's text.
        texts = [str(prompt.text) for prompt, candidates in zip(prompts, masks, strict=True) for _ in candidates]
        found = self.clip.scores(state.image, np.concatenate(masks), texts)
        ends = np.cumsum([len(candidates) for candidates in masks])[:-1]
        return [part.tolist() for part in np.split(found, ends)]

    def _salience(self, state: EncodedImage, prompts: Sequence[Prompt], masks: Sequence[Masks]) -> list[list[float]]:
        seen: TextMaps = state.seen
        maps = seen.of(prompts, [str(prompt.text) for prompt in prompts])
        return [saliency_scores(salient, candidates) for salient, candidates in zip(maps, masks, strict=True)]


def check_options(
    name: str,
    rankings: Sequence[str],
    candidates: str,
    prompts_per_batch: int | None,
    saliency: Saliency | None = None,
) -> None:
    """Refuse options that contradict each other.

    Raises:
        UserError: Some do.
    """
    if not rankings or len(set(rankings)) < len(rankings):
        raise UserError(f"{name}: found rankings={list(rankings)}; wanted confidence, clip, saliency, once each.")
    if ("saliency" in rankings) != (saliency is not None):
        found = "no saliency" if saliency is None else f"a saliency with rankings={list(rankings)}"
        raise UserError(
            f"{name}: found {found}; wanted both or neither, to rank by saliency. Set `saliency: "
            f"{{name: maskclip, params: ...}}` and have `saliency` among the `rankings`, or leave out both."
        )
    if candidates == "chosen" and len(rankings) > 1:
        raise UserError(
            f"{name}: found candidates=chosen with rankings={list(rankings)}; wanted one ranking, whose choice is "
            "the only mask. Set `candidates: all` to compare rankings."
        )
    if prompts_per_batch is not None and prompts_per_batch < 1:
        raise UserError(f"{name}: found prompts_per_batch={prompts_per_batch}; wanted 1 or more. Correct it.")


def batches(prompts: Sequence[Prompt], largest: int) -> Iterator[list[int]]:
    """Group prompts into batches of at most `largest`; a batch is a tensor, so its prompts have equally many clicks."""

    def kind(index: int) -> tuple[int, bool, bool]:
        return len(prompts[index].clicks), prompts[index].previous is not None, bool(prompts[index].boxes)

    # `groupby` joins neighbours only, so equal prompts are first brought together; the sort is stable.
    # Five prompts with 1, 2, 1, 1 and 3 clicks, two at once: [0 2] [3] [1] [4]. `_answers` puts the results back in
    # order.
    for _, members in groupby(sorted(range(len(prompts)), key=kind), key=kind):
        alike = list(members)
        yield from (alike[start : start + largest] for start in range(0, len(alike), largest))


def _lone(prediction: Prediction) -> Prediction:
    """The prediction reduced to the candidate that its one ranking chooses, without a score."""
    (scores,) = prediction.scores.values()
    best = int(np.argmax(scores))
    return Prediction(prediction.masks[best : best + 1], {}, prediction.memory[best : best + 1])
