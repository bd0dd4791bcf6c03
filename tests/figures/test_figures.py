from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from harness import Instance, Sample, UserError
from harness.config.run_config import RunConfig
from harness.figures import grids, write_charts
from harness.figures.charts import Chart, charts
from harness.figures.chosen import RULES, answers, first
from harness.figures.drawing import draw, save, style
from harness.figures.grids import MASK, Line, drawn, tinted
from harness.figures.source import Source, data_roots, finds
from harness.masks import rle
from harness.report.context import Context, MethodFacts
from toy_words import Heard, Screens

CONTEXT = Context(
    "r", labels={"ours": MethodFacts(True, plugin="text_click"), "click": MethodFacts(plugin="click_only")}
)


def rows_of(make_row: Any, answered: dict[str, dict[str, float | None]], **facts: Any) -> pd.DataFrame:
    """Method -> instance -> IoU; `facts` are instance -> value, a column each."""
    plugins = {"ours": "text_click", "click": "click_only"}
    made = []
    for method, ious in answered.items():
        for instance, iou in ious.items():
            own = {name: of[instance] for name, of in facts.items()}
            made.append(make_row(method, instance, iou, method_plugin=plugins[method], text_rule="given", **own))
    return pd.DataFrame(made)


@pytest.fixture
def sliced(make_row: Any) -> pd.DataFrame:
    """Two unseen instances alone in their images, one of two, and a seen one that no Figure 8 may count."""
    counts = {"A2": 1, "B2": 1, "C2": 2, "D1": 1}
    ours = {"A2": 0.9, "B2": 0.7, "C2": 0.4, "D1": 0.1}
    click = {"A2": 0.5, "B2": 0.3, "C2": 0.2, "D1": 0.0}
    return rows_of(make_row, {"ours": ours, "click": click}, same_class_count=counts)


def named(made: list[Chart], name: str) -> Chart:
    return next(chart for chart in made if chart.name == name)


@pytest.mark.usefixtures("two_images_do")
def test_figure_8_means_over_unseen_instances_by_how_many_of_their_class_there_are(sliced: pd.DataFrame) -> None:
    chart = named(charts(sliced, CONTEXT), "figure8_toy")
    ours, click = chart.series
    assert (chart.groups[:2], ours.name, click.name) == (("1", "2"), "ours", "click")
    assert ours.means[:2] == pytest.approx((0.8, 0.4)) and click.means[:2] == pytest.approx((0.4, 0.2))
    assert ours.counts == (2, 1, 0, 0, 0)
    assert ours.lows[0] < 0.8 < ours.highs[0]
    assert np.isnan([ours.lows[1], ours.means[2]]).all(), "one image has no interval, no image no mean"


def test_a_method_of_fewer_clicks_is_drawn_at_its_own_last_and_the_chart_says_so(sliced: pd.DataFrame) -> None:
    later = sliced[sliced["method"] == "click"].assign(
        click_index=2, clicks=[[{"x": 3, "y": 5, "positive": True}] * 2] * 4
    )
    chart = named(charts(pd.concat([sliced, later.assign(iou=1.0)]), CONTEXT), "figure8_toy")
    assert [one.means[0] for one in chart.series] == pytest.approx([0.8, 1.0])
    assert chart.notes == ("ours: after click 1, its last, where others had up to 2.",)


def test_a_method_whose_instances_lack_rows_is_named_not_drawn(sliced: pd.DataFrame) -> None:
    chart = named(charts(sliced[:-1], CONTEXT), "figure8_toy")
    assert [one.name for one in chart.series] == ["ours"]
    assert chart.notes == ("click is not drawn: 1 instances have no row.",)


def test_columns_that_the_rows_lack_make_no_chart(pair: pd.DataFrame) -> None:
    assert [chart.name for chart in charts(pair, CONTEXT)] == ["seen_unseen_toy"]


