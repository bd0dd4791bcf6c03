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
        from datasets import scenes

        assert ray.get_runtime_context().get_actor_id(), "this is no Ray worker"
        assert callable(datasets.load_dataset) and scenes.Scenes(count=1).sample_ids()
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
    harness_command: Callable[..., subprocess.CompletedProcess[str]], elsewhere: Path, tmp_path: Path, run_name: str
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
    done = harness_command("run", path, PYTHONPATH=str(elsewhere))
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


OUR_OWN_FIRST = """
import sys
from datasets import scenes, scene_drawing
import datasets.coco
from datasets.scene_drawing import canvas
assert "datasets.arrow_dataset" not in sys.modules, "our own plugins must not load Hugging Face's package"
from datasets import Dataset, load_dataset
"""

THEIR_MODULE_FIRST = """
import {module}
from datasets import Dataset, load_dataset, scenes
"""

BOTH = """
import datasets, pickle, sys
from datasets.features import ClassLabel
from harness import registry

assert load_dataset is datasets.load_dataset is sys.modules["datasets.load"].load_dataset
assert Dataset is sys.modules["datasets.arrow_dataset"].Dataset and datasets.ClassLabel is ClassLabel
assert pickle.loads(pickle.dumps(Dataset.from_dict({"a": [1]})))[0] == {"a": 1}
assert registry.find("datasets", "scenes") is scenes.Scenes and "scenes" in registry.names("datasets")
assert all(module.__spec__.name == name for name, module in sys.modules.items() if name.startswith("datasets."))
try:
    datasets.no_such_name
except AttributeError as error:
    assert str(error) == "module 'datasets' has no attribute 'no_such_name'", error
else:
    raise AssertionError
"""


@needs_hugging_face
@pytest.mark.parametrize(
    "start",
    [OUR_OWN_FIRST, *(THEIR_MODULE_FIRST.format(module=f"datasets.{name}") for name in ("load", "features.features"))],
    ids=["ours", "load", "features"],
)
def test_both_packages_in_one_process(start: str) -> None:
    _python(start + BOTH)


def test_without_hugging_face_s_package_ours_works_and_the_rest_is_said(tmp_path: Path) -> None:
    _python("""
import sys
sys.path = [entry for entry in sys.path if "site-packages" not in entry]
import datasets
try:
    datasets.load_dataset
except AttributeError as error:
    assert "Hugging Face's package is not installed" in str(error)
else:
    raise AssertionError
""")


@needs_hugging_face
def test_no_plugin_bears_the_name_of_hugging_face_s_modules() -> None:
    assert HUGGING_FACE is not None
    theirs = {path.stem for path in HUGGING_FACE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert {"load", "search", "arrow_dataset"} <= theirs
    own = [path for path in (ROOT / "datasets").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    assert {path.stem for path in own} & theirs == {"__init__"}
    for path in own:
        spec = importlib.util.find_spec(f"datasets.{path.stem}") if path.stem != "__init__" else None
        assert spec is None or Path(str(spec.origin)).is_relative_to(ROOT / "datasets")
