"""Writes what `predict` found: a picture of all answers, the masks as PNG files, or COCO's JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure

from harness.figures.drawing import PICTURES, file_name, style, unused
from harness.figures.drawing import write as write_figure
from harness.figures.grids import MASK, tinted
from harness.masks import rle
from harness.storage.folder import write_bytes, writing
from harness.structures import Click, Image, Mask, UserError
from harness.trying.panels import Panel, drawn, in_rows
from harness.trying.session import Answer


def check_place(place: Path, picture: Path) -> None:
    """Refuse a path to which nothing can be written, before the methods are asked.

    Args:
        place: As in `write`.
        picture: The file of the picture that they will be asked about.

    Raises:
        UserError: The path has another ending, or is the picture's own.
    """
    if place.suffix and place.suffix.lower() not in (*PICTURES, ".json"):
        raise UserError(f"{place}: wanted a picture ({', '.join(PICTURES)}), a .json file, or a folder for the masks.")
    if place.exists() and place.samefile(picture):
        raise UserError(f"{place}: found the picture itself, which would be lost; wanted another file.")


def write(place: Path, image: Image, name: str, clicks: Sequence[Click], answers: Sequence[Answer]) -> list[Path]:
    """Write the answers in the form that the path's ending names, and return the files that were written.

    Args:
        place: A picture's file (.png, .pdf, .svg, .jpg), a .json file, or a folder for one PNG for each mask, as
            `check_place` allows.
        image: The image of the prompt.
        name: The image's name, for JSON.
        clicks: The prompt's clicks.
        answers: One answer for each method; a failed one has no mask.

    Raises:
        UserError: It cannot be written.
    """
    suffix = place.suffix.lower()
    if suffix in PICTURES:
        with style():
            write_figure(_drawn(image, clicks, answers), place)
        return [place]
    if suffix == ".json":
        write_bytes(place, json.dumps(coco_results(name, answers), indent=1).encode())
        return [place]
    return list(_masks(place, answers))


def _masks(folder: Path, answers: Sequence[Answer]) -> Iterator[Path]:
    """Write each method's mask as a PNG of 0 and 255 at the image's size, one for each ranking if it has several."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    # Labels that differ only in such signs as "/" and " " have one file name: the second one's masks get a number.
    written: set[str] = set()
    for wanted, mask in _named_masks(answers):
        name = unused(wanted, written.__contains__)
        written.add(name)
        path = folder / f"{name}.png"
        encoded, png = cv2.imencode(".png", mask.astype(np.uint8) * 255)
        assert encoded, "a bool array can always be a PNG"
        write_bytes(path, png.tobytes())
        yield path


def _named_masks(answers: Sequence[Answer]) -> Iterator[tuple[str, Mask]]:
    """The file name of each mask that a ranking chooses, without a suffix; a lone candidate has its method's."""
    for answer in answers:
        if answer.prediction is None:
            continue
        if len(masks := answer.prediction.masks) == 1:
            yield file_name(answer.label), masks[0]
            continue
        for ranking, taken in answer.taken.items():
            yield file_name(f"{answer.label}, by {ranking}"), masks[taken]


def coco_results(name: str, answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Every candidate in COCO's result form, with the method, its own scores and the rankings that choose it."""
    return [
        {
            "image_id": name,
            "method": answer.label,
            "candidate": place,
            "taken_by": [ranking for ranking, taken in answer.taken.items() if taken == place],
            "scores": answer.scores_of(place),
            "segmentation": {"size": list(mask.shape), "counts": rle.encode(mask).decode("ascii")},
        }
        for answer in answers
        if answer.prediction is not None
        for place, mask in enumerate(answer.prediction.masks)
    ]


def _drawn(image: Image, clicks: Sequence[Click], answers: Sequence[Answer]) -> Figure:
    """All answers side by side: the image with its clicks, then each method's saliency and candidates."""
    panels = (panel for answer in answers for panel in _panels(image, answer))
    return drawn(in_rows([Panel(image, "image and click" if clicks else "image", clicks=clicks), *panels]))


def _panels(image: Image, answer: Answer) -> Iterator[Panel]:
    if answer.saliency is not None:
        yield Panel(answer.saliency, answer.label, "saliency of the words")
    if answer.prediction is None:
        yield Panel(np.full_like(image, 255), answer.label, "failed")
        return
    for place, mask in enumerate(answer.prediction.masks):
        yield Panel(tinted(image, mask, MASK), answer.label, candidate_said(answer, place))


def candidate_said(answer: Answer, place: int) -> str:
    """A candidate's scores, and which rankings choose it: "candidate 2: confidence 0.910 (taken)"."""
    assert answer.prediction is not None
    if len(answer.prediction.masks) == 1 and not answer.prediction.scores:
        return ""
    scores = [
        f"{ranking} {float(values[place]):.3f}{' (taken)' if answer.taken[ranking] == place else ''}"
        for ranking, values in answer.prediction.scores.items()
    ]
    return f"candidate {place + 1}: {', '.join(scores)}"
