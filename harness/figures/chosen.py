"""Chooses the instances of a grid of pictures by rules that are printed under the figure, never by taste.

Every rule is a condition on the scores and an order. The first instances that meet the condition are shown, at most one
of an image and, while there are enough, one of a class. Equal ones are ordered by id, so a run's figures never change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.report.comparison import CLICK, OURS, SAM, line_of, players, with_text
from harness.report.context import Context
from harness.report.scores import named, numbers, scored, scores
from harness.statistics.final_clicks import INSTANCE, FinalClicks
from harness.statistics.means import Rows

RIGHT, WRONG, FAILED = 0.8, 0.5, 0.3
"""An IoU of at least the first is right, below the second wrong; if all are below the third, the object is missed."""

FACTS = ["category", "seen", "text", "gt_area_px", "under_click", "under_click_area_ratio"]


@dataclass(frozen=True)
class Roles:
    """The methods that play the parts in a data set's figures, by the names of `named`; None for no method."""

    text: str | None = None
    click: str | None = None
    sam: str | None = None


@dataclass(frozen=True, eq=False)
class Answers:
    """A data set's instances: the facts, and the IoU of every method and ranking.

    Attributes:
        facts: A line for each instance; the index is `INSTANCE`, sorted. Seen and clicks are those of the method with
            text, if there is one.
        iou: The same lines; a column for each entry, NaN for no score.
        roles: The columns that the rules use.
    """

    facts: pd.DataFrame
    iou: pd.DataFrame
    roles: Roles

    @property
    def unseen(self) -> pd.Series[bool]:
        """Whether each instance is of an unseen class; True for all if the data set has no split."""
        seen = numbers(self.facts["seen"])
        return (seen == 0) | (not seen.notna().any())

    def role(self, name: str) -> pd.Series[float]:
        """The IoUs of the method that plays a part."""
        return self.iou[getattr(self.roles, name)]


Order = Callable[[Answers], "pd.Series[float]"]


@dataclass(frozen=True)
class Rule:
    """One grid.

    Attributes:
        name: The name of its file.
        said: The rule in words, for the figure's caption.
        roles: The parts that must be played; otherwise there is no such figure.
        order: Answers -> a number for each instance; the smallest is first, and NaN leaves an instance out.
        saliency: Whether the saliency must find the object (`source.finds`). It is computed for the first ones only.
    """

    name: str
    title: str
    said: str
    roles: tuple[str, ...]
    order: Order
    saliency: bool = False


def answers(rows: Rows, context: Context) -> dict[str, Answers]:
    """Data set's label -> its instances."""
    final = FinalClicks.of(rows)
    lines, found = scores(final, context), scored(final, FACTS)
    found = found.assign(entry=entries(found))
    made = {}
    for dataset, own in found.groupby("dataset", sort=False):
        names = [
            name for name in dict.fromkeys(entries(lines[lines["dataset"] == dataset])) if name in set(own["entry"])
        ]
        # Rows one below the other become a table: a line for each instance and a column for each method and ranking.
        iou = own.pivot(index=INSTANCE, columns="entry", values="iou").sort_index()[names]
        roles = _roles(str(dataset), lines, final, context)
        # By the rows of the method with text, if there is one: which classes are unseen depends on a method's training,
        # and what lies under the click on its clicks.
        theirs = own.iloc[np.argsort(own["entry"] != roles.text, kind="stable")]
        facts = theirs.drop_duplicates(INSTANCE).set_index(INSTANCE)[FACTS].reindex(iou.index)
        made[str(dataset)] = Answers(facts, iou, roles)
    return made


def entries(rows: pd.DataFrame) -> pd.Series[str]:
    """The name of each row's method and ranking, as `named` writes it: "SAM (oracle)"."""
    ranked = ~rows["ranking"].isin(["single", ""])
    methods, rankings = rows["method"].astype("str"), rows["ranking"].astype("str")
    return methods.where(~ranked, methods + " (" + rankings + ")")


def first(answers: Answers, order: pd.Series[float], count: int) -> list[tuple[str, str, str]]:
    """The first `count` by the order: one of each image and class and, if these are too few, others of new images."""
    ranked = order[np.isfinite(order)].sort_values(kind="stable")
    frame = ranked.index.to_frame(index=False).assign(category=answers.facts.loc[ranked.index, "category"].to_numpy())
    # The best instance of each class comes first, and never two of one image; if there is room, the classes' other
    # instances follow. Ranked cup 1, cup 2, tie 1, cup 3, in four images: three are shown as cup 1, tie 1, cup 2.
    alone = frame.drop_duplicates("image_id")
    varied = alone.drop_duplicates("category")
    taken = pd.concat([varied, alone.drop(varied.index)]).head(count)
    return [tuple(pick) for pick in taken[INSTANCE].astype(str).to_numpy()]


