"""A run's folder that goes with the test, the real command line, and plugins that live outside the checkout."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pandas as pd
import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from harness.plugins import registry

ROOT = Path(__file__).resolve().parents[1]
TOYS = ROOT / "tests" / "toys"
SLOW_S = 0.5
"""A test above it is marked slow."""
RAY_IN_TESTS = {
    # A worker for each CPU before there is any work, and in no copy of the checkout: none of ours could be run by it.
    "RAY_prestart_worker_first_driver": "0",
    # Ray Train looks at its workers this often, and a worker that keeps a state waits to be looked at: every 2 s else.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # A process more for each training, which watches for machines that a cloud takes back.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # A node that is gone is noticed after five looks: 15 s else. One that is only busy has 10 s for each of them.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
}
"""Ray waits for large clusters as a matter of course; what tests do to small ones is seen sooner."""


@pytest.fixture(autouse=True, scope="session")
def toys_everywhere() -> Iterator[None]:
    """Processes that tests start, Ray's workers among them, import the modules of tests/toys, as tests do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TOYS), prepend=os.pathsep)
        # Ray makes its workers nice to others (15): beside a second process of tests they would hardly come to work.
        patch.setenv("RAY_worker_niceness", "0")
        for name, value in RAY_IN_TESTS.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(autouse=True, scope="session")
def index_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Listings are kept apart from those of real runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_INDEX", str(tmp_path_factory.mktemp("index")))
        yield


@pytest.fixture
def own_index(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listings are kept apart from those of other tests, too."""
    monkeypatch.setenv("HARNESS_INDEX", str(tmp_path_factory.mktemp("index")))


@pytest.fixture
def run_name() -> Iterator[str]:
    """A run's name that no other run has; its folder is removed afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name
    shutil.rmtree(ROOT / "runs" / name, ignore_errors=True)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Makes a folder of a test's, where an earlier test of the file made the like by the same arguments from a copy."""
    kept: dict[str, tuple[Any, Path]] = {}

    def made(folder: Path, make: Callable[..., Any], **arguments: Any) -> Any:
        if folder.exists():
            return make(**arguments)
        what = repr((folder.name, sorted(arguments.items())))
        if what not in kept:
            copy = tmp_path_factory.mktemp("kept") / folder.name
            kept[what] = make(**arguments), Path(shutil.copytree(folder, copy))
        else:
            shutil.copytree(kept[what][1], folder)
        return kept[what][0]

    return made


@pytest.fixture
def two_images_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals from two images on: those of a toy with so few can be worked out by hand."""
    importlib.import_module("harness.report.comparison")  # It keeps the true number, for messages.
    for module in ("resampling", "contrasts"):
        monkeypatch.setattr(f"harness.statistics.{module}.LEAST_IMAGES", 2)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder outside the checkout that holds the module `far_away`."""
    yield Path(shutil.copytree(TOYS / "outside", tmp_path / "elsewhere"))
    _forget("far_away")


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Path]:
    """A user's repository outside the checkout, with plugins and a run of its own: the one of docs/plugins.md."""
    page = (ROOT / "docs" / "plugins.md").read_text("utf-8").split("## A whole repository")[1]
    folder = tmp_path / "repository"
    (folder / "my_repo").mkdir(parents=True)
    for name, text in re.findall(r"`((?:my_repo/)?\w+\.\w+)`:\n\n```\w+\n(.*?)```", page, re.DOTALL):
        (folder / name).write_text(text)
    for package in ("my_repo", "gone_away"):  # both register `dice`
        _forget(package)
    yield folder
    _forget("my_repo")


@pytest.fixture(scope="module")
def importable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Path]]:
    """Makes a module of a name and a source, which this process and those that it starts find; returns its folder."""
    with pytest.MonkeyPatch.context() as patch:

        def made(name: str, source: str) -> Path:
            folder = tmp_path_factory.mktemp("elsewhere")
            (folder / f"{name}.py").write_text(source)
            patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
            patch.syspath_prepend(folder)
            return folder

        yield made


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `python -m harness <arguments>` in the checkout; keywords are added to the environment."""
    running = []

    def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell's background job ignores SIGINT, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def harness_command(started: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m harness <arguments>` to its end."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        process = started(*arguments, **environment)
        out, err = process.communicate(timeout=400)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


@pytest.fixture
def here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The same command line as `harness_command`, in this process."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        from harness.cli import main

        command = ["harness", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
        return subprocess.CompletedProcess(command, int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def resumable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the trainings of a test keep what they need to go on."""
    folder = tmp_path / "resumable"
    monkeypatch.setattr("harness.running.one_training.resumable", lambda recipe: folder / f"{recipe.key}.pt")
    return folder


class ByFile(LoadFileScheduling):
    """In several processes (`-n 2`) a file's tests stay together, but for those that start Ray.

    These all go to one process, since two Rays on a small machine starve each other; and they go first, since together
    they take the longest: while one process is at them, the other does the rest. Of the files the slowest go first, so
    that no long one begins when the other process has nothing left to do.
    """

    def schedule(self) -> None:
        begins = self.collection is None
        super().schedule()
        if begins:  # xdist itself goes by the number of tests; each process has one of the largest files by now.
            for file in sorted(self.workqueue, key=self._slow_tests, reverse=True):
                self.workqueue.move_to_end(file)

    def _slow_tests(self, scope: str) -> int:
        return sum(is_marked(nodeid, "slow") for nodeid in self.workqueue[scope])

    def _split_scope(self, nodeid: str) -> str:
        return "ray" if is_marked(nodeid, "ray") else nodeid.partition("::")[0]

    def _assign_work_unit(self, node: WorkerController) -> None:
        if "ray" in self.workqueue:
            self.workqueue.move_to_end("ray", last=False)
        super()._assign_work_unit(node)


