"""The command line as a user meets it: another process, its exit code, what it prints where."""

from __future__ import annotations

import http.client
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.numpy import save_file

from harness import UserError, cli, interrupts, places
from harness import __main__ as entry
from harness.cli import commands, listing, terminal
from harness.cli import run as running
from harness.config.recipe import load_recipe
from harness.plugins import parameters
from harness.results.reported import Finished
from harness.running.one_training import resumable
from toy_runs import written
from try_servers import Browser

ROOT = places.ROOT
Command = Callable[..., subprocess.CompletedProcess[str]]
INTERRUPTED = "Interrupted. What is done is kept: the same command goes on from here."


def _config(folder: Path, run: str, **changes: Any) -> Path:
    content = {
        "run": run,
        "datasets": [{"name": "far_away:Boxes", "params": {"count": 12}}],
        "methods": [{"name": "far_away:Disc", "label": "Disc [1/2]"}],
        "workers": {"executor": "local", "samples_per_shard": 1},
        "tables": ["leaderboard"],
    }
    path = folder / "a.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


def mounts() -> bool:
    """Whether this user may mount in a namespace of their own."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True).returncode == 0


def _shards(run: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (ROOT / "runs" / run / "shards").glob("*/*.parquet")}


def _events(out: str, name: str) -> list[dict[str, Any]]:
    """What was told on the way, by name."""
    told = [json.loads(line) for line in out.splitlines() if line.startswith('{"event"')]
    return [one for one in told if one["event"] == name]


def said(told: str) -> list[str]:
    """What stderr says, the lines that tell with a time how far it is left out."""
    return [line for line in told.splitlines() if not re.match(r"\d\d:\d\d:\d\d ", line)]


def _one_message(done: subprocess.CompletedProcess[str]) -> str:
    """What a mistake prints: one message, on stderr, and exit code 2."""
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.slow
def test_a_mistake_is_one_message_and_exit_code_2(
    harness_command: Command, elsewhere: Path, tmp_path: Path, run_name: str
) -> None:
    config = _config(tmp_path, run_name)
    done = harness_command("run", config, "--set", "tables=[leaderbord]", PYTHONPATH=str(elsewhere))
    assert "a.yaml, tables[0]: no table 'leaderbord'. Did you mean" in _one_message(done)
    assert not (ROOT / "runs" / run_name).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "runs/gone"], "runs/gone: no manifest.json in it; wanted the folder of a run"),
        (["report", "runs/gone", "--limit", "3"], "--set and --limit belong to a config"),
        (["verify", "runs/gone"], "runs/gone: no manifest.json in it; wanted the folder of a run"),
        (["merge", "runs/gone", "-o", "runs/gone_too"], "runs/gone: no manifest.json in it"),
        (
            ["run", "configs/quickstart.yaml", "--runs", "ftp://host/runs"],
            "Wanted a folder, or a bucket as s3://bucket/prefix",
        ),
        (["run", "configs/quickstart.yaml", "--limit", "0"], "--limit"),
        (["run", "configs/quickstart.yaml", "--resume"], "--resume: no such command or option."),
        (["resume", "runs/quickstart"], "resume: no such command or option."),
        (["compare"], "Missing argument 'RUN:METHOD'"),
        (["train", "configs/gone.yaml"], "error configs/gone.yaml: no such file."),
        (
            ["report", "configs/quickstart.yaml", "--set", "run=gone"],
            "no such run. Start it: python -m harness run",
        ),
    ],
    ids=["report", "limit", "verify", "merge", "bucket", "usage", "--resume", "resume", "compare", "recipe", "not yet"],
)
def test_what_is_no_run_or_recipe_is_one_message_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    monkeypatch.setattr("sys.argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as done:
        cli.main()
    printed = capsys.readouterr()
    assert (done.value.code, printed.out) == (2, "") and message in printed.err
    assert not (ROOT / "runs" / "gone").exists() and not (ROOT / "runs" / "gone_too").exists()


@pytest.mark.slow
def test_too_many_failures_are_exit_code_1_and_once_mended_they_are_redone_as_it_says(
    harness_command: Command, elsewhere: Path, tmp_path: Path, run_name: str
) -> None:
    config = _config(tmp_path, run_name, methods=[{"name": "far_away:Loser", "label": "[red]Loser"}])
    done = harness_command("run", config, "--set", "seed=3", PYTHONPATH=str(elsewhere))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    retry = f"python -m harness run {config} --set seed=3 --retry-failed"
    assert done.stderr.splitlines()[-3:] == [
        "1 of 1 instances failed: over max_failures=0.05 ([red]Loser on far_away:Boxes: 1 of 1), and the run was "
        "stopped. Reasons: 1 x segment: RuntimeError: nothing found (far_away.py, line 28). Their rows are kept as "
        "they are. If you mended files of the data, run under another name (--set run=...); if you mended anything "
        f"else: {retry}",
        f"{ROOT / 'runs' / run_name}: at least 11 of 12 instances of far_away:Boxes have no row of [red]Loser.",
        f"To compute what is missing: {retry}.",
    ]
    (failure,) = (line for line in done.stderr.splitlines() if "the first failure" in line)
    assert re.match(r"\d\d:\d\d:\d\d \[red\]Loser on far_away:Boxes: the first failure: .*nothing found", failure)

    mended = (elsewhere / "far_away.py").read_text().replace("raise ", "return super().predict(image, click, text) #")
    (elsewhere / "far_away.py").write_text(mended)
    done = harness_command(*retry.split()[3:], PYTHONPATH=str(elsewhere))
    assert done.returncode == 0 and "failed" not in done.stderr


@pytest.mark.parametrize(
    ("failed", "missing", "over", "said"),
    [
        (0, 0, False, ""),
        (
            3,
            0,
            False,
            "3 of 90 instances failed. Their rows are kept as they are. If you mended files of the data, run",
        ),
        (3, 0, True, "3 of 90 instances failed: over max_failures=0.01. Their rows"),
        (3, 9, True, "3 of 90 instances failed: over max_failures=0.01, and the run was stopped. Their rows"),
    ],
)
def test_what_is_said_of_failures(
    capsys: pytest.CaptureFixture[str], failed: int, missing: int, over: bool, said: str
) -> None:
    running._warn_failed(Finished((), 90, failed, over, missing), 0.01, "again")
    told = capsys.readouterr().err
    assert told.startswith(said) and bool(told) == bool(said)


@pytest.mark.slow
def test_reasons_and_oddities_stand_in_the_closing_lines_and_in_the_report(here: Command, tmp_path: Path) -> None:
    """A broken image, a method that takes y for x, one that raises now and then, and tables that fail."""
    flaky = {"how": "raise", "at": 3, "once": str(tmp_path / "once")}
    odd = ["raises", "leaves", "empty", "short", "number"]
    config = written(
        tmp_path / "odd.yaml",
        datasets=[{"name": "fakes:Toys", "label": "toys", "params": {"count": 12, "unreadable": [1]}}],
        methods=[
            {"name": "fakes:Turned", "label": "turned"},
            {"name": "fakes:Fragile", "label": "flaky", "params": flaky},
        ],
        tables=["leaderboard", *(f"odd_tables:{one}" for one in odd), "odd_tables:sound"],
    )
    done = here("run", config, "--runs", tmp_path)
    report = (tmp_path / "odd" / "report.md").read_text()
    again = here("report", tmp_path / "odd")
    reason = "load: OSError: cut off after 7 bytes (fakes.py, line"
    turned = "turned on toys: in "
    retried = "flaky on toys: 2 of 23 instances were answered at a second try only, the first of them after segment: "
    assert done.returncode == again.returncode == 1 and "Traceback" not in done.stderr + again.stderr
    for told in (done.stderr, again.stderr):
        told = " ".join(told.split())
        assert f"2 of 46 instances failed. Reasons: 2 x {reason}" in told and turned in told
        assert f"{retried}RuntimeError: a bug in a plugin (fakes.py, line" in told
        assert "table 'odd_tables:raises' failed with KeyError: 'no such column' (odd_tables.py, line 11)." in told
        assert "table 'odd_tables:leaves' failed with RuntimeError: sys.exit(0)" in told
        assert "table 'odd_tables:empty' returned NoneType; wanted harness.report.layout.Table." in told
        assert "table 'odd_tables:short' returned 1 cells in row 1; wanted 2 of Cell, one per column." in told
        assert "table 'odd_tables:number' returned a cell with 0.5 in row 1; wanted a text." in told
    for told in (done.stdout, report):
        assert "A sound one" in told and "Leaderboard" in told and told.count("Not built") == len(odd)
        assert "Failed instances (run odd)" in told and reason in " ".join(told.split())
    assert turned in report and retried in report
    alone = here("report", tmp_path / "odd", "--table", "odd_tables:raises")
    assert alone.returncode == 2 and "table 'odd_tables:raises' failed with KeyError" in alone.stderr


def test_a_command_can_be_pasted() -> None:
    again = running._again(
        Path("my config.yaml"), ["a=[1, 2]", "b=3"], {"--limit": 7, "--address": None, "--runs": "s3://b/x"}
    )
    assert again == "python -m harness run 'my config.yaml' --set 'a=[1, 2]' --set b=3 --limit=7 --runs=s3://b/x"


@pytest.mark.slow
def test_try_says_where_its_page_is_and_ends_with_one_line(
    started: Callable[..., subprocess.Popen[str]], here: Command, tmp_path: Path
) -> None:
    methods = [{"name": f"tried:{name}", "label": name.lower()} for name in ("Marks", "Waits")]
    data = [{"name": "tried:Nested", "label": "nested"}]
    config = written(tmp_path / "r.yaml", methods=methods, datasets=data)
    process = started("try", config, "--port", 0)
    assert process.stdout
    (address,) = re.findall(r"http://127\.0\.0\.1:\d+/", next(line for line in process.stdout if "http" in line))
    question = {"source": "nested", "name": "nested-0", "clicks": [[9, 9, True]], "method": "marks"}
    assert Browser(address).post("predict", **question)[1]["candidates"][0]["pixels"] == 25
    never_answered = http.client.HTTPConnection(Browser(address).host)
    body = json.dumps(question | {"method": "waits"})
    never_answered.request("POST", "/api/predict", body, {"Content-Type": "application/json"})
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)  # The method would wait for 60 s.
    assert process.returncode == 130 and told.strip() == "Ended."
    unwritable = here("try", config, "--record", config)
    assert unwritable.returncode == 2 and f"{config}: cannot be written (File exists)" in unwritable.stderr
    missing = here("try", config, "--images", tmp_path / "none")
    assert missing.returncode == 2 and "none: no such folder" in missing.stderr


@pytest.mark.slow
def test_an_interrupt_is_exit_code_130_and_keeps_what_is_done(
    started: Callable[..., subprocess.Popen[str]],
    here: Command,
    elsewhere: Path,
    tmp_path: Path,
    run_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = _config(tmp_path, run_name)
    process = started("run", config, PYTHONPATH=str(elsewhere), DISC_SLEEPS_S="0.5")
    give_up = time.monotonic() + 200
    while len(_shards(run_name)) < 2 and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "Interrupted. What is done is kept" in told and "Traceback" not in told
    kept = _shards(run_name)
    assert 2 <= len(kept) < 12

    monkeypatch.syspath_prepend(elsewhere)
    done = here("run", config, "--json")
    assert done.returncode == 0, done.stderr
    (resumed,) = _events(done.stdout, "resumed")
    assert (resumed["method"], resumed["images"], resumed["of"]) == ("Disc [1/2]", len(kept), 12)
    assert kept.items() <= _shards(run_name).items() and len(_shards(run_name)) == 12
    rows = pq.read_table(ROOT / "runs" / run_name / "results.parquet").to_pandas()
    assert len(rows) == 12 and (rows["status"] == "ok").all()
    assert (ROOT / "runs" / run_name / "report.md").read_text().strip()


@pytest.mark.slow
@pytest.mark.parametrize(("hears", "code"), [(signal.SIG_DFL, 130), (signal.SIG_IGN, 0)], ids=["told", "nohup"])
def test_a_run_whose_terminal_is_closed_ends_in_order_or_goes_on(
    elsewhere: Path, tmp_path: Path, run_name: str, hears: signal.Handlers, code: int
) -> None:
    told = tmp_path / "told"
    config = _config(tmp_path, run_name, on_end=[f"echo $HARNESS_EXIT_CODE > {told}"])
    environment = os.environ | {"PYTHONPATH": str(elsewhere), "DISC_SLEEPS_S": "0.5"}
    process, terminal_side = pty.fork()
    if process == 0:
        signal.signal(signal.SIGHUP, hears)
        os.chdir(ROOT)
        os.execve(sys.executable, [sys.executable, "-m", "harness", "run", str(config)], environment)
    give_up = time.monotonic() + 200
    while len(_shards(run_name)) < 2 and time.monotonic() < give_up:
        time.sleep(0.05)
    os.close(terminal_side)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == code
    assert told.read_text() == f"{code}\n"
    assert 2 <= len(_shards(run_name)) <= (12 if code == 0 else 11)
    assert (ROOT / "runs" / run_name / "report.md").exists() == (code == 0)
    assert not (ROOT / "runs" / run_name / "lock.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0, 0.5, 2])
def test_an_interrupt_while_it_starts_is_one_line(
    started: Callable[..., subprocess.Popen[str]], elsewhere: Path, tmp_path: Path, run_name: str, after_s: float
) -> None:
    config = _config(tmp_path, run_name)
    process = started("run", config, PYTHONPATH=str(elsewhere), DISC_SLEEPS_S="0.5")
    maps = Path(f"/proc/{process.pid}/maps")
    while "numpy" not in maps.read_text():  # Before its first import only Python itself could answer.
        time.sleep(0.01)
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert (process.returncode, said(told)) == (130, [INTERRUPTED])


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_a_run_that_a_larger_one_completes(
    harness_command: Command,
    here: Command,
    elsewhere: Path,
    tmp_path: Path,
    run_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("nobody but root may mount a small disk")
    try:
        config = _config(tmp_path, run_name)
        full = harness_command("run", config, "--runs", disk, PYTHONPATH=str(elsewhere))
        assert full.returncode == 2 and "Traceback" not in full.stderr
        assert "cannot be written (No space left on device). What was written before is kept" in full.stderr
        kept = len(list(disk.rglob("shards/*/*.parquet")))
        assert 1 <= kept < 12
        subprocess.run(["mount", "-o", "remount,size=10m", disk], check=True)
        monkeypatch.syspath_prepend(elsewhere)
        done = here("run", config, "--runs", disk, "--json")
        assert done.returncode == 0 and _events(done.stdout, "resumed")[0]["images"] == kept
        assert here("verify", disk / run_name).returncode == 0
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.slow
def test_runs_are_verified_merged_and_reported(
    here: Command, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(elsewhere)
    monkeypatch.setenv("HARNESS_RUNS", str(tmp_path))
    monkeypatch.setattr(terminal.console, "_width", 400)
    wide = {"name": "far_away:Disc", "label": "wide", "params": {"radius": 9}}
    assert here("run", _config(tmp_path, "a")).returncode == 0
    assert here("run", _config(tmp_path, "b", methods=[wide])).returncode == 0
    merged = here("merge", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "both")
    assert merged.returncode == 0 and "24 shards copied, 24 rows in results.parquet." in merged.stdout
    quoted = here("merge", tmp_path / "a", "-o", tmp_path / "R&D" / "both").stdout
    assert f"python -m harness verify '{tmp_path}/R&D/both'; python -m harness report '{tmp_path}/R&D/both'" in quoted
    proved = here("verify", tmp_path / "both")
    assert proved.returncode == 0 and proved.stderr == "" and proved.stdout.rstrip().endswith("both: complete.")
    assert "proved: wide on far_away:Boxes: 12 images, 12 instances x 1 ranking x 1 click = 12 rows" in proved.stdout

    shutil.rmtree(next((tmp_path / "both" / "shards").glob("wide-*")))
    lacking = here("verify", tmp_path / "both")
    assert lacking.returncode == 1 and "missing: wide on far_away:Boxes: 12 of 12 images" in lacking.stderr
    told = here("report", tmp_path / "both")
    assert (
        told.returncode == 1
        and "have no row of wide.\nTo compute what is missing: give the run's command again." in told.stderr
    )
    assert "12 of 12 instances have no row" in told.stdout


@pytest.mark.slow
@pytest.mark.skipif(not mounts(), reason="needs a mount namespace of its own: Linux, as root")
def test_a_folder_that_cannot_be_written_is_reported_and_stays_as_it_is(elsewhere: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(elsewhere), "HARNESS_RUNS": str(tmp_path)}
    harness = [sys.executable, "-m", "harness"]
    subprocess.run([*harness, "run", str(_config(tmp_path, "a"))], cwd=ROOT, env=environment, check=True)
    run = tmp_path / "a"
    (run / "report.md").unlink()
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    read_only = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
    command = ["unshare", "-m", "bash", "-c", read_only, str(run), *harness, "report", str(run)]
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert told.returncode == 0 and "Disc" in told.stdout, told
    assert f"{run} cannot be written: results.parquet and report.md stay as they are." in " ".join(told.stderr.split())
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.slow
def test_a_run_that_is_being_written_is_shown_and_left_alone_until_a_schedulers_sigterm_releases_it(
    started: Callable[..., subprocess.Popen[str]], here: Command, elsewhere: Path, tmp_path: Path, run_name: str
) -> None:
    folder, config = ROOT / "runs" / run_name, _config(tmp_path, run_name)
    process = started("run", config, PYTHONPATH=str(elsewhere), DISC_SLEEPS_S="2")
    while len(_shards(run_name)) < 1 and process.poll() is None:
        time.sleep(0.05)
    shown = here("report", folder)
    assert shown.returncode == 1 and "instances of far_away:Boxes have no row" in shown.stderr
    assert f"is being written by process {process.pid} of" in shown.stderr
    assert process.poll() is None and not (folder / "results.parquet").exists()
    assert (folder / "lock.json").exists()
    process.terminate()
    _, told = process.communicate(timeout=120)
    assert (process.returncode, said(told)) == (130, [INTERRUPTED])
    assert not (folder / "lock.json").exists()


def _listed(kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What `list` prints: name -> line."""
    monkeypatch.setattr("sys.argv", ["harness", "list", kind])
    monkeypatch.setattr(terminal.console, "_width", 400)
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 0
    lines = [line.split("│")[1:3] for line in capsys.readouterr().out.splitlines() if "│" in line]
    return {name.strip(): text.strip() for name, text in lines}


