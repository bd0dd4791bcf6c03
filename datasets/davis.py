"""DAVIS, 345 frames with one mask each, as interactive segmentation is tested on it.

Paper: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016,
https://davischallenge.org; the frames were chosen by Jang and Kim, "Interactive Image Segmentation via Backpropagating
Refinement Scheme", CVPR 2019
Source: DAVIS.zip (43 MB) of https://github.com/saic-vul/fbrs_interactive_segmentation/releases/tag/v1.0; no licence is
stated there; DAVIS's own terms are on its site.
"""

from __future__ import annotations

from pathlib import Path

from harness.plugins.registry import register_dataset
from harness.structures import Mask

from .shared.mask_files import read_colours
from .shared.paired_files import PairedFiles


@register_dataset("davis")
class Davis(PairedFiles):
    """DAVIS's frames: `img/<id>.*` and `gt/<id>.*`; whatever is not black in a frame is one object.

    Source: DavisDataset in isegm/data/datasets/davis.py of
    https://github.com/SamsungLabs/ritm_interactive_segmentation at b9b4460.
    """

    image_folder, mask_folder = "img", "gt"
    download = (
        "Unzip DAVIS.zip of https://github.com/saic-vul/fbrs_interactive_segmentation/releases/tag/v1.0 "
        "or correct `root`."
    )

    def read_mask(self, path: Path) -> tuple[Mask, Mask | None]:
        """The pixels above 0 in any channel, and None, since nothing is ignored."""
        return read_colours(path).max(axis=2) > 0, None
