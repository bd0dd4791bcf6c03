"""Compares evaluation with the bare model's speed: `python -m benchmarks.evaluation`, no downloads.

Generated 640 x 480 photographs with seven instances each go through the engine from the files to the rows: decoded,
clicked, encoded, segmented, scored. The bare model is the same forward passes of the networks as in the engine, on
inputs that are on the device already, and nothing else. The two take turns in one process. The networks are the
paper's, with random weights; `--small` takes the embedded ones. On a GPU figures are wall time until the device is
done; on a CPU they are CPU time of the process. `--device cuda` on one GPU.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import cv2
import open_clip
import torch
import typer
from harness.datasets.coco.coco import Coco
from harness.methods.click_only import ClickOnly
from harness.methods.saliency import maskclip
from harness.methods.sam.sam import Sam
from harness.methods.shared.channels import Channels
from harness.methods.shared.prompted_deeplab import Architecture
from harness.methods.text_click import TextClick
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from segment_anything import sam_model_registry
from torch import nn

from benchmarks.engine import SPLIT
from benchmarks.training import photographs
from benchmarks.training_parts import clock
from harness import places
from harness.config.click_protocol import Clicks
from harness.config.wording import Text
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.protocol import Names, Protocol
from harness.plugins.interfaces import Method

WEIGHTS = places.ROOT / "methods" / "weights"
TINY_CLIP = (str(WEIGHTS / "scenes_clip.json"), WEIGHTS / "scenes_clip.safetensors")

Forward = Callable[[], object]


def deeplab(folder: Path, text: bool) -> Path:
    """The paper's network with random weights, as a checkpoint."""
    architecture = Architecture(Channels(saliency=text), encoder="tu-resnet50c")
    path = folder / f"deeplab_{text}.safetensors"
    weights = {name: tensor.contiguous() for name, tensor in architecture.network().state_dict().items()}
    save_file(weights, path, {"architecture": json.dumps(asdict(architecture))})
    return path


def clip(folder: Path) -> tuple[str, Path]:
    """RN50, the paper's, with random weights."""
    path = folder / "RN50.pt"
    torch.save(open_clip.create_model("RN50-quickgelu").state_dict(), path)
    return "RN50-quickgelu", path


def built(name: str, folder: Path, device: str, small: bool) -> Method:
    """A method of the paper."""
    torch.manual_seed(0)
    if name == "click_only":
        return ClickOnly(WEIGHTS / "scenes_click_only.safetensors" if small else deeplab(folder, False), device)
    if name == "text_click":
        model, checkpoint = TINY_CLIP if small else clip(folder)
        saliency = maskclip.MaskClip(model, checkpoint, device=device)
        return TextClick(
            WEIGHTS / "scenes_text_click.safetensors" if small else deeplab(folder, True), saliency, device
        )
    if small:
        return Sam(WEIGHTS / "scenes_sam.safetensors", device=device)
    path = folder / f"{name}.pth"
    torch.save(sam_model_registry[name]().state_dict(), path)
    return Sam(path, device=device)


def networks(method: Any) -> list[nn.Module]:
    """The networks whose forward passes are the bare model."""
    if isinstance(method, Sam):
        model: Any = method.network
        return [model.model.image_encoder, model.model.mask_decoder]
    return [method.network]


@contextmanager
def recorded(method: Any) -> Iterator[list[Forward]]:
    """Collects the forward passes that the method makes, each as a call that makes it again."""
    found: list[Forward] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.append(lambda: inner[module](*args, **kwargs))

    def dense(visual: nn.Module, *args: Any) -> Any:
        found.append(lambda: tower(visual, *args))
        return tower(visual, *args)

    inner = {module: module.forward for module in networks(method)}
    hooks = [module.register_forward_pre_hook(note, with_kwargs=True) for module in inner]
    tower = maskclip.dense_features
    maskclip.dense_features = dense
    try:
        yield found
    finally:
        maskclip.dense_features = tower
        for hook in hooks:
            hook.remove()


def evaluated(method: Method, dataset: Coco, ids: Sequence[str], clicks: Clicks | None = None) -> int:
    """Rows of some images, as a worker makes them."""
    protocol = Protocol("benchmark", 0, clicks or Clicks(), Text(), ("iou", "boundary_iou"))
    records = list(Evaluation(method, dataset, [(Names("m", "m", "coco", "coco"), protocol)]).records(ids))
    assert all(record.status == "ok" for record in records), next(one.error for one in records if one.error)
    return len({record.instance_id for record in records})


def measured(method: Method, dataset: Coco, device: torch.device, rounds: int) -> tuple[float, float]:
    """Instances a second of the engine and of the bare model: medians of rounds in turn."""
    ids = dataset.sample_ids()
    with recorded(method) as passes:
        instances = evaluated(method, dataset, ids)
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        started = clock(device)
        evaluated(method, dataset, ids)
        middle = clock(device)
        with torch.inference_mode():
            for forward in passes:
                forward()
        taken[0].append(middle - started)
        taken[1].append(clock(device) - middle)
    return instances / median(taken[0]), instances / median(taken[1])


def main(
    methods: Annotated[list[str], typer.Argument(help="click_only, text_click, vit_b, vit_l, vit_h.")],
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    images: Annotated[int, typer.Option(help="Generated photographs.")] = 2,
    rounds: Annotated[int, typer.Option(help="Rounds, of which the median is taken.")] = 3,
    small: Annotated[bool, typer.Option(help="The embedded weights for the paper's networks.")] = False,
) -> None:
    """Time the engine beside the bare model."""
    cv2.setNumThreads(1)
    where = torch.device(device)
    if where.type == "cpu":
        torch.set_num_threads(1)
    on = torch.cuda.get_device_name(where) if where.type == "cuda" else "CPU time, one thread"
    listing = Table(
        "method", "engine", "bare model", "share", title="From files to rows", caption=f"{images} images; {on}"
    )
    with TemporaryDirectory() as folder:
        photographs(Path(folder), images)
        dataset = Coco(Path(folder), SPLIT, seen=None)
        for name in methods:
            engine, alone = measured(built(name, Path(folder), device, small), dataset, where, rounds)
            listing.add_row(name, f"{engine:.2f} instances/s", f"{alone:.2f} instances/s", f"{engine / alone:.3f}")
    Console().print(listing)


if __name__ == "__main__":
    typer.run(main)
