"""Grounding DINO from the package, whose two towers run separately: once for each image, once for each text.

The rest of the network mixes image and text from its first layer on, so it must run for every pair of the two. The
package's own `forward` does this. In the place of each tower it finds a stand-in, which hands it the tower's earlier
output, so that no layer of the network is written anew here.

    see(image)      image tower --> SeenImage ---+
                                                 |  Handed
    boxes(image, texts)                          +--> forward: mixing layers --> boxes, scores
                                                 |  EachTextOnce
                    text tower, if the text is new
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import PIL.Image
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from harness.structures import Image

from ..shared.device import in_float32
from ..shared.snapshots import check_snapshot, load_network, load_processor

NETWORKS = {
    "grounding-dino": "GroundingDinoForObjectDetection",
    "mm-grounding-dino": "MMGroundingDinoForObjectDetection",
}
"""A snapshot's `model_type` -> its class."""

LONGEST = 256
"""The pieces of words that are read, unless the snapshot has another number."""

TEXTS_KEPT = 1024
"""Texts whose vectors are remembered: 768 numbers a piece of a word."""


@dataclass(frozen=True, eq=False)
class SeenImage:
    """The data that all texts on one image share.

    Attributes:
        features: The image tower's result: its maps with their padding, and the maps' positions.
        shown: (h, w) at which the tower saw the image, whose shorter side is 800 pixels as published.
        size: (h, w) of the image.
        found: Text -> its boxes, for the texts that were asked for so far.
    """

    features: tuple[list[tuple[Tensor, Tensor]], list[Tensor]]
    shown: tuple[int, int]
    size: tuple[int, int]
    found: dict[str, Boxes] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Boxes:
    """A text's boxes in an image, one for each of the network's queries.

    Attributes:
        xyxy: Left, top, right, bottom, in pixels of the image, whose left edge is 0.
        scores: The largest probability of any of the text's pieces, 0 to 1.
    """

    xyxy: Float32[Tensor, "n 4"]
    scores: Float32[Tensor, " n"]


class Handed(nn.Module):
    """Takes the image tower's place: returns the features that were put here, repeated for each text."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.position_embedding = (
            tower.position_embedding
        )  # The forward pass adds a coarser map, whose positions it asks.
        self.image: SeenImage | None = None

    def forward(self, pixels: Tensor, _: Tensor) -> Any:
        """The maps and their positions, as the tower returns them, for as many images as `pixels` has."""
        assert self.image is not None
        (maps, positions), count = self.image.features, len(pixels)
        return [(_times(one, count), _times(mask, count)) for one, mask in maps], [_times(p, count) for p in positions]


class EachTextOnce(nn.Module):
    """Takes the text tower's place: a text goes through the tower once, and then its output is remembered."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower, self.texts_read = tower, 0
        self.known: dict[tuple[int, ...], Tensor] = {}

    def forward(self, ids: Tensor, *given: Tensor, **options: Any) -> Any:
        """The tower's result for rows of ids; their masks and positions, `given`, follow from the ids."""
        # For rows (dog, cat, dog) with cat known, `new` is [0]: the first place of each unknown row. Only those places
        # go through the tower, and its output is put together for all rows again.
        rows = [tuple(row) for row in ids.tolist()]
        new = [rows.index(row) for row in dict.fromkeys(rows) if row not in self.known]
        if new:
            self.texts_read += len(new)
            found = self.tower(ids[new], *(one[new] for one in given), **options).last_hidden_state
            self.known |= {rows[place]: one for place, one in zip(new, found, strict=True)}
        states = torch.stack([self.known[row] for row in rows])
        # A dict keeps the order of insertion, so the texts that were read first are dropped.
        for row in list(self.known)[:-TEXTS_KEPT]:
            del self.known[row]
        return SimpleNamespace(last_hidden_state=states)