@pytest.mark.slow
def test_list_with_a_name_shows_its_arguments_and_their_defaults(here: Command) -> None:
    shown = here("list", "datasets", "folder").stdout
    assert "folder, datasets/folder/folder.py, line " in shown and "`images/<image>.*`" in shown
    assert re.search(r"│ root +│ path +│ needed +│ The folder\. +│", shown)
    assert re.search(r"│ masks +│ `binary` or `index` +│ binary +│ \"binary\": a mask file is one instance", shown)
    assert re.search(r"│ margin +│ number, from 0, to 1 +│ 0\.35 +│", here("list", "clicks", "paper/v1").stdout)
    assert here("list", "metrics", "iou").stdout.endswith("It takes no arguments.\n")
    assert here("list", "metrics", "saliency_auc").stdout.endswith("It takes no arguments.\n")
    wrong = here("list", "methods", "samm")
    assert wrong.returncode == 2 and "no methods/samm.py. Did you mean 'sam'?" in wrong.stderr


@pytest.mark.parametrize("kind", list(listing.Kind), ids=str)
def test_list_says_one_line_on_each(
    kind: listing.Kind, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = _listed(kind.value, monkeypatch, capsys)
    known = {"metrics": "iou", "clicks": "paper/v1", "tables": "leaderboard", "methods": "text_click", "texts": "given"}
    known |= {"datasets": "scenes", "saliency": "maskclip", "learners": "prompted_deeplab", "loggers": "tensorboard"}
    assert known[kind.value] in listed and all(len(line) > 10 for line in listed.values())
    assert not any(line.startswith("broken") for line in listed.values())


def test_a_broken_plugin_hides_no_other(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    broken = ROOT / "methods" / "click_only.py"
    monkeypatch.setattr("harness.plugins.listing.failure", lambda file: "SyntaxError: [bold]" if file == broken else "")
    listed = _listed("methods", monkeypatch, capsys)
    assert listed["click_only"] == "broken: methods/click_only.py cannot be imported. SyntaxError: [bold]."
    assert listed["text_click"].startswith("The paper")


def test_a_user_error_is_printed_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = "a.yaml, methods[0].label: found '[red]x[/]' and a:b:c; " + "long " * 60

    def fail() -> None:
        raise UserError(text)

    monkeypatch.setattr(commands, "app", fail)
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 2 and text in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(commands, "app", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main()


ENDING = """
import time
from harness.interrupts import answer_at_once, in_order

answer_at_once()
try:
    with in_order():
        try:
            print("working", flush=True)
            time.sleep(60)
        finally:
            print("ending", flush=True)
            time.sleep(0.5)
            print("ended", flush=True)
finally:
    time.sleep(0.5)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "ends_in_order"), [(signal.SIGTERM, True), (signal.SIGHUP, True), (signal.SIGINT, False)]
)
def test_a_second_signal_is_exit_code_130_too(number: signal.Signals, ends_in_order: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ENDING],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout
    for said in ("working\n", "ending\n", *(["ended\n"] if ends_in_order else [])):
        assert process.stdout.readline() == said
        process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, set(err.splitlines())) == (130, "", {INTERRUPTED})


def test_a_sigterm_while_it_starts_is_exit_code_130() -> None:
    code = "import os, signal; from harness.interrupts import answer_at_once as a; a(); os.kill(os.getpid(), 15)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, INTERRUPTED + "\n")


LATE = """
import os
from harness.interrupts import answer_at_once

class Late:
    def __del__(self, kill=os.kill, own=os.getpid()):
        kill(own, 15)

answer_at_once()
late = Late()
"""


def test_a_sigterm_while_python_ends_leaves_the_exit_code() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


AT_ONCE = """
import os, signal
from harness.interrupts import in_order
both = [signal.SIGHUP, signal.SIGTERM]
with in_order():
    signal.pthread_sigmask(signal.SIG_BLOCK, both)
    for number in both:
        os.kill(os.getpid(), number)
    exec("signal.pthread_sigmask(signal.SIG_UNBLOCK, both)")  # As in a dataclass, whose code is made from a text.
"""


def test_two_signals_at_once_are_one_line_and_exit_code_130(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text(AT_ONCE)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "ends"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, INTERRUPTED + "\n")


def test_an_interrupt_that_a_library_swallows_ends_the_work_at_its_next_step() -> None:
    with pytest.raises(SystemExit) as done, terminal.live() as shown:
        interrupts.interrupted.set()
        shown.planned([], {})
    assert done.value.code == 130


def test_an_interrupted_training_says_so_too(capsys: pytest.CaptureFixture[str]) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(SystemExit) as done, terminal.live():
        raise KeyboardInterrupt
    assert done.value.code == 130 and capsys.readouterr().err.splitlines() == [INTERRUPTED]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.slow
def test_plan_says_what_trainings_take_and_measures_those_alike_once(
    tmp_path: Path, run_name: str, here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal.console, "_width", 400)
    params = {"encoder": "tu-regnetx_002", "decoder_channels": 16, "output_stride": 16, "size": 64}
    scenes = [{"name": "scenes", "params": {"split": "train", "count": 4}}]
    learner = {"name": "prompted_deeplab", "params": params}
    train = {"learner": learner, "datasets": scenes, "steps": 100, "batch": 2}
    method = {"name": "click_only", "label": "Click", "train": train, "seeds": [1, 2]}
    done = here("plan", _config(tmp_path, run_name, datasets=scenes, methods=[method]), "--probe")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[::2][:2]] == ["Click, seed 1", "Click, seed 2"]
    assert lines[1] == lines[3] and "hours x 1 workers: " in lines[1]
    assert lines[4].endswith(" hours of one such device in all.")


def test_train_says_if_another_recipe_made_what_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    recipe = {
        "learner": {"name": "prompted_deeplab"},
        "datasets": [{"name": "scenes", "params": {"split": "train"}}],
        "steps": 5,
        "checkpoint": str(path),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    own = load_recipe(tmp_path / "recipe.yaml").key
    for key, said in [(own, ""), ("0a1b", f", made by another recipe (0a1b, now {own})")]:
        save_file({"a": np.zeros(1)}, path, {"recipe": key, "recipe_yaml": "..."})
        monkeypatch.setattr("sys.argv", ["harness", "train", str(tmp_path / "recipe.yaml")])
        with pytest.raises(SystemExit) as done:
            cli.main()
        told = " ".join(capsys.readouterr().out.split())
        assert (done.value.code, told) == (0, f"{path} is there already{said}; --force trains it again.")


@pytest.mark.parametrize(
    ("changed", "said"),
    [({}, ""), ({"samples": 5, "size": 64}, " The data set scenes has changed since (samples, size differ).")],
)
def test_train_says_if_the_data_have_changed_since(
    changed: dict[str, int],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    path, params = tmp_path / "w.safetensors", {"split": "train", "count": 4}
    datasets = [{"name": "scenes", "params": params}]
    recipe = {"learner": {"name": "prompted_deeplab"}, "datasets": datasets, "steps": 5, "checkpoint": str(path)}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    then = {"name": "scenes", **parameters.build("datasets", "scenes", params).fingerprint()} | changed
    about = {"recipe_yaml": yaml.safe_dump(recipe), "data": json.dumps([then])}
    save_file({"a": np.zeros(1)}, path, about)
    monkeypatch.setattr("sys.argv", ["harness", "train", str(tmp_path / "recipe.yaml")])
    with pytest.raises(SystemExit):
        cli.main()
    assert " ".join(capsys.readouterr().out.split()).partition("again.")[2] == said


def test_a_training_of_a_job_saves_no_weights_where_the_job_s_end_deletes_them(
    here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {
        "learner": {"name": "toy_learners:Toy"},
        "datasets": [{"name": "scenes", "params": {"split": "train", "count": 2, "size": 32}}],
        "steps": 1,
        "checkpoint": "weights/lost.safetensors",
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    sent = {"runtime_env": {"working_dir": "gcs://_ray_pkg_1.zip"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(sent))
    said = " ".join(_one_message(here("train", tmp_path / "recipe.yaml")).split())
    assert "recipe.yaml: " in said
    assert "weights/lost.safetensors lies in Ray's copy of the checkout, which is deleted after the job." in said


@pytest.mark.slow
def test_a_training_that_diverges_says_what_to_do(here: Command, tmp_path: Path) -> None:
    tiny = {"encoder": "tu-regnetx_002", "decoder_channels": 8, "output_stride": 16, "size": 32}
    recipe = {
        "learner": {"name": "prompted_deeplab", "params": tiny},
        "datasets": [{"name": "scenes", "params": {"split": "train", "count": 2, "size": 32}}],
        "batch": 2,
        "steps": 5,
        "device": "cpu",
        "optimizer": {"name": "sgd", "lr": 1e30},
        "checkpoint": str(tmp_path / "w.safetensors"),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    ended = here("train", tmp_path / "recipe.yaml")
    shutil.rmtree(resumable(load_recipe(tmp_path / "recipe.yaml")).with_suffix(""), ignore_errors=True)
    assert ended.returncode == 2
    assert "loss is nan at step 2; lower optimizer.lr" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_an_interrupted_training_says_what_is_kept_and_then_where_it_went_on(
    started: Callable[..., subprocess.Popen[str]], here: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "begun"
    folder.mkdir()
    recipe = {
        "learner": {"name": "toy_learners:Meeting", "params": {"folder": str(folder), "sleeps_s": 0.2}},
        "datasets": [{"name": "scenes", "params": {"split": "train", "count": 2, "size": 32}}],
        "checkpoint": str(tmp_path / "w.safetensors"),
        "batch": 2,
        "steps": 30,
        "save_every": 4,
        "device": "cpu",
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    state = resumable(load_recipe(path))
    try:
        process = started("train", path)
        give_up = time.monotonic() + 120
        while not state.is_file() and process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        kept = "Interrupted. A state is kept every 4 steps: the same command goes on from the last one."
        assert (process.returncode, said(told)) == (130, [kept])
        done = here("train", path, "--json")
    finally:
        shutil.rmtree(state.with_suffix(""), ignore_errors=True)
        state.unlink(missing_ok=True)
    assert done.returncode == 0, done.stderr
    (*_, last) = _events(done.stdout, "training")
    assert last["step"] == 30 and last["since"] in range(4, 30, 4)


@pytest.mark.slow
def test_a_report_of_a_config_that_asks_for_other_rows_leaves_the_runs_own(here: Command, tmp_path: Path) -> None:
    config, folder = written(tmp_path / "a.yaml", tables=["leaderboard"]), tmp_path / "a"
    assert here("run", config, "--runs", tmp_path).returncode == 0
    before = {path: path.read_bytes() for path in folder.glob("*.*")}
    two = [{"name": "fakes:Steady", "label": "steady"}, {"name": "fakes:Steady", "label": "other"}]
    for other in (["--limit", 2], ["--set", f"methods={json.dumps(two)}"]):
        told = here("report", config, *other, "--runs", tmp_path)
        assert "asks for other images, methods or data sets than" in told.stderr and "Leaderboard" in told.stdout
        assert {path: path.read_bytes() for path in folder.glob("*.*")} == before
    (folder / "report.md").unlink()
    assert here("report", config, "--runs", tmp_path).returncode == 0 and (folder / "report.md").exists()
    assert here("verify", folder).returncode == 0


@pytest.mark.slow
def test_a_locale_without_utf8_loses_no_rows_of_a_name_that_it_lacks(tmp_path: Path) -> None:
    """Python would name files in the locale's encoding, and pyarrow look for them in UTF-8."""
    path = written(tmp_path / "a.yaml", methods=[{"name": "fakes:Steady", "label": "Größe"}])
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "harness", "run", str(path), "--runs", str(tmp_path)]
    env = os.environ | ascii_only | {"PYTHONPATH": str(Path(__file__).parents[1] / "toys")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert rb"Gr\xf6\xdfe on toys: 6 of 6 images" in done.stderr  # The terminal's encoding stays.
    assert pq.read_table(tmp_path / "a" / "results.parquet").num_rows == 6 * 2 * 3


@pytest.mark.slow
def test_a_run_goes_its_way_where_the_shell_closed_its_output(tmp_path: Path) -> None:
    path = written(tmp_path / "a.yaml", tables=["leaderboard"])
    command = shlex.join([sys.executable, "-m", "harness", "run", str(path), "--runs", str(tmp_path)])
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "toys")}
    done = subprocess.run(f"{command} >&-", shell=True, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert "Leaderboard" in (tmp_path / "a" / "report.md").read_text()


def test_a_python_without_the_packages_is_one_line() -> None:
    """As where the environment was not activated."""
    command = [sys.executable, "-S", "-m", "harness", "list", "methods"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    (said_once,) = done.stderr.splitlines()
    assert done.returncode == 2 and not done.stdout
    assert said_once.startswith(f"error harness: this Python ({sys.executable}) lacks typer, rich, ")
    assert "source" in said_once or "make quickstart" in said_once


@pytest.mark.parametrize(
    "checkout,own,wants",
    [
        (True, True, r"is 3\.9\.1; wanted 3\.11 or later\. .* run .*/\.venv/bin/python -m harness"),
        (True, False, r"is 3\.9\.1; wanted 3\.11 or later\. Set up an environment: make quickstart"),
        (False, False, r"is 3\.9\.1; wanted 3\.11 or later\. Install the harness again"),
    ],
)
def test_an_old_python_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkout: bool, own: bool, wants: str
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    monkeypatch.setattr(entry, "__file__", str(tmp_path / "harness" / "__main__.py"))
    if checkout:
        (tmp_path / "pyproject.toml").touch()
    if own:
        (tmp_path / ".venv" / "bin").mkdir(parents=True)
        (tmp_path / ".venv" / "bin" / "python").touch()
    assert re.search(wants, entry.unfit())
