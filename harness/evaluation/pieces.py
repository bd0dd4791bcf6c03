"""Cuts what is asked of large pictures into pieces, so that memory does not grow with the number of instances.

A prompt's candidates, its mask, its saliency and what the method remembers of it are as large as the picture. A piece
of an image's prompts goes through all its rounds of clicks, and is scored, before the next piece begins:

    1000 instances on 1500 x 2000      11 prompts a piece: click, ask, score; click, ask, score; ...; the next 11
    9 instances on 480 x 640           one piece, as nearly always
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from harness.evaluation.protocol import Asking

PIXELS_AT_ONCE = 2**25
"""Prompts times pixels of a piece. RITM, which takes most, holds 10 bytes of each: a third of a GiB."""


class Piece(NamedTuple):
    """Prompts that are asked and scored together.

    Attributes:
        number: Its place among the pieces of its picture, from 0.
        askings: In the order of the batch; of several pictures only where these fit into one piece.
    """

    number: int
    askings: list[Asking]


def pieces(askings: Sequence[Asking], batch: int) -> Iterator[Piece]:
    """Cut a batch of pictures with all that is asked of them.

    The size follows from the picture's and the method's alone: no machine's memory decides what a row's prompt was
    computed together with.

    Args:
        askings: The questions, those of one picture after each other.
        batch: How many prompts of a picture the method computes together: a piece is of whole batches where it can.
    """
    # Nearly always: pictures that are small enough stay together, as a method may segment several at once.
    if sum(_pixels(one) for one in askings) <= PIXELS_AT_ONCE:
        yield Piece(0, list(askings))
        return
    for _, of_picture in groupby(askings, key=lambda asking: asking.picture):
        own = list(of_picture)
        size = at_once(_pixels(own[0]), batch)
        for number, start in enumerate(range(0, len(own), size)):
            yield Piece(number, own[start : start + size])


def at_once(pixels: int, batch: int) -> int:
    """The number of prompts in a piece, at least 1, for a picture with this number of pixels."""
    # 480 x 640 pixels: 109 prompts. A method that computes 32 at once gets 96, three whole batches, for 109 would be
    # three and a rest of 13. One that computes 256 at once gets 109: fewer than a batch, but all that fit.
    most = max(1, PIXELS_AT_ONCE // max(1, pixels))
    return most - most % batch if most > batch else most


def _pixels(asking: Asking) -> int:
    height, width = asking.picture.sample.size
    return height * width