def test_iou_by_click_follows_the_same_instances(make_row: Any) -> None:
    click = {"x": 3, "y": 5, "positive": True}
    made = [
        make_row("ours", name, iou, click_index=number, clicks=[click] * number)
        for name, ious in {"A1": (0.2, 0.6), "B2": (0.4, 0.8)}.items()
        for number, iou in enumerate(ious, start=1)
    ]
    made.append(make_row("ours", "C1", 0.9))  # Failed at its second click: no part of any mean.
    made.append(make_row("ours", "C1", None, click_index=2, clicks=[click] * 2))
    times = {"image_id": [row["instance_id"] for row in made], "encode_ms": 30.0, "segment_ms": [2.0, 4.0] * 3}
    by_time = named(charts(pd.DataFrame(made).assign(**times), Context("r")), "iou_by_time_toy").series[0]
    assert (by_time.at, by_time.counts) == (30 + 2 + 4, (2,)), "C1 has the time of its first click alone"
    chart = named(charts(pd.DataFrame(made), Context("r")), "iou_by_click_toy")
    assert chart.groups == ("1", "2")
    assert chart.series[0].means == pytest.approx((0.3, 0.7))
    assert "ours: 1 failed." in chart.notes


@pytest.mark.slow
def test_iou_stands_by_the_time_that_an_instance_takes(sliced: pd.DataFrame, tmp_path: Path) -> None:
    image = sliced["instance_id"].str[0]  # A2 and B2, C2, D1: each letter an image of its own.
    timed = sliced.assign(image_id=image, encode_ms=30.0, segment_ms=[2.0, 4.0, 6.0, 8.0] * 2)
    timed.loc[timed["method"] == "click", ["encode_ms", "segment_ms"]] = [0.0, 1.0]
    again = timed[timed["method"] == "click"].assign(
        click_index=2, clicks=[[{"x": 3, "y": 5, "positive": True}] * 2] * 4
    )
    chart = named(charts(pd.concat([timed, again]), CONTEXT), "iou_by_time_toy")
    assert {one.name: one.at for one in chart.series} == {"ours": (4 * 30 + 2 + 4 + 6 + 8) / 4, "click": 2.0}
    assert chart.kind == "points" and chart.series[0].means == pytest.approx([0.525])
    with style():
        figure = draw(chart)
    assert figure.axes[0].get_xscale() == "log" and len(save(figure, tmp_path, "time")) == 2
    thrice = pd.concat([timed[timed["method"] == "ours"].assign(draw=draw) for draw in range(3)])
    assert named(charts(thrice, CONTEXT), "iou_by_time_toy").series[0].at == 35
    assert not any(one.name.startswith("iou_by_time") for one in charts(timed.drop(columns="encode_ms"), CONTEXT))


def test_a_limited_run_says_so_on_every_chart(sliced: pd.DataFrame) -> None:
    context = Context("r", limits={"toy": 4}, labels=CONTEXT.labels)
    assert all(chart.title.startswith("LIMITED to 4 samples") for chart in charts(sliced, context))


@pytest.mark.slow
def test_figures_are_the_same_bytes_twice_whatever_their_names_hold(sliced: pd.DataFrame, tmp_path: Path) -> None:
    hostile = r"<script>$\frac{1}{$ a/b"
    context = Context("r", labels={hostile: MethodFacts(True), "click": MethodFacts()})
    made = charts(sliced.replace({"method": {"ours": hostile}, "dataset": {"toy": "../$x^$"}}), context)[:1]
    written = [write_charts(made, tmp_path / folder) for folder in "ab"]
    assert [path.suffix for path in written[0]] == [".pdf", ".png"]
    assert all(path.parent == tmp_path / "a" for path in written[0]), "a label must not choose the folder"
    assert [path.read_bytes() for path in written[0]] == [path.read_bytes() for path in written[1]]


def test_data_sets_whose_names_differ_in_a_sign_have_a_file_each(tmp_path: Path) -> None:
    with style():
        paths = [save(Figure(), tmp_path, f"size_{dataset}") for dataset in ("a b", "a-b", "a/b")]
    assert [path.name for _, path in paths] == ["size_a-b.png", "size_a-b-2.png", "size_a-b-3.png"]


@pytest.mark.slow
def test_bars_and_lines_stand_at_their_numbers(sliced: pd.DataFrame, tmp_path: Path) -> None:
    with style():
        figure = draw(named(charts(sliced, CONTEXT), "figure8_toy"))
        save(figure, tmp_path, "one")
    heights = [bar.get_height() for bar in figure.axes[0].containers[1]]  # 0 is the first's error bars
    assert heights[:2] == pytest.approx([80, 40])


