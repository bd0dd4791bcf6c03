"""`python -m harness train` and `card`: make a checkpoint, and print how one was made."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from harness import places
from harness.cli.options import Address, AsJson, Runs, Set
from harness.cli.terminal import live, say
from harness.structures import UserError


def train(
    recipe: Annotated[Path, typer.Argument(help="A training recipe's file, or its name: scenes_text_click.")],
    set_: Set = [],  # noqa: B006
    force: Annotated[bool, typer.Option(help="Train even if the checkpoint is there.")] = False,
    address: Address = None,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Train a checkpoint by its recipe; the same command again resumes.

    With --set, a change that trains other weights saves them under the hash of the changed recipe.
    """
    from harness.config.recipe import load_recipe
    from harness.jobs.requirements import made_by
    from harness.running.one_training import train as execute
    from harness.running.trainings import check_saved

    asked = load_recipe(places.config(recipe), set_)
    if asked.output.is_file() and not force:
        other = made_by(asked)
        by = f", made by another recipe ({other}, now {asked.key})" if other not in ("", asked.key) else ""
        say(f"{asked.output} is there already{by}; --force trains it again.")
        _say_changes(asked.output)
        return
    if places.is_installed(asked.output):
        raise UserError(
            f"{asked.output}: belongs to the installed harness; a training does not overwrite it. Name a file of "
            "your own: --set checkpoint=weights/mine.safetensors"
        )
    check_saved(str(recipe), asked)
    kept = f"Interrupted. A state is kept every {asked.save_every} steps: the same command goes on from the last one."
    with live(as_json=as_json, interrupted=kept) as shown:
        shown.begins(f"reading the data and building the network of {recipe.stem}")
        path = execute(asked, partial(shown.training, recipe.stem), address=address, runs=runs)
    say(f"{path} and its card {path.with_suffix('.md').name}")


def _say_changes(checkpoint: Path) -> None:
    """Print a line for each data set that has changed since a checkpoint was trained, where the data are there."""
    from harness.config.trained import trained_by
    from harness.jobs.contamination import changed_since

    made = trained_by(checkpoint)
    with suppress(UserError):
        for name, parts in changed_since(made).items() if made else ():
            say(f"The data set {name} has changed since ({', '.join(parts)} differ).")


def card(checkpoint: Annotated[Path, typer.Argument(help="Weights that were trained here.")]) -> None:
    """Print a checkpoint's model card: what it was trained on, by which recipe, and how to do it again."""
    from harness.training.card import card_of

    say(card_of(checkpoint))
