"""Berkeley: 100 objects in 96 photographs of BSDS300, as interactive segmentation is tested on it.

Paper: McGuinness and O'Connor, "A comparative evaluation of interactive segmentation algorithms", Pattern
Recognition 43(2), 2010, https://doi.org/10.1016/j.patcog.2009.03.008
Source: Berkeley.zip (7 MB) of https://github.com/saic-vul/fbrs_interactive_segmentation/releases/tag/v1.0; no licence
is stated. The pictures are from the Berkeley Segmentation Dataset (non-commercial research).
"""

from __future__ import annotations

from harness.plugins.registry import register_dataset

from .grabcut import GrabCut


@register_dataset("berkeley")
class Berkeley(GrabCut):
    """Berkeley: `images/<id>.*` and `masks/<id>.*`, read as GrabCut's are.

    Each mask has a file: a picture with three objects is there thrice (189011, 189011a, 189011b), and is three samples.
    """

    image_folder, mask_folder = "images", "masks"
    download = (
        "Unzip Berkeley.zip of https://github.com/saic-vul/fbrs_interactive_segmentation/releases/tag/v1.0 "
        "or correct `root`."
    )
