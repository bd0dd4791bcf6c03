"""The names that a text is contrasted with: from the data set, from the checkpoint, from a file, or none at all.

A saliency such as MaskCLIP's shows where in an image a text fits better than other names, so its map depends on these.
In the paper they are all class names of the data set that is evaluated, unseen classes included.
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
"""The choice of names: of the evaluated data set; of the training; none; of the classes in the image; in a file."""


@dataclass(frozen=True)
class Contrast:
    """The names that a method contrasts texts with.

    Attributes:
        choice: The choice in the method's parameters.
        trained_with: The names that its checkpoint was trained with; empty if its metadata has none.
        listed: The names in the file, if the choice is a file.
    """

    choice: Vocabulary
    trained_with: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()

    @classmethod
    def of(cls, choice: Vocabulary, checkpoint: Path) -> Contrast:
        """The contrast of a method with these weights.

        Raises:
            UserError: No such file, or the choice is "checkpoint" and the checkpoint's metadata has no names.
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
            given: The prompt's vocabulary: the data set's names, or those in the image if `present_only`. If it is
                empty, the names of the training are taken instead.
        """
        if isinstance(self.choice, Path):
            return self.listed
        if self.choice == "none":
            return ()
        return self.trained_with if self.choice == "checkpoint" or not given else tuple(given)


def recorded_in(checkpoint: Path) -> tuple[str, ...]:
    """The vocabulary in a checkpoint's metadata; empty if it has none. Only the header is read."""
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
            f"vocabulary={path}: cannot be read ({error}); wanted a text file in UTF-8 with one name per line, or "
            "dataset, checkpoint, none or present. Correct `vocabulary`."
        ) from error
    names = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not names:
        raise UserError(f"vocabulary={path}: found no name; wanted one per line. To use no names: `vocabulary: none`.")
    return names
