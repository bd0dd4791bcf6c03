"""What an outsider looks for first: licence, citation, `make help`, and no path in the docs that leads nowhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import harness

ROOT = Path(__file__).resolve().parents[1]
INVENTED = {
    "harness/clicks/centroid.py",
    "methods/NAME.py",
    "methods/NAME/NAME.py",
    "datasets/NAME.py",
    "methods/disk.py",
    "methods/disk/disk.py",
}
"""Files of the pages' examples, which a reader would write."""
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("tests/*.md")]


def test_licence_version_and_authors_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert project["license"] == citation["license"] == "Apache-2.0"
    assert project["authors"] == citation["authors"]
    assert citation["version"] == harness.__version__
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text("utf-8")


def test_make_help_tells_every_target() -> None:
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    told = [line.split(maxsplit=2) for line in shown.splitlines()]
    assert targets and [(word, name) for word, name, _ in told] == [("make", name) for name in targets[1].split()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text("utf-8"))
    there = [(page.parent / file if file else page, anchor) for file, anchor in links if "://" not in file]
    assert [str(file) for file, anchor in there if not file.exists() or (anchor and anchor not in anchors(file))] == []


def anchors(page: Path) -> set[str]:
    """Those that GitHub gives a page's headings: small letters, hyphens for spaces, no other signs."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_file_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(
        r"`((?:harness|methods|datasets|configs|tests|benchmarks)/[\w/.-]+\.\w+)`", page.read_text("utf-8")
    )
    assert [path for path in named if path not in INVENTED and not (ROOT / path).exists()] == []


def test_the_readme_has_a_line_for_each_package_and_no_other() -> None:
    tree = (ROOT / "README.md").read_text("utf-8").partition("## Reading the code")[2]
    packages = {folder.name for folder in (ROOT / "harness").iterdir() if (folder / "__init__.py").is_file()}
    assert set(re.findall(r"^  (\w+)/ ", tree, re.MULTILINE)) == packages


@pytest.mark.slow
def test_the_metric_and_the_table_of_the_guide_work(tmp_path: Path) -> None:
    metric, table = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL)
    check = "import numpy as np; full, half = np.ones((2, 4), bool), np.eye(2, 4, dtype=bool)"
    (tmp_path / "guide.py").write_text(
        f"{metric}\n{check}\nassert dice(full, half) == 0.4 and dice(~full, ~full) == 1\n{table}"
    )
    command = [sys.executable, "-m", "harness", "report", "docs/example_report/run", "--table", "guide:worst"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "The ten worst masks (run" in done.stdout, done.stderr