def test_the_rules_choose_by_the_scores(make_row: Any) -> None:
    ours = {"A2": 0.9, "B2": 0.85, "C2": 0.1, "D1": 0.95, "E2": 0.1}
    click = {"A2": 0.4, "B2": 0.1, "C2": 0.9, "D1": 0.0, "E2": 0.2}
    rows = rows_of(make_row, {"ours": ours, "click": click}).assign(category="cup", gt_area_px=90)
    found = answers(rows, CONTEXT)["toy"]
    assert (found.roles.text, found.roles.click, found.roles.sam) == ("ours", "click", None)
    chosen = {
        rule.name: [pick[2] for pick in first(found, rule.order(found), 9)]
        for rule in RULES
        if rule.name in ("figure5_text_right", "figure5_click_right", "failures", "figure9_saliency_right")
    }
    assert chosen == {
        "figure5_text_right": ["B2", "A2"],  # D1 is seen
        "figure5_click_right": ["C2"],
        "failures": ["E2"],
        "figure9_saliency_right": ["C2", "E2"],
    }


@pytest.mark.parametrize("others", [None, True, False])
def test_unseen_are_the_classes_that_the_method_with_text_was_not_trained_on(
    make_row: Any, others: bool | None
) -> None:
    ours, click = {"A1": 0.9, "B2": 0.9}, {"A1": 0.1, "B2": 0.1}
    rows = rows_of(make_row, {"click": click, "ours": ours})
    rows["seen"] = rows["seen"].astype(object).mask(rows["method"] == "click", others)
    found = answers(rows, CONTEXT)["toy"]
    rule = next(rule for rule in RULES if rule.name == "figure5_text_right")
    assert [pick[2] for pick in first(found, rule.order(found), 9)] == ["B2"], "A1 is seen by ours"


@pytest.mark.slow
def test_ours_plays_text_and_click_and_a_method_by_text_alone_never_does(make_row: Any) -> None:
    """Table 8's config names LAVT, which gets no click, before ours."""
    rows = rows_of(make_row, {"click": {"A2": 0.1}, "ours": {"A2": 0.9}})
    alone = pd.DataFrame([make_row("lavt", "A2", 0.8, method_plugin="lavt", click_index=0, clicks=[])])
    labels = {"lavt": MethodFacts(True, plugin="lavt"), "mine": MethodFacts(True, plugin="x:Mine"), **CONTEXT.labels}
    context, every = replace(CONTEXT, labels=labels), pd.concat([alone, rows], ignore_index=True)
    assert answers(every, context)["toy"].roles.text == "ours"
    assert answers(every[every["method"] != "ours"], context)["toy"].roles.text is None
    mine = every.replace({"method": {"ours": "mine"}}).assign(method_plugin="x:Mine")
    assert answers(mine, context)["toy"].roles.text == "mine"


def test_parts_need_a_larger_object_under_the_click(make_row: Any) -> None:
    rows = rows_of(
        make_row,
        {"ours": {"A2": 0.9, "B2": 0.9, "C2": 0.9}, "click": {"A2": 0.1, "B2": 0.1, "C2": 0.1}},
        under_click={"A2": 2, "B2": 1, "C2": 2},
        under_click_area_ratio={"A2": 0.5, "B2": 1.0, "C2": 1.0},
    )
    found = answers(rows, CONTEXT)["toy"]
    rule = next(rule for rule in RULES if rule.name == "figure7_parts")
    assert [pick[2] for pick in first(found, rule.order(found), 9)] == ["A2"]


def test_picks_vary_images_and_classes_first(make_row: Any) -> None:
    category = {"A2": "cup", "A4": "tie", "B2": "cup", "C2": "tie"}
    rows = rows_of(make_row, {"ours": dict.fromkeys(category, 0.5)}, category=category)
    found = answers(rows, CONTEXT)["toy"]
    order = pd.Series([1.0, 2.0, 3.0, 4.0], found.facts.index)
    assert [pick[2] for pick in first(found, order, 2)] == ["A2", "C2"]
    assert [pick[2] for pick in first(found, order, 9)] == ["A2", "C2", "B2"], "an image is shown once"


