"""The same clicks for every method, shard, order, worker and start of a run."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from harness import registry
from harness.clicks import STRATEGIES, Situation, click_rng
from harness.config import load_run
from harness.run import run
from harness.structures import Click, Instance, Mask, Sample

ROOT = Path(__file__).resolve().parents[2]
H, W = 40, 56

ASKED: list[tuple[str, dict[str, Any]]] = [
    ("paper/v1", {}),
    ("paper/v1", {"margin": 1}),
    ("paper/v2", {"positives": 2, "negatives": 1}),
    ("ritm/v1", {}),
    ("center/v1", {}),
    ("sam/v1", {"first": "random"}),
    ("xu/v1", {"positives": 2, "negatives": 2, "negatives_by": 1}),
    ("rclicks/v1", {}),
    ("grid/v1", {}),
]


def blob(rng: np.random.Generator) -> Mask:
    noise = rng.standard_normal((5, 7)).astype(np.float32)
    mask = cv2.resize(noise, (W, H), interpolation=cv2.INTER_CUBIC) > 0.4
    mask[rng.integers(1, H - 1), rng.integers(1, W - 1)] = True
    mask[0] = False
    return mask


def clicks_of(number: int, strategy: int, red: int = 0) -> tuple[Click, ...]:
    """One of the generated instances after one round, asked for its second; `red` is what a strategy must not see."""
    drawn = np.random.default_rng(number)
    truth, predicted = blob(drawn), blob(drawn)
    instance = Instance(f"i{number}~{red}", truth, "thing", text="red" * red)
    sample = Sample(f"s{number}", np.full((H, W, 3), red, np.uint8), (instance, Instance("o", predicted, "thing")))
    rng = click_rng(0, "made up", sample.id, instance.object_id, 2)
    earlier = (Click(W // 2, H // 2),) if number % 2 else ()
    name, options = ASKED[strategy]
    return STRATEGIES[name](Situation(sample, instance, earlier, predicted, rng), **options)


def digests(numbers: Iterable[int], red: int = 0) -> dict[int, str]:
    """Instance -> digest of its clicks; each asks one strategy."""
    return {n: hashlib.md5(repr(clicks_of(n, n % len(ASKED), red)).encode()).hexdigest() for n in numbers}


@pytest.fixture
def threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def test_ten_thousand_instances_in_any_order(threads: None) -> None:
    cv2.setNumThreads(1)
    first = digests(range(10_000))
    cv2.setNumThreads(2)
    again: dict[int, str] = {}
    for shard in range(6, -1, -1):  # every seventh, backwards, as other shards would have them
        again |= digests(range(9999 - shard, -1, -7), red=1)
    assert again == first
    assert len(set(first.values())) > 5_000


def test_another_process_makes_the_same_clicks() -> None:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_same_clicks as t; "
    done = subprocess.run(
        [sys.executable, "-c", code + "print(t.digests(range(180)))"],
        cwd=ROOT,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(digests(range(180)))


def test_a_draw_and_a_round_have_clicks_of_their_own() -> None:
    drawn = {
        tuple(click_rng(0, "d", "s", "i", number, draw).integers(1 << 60, size=2).tolist())
        for number in range(4)
        for draw in range(4)
    }
    assert len(drawn) == 16
    same = [click_rng(0, "d", "s", "i", 1, *draw).integers(1 << 60) for draw in ((), (0,))]
    assert same[0] == same[1]


ONE_SHOT = {"strategy": "paper/v2", "options": {"positives": 2, "negatives": 1, "distance": 4}, "max_clicks": 3}
ROUNDS = {"strategy": "center/v1", "max_clicks": 3}
RANDOM_FIRST = {"strategy": "rclicks/v1", "max_clicks": 2}


class Unwatched:
    """A watcher that lets everything pass."""

    def training(self, *told: Any) -> None: ...

    def planned(self, *told: Any) -> None: ...

    def outcome(self, *told: Any) -> None: ...


@pytest.fixture
def folders() -> Iterator[list[Path]]:
    """Of the runs that a test starts; they go with it."""
    made: list[Path] = []
    yield made
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


def rows(folders: list[Path], tmp: Path, clicks: dict[str, Any], per_shard: int, again: bool = False) -> pd.DataFrame:
    """The clicks of a run of two methods on five images; `again`: half of its shards are lost, and it is resumed."""
    name = f"test-{uuid4().hex[:8]}"
    folders.append(registry.ROOT / "runs" / name)
    scenes = {"name": "scenes", "params": {"split": "val", "count": 5}}
    methods = [{"name": "fakes:Steady", "label": label, "params": {"reach": reach}} for label, reach in METHODS]
    workers = {"executor": "local", "samples_per_shard": per_shard}
    config = {"run": name, "datasets": [scenes], "methods": methods, "clicks": clicks, "workers": workers}
    path = tmp / f"{name}.yaml"
    path.write_text(repr(config | {"tables": ["leaderboard"]}))  # YAML reads it as it stands
    run(load_run(path), Unwatched())
    if again:
        shards = sorted((folders[-1] / "shards").rglob("*.parquet"))
        assert len(shards) > 3
        for shard in shards[::2]:
            shard.unlink()
        run(load_run(path), Unwatched())
    found = pq.read_table(folders[-1] / "results.parquet").to_pandas()
    assert (found["status"] == "ok").all()
    found["clicks"] = found["clicks"].map(lambda made: str([tuple(click.values()) for click in made]))
    return found[["method", "instance_id", "click_index", "ranking", "clicks"]]


METHODS = (("small", 5), ("large", 9))


@pytest.mark.parametrize("clicks", [ONE_SHOT, ROUNDS, RANDOM_FIRST], ids=["one-shot", "rounds", "random first"])
def test_a_run_s_clicks(
    folders: list[Path], tmp_path: Path, clicks: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests"))
    one = rows(folders, tmp_path, clicks, per_shard=1)
    pd.testing.assert_frame_equal(one, rows(folders, tmp_path, clicks, per_shard=3))
    pd.testing.assert_frame_equal(one, rows(folders, tmp_path, clicks, per_shard=2, again=True))
    assert one["instance_id"].nunique() > 10
    first = one[one["click_index"] == one["click_index"].min()]
    assert (first.groupby("instance_id")["clicks"].nunique() == 1).all()  # for both methods
    assert one.groupby(["instance_id", "method"])["click_index"].nunique().nunique() == 1