def is_marked(nodeid: str, mark: str) -> bool:
    """Whether a test is marked, as far as the text of its file tells."""
    file, _, test = nodeid.partition("::")
    names = marked(file, f"pytest.mark.{mark}")
    return names is None or test.partition("[")[0] in names


@cache
def marked(file: str, mark: str) -> frozenset[str] | None:
    """A file's tests that have a mark; None where the whole file has it."""
    body = ast.parse((ROOT / file).read_text("utf-8")).body
    if any(isinstance(one, ast.Assign) and mark in ast.unparse(one) for one in body):
        return None
    tests = (one for one in body if isinstance(one, ast.FunctionDef))
    return frozenset(one.name for one in tests if mark in map(ast.unparse, one.decorator_list))


def pytest_configure(config: pytest.Config) -> None:
    """With `-n 2` each process computes with one thread; processes that start here inherit it.

    torch and BLAS take a thread a core in every process. Two processes on two cores then wait for each other: the same
    tests of networks took four times the processor time.

    They also keep Python's bytecode: reading the tests without it takes each process ten seconds more.
    """
    hypothesis.settings.register_profile("without_a_deadline", deadline=None)  # A busy machine is no failure.
    hypothesis.settings.load_profile("without_a_deadline")
    if config.getoption("numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


FAST = "not slow and not ray"
WHOLLY_SLOW = re.compile(r"^pytestmark = (\[[^\]]*)?pytest\.mark\.(slow|ray)\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`make fast` does not even read the files that are slow as a whole: their imports alone take seconds."""
    if config.getoption("markexpr") != FAST or not collection_path.match("test_*.py"):
        return None
    return bool(WHOLLY_SLOW.search(collection_path.read_text("utf-8"))) or None


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the tests that took longer than a fast one may and are not marked; no failure, for machines differ."""
    took: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and not {"slow", "ray"} & set(report.keywords):
                took[report.nodeid] += report.duration
    slow = [f"{seconds:6.1f} s  {test}" for test, seconds in took.most_common() if seconds > SLOW_S]
    if slow:
        terminalreporter.section(f"above {SLOW_S:g} s: shorten these, or mark them slow (tests/README.md)")
        terminalreporter.write_line("\n".join(slow))


@pytest.fixture(scope="module")
def shared_ray() -> str:
    """The address of a Ray of this process, for all tests that want one and do it no harm."""
    import ray

    from harness.cluster.connect import connect

    connect(None)
    return str(ray.get_runtime_context().gcs_address)


def shares_ray(item: pytest.Item) -> bool:
    return "shared_ray" in getattr(item, "fixturenames", ())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests that share a Ray come one after the other, and last, so that it starts once."""
    items.sort(key=shares_ray)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """A Ray of this process ends with the file that started it, the shared one with the last test that wants it."""
    another_file = nextitem is None or nextitem.path != item.path
    if "ray" in sys.modules and another_file and not (nextitem and shares_ray(nextitem)):
        sys.modules["ray"].shutdown()


CLICK = {"x": 3, "y": 5, "positive": True}
UNKNOWN = dict.fromkeys(["ranking", "seen", "clicks", "click_index", "iou", "boundary_iou"])


def row(method: str, instance: str, iou: float | None, **given: Any) -> dict[str, Any]:
    """A store's row; without an IoU, a failed one. The image is the instance's first letter."""
    known = {
        "run": "r",
        "dataset": "toy",
        "dataset_plugin": "scenes",
        "method": method,
        "ranking": "single",
        "image_id": instance[0],
        "instance_id": instance,
        "seen": instance[-1] in "13579",
        "clicks": [CLICK],
        "click_index": 1,
        "iou": iou,
        "boundary_iou": None if iou is None else iou / 2,
        "status": "ok",
        "error": None,
    }
    gone = {**UNKNOWN, "status": "failed", "error": "out of memory"} if iou is None else {}
    return known | gone | given


@pytest.fixture
def make_row() -> Any:
    return row


@pytest.fixture
def pair() -> pd.DataFrame:
    """Two methods on two images of two instances each; means 70 % and 50 %, and an even split."""
    text = {"A1": 0.9, "A2": 0.7, "B1": 0.8, "B2": 0.4}
    click = {"A1": 0.8, "A2": 0.3, "B1": 0.7, "B2": 0.2}
    listed = [row("ours", name, iou) for name, iou in text.items()]
    return pd.DataFrame([*listed, *(row("click", name, iou) for name, iou in click.items())])


def _forget(package: str) -> None:
    """Unload a package of a test's, with the plugins that it registered."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
    for registered in registry._ENTRIES.values():
        for name in [name for name, entry in registered.items() if entry.thing.__module__.partition(".")[0] == package]:
            del registered[name]