def _right_and_wrong(right: str, wrong: str, where: Callable[[Answers], pd.Series[bool]]) -> Order:
    def order(found: Answers) -> pd.Series[float]:
        a, b = found.role(right), found.role(wrong)
        return (b - a).where((a >= RIGHT) & (b < WRONG) & where(found))

    return order


def _anywhere(found: Answers) -> pd.Series[bool]:
    return pd.Series(True, found.facts.index)


def _parts(found: Answers) -> pd.Series[bool]:
    """Whether the click also lies on a larger object."""
    ratio = numbers(found.facts["under_click_area_ratio"])
    return found.unseen & (numbers(found.facts["under_click"]) > 1) & (ratio < 1)


def _usual(found: Answers) -> pd.Series[float]:
    """The distance of each object from its class's median size, as a difference of logarithms of areas."""
    # By logarithms, half the median size is as far away as twice the median size.
    area = numbers(found.facts["gt_area_px"]).transform(np.log1p)
    median = area.groupby(found.facts["category"]).transform("median")
    return (area - median).abs()


def _all_fail(found: Answers) -> pd.Series[float]:
    own = found.iou[[name for name in found.iou if not str(name).endswith("(oracle)")]]
    # The best answer that any method gave. An instance that one method failed on altogether is left out: what that
    # method would have found is unknown. The oracle is no method, so it cannot find anything.
    best = own.max(axis=1).where(own.notna().all(axis=1))
    return best.where(best < FAILED)


RULES = (
    Rule("figure4", "Figure 4: saliency",
         "one object per class, the one nearest to the class's median size; nearest first", ("text",), _usual),
    Rule("figure5_text_right", "Figure 5: text and click right, click alone wrong",
         f"unseen classes; IoU of text and click at least {RIGHT}, of click alone below {WRONG}; largest gap first",
         ("text", "click"), _right_and_wrong("text", "click", lambda found: found.unseen)),
    Rule("figure5_click_right", "Figure 5, the other way around: click alone right, text and click wrong",
         f"IoU of click alone at least {RIGHT}, of text and click below {WRONG}; largest gap first",
         ("text", "click"), _right_and_wrong("click", "text", _anywhere)),
    Rule("figure6_text_right", "Figure 6: text and click right, SAM wrong",
         f"IoU of text and click at least {RIGHT}, of SAM below {WRONG}; largest gap first",
         ("text", "sam"), _right_and_wrong("text", "sam", _anywhere)),
    Rule("figure6_sam_right", "Figure 6, the other way around: SAM right, text and click wrong",
         f"IoU of SAM at least {RIGHT}, of text and click below {WRONG}; largest gap first",
         ("text", "sam"), _right_and_wrong("sam", "text", _anywhere)),
    Rule("figure7_parts", "Figure 7, parts: the click also lies on a larger object",
         f"unseen classes; a larger object is under the click; IoU of text and click at least {RIGHT}, of click alone "
         f"below {WRONG}; largest gap first",
         ("text", "click"), _right_and_wrong("text", "click", _parts)),
    Rule("failures", "Nobody finds it",
         f"every IoU below {FAILED}, except the oracle's; smallest best IoU first", (), _all_fail),
    Rule("figure9_saliency_right", "Figure 9: saliency right, mask wrong",
         f"IoU of text and click below {WRONG}, smallest first; at least half of the n most salient pixels lie on "
         "the object, which has n pixels",
         ("text",), lambda found: found.role("text").where(found.role("text") < WRONG), True),
)  # fmt: skip


def _roles(dataset: str, lines: pd.DataFrame, final: FinalClicks, context: Context) -> Roles:
    def entry(labels: list[str], rankings: tuple[str, ...]) -> str | None:
        for label in labels:
            line = line_of(lines, dataset, label, rankings)
            # The rules are about clicks: a method that answers to the text alone plays no part in them.
            if line is not None and line["n"] and line["clicks"]:
                return named(line)
        return None

    asked = [str(name) for name in dict.fromkeys(lines["method"]) if with_text(str(name), final, context)]
    sams = players(SAM, lines, final, context)
    ours = players(OURS, lines, final, context)
    texts = [*(name for name in ours if name in asked), *(name for name in asked if name not in (*ours, *sams))]
    return Roles(
        entry(texts, ("single", "confidence")),
        entry(players(CLICK, lines, final, context), ("single",)),
        entry(sams, ("confidence", "single")),
    )


def playable(rule: Rule, roles: Roles) -> bool:
    """Whether the run has all methods that the rule compares."""
    return all(getattr(roles, role) is not None for role in rule.roles)
