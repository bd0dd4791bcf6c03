import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness import UserError
from harness.plugins.scale import Scale
from harness.statistics.final_clicks import FinalClicks, at_click, first_draw
from harness.statistics.means import instance_sets, paired_gain, paired_gains, part, summarise
from harness.statistics.power import powers
from harness.statistics.scales import with_metrics
from harness.storage.rows import TEXTS, coded, repeats

CLICK = {"x": 3, "y": 5, "positive": True}


def row(**given: Any) -> dict[str, Any]:
    instance = given.get("instance_id", "1")
    known = {
        "run": "r",
        "dataset": "toy",
        "dataset_plugin": "scenes",
        "method": "a",
        "ranking": "single",
        "image_id": instance[0],
        "instance_id": instance,
        "seen": True,
        "clicks": [CLICK],
        "click_index": 1,
        "iou": 0.5,
        "boundary_iou": 0.25,
        "status": "ok",
        "error": None,
    }
    return known | given


def failed(**given: Any) -> dict[str, Any]:
    gone = dict.fromkeys(["ranking", "seen", "clicks", "click_index", "iou", "boundary_iou"])
    return row(**{**gone, "status": "failed", "error": "out of memory", **given})


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


HAND = frame(
    row(instance_id="1a", iou=0.8),
    row(instance_id="1b", iou=0.6, seen=False),
    row(instance_id="2a", iou=0.1),
    failed(instance_id="3a"),
)


def line(rows: pd.DataFrame, **by: str) -> Any:
    lines = summarise(rows)
    for name, value in by.items():
        lines = lines[lines[name] == value]
    (only,) = [found for _, found in lines.iterrows()]
    return only


def mean_iou(rows: pd.DataFrame, metric: str = "iou") -> float:
    """Of one method and ranking."""
    lines = summarise(rows, by=["dataset"], metric=metric)
    return float(lines["mean"].iloc[0]) if len(lines) else float("nan")


def bounds(rows: pd.DataFrame) -> tuple[float, float]:
    """The 95 % interval of one method and ranking."""
    only = summarise(rows, by=["dataset"], intervals=True).iloc[0]
    return only["mean_low"], only["mean_high"]


def test_means_counted_by_hand() -> None:
    found = line(HAND)
    assert found["mean"] == pytest.approx(0.5) == mean_iou(HAND)
    assert found["seen"] == pytest.approx(0.45)
    assert found["unseen"] == pytest.approx(0.6)
    assert (found["n"], found["failed"], found["n_seen"], found["n_unseen"]) == (3, 1, 2, 1)
    assert found["mean"] == pytest.approx(found["w"] * found["seen"] + (1 - found["w"]) * found["unseen"])


def test_boundary_iou_is_its_own_mean_and_absent_where_it_was_not_computed() -> None:
    assert mean_iou(HAND, "boundary_iou") == 0.25
    without = summarise(HAND.assign(boundary_iou=None), metric="boundary_iou").iloc[0]
    assert np.isnan(without["mean"])
    assert (without["n"], without["failed"], without["unscored"]) == (0, 1, 3)


def test_a_metric_without_a_column_was_not_computed() -> None:
    assert line(HAND.drop(columns="boundary_iou"))["mean"] == pytest.approx(0.5)
    assert np.isnan(mean_iou(HAND.drop(columns="boundary_iou"), "boundary_iou"))


def test_a_failure_without_a_ranking_counts_for_each_of_the_methods_rankings() -> None:
    rows = frame(row(ranking="clip"), row(ranking="oracle", iou=0.9), failed(instance_id="2"), row(method="b"))
    assert line(rows, method="a", ranking="clip")["failed"] == 1
    assert line(rows, method="a", ranking="oracle")["failed"] == 1
    assert line(rows, method="b")["failed"] == 0


def test_a_method_that_always_fails_keeps_its_line() -> None:
    found = line(frame(failed(), failed(instance_id="2", ranking=""), row(method="b")), method="a")
    assert (found["ranking"], found["n"], found["failed"]) == ("", 0, 2)
    assert np.isnan(found["mean"])


