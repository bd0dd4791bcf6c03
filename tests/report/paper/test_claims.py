"""The paper's sentences, judged by its own numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from harness.report.paper.claims import FAILS, HOLDS, OPEN, Claim, Side, Verdict, load_claims, printed_verdicts, unborne
from harness.report.paper.findings import findings
from harness.report.paper.published import printed_rows
from harness.report.paper.rows import Published


def judged(sentence: str, dataset: str, rows: Sequence[Published] | None = None) -> Verdict:
    """The verdict on the claim that begins so."""
    rows = printed_rows() if rows is None else rows
    (found,) = (
        one
        for one in printed_verdicts(rows, findings(rows))
        if one.claim.sentence.startswith(sentence) and one.dataset == dataset
    )
    return found


def test_there_are_about_twenty_and_each_is_of_known_parts() -> None:
    claims = load_claims()
    assert len(claims) >= 20
    for claim in claims:
        assert len(claim.terms) == 2 * len(claim.parts) in (2, 4)
        assert claim.relation in ("more", "reaches", "alike", "by") and claim.metric in ("iou", "boundary_iou")
        assert set(claim.tables) <= set(range(1, 9)) and claim.datasets


def test_a_side_says_method_ranking_clicks_and_training() -> None:
    assert Side.of("sam:confidence") == Side("sam", "confidence", (1, 0), "")
    assert Side.of("text_click 2+1 all") == Side("text_click", "", (2, 1), "all")


@pytest.mark.parametrize(
    ("sentence", "dataset", "verdict", "difference"),
    [
        ("Text improves the overall", "voc", HOLDS, 4.52),
        ("The improvement comes mostly from unseen classes, with the fewest", "openimages", FAILS, 7.61 - 8.38),
        ("The fewer the seen classes the more text adds (fewer against fewest)", "openimages", HOLDS, 7.79 - 5.82),
        ("Trained on all examples it outperforms SAM", "coco", HOLDS, 7.86),
        ("Trained on all examples it outperforms SAM", "openimages", FAILS, 57.05 - 63.88),
        ("With one click the text adds 10.35", "coco", HOLDS, 10.35),
        ("With two positive clicks and a negative one", "coco", HOLDS, 2.19),
        ("Trained on the seen classes alone", "refcoco", HOLDS, 3.17 - 2.05),
        ("Trained on the seen classes alone", "coco", FAILS, 2.29 - 8.75),
        ("It outperforms SAM on classes", "refcoco", OPEN, 7.71),
        ("By boundary IoU", "coco", OPEN, 0.69),
        ("It matches LAVT", "refcoco", OPEN, 0.16),
    ],
)
def test_what_the_printed_numbers_say(sentence: str, dataset: str, verdict: str, difference: float) -> None:
    found = judged(sentence, dataset)
    assert (found.said, found.difference) == (verdict, pytest.approx(difference, abs=1e-6))


def test_what_is_not_printed_cannot_be_told() -> None:
    for sentence, dataset in (("It matches or exceeds PhraseClick", "refcoco"), ("The gap is similar", "openimages")):
        found = judged(sentence, dataset)
        assert (found.said, found.difference) == (OPEN, None) and "prints no number of" in found.why


def with_means(table: int, dataset: str, method: str, classes: str, **means: float) -> list[Published]:
    return [
        replace(row, **means)
        if (row.table, row.dataset, row.method, row.train_classes) == (table, dataset, method, classes)
        else row
        for row in printed_rows()
    ]


@pytest.mark.parametrize(
    ("altered", "text"),
    [
        (with_means(2, "openimages", "text_click", "seen23", unseen=52.00), "fewest classes in training"),
        (with_means(4, "openimages", "text_click", "seen64", overall=64.00), "outperforms SAM on COCO, refCOCO"),
        (with_means(1, "coco", "text_click", "seen", overall=45.00), "COCO's results are similar"),
        ([*printed_rows(), replace(printed_rows()[-1], method="phraseclick")], "PhraseClick"),
    ],
)
def test_a_sentence_that_the_numbers_contradict_is_a_finding_until_they_do_not(
    altered: list[Published], text: str
) -> None:
    assert [one for one in unborne(printed_rows(), findings(printed_rows())) if text in one.text]
    assert not [one for one in unborne(altered, findings(altered)) if text in one.text]


def claim(relation: str, value: float = 0.0) -> Claim:
    return replace(load_claims()[0], relation=relation, value=value)


@pytest.mark.parametrize(
    ("relation", "value", "holds", "fails", "open_"),
    [
        ("more", 0, (0.1, 2), (-2, -0.1), (-1, 1)),
        ("reaches", 2, (-1.9, 5), (-9, -2.1), (-3, 1)),
        ("alike", 2, (-1.9, 1.9), (2.1, 5), (1, 3)),
        ("by", 10.35, (10, 11), (11, 12), (0, 1)),
    ],
)
def test_a_verdict_follows_from_an_interval(
    relation: str, value: float, holds: tuple[float, float], fails: tuple[float, float], open_: tuple[float, float]
) -> None:
    assert claim(relation, value).verdict(*holds) == HOLDS
    assert claim(relation, value).verdict(*fails) == FAILS
    assert claim(relation, value).verdict(*open_) == (FAILS if relation == "by" else OPEN)
