"""Counts each method's parameters, and its operations for one picture as torch counts them.

Each method gets the picture twice. The first time it also computes results that all pictures share, such as the vectors
of texts. The second time is counted: it is the cost of every further picture. An operation is a multiply or an add of a
matrix product or a convolution, for example 2 x 8 x 4 x 16 = 1024 for (8, 4) @ (4, 16). torch's counter counts nothing
else; work in NumPy and OpenCV is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.config.parts import label
from harness.config.run_config import RunConfig
from harness.config.wording import Wording
from harness.evaluation.pictures import Picture, loaded
from harness.jobs.listing import checked_ids
from harness.plugins import parameters
from harness.plugins.interfaces import Dataset
from harness.structures import Click, UserError
from harness.trying.methods import Loaded, load_methods
from harness.trying.session import Session

_WITHOUT_NETWORKS = ("builtins", "numpy", "torch", "functools", "pathlib")
"""Packages whose objects cannot hold a network; `parameter_count` does not look into them."""


@dataclass(frozen=True)
class Cost:
    """The size of a method and its operations for one picture.

    Attributes:
        label: The method's label.
        parameters: How many numbers its networks have; 0 for a method without a torch network.
        image_operations: Operations of encoding a picture, once for all prompts.
        prompt_operations: Operations for one click and a class name.
        error: The reason why the method gave no answer; "" if it did.
    """

    label: str
    parameters: int
    image_operations: int = 0
    prompt_operations: int = 0
    error: str = ""


def costs(config: RunConfig) -> tuple[tuple[int, int], list[Cost]]:
    """Run every method of a config on the first picture of its first data set, in this process.

    Returns:
        The picture's (h, w), and the cost of each method.

    Raises:
        UserError: The picture has no instance that can be asked for, or as in `load_methods`.
    """
    entry = config.datasets[0]
    dataset: Dataset = parameters.build("datasets", entry.name, entry.params)
    picture = loaded(dataset, checked_ids(dataset, f"data set '{label(entry)}'")[0])
    if not picture.targets:
        raise UserError(f"data set '{label(entry)}': found no instance in its first image; wanted one, to ask about.")
    wording = Wording(config.text, dataset.classes)
    return picture.sample.size, [_cost(one, picture, wording) for one in load_methods(config)]


def parameter_count(method: object) -> int:
    """The number of values in all networks that an object holds, at any depth; a shared tensor counts once."""
    # A search through attributes, mappings and lists. `seen` ends it at circles, such as a model that refers to its
    # owner.
    # A tensor is counted by its identity: two networks may share an encoder, or one its input and output embeddings.
    found: dict[int, int] = {}
    due, seen = [method], set()
    while due:
        one = due.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, nn.Module):
            found |= {id(tensor): tensor.numel() for tensor in one.parameters()}
        elif isinstance(one, Mapping):
            due += one.values()
        elif isinstance(one, list | tuple):
            due += one
        elif not isinstance(one, type) and type(one).__module__.partition(".")[0] not in _WITHOUT_NETWORKS:
            due += vars(one).values() if hasattr(one, "__dict__") else ()
    return sum(found.values())


def _cost(one: Loaded, picture: Picture, wording: Wording) -> Cost:
    instance = picture.targets[0].instance
    rows, columns = picture.targets[0].truth.mask.nonzero()
    # `nonzero` goes through the mask row by row. The middle one of these pixels lies on the mask, unlike the centroid
    # of a ring. The choice of the pixel changes no count.
    click = Click(int(columns[len(columns) // 2]), int(rows[len(rows) // 2]))
    word = wording.vocabulary[wording.classes.index(instance.category)]
    size = parameter_count(one.method)
    first = Session([one], picture, wording.vocabulary).ask(one.label, (click,), word)
    if first.error:
        return Cost(one.label, size, error=first.error)
    again = Session([one], picture, wording.vocabulary)
    with _counted() as image:
        again.encoded(one.method)
    with _counted() as prompt:
        again.ask(one.label, (click,), word)
    return Cost(one.label, size, image.get_total_flops(), prompt.get_total_flops())


@contextmanager
def _counted() -> Iterator[FlopCounterMode]:
    """Count operations in the block. Attention is computed by plain matrix products there, since these are counted."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
