"""The leaderboard of several runs: what merges, what is refused, what a line says."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pandas as pd
import pytest

from harness import UserError
from harness.config.run_config import load_run
from harness.report.board import board, linked, named_for_others
from harness.report.context import Asked, Context, MethodFacts, limited_said
from harness.report.layout import Table
from harness.report.rendering.formats import FORMATS, rendered
from harness.report.several_runs import Source, entries, expecting_alike, scales_of
from harness.report.shortfalls import shortfalls
from harness.results.recorded import recorded_at
from harness.running.one_run import run
from harness.storage.manifest import JobFacts
from toy_runs import SHOWN, TOYS, WIDE, Quiet, written

Command = Callable[..., CompletedProcess[str]]


def source(folder: str, rows: pd.DataFrame, limited: int | None = None, **parts: str) -> Source:
    """A run with its manifest; parts are those of all its jobs."""
    labels = list(rows["method"].unique())
    made = {"clicks": "c1", "text": "t1", "seed": "0", "dataset": "d1"} | parts
    jobs = {
        f"{method}-{dataset}": {
            "method": method,
            "dataset": dataset,
            "parts": made,
            "about": {"weights_sha256": {"checkpoint": f"{method:0<64}"}, "training_images_asked": 2},
        }
        for method, dataset in rows[["method", "dataset"]].drop_duplicates().itertuples(index=False)
    }
    config = {"methods": [{"name": name, "label": name, "text": None, "clicks": None} for name in labels]}
    manifest = {"config": config, "jobs": jobs, "starts": [{"commit": "0123456789abcdef"}]}
    limits = dict.fromkeys(rows["dataset"].unique(), limited) if limited else {}
    context = Context(folder, limits, {name: MethodFacts(trained_on="coco") for name in labels})
    return Source(folder, rows, context, manifest)


def texts(table: Table) -> list[dict[str, str]]:
    heads = [f"{column.group} {column.heading}".strip() for column in table.columns]
    return [dict(zip(heads, (cell.text for cell in row.cells), strict=True)) for row in table.body]


@pytest.mark.slow
def test_a_line_says_what_made_it(pair: pd.DataFrame) -> None:
    rows = pair.assign(encode_ms=[10.0, 10.0, 30.0, 30.0] * 2, segment_ms=[1.0, 2.0, 3.0, 4.0] * 2)
    first = texts(board(entries([source("runs/a", rows)])))[0]
    assert first == {
        "Method": "ours",
        "Weights": "checkpoint ours0000",
        "Trained on": "coco",
        "toy Rank": "1–2 a",
        "toy Overall": "70.00",
        "toy Seen": "85.00",
        "toy Unseen": "55.00",
        "toy n": "4",
        "toy Failed": "0",
        "toy, boundary Overall": "35.00",
        "toy, boundary Seen": "42.50",
        "toy, boundary Unseen": "27.50",
        "encode ms p50": "20.0",
        "encode ms p95": "29.0",
        "segment ms p50": "2.5",
        "segment ms p95": "3.8",
        "s / 1000 masks": "12.5",
        "peak MiB memory": "–",
        "peak MiB GPU": "–",
        "Run": "runs/a @ 01234567",
    }


@pytest.mark.slow
def test_peaks_are_the_most_of_all_starts_and_data_sets(pair: pd.DataFrame) -> None:
    run = source("runs/a", pd.concat([pair, pair.assign(dataset="z")]))
    jobs = run.manifest["jobs"]
    for name, job in jobs.items():
        job["parts"] = {**job["parts"], "method": name}
    keys = {dataset: JobFacts(**jobs[f"ours-{dataset}"]).made_of for dataset in ("toy", "z")}
    early = {keys["toy"]: {"memory_mib": 900, "gpu_mib": 0}, keys["z"]: {"memory_mib": 700, "gpu_mib": 31}}
    run.manifest["starts"].extend([{"peaks": early}, {"peaks": {keys["toy"]: {"memory_mib": 0, "gpu_mib": 0}}}, {}])
    lines = {line["Method"]: line for line in texts(board(entries([run])))}
    assert [lines["ours"][f"peak MiB {name}"] for name in ("memory", "GPU")] == ["900", "31"]
    assert [lines["click"][f"peak MiB {name}"] for name in ("memory", "GPU")] == ["–", "–"]
    assert entries([run]).set_index(["method", "dataset"]).loc[("ours", "z"), "peak_gpu_mib"] == 31


@pytest.mark.slow
def test_runs_on_several_data_sets_share_a_line(pair: pd.DataFrame) -> None:
    runs = [source("runs/a", pair), source("runs/b", pair.assign(dataset="z", iou=pair["iou"] / 2))]
    lines = texts(board(entries(runs)))
    assert [(line["Method"], line["toy Overall"], line["z Overall"]) for line in lines] == [
        ("ours", "70.00", "35.00"),
        ("click", "50.00", "25.00"),
    ]
    assert lines[0]["Run"] == "runs/a @ 01234567, runs/b @ 01234567"


@pytest.mark.slow
def test_what_two_runs_print_alike_is_one_line_and_otherwise_two(pair: pd.DataFrame) -> None:
    same = board(entries([source("runs/a", pair), source("runs/b", pair.assign(iou=pair["iou"] + 1e-9))]))
    assert [line["Method"] for line in texts(same)] == ["ours", "click"]
    assert texts(same)[0]["toy Rank"] == "1–2 a"
    other = board(entries([source("runs/a", pair), source("runs/b", pair.assign(iou=pair["iou"] - 0.01))]))
    assert [(line["Method"], line["Run"][:6]) for line in texts(other)] == [
        ("ours", "runs/a"),
        ("ours", "runs/b"),
        ("click", "runs/a"),
        ("click", "runs/b"),
    ]


@pytest.mark.slow
def test_a_line_of_two_runs_has_every_metric_that_either_measured(pair: pd.DataFrame) -> None:
    both, fewer = source("runs/a", pair), source("runs/b", pair.assign(boundary_iou=float("nan")))
    for runs in ([both, fewer], [fewer, both]):
        lines = texts(board(entries(runs)))
        assert len(lines) == 2 and not any("–" in line["toy, boundary Overall"] for line in lines), lines
    other = source("runs/b", pair.assign(boundary_iou=pair["boundary_iou"] / 2))
    assert len(texts(board(entries([both, other])))) == 4


@pytest.mark.slow
@pytest.mark.parametrize("part", ["clicks", "text", "seed", "dataset"])
def test_runs_that_were_asked_otherwise_are_refused(pair: pd.DataFrame, part: str) -> None:
    runs = [source("runs/a", pair), source("runs/b", pair.assign(method=pair["method"] + "2"), **{part: "x9"})]
    with pytest.raises(UserError, match=rf"toy, {part}: .* in runs/a; x9 in runs/b.* --mix"):
        entries(runs)
    mixed = entries(runs, mix=True)
    assert len(mixed) == 4 and set(mixed["rank"]) == {""}
    assert not any(cell.strong for row in board(mixed).body for cell in row.cells)


@pytest.mark.slow
def test_a_limited_run_is_not_merged_with_a_whole_one_and_says_so(pair: pd.DataFrame) -> None:
    with pytest.raises(UserError, match=r"5 samples at most in runs/b"):
        entries([source("runs/a", pair), source("runs/b", pair, limited=5)])
    assert board(entries([source("runs/b", pair, limited=5)])).title.startswith("LIMITED to 5 samples: ")


@pytest.mark.slow
def test_a_limit_of_another_data_set_is_none_of_this_one(tmp_path: Path) -> None:
    six, cut = TOYS, {**TOYS, "label": "cut"}
    few = {"datasets": [six, cut], "only": {"cut": ["toy-1", "toy-2"]}}
    for path in (written(tmp_path / "a.yaml"), written(tmp_path / "b.yaml", methods=[WIDE], **few, **SHOWN)):
        finished = run(load_run(path), Quiet(), runs=str(tmp_path))
    assert finished.tables[0].title.startswith("LIMITED to 2 samples of cut: Leaderboard")
    made = [recorded_at(tmp_path / name) for name in "ab"]
    both = entries([Source(one.config.run, one.rows(), one.context(one.rows()), one.store.manifest()) for one in made])
    assert both.groupby("dataset")["limited_to_samples"].max().fillna(0).to_dict() == {"cut": 2, "toys": 0}
    assert limited_said({"a": 1}, "a") == "1 sample" and limited_said({}, "ab") == ""


@pytest.mark.slow
def test_a_methods_own_words_are_its_own_affair_and_a_footnote(pair: pd.DataFrame) -> None:
    run = source("runs/a", pair)
    run.manifest["config"]["methods"][0]["text"] = {"rule": "none"}
    run.manifest["jobs"]["ours-toy"]["parts"] = {**run.manifest["jobs"]["ours-toy"]["parts"], "text": "t2"}
    built = board(entries([run, source("runs/b", pair.assign(method="third").drop_duplicates("instance_id"))]))
    assert "This method had a text rule of its own: t2." in built.footnotes


@pytest.mark.slow
def test_a_run_that_lacks_what_another_has_shows_no_mean_of_a_part(pair: pd.DataFrame) -> None:
    """Its worst instance has no row: 80.00 over three would be first, and is a dash."""
    short = pair[(pair["method"] == "ours") & (pair["instance_id"] != "B2")].assign(method="short")
    sources = expecting_alike([source("runs/a", pair), source("runs/b", short)])
    found = entries(sources)
    last = texts(board(found))[-1]
    assert (last["Method"], last["toy Overall"], last["toy Rank"]) == ("short", "–", "")
    said = [shortfalls(one.folder, one.final, one.context) for one in sources]
    assert said == [(), ("runs/b: 1 of 4 instances of toy have no row of short.",)]


@pytest.mark.slow
def test_a_run_that_fails_on_the_hard_instances_does_not_win(pair: pd.DataFrame) -> None:
    """80.00 over the three easiest of four is neither first, bold nor ranked, and the failure is counted."""
    own = pair[pair["method"] == "ours"].assign(method="cheat")
    lost = own["instance_id"] == "B2"
    own = own.assign(status=own["status"].mask(lost, "failed"), iou=own["iou"].mask(lost))
    built = board(entries([source("runs/a", pair), source("runs/b", own)]))
    names = ["Method", "toy Rank", "toy Overall", "toy n", "toy Failed", "toy Failed as 0"]
    assert [[line[name] for name in names] for line in texts(built)] == [
        ["ours", "1–2 a", "70.00", "4", "0", "70.00"],
        ["cheat", "", "80.00", "3", "1", "60.00"],
        ["click", "1–2 a", "50.00", "4", "0", "50.00"],
    ]
    assert [row.cells[4].strong for row in built.body] == [True, False, False]
    assert (
        "Over 3 instances, others over 4: it has no rank and is never marked as the best."
        in built.body[1].cells[4].notes
    )


@pytest.mark.slow
def test_seen_means_over_other_classes_have_no_best(pair: pd.DataFrame) -> None:
    """Where each method has seen classes of its own, as on a data set without a split, only the overall mean does."""
    more = (pair["method"] == "click") & (pair["instance_id"] == "A2")  # click was trained on its class, too
    found = entries([source("runs/a", pair.assign(seen=pair["seen"] | more))])
    built = board(found)
    names = ["Method", "toy Overall", "toy Seen", "toy Unseen"]
    assert [[line[name] for name in names] for line in texts(built)] == [
        ["ours", "70.00", "85.00", "55.00"],
        ["click", "50.00", "60.00", "20.00"],
    ]
    assert [[cell.strong for cell in row.cells[4:7]] for row in built.body] == [[True, False, False], [False] * 3]
    assert list(zip(found["iou_n"], found["iou_n_seen"], found["iou_n_unseen"], strict=True)) == [(4, 2, 2), (4, 3, 1)]


@pytest.mark.slow
def test_two_runs_that_print_other_seen_means_are_two_lines(pair: pd.DataFrame) -> None:
    corrected = pair.assign(seen=pair["seen"] | (pair["instance_id"] == "A2"))
    lines = texts(board(entries([source("runs/a", pair), source("runs/b", corrected)])))
    assert [(line["Method"], line["toy Overall"], line["toy Seen"], line["Run"][:6]) for line in lines] == [
        ("ours", "70.00", "85.00", "runs/a"),
        ("ours", "70.00", "80.00", "runs/b"),
        ("click", "50.00", "75.00", "runs/a"),
        ("click", "50.00", "60.00", "runs/b"),
    ]


@pytest.mark.slow
def test_methods_with_clicks_of_their_own_stand_apart_in_words(pair: pd.DataFrame) -> None:
    run, twice = (
        source("runs/a", pair),
        source("runs/b", pair[pair["method"] == "ours"].assign(method="twice", iou=0.9)),
    )
    twice.manifest["config"]["methods"][0]["clicks"] = {"max_clicks": 2}
    twice.manifest["jobs"]["twice-toy"]["parts"] = {**twice.manifest["jobs"]["twice-toy"]["parts"], "clicks": "c2"}
    asked = {("twice", "toy"): Asked("paper/v1", {}, 2, "given")}
    usual = {(name, "toy"): Asked("paper/v1", {}, 1, "given") for name in ("ours", "click")}
    runs = [replace(one, context=replace(one.context, asked=how)) for one, how in ((run, usual), (twice, asked))]
    built = board(entries(runs))
    assert [(line["Method"], line["toy Rank"]) for line in texts(built)] == [
        ("ours", "1–2 a"),
        ("click", "1–2 a"),
        ("twice", ""),
    ]
    assert [row.cells[4].strong for row in built.body] == [True, False, False]
    said = (
        "Asked with 2 clicks by paper/v1, others with 1 click by paper/v1: it has no rank among them and is never "
        "marked as the best."
    )
    assert said in built.footnotes and not any("c2" in note for note in built.footnotes)


@pytest.mark.slow
def test_methods_of_more_data_sets_stand_first(pair: pd.DataFrame) -> None:
    """An easy data set alone lifts no method above those that were asked on the hard one, too."""
    easy = pair[pair["method"] == "ours"].assign(method="easy", dataset="z", iou=0.99)
    runs = [source("runs/a", pd.concat([pair, pair.assign(dataset="z")])), source("runs/b", easy)]
    assert [line["Method"] for line in texts(board(entries(runs)))] == ["ours", "click", "easy"]


@pytest.mark.slow
def test_contamination_is_a_footnote(pair: pd.DataFrame) -> None:
    run = source("runs/a", pair)
    asked = Context("a", labels=run.context.labels, training_images_asked={("ours", "toy"): 2})
    built = board(entries([Source(run.folder, run.rows, asked, run.manifest)]))
    assert any("Trained on 2 of the images" in note for note in built.body[0].cells[4].notes)
    assert entries([run])["training_images_asked"].tolist() == [2, 2]


@pytest.mark.slow
def test_missing_rows_and_failures(pair: pd.DataFrame, make_row: Any) -> None:
    rows = pd.concat([pair.iloc[1:], pd.DataFrame([make_row("gone", name, None) for name in ("A1", "A2", "B1", "B2")])])
    lines = {line["Method"]: line for line in texts(board(entries([source("runs/a", rows)])))}
    assert lines["ours"]["toy Overall"] == "–" and lines["gone"]["toy n"] == "0"
    assert lines["click"]["toy Rank"] == "1 a"


@pytest.mark.slow
def test_boundary_iou_over_a_part_is_said_where_it_stands(pair: pd.DataFrame) -> None:
    pair.loc[0, "boundary_iou"] = None
    made = board(entries([source("runs/a", pair)]))
    heads = [f"{column.group} {column.heading}".strip() for column in made.columns]
    cells = dict(zip(heads, made.body[0].cells, strict=True))
    assert any(
        "1 of 4 instances were segmented but not scored" in note for note in cells["toy, boundary Overall"].notes
    )
    assert not any("not scored" in note for note in cells["toy Overall"].notes)


@pytest.mark.slow
def test_runs_lead_to_their_manifests(pair: pd.DataFrame, tmp_path: Path) -> None:
    """From the folder of the file that is written; names that would end a link or a table's cell are spelled out."""
    sources = [source(name, pair) for name in (f"{tmp_path}/runs/a b)|<", "s3://bucket/run")]
    found = entries(sources)
    made = linked(board(found), found, tmp_path / "out" / "l.md")
    markdown, html = (rendered([made], form).decode() for form in ("md", "html"))
    assert r"(<../runs/a%20b%29%7C%3C/manifest.json>)" in markdown and "(<s3://bucket/run/manifest.json>)" in markdown
    assert '<a href="../runs/a%20b%29%7C%3C/manifest.json">' in html and 'href="s3://bucket/run/manifest.json"' in html
    assert all(len(row.cells[-1].links) == 2 for row in made.body), "one line of two runs that print alike"


