"""CLIPSeg: a text's saliency from a small decoder on a frozen CLIP, trained to segment the objects of a phrase.

Paper: Lüddecke, Ecker, "Image Segmentation Using Text and Image Prompts", CVPR 2022, https://arxiv.org/abs/2112.10003
Code: https://github.com/timojl/clipseg at 77c4e2d, MIT without the weights; here the port in Hugging Face's
`transformers` 5.24, Apache-2.0 (extra `transformers`), with the snapshot CIDAS/clipseg-rd64-refined
(`python -m harness weights list clipseg_rd64_refined`).

Published: mean IoU, foreground IoU and average precision of its own masks on PhraseCut, at thresholds that the authors
tuned. None of these measures a saliency for another network, so none is shown in a table.

The image is squashed to the snapshot's square (352 x 352 pixels), whatever its aspect, and goes through CLIP's image
tower once. Three of its layers are kept, reduced to the decoder's width. For each text the decoder modulates them by
CLIP's vector of the text and gives a logit for each pixel. The map is their sigmoid, stretched bilinearly over the
image:

    image -> CLIP, hidden states 4, 7 and 10 of (n, 485, 768) -> reduced to (n, 3, 485, 64), once an image
    text  -> CLIP (k, 512) ----------------------> decoder, once a pair -> logits (352, 352) -> map (h, w)

MaskCLIP's map is stretched from 0 to 1 in each image and contrasted with a vocabulary's names. This map is neither
stretched nor contrasted: the decoder was also trained on phrases that are not in the image, so a low map everywhere
means that the text is absent.

Unlike MaskCLIP's and Grad-CAM's maps, these were trained with masks: PhraseCut's, on images of Visual Genome, many of
which are also in COCO. So classes that a data set calls unseen are not unseen to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from harness.places import located
from harness.plugins.interfaces import Saliency, TextLimit
from harness.plugins.registry import register_saliency
from harness.structures import Image, UserError

from ..shared.clip_maps import IMAGES_AT_ONCE, aside, own_stream
from ..shared.device import chosen_device
from ..shared.snapshots import check_snapshot, load_network, load_processor, snapshot_config, snapshot_text_limit
from ..shared.texts import EachOnce

WHERE = "methods/saliency/clipseg.py"

PAIRS_AT_ONCE = 16
"""The most pairs of an image and a text that go through the decoder together."""

LONGEST = 77
"""The most word pieces that CLIP reads, its two marks included, unless the snapshot says otherwise."""

TEXTS_KEPT = 4096
"""How many texts' vectors are remembered: 2 kB each."""


@dataclass(frozen=True, eq=False)
class SeenImage:
    """CLIPSeg's features of an image.

    Attributes:
        layers: The layers that the decoder reads, in its order and at its width; the class token comes first.
        size: (h, w) of the image.
    """

    layers: Float32[Tensor, "k tokens c"]
    size: tuple[int, int]


