"""The names that a text is contrasted with: from the data set, from the checkpoint, from a file, or none at all.

A saliency such as MaskCLIP's tells where in an image a text is rather than other names, so its map depends on them.
In the paper they are the names of the data set that is asked on, those of unseen classes among them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.plugins.files import metadata
from harness.structures import UserError

Vocabulary = Literal["dataset", "checkpoint", "none", "present"] | Path
"""Which names: the data set's that is asked on; those of the training; none; those in the image; those in a file."""


@dataclass(frozen=True)
class Contrast:
    """The names that a method contrasts texts with.

    Attributes:
        choice: Which names the method was told to take.
        trained_with: The names that its checkpoint was trained with; empty where it does not say.
        listed: The names in the file, where the choice is one.
    """

    choice: Vocabulary
    trained_with: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()

    @classmethod
    def of(cls, choice: Vocabulary, checkpoint: Path) -> Contrast:
        """The contrast of a method with these weights.

        Raises:
            UserError: No such file, or the checkpoint does not say what it was trained with where that is wanted.
        """
        trained_with = recorded_in(checkpoint)
        if choice == "checkpoint" and not trained_with:
            raise UserError(
                f"{checkpoint}: found no vocabulary in its metadata; wanted one for vocabulary=checkpoint. Train it "
                "again (README, Training), or set `vocabulary: dataset`."
            )
        return cls(choice, trained_with, names_in(choice) if isinstance(choice, Path) else ())

    def names(self, given: Sequence[str]) -> tuple[str, ...]:
        """The names for a prompt.

        Args:
            given: The prompt's: the data set's, or those in the image where the method may know them. Where there are
                none, those of the training stand for them.
        """
        if isinstance(self.choice, Path):
            return self.listed
        if self.choice == "none":
            return ()
        return self.trained_with if self.choice == "checkpoint" or not given else tuple(given)


def recorded_in(checkpoint: Path) -> tuple[str, ...]:
    """The vocabulary in a checkpoint's metadata; empty where it has none. It reads the header alone."""
    return tuple(map(str, json.loads(metadata(checkpoint).get("vocabulary", "[]"))))


def names_in(path: Path) -> tuple[str, ...]:
    """The names in a text file, one a line; empty lines and those that begin with # do not count.

    Raises:
        UserError: No such file, or none that holds a name.
    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"vocabulary={path}: cannot be read ({error}); wanted a text file in UTF-8 with a name a line, or dataset, "
            "checkpoint, none or present. Correct `vocabulary`."
        ) from error
    names = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not names:
        raise UserError(
            f"vocabulary={path}: found no name; wanted one a line. For no names at all: `vocabulary: none`."
        )
    return names