@pytest.mark.slow
def test_a_leaderboard_names_no_folder_of_this_machine(pair: pd.DataFrame, tmp_path: Path) -> None:
    names = named_for_others(["/home/a/x", "/home/b/x", "/home/b/y/", "runs/z", "s3://bucket/x", "../x"])
    assert list(names.values()) == ["a/x", "b/x", "y", "runs/z", "s3://bucket/x", "../x"]
    run = str(tmp_path / "runs" / "x")
    names = named_for_others([run])
    found = entries([source(names[run], pair)])
    for out in (tmp_path / "out" / "l.md", Path("/elsewhere/l.md"), None):
        made = linked(board(found, [f"{run} is old."]), found, out, {"x": run})
        for form in FORMATS:
            assert str(tmp_path)[1:].encode() not in rendered([made], form)
    assert b".../x is old." in rendered([made], "md")


def test_no_runs_and_no_rows() -> None:
    empty = board(entries([]))
    assert empty.notes == ("No rows.",) and b"No rows." in rendered([empty], "md")


@pytest.mark.slow
def test_a_metric_of_one_s_own_has_columns_in_its_unit_and_must_be_declared_alike(pair: pd.DataFrame) -> None:
    said = {"higher_is_better": False, "bounds": [0, None], "unit": "px"}
    rows = pair.assign(missed_px=lambda own: 100 * (1 - own["iou"]))
    runs = [source(f"runs/{name}", rows.assign(dataset=name)) for name in ("a", "b")]
    runs = [replace(run, context=replace(run.context, metrics={"iou": {}, "missed_px": said})) for run in runs]
    shown = board(entries(runs), scales=scales_of(runs))
    first, second = texts(shown)
    assert (first["a, missed_px (px, lower is better) Overall"], second["b, missed_px (px, lower is better) Seen"]) == (
        "30.00",
        "25.00",
    )
    heads = [f"{column.group} {column.heading}" for column in shown.columns]
    at = heads.index("a, missed_px (px, lower is better) Overall")
    assert [row.cells[at].strong for row in shown.body] == [True, False]
    other = replace(runs[1], context=replace(runs[1].context, metrics={"missed_px": said | {"unit": "mm"}}))
    with pytest.raises(UserError, match="found 'missed_px' declared as .* in runs/a and as .* in runs/b"):
        entries([runs[0], other])


@pytest.mark.slow
def test_the_columns_of_metrics_named_n_mean_and_notes_do_not_meet(pair: pd.DataFrame) -> None:
    names = ("iou", "n", "mean", "notes")
    rows = pair.assign(n=0.25, mean=0.5, notes=0.75)
    run = source("runs/a", rows)
    found = entries([replace(run, context=replace(run.context, metrics={name: {} for name in names}))])
    assert set(found["n_mean"]) == {0.25} and set(found["mean_mean"]) == {0.5} and set(found["notes_mean"]) == {0.75}
    assert list(found["mean_n"]) == list(found["n_n"]) == list(found["iou_n"]) and (found["iou_n"] > 1).all()


@pytest.mark.slow
def test_runs_that_were_mixed_say_so_in_every_form(tmp_path: Path, here: Command) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        run(load_run(written(tmp_path / f"{name}.yaml", run=name, seed=seed)), Quiet(), runs=str(tmp_path))
    for form in ("terminal", "md", "csv", "html", "latex"):
        told = here("leaderboard", str(tmp_path / "a"), str(tmp_path / "b"), "--mix", "--format", form)
        assert told.returncode == 0 and "These runs differ in clicks, words or data, and must not be" in " ".join(
            told.stdout.split()
        ), form
