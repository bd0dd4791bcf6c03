"""Plugins from elsewhere in real Ray workers, beside Hugging Face's `datasets`, whose name ours shares."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

try:
    HUGGING_FACE = Path(str(importlib.metadata.distribution("datasets").locate_file("datasets")))
except importlib.metadata.PackageNotFoundError:
    HUGGING_FACE = None

needs_hugging_face = pytest.mark.skipif(HUGGING_FACE is None, reason="needs `pip install datasets`")

BESIDE = '''
"""A method that asks Hugging Face's package and ours, in whatever process it runs."""

import ray
from far_away import Boxes, Disc


class Beside(Disc):
    """A disc whose radius went through a Hugging Face Dataset."""

    def predict(self, image, click, text):
        import datasets
        from harness.datasets.scenes.scenes import Scenes

        assert ray.get_runtime_context().get_actor_id(), "this is no Ray worker"
        assert callable(datasets.load_dataset) and Scenes(count=1).sample_ids()
        rows = datasets.Dataset.from_dict({"radius": [self.radius]})
        assert rows[0]["radius"] == self.radius
        return super().predict(image, click, text)


class OtherBoxes(Boxes):
    """The same boxes, found by an entry point."""
'''


def _entry_points(folder: Path) -> None:
    info = folder / "beside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: beside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[harness.methods]\nbeside = beside:Beside\n[harness.datasets]\nother_boxes = beside:OtherBoxes\n"
    )


@needs_hugging_face
@pytest.mark.ray
def test_plugins_from_elsewhere_in_ray_workers(
    harness_command: Callable[..., subprocess.CompletedProcess[str]],
    elsewhere: Path,
    tmp_path: Path,
    run_name: str,
    shared_ray: str,
) -> None:
    (elsewhere / "beside.py").write_text(BESIDE)
    _entry_points(elsewhere)
    config = {
        "run": run_name,
        "datasets": [{"name": "far_away:Boxes", "label": "by module"}, {"name": "other_boxes"}],
        "methods": [
            {"name": "beside:Beside", "label": "by module", "params": {"radius": 5}},
            {"name": "beside", "label": "by entry point", "params": {"radius": "5"}},
        ],
        "workers": {"executor": "ray", "count": 1, "samples_per_shard": 2},
        "tables": ["leaderboard"],
    }
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(config))
    done = harness_command("run", path, "--address", shared_ray, PYTHONPATH=str(elsewhere))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = pq.read_table(ROOT / "runs" / run_name / "results.parquet").to_pandas()
    assert rows["error"].isna().all() and (rows["status"] == "ok").all()
    assert rows.groupby(["dataset", "method"]).size().to_dict() == {
        ("by module", "by entry point"): 2,
        ("by module", "by module"): 2,
        ("other_boxes", "by entry point"): 2,
        ("other_boxes", "by module"): 2,
    }
    assert set(rows["method_plugin"]) == {"beside:Beside", "beside"}
    assert rows.groupby(["dataset", "image_id"])["iou"].nunique().max() == 1


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


BOTH = """
import datasets, pickle, sys
from datasets import Dataset, load_dataset
from datasets.features import ClassLabel
from harness.plugins import registry
from harness.datasets.scenes.scenes import Scenes

assert "site-packages" in datasets.__file__
assert load_dataset is datasets.load_dataset is sys.modules["datasets.load"].load_dataset
assert pickle.loads(pickle.dumps(Dataset.from_dict({"a": [1]})))[0] == {"a": 1}
assert registry.find("datasets", "scenes") is Scenes and "scenes" in registry.names("datasets")
"""


@pytest.mark.slow
@needs_hugging_face
@pytest.mark.parametrize(
    "start", ["", "from harness.datasets.coco.coco import Coco"], ids=["theirs first", "ours first"]
)
def test_hugging_face_s_package_stands_beside_our_folder(start: str) -> None:
    _python(start + BOTH)
