"""`python -m harness predict`: every method of a config on one picture of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import ConfigPath, Set, loaded
from harness.cli.terminal import console, say, warn
from harness.structures import Click, Mask, UserError

if TYPE_CHECKING:
    from rich.table import Table

    from harness.trying.session import Answer


def predict(
    config: ConfigPath,
    image: Annotated[Path, typer.Option("--image", "-i", metavar="FILE", help="The picture.")],
    click: Annotated[
        list[str],
        typer.Option(
            metavar="X,Y",
            help="A click, in pixels; -X,Y is a negative one. As often as you like, in this order; none for methods "
            "that segment by text alone.",
        ),
    ] = [],  # noqa: B006
    text: Annotated[str | None, typer.Option(help="The words for the object, exactly as the methods get them.")] = None,
    method: Annotated[list[str], typer.Option(metavar="LABEL", help="Only this method; may be repeated.")] = [],  # noqa: B006
    out: Annotated[
        list[Path],
        typer.Option(
            "--out", "-o", help="What to write: a picture (.png, .pdf), COCO's results (.json), or a folder of masks."
        ),
    ] = [],  # noqa: B006
    at_once: Annotated[
        bool,
        typer.Option("--at-once", help="Give all clicks in one prompt, not in the rounds of the config's click rule."),
    ] = False,
    set_: Set = [],  # noqa: B006
) -> None:
    """Ask the methods of a config for one object of one picture: a click and a few words in, their masks out.

    harness predict quickstart --image photo.jpg --click 120,80 --text "kayak paddle" -o masks.png
    """
    clicks = [clicked(one) for one in click]
    if not clicks and not (text or "").strip():
        raise UserError("predict: found neither --click nor --text; wanted at least one of them.")
    asked = loaded(config, set_, None)
    from harness.trying.methods import load_methods
    from harness.trying.outputs import check_place, write
    from harness.trying.session import Session, clicks_on, own_picture

    picture = own_picture(image)
    for place in out:
        check_place(place, image)
    prompts = clicks_on(clicks, picture.sample.size)
    session = Session(load_methods(asked, method, clicked=bool(prompts)), picture, seed=asked.seed)
    answers = [session.shown(name, prompts, text, at_once) for name in session.methods]
    console.print(_table(answers))
    for answer in answers:
        if answer.error:
            warn(f"{answer.label}: {answer.error}")
    for place in out:
        for path in write(place, picture.sample.image, picture.sample.id, prompts, answers):
            say(str(path))
    if any(answer.error for answer in answers):
        raise typer.Exit(1)


def clicked(said: str) -> Click:
    """A click of the form 120,80, or -120,80 for a negative one.

    Raises:
        UserError: It has another form.
    """
    # No pixel has a negative x, so a minus is free to mark a negative click.
    x, comma, y = said.strip().partition(",")
    positive = not x.startswith("-")
    try:
        if not comma:
            raise ValueError
        return Click(int(x.removeprefix("-")), int(y), positive)
    except ValueError:
        raise UserError(
            f"--click {said}: wanted X,Y in whole pixels, such as 120,80; -120,80 is a negative click."
        ) from None


def _table(answers: Sequence[Answer]) -> Table:
    """A row for each mask that a ranking takes."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("method", "mask of", "pixels", "box (x, y, w, h)", "ms", title_justify="left")
    for answer in answers:
        for ranking, taken in answer.taken.items():
            assert answer.prediction is not None
            mask = answer.prediction.masks[taken]
            known = f"candidate {taken + 1}, by {ranking}" if answer.prediction.scores else "its only candidate"
            table.add_row(escape(answer.label), known, f"{mask.sum():,}", _box(mask), f"{answer.segment_ms:.0f}")
        if answer.error:
            table.add_row(escape(answer.label), "failed", "", "", "")
    return table


def _box(mask: Mask) -> str:
    from harness.cropping import bounding_box

    x0, y0, x1, y1 = bounding_box(mask)
    return f"{x0}, {y0}, {x1 - x0}, {y1 - y0}"
