"""An actor without Ray: the same class in this process, and what its node must find before it may work."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import UserError
from harness.cluster.actor import Actor, Lost, Unopened, check_paths, unopened, visible_paths
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin
from harness.config.run_config import RunConfig
from harness.jobs.jobs import Shard
from harness.jobs.plan import planned, remaining
from harness.jobs.worker import Outcome
from harness.plugins import parameters
from harness.plugins.failures import contained
from harness.storage.store import Store


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "far_pictures.py").write_text(PICTURES)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.fixture(autouse=True)
def answer_to_ctrl_c() -> Iterator[None]:
    """An actor's process answers Ctrl-C in its own way; this one keeps its own."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


PICTURES = '''
import pathlib
from fakes import Toys


class Pictures(Toys):
    """Toys that are there as long as a folder is."""

    def __init__(self, root: pathlib.Path, count: int = 4) -> None:
        super().__init__(count)
        self.root = root

    def load(self, sample_id):
        if not (self.root / "images").exists():
            raise FileNotFoundError(f"{self.root}/images/{sample_id}: no such file")
        return super().load(sample_id)
'''


def shards(root: Path, store: Store, **method: Any) -> list[Shard]:
    pictures = Plugin(name="far_pictures:Pictures", label="pictures", params={"root": str(root)})
    steady = MethodEntry(**({"name": "fakes:Steady", "label": "steady"} | method))
    return remaining(planned(RunConfig(run="r", datasets=(pictures,), methods=(steady,))), store, 2)


def outcomes(answer: list[Outcome] | Lost | Unopened) -> list[Outcome]:
    assert isinstance(answer, list)
    return answer