def test_a_saliency_finds_an_object_by_its_most_salient_pixels() -> None:
    truth = np.zeros((4, 6), dtype=bool)
    truth[0, :4] = True
    saliency = np.linspace(0, 0.5, 24, dtype=np.float32).reshape(4, 6)
    assert not finds(saliency, truth)
    saliency[0, :2] = 1  # Two of the four most salient pixels are the object's: half.
    assert finds(saliency, truth)
    saliency[0, 1] = 0
    assert not finds(saliency, truth)
    assert not finds(np.zeros((4, 6), dtype=np.float32), truth), "a flat map finds nothing small"
    assert not finds(saliency, np.zeros_like(truth))


class Known(Source):
    """Five images whose saliency finds the object in all but A; nothing is read from a disk."""

    def __init__(self, rows: pd.DataFrame, truth: np.ndarray) -> None:
        self.rows, self.context, self.truth = rows, CONTEXT, truth

    def sample(self, dataset: str, sample_id: str) -> Sample:
        category = dict(zip(self.rows["image_id"], self.rows["category"], strict=True))[sample_id]
        image = np.full((*self.truth.shape, 3), (90, 120, 40), dtype=np.uint8)
        return Sample(sample_id, image, (Instance(f"{sample_id}2", mask=self.truth, category=category),))

    def saliency_entry(self) -> dict[str, str]:
        return {"name": "maskclip"}

    def saliency_maps(self, dataset: str, sample: Sample, text: str) -> dict[str, np.ndarray]:
        return {"saliency": (self.truth if sample.id != "A" else ~self.truth).astype(np.float32)}


@pytest.mark.slow
def test_figure_9_is_of_the_worst_masks_that_the_saliency_finds(make_row: Any) -> None:
    """A, the worst cup, is not found: the next cup takes its place in the order, before the other classes."""
    truth = np.zeros((32, 48), dtype=bool)
    truth[4:20, 6:30] = True
    ious = {"A2": 0.05, "B2": 0.1, "C2": 0.2, "D2": 0.3, "E2": 0.4}
    category = dict(zip(ious, ("cup", "cup", "tie", "hat", "tie"), strict=True))
    rows = rows_of(make_row, {"ours": ious}, category=category, text=category).assign(mask=rle.encode(truth))
    (made,) = (one for one in grids(Known(rows, truth)) if one.name == "figure9_saliency_right_toy")
    lines = [axes.get_ylabel() for axes in made.figure.axes if axes.get_ylabel()]
    assert lines == ["cup\nB", "tie\nC", "hat\nD", "tie\nE"]
    assert made.caption.startswith("Figure 9: saliency right, mask wrong, toy. Chosen by rule: IoU of text and click")


def test_a_mask_stands_out_in_colour_from_a_grey_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    mask = np.zeros((32, 48), dtype=bool)
    mask[8:24, 10:40] = True
    painted = tinted(image, mask, MASK)
    assert np.ptp(painted[~mask].astype(int), axis=1).max() == 0 and painted[~mask].min() >= 127
    inside = painted[10:22, 12:38].astype(int)
    assert (inside[..., 0] - inside[..., 2]).mean() == pytest.approx((MASK[0] - MASK[2]) / 2, abs=8)


def test_data_wants_a_label_and_a_folder_that_is_there(tmp_path: Path) -> None:
    assert data_roots([f"coco={tmp_path}"]) == {"coco": tmp_path}
    for wrong in ("coco", f"={tmp_path}", f"coco={tmp_path}/none"):
        with pytest.raises(UserError, match="LABEL=FOLDER"):
            data_roots([wrong])


def test_a_metric_of_one_s_own_has_charts_in_its_unit_and_within_its_bounds(sliced: pd.DataFrame) -> None:
    said = {"higher_is_better": False, "bounds": [0, None], "unit": "px"}
    rows = sliced.assign(missed_px=lambda own: 1000 * (1 - own["iou"]))
    made = charts(rows, replace(CONTEXT, metrics={"iou": {}, "missed_px": said}))
    chart = named(made, "figure8_toy_missed_px")
    assert chart.series[0].means[0] == pytest.approx(200) and chart.title.endswith("toy: missed_px")
    with style():
        axes, *_ = draw(chart).axes
        share, *_ = draw(named(made, "figure8_toy")).axes
    assert axes.get_ylabel() == "mean missed_px, px, lower is better"
    assert axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > 600
    assert share.get_ylabel() == "mean IoU, %" and share.get_ylim() == (0, 100)


