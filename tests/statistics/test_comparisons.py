"""Two methods on identical instances and clicks, and all of a run ranked: on rows whose truth is known."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import harness
from harness import UserError
from harness.plugins.scale import SHARE
from harness.report.two_methods import tables_of
from harness.statistics.comparisons import compare
from harness.statistics.ranks import ranks
from harness.statistics.scales import with_metrics
from harness.statistics.slices import SLICES, sliced

CLICK = {"x": 3, "y": 5, "positive": True}


def drawn(images: int, gains: dict[str, float], seed: int = 0, datasets: int = 1) -> pd.DataFrame:
    """Each method is better than the first by its gain, on average; instances of an image are alike in all of it."""
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(images * datasets), rng.integers(1, 6, size=images * datasets))
    count = len(image)
    base = rng.normal(0.5, 0.1, images * datasets)[image] + rng.normal(0, 0.05, count)
    known = {
        "run": "r",
        "ranking": "single",
        "clicks": [[CLICK]] * count,
        "click_index": 1,
        "status": "ok",
        "dataset": [f"set {one:03d}" for one in image // images],
        "image_id": image.astype(str),
        "instance_id": np.arange(count).astype(str),
        "seen": np.arange(count) % 3 == 0,
        "category": np.where(np.arange(count) % 2, "cat", "dog"),
        "gt_area_px": np.arange(count) % 7 * 2000 + 100,
        "same_class_count": 1 + np.arange(count) % 6,
        "encode_ms": 10.0,
    }
    parts = []
    for at, (method, gain) in enumerate(gains.items()):
        effect = rng.normal(gain, 0.1, images * datasets)[image] + rng.normal(0, 0.05, count) if at else 0
        parts.append(pd.DataFrame({**known, "method": method, "iou": base + effect, "segment_ms": 5.0 * (at + 1)}))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.slow
def test_the_paired_test_is_wrong_as_often_as_it_says() -> None:
    runs = [drawn(80, {"b": 0, "a": 0}, seed, datasets=20) for seed in range(25)]
    lines = pd.concat([compare(rows, "a", "b", slices=["dataset"]).lines[1:] for rows in runs])
    assert len(lines) == 500
    assert 0.03 <= (lines["p"] < 0.05).mean() <= 0.07
    assert 0.93 <= ((lines["low"] <= 0) & (lines["high"] >= 0)).mean() <= 0.97
    assert (lines["q"] < 0.05).mean() < 0.01


def test_instances_without_a_class_are_no_slice() -> None:
    rows = drawn(20, {"b": 0, "a": 0.1})
    some = rows.assign(category=rows["category"].replace("cat", ""), other=rows["category"].replace("cat", "cup"))
    found = compare(some, "a", "b", slices=["category", "other"]).lines
    assert list(found["value"][1:]) == ["cup", "dog"], "one class alone is no division"


@pytest.mark.slow
def test_what_only_one_method_saw_is_in_no_slice_of_the_split() -> None:
    rows = drawn(20, {"b": 0, "a": 0.1})
    rows["seen"] |= (rows["method"] == "a") & (rows["category"] == "cat")
    both = rows[rows["method"] == "b"].set_index("instance_id")["seen"]
    wanted = {"seen": int(both.sum()), "unseen": int((~both & (np.arange(len(both)) % 2 == 0)).sum())}
    for pair in (("a", "b"), ("b", "a")):
        lines = compare(rows, *pair, slices=["seen"]).lines
        assert dict(zip(lines["value"][1:], lines["n"][1:], strict=True)) == wanted


def test_a_gain_is_found_in_slices_too() -> None:
    found = compare(drawn(80, {"b": 0, "a": 0.06}), "a", "b")
    line = found.lines.iloc[0]
    assert (line["slice"], line["n"], line["images"]) == ("all", line["win"] + line["tie"] + line["loss"], 80)
    assert line["low"] < 0.06 < line["high"] and line["p"] < 0.001 and np.isnan(line["q"])
    assert line["difference"] == pytest.approx(line["a"] - line["b"])
    slices = found.lines.groupby("slice", sort=False)["n"].sum().to_dict()
    assert list(slices) == ["all", "seen", "size", "same_class_count", "category"]
    assert set(slices.values()) == {line["n"]}
    assert (found.lines["q"][1:] >= found.lines["p"][1:]).all()
    assert found.latency.set_index("cost")["ratio"].to_dict() == {"encode_ms": 1.0, "segment_ms": 2.0}
    assert not any(found.dropped.values())


@pytest.mark.slow
def test_win_tie_and_loss_by_hand_and_the_most_changed() -> None:
    rows = drawn(6, {"b": 0})[:6].assign(iou=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    better = rows.assign(method="a", iou=[0.5, 0.24, 0.3, 0.36, 0.3, 0.6])
    found = compare(pd.concat([rows, better]), "a", "b", most_changed=2)
    assert found.lines.loc[0, ["win", "tie", "loss"]].tolist() == [1, 4, 1]
    assert compare(pd.concat([rows, better]), "a", "b", tie=0).lines.loc[0, "tie"] == 2
    assert found.changed["difference"].tolist() == pytest.approx([0.4, -0.2])
    assert found.changed["instance_id"].tolist() == [rows["instance_id"].iloc[0], rows["instance_id"].iloc[4]]


def test_most_changed_shows_both_ends_however_far_ahead_one_is() -> None:
    rows = drawn(6, {"b": 0})[:6].assign(iou=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    ahead = rows.assign(method="a", iou=[0.3, 0.9, 0.9, 0.3, 0.1, 0.4])
    changed = compare(pd.concat([rows, ahead]), "a", "b", most_changed=4).changed
    assert changed["difference"].tolist() == pytest.approx([0.7, 0.6, -0.2, -0.4])
    far = rows.assign(method="a", iou=[0.9, 0.9, 0.9, 0.9, 0.5, 0.5])
    changed = compare(pd.concat([rows, far]), "a", "b", most_changed=4).changed
    assert changed["difference"].tolist() == pytest.approx([0.8, 0.7, -0.1])
    equal = compare(pd.concat([rows, rows.assign(method="a")]), "a", "b")
    assert equal.changed.empty, "what did not change is not among the most changed"


def test_sizes_stand_from_small_to_large() -> None:
    rows = drawn(30, {"b": 0, "a": 0})
    areas = dict(zip(rows["instance_id"].unique(), itertools.cycle([10, 2000, 20000]), strict=False))
    lines = compare(rows.assign(gt_area_px=rows["instance_id"].map(areas)), "a", "b", slices=["size"]).lines
    assert [value.split()[0] for value in lines["value"][1:]] == ["small", "medium", "large"]


def test_slices_at_their_bounds_and_without_what_is_unknown() -> None:
    known = {
        "gt_area_px": [1, 1023, 1024, 9215, 9216, 9e6],
        "same_class_count": [1, 4, 5, 9, None, 1],
        "under_click": [1, 2, 3, 1, None, 1],
        "seen": pd.array([True, False, None, True, True, False], "boolean"),
        "category": ["cup", "", "cup", "cup", "tie", ""],
    }
    found = {(name, value): own.nonzero()[0].tolist() for name, value, own in sliced(pd.DataFrame(known), SLICES)}
    assert found == {
        ("size", "small (< 32² px)"): [0, 1],
        ("size", "medium"): [2, 3],
        ("size", "large (≥ 96² px)"): [4, 5],
        ("same_class_count", "1"): [0, 5],
        ("same_class_count", "4"): [1],
        ("same_class_count", "5 or more"): [2, 3],
        ("under_click", "one object"): [0, 3, 5],
        ("under_click", "several objects"): [1, 2],
        ("seen", "seen"): [0, 3, 4],
        ("seen", "unseen"): [1, 5],
        ("category", "cup"): [0, 2, 3],
        ("category", "tie"): [4],
    }


def test_what_is_not_identical_is_dropped_and_counted() -> None:
    rows = drawn(20, {"b": 0, "a": 0.05}).reset_index(drop=True)
    mine = rows.index[rows["method"] == "a"]
    rows.at[mine[0], "clicks"] = [{**CLICK, "x": 4}]
    rows.loc[mine[1], "gt_area_px"] = 1
    rows.loc[mine[2], ["status", "iou", "ranking"]] = ["failed", np.nan, None]
    rows.loc[mine[3], "iou"] = np.nan
    found = compare(rows.drop(index=mine[4]), "a", "b")
    assert {why: count for why, count in found.dropped.items() if count} == {
        "only the second was asked": 1,
        "the first failed on": 1,
        "with other clicks": 1,
        "with another ground truth": 1,
        "without iou": 1,
    }
    assert found.lines.loc[0, "n"] == len(mine) - 5


def test_an_instance_that_lacks_a_draw_is_dropped_and_counted() -> None:
    one = drawn(20, {"b": 0, "a": 0.05})
    three = pd.concat([one.assign(draw=draw) for draw in range(3)], ignore_index=True)
    lacking = (three["method"] == "a") & (three["draw"] == 2) & (three["instance_id"] == "4")
    found = compare(three[~lacking], "a", "b")
    assert {why: count for why, count in found.dropped.items() if count} == {"with other draws or numbers of clicks": 1}
    assert found.lines.loc[0, "n"] == one["instance_id"].nunique() - 1
    with pytest.raises(UserError, match=f"{one['instance_id'].nunique()} with other draws"):
        compare(three[(three["method"] == "a") | (three["draw"] == 0)], "a", "b")


def test_an_instance_with_one_draw_that_cannot_be_compared_is_dropped_whole_and_counted_once() -> None:
    one = drawn(20, {"b": 0, "a": 0.05})
    rows = pd.concat([one.assign(draw=draw) for draw in range(3)], ignore_index=True)
    at = {(row.instance_id, row.draw): row.Index for row in rows[rows["method"] == "a"].itertuples()}
    rows.at[at["4", 0], "clicks"] = [{**CLICK, "x": 4}]
    rows.loc[at["4", 1], "iou"] = np.nan
    rows.loc[at["6", 2], "iou"] = np.nan
    found = compare(rows, "a", "b")
    assert {why: count for why, count in found.dropped.items() if count} == {"with other clicks": 1, "without iou": 1}
    assert found.lines.loc[0, "n"] == one["instance_id"].nunique() - 2


def corrective(images: int, alike: int) -> pd.DataFrame:
    """Two methods and two clicks; the second click follows the masks, which are equal on the first `alike` images."""
    lines = []
    for method, at, k in itertools.product("ab", range(images), (1, 2)):
        second = {**CLICK, "x": 9 if at < alike or method == "a" else 20}
        score = 0.5 if at < alike else 0.3 + 0.2 * (method == "a") + 0.01 * at
        lines.append({"method": method, "image_id": str(at), "click_index": k, "iou": score + 0.1 * (k - 1)})
        lines[-1]["clicks"] = [CLICK, second][:k]
    known = {"run": "r", "dataset": "d", "ranking": "single", "status": "ok", "seen": None, "draw": 0}
    frame = pd.DataFrame(lines)
    return frame.assign(instance_id=frame["image_id"], **known)


@pytest.mark.slow
def test_instances_whose_later_clicks_are_the_same_by_chance_do_not_stand_for_all() -> None:
    found = compare(corrective(20, alike=6), "a", "b")
    assert found.clicks == (1, 2, 2) and not any(found.dropped.values())
    assert found.lines[["slice", "n"]].to_numpy().tolist() == [["all", 20]]
    assert found.lines.loc[0, "difference"] == pytest.approx(0.2 * 14 / 20)
    assert compare(corrective(20, alike=20), "a", "b").clicks == (2, 2, 2)
    rows = corrective(20, alike=20)
    lone = rows["image_id"].eq("3") & rows["method"].eq("b")
    rows.loc[lone, "clicks"] = pd.Series([[{**CLICK, "x": 1}] * k for k in (1, 2)], index=rows.index[lone])
    found = compare(rows, "a", "b")
    assert found.clicks == (2, 2, 2) and found.lines.loc[0, "n"] == 19 and found.dropped["with other clicks"] == 1


def test_an_instance_that_failed_at_a_later_click_is_in_no_mean_of_the_first() -> None:
    rows = corrective(8, alike=0)
    lost = rows["method"].eq("a") & rows["image_id"].eq("7") & rows["click_index"].eq(2)
    rows.loc[lost, ["status", "iou", "ranking"]] = ["failed", np.nan, None]
    found = compare(rows, "a", "b")
    assert found.dropped["the first failed on"] == 1 and found.clicks == (1, 2, 2)
    # 0.3 + 0.01 k of image k, and 0.2 more by a: over the images 0 to 6.
    assert found.lines.loc[0, ["n", "a", "b"]].tolist() == pytest.approx([7, 0.53, 0.33])


def test_ranks_are_not_told_by_the_instances_whose_clicks_are_the_same_by_chance() -> None:
    rows = corrective(40, alike=20)
    same = rows["method"].eq("a") & rows["image_id"].astype(int).lt(20) & rows["click_index"].eq(2)
    found = ranks(rows.assign(iou=rows["iou"].where(~same, 0.9)))
    assert found[["rank_low", "rank_high"]].to_numpy().tolist() == [[1, 2], [1, 2]]


def test_nothing_in_common_is_refused() -> None:
    rows = drawn(5, {"b": 0, "a": 0})
    rows["clicks"] = [[{**CLICK, "x": 4 if method == "a" else 3}] for method in rows["method"]]
    with pytest.raises(UserError, match=r"a and b share no instance .* with other clicks"):
        compare(rows, "a", "b")
    with pytest.raises(UserError, match=r"no method 'c' that segmented anything. There are: a, b"):
        compare(rows, "c", "b")
    with pytest.raises(UserError, match=r"compare: a against itself\. Wanted two methods"):
        compare(rows, "a", ("a", "single"))
    with pytest.raises(UserError, match=r"rows twice"):
        compare(pd.concat([rows, rows]), "a", "b")


def test_what_the_rows_do_not_have_is_refused() -> None:
    rows = drawn(5, {"b": 0, "a": 0})
    with pytest.raises(UserError, match=r"compare: the rows have no metric 'iuo'\. Did you mean 'iou'"):
        compare(rows, "a", "b", metric="iuo")
    with pytest.raises(UserError, match=r"compare: the rows have no metric 'image_id'"):
        compare(rows, "a", "b", metric="image_id")
    with pytest.raises(UserError, match=r"no column 'sean' to divide by\. Did you mean 'seen'"):
        compare(rows, "a", "b", slices=["sean"])


def test_a_lone_column_divides() -> None:
    rows = drawn(10, {"b": 0, "a": 0})
    rows["half"] = [str(int(one) % 2) for one in rows["image_id"]]
    assert compare(rows, "a", "b", slices="half").lines["slice"].tolist() == ["all", "half", "half"]


def test_rankings_are_asked_for() -> None:
    rows = drawn(10, {"b": 0, "sam": 0})
    both = pd.concat([rows, rows[rows["method"] == "sam"].assign(ranking="clip")])
    with pytest.raises(UserError, match=r"'sam' has several rankings. Ask for one of: sam \(clip\), sam \(single\)"):
        compare(both, "sam", "b")
    with pytest.raises(UserError, match=r"no ranking 'oracle'"):
        compare(both, ("sam", "oracle"), "b")
    assert compare(both, ("sam", "clip"), "b").a == "sam (clip)"


def test_every_click_is_a_slice() -> None:
    one = drawn(10, {"b": 0, "a": 0.1})
    two = one.assign(click_index=2, clicks=[[CLICK, CLICK]] * len(one), iou=one["iou"] + 0.1)
    lines = compare(pd.concat([one, two]), "a", "b").lines
    clicks = lines[lines["slice"] == "click"].set_index("value")
    assert clicks.loc["2", "a"] == pytest.approx(clicks.loc["1", "a"] + 0.1) == pytest.approx(lines.loc[0, "a"])


def test_a_single_instance_and_missing_columns() -> None:
    rows = drawn(1, {"b": 0, "a": 0.2}).groupby("method").head(1).drop(columns=["gt_area_px", "category", "encode_ms"])
    found = compare(rows.assign(segment_ms=0.0), "a", "b")
    assert len(found.lines) == 1 and np.isnan(found.lines.loc[0, ["low", "high"]].astype(float)).all()
    assert found.latency[["a", "b", "ratio"]].isna().all(axis=None), "no times, and times that no clock could tell"


def test_latencies_are_medians_of_images_and_of_instances() -> None:
    rows = drawn(3, {"b": 0, "a": 0})
    rows["encode_ms"] = rows["image_id"].map({"0": 10.0, "1": 20.0, "2": 300.0})
    # The first instance of the last image failed, and has no times; the image was encoded all the same.
    first = rows["image_id"].eq("2") & ~rows.duplicated(["method", "image_id"]) & rows["method"].eq("a")
    rows.loc[first, ["status", "ranking", "iou", "encode_ms", "segment_ms"]] = ["failed", None, None, None, None]
    found = compare(rows, "a", "b").latency
    assert found.to_numpy().tolist() == [["encode_ms", 20.0, 20.0, 1.0], ["segment_ms", 10.0, 5.0, 2.0]]


def test_ranks_are_as_wide_as_the_rows_allow() -> None:
    rows = drawn(150, {"worst": 0, "middle": 0.1, "same": 0.1, "best": 0.3})
    bound = rows[rows["method"] == "best"].assign(method="sam", ranking="oracle", iou=1.0)
    found = ranks(pd.concat([rows, bound])).set_index("method")
    assert found.loc["best", ["rank_low", "rank_high", "tie_group"]].tolist() == [1, 1, 1]
    assert found.loc["worst", ["rank_low", "rank_high", "tie_group"]].tolist() == [4, 4, 3]
    for name in ("middle", "same"):
        assert found.loc[name, ["rank_low", "rank_high", "tie_group"]].tolist() == [2, 3, 2]
    assert "sam" not in found.index and found["mean"].is_monotonic_decreasing
    assert found["mean"].to_dict() == pytest.approx(rows.groupby("method")["iou"].mean().to_dict())


def test_ranks_are_corrected_for_each_pair_once() -> None:
    # All eight images agree: p = 2 / 2^8 = 0.008 for each of the six pairs, and 6 * 0.008 = 0.048 is below 0.05.
    found = ranks(drawn(8, {"a": 0, "b": 1, "c": 2, "d": 3}))
    assert found["method"].tolist() == ["d", "c", "b", "a"]
    assert found["rank_low"].tolist() == found["rank_high"].tolist() == [1, 2, 3, 4]


def test_few_images_rank_nobody() -> None:
    found = ranks(drawn(3, {"a": 0, "b": 0.5, "c": 0.9}))
    assert found["rank_low"].tolist() == [1, 1, 1] and found["rank_high"].tolist() == [3, 3, 3]
    assert ranks(drawn(3, {"a": 0}))["rank_high"].tolist() == [1]
    assert ranks(pd.DataFrame()).empty


@pytest.mark.slow
def test_equal_methods_are_told_apart_in_5_of_100_at_most() -> None:
    found = ranks(drawn(40, {"a": 0, "b": 0, "c": 0, "d": 0}, datasets=60))
    wrong = found.assign(wrong=(found["rank_low"] > 1) | (found["rank_high"] < 4)).groupby("dataset")["wrong"].any()
    assert wrong.mean() < 0.1


def test_a_single_method_with_several_draws_ranks_first() -> None:
    rows = drawn(6, {"a": 0})
    found = ranks(pd.concat([rows, rows.assign(draw=1)]))
    assert found[["rank_low", "rank_high", "tie_group"]].to_numpy().tolist() == [[1, 1, 1]]


def test_ranks_do_not_mix_clicks() -> None:
    rows = drawn(30, {"a": 0, "b": 0.5})
    rows["clicks"] = [[{**CLICK, "x": 4 if method == "a" else 3}] for method in rows["method"]]
    assert ranks(rows)["rank_high"].tolist() == [2, 2]


def test_notebooks_find_it() -> None:
    given: Any = harness
    assert given.compare is compare
    assert given.summarise(drawn(3, {"a": 0}))["n"].tolist() == [len(drawn(3, {"a": 0}))]
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        given.lod  # noqa: B018


@pytest.mark.slow
def test_clicks_needed_are_compared_where_every_method_follows_its_own_masks() -> None:
    """Only the first click is shared; b needs a click more on every instance but one, on which it breaks off."""
    ladders = {"a": (0.5, 0.92, 0.97), "b": (0.4, 0.6, 0.92)}
    rows = [
        {
            "run": "r",
            "dataset": "toy",
            "method": method,
            "ranking": "single",
            "image_id": str(number),
            "instance_id": f"{number}/0",
            "seen": True,
            "clicks": [{"x": 1 if made == 0 else ord(method), "y": made, "positive": True} for made in range(k)],
            "click_index": k,
            "iou": iou,
            "status": "ok",
        }
        for method, ladder in ladders.items()
        for number in range(12)
        for k, iou in enumerate(ladder, 1)
    ]
    frame = pd.DataFrame(
        [one for one in rows if not (one["method"] == "b" and one["image_id"] == "0" and one["click_index"] == 3)]
    )
    found = compare(frame, "a", "b")
    assert found.clicks == (1, 3, 3) and found.lines["n"].iloc[0] == 12
    lines = found.noc.set_index("quality")
    assert lines.loc[0.9, ["n", "images", "a", "b", "difference"]].tolist() == [11, 11, 2.0, 3.0, -1.0]
    assert lines.loc[0.95, ["a", "b"]].tolist() == [3.0, 3.0]
    assert (lines.loc[0.9, "low"], lines.loc[0.9, "high"]) == (-1.0, -1.0) and lines.loc[0.9, "p"] < 0.01
    by_slice, needed, _ = tables_of(found)
    assert [cell.text for cell in needed.body[2].cells[:6]] == [
        "toy",
        "NoC@90",
        "2.00",
        "3.00",
        "-1.00",
        "[-1.00, -1.00]",
    ]
    tiny = found.noc.assign(difference=-0.001, low=-0.002, high=0.0)
    (first, *_) = tables_of(replace(found, noc=tiny))[1].body
    assert [cell.text for cell in first.cells[4:6]] == ["+0.00", "[+0.00, +0.00]"]
    assert any(
        "Compared after click 1, the last one up to which their clicks are the same; a went on to click 3" in n
        for n in by_slice.notes
    )
    single = compare(frame[frame["click_index"] == 1], "a", "b")
    assert single.noc.empty and len(tables_of(single)) == 2
    assert not any("last click that both" in note for note in tables_of(single)[0].notes)
    cut = tables_of(single, limited="5 samples")
    assert all(table.title.startswith("LIMITED to 5 samples: ") and "not a result" in table.notes[0] for table in cut)


def missed(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `missed_px`, of which the better method has fewer, as a run's rows remember it."""
    said = {"missed_px": {"higher_is_better": False, "bounds": [0, None], "unit": "px"}}
    return with_metrics(rows.assign(missed_px=1000 * (1 - rows["iou"])), said)