@register_saliency("clipseg")
class ClipSeg(Saliency):
    """The map of a text by CLIPSeg's trained decoder; the vocabulary changes nothing.

    Args:
        snapshot: A folder with a snapshot from the hub: CIDAS/clipseg-rd64-refined, or another CLIPSeg.
        template: The phrase that CLIPSeg reads, with {} for the text; the paper trained with several.
        device: The device on which it runs, in float32; "auto" is the GPU if there is one.

    Attributes:
        device: The model's device, with its number.
        image_encodings: How many images went through the image tower so far.
        text_encodings: How many texts went through the text tower so far.
    """

    def __init__(self, snapshot: Path, template: str = "{}", device: str = "auto") -> None:
        if "{}" not in template:
            raise UserError(f"{WHERE}: found template={template!r}; wanted one with {{}} for the text.")
        check_snapshot(snapshot, ("clipseg",), WHERE)
        network: Any = load_network("CLIPSegForImageSegmentation", snapshot, WHERE).to(chosen_device(device))
        self.clip, self.decoder = network.clip, network.decoder
        self.extracted = [layer + 1 for layer in network.extract_layers]  # The first hidden state is the embeddings.
        words = int(network.config.text_config.vocab_size)
        self.processor = load_processor("CLIPSegProcessor", snapshot, WHERE, words)
        self.template, self.device = template, next(network.parameters()).device
        self.longest = int(network.config.text_config.max_position_embeddings)
        self.stream = own_stream(self.device)
        self.image_encodings = self.text_encodings = 0
        self._vectors = EachOnce(self._encoded, TEXTS_KEPT)

    @classmethod
    def text_limits(cls, params: Mapping[str, Any]) -> Sequence[TextLimit]:
        """The limit of its CLIP."""
        folder = located(params["snapshot"])
        most = int(snapshot_config(folder, "text_config").get("max_position_embeddings", LONGEST))
        return snapshot_text_limit(folder, most, "CLIPSeg", lambda text: params["template"].replace("{}", text))

    @torch.inference_mode()
    def features(self, images: Sequence[Image]) -> list[SeenImage]:
        """The layers for the decoder, of each image; several images share a forward pass of the image tower."""
        found = []
        with aside(self.stream):
            for start in range(0, len(images), IMAGES_AT_ONCE):
                some = images[start : start + IMAGES_AT_ONCE]
                layers = self._layers(some)
                found += [SeenImage(one, image.shape[:2]) for one, image in zip(layers, some, strict=True)]
        return found

    def _layers(self, images: Sequence[Image]) -> Float32[Tensor, "n k tokens c"]:
        self.image_encodings += len(images)
        shown = [PIL.Image.fromarray(image) for image in images]
        pixels = self.processor.image_processor(shown, return_tensors="pt")["pixel_values"].to(self.device)
        states = self.clip.vision_model(pixels, output_hidden_states=True).hidden_states
        # The decoder reads the deepest layer first, and reduces each layer to its own width before anything else. That
        # step does not depend on the text, so it is done here, once an image.
        read = zip(self.decoder.reduces, reversed(self.extracted), strict=True)
        return torch.stack([narrowed(states[place]) for narrowed, place in read], dim=1)

    @torch.inference_mode()
    def maps(
        self,
        features: SeenImage,
        texts: Sequence[str],
        vocabulary: Sequence[str],  # noqa: ARG002
    ) -> Float32[np.ndarray, "n h w"]:
        """A map for each text; the vocabulary changes nothing."""
        return self._maps([features] * len(texts), texts, features.size)

    @torch.inference_mode()
    def maps_of_each(
        self,
        features: Sequence[SeenImage],
        texts: Sequence[str],
        vocabularies: Sequence[Sequence[str]],  # noqa: ARG002
    ) -> list[Float32[np.ndarray, "h w"]]:
        """See `Saliency.maps_of_each`; all images share the decoder's batches."""
        with aside(self.stream):
            logits = self.logits(features, texts)
            return [self._stretched(one[None], seen.size)[0] for one, seen in zip(logits, features, strict=True)]

    def _maps(
        self, features: Sequence[SeenImage], texts: Sequence[str], size: tuple[int, int]
    ) -> Float32[np.ndarray, "n h w"]:
        if not texts:
            return np.zeros((0, *size), np.float32)
        with aside(self.stream):
            return self._stretched(self.logits(features, texts), size)

    def _stretched(self, logits: Float32[Tensor, "n s s"], size: tuple[int, int]) -> Float32[np.ndarray, "n h w"]:
        shown = F.interpolate(logits.sigmoid()[:, None], size, mode="bilinear", align_corners=False)
        return shown[:, 0].cpu().numpy()

    def logits(self, features: Sequence[SeenImage], texts: Sequence[str]) -> Float32[Tensor, "n s s"]:
        """The decoder's answer to each pair of an image and a text, on the square that the network sees."""
        vectors = self._vectors([self.template.replace("{}", text) for text in texts])
        parts = []
        for start in range(0, len(texts), PAIRS_AT_ONCE):
            some = slice(start, start + PAIRS_AT_ONCE)
            parts.append(self._decoded(torch.stack([one.layers for one in features[some]]), torch.stack(vectors[some])))
        return torch.cat(parts)

    def _decoded(self, layers: Float[Tensor, "n k tokens c"], texts: Float[Tensor, "n d"]) -> Float[Tensor, "n s s"]:
        """`CLIPSegDecoder.forward` of the package, from the reduced layers on."""
        # Layer by layer the reduced features are added and go through a transformer block, (n, tokens, 64). At one of
        # them the text scales and shifts each channel (FiLM): that is its only way in.
        decoder, output = self.decoder, torch.zeros_like(layers[:, 0])
        for place, block in enumerate(decoder.layers):
            output = output + layers[:, place]
            if place == decoder.conditional_layer:
                output = decoder.film_mul(texts)[:, None] * output + decoder.film_add(texts)[:, None]
            output = block(output, attention_mask=None)
        cells = output[:, 1:].transpose(1, 2)  # Without the class token.
        # CLIP's patches have 16 pixels, so 352 pixels make 22 x 22 cells (and 484 + 1 = 485 tokens). The transposed
        # convolutions enlarge them to the pixels again: (n 64 22 22) -> (n 1 352 352).
        side = int(cells.shape[2] ** 0.5)
        return decoder.transposed_convolution(cells.unflatten(2, (side, side)))[:, 0]

    def _encoded(self, texts: list[str]) -> list[Tensor]:
        """CLIP's vector of each text.

        Raises:
            ValueError: A text is longer than the text tower can read. It is not cut, since two phrases may differ only
                in their ends.
        """
        found = self.processor.tokenizer(texts, padding=True, return_tensors="pt")
        for text, count in zip(texts, found["attention_mask"].sum(1).tolist(), strict=True):
            if count > self.longest:
                raise ValueError(
                    f"found a text of {count} pieces of words ({text[:60]!r}...); CLIPSeg reads {self.longest}. "
                    "Shorten the text."
                )
        self.text_encodings += len(texts)
        ids, known = found["input_ids"].to(self.device), found["attention_mask"].to(self.device)
        return list(self.clip.get_text_features(ids, attention_mask=known).pooler_output)
