"""COCO_MVal: 800 objects in photographs of COCO, one an image, on which interactive segmentation is tested.

Source: COCO_MVal.zip of https://github.com/saic-vul/fbrs_interactive_segmentation/releases/tag/v1.0; the images are
Flickr's. Checked on files made in this layout; the archive itself was not at hand.
"""

from __future__ import annotations

import re

from harness.plugins.registry import register_dataset

from .davis import Davis


@register_dataset("coco_mval")
class CocoMVal(Davis):
    """COCO_MVal: `img/<id>.*` and `gt/<id>.*`, read as DAVIS's are.

    It is a data set of its own, since what authors print for DAVIS is not for these images.
    """

    download = (
        "Unzip COCO_MVal.zip of https://github.com/saic-vul/fbrs_interactive_segmentation/releases/tag/v1.0 "
        "or correct `root`."
    )

    def image_key(self, sample_id: str) -> str:
        """COCO's picture, if the file has a name of COCO's."""
        number = re.fullmatch(r"(?:COCO_(?:train|val)2014_)?(\d{12})", sample_id)
        return f"coco/{int(number[1])}" if number else super().image_key(sample_id)
