"""GrabCut: 50 photographs, one object each, as interactive segmentation is tested on it.

Paper: Rother et al., "GrabCut: Interactive Foreground Extraction using Iterated Graph Cuts", SIGGRAPH 2004,
https://doi.org/10.1145/1015706.1015720
Source: GrabCut.zip (11 MB) of https://github.com/saic-vul/fbrs_interactive_segmentation/releases/tag/v1.0; no licence
is stated. 20 of the pictures are from the Berkeley Segmentation Dataset (BSDS300, non-commercial research).
"""

from __future__ import annotations

import re
from pathlib import Path

from harness.plugins.registry import register_dataset
from harness.structures import Mask

from .shared.mask_files import read_grey
from .shared.paired_files import PairedFiles

IGNORED = 128
"""The band around the outline, in which hair and blur make it a matter of taste."""


@register_dataset("grabcut")
class GrabCut(PairedFiles):
    """GrabCut: `data_GT/<id>.*` and `boundary_GT/<id>.*`; the band of 128 along the object's outline is ignored.

    The object's pixels are above 128, or 1. Source: GrabCutDataset in isegm/data/datasets/grabcut.py of
    https://github.com/SamsungLabs/ritm_interactive_segmentation at b9b4460.
    """

    image_folder, mask_folder = "data_GT", "boundary_GT"
    download = (
        "Unzip GrabCut.zip of https://github.com/saic-vul/fbrs_interactive_segmentation/releases/tag/v1.0 "
        "or correct `root`."
    )

    def read_mask(self, path: Path) -> tuple[Mask, Mask | None]:
        """Read the grey value; RITM takes the blue channel, which is the same in a file without colours."""
        value = read_grey(path)
        ignored = value == IGNORED
        return (value > IGNORED) | (value == 1), ignored if ignored.any() else None

    def image_key(self, sample_id: str) -> str:
        """Pictures whose names are numbers are BSDS300's, and GrabCut and Berkeley share 16 of them.

        A letter after the number is Berkeley's, for a second object in the picture.
        """
        number = re.fullmatch(r"(\d+)[a-z]?", sample_id)
        return f"bsds/{number[1]}" if number else super().image_key(sample_id)
