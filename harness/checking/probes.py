"""Defines a probe and runs a list of them. A probe that fails does not stop the others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from harness.plugins.failures import contained, described

S = TypeVar("S")


class Verdict(StrEnum):
    """The verdict of a probe."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Outcome:
    """The result of a probe.

    Attributes:
        probe: The probe's name.
        verdict: Whether it passed, failed, or could not be run here.
        text: The observation, or the reason why the probe could not be run.
        mend: Advice for a failure; "" otherwise.
    """

    probe: str
    verdict: Verdict
    text: str
    mend: str = ""


class BrokenError(Exception):
    """The plugin fails the probe; the message says what was found and what was wanted."""


class UntoldError(Exception):
    """The probe has no result on this machine or with these pictures; the message has the reason."""


@dataclass(frozen=True)
class Probe(Generic[S]):
    """One test of a plugin.

    Attributes:
        name: A few words, as in the table.
        asks: A function that runs the test, and returns the observation in a few words.
        mend: Advice for a failure.
        after: Names of earlier probes. If one of them failed, this one would fail for the same reason and is skipped.
    """

    name: str
    asks: Callable[[S], str]
    mend: str
    after: tuple[str, ...] = ()


def outcomes(probes: Sequence[Probe[S]], subject: S) -> Iterator[Outcome]:
    """Run the probes in their order, and yield each outcome as soon as it is known.

    A probe whose answer would only repeat an earlier failure is skipped: a method that draws without a seed fails "the
    same answer twice", and not also every other probe that compares two answers.
    """
    failures: dict[str, str] = {}  # A probe that failed, or was skipped for it -> the one that failed.
    for probe in probes:
        if before := [failures[name] for name in probe.after if name in failures]:
            # A skipped probe passes the reason on: with A failed, B after A, and C after B, C names A and not B.
            failures[probe.name] = before[0]
            yield Outcome(probe.name, Verdict.SKIPPED, f"not asked, since '{before[0]}' failed")
            continue
        outcome = _asked(probe, subject)
        if outcome.verdict is Verdict.FAILED:
            failures[probe.name] = probe.name
        yield outcome


def _asked(probe: Probe[S], subject: S) -> Outcome:
    try:
        with contained(), warnings.catch_warnings():
            # Images are read-only, which torch warns of; no method may write on them.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return Outcome(probe.name, Verdict.PASSED, probe.asks(subject))
    except UntoldError as reason:
        return Outcome(probe.name, Verdict.SKIPPED, str(reason))
    except BrokenError as reason:
        return Outcome(probe.name, Verdict.FAILED, str(reason), probe.mend)
    except Exception as error:  # The plugin's own code may raise anything.
        return Outcome(probe.name, Verdict.FAILED, described(error), probe.mend)
