"""Seeds the generators that code may draw from without being given one.

A method that draws (dropout left on, random crops, a sampler of points) takes its numbers from generators that belong
to the whole process. Left alone, they stand where earlier images have moved them, and an image's rows depend on the
shard, the worker and the start that computed it.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def seed(*values: int | str) -> None:
    """Seed Python's `random`, NumPy's global generator, torch's of the CPU and of every GPU, and OpenCV's.

    It takes about 25 us. torch and OpenCV are seeded where they are loaded. OpenCV has a generator a thread, so call
    this in the thread that draws. What takes its seed from the system is out of reach: `numpy.random.default_rng()`.

    Args:
        values: What the seed is made of; equal values give equal numbers in every process.
    """
    number = int.from_bytes(hashlib.blake2b(repr(values).encode(), digest_size=8).digest())
    # Each generator takes as many bits as it can hold: NumPy's seed has 32, OpenCV's is an int with a sign.
    random.seed(number)
    np.random.seed(number % 2**32)
    if torch := sys.modules.get("torch"):
        torch.default_generator.manual_seed(number)
        if torch.cuda.is_available():  # Without a GPU, torch would note a stack trace each time: 300 us.
            torch.cuda.manual_seed_all(number)
    if cv2 := sys.modules.get("cv2"):
        cv2.setRNGSeed(number % 2**31)


@contextmanager
def kept() -> Iterator[None]:
    """Leave Python's, NumPy's and torch's generators as they were found, OpenCV's aside, which cannot be read.

    A training that evaluates between its epochs would otherwise draw the same numbers after each evaluation.
    """
    own, numpy_s = random.getstate(), np.random.get_state()
    torch = sys.modules.get("torch")
    torch_s = torch.default_generator.get_state() if torch else None
    cuda = torch.cuda if torch and torch.cuda.is_initialized() else None
    gpus = cuda.get_rng_state_all() if cuda else []
    try:
        yield
    finally:
        random.setstate(own)
        np.random.set_state(numpy_s)
        if torch:
            torch.default_generator.set_state(torch_s)
        if cuda:
            cuda.set_rng_state_all(gpus)
