from typing import Any

import pandas as pd
import pytest

from harness.report.build import build_table
from harness.report.context import Asked, Context, MethodFacts
from harness.report.layout import Table
from harness.report.rendering.markdown import to_markdown
from harness.report.tables.leaderboard import AS_WORST, ORACLE, RANKED, place


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row.cells] for row in table.body]


@pytest.mark.slow
def test_exactly(pair: pd.DataFrame, make_row: Any) -> None:
    sam = [make_row("SAM", f"{i}{n}", 0.6, ranking=r) for r in ("clip", "oracle") for i in "AB" for n in (1, 2)]
    rows = pd.concat([pair, pd.DataFrame([*sam[:7], make_row("SAM", "B2", None)])])
    rows = rows[~((rows["instance_id"] == "B2") & (rows["ranking"] == "clip"))]
    assert to_markdown(build_table("leaderboard", rows, Context("demo"))) == (
        "**Leaderboard (run demo)**\n\n"
        "| Dataset | Rank | Method | Ranking | mIoU@1 | boundary mIoU@1 | n | w | Failed | Failed as 0 |\n"
        "| :-- | --: | :-- | :-- | --: | --: | --: | --: | --: | --: |\n"
        "| toy | 1–2 a | ours | single | **70.00** | **35.00** | 4 | 0.500 | 0 | **70.00** |\n"
        "| toy | 1–2 a | click | single | 50.00 | 25.00 | 4 | 0.500 | 0 | 50.00 |\n"
        "| toy |  | SAM | clip | 60.00 ¹ | 30.00 ¹ | 3 | 0.667 | 1 | 45.00 |\n"
        "| toy |  | SAM | oracle ² | 60.00 ¹ | 30.00 ¹ | 3 | 0.667 | 1 | 45.00 |\n\n"
        "- ¹ Over 3 instances, others over 4: it has no rank and is never marked as the best; gains are over "
        "the same instances.\n"
        f"- ² {ORACLE}\n"
        "- Means over instances, in percent; w is the share of seen instances.\n"
        f"- {RANKED}\n"
        f"- {AS_WORST.format('0')}\n"
    )


def failing(rows: pd.DataFrame, method: str, of: str, *instances: str) -> pd.DataFrame:
    """The rows with a further method that answers as another does, and fails on these instances."""
    own = rows[rows["method"] == of].assign(method=method)
    lost = own["instance_id"].isin(instances)
    scores = {name: own[name].mask(lost) for name in ("iou", "boundary_iou")}
    return pd.concat([rows, own.assign(status=own["status"].mask(lost, "failed"), **scores)], ignore_index=True)


@pytest.mark.slow
def test_failing_on_the_hard_instances_does_not_win(pair: pd.DataFrame) -> None:
    """The same weights without their worst instance: 80.00 against 70.00, and neither first, bold nor ranked."""
    built = build_table("leaderboard", failing(pair, "cheat", "ours", "B2"), Context("demo"))
    shown = [(row.cells[2].text, row.cells[1].text, row.cells[4].text, row.cells[4].strong) for row in built.body]
    assert shown == [
        ("ours", "1–2 a", "70.00", True),
        ("cheat", "", "80.00", False),
        ("click", "1–2 a", "50.00", False),
    ]
    assert [row.cells[-1].text for row in built.body] == ["70.00", "60.00", "50.00"], "with failures as 0"
    one = build_table("table1", failing(pair, "cheat", "ours", "B2"), Context("demo"))
    assert {row.cells[3].text.split()[0]: row.cells[3].strong for row in one.body} == {
        "70.00": True,
        "80.00": False,
        "50.00": False,
    }


@pytest.mark.slow
def test_as_many_instances_are_not_the_same_instances(pair: pd.DataFrame) -> None:
    """One fails on the easiest, one on the hardest: neither is the best of the two. Both on one: one is."""
    both = failing(failing(pair, "hard", "ours", "B2"), "easy", "ours", "A1")
    rows = both[both["method"].isin(["hard", "easy"])]
    built = build_table("leaderboard", rows, Context("demo"))
    assert [(row.cells[2].text, row.cells[1].text, row.cells[4].strong) for row in built.body] == [
        ("hard", "", False),
        ("easy", "", False),
    ]
    assert "Over 3 instances, not those of easy: the means cannot be compared." in built.footnotes
    alike = failing(failing(pair, "a", "ours", "B2"), "b", "click", "B2")
    built = build_table("leaderboard", alike[alike["method"].isin(["a", "b"])], Context("demo"))
    assert [(row.cells[1].text, row.cells[4].strong) for row in built.body] == [("1–2 a", True), ("1–2 a", False)]