def test_an_instance_that_failed_after_some_clicks_is_one_failure() -> None:
    rows = frame(row(), failed(click_index=2), failed(click_index=3), row(instance_id="2", click_index=3))
    found = line(rows)
    assert (found["n"], found["failed"]) == (1, 1)


def test_nan_is_neither_a_zero_nor_a_failure() -> None:
    found = line(frame(row(iou=float("nan")), row(instance_id="2", iou=0.0)))
    assert (found["mean"], found["n"], found["failed"], found["unscored"]) == (0.0, 1, 0, 1)


def test_only_the_last_click_is_in_the_mean() -> None:
    rows = frame(row(iou=0.1), row(iou=0.9, click_index=2, clicks=[CLICK, CLICK]), row(dataset="other", iou=0.3))
    assert line(rows, dataset="toy")["mean"] == 0.9
    assert line(rows, dataset="other")["mean"] == 0.3
    assert mean_iou(rows[rows["click_index"] == 1].iloc[:1]) == 0.1
    assert FinalClicks.of(rows).clicks_made == (1, 2)


def test_each_method_stands_at_its_own_last_click() -> None:
    three = [row(method="b", click_index=k, clicks=[CLICK] * k, iou=k / 10) for k in (1, 2, 3)]
    rows = frame(*three, row(iou=0.5), failed(method="b", instance_id="2", click_index=2))
    assert [tuple(found[["method", "mean", "n", "failed", "clicks"]]) for _, found in summarise(rows).iterrows()] == [
        ("a", 0.5, 1, 0, 1),
        ("b", 0.3, 1, 1, 3),
    ]
    assert FinalClicks.of(rows).clicks_made == (1, 3)


def test_all_columns_are_kept() -> None:
    kept = FinalClicks.of(frame(row(hit="right"), failed(instance_id="2"))).rows
    assert kept["hit"].iloc[0] == "right" and kept["hit"].isna().tolist() == [False, True]
    assert kept.columns.is_unique


def test_final_clicks_of_final_clicks_are_the_same() -> None:
    once = FinalClicks.of(HAND)
    assert FinalClicks.of(once) is once
    pd.testing.assert_frame_equal(FinalClicks.of(once.rows).rows, once.rows)


def test_a_metric_that_this_checkout_lacks_has_means_and_gains() -> None:
    rows = frame(row(dice=0.5), row(instance_id="2", dice=0.7), row(method="b", dice=0.4))
    assert line_of_metric(rows, "dice") == {"a": pytest.approx(0.6), "b": 0.4}
    assert paired_gain(rows, "a", "b", "dice").difference == pytest.approx(0.1)


def line_of_metric(rows: pd.DataFrame, metric: str) -> dict[str, float]:
    return summarise(rows, metric=metric).set_index("method")["mean"].to_dict()


def test_a_part_of_the_final_rows_is_asked_as_the_whole_is() -> None:
    rows = frame(row(), row(method="b", iou=0.3), row(dataset="other", iou=0.1))
    whole = FinalClicks.of(rows)
    own = whole.where(whole.rows["dataset"] == "other")
    assert summarise(own)["mean"].tolist() == [0.1] and own.clicks_made == (1, 1)
    assert own.listed == whole.listed == {"other": 1, "toy": 1}


@pytest.mark.parametrize("rows", [pd.DataFrame(), HAND.iloc[:0], HAND.iloc[3:]])
def test_nothing_scored_is_nan_and_not_zero(rows: pd.DataFrame) -> None:
    assert np.isnan(mean_iou(rows))
    assert paired_gain(rows, "a", "b").n == 0
    assert FinalClicks.of(rows).clicks_made is None
    assert len(summarise(rows)) == rows.shape[0]


def test_one_row() -> None:
    found = line(frame(row()))
    assert (found["mean"], found["n"], found["w"]) == (0.5, 1, 1.0)
    assert np.isnan(found["unseen"])
    assert np.isnan(bounds(frame(row()))).all()


def test_without_a_split_there_is_no_w() -> None:
    found = line(frame(row(seen=None), row(instance_id="2", seen=None)))
    assert found["mean"] == 0.5
    assert np.isnan(found["w"])


def test_the_parts_are_the_split() -> None:
    assert part(HAND, True)["instance_id"].tolist() == ["1a", "2a"]
    assert part(HAND, False)["instance_id"].tolist() == ["1b"]


