"""A module of plugins with parameters of every kind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MODULE = """
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from typing_extensions import TypedDict

from harness import Dataset, Method, Saliency
from harness.structures import Prediction


class Kept(Method):
    def predict(self, image, click, text):
        raise NotImplementedError


class Blank(Saliency):
    def __init__(self, weights: Path, sharp: bool = False) -> None:
        self.weights, self.sharp = weights, sharp

    def features(self, images):
        return list(images)

    def maps(self, features, texts, vocabulary):
        raise NotImplementedError


class Many(Kept):
    def __init__(
        self,
        checkpoint: Path,
        saliency: Saliency | None = None,
        scale: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.99),
        folds: list[Path] | None = None,
        mode: Literal["native"] | int = "native",
        table: Path | None = None,
        anything=None,
    ) -> None:
        self.given = (checkpoint, scale, betas, folds, mode, table, anything)
        self.saliency = saliency


class Open(Kept):
    def __init__(self, first: int, **others) -> None:
        self.first, self.others = first, others


@dataclass
class Frozen(Kept):
    checkpoint: Path
    rounds: int = 2


@dataclass
class Edge:
    __pydantic_config__: ClassVar = {"extra": "forbid"}
    width: int
    sharp: bool = False


@dataclass
class Crop:
    __pydantic_config__: ClassVar = {"extra": "forbid"}
    target_size: int = 400
    edges: list[Edge] | None = None


class Margin(TypedDict, total=False):
    __pydantic_config__ = {"extra": "forbid"}
    left: int


class Cropped(Kept):
    def __init__(self, crop: Crop | None = None, crops: dict[str, Crop] = {}, margin: Margin = {}) -> None:
        pass


class Halfway(Dataset):
    classes = ()

    def sample_ids(self):
        return []


class Torn(Kept):
    def __init__(self, device: "torch.device") -> None:
        pass


class Wrapped(Kept):
    def __init__(self, inner: Method) -> None:
        self.inner = inner
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an importable module outside the checkout."""
    name = f"outside_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)
