"""VLT: segments the object that a sentence describes, without a click.

Paper: Ding et al., "Vision-Language Transformer and Query Generation for Referring Segmentation", ICCV 2021,
https://arxiv.org/abs/2108.05565
Code: https://github.com/henghuiding/Vision-Language-Transformer at 9b24015, MIT, on Keras 2.3.1. This is a rewrite of
its evaluation: the same weights, word vectors and sentence give its logits to 1e-3.

How an answer is computed:

1. The image is resized to fit 416 x 416 (bicubic) and put in the middle of a grey square.
2. Each word of the sentence becomes a vector. Rows of zeros fill up to a fixed number of words; the network reads them
   like words.
3. The probabilities (208 x 208) are enlarged to 416 x 416, cut to the image and resized to its size (bilinear). A pixel
   belongs to the mask if its probability is above 0.35.

Published: 65.65 / 68.29 / 62.73 on RefCOCO val / testA / testB, 55.50 / 59.20 / 49.36 on RefCOCO+, 52.99 / 56.65 on
G-Ref val / test (UMD). The released evaluation computes the mean IoU over sentences, at the image's own size; the paper
does not say which mean it prints.

The network was trained on COCO's train2014 images, and its Darknet-53 on COCO without the val and test images of
RefCOCO, RefCOCO+ and G-Ref. The published run used spaCy's word vectors (en_vectors_web_lg 2.3, which are GloVe's of
Common Crawl); in another file the words have other vectors than in training.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32
from pydantic import Field

from harness.plugins.interfaces import TextLimit
from harness.plugins.registry import register_method
from harness.structures import Image, Mask, UserError

from ..shared.device import chosen_device, in_float32
from ..shared.text_masks import TextImage, TextMasks
from .checkpoint import load_vlt
from .network import Seen
from .word_vectors import WordVectors

SIDE = 416
"""Pixels of the square that the network sees."""

GREY = 0.5


@register_method("vlt")
class Vlt(TextMasks):
    """VLT. Its answers are ranked `text` (the mask, as published) and `component` (the mask's piece at the click).

    A text is cleaned as REFER's `sent` is: in lower case, without punctuation except the hyphen.

    Args:
        checkpoint: The authors' weights, a Keras .h5, with a network of any width.
        vectors: A text file of word vectors, with a word and its numbers on each line: GloVe, word2vec or fastText
            (.vec).
        words: How many words the network sees, padding included: 15 as published for RefCOCO and RefCOCO+, 20 for
            G-Ref. Longer texts are cut.
        threshold: A pixel whose probability is above it belongs to the mask.
        device: The device on which it runs, always in float32; "auto" takes the GPU that the worker sees, else the CPU.
        pairs_per_batch: Pairs of an image and a text in a forward pass; by default 1 on the CPU, 16 on a GPU.
    """

    def __init__(
        self,
        checkpoint: Path,
        vectors: Path,
        words: Annotated[int, Field(ge=1)] = 15,
        threshold: Annotated[float, Field(ge=0, le=1)] = 0.35,
        device: str = "auto",
        pairs_per_batch: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        self.device = torch.device(chosen_device(device))
        self.network = load_vlt(checkpoint).to(self.device)
        if (places := self.network.side**2) != (SIDE // 16) ** 2:
            raise UserError(
                f"methods/vlt/vlt.py: {checkpoint}: found query maps of {places} places; wanted {(SIDE // 16) ** 2}, "
                f"for images of {SIDE} pixels. Correct `checkpoint`."
            )
        self.vectors = WordVectors(vectors, self.network.words.there.kernel.shape[0])
        self.length, self.threshold = words, threshold
        super().__init__(pairs_per_batch or (1 if self.device.type == "cpu" else 16))

    @classmethod
    def text_limits(cls, params: Mapping[str, Any]) -> Sequence[TextLimit]:
        """The limit is `words`."""
        most = params["words"]

        def beyond(text: str) -> int:
            words = len(cleaned(text).split())
            return words if words > most else 0

        return (TextLimit(most, "words", "VLT", beyond, cut=True),)

    @in_float32
    def encode(self, images: Sequence[Image]) -> list[TextImage]:
        """Compute the part that needs no text: Darknet-53."""
        found = []
        for image in images:
            pixels = torch.from_numpy(letterboxed(image)).to(self.device)
            found.append(TextImage(self.network.see(pixels.permute(2, 0, 1)[None]), image.shape[:2]))
        return found

    @in_float32
    def read(self, texts: list[str]) -> list[Any]:
        """Each text's words and its sentence, which do not depend on the image."""
        vectors = torch.from_numpy(np.stack([self.rows(text) for text in texts])).to(self.device)
        return list(zip(*self.network.hear(vectors), strict=True))

    def unknown_words(self, text: str) -> tuple[int, int]:
        """How many words have no vector, and how many the network sees."""
        words = cleaned(text).split()[: self.length]
        return sum(self.vectors.of(word) is None for word in words), len(words)

    def rows(self, text: str) -> Float32[np.ndarray, "words width"]:
        """A vector for each word; zeros for a word without one, and for padding.

        Raises:
            ValueError: None of the words has a vector.
        """
        words = cleaned(text).split()
        if len(words) > self.length:
            warnings.warn(
                f"VLT reads the first {self.length} words of a text (`words`), as its authors' code; longer texts are "
                "cut.",
                stacklevel=2,
            )
        known = [self.vectors.of(word) for word in words[: self.length]]
        if all(one is None for one in known):
            raise ValueError(f"found no word in {text!r} that {self.vectors.path} has; wanted one at least.")
        rows = np.zeros((self.length, self.vectors.width), np.float32)
        for row, vector in zip(rows, known, strict=False):
            if vector is not None:
                row[:] = vector
        return rows

    @in_float32
    def masks(self, images: Sequence[TextImage], readings: Sequence[Any]) -> list[Mask]:
        """The mask for each pair of an image and a text."""
        probabilities = self.logits(images, readings).sigmoid().cpu().numpy()
        return [at_size(one, image.size) > self.threshold for one, image in zip(probabilities, images, strict=True)]

    def logits(self, images: Sequence[TextImage], readings: Sequence[Any]) -> Float[torch.Tensor, "n 208 208"]:
        """The network's answer to each pair, for the letterboxed image."""
        # From a list of images with three maps each to three batches; likewise words and sentences below.
        seen = (torch.cat(part) for part in zip(*(vars(image.features).values() for image in images), strict=True))
        words, sentences = (torch.stack(part) for part in zip(*readings, strict=True))
        return self.network.answer(Seen(*seen), words, sentences)


def cleaned(text: str) -> str:
    """A text cleaned as in REFER: lower case; apostrophes are removed, all other marks but hyphens become blanks."""
    return re.sub(r"[^\w\s-]|_", " ", re.sub(r"['’]", "", text.lower()))


def fit(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The place of an image of (h, w) in the square: top, left, height, width."""
    scale = min(SIDE / size[1], SIDE / size[0])
    height, width = max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
    return (SIDE - height) // 2, (SIDE - width) // 2, height, width


def letterboxed(image: Image) -> Float32[np.ndarray, "416 416 3"]:
    """The image in the middle of a grey square, RGB from 0 to 1; resized as uint8, bicubic, as in the official code."""
    top, left, height, width = fit(image.shape[:2])
    square = np.full((SIDE, SIDE, 3), GREY, np.float32)
    resized = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_CUBIC)
    square[top : top + height, left : left + width] = resized / np.float32(255)
    return square


def at_size(probabilities: Float32[np.ndarray, "208 208"], size: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    """The probabilities at the image's size."""
    top, left, height, width = fit(size)
    whole = cv2.resize(probabilities, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    shown = np.ascontiguousarray(whole[top : top + height, left : left + width])
    return cv2.resize(shown, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
