"""Loggers and commands of a config: told of rows and of the end, and unable to cost a row."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import UserError
from harness.config.run_config import RunConfig, load_run
from harness.plugins.interfaces import Ended
from harness.running.following import Following, run_commands, told_of_the_end
from harness.running.loggers.tensorboard import TensorBoard
from harness.running.means_so_far import MeansSoFar
from harness.running.one_run import run
from harness.storage.results_file import read_results
from harness.storage.store import Store
from toy_loggers import HEARD
from toy_runs import STEADY, Quiet, written

ENDS_A_JOB = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def nothing_heard() -> None:
    HEARD.clear()


def followed(tmp_path: Path, loggers: list[dict[str, Any]], **changed: Any) -> tuple[RunConfig, Store]:
    """A run of toys with loggers, and how it ended."""
    config = load_run(written(tmp_path / "told.yaml", loggers=loggers, **changed))
    store = Store(tmp_path / "runs" / "told")
    with told_of_the_end(config, store.folder) as following:
        following.append(Following(Quiet(), config, store.folder))
        run(config, following[0], runs=str(tmp_path / "runs"))
    return config, store


def hears(**params: Any) -> dict[str, Any]:
    return {"name": "toy_loggers:Hears", "label": f"hears {params}", "params": params}


@pytest.mark.slow
def test_loggers_are_told_of_all_rows_without_masks_and_of_the_end(tmp_path: Path) -> None:
    _, store = followed(tmp_path, [hears()])
    *rows, ended = HEARD
    told, kept = pd.concat(rows), read_results(store)
    assert kept is not None and len(told) == len(kept) and "mask" not in told
    assert sorted(told["iou"]) == sorted(kept["iou"]) and set(told["run"]) == {"told"}
    assert ended == Ended("told", str(store.folder), 0)


@pytest.mark.slow
def test_a_logger_that_raises_is_told_no_more_and_costs_no_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, store = followed(tmp_path, [hears(fails="on_rows"), hears()])
    assert len([one for one in HEARD if isinstance(one, Ended)]) == 1
    (said,) = [line for line in caplog.messages if "is switched off" in line]
    assert "hears {'fails': 'on_rows'} failed in on_rows" in said and "no such page" in said
    kept = read_results(store)
    assert kept is not None and (kept["status"] == "ok").all() and len(kept) == 6 * 2 * 3


@pytest.mark.slow
def test_loggers_and_commands_are_no_part_of_what_makes_rows(tmp_path: Path) -> None:
    _, store = followed(tmp_path, [])
    parts = {key: job["parts"] for key, job in store.manifest()["jobs"].items()}
    again = Quiet()
    config = load_run(written(tmp_path / "told.yaml", loggers=[hears()], on_end=["true"]))
    run(config, again, runs=str(tmp_path / "runs"))
    assert again.images == 0
    assert {key: job["parts"] for key, job in store.manifest()["jobs"].items()} == parts


def test_a_logger_that_is_none_or_lacks_its_program_is_a_mistake_of_the_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"told\.yaml, loggers\[0\]\.name: no harness/running/loggers/tensorbord\.py"):
        load_run(written(tmp_path / "told.yaml", loggers=[{"name": "tensorbord"}]))
    with pytest.raises(UserError, match=r"loggers\[0\]\.params\.foldr: tensorboard takes no such parameter"):
        load_run(written(tmp_path / "told.yaml", loggers=[{"name": "tensorboard", "params": {"foldr": "x"}}]))


def raised(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        (lambda: None, "0", ""),
        (raised(UserError("a.yaml: no such method")), "2", "a.yaml: no such method"),
        (raised(SystemExit(130)), "130", ""),
        (raised(ZeroDivisionError("by zero")), "1", "by zero"),
    ],
)
def test_commands_learn_how_a_run_ended(tmp_path: Path, work: Callable[[], None], code: str, said: str) -> None:
    told = tmp_path / "told.json"
    script = "import json,os;print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('HARNESS_')}))"
    on_end = [f'python3 -c "{script}" > {told}', "exit 3", f"echo later >> {tmp_path / 'later'}"]
    config = RunConfig(run="r", datasets=({"name": "a"},), methods=(STEADY,), on_end=tuple(on_end))
    try:
        with told_of_the_end(config, Store(tmp_path / "r").folder):
            work()
    except (UserError, SystemExit, ZeroDivisionError):
        pass
    found = json.loads(told.read_text())
    assert (found["HARNESS_RUN"], found["HARNESS_RUN_FOLDER"]) == ("r", str(tmp_path / "r"))
    assert found["HARNESS_EXIT_CODE"] == code and said in found["HARNESS_ERROR"]
    assert bool(found["HARNESS_ERROR"]) == bool(said)
    assert (tmp_path / "later").read_text() == "later\n"


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """The signals that nothing but the test answers; without the fixture such a signal would end pytest."""
    numbers: list[int] = []
    before = {one: signal.signal(one, lambda number, _: numbers.append(number)) for one in ENDS_A_JOB}
    yield numbers
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.parametrize("number", ENDS_A_JOB)
def test_the_end_of_a_job_skips_none_of_the_commands(tmp_path: Path, heard: list[int], number: int) -> None:
    on_end = (f"kill -{number} $PPID; echo $HARNESS_EXIT_CODE > {tmp_path / 'told'}", f"echo > {tmp_path / 'later'}")
    config = RunConfig(run="r", datasets=({"name": "a"},), methods=(STEADY,), on_end=on_end)
    with told_of_the_end(config, Store(tmp_path / "r").folder):
        pass
    assert ((tmp_path / "told").read_text(), (tmp_path / "later").exists(), heard) == ("0\n", True, [])
    os.kill(os.getpid(), number)
    assert heard == [number]  # Afterwards the earlier handlers answer again.


@pytest.mark.parametrize("number", ENDS_A_JOB)
def test_commands_learn_of_an_interrupt_after_the_last_row(tmp_path: Path, heard: list[int], number: int) -> None:
    on_end = (f"kill -{number} $PPID $$; echo $HARNESS_EXIT_CODE > {tmp_path / 'told'}",)
    config = RunConfig(run="r", datasets=({"name": "a"},), methods=(STEADY,), on_end=on_end)
    with pytest.raises(SystemExit) as done, told_of_the_end(config, Store(tmp_path / "r").folder):
        os.kill(os.getpid(), number)
    assert (done.value.code, (tmp_path / "told").read_text(), heard) == (130, "130\n", [])


def test_a_command_that_fails_is_named(caplog: pytest.LogCaptureFixture) -> None:
    run_commands(["exit 3"], Ended("r", "runs/r", 0))
    assert caplog.messages == ["on_end: found exit code 3 after the command: exit 3"]


@pytest.mark.parametrize("error", ["x" * 200_000, "a\0b", "no folder \ud800", "caf\udce9", "\U0001f600" * 200_000])
def test_commands_are_run_whatever_the_error_says(tmp_path: Path, error: str) -> None:
    run_commands([f'printf %s "$HARNESS_ERROR" > {tmp_path / "said"}'], Ended("r", "runs/r", 2, error))
    said = (tmp_path / "said").read_text()
    assert said[:3] == error.replace("\0", "\\0")[:3] and len(said) <= 10_000


def test_means_so_far_are_those_of_all_rows() -> None:
    columns = {"dataset": "d", "method": "m", "ranking": "single", "click_index": 1, "status": "ok"}
    rows = pd.DataFrame([{**columns, "iou": iou} for iou in (0.2, 0.4, 0.9)])
    rows = pd.concat([rows, pd.DataFrame([{**columns, "status": "failed", "iou": float("nan")}])])
    means = MeansSoFar()
    assert means.add(rows[:1]) == {"d/m/iou@1": (0.2, 1)}
    assert means.add(rows[1:]) == {"d/m/iou@1": (pytest.approx(0.5), 3)}
    oracle = rows[:1].assign(ranking="oracle", click_index=2)
    assert means.add(oracle) == {"d/m, oracle/iou@2": (0.2, 1)}


def events(folder: Path) -> list[Any]:
    """What TensorBoard would read: records of a length, its checksum, an event and its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in folder.glob("events.*"):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


