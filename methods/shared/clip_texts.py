"""The sentences that a name is put into for CLIP, and the vectors of texts, each computed once."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from functools import cache, cached_property
from typing import Literal

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from .clip_sentences import Sentences
from .open_clip_model import ClipModel
from .text_shelf import TextShelf

MASKCLIPS_OWN = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)
"""The five sentences that MaskCLIP adds to CLIP's 80 for ImageNet (tools/maskclip_utils/prompt_engineering.py)."""

Templates = Literal["none", "plain", "published"]

LONGEST = "a black and white photo of the {}."
"""The longest template of all."""

SAID_ABOVE_S = 5.0
"""An embedding that will take longer, estimated from its second name, is logged."""

ALL_WANT = 8
"""At least as many texts at once are the names of a data set, which all workers need; fewer are an image's own."""

_log = logging.getLogger(__name__)


@cache
def sentences(templates: Templates) -> tuple[str, ...]:
    """The sentences around a text, with one "{}" each; the vectors of several are averaged.

    Args:
        templates: "none": the text alone. "plain": "a photo of a {}.". "published": CLIP's 80 ImageNet templates and
            MaskCLIP's five.
    """
    if templates != "published":
        return ("{}",) if templates == "none" else ("a photo of a {}.",)
    import open_clip

    return (*(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES), *MASKCLIPS_OWN)


class TextVectors:
    """The unit vectors of texts by one CLIP in one set of sentences, kept in memory and on this machine's disk.

    A text in one sentence is computed in less time than a file takes, so only vectors over several sentences are kept
    on the disk (`TextShelf`). If several processes need them at once, one computes and the others wait for its files.

    Args:
        clip: The model.
        templates: Sentences with one "{}" each.

    Attributes:
        known: Text -> its vector, for the texts in memory.
    """

    def __init__(self, clip: ClipModel, templates: Sequence[str]) -> None:
        self.clip, self.templates = clip, tuple(templates)
        self.known: dict[str, Float32[Tensor, " d"]] = {}
        self.sentences = Sentences(clip, self.templates)

    def of(self, texts: Sequence[str]) -> Float32[Tensor, "n d"]:
        """The unit vector of each text; a text may occur several times.

        Raises:
            ValueError: A text is longer than the model reads.
        """
        asked = len(self._lacking(texts))
        self._read(texts)
        lacking = self._lacking(texts)
        # By what was asked, not by what is left: another process may be about to keep the rest.
        if lacking and asked >= ALL_WANT:
            with self.shelf.locked():
                self._read(lacking)  # Another process may have computed them while this one waited.
                self._compute(self._lacking(lacking))
        else:
            self._compute(lacking)
        return torch.stack([self.known[text] for text in texts])

    def work_of(self, names: Sequence[str]) -> str:
        """The work that `of` will do for a data set's names, in words; "" if there is none, or it takes no time."""
        self._read(names)
        lacking, sentences = len(self._lacking(names)), len(self.templates)
        return f"embedding {lacking} names x {sentences} templates" if lacking and sentences > 1 else ""

    @cached_property
    def shelf(self) -> TextShelf:
        """The shelf on the disk for this CLIP's texts in these sentences."""
        return TextShelf(tower_hash(self.clip, self.templates), kept=len(self.templates) > 1)

    def _lacking(self, texts: Sequence[str]) -> list[str]:
        return [text for text in dict.fromkeys(texts) if text not in self.known]

    def _read(self, texts: Sequence[str]) -> None:
        if len(self.templates) == 1:
            return
        for text in self._lacking(texts):
            if (found := self.shelf.read(text)) is not None:
                self.known[text] = torch.from_numpy(found).to(self.clip.device)

    def _compute(self, texts: Sequence[str]) -> None:
        began = time.monotonic()
        for number, text in enumerate(texts):
            vector = self.sentences.mean_of(text)
            self.shelf.keep(text, vector.cpu().numpy())
            self.known[text] = vector
            if number == 0:
                began = time.monotonic()  # The first name also includes the time for the sentences' beginnings.
            all_s = (time.monotonic() - began) * len(texts)
            if number == 1 and all_s > SAID_ABOVE_S:
                told = f"{len(texts)} names x {len(self.templates)} templates"
                _log.warning("embedding %s: about %.0f s, once; they are kept in %s", told, all_s, self.shelf.folder)


def tower_hash(clip: ClipModel, templates: Sequence[str]) -> str:
    """A hash of all that decides a text's vector: the text tower's weights and layers, tokens and sentences."""
    import open_clip

    module, digest = clip.module, hashlib.sha256()
    # torch's text of a layer has its sizes but not its number of heads: two towers with equal weights and different
    # heads would have one hash.
    heads = [layer.num_heads for layer in module.transformer.modules() if isinstance(layer, nn.MultiheadAttention)]
    layers = f"{module.transformer} {module.ln_final} {heads} {module.attn_mask is None}"
    reads = (module.text_pool_type, module.text_eos_id, clip.tokenizer.context_length, clip.tokenizer.vocab_size)
    digest.update(repr((layers, reads, open_clip.__version__, tuple(templates))).encode())
    for name, value in sorted(module.state_dict().items()):
        if not name.startswith("visual."):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()[:24]
