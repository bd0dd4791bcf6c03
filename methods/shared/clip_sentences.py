"""Names in the sentences of a CLIP's templates, embedded: without padding where the text tower is causal."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from .causal_texts import Starts, ends_at, is_causal, starts_of, vectors_of
from .clip_tokens import check_lengths
from .open_clip_model import ClipModel

_TEXTS_A_FORWARD = 256


class Sentences:
    """Embeds names in sentences. A name's vector does not depend on the other names, not even by its last bits.

    Args:
        clip: The model.
        templates: Sentences with one "{}" each.
    """

    def __init__(self, clip: ClipModel, templates: Sequence[str]) -> None:
        self.clip, self.templates = clip, templates
        self.causal = is_causal(clip.module)

    @torch.inference_mode()
    def mean_of(self, name: str) -> Float32[Tensor, " d"]:
        """A name's unit vector: the mean of its normalised embeddings, normalised again.

        Raises:
            ValueError: A text is longer than the model reads.
        """
        texts = [template.replace("{}", name) for template in self.templates]
        tokens: Int64[Tensor, "texts context"] = self.clip.tokenizer(texts)
        check_lengths(self.clip.tokenizer, texts, tokens)
        # CLIP's prompt ensemble (Radford et al., section 3.1.4): each sentence's vector gets length 1 before the mean,
        # so that all count alike, and the mean gets length 1 again, so that a product with it is a cosine. One name at
        # a time: in a larger batch the last bits of a product depend on the batch's size, and a name's vector would
        # depend on the others.
        found = self._causal(tokens) if self.causal else self._whole(tokens)
        mean = nn.functional.normalize(found, dim=-1).float().mean(dim=0)
        return nn.functional.normalize(mean, dim=-1)

    def _whole(self, tokens: Int64[Tensor, "texts context"]) -> Float32[Tensor, "texts d"]:
        """Vectors by open_clip's own code, padding included, for a tower that sees it or reads its vector elsewhere."""
        parts = tokens.to(self.clip.device).split(_TEXTS_A_FORWARD)
        return torch.cat([self.clip.module.encode_text(part) for part in parts])

    def _causal(self, tokens: Int64[Tensor, "texts context"]) -> Float32[Tensor, "texts d"]:
        """Vectors without the padding; beginnings are computed once for all names, ends of one length in one pass."""
        module = self.clip.module
        found: dict[int, Tensor] = {}
        ends: dict[int, list[int]] = {}
        rests = []
        for index, (row, last) in enumerate(zip(tokens.tolist(), ends_at(module, tokens), strict=True)):
            start = self.beginnings[index]
            if row[: len(start)] != start or last < len(start):
                return self._whole(tokens)  # A name that melts with what stands before it, such as "<start_of_text>".
            # What is left of "[start] a photo of a | hair drier . [end] 0 0 ...": the tokens up to the end mark,
            # without the padding. Rests of equal length form a batch, which so needs no padding.
            rests.append(row[len(start) : last + 1])
            ends.setdefault(len(rests[-1]), []).append(index)
        for which in ends.values():
            some = torch.tensor([rests[index] for index in which])
            found |= zip(which, vectors_of(module, self.starts, torch.tensor(which), some), strict=True)
        return torch.stack([found[index] for index in range(len(found))])

    @cached_property
    def beginnings(self) -> list[list[int]]:
        """The tokens that stand before the name, of each sentence."""
        mark, encode = self.clip.tokenizer.sot_token_id, self.clip.tokenizer.encode
        return [[mark, *encode(template.partition("{}")[0])] for template in self.templates]

    @cached_property
    def starts(self) -> Starts:
        """The computed beginnings of the sentences."""
        return starts_of(self.clip.module, self.beginnings)
