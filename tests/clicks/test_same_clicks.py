"""The same clicks for every method, shard, order, worker and start of a run."""

from __future__ import annotations

import ast
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from harness import places
from harness.clicks import click_rng, clicks_a_round
from harness.config.click_protocol import Clicks
from harness.config.run_config import load_run
from harness.config.wording import Text
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.protocol import Names, Protocol
from harness.plugins.interfaces import Dataset, Method
from harness.plugins.registry import names
from harness.running.one_run import run
from harness.structures import Click, Image, Instance, Mask, Prediction, Sample
from toy_runs import Quiet

ROOT = Path(__file__).resolve().parents[2]
H, W = 24, 34
IMAGES, OBJECTS = 300, 7
BATCH = 3

ASKED: list[tuple[str, dict[str, Any]]] = [
    ("paper/v1", {}),
    ("paper/v1", {"margin": 1}),
    ("paper/v2", {"positives": 2, "negatives": 1}),
    ("ritm/v1", {}),
    ("center/v1", {}),
    ("sam/v1", {"first": "random"}),
    ("xu/v1", {"positives": 2, "negatives": 2, "negatives_by": 1}),
    ("xu/v1", {"negatives": 2}),
    ("rclicks/v1", {}),
    ("grid/v1", {"cell": 4}),
]
CORRECTING = ("ritm/v1", "center/v1", "sam/v1")
"""Asked for two rounds: their second clicks follow the method's masks."""


def blob(rng: np.random.Generator) -> Mask:
    noise = rng.standard_normal((5, 7)).astype(np.float32)
    mask = cv2.resize(noise, (W, H), interpolation=cv2.INTER_CUBIC) > 0.4
    mask[rng.integers(1, H - 1), rng.integers(1, W - 1)] = True
    mask[0] = False
    return mask


class Blobs(Dataset):
    """Objects all over; `red` changes what a strategy must not see: pixels, texts, the ids of one object's texts."""

    classes = ("thing", "other")

    def __init__(self, red: int) -> None:
        self.red = red

    def sample_ids(self) -> list[str]:
        return [str(number) for number in range(IMAGES)]

    def load(self, sample_id: str) -> Sample:
        rng, red = np.random.default_rng(int(sample_id)), self.red
        objects = [
            Instance(f"{sample_id}-{index}~{red}", blob(rng), self.classes[index % 2], text="red" * red)
            for index in range(OBJECTS)
        ]
        return Sample(sample_id, np.full((H, W, 3), red, np.uint8), tuple(objects))


class Around(Method):
    """A box around the latest click."""

    device = "cpu"

    def __init__(self, reach: int) -> None:
        self.reach = reach

    def predict(self, image: Image, click: Click | Sequence[Click], text: str | None) -> Prediction:
        last = click if isinstance(click, Click) else click[-1]
        mask = np.zeros((1, *image.shape[:2]), bool)
        rows, columns = (slice(max(0, at - self.reach), at + self.reach) for at in (last.y, last.x))
        mask[0, rows, columns] = True
        return Prediction(mask)


def digests(images: Iterable[int], red: int) -> dict[str, str]:
    """Object -> digest of its clicks; each image is asked by one strategy.

    Args:
        images: In the order in which they are worked on.
        red: 1: another method, other batches, and all that `Blobs` changes. A correcting strategy has to see the
            same masks again, so the method is another there in name alone.
    """
    found = {}
    for number, (name, options) in enumerate(ASKED):
        most = clicks_a_round(name, options) * (1 + (name in CORRECTING))
        clicks = Clicks(strategy=name, options=options, max_clicks=most)
        protocol = Protocol("made up", 0, clicks, Text(), ("iou",), images_per_batch=1 + (BATCH - 1) * red)
        method, names = Around(6 if name in CORRECTING else 6 + red), Names(f"m{red}", f"m{red}", "made up", "made up")
        own = [str(image) for image in images if image % len(ASKED) == number]
        for record in Evaluation(method, Blobs(red), [(names, protocol)]).records(own):
            assert record.status == "ok", record.error
            if record.click_index == most:
                key = record.instance_id.partition("~")[0]
                found[key] = hashlib.md5(repr(record.clicks).encode()).hexdigest()
    return found


WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
import cv2, test_same_clicks as t
cv2.setNumThreads(2)
print(t.digests(range(t.IMAGES - 1 - int(sys.argv[2]), -1, -2), red=1))
"""


def worker(number: int) -> subprocess.Popen[str]:
    """A process that works on every second image, the last one first."""
    environment = {"PYTHONHASHSEED": "7", "PYTHONPATH": f"{ROOT}:{ROOT}/tests/toys", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WORKER, str(Path(__file__).parent), str(number)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_thousand_instances_by_other_methods_and_workers_in_another_order() -> None:
    workers = [worker(number) for number in (0, 1)]
    first = digests(range(IMAGES), red=0)
    again: dict[str, str] = {}
    for one in workers:
        said, _ = one.communicate()
        again |= ast.literal_eval(said)
    assert len(first) == IMAGES * OBJECTS > 2_000
    assert again == first
    assert len(set(first.values())) > 1_000


def test_every_simulator_is_asked() -> None:
    # `shared/v1` asks for pairs of objects (test_shared.py), and the blobs lie apart; the others replay people's clicks
    # from a file (test_people.py).
    alone = {"shared/v1", "recorded/v1", "human/v1"}
    assert {name for name, _ in ASKED} == set(names("clicks")) - alone


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


@pytest.fixture
def folders() -> Iterator[list[Path]]:
    """Of the runs that a test starts; they go with it."""
    made: list[Path] = []
    yield made
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


def rows(folders: list[Path], tmp: Path, clicks: dict[str, Any], per_shard: int, again: bool = False) -> pd.DataFrame:
    """The clicks of a run of two methods on three images; `again`: half of its shards are lost, and it is resumed."""
    name = f"test-{uuid4().hex[:8]}"
    folders.append(places.ROOT / "runs" / name)
    scenes = {"name": "scenes", "params": {"split": "val", "count": 3}}
    methods = [{"name": "fakes:Steady", "label": label, "params": {"reach": reach}} for label, reach in METHODS]
    workers = {"executor": "local", "samples_per_shard": per_shard}
    config = {"run": name, "datasets": [scenes], "methods": methods, "clicks": clicks, "workers": workers}
    path = tmp / f"{name}.yaml"
    path.write_text(repr(config | {"tables": ["leaderboard"]}))  # YAML reads it as it stands
    run(load_run(path), Quiet())
    if again:
        shards = sorted((folders[-1] / "shards").rglob("*.parquet"))
        assert len(shards) > 3
        for shard in shards[::2]:
            shard.unlink()
        run(load_run(path), Quiet())
    found = pq.read_table(folders[-1] / "results.parquet").to_pandas()
    assert (found["status"] == "ok").all()
    found["clicks"] = found["clicks"].map(lambda made: str([tuple(click.values()) for click in made]))
    return found[["method", "instance_id", "click_index", "ranking", "clicks"]]


METHODS = (("small", 5), ("large", 9))


@pytest.mark.slow
@pytest.mark.parametrize("clicks", [ONE_SHOT, ROUNDS, RANDOM_FIRST], ids=["one-shot", "rounds", "random first"])
def test_a_run_s_clicks(folders: list[Path], tmp_path: Path, clicks: dict[str, Any]) -> None:
    one = rows(folders, tmp_path, clicks, per_shard=1)
    pd.testing.assert_frame_equal(one, rows(folders, tmp_path, clicks, per_shard=2, again=True))
    assert one["instance_id"].nunique() > 10
    first = one[one["click_index"] == one["click_index"].min()]
    assert (first.groupby("instance_id")["clicks"].nunique() == 1).all()  # for both methods
    assert one.groupby(["instance_id", "method"])["click_index"].nunique().nunique() == 1
