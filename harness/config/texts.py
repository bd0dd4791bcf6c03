"""The rules that give a prompt its words: one function each, registered by its name.

`harness/config/words.csv` holds the words that the rules need beside a data set's own: the spoken form of a name that
the data set prints as one word ("tvmonitor": "tv monitor"), a synonym and a hypernym.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from harness.plugins.registry import register_text_rule
from harness.structures import Instance, Listed, UserError

WORDS = Path(__file__).with_name("words.csv")
COLUMNS = ("name", "said", "synonym", "hypernym")


@dataclass(frozen=True, eq=False)
class Words:
    """The spoken forms of class names, their synonyms and hypernyms.

    Attributes:
        rows: The rows of a words file, by the name that the data set prints: said, synonym, hypernym; "" for none.
        written: Whether a name without a spoken form is said exactly as it is written, underscores included.
    """

    rows: Mapping[str, Mapping[str, str]]
    written: bool = False

    def said(self, name: str) -> str:
        """The spoken form of a class name ("tvmonitor": "tv monitor").

        If the file has none, it is the name with blanks for underscores: LVIS's "aerosol_can" is "aerosol can", which
        a text tower reads otherwise than the two words with a mark between them.
        """
        spoken = "" if self.written else name.replace("_", " ").strip()
        return self.rows.get(name, {}).get("said") or spoken or name

    def other(self, name: str, kind: str) -> str:
        """A class name's synonym or hypernym.

        Raises:
            ValueError: The file has none.
        """
        found = self.rows.get(name, {}).get(kind)
        if not found:
            raise ValueError(
                f"no {kind} for '{name}' in the words file; write one in a file of your own (`text: {{words: my.csv}}`)"
            )
        return found


@dataclass(frozen=True, eq=False)
class Asked:
    """The input of a text rule.

    Attributes:
        instance: The instance that needs words.
        present: The categories of the sample's instances; empty if the sample could not be loaded.
        vocabulary: The data set's categories.
        words: The spoken forms of names, synonyms and hypernyms.
        rng: Makes the random generator of this instance; most rules need none. Its seed comes from the run's seed and
            the instance, so the words do not depend on the order of the work.
        fits: For a rule that looks at the picture: a score of how well each category of the vocabulary fits the picture
            around the first click, by the method's own CLIP (`Method.text_fits`); the largest fits best. Empty for
            other rules.
    """

    instance: Instance | Listed
    present: frozenset[str]
    vocabulary: tuple[str, ...]
    words: Words
    rng: Callable[[], np.random.Generator]
    fits: Sequence[float] = ()


Rule = Callable[[Asked], str | None]

"""The words of one prompt, or None for none.

A rule that has no words for an instance raises ValueError: the instance fails with its text.
"""


@register_text_rule("given")
def given(asked: Asked) -> str | None:
    """The data set's own words for the object (refCOCO's phrase), or else its class name."""
    return asked.instance.text or class_name(asked)


@register_text_rule("class_name")
def class_name(asked: Asked) -> str | None:
    """The class name; no text if the data set has no classes."""
    return asked.words.said(asked.instance.category) or None


@register_text_rule("none")
def nothing(_asked: Asked) -> str | None:
    """No text at all."""
    return None


@register_text_rule("synonym")
def synonym(asked: Asked) -> str | None:
    """Another word for the class, from the words file."""
    return asked.words.other(asked.instance.category, "synonym")


@register_text_rule("hypernym")
def hypernym(asked: Asked) -> str | None:
    """A wider word for the class ("dog": "animal"), from the words file."""
    return asked.words.other(asked.instance.category, "hypernym")


@register_text_rule("wrong_present")
def wrong_present(asked: Asked) -> str | None:
    """The class name of another object in the image, drawn evenly from the other classes."""
    return _wrong(asked, [name for name in asked.vocabulary if name in asked.present])


@register_text_rule("wrong_absent")
def wrong_absent(asked: Asked) -> str | None:
    """The class name of something that is not in the image, drawn evenly."""
    there = {asked.words.said(name) for name in asked.present}
    return _wrong(asked, [name for name in asked.vocabulary if asked.words.said(name) not in there])


@register_text_rule("auto/v1", looks=True)
def best_around_click(asked: Asked) -> str | None:
    """The class that fits the picture around the click best, by the method's own CLIP: a guess, no ground truth.

    The paper's section 5 leaves it to later work; the definition is ours. Every category of the data set is a
    candidate, in its spoken form, in the run's template and in the sentences in which the method's CLIP reads words.
    The fit of a name is the mean cosine of its vector with MaskCLIP's vectors of the patches around the prompt's first
    positive click: the four whose centres enclose it, by bilinear weights (`methods/shared/around_click.py`). This is
    the value of MaskCLIP's map at the click, so the best name is the one whose map is brightest there. Of equal fits,
    the name that comes first in the data set's order is taken. Later clicks do not change the words.

    That few patches were chosen on 80 training scenes: 54 % of 571 guesses were right with the four, as with the one
    under the click; 48 % with 3 x 3 patches, 36 % with 5 x 5.

    Raises:
        ValueError: The data set names no classes.
    """
    if not asked.vocabulary:
        raise ValueError("the data set names no classes to guess from")
    best = max(range(len(asked.vocabulary)), key=lambda at: asked.fits[at])
    return asked.words.said(asked.vocabulary[best])


def _wrong(asked: Asked, names: list[str]) -> str:
    # Names in the data set's order, so that one generator draws the same word everywhere; a set has no order.
    # Two classes may be spoken alike, such as "Man" and "Woman" as "person": that word is right for either.
    right = asked.words.said(asked.instance.category)
    others = [said for name in names if (said := asked.words.said(name)) != right]
    if not others:
        raise ValueError("no other class to name, so there is no wrong text for this instance")
    return others[int(asked.rng().integers(len(others)))]


@lru_cache(maxsize=8)
def read_words(path: Path) -> Words:
    """Read a words file: CSV with the columns name, said, synonym, hypernym.

    A process reads it once: an edit during a run does not change the words of the rows that follow.

    Raises:
        UserError: It is no such file.
    """
    rows: dict[str, dict[str, str]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = next(reader, [])
            if tuple(columns) != COLUMNS:
                raise UserError(f"{path}: found the columns {', '.join(columns)}; wanted {', '.join(COLUMNS)}.")
            for row in reader:
                if any(cells := [cell.strip() for cell in row]):
                    _add(rows, cells, f"{path}, line {reader.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); wanted a CSV with the columns {', '.join(COLUMNS)}."
        ) from error
    return Words(rows)


def _add(rows: dict[str, dict[str, str]], cells: list[str], where: str) -> None:
    if len(cells) != len(COLUMNS):
        raise UserError(f"{where}: found {len(cells)} cells; wanted {len(COLUMNS)}. Put words with a comma in quotes.")
    if cells[0] in rows:
        raise UserError(f"{where}: found a second row of '{cells[0]}'; wanted one. Delete one of them.")
    rows[cells[0]] = dict(zip(COLUMNS, cells, strict=True))
