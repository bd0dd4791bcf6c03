"""Checkpoints as other people's trainings save them: what is read, and what a refusal says."""

from __future__ import annotations

import argparse
import fractions
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness.methods.shared.checkpoints import read_tensors, read_trained_here
from harness.methods.shared.torch_files import load_torch
from safetensors.torch import save_file

from harness.structures import UserError

WEIGHTS = {"encoder.weight": torch.arange(6.0).reshape(2, 3), "encoder.bias": torch.zeros(2)}


def same(path: Path) -> bool:
    found, _ = read_tensors(path, "here")
    return found.keys() == WEIGHTS.keys() and all(torch.equal(found[name], one) for name, one in WEIGHTS.items())


@pytest.mark.parametrize("key", [None, "model", "state_dict", "model_state_dict", "module"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "sam.", "_orig_mod.", "module.model."])
def test_usual_keys_and_prefixes_are_taken_off(tmp_path: Path, key: str | None, prefix: str) -> None:
    weights: Any = {prefix + name: one for name, one in WEIGHTS.items()}
    torch.save({"epoch": 3, "optimizer": {"state": {}}, key: weights} if key else weights, tmp_path / "a.pth")
    assert same(tmp_path / "a.pth")
    save_file(weights, tmp_path / "a.safetensors")
    assert same(tmp_path / "a.safetensors")


def test_a_prefix_that_only_some_names_have_is_part_of_the_model(tmp_path: Path) -> None:
    torch.save({"model.weight": torch.zeros(1), "head.weight": torch.zeros(1)}, tmp_path / "a.pth")
    assert set(read_tensors(tmp_path / "a.pth", "here")[0]) == {"model.weight", "head.weight"}


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize(
    "beside",
    [np.float64(0.91), np.int32(4), np.ones(3), argparse.Namespace(lr=0.1, out=Path("runs"), best=np.float32(1))],
    ids=["scalar", "whole", "array", "options"],
)
def test_scores_and_options_beside_the_weights_are_skipped(tmp_path: Path, beside: Any, old_format: bool) -> None:
    path = tmp_path / "a.pth"
    torch.save({"model_state_dict": WEIGHTS, "x": beside}, path, _use_new_zipfile_serialization=not old_format)
    assert same(path)
    assert type(load_torch(path)["x"]).__name__ == "Part"


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize(
    ("odd", "name"), [(fractions.Fraction(1, 3), "fractions.Fraction"), (torch.nn.Linear(2, 2), "linear.Linear")]
)
def test_any_other_object_is_named_with_what_to_save(tmp_path: Path, odd: Any, name: str, old_format: bool) -> None:
    torch.save({"model": WEIGHTS, "x": odd}, tmp_path / "a.pth", _use_new_zipfile_serialization=not old_format)
    with pytest.raises(UserError) as caught:
        read_tensors(tmp_path / "a.pth", "here")
    message = str(caught.value)
    assert f"{name} in it" in message
    assert "torch.save(model.state_dict(), 'weights.pth')" in message
    assert "\x1b" not in message and "Fetch it again" not in message and "weights_only" not in message


def test_what_lies_among_the_weights_is_named(tmp_path: Path) -> None:
    torch.save({"net": WEIGHTS, "epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"'net' \(dict\), 'epoch' \(int\); wanted .*`model_state_dict`"):
        read_tensors(tmp_path / "a.pth", "here")


def test_a_mapping_within_itself_is_refused(tmp_path: Path) -> None:
    endless: dict[str, Any] = {}
    endless["model"] = endless
    torch.save(endless, tmp_path / "a.pth")
    with pytest.raises(UserError, match="something other than a state_dict"):
        read_tensors(tmp_path / "a.pth", "here")


def test_a_damaged_file_says_so_on_one_line_without_colours(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_text("<html>not found</html>")
    with pytest.raises(UserError, match="no whole file of tensors.*Fetch it again") as caught:
        read_tensors(tmp_path / "a.pth", "here")
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "it is empty"),
        ("\n<!DOCTYPE html><html>", "it is a web page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "it is a pointer of Git LFS, .*`git lfs pull`"),
    ],
)
def test_what_a_download_leaves_in_place_of_weights_is_named(tmp_path: Path, content: str, what: str) -> None:
    path = tmp_path / "a.pth"
    path.write_text(content)
    with pytest.raises(UserError, match=rf"found no whole file of tensors \({what}\); wanted tensors alone"):
        read_tensors(path, "methods/sam.py")
    with pytest.raises(UserError, match=rf"safetensors file \({what}\)\. Name the \.safetensors that training saved"):
        read_trained_here(path)
