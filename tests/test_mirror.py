"""Tests lie where the code lies: a file of the code has its test file, or tests/README.md names those that test it."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "tests" / "README.md").read_text("utf-8")
LINES = [[re.findall(r"`([\w/.*]+\.py|[\w/]+/\*)`", cell) for cell in line.split("|")] for line in PAGE.splitlines()]
ELSEWHERE = [name for line in LINES if len(line) == 4 for name in line[1] if not name.startswith("tests/")]
"""Files of the code, and folders of them, that the page's table names."""
NAMED = {name for line in LINES for cell in line for name in cell}


def sources() -> list[Path]:
    found = (
        path.relative_to(ROOT) for top in ("harness", "methods", "datasets") for path in (ROOT / top).rglob("*.py")
    )
    return sorted(path for path in found if path.name != "__init__.py")


def mirrored(source: Path) -> set[str]:
    """Where a file's tests may lie."""
    if source.parts[0] == "harness":
        return {str(Path("tests", *source.parts[1:-1], f"test_{source.name}"))}
    folder = Path("tests", source.parts[0])
    return {str(folder / f"test_{source.name}"), str(folder / f"test_{source.parent.name}_{source.name}")}


def test_each_file_of_the_code_has_its_tests() -> None:
    lacking = [str(one) for one in sources() if not any((ROOT / path).exists() for path in mirrored(one))]
    unnamed = [one for one in lacking if not any(fnmatch(one, pattern) for pattern in ELSEWHERE)]
    assert unnamed == [], "write tests/<package>/test_<file>.py, or name in the table of tests/README.md what tests it"


def test_each_test_file_mirrors_a_file_or_is_named() -> None:
    known = {path for one in sources() for path in mirrored(one)} | NAMED
    tests = [str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")]
    assert [one for one in sorted(tests) if one not in known] == []


def test_the_page_names_what_is_there_and_what_has_no_test_file() -> None:
    found = [str(one) for one in sources()]
    assert [name for name in NAMED if "*" not in name and not (ROOT / name).exists()] == []
    alone = [str(one) for one in sources() if not any((ROOT / path).exists() for path in mirrored(one))]
    assert [one for one in ELSEWHERE if one in found and one not in alone] == []
    assert [one for one in ELSEWHERE if not any(fnmatch(path, one) for path in alone)] == []
