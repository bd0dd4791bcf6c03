"""Learners that recipes name as `toy_learners:Toy`: a few weights, and examples and losses that go wrong."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.nn import BatchNorm2d, Conv2d, Dropout, Identity, ReLU, Sequential

from harness.plugins.interfaces import Learner
from harness.structures import UserError
from harness.training.loaders import LoaderDiedError


class Toy(Learner):
    """A network with all that a resumed training could get wrong: momenta, running statistics, dropout, noise."""

    def __init__(self):
        self.network = Sequential(Conv2d(3, 8, 3, padding=1), BatchNorm2d(8), ReLU(), Dropout(0.5), Conv2d(8, 1, 1))

    def example(self, sample, instance, said, rng):
        noise = rng.normal(size=(3, *sample.size))
        return {"pixels": np.float32(sample.image.transpose(2, 0, 1) / 255 + noise), "target": instance.mask}

    def loss(self, batch):
        logits = self.network(batch["pixels"])[:, 0]
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, batch["target"].float())


class Still(Toy):
    """Without dropout, which no two ways to cut a batch draw alike.

    Args:
        dies: A file: while it is absent, rank 1 makes it and ends itself at its fifth batch.
    """

    def __init__(self, dies: Path | None = None):
        super().__init__()
        self.network[3] = Identity()
        self.dies, self.batches = dies, 0

    def loss(self, batch):
        self.batches += 1
        fifth = self.batches == 5 and dist.is_initialized() and dist.get_rank() == 1
        if fifth and self.dies and not self.dies.exists():
            self.dies.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(batch)


class Torn(Toy):
    """Its loss is finite and its gradient NaN: the slope of a root at 0 is infinite, and infinity times 0 is NaN."""

    def loss(self, batch):
        nothing = self.network[0].weight * 0
        return super().loss(batch) + nothing.square().sum().sqrt()


class Meeting(Learner):
    """One convolution that waits for others to begin.

    Args:
        folder: Where the learners that have begun leave a file each.
        name: This one's file; none is left without a name.
        meets: Number of files to wait for.
        end: What happens later: the loss is `wrong`, the process `dies`, it loses a `loader`, or has a `bug`.
        sleeps_s: How long every batch takes, until there is a file `hurry` beside the folder.
    """

    def __init__(self, folder: Path, name: str = "", meets: int = 0, end: str = "", sleeps_s: float = 0.0):
        self.network = Conv2d(3, 1, 1)
        self.folder, self.name, self.meets, self.end, self.sleeps_s = folder, name, meets, end, sleeps_s
        self.batches = 0

    def example(self, sample, instance, said, rng):
        return {"pixels": np.float32(sample.image.transpose(2, 0, 1) / 255)}

    def loss(self, batch):
        self.batches += 1
        if not (self.folder.parent / "hurry").exists():
            time.sleep(self.sleeps_s)
        if self.name and (self.batches == 1 or self.sleeps_s):
            with (self.folder / self.name).open("a") as file:
                file.write("begun\n")
        give_up = time.monotonic() + 60
        while len(list(self.folder.glob("*"))) < self.meets:
            assert time.monotonic() < give_up, "the others never began"
            time.sleep(0.05)
        if self.batches == 3 and self.end == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.batches == 3 and self.end == "loader":
            raise LoaderDiedError("training: a loader's process died. Lower `loaders`.")
        return self.network(batch["pixels"]).square().mean() * (float("nan") if self.end == "wrong" else 1)

    def metadata(self):
        if self.end == "bug":
            raise KeyError("nothing of that name")
        return {}


class Mistaken(Learner):
    """What its author got wrong is named by `how`."""

    def __init__(self, how: str) -> None:
        self.network, self.how = Conv2d(1, 1, 1), how

    def example(self, sample, instance, said, rng):
        size = rng.integers(3, 30) if self.how == "unlike" else 4
        if self.how == "wrong example":
            np.stack([np.zeros(3), np.zeros(4)])  # here, the example
        if self.how == "no mapping":
            return [np.zeros(3)]
        if self.how == "words":
            return {"pixels": np.array("a")}
        return {"pixels": np.zeros((1, size, 4), np.float32)}

    def loss(self, batch):
        given = self.network(batch["pixels"])
        if self.how == "wrong loss":
            batch["pixles"]  # here, the loss
        if self.how == "wrong shapes":
            given @ given[0, 0, 0, 0]
        if self.how == "cpu memory":
            torch.empty(1 << 55)
        if self.how == "gpu memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has 1.5 GiB. If it is")
        return {"a map": given, "a float": 0.5, "apart": torch.zeros(())}.get(self.how, given.mean())


class Unprepared(Mistaken):
    """Fails before its first example."""

    def prepare(self, images, texts, vocabularies):
        raise ValueError("no\ntower")


class Fragile(Learner):
    """Its example fails, or ends the process that makes it."""

    def __init__(self, dies: bool = False) -> None:
        self.network, self.dies = Conv2d(1, 1, 1), dies

    def example(self, sample, instance, said, rng):
        if self.dies:
            os._exit(9)
        raise UserError("the disk is gone")

    def loss(self, batch):
        raise NotImplementedError


class Third(Fragile):
    """Ends a loader's process at its third step, while the training is at another."""

    def example(self, sample, instance, said, rng):
        self.asked = getattr(self, "asked", 0) + 1
        if self.asked > 8:
            os._exit(9)
        return {"pixels": np.zeros((1, 4, 4), np.float32)}

    def loss(self, batch):
        time.sleep(0.3)
        return self.network(batch["pixels"]).mean()


class Full(Fragile):
    """A loader finds no room for the example in shared memory."""

    def example(self, sample, instance, said, rng):
        torch.UntypedStorage._share_fd_cpu_ = _full
        return {"pixels": np.zeros((1, 4, 4), np.float32)}


def _full(*_):
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")


class UnpickledError(UserError):
    """An error that can be pickled and not unpickled."""

    def __init__(self, one, other):
        super().__init__(one)


class Strange(Fragile):
    """Its example fails with an error that does not reach another process whole."""

    def example(self, sample, instance, said, rng):
        raise UnpickledError("one", "other")


class Patient(Fragile):
    """Its example notes the process in the file LOADER_PIDS, and waits."""

    def example(self, sample, instance, said, rng):
        with Path(os.environ["LOADER_PIDS"]).open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(60)
