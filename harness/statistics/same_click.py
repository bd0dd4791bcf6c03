"""Pairs of answers to one click that lies in two objects: one prompt has the words of the first, one of the second.

    the click x lies in the person and in the tie        words         mask        IoU with person   with tie
    a method that reads the words                        "person"      person            0.9            0.1
                                                         "tie"         tie               0.1            0.8
    a method that does not: the same mask both times     "person"      tie               0.1            0.8
                                                         "tie"         tie               0.1            0.8

The first method is right both times. The second is right once: no mask can be right for two different objects, unless
these nearly coincide.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.masks.destinations import RIGHT
from harness.storage.clicks import click_keys
from harness.storage.rows import as_text
from harness.structures import UserError

PART = 0.9
"""Two objects are part and whole if at least this share of the smaller one's pixels lies in the other."""

_ABOUT = ["partner_iou", "gt_area_px", "pred_area_px", "iou"]


def pairs(rows: pd.DataFrame) -> pd.DataFrame:
    """The two answers to each pair's click, side by side.

    Args:
        rows: The rows of one method and ranking, after the click, that have a mask and a `partner`. An instance has one
            for each of its partners.

    Returns:
        A line for each pair with both answers, with the columns

        - dataset, image_id, instance_id, partner;
        - both, one, none: 1 in one of the three, 0 in the others, by how many of the two masks are right, which means
          an IoU of at least 0.5 with their own object;
        - mask: 1 if the two masks differ, as far as their areas and their IoUs with both objects show;
        - object: 1 if one mask is nearer, by IoU, to the one object and the other mask to the other;
        - nested: bool, whether at least 0.9 of one of the objects lies in the other.

    Raises:
        UserError: The two had different clicks.
    """
    columns = ["dataset", "image_id", "instance_id", "partner", *_ABOUT]
    own = as_text(rows).assign(click=click_keys(rows["clicks"]))
    other = own[[*columns, "click"]].rename(columns={"instance_id": "partner", "partner": "instance_id"})
    on = columns[:4]
    found = own[[*columns, "click", "shared_px"]].merge(other, on=on, suffixes=("", "_b"))
    found = found[found["instance_id"] < found["partner"]].sort_values(on, ignore_index=True)
    _refuse_other_clicks(found)
    right = (found["iou"] >= RIGHT).astype(int) + (found["iou_b"] >= RIGHT)
    # Rows hold no masks here, so the two are compared by three numbers: the area, the IoU with the first object, and
    # the IoU with the second. What is `iou` for one row is `partner_iou` for the other.
    masks = (("pred_area_px", "pred_area_px_b"), ("iou", "partner_iou_b"), ("partner_iou", "iou_b"))
    changes = np.logical_or.reduce([found[a] != found[b] for a, b in masks])
    #                        IoU with person   with tie    sign
    #    mask for "person"        0.9            0.1        +1
    #    mask for "tie"           0.1            0.8        -1      the product is below zero: the object changed
    #
    # A mask as near to the one as to the other has sign 0, and counts as no change.
    nearer = [np.sign(found["iou"] - found["partner_iou"]), np.sign(found["partner_iou_b"] - found["iou_b"])]
    smaller = found[["gt_area_px", "gt_area_px_b"]].min(axis=1)
    return found[on].assign(
        both=(right == 2).astype(float),
        one=(right == 1).astype(float),
        none=(right == 0).astype(float),
        mask=changes.astype(float),
        object=(nearer[0] * nearer[1] < 0).astype(float),
        nested=found["shared_px"] >= PART * smaller,
    )


def asked(rows: pd.DataFrame) -> int:
    """How many pairs a method's rows name, answered or not."""
    named = rows.loc[rows["partner"].notna(), ["dataset", "instance_id", "partner"]].drop_duplicates()
    return len({(dataset, *sorted(two)) for dataset, *two in named.itertuples(index=False, name=None)})


def _refuse_other_clicks(found: pd.DataFrame) -> None:
    other = found[found["click"] != found["click_b"]]
    if len(other):
        one = other.iloc[0]
        raise UserError(
            f"same click, {one.dataset}: '{one.instance_id}' and '{one.partner}' of image '{one.image_id}' had "
            "different clicks; wanted one. A click rule of pairs must make the same click for both, and draw nothing."
        )
