"""Makes ids of instances from the contents of files."""

from __future__ import annotations


def plain(text: str) -> str:
    """An id without "~", behind which a data set puts which of an object's texts is meant (`Instance.object_id`).

    "~" becomes "%7E", and "%" becomes "%25", so that ids that differ stay so.
    """
    return text.replace("%", "%25").replace("~", "%7E")