@pytest.mark.slow
def test_less_is_better_where_the_metric_says_so() -> None:
    rows = missed(drawn(40, {"b": 0, "a": 0.2}))
    share, pixels = compare(rows, "a", "b"), compare(rows, "a", "b", "missed_px", tie=50)
    (one, other), counts = (share.lines.iloc[0], pixels.lines.iloc[0]), ["win", "tie", "loss"]
    assert one["win"] > 5 * one["loss"] and one[counts].tolist() == other[counts].tolist()
    assert other["difference"] == pytest.approx(other["a"] - other["b"]) == pytest.approx(-1000 * one["difference"])
    assert share.changed["instance_id"].tolist() == pixels.changed["instance_id"].tolist()
    assert pixels.noc.empty and compare(rows, "a", "b", "missed_px").tie == 0
    assert compare(rows, "a", "b", "missed_px", scale=SHARE, tie=50).lines.iloc[0]["win"] == one["loss"]


def test_ranks_put_the_method_with_less_first() -> None:
    rows = missed(drawn(40, {"b": 0, "a": 0.2, "c": -0.2}))
    lines = ranks(rows, "missed_px")
    assert lines["method"].tolist() == ["a", "b", "c"] == ranks(rows)["method"].tolist()
    assert lines["rank_low"].tolist() == lines["rank_high"].tolist() == [1, 2, 3]
    assert lines["mean"].is_monotonic_increasing


def test_the_table_prints_pixels_as_pixels() -> None:
    by_slice, changed = tables_of(compare(missed(drawn(40, {"b": 0, "a": 0.2})), "a", "b", "missed_px"))
    assert by_slice.title == "a against b, missed_px (px, lower is better)"
    first = by_slice.body[0].cells
    assert 200 < float(first[2].text) < 400 < float(first[3].text) and float(first[4].text) < -150
    assert by_slice.notes[0].startswith("Means in px, differences too, over") and "at most 0 px." in by_slice.notes[0]
    assert "Less missed_px is better: negative differences speak for the first" in by_slice.notes[1]
    assert changed.notes == ("missed_px in px, differences too.",)
    assert changed.title.startswith("Most changed: 12 instances for a")
