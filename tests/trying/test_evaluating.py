"""`harness.evaluate` from Python gives the rows of a run, and leaves neither a folder nor moved generators."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fakes
import harness
from chancy import Chancy
from harness import Click, Dataset, Method, Prediction, Sample, UserError, places
from harness.config.run_config import load_run
from harness.evaluation import chance
from harness.running.one_run import run
from harness.storage.rows import MEASURED
from toy_runs import STEADY, TOYS, Quiet, written

ASKED: dict[str, Any] = {
    "clicks": {"strategy": "ritm/v1", "max_clicks": 2},
    "text": "class_name",
    "metrics": ["boundary_iou", "iou"],
    "seed": 3,
}


def of_a_run(folder: Path, method: dict[str, Any], dataset: dict[str, Any], **changed: Any) -> pd.DataFrame:
    config = load_run(written(folder / "a.yaml", methods=[method], datasets=[dataset], **changed))
    run(config, Quiet(), runs=str(folder / "runs"))
    return harness.load(folder / "runs" / "a", masks=True)


def same(rows: pd.DataFrame, wanted: pd.DataFrame, attrs: bool = True) -> None:
    """All columns are equal, but times and the run's name; and so is what rows remember of metrics and draws."""
    assert list(rows.columns) == list(wanted.columns) and set(rows["run"]) == {"evaluate"}
    apart = [*MEASURED, "run"]
    pd.testing.assert_frame_equal(rows.drop(columns=apart), wanted.drop(columns=apart))
    assert not attrs or rows.attrs == wanted.attrs


def test_rows_are_those_of_a_run(tmp_path: Path) -> None:
    wanted = of_a_run(tmp_path, STEADY, TOYS, limit=2, **ASKED)
    found = harness.evaluate(fakes.Steady(), TOYS, limit=2, label="steady", masks=True, **ASKED)
    same(found, wanted)
    assert len(found) == 2 * 2 * 2 * 3  # images, instances, clicks, rankings with the oracle


@pytest.mark.slow
def test_by_default_too_and_failed_instances_have_rows_and_a_warning(tmp_path: Path) -> None:
    broken = {"name": "fakes:Toys", "params": {"count": 3, "unreadable": [1]}}
    wanted = of_a_run(tmp_path, {"name": "fakes:Steady"}, broken)
    with pytest.warns(UserWarning, match=r"fakes:Steady: 1 of 5 instances of fakes:Toys failed. load: OSError"):
        same(harness.evaluate(fakes.Steady(), broken, masks=True), wanted)


def test_an_object_is_a_data_set_too_and_goes_by_its_plugin_s_name() -> None:
    wanted = harness.evaluate(fakes.Steady(), {"name": "fakes:Toys", "params": {"count": 2}})
    same(harness.evaluate(fakes.Steady(), fakes.Toys(2)), wanted)


@pytest.mark.slow
def test_a_config_s_method_has_the_rows_of_its_run(tmp_path: Path) -> None:
    path = places.config(Path("quickstart"))
    config = load_run(path, ["limit=1", "workers.executor=local", "tables=[leaderboard]"])
    run(config, Quiet(), runs=str(tmp_path))
    rows = harness.load(tmp_path / config.run, masks=True)
    asked = {"clicks": config.clicks, "text": config.text, "metrics": config.metrics, "seed": config.seed, "limit": 1}
    ours = harness.method("quickstart", "Text+Click")
    found = harness.evaluate(ours, config.datasets[0].model_dump(), label="Text+Click", masks=True, **asked)
    same(found, rows[rows["method"] == "Text+Click"].reset_index(drop=True), attrs=False)


def test_generators_are_left_as_they_were() -> None:
    method = Chancy()
    random.seed(5)
    np.random.seed(5)
    wanted = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    rows = harness.evaluate(method, fakes.Toys(2))
    assert (random.random(), np.random.rand()) == wanted
    assert rows["iou"].tolist() == harness.evaluate(method, fakes.Toys(2))["iou"].tolist()