def test_listed_are_all_that_any_row_names() -> None:
    rows = frame(row(), row(method="b"), failed(instance_id="2"), row(dataset="other", click_index=4))
    assert FinalClicks.of(rows).listed == {"other": 1, "toy": 2}


def simulated(images: int, seed: int = 0, gain: float = 0.0, methods: Iterable[str] = ("a", "b")) -> pd.DataFrame:
    """Instances of one image resemble each other; a is better than b by `gain`, on average."""
    rng = np.random.default_rng(seed)
    rows = []
    for image in range(images):
        level, effect = rng.normal(0.5, 0.1), rng.normal(gain, 0.1)
        for instance in range(rng.integers(1, 6)):
            base, at = level + rng.normal(0, 0.1), {"image_id": str(image), "instance_id": f"{image}-{instance}"}
            seen = bool(rng.random() < 0.6)
            rows += [row(method=m, iou=base + (effect if m == "a" else 0), seen=seen, **at) for m in methods]
    return pd.DataFrame(rows)


@pytest.mark.slow
def test_row_order_changes_no_bit() -> None:
    rows = pd.concat([simulated(20), frame(failed(instance_id="f"))], ignore_index=True)
    mixed = rows.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(summarise(rows), summarise(mixed), check_exact=True)
    assert paired_gain(rows, "a", "b") == paired_gain(mixed, "a", "b")
    assert bounds(rows[rows["method"] == "a"]) == bounds(mixed[mixed["method"] == "a"])


@pytest.mark.slow
def test_rows_from_parquet_are_as_good() -> None:
    rows = pd.concat([simulated(5), frame(failed(instance_id="f"))], ignore_index=True)
    stored = io.BytesIO()
    rows.to_parquet(stored)
    back = pd.read_parquet(stored)
    pd.testing.assert_frame_equal(summarise(rows), summarise(back), check_dtype=False)
    assert paired_gain(rows, "a", "b") == paired_gain(back, "a", "b")


def test_instances_of_one_image_do_not_count_as_many() -> None:
    one = simulated(30, methods=("a",))
    copies = [one.assign(instance_id=one["instance_id"] + str(k)) for k in range(4)]
    assert bounds(pd.concat(copies)) == pytest.approx(bounds(one))


def test_the_paired_interval_is_narrower_than_the_means_apart() -> None:
    rows = simulated(60, gain=0.05)
    gain = paired_gain(rows, "a", "b")
    low, high = bounds(rows[rows["method"] == "a"])
    assert gain.low < gain.difference < gain.high
    means = [mean_iou(rows[rows["method"] == name]) for name in ("a", "b")]
    assert gain.difference == pytest.approx(means[0] - means[1])
    assert gain.high - gain.low < high - low


def test_an_equal_gain_everywhere_has_no_spread() -> None:
    rows = simulated(10, methods=("b",))
    rows = pd.concat([rows, rows.assign(method="a", iou=rows["iou"] + 0.25)])
    gain = paired_gain(rows, "a", "b")
    assert (gain.low, gain.difference, gain.high) == pytest.approx((0.25, 0.25, 0.25))
    assert paired_gain(rows, "b", "a").difference == pytest.approx(-0.25)


def test_pairs_are_those_that_both_segmented() -> None:
    rows = frame(
        row(instance_id="1", iou=0.9),
        row(instance_id="2", iou=0.2),
        row(method="b", instance_id="1", iou=0.5),
        failed(method="b", instance_id="2"),
    )
    gain = paired_gain(rows, "a", "b")
    assert (gain.difference, gain.n) == (pytest.approx(0.4), 1)


def test_other_clicks_are_refused() -> None:
    rows = frame(row(), row(method="b", clicks=[CLICK | {"x": 4}]))
    with pytest.raises(UserError, match=r"toy: a and b had different clicks on 1 of 1 instances"):
        paired_gain(rows, "a", "b")


