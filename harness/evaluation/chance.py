"""Seeds the random generators that belong to the whole process.

A method with random steps (dropout left on, random crops, a sampler of points) may draw from these generators. Without
a new seed before each image, its numbers would depend on the images that came before, and so on the shard, the worker
and the start that computed it.
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

    It takes about 25 us. torch and OpenCV are seeded if they are loaded. OpenCV has a generator for each thread, so
    call this in the thread that draws. A generator that takes its seed from the system, as `numpy.random.default_rng()`
    does, cannot be seeded from here.

    Args:
        values: The seed is made from these; equal values give equal numbers in every process.
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
    """Restore Python's, NumPy's and torch's generators after the block; OpenCV's cannot be read, so it is left out.

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
