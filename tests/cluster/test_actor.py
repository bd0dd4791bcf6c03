"""An actor without Ray: the same class in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import UserError
from harness.cluster.actor import Actor, Lost, Unopened
from harness.config.parts import Plugin
from harness.config.run_config import MethodEntry, RunConfig
from harness.jobs.jobs import Shard
from harness.jobs.plan import planned, remaining
from harness.jobs.worker import Outcome
from harness.storage.store import Store


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    (tmp_path / "far_pictures.py").write_text(PICTURES)
    monkeypatch.syspath_prepend(str(tmp_path))


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


def test_a_folder_that_is_not_there_is_a_message(tmp_path: Path) -> None:
    store, actor = Store(tmp_path / "run"), Actor()
    (shard, _) = shards(tmp_path / "gone", store)
    actor.load(shard.method, frozenset(), store, 1)
    with pytest.raises(UserError, match=r"^'pictures': found nothing at root=.*gone; the driver does"):
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
