"""Real photographs and official annotations: a test reads them where they lie on this machine, or is skipped.

They lie in the folder that HARNESS_DATA names, or else in `../shared/data` beside the checkout. Of each data set a
hundred images suffice, with the annotations cut to them; on a whole one the tests take hours.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("HARNESS_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data").absolute()
COCO = FOLDER / "coco"
VOC = FOLDER / "VOCdevkit" / "VOC2012"
GRABCUT = FOLDER / "grabcut"
OPENIMAGES = FOLDER / "openimages"
REFER = FOLDER / "refer" if (FOLDER / "refer").is_dir() else FOLDER
PARITY = FOLDER / "parity"
BERT_VOCABULARY = FOLDER / "vocab" / "bert-base-uncased-vocab.txt"

WANTED = {
    "coco": (
        "COCO 2017, from https://cocodataset.org/#download",
        [COCO / "annotations" / f"instances_{split}.json" for split in ("train2017", "val2017")]
        + [COCO / split for split in ("train2017", "val2017")],
    ),
    "voc": (
        "PASCAL VOC 2012, as VOCtrainval_11-May-2012.tar unpacks",
        [VOC / name for name in ("JPEGImages", "SegmentationObject", "SegmentationClass", "Annotations")]
        + [VOC / "ImageSets" / "Segmentation" / "trainval.txt"],
    ),
    "grabcut": (
        "GrabCut, as RITM's GrabCut.zip unpacks (https://github.com/SamsungLabs/ritm_interactive_segmentation)",
        [GRABCUT / name for name in ("data_GT", "boundary_GT")],
    ),
    "refer": (
        "refCOCO and refCOCOg, as https://github.com/lichengunc/refer lays them out",
        [REFER / "refcoco" / name for name in ("refs(unc).p", "instances.json")]
        + [REFER / "refcocog" / name for name in ("refs(google).p", "instances.json")]
        + [REFER / "images" / "mscoco" / "images" / "train2014"],
    ),
    "openimages": (
        "Open Images' class lists, from https://storage.googleapis.com/openimages/web, and the two lists drawn from "
        "them that tests/README.md describes",
        [
            OPENIMAGES / name
            for name in (
                "challenge-2019-classes-description-segmentable.csv",
                "class-descriptions-boxable.csv",
                "segmentable-known-308-of-350.txt",
                "coco_openimages_64.csv",
            )
        ],
    ),
    "parity": (
        "the official RITM code's answers, which tests/README.md describes",
        [PARITY / "ritm", PARITY / "ritm_grabcut_clicks.json"],
    ),
    "simpleclick": (
        "the official SimpleClick code's answers, which tests/README.md describes",
        [PARITY / "simpleclick"],
    ),
    "focalclick": ("the official FocalClick code's answers, which tests/README.md describes", [PARITY / "focalclick"]),
    "lavt": ("the official LAVT code's answers, which tests/README.md describes", [PARITY / "lavt"]),
    "vlt": ("the official VLT code's answers, which tests/README.md describes", [PARITY / "vlt"]),
    "bert vocabulary": ("vocab.txt of bert-base-uncased, under this name", [BERT_VOCABULARY]),
    "splits": ("the lists of seen classes that tests/README.md describes", [FOLDER / "splits.json"]),
}
"""What a test may need -> what it is and where one gets it; what must be there."""


def needs(*names: str) -> pytest.MarkDecorator:
    """Skips a test where one of these data sets is not there, and says what to put where."""
    return pytest.mark.skipif(bool(absent(*names)), reason=absent(*names) or "there")


def absent(*names: str) -> str:
    """What lacks of these data sets, and how to mend it; empty where all is there."""
    for name in names:
        what, paths = WANTED[name]
        for path in paths:
            if not path.exists():
                return f"no {path}. Put there {what}; or set HARNESS_DATA to the folder that stands for {FOLDER}."
    return ""