class Detector:
    """Boxes for texts.

    Args:
        snapshot: A folder with the hub's snapshot of Grounding DINO or MM Grounding DINO.
        device: The device on which it runs, in float32.
        where: The file that needs it, for messages.
        texts_per_batch: How many texts on one image share a forward pass, if they have equally many pieces of words.

    Attributes:
        image_encodings: Images that went through the image tower so far.
    """

    def __init__(self, snapshot: Path, device: torch.device, where: str, texts_per_batch: int) -> None:
        kind = check_snapshot(snapshot, NETWORKS, where)
        network: Any = load_network(NETWORKS[kind], snapshot, where).to(device)
        self.network, inner, config = network, network.model, network.config
        self.processor = load_processor("GroundingDinoProcessor", snapshot, where, int(config.text_config.vocab_size))
        self.device, self.texts_per_batch, self.longest = device, texts_per_batch, int(config.max_text_len)
        self.image_encodings = 0
        self.tower = inner.backbone
        inner.backbone = self.handed = Handed(self.tower)
        inner.text_backbone = self.texts = EachTextOnce(inner.text_backbone)

    @in_float32
    def see(self, image: Image) -> SeenImage:
        """The slow half, once an image."""
        self.image_encodings += 1
        found = self.processor.image_processor(PIL.Image.fromarray(image), return_tensors="pt").to(self.device)
        pixels = found["pixel_values"]
        return SeenImage(self.tower(pixels, found["pixel_mask"]), tuple(pixels.shape[-2:]), image.shape[:2])

    @in_float32
    def boxes(self, image: SeenImage, texts: Sequence[str]) -> dict[str, Boxes]:
        """Each text's boxes, which are computed once for an image; they do not depend on the other texts."""
        ids = {text: self._pieces(text) for text in texts if text not in image.found}
        # Texts with equally many pieces need no padding, so each has exactly the answer that it would have alone.
        for _, alike in groupby(sorted(ids, key=lambda text: len(ids[text])), key=lambda text: len(ids[text])):
            some = list(alike)
            for start in range(0, len(some), self.texts_per_batch):
                batch = some[start : start + self.texts_per_batch]
                image.found.update(zip(batch, self._found(image, [ids[text] for text in batch]), strict=True))
        return {text: image.found[text] for text in texts}

    def _found(self, image: SeenImage, ids: Sequence[Sequence[int]]) -> Iterator[Boxes]:
        self.handed.image = image
        pixels = torch.zeros((), device=self.device).expand(
            len(ids), 3, *image.shown
        )  # Only its shape is used, by `Handed`.
        pieces = torch.tensor(ids, device=self.device)
        answer = self.network(
            pixel_values=pixels,
            input_ids=pieces,
            attention_mask=torch.ones_like(pieces),
            pixel_mask=torch.ones((len(ids), *image.shown), dtype=torch.long, device=self.device),
            return_dict=True,
        )
        # Boxes come as middle and size, (x, y, w, h), each a share of the image's width or height.
        height, width = image.size
        middle, half = answer.pred_boxes[..., :2], answer.pred_boxes[..., 2:] / 2
        corners = torch.cat([middle - half, middle + half], -1) * middle.new_tensor([width, height, width, height])
        for xyxy, scores in zip(corners, answer.logits.sigmoid().amax(-1), strict=True):
            yield Boxes(xyxy, scores)

    def _pieces(self, text: str) -> list[int]:
        """The text as the authors write it, in lower case with a full stop at its end, in pieces of words."""
        ids: list[int] = self.processor.tokenizer(caption(text))["input_ids"]
        if len(ids) > self.longest:
            warnings.warn(
                f"Grounding DINO reads the first {self.longest} pieces of a text's words, as its authors' code; longer "
                "texts are cut.",
                stacklevel=2,
            )
        return ids[: self.longest]


def caption(text: str) -> str:
    """A text as Grounding DINO was trained to read one: "Kayak paddle" is "kayak paddle."."""
    lower = text.lower().strip()
    return lower if lower.endswith(".") else f"{lower}."


def _times(one: Tensor, count: int) -> Tensor:
    """The one item of a batch as `count` of them, which take no memory."""
    return one.expand(count, *one.shape[1:])
