"""A config's `text:`, and the one way from an instance to its words.

    Instance(category="tvmonitor") --rule class_name--> "tv monitor" --template "a {}"--> "a tv monitor"

Evaluation and training both use `Wording`, so that a network is trained with the words that it gets later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator

from harness import places
from harness.config.parts import Model
from harness.config.texts import Asked, Words, read_words
from harness.messages import readable
from harness.plugins.failures import contained, described
from harness.plugins.registry import entry, find
from harness.structures import Instance, Listed, Said, UserError

READ_SAID_ALONE = ("given", "class_name", "none", "wrong_present", "wrong_absent", "auto/v1")
"""The rules that read only the spoken forms of names from a words file, and no synonyms or hypernyms."""


class Text(Model):
    """The rule for a prompt's words; a rule's name alone may be written for a rule with its defaults.

    Attributes:
        rule: A rule of harness/config/texts.py: "given", "class_name", "none", "synonym", "wrong_present", ...
        template: The sentence that the words are put in, at its "{}".
        words: A file like harness/config/words.csv, with the spoken forms of names, synonyms and hypernyms; "" takes
            names as the data set prints them.
    """

    rule: str = "given"
    template: str = "{}"
    words: str = "harness/config/words.csv"


def _as_text(value: Any) -> Any:
    return {"rule": value} if isinstance(value, str) else value


TextOrRule = Annotated[Text, BeforeValidator(_as_text)]


def words_of(text: Text) -> Words:
    """Read the words file of a `text:`; without a file every name is used exactly as it is printed.

    Raises:
        UserError: It is no such file.
    """
    return read_words(places.located(text.words)) if text.words else Words({}, written=True)


def checked_text(text: Text, where: str) -> Text:
    """Check rule, template and words file, and return the text with a path that workers can follow.

    Raises:
        UserError: At the first mistake; `where` is its start, such as "configs/a.yaml, text".
    """
    find("texts", text.rule, f"{where}.rule")
    if text.template.count("{}") != 1:
        raise UserError(f"{where}.template: found {text.template!r}; wanted one {{}}, for the words.")
    try:
        words_of(text)
    except UserError as error:
        raise UserError(f"{where}.words: {error}") from error
    return text.model_copy(update={"words": text.words and str(places.for_workers(text.words))})


def looks_at_pictures(text: Text) -> bool:
    """Whether the rule of a `text:` chooses words by the picture and a method's CLIP, as `auto/v1` does."""
    return bool(entry("texts", text.rule).options.get("looks"))


def deciding(text: Text) -> dict[str, Any]:
    """Everything that decides the words, as JSON: rule, template, and the part of the words file that the rule uses."""
    words = words_of(text)
    # A new synonym in the file changes no word of a rule that reads spoken forms only: the rows and weights that were
    # made with it stay valid.
    said = {name: words.said(name) for name in words.rows if words.said(name) != name}
    read = {"said": said} if text.rule in READ_SAID_ALONE else {"words": dict(words.rows)}
    return {"rule": text.rule, "template": text.template, **read}


class Wording:
    """Puts the instances of one data set into words.

    Args:
        text: The rule, the template and the words file.
        classes: The data set's classes, as it prints them.

    Attributes:
        vocabulary: The classes in their spoken forms, each in the template, in the data set's order.
        looks: Whether the rule looks at the picture. It is then called after the first click, with `fits`.
    """

    def __init__(self, text: Text, classes: Sequence[str]) -> None:
        self.asked, self.classes = text, tuple(map(readable, classes))
        self.rule, self.words = find("texts", text.rule), words_of(text)
        self.looks = looks_at_pictures(text)
        self.vocabulary = self._said(self.classes)

    def said(
        self,
        instance: Instance | Listed,
        present: frozenset[str],
        rng: Callable[[], np.random.Generator],
        fits: Sequence[float] = (),
    ) -> Said:
        """The words of an instance, and the names with which they are contrasted.

        Args:
            instance: An instance of the data set.
            present: The categories of its sample.
            rng: Makes the random generator of this instance's words; most rules need none.
            fits: A score of each class around the click, for a rule that looks at the picture.

        Raises:
            ValueError: The rule has no words for it, fails, or returns something other than words.
        """
        try:
            with contained():
                text = self.rule(Asked(instance, present, self.classes, self.words, rng, fits))
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(f"{self.asked.rule} failed with {described(error)}") from error
        if not isinstance(text, str | None):
            raise ValueError(f"{self.asked.rule} returned {type(text).__name__}; wanted a text, or None for none.")
        if text is not None and not text.strip():
            raise ValueError(f"{self.asked.rule} returned an empty text; wanted words, or None for none.")
        sentence = None if text is None else self.asked.template.replace("{}", text)
        return Said(sentence, self.vocabulary, self.classes)

    def guessed(self, text: str | None) -> str | None:
        """The class that a rule which looks at the picture chose, by its words; None for other rules and words."""
        # Two classes may have the same spoken form. Reversed, so that the first of them is put last, and stays.
        named = dict(zip(reversed(self.vocabulary), reversed(self.classes), strict=True))
        return named.get(text or "") if self.looks else None

    def present(self, categories: frozenset[str]) -> tuple[str, ...]:
        """The names in the vocabulary of a sample's categories."""
        return self._said([name for name in self.classes if name in categories])

    def _said(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.asked.template.replace("{}", self.words.said(name)) for name in names)