def test_torch_s_generator_is_left_as_it_was() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    with chance.kept():
        chance.seed("image", 1)
    assert torch.equal(torch.rand(3), wanted)


def test_a_class_of_a_notebook_and_classes_of_a_training() -> None:
    class Local(Method):
        def predict(self, image: Any, click: Click | Any, text: str | None) -> Prediction:
            return Prediction(np.ones((1, *image.shape[:2]), bool))

    class Unsplit(fakes.Toys):
        def load(self, sample_id: str) -> harness.Sample:
            found = super().load(sample_id)
            bare = tuple(harness.Instance(one.id, one.mask, one.category) for one in found.instances)
            return harness.Sample(sample_id, found.image, bare)

    rows = harness.evaluate(Local(), Unsplit(1), trained_on=["large"])
    assert rows["method"].iloc[0].endswith("Local") and "mask" not in rows
    assert dict(zip(rows["category"], rows["seen"], strict=True)) == {"small": False, "large": True}

    class Voc(Unsplit):
        classes = ("small", "aeroplane")

        def load(self, sample_id: str) -> harness.Sample:
            small, large = super().load(sample_id).instances
            named = (small, replace(large, category="aeroplane"))
            return harness.Sample(sample_id, super().load(sample_id).image, named)

    rows = harness.evaluate(Local(), Voc(1), trained_on=["airplane"])
    assert dict(zip(rows["category"], rows["seen"], strict=True)) == {"small": False, "aeroplane": True}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"limit": 0}, r"harness.evaluate, limit: .*greater than 0"),
        ({"metrics": ["iuo"]}, r"harness.evaluate, metrics\[0\]: no metric 'iuo'. Did you mean 'iou'"),
        ({"clicks": {"strategy": "centre/v1"}}, r"harness.evaluate, clicks.strategy: no click rule 'centre/v1'"),
        ({"clicks": {"max_click": 3}}, r"clicks.max_click: no such key. Did you mean 'max_clicks'"),
        ({"text": "wrong"}, r"harness.evaluate, text.rule: no text rule 'wrong'"),
        ({"clicks": {"max_clicks": 0}}, "Steady needs a click"),
        ({"dataset": "scene"}, r"harness.evaluate, dataset.name: no datasets/scene.py. Did you mean 'scenes'"),
        ({"dataset": {"name": "scenes", "param": {}}}, r"harness.evaluate, dataset, param: no such key"),
        ({"dataset": fakes.Toys}, r"harness.evaluate, dataset: found <class 'fakes.Toys'>; wanted a name, an entry"),
        ({"trained_on": "coco_sen"}, "coco_sen"),
    ],
)
def test_what_no_config_could_have_is_one_message(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        harness.evaluate(fakes.Steady(), **{"dataset": fakes.Toys(1), **changed})


class Recounted(fakes.Toys):
    """Counts the instances of each image from 0."""

    def load(self, sample_id: str) -> Sample:
        sample = super().load(sample_id)
        return replace(sample, instances=[replace(one, id=str(n)) for n, one in enumerate(sample.instances)])


class Nameless(fakes.Toys):
    """Does not say its classes."""

    classes = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (Recounted(2), r".*Recounted': load\(\) gives the instance '0' twice"),
        (Nameless(1), r".*Nameless': `classes` is nothing; wanted the names of its categories"),
    ],
)
def test_a_data_set_that_no_run_takes_is_refused(dataset: Dataset, said: str) -> None:
    with pytest.raises(UserError, match=f"harness.evaluate, data set '{said}"):
        harness.evaluate(fakes.Steady(), dataset)


def test_a_method_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match=r"found the class Steady; wanted a built method: Steady\(...\)"):
        harness.evaluate(fakes.Steady, fakes.Toys(1))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"harness.evaluate: found str 'quickstart'; wanted a method"):
        harness.evaluate("quickstart", fakes.Toys(1))  # type: ignore[arg-type]
