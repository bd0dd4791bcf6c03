"""SBD, the Semantic Boundaries Dataset: objects of VOC's 20 classes on VOC 2011's pictures, without void.

Paper: Hariharan et al., "Semantic Contours from Inverse Detectors", ICCV 2011
Source: http://home.bharathh.info/pubs/codes/SBD/download.html (benchmark.tgz, 1.4 GB). The pictures are Flickr's,
under its terms of use; the annotations name no licence.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from harness import UserError, register_dataset

from .voc.objects import Annotation, VocObjects, ids_in
from .voc.sbd_masks import read_annotation


@register_dataset("sbd")
class Sbd(VocObjects):
    """Semantic Boundaries. An object is a number in `inst/<image>.mat`, which names its class too.

    Images: train 8,498 and val 2,857 (6,671 objects), in the list's order. SBD's splits are not VOC's: pictures of
    VOC's val are among SBD's train. As in RITM's evaluation, every number on a pixel of val's masks is an instance,
    in the order of the list and of the numbers: `val` is its list of 6,671.

    Source of that list: SBDEvaluationDataset in isegm/data/datasets/sbd.py of
    https://github.com/SamsungLabs/ritm_interactive_segmentation at b9b4460.

    Args:
        root: benchmark_RELEASE/dataset, which holds `img`, `inst`, train.txt and val.txt; `cls` is not read.
        split: "train", "val" or another list in root ("train_noval", which SBD's page offers). trainaug is a split
            of the data set `voc`.
        seen: The seen categories: a file of harness/plugins/splits/ without ".txt", or their names; None for no split.
    """

    def __init__(self, root: Path, split: str = "val", seen: str | Sequence[str] | None = "voc_15") -> None:
        super().__init__(seen)
        self.root = root
        self.list_path = root / f"{split}.txt"
        self._check_layout()

    def sample_ids(self) -> list[str]:
        """The ids in the order of the split's list."""
        return list(self._ids)

    @cached_property
    def _ids(self) -> tuple[str, ...]:
        return ids_in(self.list_path)

    def _picture(self, sample_id: str) -> Path:
        return self.root / "img" / f"{sample_id}.jpg"

    def _truth_files(self, sample_id: str) -> tuple[Path, ...]:
        return (self.root / "inst" / f"{sample_id}.mat",)

    def _annotation(self, sample_id: str) -> Annotation:
        return read_annotation(self._truth_files(sample_id)[0])

    def _check_layout(self) -> None:
        for folder in ("img", "inst"):
            if not (self.root / folder).is_dir():
                raise UserError(f"datasets/sbd.py: no folder {self.root / folder}. {_advice(self.root)}")
        if not self.list_path.is_file():
            there = ", ".join(sorted(path.stem for path in self.root.glob("*.txt")))
            raise UserError(
                f"datasets/sbd.py: no file {self.list_path}; there are the splits: {there or 'none'} "
                "(trainaug is a split of the data set voc, with sbd_root)."
            )


def _advice(root: Path) -> str:
    inner = next((path for path in (root / "dataset", root / "benchmark_RELEASE" / "dataset") if path.is_dir()), None)
    if inner is not None:
        return f"Did you mean root={inner}?"
    return (
        "Download benchmark.tgz from http://home.bharathh.info/pubs/codes/SBD/download.html, unpack it and set `root` "
        "to its benchmark_RELEASE/dataset; a root under data/ counts from HARNESS_DATA where that is set."
    )
