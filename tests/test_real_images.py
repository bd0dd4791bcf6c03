"""configs/coco.yaml on real images, and a method that is trained before its first run."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from harness.datasets.coco.coco import Coco

import real_data

ROOT = Path(__file__).resolve().parents[1]
MOST = 6
"""Images that the methods are evaluated on."""
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.slow
@real_data.needs("coco")
def test_every_real_instance_is_accounted_for(run_name: str, here: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(real_data.FOLDER))
    changes = (f"run={run_name}", f"limit={MOST}", "workers.executor=local")
    done = here("run", "configs/coco.yaml", *(word for change in changes for word in ("--set", change)))
    assert done.returncode == 0, done.stderr
    coco = Coco(real_data.COCO, "val2017")
    instances = sum(len(coco.list_instances(one)) for one in coco.sample_ids()[:MOST])
    rows = pd.read_parquet(ROOT / "runs" / run_name / "results.parquet")
    assert len(rows) == 2 * instances and (rows["status"] == "ok").all()
    assert (
        "Out of domain: trained on scenes, evaluated on coco." in (ROOT / "runs" / run_name / "report.md").read_text()
    )


@pytest.mark.slow
def test_a_method_is_trained_once_before_it_runs(run_name: str, tmp_path: Path, here: Command) -> None:
    recipe = yaml.safe_load((ROOT / "configs" / "scenes_click_only.yaml").read_text())
    recipe |= {"steps": 2, "batch": 2, "checkpoint": str(tmp_path / "net.safetensors")}
    recipe["datasets"][0]["params"]["count"] = 3
    config = {
        "run": run_name,
        "datasets": [{"name": "scenes", "params": {"count": 2}}],
        "methods": [{"name": "click_only", "train": recipe}],
        "workers": {"executor": "local"},
    }
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(config))
    assert here("run", path).returncode == 0
    trained = (tmp_path / "net.safetensors").stat().st_mtime_ns
    shutil.rmtree(ROOT / "runs" / run_name)
    assert here("run", path).returncode == 0
    assert (tmp_path / "net.safetensors").stat().st_mtime_ns == trained
