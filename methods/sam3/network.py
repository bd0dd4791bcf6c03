"""SAM 3's two networks from the package, a detector by text and a tracker by clicks, on one image tower.

The published snapshot holds the tower once, and each of the package's two classes loads it. Here it runs once for each
image: a replacement of the tower in either network returns its result. No layer is written anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor, nn

from harness.structures import Image, Masks

from ..shared.multimask import PIXELS_AT_ONCE, Network, Precision
from ..shared.snapshots import check_snapshot, load_network, load_processor
from ..shared.texts import EachOnce

WHERE = "methods/sam3/sam3.py"

LONGEST = 32
"""Pieces of words that SAM 3 reads of a text, its two marks among them; the package's processor pads to so many."""

TEXTS_KEPT = 1024
"""Texts whose reading is remembered."""

KEPT_PX = 2**28
"""The most pixels of instances' masks, a byte each, that stay for an image after a call."""


@dataclass(frozen=True, eq=False)
class Instances:
    """A text's instances in an image, the highest score first: all above the threshold, and the best in any case.

    Attributes:
        scores: Each instance's score, 0 to 1: the query's probability times the probability that the text is in the
            image at all.
        masks: The masks, at the image's size.
        logits: The masks' logits, at the network's resolution.
    """

    scores: Float64[np.ndarray, " k"]
    masks: Masks
    logits: Float32[Tensor, "k gh gw"]


@dataclass(frozen=True, eq=False)
class SeenImage:
    """The data that all prompts on one image share.

    Attributes:
        maps: The detector's feature maps and their positions.
        embeddings: The tracker's feature maps, from fine to coarse.
        found: Text -> its instances, for the texts that were asked for so far, up to `KEPT_PX` pixels of masks.
    """

    maps: tuple[Sequence[Tensor], Sequence[Tensor]]
    embeddings: Sequence[Tensor]
    found: dict[str, Instances] = field(default_factory=dict)


class Handed(nn.Module):
    """Replaces the image tower in both networks: returns the tower's result for the present image."""

    states: Tensor | None = None

    def forward(self, _: Tensor, **__: Any) -> Any:
        """The tower's result, whatever the input."""
        return SimpleNamespace(last_hidden_state=self.states, hidden_states=None, attentions=None)


