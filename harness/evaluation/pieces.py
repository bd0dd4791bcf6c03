"""Cuts the prompts on large pictures into pieces, so that memory does not grow with the number of instances.

Each prompt needs arrays of the picture's size: its candidates, its mask, its saliency and the method's memory. So a
piece of an image's prompts goes through all its rounds of clicks, and is scored, before the next piece begins:

    1000 instances on 1500 x 2000      11 prompts a piece: click, segment, score; click, ...; then the next 11
    9 instances on 480 x 640           one piece, as nearly always
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from harness.evaluation.protocol import Asking

PIXELS_AT_ONCE = 2**25
"""The most prompts times pixels of a piece. RITM, which needs most, takes 10 bytes for each: a third of a GiB."""


class Piece(NamedTuple):
    """Prompts that are segmented and scored together.

    Attributes:
        number: Its place among the pieces of its picture, from 0.
        askings: The prompts, in the order of the batch; they are of several pictures only if all fit into one piece.
    """

    number: int
    askings: list[Asking]


def pieces(askings: Sequence[Asking], batch: int) -> Iterator[Piece]:
    """Cut the prompts of a batch of pictures into pieces.

    The size of a piece depends on the picture's size and on the method, never on the machine's memory. So a prompt is
    computed together with the same others on every machine, and rows are the same.

    Args:
        askings: The prompts, with those of one picture next to each other.
        batch: How many prompts of a picture the method computes together; pieces are whole batches where possible.
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
    # On 480 x 640 pixels 109 prompts fit. A method that computes 32 at once gets 96, which are three whole batches; 109
    # would be three and a rest of 13. A method that computes 256 at once gets 109: less than a batch, but all that fit.
    most = max(1, PIXELS_AT_ONCE // max(1, pixels))
    return most - most % batch if most > batch else most


def _pixels(asking: Asking) -> int:
    height, width = asking.picture.sample.size
    return height * width
