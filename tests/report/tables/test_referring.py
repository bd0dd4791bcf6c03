from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Table
from harness.report.rendering.markdown import to_markdown
from harness.report.tables.referring import THRESHOLDS, measures
from harness.statistics.means import summarise

H, W = 6, 9


def _row(make_row: Any, instance: str, intersection: int, union: int, **given: Any) -> dict[str, Any]:
    iou = intersection / union if union else 1.0
    return make_row("ours", instance, iou) | {"intersection_px": intersection, "union_px": union} | given


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


def build(rows: Any, context: Context | None = None) -> Table:
    return build_table("referring", pd.DataFrame(rows), context or Context("demo"))


@pytest.fixture
def three(make_row: Any) -> list[dict[str, Any]]:
    """Object A1 under two sentences, a small object; B1, a large one, under one."""
    return [_row(make_row, "A1~1", 9, 10), _row(make_row, "A1~2", 1, 10), _row(make_row, "B1~3", 300, 400)]


def test_markdown_exactly(three: list[dict[str, Any]]) -> None:
    assert to_markdown(build(three)) == (
        "**Referring segmentation (run demo)**\n\n"
        "| Dataset | Method | Ranking | mIoU@1 Object | mIoU@1 Sentence | oIoU | P@0.5 | P@0.6 | P@0.7 | P@0.8 | P@0.9 "
        "| Objects | Sentences | Failed |\n"
        "| :-- | :-- | :-- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n"
        "| toy | ours | single | 62.50 | 58.33 | 73.81 | 66.67 | 66.67 | 66.67 | 33.33 | 33.33 | 2 | 3 | 0 |\n\n"
        "- In percent. Object: mean over objects of the mean over their sentences. Sentence: mean over sentences. "
        "oIoU: all intersections over all unions. P@: share of sentences with at least that IoU.\n"
        "- Failed sentences are in none of these numbers.\n"
    )


def test_a_failure_is_counted_and_in_no_number(three: list[dict[str, Any]], make_row: Any) -> None:
    failed = [make_row("ours", name, None) for name in ("A1~9", "C1~4", "C1~5")]
    assert texts(build([*three, *failed])) == [[*texts(build(three))[0][:-1], "3"]]


def test_one_failed_sentence_leaves_its_object_the_others(three: list[dict[str, Any]], make_row: Any) -> None:
    (line,) = texts(build([three[0], make_row("ours", "A1~2", None), three[2]]))
    assert line[3:6] == ["82.50", "82.50", f"{100 * 309 / 410:.2f}"]
    assert line[-3:] == ["2", "2", "1"]


def test_only_failures(make_row: Any) -> None:
    (line,) = texts(build([make_row("ours", "A1~1", None), make_row("ours", "A1~2", None)]))
    assert line[2:] == ["–"] * 9 + ["0", "0", "2"]


def test_no_rows() -> None:
    built = build_table("referring", pd.DataFrame(), Context("demo"))
    assert built.body == () and built.notes == ("No rows.",)


def test_missing_rows_blank_every_number(three: list[dict[str, Any]]) -> None:
    built = build(three, Context("demo", expected_instances={("ours", "toy"): 5}))
    assert texts(built)[0][3:11] == ["–"] * 8
    assert built.footnotes == ("2 of 5 instances have no row; a mean over the others is not shown.",)


def test_two_empty_masks_score_zero_here(three: list[dict[str, Any]], make_row: Any) -> None:
    (line,) = texts(build([*three, _row(make_row, "D1~7", 0, 0)]))
    assert line[4] == f"{100 * (0.9 + 0.1 + 0.75 + 0) / 4:.2f}"
    assert line[5] == texts(build(three))[0][5]
    assert line[6] == "50.00"


def test_rows_without_pixels_have_no_overall_iou(make_row: Any) -> None:
    (line,) = texts(build([make_row("ours", "A1~1", 0.5), make_row("ours", "A1~2", 0.7)]))
    assert line[3:7] == ["60.00", "60.00", "–", "100.00"]


def test_one_row_without_pixels_leaves_no_part_of_a_sum(three: list[dict[str, Any]], make_row: Any) -> None:
    (line,) = texts(build([*three, make_row("ours", "A2~7", 0.5)]))
    assert line[5] == "–"


def test_the_last_click_counts(three: list[dict[str, Any]], make_row: Any) -> None:
    later = [_row(make_row, row["instance_id"], 1, 2, click_index=2, clicks=row["clicks"] * 2) for row in three]
    built = build([*three, *later])
    assert texts(built)[0][3:6] == ["50.00"] * 3
    assert [column.group for column in built.columns[3:5]] == ["mIoU@2"] * 2