class Sam3Network(Network):
    """Both networks with their weights.

    Args:
        snapshot: A folder with the hub's snapshot of facebook/sam3.
        device: The device on which they run.
        precision: The precision of the image tower's matrix products; the rest stays in float32.
        threshold: The score above which an instance counts.
        texts_per_batch: How many texts on an image share the detector's forward pass.

    Attributes:
        text_encodings: Texts that went through the text tower so far.
    """

    def __init__(
        self, snapshot: Path, device: torch.device, precision: Precision, threshold: float, texts_per_batch: int
    ) -> None:
        check_snapshot(snapshot, ("sam3_video",), WHERE)
        detector: Any = load_network("Sam3Model", snapshot, WHERE)
        tracker: Any = load_network("Sam3TrackerModel", snapshot, WHERE)
        words = int(detector.config.text_config.vocab_size)
        self.processor = load_processor("Sam3Processor", snapshot, WHERE, words)
        self.tower, self.handed = detector.vision_encoder.backbone.to(device), Handed()
        detector.vision_encoder.backbone = tracker.vision_encoder.backbone = self.handed
        self.detector, self.tracker = detector.to(device), tracker.to(device)
        self.device, self.dtype = device, getattr(torch, precision)
        self.threshold, self.texts_per_batch, self.text_encodings = threshold, texts_per_batch, 0
        self.logits_size = tuple(tracker.prompt_encoder.mask_input_size)
        self.side = int(tracker.prompt_encoder.input_image_size)
        self._readings = EachOnce(self._read, TEXTS_KEPT)

    def features(self, image: Image) -> SeenImage:
        """Run the image tower once, and make either network's own maps of its result."""
        found = self.processor.image_processor(PIL.Image.fromarray(image), return_tensors="pt")
        pixels = found["pixel_values"].to(self.device)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            states = self.tower(pixels).last_hidden_state
        self.handed.states = states.float()
        seen, embeddings = self.detector.vision_encoder(pixels), self._embedded(pixels)
        self.handed.states = None
        return SeenImage((seen.fpn_hidden_states, seen.fpn_position_encoding), embeddings)

    def _embedded(self, pixels: Tensor) -> list[Tensor]:
        """The tracker's maps, with the vector for "no earlier frame" added to the coarsest, as in the authors' code.

        The package (5.24) adds it to the last map of the neck and then drops maps for which the snapshot names no size.
        If the neck has one more map, as by default, the vector is dropped with it. Then it is added here.
        """
        maps: list[Tensor] = self.tracker.get_image_embeddings(pixels)
        if len(self.tracker.vision_encoder.neck.fpn_layers) > len(maps):
            maps[-1] = maps[-1] + self.tracker.no_memory_embedding.reshape(1, -1, 1, 1)
        return maps

    def decode(
        self,
        features: SeenImage,
        size: tuple[int, int],
        clicks_xy: Float64[np.ndarray, "n c 2"],
        labels: Int64[np.ndarray, "n c"],
        previous: Float[Tensor, "n 1 gh gw"] | None,
        multimask: bool,
    ) -> tuple[Float[Tensor, "n k gh gw"], Float[Tensor, "n k"]]:
        """The tracker's answer, as `Network.decode`; a lone mask that is not stable gives way to the best of three."""
        count, extent = len(clicks_xy), torch.tensor([size[1], size[0]], dtype=torch.float32)
        points = torch.as_tensor(clicks_xy, dtype=torch.float32) * (self.side / extent)
        answer = self.tracker(
            image_embeddings=[one.expand(count, -1, -1, -1) for one in features.embeddings],
            input_points=points[:, None].to(self.device),
            input_labels=torch.as_tensor(labels, dtype=torch.int32, device=self.device)[:, None],
            input_masks=previous,
            multimask_output=multimask,
        )
        return answer.pred_masks[:, 0], answer.iou_scores[:, 0]

    def upsampled(self, logits: Float[Tensor, "m 1 gh gw"], size: tuple[int, int]) -> Float[Tensor, "m 1 h w"]:
        """Enlarge logits in one bilinear step, since SAM 3 stretches images to a square."""
        return F.interpolate(logits, size, mode="bilinear", align_corners=False)

    def instances(self, image: SeenImage, size: tuple[int, int], texts: Sequence[str]) -> dict[str, Instances]:
        """Each text's instances in an image of (h, w); each text is computed once for an image, as long as it is kept.

        Raises:
            ValueError: A text is longer than SAM 3 reads.
        """
        new = [text for text in dict.fromkeys(texts) if text not in image.found]
        readings = self._readings(new)
        for start in range(0, len(new), self.texts_per_batch):
            some = slice(start, start + self.texts_per_batch)
            image.found.update(zip(new[some], self._detected(image, size, readings[some]), strict=True))
        found = {text: image.found[text] for text in texts}
        if sum(one.masks.size for one in image.found.values()) > KEPT_PX:
            image.found.clear()
        return found

    def _detected(
        self, image: SeenImage, size: tuple[int, int], readings: Sequence[tuple[Tensor, Tensor]]
    ) -> list[Instances]:
        words, known = (torch.stack(part) for part in zip(*readings, strict=True))
        maps, positions = ([one.expand(len(words), -1, -1, -1) for one in part] for part in image.maps)
        answer = self.detector(
            vision_embeds=SimpleNamespace(
                fpn_hidden_states=maps, fpn_position_encoding=positions, hidden_states=None, attentions=None
            ),
            text_embeds=SimpleNamespace(pooler_output=words),
            attention_mask=known,
        )
        scores = answer.pred_logits.sigmoid() * answer.presence_logits.sigmoid()
        return [self._kept(*one, size) for one in zip(scores, answer.pred_masks, strict=True)]

    def _kept(self, scores: Float[Tensor, " q"], logits: Float[Tensor, "q gh gw"], size: tuple[int, int]) -> Instances:
        ordered, order = scores.sort(descending=True, stable=True)
        count = max(1, int((ordered > self.threshold).sum()))
        kept = logits[order[:count]]
        at_once = max(1, PIXELS_AT_ONCE // (size[0] * size[1]))
        masks = torch.cat([self._mask(part, size) for part in kept.split(at_once)])
        return Instances(ordered[:count].double().cpu().numpy(), masks.cpu().numpy(), kept)

    def _mask(self, logits: Float[Tensor, "k gh gw"], size: tuple[int, int]) -> Bool[Tensor, "k h w"]:
        """As the package's `post_process_instance_segmentation`: probabilities are enlarged, then cut at a half."""
        return self.upsampled(logits.sigmoid()[:, None], size)[:, 0] > 0.5

    def _read(self, texts: list[str]) -> list[tuple[Tensor, Tensor]]:
        """The vectors of each text's words, padded to one length, and a mask of the words among them."""
        found = self.processor.tokenizer(texts, return_tensors="pt", padding="max_length", max_length=LONGEST)
        ids, known = found["input_ids"].to(self.device), found["attention_mask"].to(self.device)
        if ids.shape[1] > LONGEST:
            longest = int(known.sum(1).argmax())
            raise ValueError(
                f"found a text of {ids.shape[1]} pieces of words ({texts[longest][:60]!r}...); SAM 3 reads {LONGEST}. "
                "Shorten the text."
            )
        self.text_encodings += len(texts)
        words = self.detector.get_text_features(input_ids=ids, attention_mask=known).pooler_output
        return list(zip(words, known, strict=True))