def test_several_rankings_must_be_named() -> None:
    rows = frame(row(ranking="clip", iou=0.4), row(ranking="oracle"), row(method="b", iou=0.1))
    with pytest.raises(UserError, match=r"a has the rankings clip, oracle"):
        paired_gain(rows, "a", "b")
    assert paired_gain(rows, ("a", "clip"), "b").difference == pytest.approx(0.3)
    with pytest.raises(UserError, match=r"mix several of ranking"):
        mean_iou(rows[rows["method"] == "a"])
    with pytest.raises(UserError, match=r"mix several of method"):
        summarise(frame(row(), row(method="b")), by=["dataset"])


def test_what_the_rows_do_not_have_is_refused() -> None:
    rows = frame(row(), row(method="b"))
    with pytest.raises(UserError, match=r"no column 'sean' to group by\. Did you mean 'seen'\? There are: .*clicks"):
        summarise(rows, by=["dataset", "method", "sean"])
    with pytest.raises(UserError, match=r"no metric 'iuo'\. Did you mean 'iou'\? There are: boundary_iou, iou"):
        summarise(rows, metric="iuo")
    with pytest.raises(UserError, match=r"no metric 'seen'\. There are: boundary_iou, iou"):
        summarise(rows, metric="seen")
    with pytest.raises(UserError, match=r"'seen' is a column of the result.*rows\.assign\(its_seen=rows\['seen'\]\)"):
        summarise(rows, by=["method", "seen"])


def test_a_lone_column_and_one_named_twice_group_once() -> None:
    rows = frame(row(iou=0.2), row(method="b", iou=0.6))
    assert summarise(rows, by="method")["mean"].tolist() == [0.2, 0.6]
    assert summarise(rows, by=["method", "method"])["mean"].tolist() == [0.2, 0.6]


def test_any_column_of_the_rows_may_name_a_group() -> None:
    rows = frame(row(iou=0.2), row(instance_id="2", iou=0.6)).assign(under_click=[1, 2])
    assert summarise(rows, by=["method", "under_click"])["mean"].tolist() == pytest.approx([0.2, 0.6])
    unknown = summarise(rows.assign(under_click=[2.0, None]), by=["method", "under_click"])
    assert unknown["mean"].tolist() == pytest.approx([0.2, 0.6])


def test_double_rows_are_refused() -> None:
    with pytest.raises(UserError, match=r"toy: a \(single\) has 1 rows twice"):
        summarise(frame(row(), row(run="s")))


def test_two_protocols_do_not_meet_in_one_mean() -> None:
    other = row(run="s", instance_id="2", clicks=[CLICK] * 3)
    with pytest.raises(UserError, match=r"different click protocols \(r: 1, s: 3\)"):
        mean_iou(frame(row(), other))
    assert mean_iou(frame(row(), other | {"clicks": [CLICK]})) == 0.5
    edge = row(instance_id="2", click_strategy="edge/v1")
    with pytest.raises(UserError, match=r"\(r: 1 edge/v1, r: 1 paper/v1\)"):
        mean_iou(frame(row(click_strategy="paper/v1"), edge))


def test_an_earlier_click_keeps_its_failures() -> None:
    later = {"click_index": 2, "clicks": [CLICK, CLICK]}
    rows = frame(
        row(instance_id="1", iou=0.2),
        row(instance_id="1", iou=0.9, **later),
        row(instance_id="2", iou=0.4),
        failed(instance_id="2", click_index=2),
        failed(instance_id="3", click_index=2),
    )
    first, second = line(at_click(rows, 1)), line(at_click(rows, 2))
    assert (first["mean"], first["n"], first["failed"]) == (pytest.approx(0.3), 2, 1)
    assert (second["mean"], second["n"], second["failed"]) == (0.9, 1, 2)


def test_missing_columns_are_named() -> None:
    with pytest.raises(UserError, match=r"the rows lack clicks, status"):
        summarise(HAND.drop(columns=["status", "clicks"]))


