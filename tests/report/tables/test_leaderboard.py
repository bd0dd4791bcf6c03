from typing import Any

import pandas as pd

from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Table
from harness.report.rendering.markdown import to_markdown
from harness.report.tables.leaderboard import ORACLE, RANKED, place


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


def test_exactly(pair: pd.DataFrame, make_row: Any) -> None:
    sam = [make_row("SAM", f"{i}{n}", 0.6, ranking=r) for r in ("clip", "oracle") for i in "AB" for n in (1, 2)]
    rows = pd.concat([pair, pd.DataFrame([*sam[:7], make_row("SAM", "B2", None)])])
    rows = rows[~((rows["instance_id"] == "B2") & (rows["ranking"] == "clip"))]
    assert to_markdown(build_table("leaderboard", rows, Context("demo"))) == (
        "**Leaderboard (run demo)**\n\n"
        "| Dataset | Rank | Method | Ranking | mIoU@1 | boundary mIoU@1 | n | w | Failed |\n"
        "| :-- | --: | :-- | :-- | --: | --: | --: | --: | --: |\n"
        "| toy | 1–3 a | ours | single | **70.00** | **35.00** | 4 | 0.500 | 0 |\n"
        "| toy | 1–3 a | SAM | clip | 60.00 ¹ | 30.00 ¹ | 3 | 0.667 | 1 |\n"
        "| toy |  | SAM | oracle ² | 60.00 ¹ | 30.00 ¹ | 3 | 0.667 | 1 |\n"
        "| toy | 1–3 a | click | single | 50.00 | 25.00 | 4 | 0.500 | 0 |\n\n"
        "- ¹ Over 3 instances, others over 4: gains and ranks are over the same instances.\n"
        f"- ² {ORACLE}\n"
        "- Means over instances, in percent; w is the share of seen instances.\n"
        f"- {RANKED}\n"
    )


def test_the_oracle_is_never_the_best(pair: pd.DataFrame, make_row: Any) -> None:
    bound = [make_row("SAM", f"{i}{n}", 0.99, ranking="oracle") for i in "AB" for n in (1, 2)]
    built = build_table("leaderboard", pd.concat([pair, pd.DataFrame(bound)]), Context("demo"))
    assert [row.cells[4].strong for row in built.body] == [False, True, False]
    assert [row.cells[1].text for row in built.body] == ["", "1–2 a", "1–2 a"]


def test_letters_are_tie_groups() -> None:
    lines = [(1, 1, 1), (2, 4, 2), (11, 11, 26), (30, 31, 27)]
    said = [place(dict(zip(("rank_low", "rank_high", "tie_group"), line, strict=True))) for line in lines]
    assert said == ["1 a", "2–4 b", "11 z", "30–31 (27)"]


def test_missing_instances_blank_the_mean_and_come_last(pair: pd.DataFrame) -> None:
    built = build_table("leaderboard", pair.iloc[1:], Context("demo", expected_instances={("ours", "toy"): 4}))
    assert texts(built)[-1] == ["toy", "", "ours", "single", "–", "–", "3", "–", "0"]
    assert built.footnotes == ("1 of 4 instances have no row; a mean over the others is not shown.",)


def test_too_many_instances_blank_it_too(pair: pd.DataFrame) -> None:
    built = build_table("leaderboard", pair, Context("demo", expected_instances={("ours", "toy"): 3}))
    assert texts(built)[-1][4] == "–"
    assert built.footnotes == ("4 instances where 3 were expected; their mean is not shown.",)


def test_boundary_iou_that_was_not_asked_for_is_a_dash(pair: pd.DataFrame) -> None:
    built = build_table("leaderboard", pair.assign(boundary_iou=None), Context("demo"))
    assert [line[5] for line in texts(built)] == ["–", "–"]
    (said,) = built.footnotes
    assert said.startswith("None of 4 segmented instances has this score")


def test_scores_that_are_all_nan_are_counted(pair: pd.DataFrame) -> None:
    for name in ("table1", "leaderboard"):
        built = build_table(name, pair.assign(iou=float("nan")), Context("demo"))
        assert any("None of 4 segmented instances" in note for note in built.footnotes), name


def test_boundary_iou_over_a_part_is_said(pair: pd.DataFrame) -> None:
    pair.loc[0, "boundary_iou"] = None
    built = build_table("leaderboard", pair, Context("demo"))
    unscored, fewer = built.body[0].cells[5].notes
    assert unscored == "1 of 4 instances were segmented but not scored, and are not in the mean."
    assert fewer.startswith("Over 3 instances, others over 4")


def test_weights_are_footnotes(pair: pd.DataFrame) -> None:
    facts = {"ours": MethodFacts(trained_on="coco", weights="ours.pth"), "click": MethodFacts(trained_on="scenes")}
    built = build_table("leaderboard", pair, Context("demo", labels=facts))
    assert built.footnotes == ("Out of domain: trained on coco, evaluated on scenes.", "Weights: ours.pth")


def test_training_images_that_are_asked_again_are_footnotes(pair: pd.DataFrame) -> None:
    built = build_table("leaderboard", pair, Context("demo", training_images_asked={("ours", "toy"): 2}))
    assert built.footnotes == ("Trained on 2 of the images that it is asked on here: not a result on new images.",)


def test_each_data_set_starts_a_section(pair: pd.DataFrame) -> None:
    built = build_table("leaderboard", pd.concat([pair, pair.assign(dataset="a")]), Context("demo"))
    assert [row.starts_section for row in built.body] == [True, False, True, False]


MISSED = {"higher_is_better": False, "bounds": [0, None], "unit": "px"}


def test_a_metric_of_one_s_own_is_a_column_in_its_unit_whose_least_is_the_best(pair: pd.DataFrame) -> None:
    rows = pair.assign(missed_px=lambda own: 100 * (1 - own["iou"]))
    built = build_table("leaderboard", rows, Context("demo", metrics={"iou": {}, "missed_px": MISSED}))
    at = [column.heading for column in built.columns].index("missed_px@1 (px, lower is better)")
    assert [(row.cells[at].text, row.cells[at].strong) for row in built.body] == [("30.00", True), ("50.00", False)]
    assert built.notes[0].startswith("Means over instances, in percent but for missed_px (px, lower is better); w is")


def test_without_iou_the_run_s_first_metric_orders_and_ranks(pair: pd.DataFrame) -> None:
    many = pd.concat([pair.assign(image_id=f"{n}", instance_id=pair["instance_id"] + f"{n}") for n in range(20)])
    rows = many.assign(missed_px=lambda own: 100 * (1 - own["iou"])).drop(columns=["iou", "boundary_iou"])
    built = build_table("leaderboard", rows, Context("demo", metrics={"missed_px": MISSED}))
    assert [row[:6] for row in texts(built)] == [
        ["toy", "1 a", "ours", "single", "30.00", "–"],
        ["toy", "2 b", "click", "single", "50.00", "–"],
    ]
