"""A plugin's code as a hash: what counts as an edit of it, and what does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.plugins import code, registry
from harness.plugins.code import code_of

MINE = '''
"""A method."""
from my_package import parts
from . import beside


class Mine:
    """Of mine."""

    def predict(self):
        """Answer."""
        import lazily  # in a function

        return parts.answer() + beside.more() + lazily.found()
'''
FILES = {
    "my_package/__init__.py": "",
    "my_package/mine.py": MINE,
    "my_package/parts.py": "from my_package.deep.inner import TWO\n\n\ndef answer():\n    return TWO\n",
    "my_package/deep/inner.py": "TWO = 2\n",
    "my_package/beside.py": "def more():\n    return 1\n",
    "my_package/other.py": "UNUSED = 1\n",
    "lazily.py": "import numpy\n\n\ndef found():\n    return numpy.ones(1)\n",
}

ASK = """
import sys
sys.path.insert(0, sys.argv[1])
from harness.plugins import code
import my_package.mine
print(code._digest(my_package.mine.Mine))
"""


def digest(folder: Path) -> str:
    """The hash in a new process, as each start of a run is one."""
    command = [sys.executable, "-c", ASK, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def write(folder: Path, **changed: str) -> Path:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(changed.get(name.replace("/", "_").removesuffix(".py"), text))
    return folder


@pytest.mark.slow
def test_an_edit_of_whatever_of_mine_is_imported_counts_and_nothing_else(tmp_path: Path) -> None:
    before = digest(write(tmp_path / "a"))
    assert len(before) == 16 and digest(write(tmp_path / "elsewhere")) == before
    edits = {
        "my_package_mine": MINE.replace("parts.answer() +", "parts.answer() -"),
        "my_package_deep_inner": "TWO = 3\n",
        "my_package_beside": "def more():\n    return 2\n",
        "lazily": FILES["lazily.py"].replace("ones(1)", "ones(2)"),
    }
    found = [digest(write(tmp_path / "a", **{name: text})) for name, text in edits.items()]
    assert len({before, *found}) == len(edits) + 1
    same = {
        "my_package_mine": MINE.replace('"""Answer."""', '"""Say."""').replace("# in a function", ""),
        "my_package_parts": "# A remark.\n" + FILES["my_package/parts.py"].replace("return TWO", "return (TWO)"),
        "my_package_other": "UNUSED = 2\n",
    }
    assert {digest(write(tmp_path / "a", **{name: text})) for name, text in same.items()} == {before}


@pytest.mark.slow
def test_a_package_among_the_installed_libraries_is_followed_within_itself(tmp_path: Path) -> None:
    installed = tmp_path / "lib" / "site-packages"
    before = digest(write(installed))
    assert digest(write(installed, my_package_deep_inner="TWO = 3\n")) != before
    assert digest(write(installed, lazily="def found():\n    return 1\n")) == before


def test_plugins_within_a_plugin_have_their_own_hash() -> None:
    params = {"saliency": {"name": "maskclip", "params": {}}}
    found = code_of("methods", "text_click", params)
    assert list(found) == ["method text_click", "saliency maskclip"] and len(set(found.values())) == 2
    assert list(code_of("methods", "text_click", {})) == ["method text_click"]


@pytest.mark.parametrize(
    ("kind", "name", "wanted"),
    [
        ("methods", "sam_hq", {"harness.methods.sam.sam", "harness.methods.shared.device"}),
        ("datasets", "refcoco", {"harness.datasets.coco.listing", "harness.datasets.shared.ids"}),
        ("clicks", "paper/v1", {"harness.clicks.paper", "harness.clicks.sampling", "harness.clicks.depth"}),
        ("metrics", "boundary_iou", {"harness.masks.metrics", "harness.masks.region"}),
        ("texts", "given", {"harness.config.texts"}),
        ("methods", "fakes:Steady", {"fakes"}),
    ],
)
def test_every_kind_is_followed_as_far_as_its_author_s_code_goes(kind: str, name: str, wanted: set[str]) -> None:
    followed = {module for module, _ in code._modules(registry.find(kind, name).__module__)}
    assert wanted <= followed
    (scope,) = {".".join(module.split(".")[:2]) for module in wanted}
    assert all(f"{module}.".startswith((f"{scope}.", "harness.images.")) for module in followed)
    assert ("harness.images.reading" in followed) == (kind == "datasets")


def test_what_has_no_file_has_no_hash() -> None:
    cell = type("OfACell", (), {"__module__": "a_notebook_s_cell"})
    assert code._digest(cell) == ""
    assert code._digest(len) == ""
