"""Where a training runs."""

from __future__ import annotations

import pytest
import torch

from harness.structures import UserError
from harness.training.one_rank import chosen_device


def test_fewer_gpus_than_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(chosen_device(name)) for name in ("auto", "cuda", "cuda:1", "cpu")] == ["cuda", "cuda", "cuda:1", "cpu"]
    with pytest.raises(UserError, match="found 2 GPUs for device: cuda:2; wanted the one"):
        chosen_device("cuda:2")
