from typing import Any

import pandas as pd

from harness.report import Context, MethodFacts, build_table
from harness.report.layout import Table, to_markdown


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


def test_exactly(pair: pd.DataFrame, make_row: Any) -> None:
    sam = [make_row("SAM", f"{i}{n}", 0.6, ranking=r) for r in ("clip", "oracle") for i in "AB" for n in (1, 2)]
    rows = pd.concat([pair, pd.DataFrame([*sam[:7], make_row("SAM", "B2", None)])])
    rows = rows[~((rows["instance_id"] == "B2") & (rows["ranking"] == "clip"))]
    assert to_markdown(build_table("leaderboard", rows, Context("demo"))) == (
        "**Leaderboard (run demo)**\n\n"
        "| Dataset | Method | Ranking | mIoU@1 | boundary mIoU@1 | n | w | Failed |\n"
        "| :-- | :-- | :-- | --: | --: | --: | --: | --: |\n"
        "| toy | ours | single | 70.00 | 35.00 | 4 | 0.500 | 0 |\n"
        "| toy | SAM | clip | 60.00 | 30.00 | 3 | 0.667 | 1 |\n"
        "| toy | SAM | oracle ¹ | 60.00 | 30.00 | 3 | 0.667 | 1 |\n"
        "| toy | click | single | 50.00 | 25.00 | 4 | 0.500 | 0 |\n\n"
        "- ¹ Of a click's masks the one with the best IoU, chosen with the ground truth: a bound, not a method.\n"
        "- Means over instances, in percent; w is the share of seen instances.\n"
    )


def test_missing_instances_blank_the_mean_and_come_last(pair: pd.DataFrame) -> None:
    built = build_table("leaderboard", pair.iloc[1:], Context("demo", expected_instances={("ours", "toy"): 4}))
    assert texts(built)[-1] == ["toy", "ours", "single", "–", "–", "3", "–", "0"]
    assert built.footnotes == ("1 of 4 instances have no row; a mean over the others is not shown.",)


def test_too_many_instances_blank_it_too(pair: pd.DataFrame) -> None:
    built = build_table("leaderboard", pair, Context("demo", expected_instances={("ours", "toy"): 3}))
    assert texts(built)[-1][3] == "–"
    assert built.footnotes == ("4 instances where 3 were expected; their mean is not shown.",)


def test_boundary_iou_that_was_not_asked_for_is_a_dash(pair: pd.DataFrame) -> None:
    built = build_table("leaderboard", pair.assign(boundary_iou=None), Context("demo"))
    assert [line[4] for line in texts(built)] == ["–", "–"]
    assert built.footnotes == ()


def test_boundary_iou_over_a_part_is_said(pair: pd.DataFrame) -> None:
    pair.loc[0, "boundary_iou"] = None
    built = build_table("leaderboard", pair, Context("demo"))
    assert built.body[0].cells[4].notes == ("1 of 4 instances were segmented but not scored, and are not in the mean.",)


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
