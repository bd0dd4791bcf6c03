"""The README's first table, from the run that it names."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from harness.statistics.means import paired_gain, paired_gains, part, summarise

pytestmark = pytest.mark.ray

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE = 0.3
"""Points of mIoU between machines: another CPU's float rounding flips single pixels."""


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    folder = ROOT / "runs" / "test-quickstart"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "harness", "run", "configs/quickstart.yaml", "--set", f"run={folder.name}"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=900)
    try:
        return pd.read_parquet(folder / "results.parquet")
    finally:
        shutil.rmtree(folder)


@pytest.mark.slow
def test_every_instance_of_200_scenes_is_answered_by_both(rows: pd.DataFrame) -> None:
    assert rows.groupby("method")["image_id"].nunique().to_dict() == {"Click only": 200, "Text+Click": 200}
    assert (rows["status"] == "ok").all() and not rows.duplicated(["method", "instance_id"]).any()


@pytest.mark.slow
def test_text_gains_at_least_8_points_overall_and_on_unseen_classes(rows: pd.DataFrame) -> None:
    for some in (rows, part(rows, seen=False)):
        assert paired_gain(some, "Text+Click", "Click only").low > 0.08


@pytest.mark.slow
def test_the_readme_prints_what_comes_out(rows: pd.DataFrame) -> None:
    printed = (ROOT / "README.md").read_text().split("quickstart:begin")[1].split("quickstart:end")[0]
    for line in summarise(rows).itertuples():
        (table_row,) = (text for text in printed.splitlines() if f"| {line.method} |" in text)
        means = [float(cell) for cell in re.findall(r"\| (\d+\.\d+)", table_row)]
        assert means == pytest.approx([100 * line.mean, 100 * line.seen, 100 * line.unseen], abs=TOLERANCE)


@pytest.mark.slow
def test_the_readme_prints_the_gains_and_their_intervals(rows: pd.DataFrame) -> None:
    printed = (ROOT / "README.md").read_text().split("quickstart:begin")[1].split("quickstart:end")[0]
    gains = paired_gains(rows, "Text+Click", "Click only")
    means = [100 * gains[half].difference for half in ("mean", "seen", "unseen")]
    assert [float(found) for found in re.findall(r"\((\+\d+\.\d+)\)", printed)] == pytest.approx(means, abs=TOLERANCE)
    for name, half in (("overall", "mean"), ("seen", "seen"), ("unseen", "unseen")):
        (low, high) = re.search(rf"{name} \[([\d.]+), ([\d.]+)\]", printed).groups()  # type: ignore[union-attr]
        ends = [100 * gains[half].low, 100 * gains[half].high]
        assert [float(low), float(high)] == pytest.approx(ends, abs=TOLERANCE)