@pytest.mark.slow
def test_rankings_and_data_sets_have_their_own_lines(three: list[dict[str, Any]], make_row: Any) -> None:
    oracle = [_row(make_row, "A1~1", 1, 1, ranking=r, method="SAM") for r in ("clip", "oracle")]
    built = build([*three, *oracle, _row(make_row, "A1~1", 1, 4, dataset="other")])
    assert [line[:3] for line in texts(built)] == [
        ["other", "ours", "single"],
        ["toy", "SAM", "clip"],
        ["toy", "SAM", "oracle"],
        ["toy", "ours", "single"],
    ]
    assert texts(built)[0][3:6] == ["25.00"] * 3 and texts(built)[3] == texts(build(three))[0]
    assert [row.starts_section for row in built.body] == [True, True, False, False]


def test_weights_are_footnotes(three: list[dict[str, Any]]) -> None:
    context = Context("demo", labels={"ours": MethodFacts(trained_on="coco", weights="ours.pth")})
    assert build(three, context).footnotes == (
        "Out of domain: trained on coco, evaluated on scenes.",
        "Weights: ours.pth",
    )


def test_class_names_alone_make_object_and_sentence_one(make_row: Any) -> None:
    (line,) = texts(build([_row(make_row, name, 1, n) for n, name in enumerate(("A1", "A2", "B1"), start=1)]))
    assert line[3] == line[4] and line[-3:] == ["3", "3", "0"]


@pytest.mark.slow
def test_every_number_has_an_interval_that_draws_images(make_row: Any) -> None:
    """Six images of one object each and equal unions: by object, by sentence and overall are one number."""
    shares = (10, 80, 45, 95, 20, 70)
    even = pd.DataFrame([_row(make_row, f"{image}1", n, 100) for image, n in zip("ABCDEF", shares, strict=True)])
    object_, sentence, overall, *precision = build(even, Context("demo", intervals=True)).body[0].cells[3:11]
    (line,) = summarise(even, intervals=True).itertuples()
    assert (sentence.value, sentence.low, sentence.high) == pytest.approx((line.mean, line.mean_low, line.mean_high))
    assert (object_.low, object_.high, overall.low, overall.high) == pytest.approx((line.mean_low, line.mean_high) * 2)
    assert [cell.n for cell in (object_, sentence)] == [6, 6]
    assert all(0 <= cell.low <= cell.value <= cell.high <= 1 for cell in precision)
    assert sentence.spread == f" [{100 * line.mean_low:.2f}, {100 * line.mean_high:.2f}], n = 6"
    twice = even.assign(instance_id=[f"{image}1~{n}" for image in "AB" for n in range(3)], image_id=list("AAABBB"))
    assert build(twice, Context("demo", intervals=True)).body[0].cells[3].n == 2, "two objects of three sentences"


def test_intervals_are_of_lines_that_are_whole(three: list[dict[str, Any]]) -> None:
    context = Context("demo", intervals=True, expected_instances={("ours", "toy"): 5})
    assert {cell.whole for cell in build(three, context).body[0].cells[3:11]} == {"–"}


def test_an_iou_on_a_threshold_is_reached(make_row: Any) -> None:
    own = pd.DataFrame([_row(make_row, f"A{n}", n, 10) for n in (5, 6, 7, 8, 9)])
    assert [measures(own)[f"P@{at}"] for at in THRESHOLDS] == [1.0, 0.8, 0.6, 0.4, 0.2]


@pytest.mark.slow
@settings(max_examples=40, derandomize=True)
@given(st.integers(0, 2**32), st.lists(st.integers(1, 4), min_size=1, max_size=8))
def test_agrees_with_a_loop_over_masks(seed: int, sentences: list[int]) -> None:
    rng = np.random.default_rng(seed)
    rows, ious, inter, union, by_object = [], [], 0, 0, []
    for number, count in enumerate(sentences):
        truth = rng.random((H, W)) > rng.random()
        own = []
        for sentence in range(count):
            predicted = truth ^ (rng.random((H, W)) > rng.choice([0.5, 0.9, 1.0]))
            i, u = int((truth & predicted).sum()), int((truth | predicted).sum())
            own.append(i / u if u else 0.0)
            inter, union = inter + i, union + u
            names = {"image_id": f"i{number // 2}", "instance_id": f"{number}~{sentence}"}
            rows.append({**names, "iou": i / u if u else 1.0, "intersection_px": i, "union_px": u})
        ious += own
        by_object.append(np.mean(own))
    found = measures(pd.DataFrame(rows))
    wanted = [np.mean(by_object), np.mean(ious), inter / union if union else np.nan]
    wanted += [np.mean(np.array(ious) >= at) for at in (0.5, 0.6, 0.7, 0.8, 0.9)]
    np.testing.assert_allclose(list(found.values()), wanted, rtol=1e-12)
