"""What is read of a docstring in Google's form."""

from __future__ import annotations

from harness.plugins.docstrings import entries, prose, section


class Base:
    """A base.

    Attributes:
        name: Of the base.
        kind: Of both.
    """


class Own(Base):
    """One line.

    Another: with a colon, which is no section.

    Attributes:
        name: Of its own,
            on two lines: with a colon.

    Raises:
        ValueError: Never.
    """


def bare(x: int) -> int:
    return x


class Built(Own):
    def __init__(self, radius: float, name: str) -> None:
        """Build it.

        Args:
            radius: In pixels.
        """


def test_arguments_may_stand_in_the_constructors_docstring() -> None:
    assert entries(Built, "Args") == {"radius": "In pixels."}


def test_sections() -> None:
    assert prose(Own) == "One line.\n\nAnother: with a colon, which is no section."
    assert entries(Own, "Attributes") == {"name": "Of its own, on two lines: with a colon.", "kind": "Of both."}
    assert entries(Own, "Raises") == {"ValueError": "Never."} and entries(Own, "Args") == {}
    assert section(Own, "Raises") == "ValueError: Never."


def test_without_a_docstring() -> None:
    assert (prose(bare), section(bare, "Args"), entries(bare, "Args")) == ("", "", {})
    assert prose(type("Sub", (Own,), {})) == ""