@pytest.mark.slow
def test_tensorboard_gets_the_curves(tmp_path: Path) -> None:
    logger = {"name": "tensorboard", "params": {"folder": str(tmp_path / "curves")}}
    _, store = followed(tmp_path, [logger])
    values = [(one.step, value) for one in events(tmp_path / "curves" / "told") for value in one.summary.value]
    iou = [
        (step, value.simple_value) for step, value in values if value.tag == "toys/steady__confidence/iou_1"
    ]  # tensorboardX makes _ of the rest
    kept = read_results(store)
    assert kept is not None
    own = kept.loc[kept["ranking"] == "confidence", "iou"]
    assert [step for step, _ in iou] == [4, 8, 12]
    assert iou[-1][1] == pytest.approx(own.mean(), abs=1e-6)
    assert any("exit code 0" in str(value.tensor.string_val) for _, value in values if value.tag.startswith("ended"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full, as Linux has one")
def test_tensorboard_on_a_full_disk_does_not_hold_up_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    curves, now = tmp_path / "curves" / "told", int(time.time())
    curves.mkdir(parents=True)
    for second in range(now, now + 60):
        (curves / f"events.out.tfevents.{second}.{socket.gethostname()}.{os.getpid()}").symlink_to("/dev/full")
    logger = {"name": "tensorboard", "params": {"folder": str(tmp_path / "curves")}}
    _, store = followed(tmp_path, [logger], clicks={"strategy": "ritm/v1", "max_clicks": 5})
    (said,) = [line for line in caplog.messages if "is switched off" in line]
    assert "tensorboard failed in on_rows" in said and "No space left on device" in said
    kept = read_results(store)
    assert kept is not None and len(kept) == 6 * 2 * 3 * 5


def test_two_parts_of_a_run_that_start_in_one_second_have_a_file_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"run": "r", "dataset": "d", "method": "m", "ranking": "single", "click_index": 1, "status": "ok"}
    for part in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda part=part: part)
        monkeypatch.setattr(time, "time", lambda: 1796069321.5)
        TensorBoard(tmp_path).on_rows(pd.DataFrame([columns | {"iou": 0.2 * part}]))
    found = [round(value.simple_value, 6) for one in events(tmp_path / "r") for value in one.summary.value]
    assert len([*(tmp_path / "r").glob("events.*")]) == 2 and sorted(found) == [0.2, 0.4]


def test_mlflow_gets_the_curves_and_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="no MLflow here: pip install mlflow-skinny")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # A server or a database is what MLflow 3 wants by itself.
    _, store = followed(tmp_path, [{"name": "mlflow", "params": {"experiment": "toys"}}])
    client = mlflow.MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name("toys").experiment_id])
    assert found.info.status == "FINISHED" and found.data.tags["folder"] == str(store.folder)
    assert len(client.get_metric_history(found.info.run_id, "toys/steady_ confidence/iou at 1")) == 3
