"""The paper's checkable sentences, each tested on a run's paired rows and on the paper's own numbers.

A sentence holds if the whole 95 % interval of its number agrees with it, does not hold if no part agrees, and cannot be
told if the interval leaves it open or the run lacks a method, a number of clicks or a part of the instances. For "text
helps", whose number is the gain: [+1, +5] holds, [-4, -1] does not hold, [-1, +3] cannot be told. For "similar", within
2 points: [-1, +1] holds, [+3, +6] does not hold. harness/report/paper/claims.py explains the numbers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from harness.plugins.registry import register_table
from harness.report.comparison import OURS, SAM, Part, players
from harness.report.context import Context
from harness.report.layout import Cell, Column, Row, Table, signed
from harness.report.paper.claims import OPEN, TRAINING, Claim, Side, Verdict, load_claims, printed_verdicts
from harness.report.paper.findings import SHARES
from harness.report.paper.published import known_findings, printed_rows
from harness.report.scores import NO_ROWS, numbers, plugin_of, scored, scores
from harness.report.tables.table5 import Setting, asked_with
from harness.statistics.contrasts import contrast, mean_gain, paired
from harness.statistics.final_clicks import FinalClicks

FILTERS: Mapping[str, tuple[str, Callable[[pd.Series[float]], pd.Series[bool]]]] = {
    "seen": ("seen", lambda values: values == 1),
    "unseen": ("seen", lambda values: values == 0),
    "alone": ("same_class_count", lambda values: values == 1),
    "distractors": ("same_class_count", lambda values: values > 1),
    "ambiguous": ("under_click", lambda values: values > 1),
    "unambiguous": ("under_click", lambda values: values == 1),
}
"""A word of a claim's part -> the column of the rows that decides, and a test of its values."""


@register_table("claims")
def claims(final: FinalClicks, context: Context) -> Table:
    """The paper's sentences about the run's data sets: whether each of them holds on the run's rows."""
    printed = printed_verdicts(printed_rows(), known_findings())
    run = Asked.of(final, context)
    found = [run.verdict(claim, dataset) for claim in load_claims() for dataset in run.datasets(claim)]
    columns = list(COLUMNS)
    # Beside the verdict on the run, and only here: `published_claims` shares the other columns.
    columns.insert(4, Column("In the paper"))
    body = [_row(one, index, found, _said(one, run, printed)) for index, one in enumerate(found)]
    left = sum(not list(run.datasets(claim)) for claim in load_claims())
    notes = [_counted(found), NUMBERS, RULES]
    notes += [f"{left} sentences are about data sets that this run does not have."] if left else []
    return Table("The paper's claims", tuple(columns), tuple(body), tuple(notes) if len(final.rows) else (NO_ROWS,))


def published_claims() -> Table:
    """Test the paper's sentences on its own printed numbers."""
    found = printed_verdicts(printed_rows(), known_findings())
    body = [_row(one, index, found) for index, one in enumerate(found)]
    return Table("The paper's claims by its own numbers", COLUMNS, tuple(body), (_counted(found), NUMBERS))


NUMBERS = "Differences of means in points; `less`: one difference minus another."
RULES = (
    "Over the instances that both methods scored, from the same clicks where the sentence gives both the same. "
    "Holds: the whole 95 % interval (images resampled) agrees; does not hold: no part of it agrees. Similar, and "
    "matching: within 2 points."
)
COLUMNS = (
    Column("Claim"),
    Column("Where"),
    Column("Dataset"),
    Column("Verdict"),
    Column("Difference", align="right"),
    Column("95 %", align="right"),
    Column("n", align="right"),
    Column("Rests on"),
)


