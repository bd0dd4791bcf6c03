"""A plugin that is edited between two starts of a run: what is said, where, and how its rows are made anew."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from uuid import uuid4

import pytest

from harness import UserError
from harness.config.run_config import load_run
from harness.jobs.plan import planned
from harness.results.recorded import recorded
from harness.running.one_run import run
from harness.storage.edits import OldRows, old_rows, redo, said_of
from harness.storage.forgetting import forget_edited
from harness.storage.manifest import JobFacts, save_manifest
from harness.storage.results_file import read_results
from harness.storage.store import Store
from harness.storage.verify import verified
from toy_runs import SHOWN, TOYS, Quiet, written

METHOD = """
import fakes


class Mine(fakes.Steady):
    '''Steady, and mine.'''

    def __init__(self):
        super().__init__(reach=5)
"""
DATA = "import fakes\n\n\nclass Data(fakes.Toys):\n    classes = ('small', 'large')\n"
METRIC = "def share(truth, prediction):\n    return prediction.mean()\n"
WORDS = "def words(asked):\n    return asked.instance.category\n"


class Mine:
    """Modules of plugins, and a run of them that was made on 3 of 6 images."""

    def __init__(self, folder: Path, made: Callable[[str, str], Path]) -> None:
        own = uuid4().hex[:8]
        sources = {f"{kind}_{own}": text for kind, text in zip("abcd", (METHOD, DATA, METRIC, WORDS), strict=True)}
        self.files = [made(name, text) / f"{name}.py" for name, text in sources.items()]
        self.method, data, metric, words = sources
        self.config = written(
            folder / "edited.yaml",
            **SHOWN,
            methods=[{"name": f"{self.method}:Mine", "label": "mine"}, {"name": "fakes:Steady", "label": "steady"}],
            datasets=[{"name": f"{data}:Data", "label": "data", "params": {"count": 6}}],
            metrics=["iou", f"{metric}:share"],
            text={"rule": f"{words}:words"},
            workers={"executor": "local", "samples_per_shard": 1},
        )
        self.runs = folder / "runs"
        self.store = Store(self.runs / "edited")

    def edit(self, old: str, new: str) -> None:
        (file,) = [file for file in self.files if old in file.read_text()]
        file.write_text(file.read_text().replace(old, new))
        os.utime(file, ns=(1, file.stat().st_mtime_ns + 10**9))
        importlib.reload(importlib.import_module(file.stem))

    def run(self, *overrides: str, **options: Any) -> tuple[Any, Quiet]:
        quiet = Quiet()
        return run(load_run(self.config, overrides), quiet, runs=str(self.runs), **options), quiet


@pytest.fixture
def mine(tmp_path: Path, importable: Callable[[str, str], Path]) -> Mine:
    made = Mine(tmp_path, importable)
    made.run("limit=3")
    return made


@pytest.mark.slow
def test_a_rerun_after_an_edit_goes_on_and_says_what_stands_of_the_old_code(
    mine: Mine, caplog: pytest.LogCaptureFixture
) -> None:
    mine.edit("reach=5", "reach=9")
    with caplog.at_level(logging.WARNING):
        finished, quiet = mine.run()
    edited = f"The method {mine.method}:Mine was edited after these rows were made: 3 of"
    (line,) = [record.getMessage() for record in caplog.records if "edited" in record.getMessage()]
    assert line == f"{edited} 3 images of mine on data. The same command with --redo mine computes them again."
    said = f"{edited} 6 images of mine on data."
    assert quiet.images == 6 and finished.tables[0].notes[-1] == said
    assert said in (mine.runs / "edited" / "report.md").read_text()
    assert verified(mine.store).lacking == [f"{said} Give the run's command again with --redo mine"]


@pytest.mark.slow
def test_redo_makes_the_old_images_anew_and_no_others(mine: Mine) -> None:
    mine.edit("reach=5", "reach=9")
    mine.run()
    finished, quiet = mine.run(redo=["mine"])
    assert quiet.images == 3 and not [note for note in finished.tables[0].notes if "edited" in note]
    assert not verified(mine.store).lacking
    rows = read_results(mine.store)
    assert rows is not None and rows[rows["method"] == "mine"].groupby("image_id").size().nunique() == 1
    _, quiet = mine.run(redo=["mine", "data"])
    assert quiet.images == 0


@pytest.mark.slow
def test_redo_for_some_images_leaves_the_others_their_rows(mine: Mine) -> None:
    mine.run("workers.samples_per_shard=3")
    mine.edit("reach=5", "reach=9")
    some = ("only={data: [toy-1, toy-4]}",)  # toy-4 shares a shard with toy-3 and toy-5.
    _, quiet = mine.run(*some, redo=["mine"])
    assert quiet.images == 2
    _, quiet = mine.run()
    assert quiet.images == 0
    (job, _) = (one.facts for one in planned(load_run(mine.config)))
    (old,) = old_rows(mine.store, [job], {"data": [f"toy-{number}" for number in range(6)]})
    assert (old.images, old.of) == (4, 6) and not [
        line for line in verified(mine.store).lacking if "edited" not in line
    ]


@pytest.mark.slow
def test_redo_of_an_entry_means_all_its_variants(mine: Mine) -> None:
    variants = [{"label": "mute", "text": "none"}, {"label": "spoken"}]
    methods = [{"name": f"{mine.method}:Mine", "label": "own", "variants": variants}]
    config = load_run(written(mine.config, datasets=[TOYS], methods=methods))
    quiet = Quiet()
    run(config, quiet, runs=str(mine.runs / "2"))
    mine.edit("reach=5", "reach=9")
    run(load_run(mine.config), quiet, runs=str(mine.runs / "2"), redo=["own, mute"])
    assert quiet.images == 2 * 6 + 6
    run(load_run(mine.config), quiet, runs=str(mine.runs / "2"), redo=["own"])
    assert quiet.images == 3 * 6 + 6
    with pytest.raises(
        UserError, match="'mute' in this run. Did you .* There are: own, 'own, mute', 'own, spoken', toys"
    ):
        run(load_run(mine.config), quiet, runs=str(mine.runs / "2"), redo=["mute"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "plugin", "redone"),
    [
        ("('small', 'large')", "('small', 'large', 'huge')", "data set NAME:Data", "--redo data"),
        ("prediction.mean()", "prediction.sum()", "metric NAME:share", "--redo mine --redo steady"),
        ("asked.instance.category", "'thing'", "text rule NAME:words", "--redo mine --redo steady"),
    ],
)
def test_every_plugin_that_makes_rows_is_noticed(mine: Mine, old: str, new: str, plugin: str, redone: str) -> None:
    mine.edit(old, new)
    jobs = [job.facts for job in planned(load_run(mine.config))]
    found = old_rows(mine.store, jobs, {"data": [f"toy-{number}" for number in range(6)]})
    kind, _, name = plugin.rpartition(" NAME:")
    (edited,) = {one for job in found for one in job.plugins}
    assert edited.startswith(f"{kind} ") and edited.endswith(f":{name}")
    assert [(one.images, one.of) for one in found] == [(3, 3)] * 2 and redo(found) == redone


def test_one_line_says_all() -> None:
    jobs = [JobFacts(f"m{number}", "d", {}, {}) for number in range(5)]
    old = [OldRows(job, frozenset({"method a", "metric b"}), 1, 2) for job in jobs]
    assert said_of(old) == (
        "The method a and the metric b were edited after these rows were made: 1 of 2 images of m0 on d, "
        "1 of 2 images of m1 on d, 1 of 2 images of m2 on d, and 2 more."
    )
    assert said_of([]) == ""


@pytest.mark.slow
def test_a_comment_is_no_edit(mine: Mine) -> None:
    mine.edit("'''Steady, and mine.'''", "'''Mine.'''  # as it was")
    finished, _ = mine.run()
    assert not [note for note in finished.tables[0].notes if "edited" in note]


@pytest.mark.slow
def test_an_edit_that_is_taken_back_leaves_what_was_made_meanwhile(mine: Mine) -> None:
    mine.edit("reach=5", "reach=9")
    mine.run("limit=4")
    mine.edit("reach=9", "reach=5")
    finished, _ = mine.run()
    assert any("edited after these rows were made: 1 of 6 images of mine" in note for note in finished.tables[0].notes)


@pytest.mark.slow
def test_a_label_that_is_none_is_refused_before_anything_runs(mine: Mine) -> None:
    with pytest.raises(UserError, match="no method or data set labelled 'mien' in this run. Did you mean 'mine'"):
        mine.run(redo=["mien"])


@pytest.mark.slow
def test_plan_and_the_command_line_say_it_too(mine: Mine, here: Callable[..., CompletedProcess[str]]) -> None:
    mine.edit("reach=5", "reach=9")
    planned = here("plan", mine.config, "--runs", mine.runs)
    assert (
        "edited after these rows were made: 3 of 3 images of mine on data. `run` computes them again with --redo mine"
        in planned.stderr
    )
    done = here("run", mine.config, "--runs", mine.runs, "--redo", "mine")
    assert done.returncode == 0 and "was edited" not in done.stdout + done.stderr


@pytest.mark.slow
def test_comparisons_and_leaderboards_say_it(mine: Mine, here: Callable[..., CompletedProcess[str]]) -> None:
    mine.edit("reach=5", "reach=9")
    mine.run()
    folder = mine.runs / "edited"
    for command in (["leaderboard", folder], ["compare", f"{folder}:mine (size)", f"{folder}:steady (size)"]):
        told = here(*command, "--format", "md").stdout
        assert "edited after these rows were made: 3 of 6 images of mine on data" in told, command


@pytest.mark.slow
def test_shards_and_manifests_that_say_nothing_of_code_are_read(tmp_path: Path) -> None:
    config = load_run(written(tmp_path / "old.yaml", datasets=[TOYS]))
    store, (job,) = Store(tmp_path / "old"), [job.facts for job in planned(config)]
    before = JobFacts(job.method, job.dataset, job.parts, job.about)
    store.write(before, ("toy-0",), [])
    assert job.code and old_rows(store, [job], {"toys": ["toy-0"]}) == []
    assert store.done(job) == {"toy-0"} and forget_edited(store, job, ["toy-0"]) == 0
    run(config, Quiet(), runs=str(tmp_path))
    manifest = Store(tmp_path / "old").manifest()
    for one in manifest["jobs"].values():
        del one["code"]
    save_manifest(Store(tmp_path / "old").folder, manifest)
    assert recorded(Store(tmp_path / "old")).notes == ()