SCREENS = ("cat", "potted plant", "tv monitor")


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({}, SCREENS),
        ({"params": {"vocabulary": "none"}}, ()),
        ({"params": {"vocabulary": "present"}}, ("cat", "tv monitor")),
        ({"text": {"template": "a {}"}}, tuple(f"a {name}" for name in SCREENS)),
    ],
)
def test_a_saliency_is_drawn_among_the_names_that_its_method_took(
    more: dict[str, Any], names: tuple[str, ...], pair: pd.DataFrame
) -> None:
    params = {"checkpoint": "w", "saliency": {"name": "toy_words:Heard", "params": {}}, **more.get("params", {})}
    entry = {"name": "text_click", **more, "params": params}
    config = RunConfig.model_validate({"run": "r", "datasets": [{"name": "toy_words:Screens"}], "methods": [entry]})
    Heard.asked.clear()
    found = Source(config, rows=pair, context=CONTEXT).saliency_maps("toy_words:Screens", Screens().load("a"), "cat")
    assert list(found) == ["saliency"] and found["saliency"].shape == (32, 48)
    assert Heard.asked == {("cat", names)}


def test_several_saliencies_are_drawn_side_by_side(pair: pd.DataFrame) -> None:
    heard = {"name": "toy_words:Heard", "params": {}}
    entries = [
        {"name": "text_click", "label": name, "params": {"checkpoint": "w", "saliency": saliency}}
        for name, saliency in (("one", heard), ("same", heard), ("two", {"name": "toy_words:Heard"}))
    ]
    config = RunConfig.model_validate({"run": "r", "datasets": [{"name": "toy_words:Screens"}], "methods": entries})
    source = Source(config, rows=pair, context=CONTEXT)
    maps = source.saliency_maps("toy_words:Screens", Screens().load("a"), "cat")
    assert list(maps) == ["one", "two"]
    image, mask = Screens().load("a").image, np.ones((32, 48), dtype=bool)
    figure = drawn("T", "by rule", [Line("cat\na", image, mask, [], maps, {"one": (mask, 1.0)})])
    assert [axes.get_title() for axes in figure.axes] == [
        "image and click",
        "saliency: one",
        "saliency: two",
        "one",
        "ground truth",
    ]


@pytest.mark.slow
def test_a_method_that_failed_at_a_later_click_or_draw_is_failed_in_a_grid(make_row: Any) -> None:
    """As in every table, though its mask of an earlier click, or of the first draw, is at hand."""
    config = RunConfig.model_validate(
        {"run": "r", "datasets": [{"name": "toy_words:Screens", "label": "toy"}], "methods": [{"name": "text_click"}]}
    )
    facts = {"dataset_plugin": "screens", "category": "cat", "text": "cat", "text_rule": "given", "seen": False}
    facts |= {"mask": rle.encode(Screens().load("a").instances[1].mask), "gt_area_px": 9}
    labels = {"ours": "text_click", "click": "click_only", "late": "other"}
    for last in ({"click_index": 2}, {"draw": 1}):
        rows = [
            make_row(name, f"{image}/1", iou, **facts, method_plugin=plugin, **asked)
            for image, ious in (("b", (0.9, 0.2, 0.7)), ("a", (0.9, 0.1, 0.7)))
            for (name, plugin), iou in zip(labels.items(), ious, strict=True)
            for asked in ({"click_index": 1, "draw": 0}, {"click_index": 1, "draw": 0} | last)
        ]
        table = pd.DataFrame(rows)
        gone = table.index[-1:]  # the last row of `late` on image a, which is shown first
        table.loc[gone, ["status", "error", "iou", "mask", "ranking"]] = ["failed", "no", None, None, None]
        table["clicks"] = table["clicks"].where(table["method"].eq("ours"), table["clicks"].map(lambda made: made * 2))
        context = Context("r", labels={name: MethodFacts(name == "ours", plugin=of) for name, of in labels.items()})
        figure = {one.name: one.figure for one in grids(Source(config, rows=table, context=context))}[
            "figure5_text_right_toy"
        ]
        shown = {axes.get_title(): axes.get_xlabel() for axes in figure.axes}
        assert len(figure.axes[0].lines) == 1, "the one click of `ours`, not the two of the others"
        assert [shown[name] for name in labels] == ["IoU 90.0", "IoU 10.0", "failed"], last