def draws(count: int, images: int) -> pd.DataFrame:
    """As many data sets as draws, all of one truth, a mean of 0.5; images of 1 to 5 instances that are alike."""
    rng = np.random.default_rng(7)
    image = np.repeat(np.arange(count * images), rng.integers(1, 6, size=count * images))
    level = rng.normal(0.5, 0.1, count * images)[image]
    return pd.DataFrame(
        {
            "run": "r",
            "dataset": [f"{one:03d}" for one in image // images],
            "method": "a",
            "ranking": "single",
            "image_id": image.astype(str),
            "instance_id": np.arange(len(image)).astype(str),
            "seen": rng.random(len(image)) < 0.6,
            "clicks": [[CLICK]] * len(image),
            "click_index": 1,
            "status": "ok",
            "iou": level + rng.normal(0, 0.1, len(image)),
        }
    )


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    found = summarise(draws(500, 120), by=["dataset"], intervals=True)
    for name in ("mean", "seen", "unseen"):
        covered = (found[f"{name}_low"] <= 0.5) & (found[f"{name}_high"] >= 0.5)
        assert 0.93 <= covered.mean() <= 0.97, name


def test_the_parts_gains_are_those_of_the_parts_rows() -> None:
    rows = simulated(30, gain=0.05)
    together = paired_gains(rows, "a", "b")
    for name, seen in (("seen", True), ("unseen", False)):
        alone = paired_gain(part(rows, seen), "a", "b")
        assert (together[name].difference, together[name].n) == (pytest.approx(alone.difference), alone.n)
        assert together[name].low == pytest.approx(alone.low, abs=0.02)


@pytest.mark.parametrize("names", [("ours", "click"), ("click", "ours")])
def test_a_gain_on_unseen_classes_is_on_those_that_neither_method_saw(
    pair: pd.DataFrame, names: tuple[str, str]
) -> None:
    """`click` was trained on the class of A2, too: B2 alone is unseen by both, 0.4 against 0.2; A2 is in no half."""
    rows = pair.assign(seen=pair["seen"] | (pair["method"].eq("click") & pair["instance_id"].eq("A2")))
    found = paired_gains(rows, *names)
    assert {name: gain.n for name, gain in found.items()} == {"mean": 4, "seen": 2, "unseen": 1}
    assert abs(found["unseen"].difference) == pytest.approx(0.2) and abs(found["seen"].difference) == pytest.approx(0.1)


@pytest.mark.usefixtures("two_images_do")
def test_a_gain_is_what_is_better_whichever_way_the_metric_counts(pair: pd.DataFrame) -> None:
    rows = pair.assign(missed_px=lambda own: 100 * (1 - own["iou"]))
    fewer = Scale(higher_is_better=False, bounds=(0, float("inf")), unit="px")
    assert paired_gain(rows, "ours", "click", "missed_px", scale=fewer).difference == pytest.approx(20)
    assert paired_gain(rows, "ours", "click", "missed_px").difference == pytest.approx(-20)
    remembered = with_metrics(rows, {"missed_px": fewer.written})
    assert paired_gain(remembered, "ours", "click", "missed_px").low > 0


DRAWN = frame(
    *[row(instance_id="1a", draw=draw, iou=iou, partner=f"1{draw}") for draw, iou in enumerate((0.2, 0.4, 0.6))],
    row(instance_id="1b", draw=0, iou=1.0, seen=False, partner="1a"),
)
"""An instance that is asked for with three partners, a draw each, and one with one: means 0.4 and 1."""


def test_draws_are_averaged_within_an_instance_first() -> None:
    (line,) = summarise(DRAWN, intervals=True).to_dict("records")
    assert line["mean"] == pytest.approx(0.7)  # and not the mean of four rows, 0.55
    assert (line["n"], line["n_seen"], line["seen"]) == (2, 1, pytest.approx(0.4))
    final = FinalClicks.of(DRAWN)
    assert (len(final.rows), len(final.drawn)) == (2, 4)
    once = FinalClicks.of(HAND)
    assert once.drawn is once.rows


def test_an_instance_fails_with_any_of_its_draws_and_counts_once() -> None:
    rows = pd.concat([DRAWN, frame(failed(instance_id="1a", draw=3))])
    (line,) = summarise(rows).to_dict("records")
    assert (line["mean"], line["n"], line["failed"]) == (1.0, 1, 1)


def test_a_draw_without_a_score_leaves_its_instance_without() -> None:
    lacking = DRAWN.assign(iou=[0.2, None, 0.6, 1.0])
    (line,) = summarise(lacking).to_dict("records")
    assert (line["n"], line["unscored"]) == (1, 1)
    # Nor is it in a gain: with its two other draws 1a would count by 0.3, and the gain would be (0.3 + 0.5) / 2.
    both = pd.concat([lacking, DRAWN.assign(method="b", iou=[0.1, 0.1, 0.1, 0.5])])
    for a, b, sign in (("a", "b", 1), ("b", "a", -1)):
        gain = paired_gain(both, a, b)
        assert (gain.difference, gain.n) == (pytest.approx(sign * 0.5), 1)
    assert [one.difference for one in powers(both, ["a", "b"])] == pytest.approx([0.5])
    found = FinalClicks.of(both).scored("iou")
    assert [len(found.rows), len(found.drawn)] == [3, 5], "1b by both, and 1a by b"


def test_methods_are_paired_draw_by_draw() -> None:
    other = DRAWN.assign(method="b", iou=[0.1, 0.1, 0.1, 0.5])
    gain = paired_gain(pd.concat([DRAWN, other]), "a", "b")
    assert (gain.difference, gain.n) == (pytest.approx((0.3 + 0.5) / 2), 2)
    both = FinalClicks.of(pd.concat([DRAWN, other]))
    one = both.where(both.rows["instance_id"] == "1a")
    assert (len(one.rows), len(one.drawn)) == (2, 6)
    assert paired_gain(one, "a", "b").difference == pytest.approx(0.3)
    assert len(first_draw(DRAWN)) == 2 and first_draw(HAND) is HAND
    elsewhere = other.assign(clicks=[[CLICK], [{**CLICK, "x": 9}], [CLICK], [CLICK]])
    with pytest.raises(UserError, match="a and b had different clicks on 1 of 2 instances"):
        paired_gain(pd.concat([DRAWN, elsewhere]), "a", "b")


def test_two_rows_of_one_draw_are_refused() -> None:
    with pytest.raises(UserError, match="rows twice"):
        summarise(pd.concat([DRAWN, DRAWN]))


def test_equal_sets_of_instances_have_equal_numbers_in_other_runs_too(pair: pd.DataFrame) -> None:
    rows = pair.assign(iou=pair["iou"].mask((pair["method"] == "click") & (pair["instance_id"] == "A1")))
    found, alone = instance_sets(rows), instance_sets(pair[pair["method"] == "click"].assign(run="other"))
    ours, click = (found["toy", method, "single"] for method in ("ours", "click"))
    assert ours == alone["toy", "click", "single"] and len(set(ours)) == 3
    assert click[0] != ours[0] and (click[1] == ours[1]) + (click[2] == ours[2]) == 1, "A1 is in one half"


def test_texts_and_categoricals_give_the_same_final_rows() -> None:
    rows = pd.concat([DRAWN, frame(failed(instance_id="1a", draw=3)), frame(failed(ranking=None, image_id="9"))])
    rows = pd.concat([rows, simulated(6)], ignore_index=True)
    as_numbers = coded(rows, [name for name in TEXTS if name in rows])
    assert as_numbers["method"].dtype == "category"
    found, other = FinalClicks.of(rows), FinalClicks.of(as_numbers)
    for a, b in ((found.rows, other.rows), (found.drawn, other.drawn)):
        pd.testing.assert_frame_equal(a, b, check_categorical=False)
    pd.testing.assert_frame_equal(summarise(found), summarise(other.as_text()))
    assert not any(dtype == "category" for dtype in other.as_text().rows.dtypes)


def test_rows_that_are_all_final_are_held_once() -> None:
    rows = simulated(6)
    final = FinalClicks.of(rows)
    assert final.every is final.rows is final.drawn
    late = FinalClicks.of(pd.concat([rows, rows.assign(click_index=2)]))
    assert len(late.every) == 2 * len(late.rows) == 2 * len(rows)


def test_what_repeats_the_row_before_is_what_hashing_finds_of_sorted_rows() -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"a": rng.choice(["x", "y"], 60), "b": rng.integers(0, 3, 60), "c": rng.choice([1.0, np.nan], 60)}
    )
    rows["d"] = pd.Categorical(rng.choice(["p", "q", None], 60))
    rows = rows.sort_values(["a", "b", "c", "d"], ignore_index=True)
    for by in (["a"], ["a", "b", "c"], ["a", "b", "c", "d"]):
        assert repeats(rows, by).tolist() == rows.duplicated(by).tolist()