def test_a_method_with_clicks_of_its_own_has_no_rank_among_the_others(pair: pd.DataFrame) -> None:
    one, two = (Asked("paper/v1", {}, count, "given") for count in (1, 2))
    rows = failing(pair, "twice", "ours").assign(iou=lambda own: own["iou"].mask(own["method"] == "twice", 0.95))
    asked = {("ours", "toy"): one, ("click", "toy"): one, ("twice", "toy"): two}
    built = build_table("leaderboard", rows, Context("demo", asked=asked))
    assert [(row.cells[2].text, row.cells[1].text, row.cells[4].strong) for row in built.body] == [
        ("ours", "1–2 a", True),
        ("click", "1–2 a", False),
        ("twice", "", False),
    ]
    said = (
        "Asked with 2 clicks by paper/v1, others with 1 click by paper/v1: it has no rank among them and is never "
        "marked as the best."
    )
    assert built.body[-1].cells[2].notes == (said,)


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


@pytest.mark.parametrize(
    ("facts", "outside"),
    [
        (MethodFacts(trained_on="coco and scenes", trained_data=("coco", "scenes")), False),
        (MethodFacts(trained_on="Scenes + LVIS"), False),
        (MethodFacts(trained_on="my drawings", trained_data=("scenes",)), False),
        (MethodFacts(trained_on="refscenes"), True),
        (MethodFacts(), False),
    ],
)
def test_none_of_several_training_data_sets_is_out_of_domain(
    pair: pd.DataFrame, facts: MethodFacts, outside: bool
) -> None:
    built = build_table("leaderboard", pair, Context("demo", labels={"ours": facts}))
    said = f"Out of domain: trained on {facts.trained_on}, evaluated on scenes."
    assert built.footnotes == ((said,) if outside else ())


def test_training_images_that_are_asked_again_are_footnotes(pair: pd.DataFrame) -> None:
    built = build_table("leaderboard", pair, Context("demo", training_images_asked={("ours", "toy"): 2}))
    assert built.footnotes == ("Trained on 2 of the images that it is evaluated on here: not a result on new images.",)


def test_each_data_set_starts_a_section(pair: pd.DataFrame) -> None:
    built = build_table("leaderboard", pd.concat([pair, pair.assign(dataset="a")]), Context("demo"))
    assert [row.starts_section for row in built.body] == [True, False, True, False]


MISSED = {"higher_is_better": False, "bounds": [0, None], "unit": "px"}


def test_a_metric_of_one_s_own_is_a_column_in_its_unit_whose_least_is_the_best(pair: pd.DataFrame) -> None:
    rows = pair.assign(missed_px=lambda own: 100 * (1 - own["iou"]))
    built = build_table("leaderboard", rows, Context("demo", metrics={"iou": {}, "missed_px": MISSED}))
    at = [column.heading for column in built.columns].index("missed_px@1 (px, lower is better)")
    assert [(row.cells[at].text, row.cells[at].strong) for row in built.body] == [("30.00", True), ("50.00", False)]
    assert built.notes[0].startswith("Means over instances, in percent except missed_px (px, lower is better); w is")


def test_without_iou_the_run_s_first_metric_orders_and_ranks(pair: pd.DataFrame) -> None:
    many = pd.concat([pair.assign(image_id=f"{n}", instance_id=pair["instance_id"] + f"{n}") for n in range(20)])
    rows = many.assign(missed_px=lambda own: 100 * (1 - own["iou"])).drop(columns=["iou", "boundary_iou"])
    built = build_table("leaderboard", rows, Context("demo", metrics={"missed_px": MISSED}))
    assert [row[:6] for row in texts(built)] == [
        ["toy", "1 a", "ours", "single", "30.00", "–"],
        ["toy", "2 b", "click", "single", "50.00", "–"],
    ]