def test_a_plugin_s_keyboard_interrupt_is_a_failed_row_and_ctrl_c_is_none(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    store, actor = Store(tmp_path / "run"), Actor()
    (shard, _) = shards(tmp_path, store, name="fakes:Fragile", params={"how": "interrupt", "at": 1})
    actor.load(shard.method, frozenset(), store, 1)
    (done,) = outcomes(actor.run(shard))
    assert (done.samples, done.instances, done.failed) == (2, 4, 2)
    assert done.error.startswith("segment: RuntimeError: KeyboardInterrupt (fakes.py")
    with pytest.raises(KeyboardInterrupt), contained():
        signal.raise_signal(signal.SIGINT)


def test_code_that_is_not_the_driver_s_makes_no_row(tmp_path: Path, importable: Callable[[str, str], Path]) -> None:
    source = "from fakes import Steady\n\n\nclass Mine(Steady):\n    threshold = 0.5\n"
    file = importable("edited_meanwhile", source) / "edited_meanwhile.py"
    (tmp_path / "images").mkdir()
    store, method = Store(tmp_path / "run"), "edited_meanwhile:Mine"
    (shard, _) = shards(tmp_path, store, name=method)
    code = shard.jobs[0].facts.code
    assert f"method {method}" in code and "data set far_pictures:Pictures" in code
    for edit in ("    # a comment\n", "    threshold = 0.7\n", ""):
        file.write_text(source + edit)
        if "0.7" in edit:
            with pytest.raises(
                UserError, match=f"^the method {method}: its code has changed since the run was planned"
            ):
                Actor().load(shard.method, frozenset(), store, 1, code=code)
        else:
            Actor().load(shard.method, frozenset(), store, 1, code=code)
    file.unlink()  # a node without it
    with pytest.raises(UserError, match=f"^the method {method}: its code has changed .* another copy"):
        Actor().load(shard.method, frozenset(), store, 1, code=code)


def test_a_folder_that_is_not_there_is_a_message(tmp_path: Path) -> None:
    store, actor = Store(tmp_path / "run"), Actor()
    (shard, _) = shards(tmp_path / "gone", store)
    actor.load(shard.method, frozenset(), store, 1)
    with pytest.raises(UserError, match=r"^'pictures': found root=.*gone on the driver"):
        actor.open(shard.dataset, frozenset({"root"}))


def test_images_that_are_not_there_make_no_rows_unless_they_are_nowhere(tmp_path: Path) -> None:
    store, actor = Store(tmp_path / "run"), Actor()
    (shard, other) = shards(tmp_path / "data", store)
    (tmp_path / "data").mkdir()
    actor.load(shard.method, frozenset(), store, 1)
    actor.open(shard.dataset, frozenset({"root"}))
    for one, sample_id in ((shard, "toy-0"), (other, "toy-2")):
        answer = actor.run(one)
        assert isinstance(answer, Unopened) and f"data/images/{sample_id}: no such file" in answer.reason
    assert store.done(shard.jobs[0].facts) == set()
    actor.accept("pictures")
    (again,) = outcomes(actor.run(shard))
    assert (again.samples, again.failed) == (2, 2)
    assert store.folder.exists(again.file)
    (tmp_path / "data" / "images").mkdir()
    (fine,) = outcomes(actor.run(other))
    assert fine.failed == 0


def test_a_lost_gpu_is_an_answer(tmp_path: Path) -> None:
    (tmp_path / "data" / "images").mkdir(parents=True)
    store, actor = Store(tmp_path / "run"), Actor()
    lost = {"name": "fakes:Fragile", "label": "fragile", "params": {"how": "lost", "at": 1}}
    (shard, _) = shards(tmp_path / "data", store, **lost)
    actor.load(shard.method, frozenset(), store, 1)
    answer = actor.run(shard)
    assert isinstance(answer, Lost) and "CUDA error" in answer.reason


class Raising:
    """A data set of which no sample can be had."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def load(self, sample_id: str) -> Any:
        raise self.error


def entry(checkpoint: Path) -> MethodEntry:
    return MethodEntry(name="fakes:Steady", label="steady", params={"checkpoint": str(checkpoint)})


def test_what_the_driver_sees_must_be_there(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.touch()
    wanted = visible_paths("methods", entry(weights))
    assert wanted == {"checkpoint"}
    check_paths("methods", entry(weights), wanted)
    weights.unlink()
    with pytest.raises(
        UserError, match=rf"^'steady': found checkpoint={weights} on the driver.s machine, but not on this one\. Wanted"
    ):
        check_paths("methods", entry(weights), wanted)


def test_what_the_driver_does_not_see_may_be_absent(tmp_path: Path) -> None:
    absent = entry(tmp_path / "made later")
    assert visible_paths("methods", absent) == frozenset()
    check_paths("methods", absent, frozenset())


def test_a_path_that_may_not_be_entered_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    assert visible_paths("methods", entry(tmp_path)) == frozenset()


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError("a.jpg: no such file"), PermissionError(errno.EACCES, "denied"), OSError(errno.ESTALE, "stale")],
)
def test_files_that_cannot_be_opened(error: OSError) -> None:
    assert unopened(Raising(error), "a").startswith(f"{type(error).__name__}: ")  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [OSError("a.jpg: found 7 bytes that do not decode"), ValueError("no box")])
def test_damage_is_no_lack_of_sight(error: Exception) -> None:
    assert unopened(Raising(error), "a") == ""  # type: ignore[arg-type]


def test_what_loads_is_seen() -> None:
    toys = Plugin(name="fakes:Toys")
    assert unopened(parameters.build("datasets", toys.name, {}), "toy-1") == ""


def test_names_are_read_after_the_data_set_is_built_and_what_takes_long_is_announced(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    store, actor = Store(tmp_path / "run"), Actor()
    (shard, _) = shards(tmp_path, store)
    actor.load(shard.method, frozenset(), store, 1)
    read: list[tuple[str, ...]] = []

    def reads(names: tuple[str, ...]) -> Iterator[str]:
        yield f"embedding {len(names)} names"
        read.append(names)
        raise ValueError("a name that is too long")

    actor.worker.method.read_names = reads  # type: ignore[method-assign,assignment]
    texts = [job.protocol.text for job in (*shard.jobs, *shard.jobs)]
    classes = actor.worker.dataset(shard.dataset).classes
    assert actor.open(shard.dataset, frozenset(), shard.data, texts) == f"embedding {len(classes)} names"
    assert read == []
    assert actor.read() == ""
    assert read == [classes]  # once, though two jobs say them; and what fails is left to the rows
    (done,) = outcomes(actor.run(shard))
    assert done.failed == 0
