"""TorchScript archives read as data: the same tensors as torch's own reader finds, and nothing else of them."""

from __future__ import annotations

import pickle
import tracemalloc
import warnings
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from harness.methods.shared.torch_files import is_torchscript, load_torch, read_torchscript
from torch import nn


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        numbers = torch.arange(24.0)
        self.weight = nn.Parameter(numbers.reshape(4, 6))
        self.register_buffer("turned", numbers.reshape(4, 6).t())
        self.register_buffer("part", numbers.reshape(4, 6)[1:3, 2:5])
        self.register_buffer("scalar", torch.tensor(7))
        self.register_buffer("flags", torch.tensor([True, False, True]))
        self.register_buffer("bytes", torch.arange(5, dtype=torch.uint8))
        self.register_buffer("none", torch.zeros(0, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.layers = Inner(), nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3))
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.sizes = [1, 2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(self.first(x)) * self.scale


def saved(path: Path, traced: bool, half: bool = False) -> Path:
    torch.manual_seed(0)
    module = Outer().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.jit.trace(module, torch.zeros(2, 4)) if traced else torch.jit.script(module)
        torch.jit.save(made.half() if half else made, str(path))
    return path


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("traced", [False, True])
def test_every_tensor_is_the_one_that_torch_reads(tmp_path: Path, traced: bool, half: bool) -> None:
    path = saved(tmp_path / "a.pt", traced, half)
    found, wanted = read_torchscript(path), torch.jit.load(str(path)).state_dict()
    assert set(found) == set(wanted) and "layers.1.running_mean" in found and "first.part" in found
    for name, tensor in found.items():
        assert tensor.dtype == wanted[name].dtype, name
        assert tensor.shape == wanted[name].shape and torch.equal(tensor, wanted[name]), name


def test_which_files_are_archives(tmp_path: Path) -> None:
    assert is_torchscript(saved(tmp_path / "a.pt", traced=False))
    torch.save(Outer().state_dict(), tmp_path / "b.pt")
    torch.save(Outer().state_dict(), tmp_path / "c.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "d.pt").write_bytes(b"")
    assert not any(is_torchscript(tmp_path / name) for name in ("b.pt", "c.pt", "d.pt"))


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_within_runs_nothing(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({"weight": Touch(tmp_path / "open")}))
        archive.writestr("a/constants.pkl", b"")
    assert read_torchscript(tmp_path / "a.pt") == {}
    assert not (tmp_path / "open").exists()


def test_a_tensor_beyond_its_numbers_is_an_error(tmp_path: Path) -> None:
    whole = saved(tmp_path / "a.pt", traced=False)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(tmp_path / "b.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name)[:8] if "/data/" in name else old.read(name))
    with pytest.raises(ValueError, match="a tensor of shape"):
        read_torchscript(tmp_path / "b.pt")


STORAGE = b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ"
"""The instructions for a storage, the file data/0, of one number."""
EXPANDED = b"ctorch._utils\n_rebuild_tensor_v2\n((" + STORAGE + b"K\x00J\x00\x00\x00\x40\x85K\x00\x85\x89NtR."
"""A tensor that shows this number 2 ** 30 times."""


@pytest.mark.parametrize(
    ("pickled", "compression", "reason"),
    [
        (b"\x80\x02}r\xff\xff\xff\x1f.", zipfile.ZIP_STORED, None),  # the unpickler in C makes a memo of 4 GiB for it
        (b"\x80\x05\x96\x00\x00\x00\x40\x01\x00\x00\x00.", zipfile.ZIP_STORED, "150"),  # reserves 5 GiB
        (EXPANDED, zipfile.ZIP_STORED, "a tensor of shape"),
        (b"c__torch__\nM\n)\x81." + b" " * 10_000_000, zipfile.ZIP_DEFLATED, "a packed archive"),
    ],
    ids=["memo", "reserved", "expanded", "packed"],
)
def test_a_small_file_takes_little_memory(tmp_path: Path, pickled: bytes, compression: int, reason: str | None) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w", compression) as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/data/0", bytes(4))
        archive.writestr("a/constants.pkl", b"")
    tracemalloc.start()
    try:
        with pytest.raises((ValueError, KeyError), match=reason) if reason else nullcontext():
            read_torchscript(tmp_path / "a.pt")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_packed_checkpoint_is_refused_before_torch_unpacks_it(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1000)}, tmp_path / "a.pt")
    assert load_torch(tmp_path / "a.pt")["weight"].shape == (1000,)
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as old,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(ValueError, match="a packed archive"):
        load_torch(tmp_path / "b.pt")


def test_modules_that_hold_themselves_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.methods.shared.torch_files.MODULES", 1000)
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", b"c__torch__\nM\n)\x81q\x00}X\x01\x00\x00\x00ah\x00sb.")
        archive.writestr("a/constants.pkl", b"")
    with pytest.raises(ValueError, match="hold one another"):
        read_torchscript(tmp_path / "a.pt")