@dataclass(frozen=True)
class Asked:
    """A run, with everything that the claims need of it.

    Attributes:
        final: The rows.
        context: The other facts about the run.
        settings: Method's label -> its clicks.
        lines: The lines of `scores`, which also count missing rows.
        classes: The numbers of classes that ours were trained on, largest first; empty unless there are several.
    """

    final: FinalClicks
    context: Context
    settings: Mapping[str, Setting]
    lines: pd.DataFrame
    classes: tuple[int, ...]

    @classmethod
    def of(cls, final: FinalClicks, context: Context) -> Asked:
        """A run."""
        settings, lines = asked_with(final, context), scores(final, context)
        ours = players(OURS, lines, final, context)
        counts = {count for label in ours if (count := context.facts(label).trained_classes)}
        classes = sorted(counts, reverse=True) if len(counts) > 1 else ()
        return cls(final, context, settings, lines, tuple(classes))

    def datasets(self, claim: Claim) -> Iterator[str]:
        """The run's data sets that a claim is about: those that it names and, for a general one, any new ones."""
        for dataset in self.lines["dataset"].unique():
            plugin = plugin_of(self.final, dataset)
            if plugin in claim.datasets or (claim.elsewhere and plugin not in SHARES):
                yield str(dataset)

    def verdict(self, claim: Claim, dataset: str) -> Verdict:
        """Test a claim on the rows of a data set."""
        entries = [self._entry(side, dataset) for side in claim.terms]
        lacking = [entry for entry in entries if isinstance(entry, str)]
        if lacking:
            return Verdict(claim, dataset, OPEN, why=lacking[0])
        named = [entry for entry in entries if not isinstance(entry, str)]
        pairs = []
        for at, part in enumerate(claim.parts):
            # Two sides a part: a claim of one part is a less b; one of two is (a less b) on the one part of the
            # instances, less (c less d) on the other.
            (a, b), (first, second) = named[2 * at : 2 * at + 2], claim.terms[2 * at : 2 * at + 2]
            rows = [self._rows(dataset, entry, claim.metric) for entry in (a, b)]
            # A sentence about "2+1 clicks against 1" compares different clicks on purpose; all others must be over the
            # very same ones.
            both = paired(rows[0], rows[1], claim.metric, same_clicks=first.clicks == second.clicks)
            pairs.append(_within(both, part))
            if pairs[-1].empty:
                why = f"No instance of {part} has a score of both by {claim.metric}, from the same clicks"
                return Verdict(claim, dataset, OPEN, why=why)
        gain = mean_gain(pairs[0]) if len(pairs) == 1 else contrast(*pairs)
        low, high = 100 * gain.low, 100 * gain.high
        said = OPEN if math.isnan(low) else claim.verdict(low, high)
        why = " less ".join(_means(own, named[2 * at], named[2 * at + 1]) for at, own in enumerate(pairs))
        return Verdict(claim, dataset, said, 100 * gain.difference, low, high, tuple(map(len, pairs)), why)

    def _entry(self, side: Side, dataset: str) -> tuple[str, str] | str:
        """The label and ranking that play a side, the config's first that fits; or the reason why none does."""
        # From the general to the special, so that the reason names the first thing that the run lacks.
        here = self.lines[(self.lines["dataset"] == dataset) & (self.lines["ranking"] != "")]
        part = SAM if side.method in SAM.plugins else Part((side.method,))
        labels = players(part, here, self.final, self.context)
        if not labels:
            return f"No method of this run is {side.method}"
        clicked = [label for label in labels if self._clicks(label) == side.clicks]
        trained = [label for label in clicked if self._trained(label, side.training)]
        for label in trained:
            own = here[here["method"] == label].set_index("ranking")
            ranking = side.ranking or next((one for one in part.rankings if one in own.index), "")
            if ranking in own.index:
                missing = int(own.loc[ranking, "missing"])  # type: ignore[arg-type]
                fault = f"{label} has {abs(missing)} instances too {'few' if missing > 0 else 'many'}"
                return fault if missing else (label, ranking)
        return f"No method of this run is {side.said}"

    def _clicks(self, label: str) -> tuple[int, int]:
        setting = self.settings.get(label)
        return (setting.positive, setting.negative) if setting else (0, 0)

    def _trained(self, label: str, training: str) -> bool:
        # "most", "fewer" and "fewest" are relative: with networks of 64, 34 and 23 classes in the run, "fewer" means
        # 34. A claim about "all" or "seen" asks for the recipe's own word instead.
        facts, wanted = self.context.facts(label), dict(zip(TRAINING, self.classes, strict=False)).get(training)
        by_number = wanted is not None and facts.trained_classes == wanted
        return training in ("", facts.training) or by_number

    def _rows(self, dataset: str, entry: tuple[str, str], metric: str) -> pd.DataFrame:
        rows = self.final.rows
        own = (rows["dataset"] == dataset) & (rows["method"] == entry[0]) & (rows["ranking"] == entry[1])
        return scored(self.final.where(own), [column for column, _ in FILTERS.values()], metric, by_draw=True)


def _within(pairs: pd.DataFrame, part: str) -> pd.DataFrame:
    """The pairs of a part of the instances, such as `unseen distractors`."""
    for word in part.split():
        if word in FILTERS:
            column, chosen = FILTERS[word]
            pairs = pairs[chosen(numbers(pairs[column]))]
    return pairs


def _means(pairs: pd.DataFrame, a: tuple[str, str], b: tuple[str, str]) -> str:
    """`+7.87 (Text+Click 61.52, Click only 53.65)`."""
    named = [label if ranking == "single" else f"{label} by {ranking}" for label, ranking in (a, b)]
    means = [
        f"{name} {100 * pairs[column].mean():.2f}" for name, column in zip(named, ("score", "score_b"), strict=True)
    ]
    return f"{signed(pairs['gain'].mean())} ({', '.join(means)})"


def _said(verdict: Verdict, run: Asked, printed: Sequence[Verdict]) -> str:
    """The verdict of the paper's numbers on the same claim and data set; else how often each verdict occurs."""
    own = [one for one in printed if one.claim == verdict.claim]
    same = [one.said for one in own if one.dataset == plugin_of(run.final, verdict.dataset)]
    return same[0] if same else "; ".join(f"{said}: {count}" for said, count in Counter(o.said for o in own).items())


def _row(verdict: Verdict, index: int, found: Sequence[Verdict], paper: str | None = None) -> Row:
    claim, starts = verdict.claim, index == 0 or found[index - 1].claim != verdict.claim
    names = (Cell(claim.sentence), Cell(claim.where), Cell(verdict.dataset))
    cells = [*names, Cell(verdict.said), *_numbers(verdict), Cell(verdict.why)]
    if paper is not None:
        cells.insert(4, Cell(paper))
    return Row(tuple(cells), starts_section=starts)


def _numbers(verdict: Verdict) -> Iterator[Cell]:
    """Difference, interval and n."""
    if verdict.difference is None:
        yield from (Cell("–"), Cell("–"), Cell("–"))
        return
    low, high, n = verdict.low, verdict.high, verdict.n
    bounds = None if low is None or high is None or math.isnan(low) else (low / 100, high / 100)
    cell = Cell(signed(verdict.difference / 100), value=verdict.difference / 100, n=n[0] if n else None)
    yield replace(cell, low=bounds[0], high=bounds[1]) if bounds else cell
    yield Cell(f"[{signed(bounds[0])}, {signed(bounds[1])}]" if bounds else "–")
    yield Cell(", ".join(map(str, n)) or "–")


def _counted(found: Sequence[Verdict]) -> str:
    """`holds: 31, does not hold: 3, cannot be told: 10.`"""
    counts = Counter(one.said for one in found)
    return ", ".join(f"{said}: {count}" for said, count in counts.items()) + "."
