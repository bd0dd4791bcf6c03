"""LAVT: segments the object that a sentence describes, without a click.

Paper: Yang et al., "LAVT: Language-Aware Vision Transformer for Referring Image Segmentation", CVPR 2022,
https://arxiv.org/abs/2112.02244
Code: https://github.com/yz93/LAVT-RIS at 1da0af9, GPL-3.0. Nothing of it is used here: this is written from the paper
and from the released weights' names and shapes, and gives the logits of the official code to 1e-3.

How an answer is computed:

1. The image is squashed to 480 x 480 pixels, whatever its aspect, and its patches go through the first stage of a Swin
   transformer.
2. A BERT reads the first 20 word pieces of the text.
3. The rest of the network works on both. A pixel belongs to the mask if the object's logit is above the background's.
4. The mask is resized to the image's size; each pixel takes the value of the pixel whose centre is nearest
   ("nearest-exact"). The authors' demo uses torch's plain "nearest", which shifts the mask by half a pixel.

The authors evaluate at 480 x 480, with the ground truth shrunk; here everything is measured at the image's own size.
Over 40 objects whose masks were shifted by up to 12 pixels the two differ by 0.0008 of IoU on average, 0.01 at most.

The weights were trained on train2014 images of COCO. For a checkpoint of RefCOCO these include val and test images of
RefCOCO+ and G-Ref: evaluate a checkpoint on the data set that it was trained for.

The learner `lavt` trains such a network here (configs/scenes_lavt.yaml). Its checkpoint contains the side of its square
and its vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from pydantic import Field
from torch import Tensor

from harness.places import located
from harness.plugins.files import metadata
from harness.plugins.interfaces import TextLimit
from harness.plugins.registry import register_method
from harness.structures import Image, Mask, UserError

from ..shared.channels import IMAGENET_MEAN, IMAGENET_STD
from ..shared.device import chosen_device, in_float32
from ..shared.text_masks import TextImage, TextMasks
from .checkpoint import Loaded, TrainedHere, load_lavt, load_trained_here
from .word_pieces import REMEDY, WordPieces, word_piece_limit

SIDE = 480
"""Pixels of the square that the authors' networks see."""


@register_method("lavt")
class Lavt(TextMasks):
    """LAVT, from either of the authors' implementations (`lavt`, `lavt_one`), which the checkpoint's names tell apart.

    Its answers are ranked `text` (the mask, as published) and `component` (the mask's piece at the click). Sentences
    should be as people typed them (REFER's `raw`, which the data set `refcoco` gives).

    Args:
        checkpoint: The authors' weights (.pth): a Swin transformer of any width and depth, one head in each fusion. Or
            weights that the learner `lavt` saved (.safetensors).
        vocab: The vocabulary of bert-base-uncased, one word piece on each line; for the authors' weights only.
        device: The device on which it runs, always in float32; "auto" takes the GPU that the worker sees, else the CPU.
        pairs_per_batch: Pairs of an image and a text in a forward pass; by default 1 on the CPU, 16 on a GPU.
    """

    published_in = (
        "README of https://github.com/yz93/LAVT-RIS at 1da0af9, Results: overall IoU and mean IoU over sentences, at "
        "480 x 480. Repeated trainings lie within 0.5 of the overall IoU."
    )

    def __init__(
        self,
        checkpoint: Path,
        vocab: Path | None = None,
        device: str = "auto",
        pairs_per_batch: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        self.device = torch.device(chosen_device(device))
        loaded = self._loaded(checkpoint, vocab)
        self.side, self.pieces = loaded.side, loaded.pieces
        self.network, self.bert = loaded.network.to(self.device), loaded.bert.to(self.device)
        super().__init__(pairs_per_batch or (1 if self.device.type == "cpu" else 16))

    @classmethod
    def text_limits(cls, params: Mapping[str, Any]) -> Sequence[TextLimit]:
        """BERT's limit; empty without a vocabulary to count by."""
        if params["vocab"]:
            return word_piece_limit(located(params["vocab"]))
        try:
            own = TrainedHere.from_json(metadata(located(params["checkpoint"]))["architecture"])
            return word_piece_limit(own.vocabulary)
        except (OSError, KeyError, TypeError, ValueError):  # Not trained yet, or other weights: loading reports it.
            return ()

    @staticmethod
    def _loaded(checkpoint: Path, vocab: Path | None) -> Loaded:
        if checkpoint.suffix == ".safetensors":
            if vocab is not None:
                raise UserError(
                    f"methods/lavt/lavt.py: found vocab={vocab} beside {checkpoint}, which holds its own words. Leave "
                    "`vocab` out, or give the authors' weights (.pth)."
                )
            return load_trained_here(checkpoint)
        network, bert = load_lavt(checkpoint)
        if vocab is None:
            raise UserError(f"methods/lavt/lavt.py: found no `vocab` for {checkpoint}. {REMEDY}")
        return Loaded(network, bert, WordPieces.from_file(vocab, bert.pieces.num_embeddings), SIDE)

    @in_float32
    def encode(self, images: Sequence[Image]) -> list[TextImage]:
        """Squash the images and compute the first stage, which does not depend on the text."""
        tokens = [self.network.begin(self._pixels(image)) for image in images]
        return [TextImage(one, image.shape[:2]) for one, image in zip(tokens, images, strict=True)]

    def _pixels(self, image: Image) -> Float[Tensor, "1 3 s s"]:
        return torch.from_numpy(squashed(image, self.side)).to(self.device)[None]

    @in_float32
    def read(self, texts: list[str]) -> list[Any]:
        """Each text's word embeddings, and a mask of the words among them."""
        ids, known = (one.to(self.device) for one in self.pieces(texts))
        return list(zip(self.bert(ids, known), known, strict=True))

    @in_float32
    def masks(self, images: Sequence[TextImage], readings: Sequence[Any]) -> list[Mask]:
        """The mask for each pair of an image and a text; where both logits are equal a pixel is background."""
        # A sentence and an image go through the network as one example. They stay independent: instance norm works
        # within an example, and batch norm uses the training's statistics. So it does not matter which pairs share a
        # batch.
        logits = self.logits(images, readings)
        return [at_size(one[1] > one[0], image.size) for one, image in zip(logits, images, strict=True)]

    def logits(self, images: Sequence[TextImage], readings: Sequence[Any]) -> Float[Tensor, "n 2 s s"]:
        """The network's answer to each pair: background and object."""
        words, known = (torch.stack(part) for part in zip(*readings, strict=True))
        return self.network.finish(torch.cat([image.features for image in images]), words, known)


def squashed(image: Image, side: int = SIDE) -> Float32[np.ndarray, "3 s s"]:
    """The network's input for an image. It is resized by PIL, whose bilinear filter smooths; OpenCV's does not."""
    resized = PIL.Image.fromarray(image).resize((side, side), PIL.Image.Resampling.BILINEAR)
    mean, std = np.array([IMAGENET_MEAN, IMAGENET_STD], np.float32)
    normalised = (np.asarray(resized, np.float32) / 255 - mean) / std
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))


def at_size(mask: Tensor, size: tuple[int, int]) -> Mask:
    """The square mask at the image's size; each pixel takes the value of the pixel whose centre is nearest."""
    return F.interpolate(mask[None, None].float(), size, mode="nearest-exact")[0, 0].bool().cpu().numpy()
