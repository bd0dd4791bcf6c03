"""Methods of the folder: what is found, and what is told where nothing is."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import UserError
from harness.plugins import registry


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Path]]:
    """Writes methods/<name>.py for a while, in a folder of its own."""
    folder = tmp_path / "methods"
    folder.mkdir()
    monkeypatch.setattr("harness.plugins.kinds.shipped", tmp_path.joinpath)
    monkeypatch.setattr(importlib.import_module("harness.methods"), "__path__", [str(folder)])
    loaded = {key: sys.modules.pop(key) for key in list(sys.modules) if key.startswith("harness.methods.")}
    monkeypatch.setitem(registry._ENTRIES, "methods", {})

    def write(name: str, text: str) -> Path:
        (folder / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return folder / f"{name}.py"

    yield write
    for key in [key for key in sys.modules if key.startswith("harness.methods.")]:
        del sys.modules[key]
    sys.modules.update(loaded)


PLUGIN = """
from harness import Method, register_method

@register_method("{name}")
class {cls}(Method):
    \"\"\"Says {name}.\"\"\"
    def predict(self, image, click, text):
        raise NotImplementedError
"""


def test_names_of_the_folders() -> None:
    assert {"click_only", "text_click"} <= set(registry.names("methods"))
    assert {"scenes", "coco"} <= set(registry.names("datasets"))
    assert "maskclip" in registry.names("saliency") and "prompted_deeplab" in registry.names("learners")
    assert not {"prompted_deeplab", "open_clip_model", "__init__"} & set(registry.names("methods"))


def test_an_unknown_name_says_where_and_suggests() -> None:
    with pytest.raises(UserError, match=r"^a\.yaml, methods\[1\]\.name: no methods/text_clik\.py\. Did you mean"):
        registry.find("methods", "text_clik", "a.yaml, methods[1].name")


def test_a_plugin_with_a_decorator_is_suggested_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import harness\n@harness.register_metric('halves')\ndef halves(truth, prediction): return 0.5\n"
    (tmp_path / "metrics_of_ones_own.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"Did you mean 'halves'\? There are: halves\.$"):
        registry.find("metrics", "metrics_of_ones_own:halfs")


@pytest.mark.parametrize("name", ["../click_only", "saliency/maskclip", "saliency", "", ".", "__init__"])
def test_what_is_no_name_is_not_imported(name: str) -> None:
    with pytest.raises(UserError, match=r"There are: click_only"):
        registry.find("methods", name)


def test_a_file_of_this_folder_is_told_by_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "grow.py").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"Did you mean grow\.py in this folder\? Write grow:NAME"):
        registry.find("methods", "grow")


def test_a_file_that_registers_nothing(checkout: Callable[[str, str], Path]) -> None:
    checkout("silent", "X = 1")
    with pytest.raises(UserError, match=r"methods/silent\.py registers no 'silent'"):
        registry.find("methods", "silent")


def test_a_file_of_ones_own_is_listed_without_being_imported(checkout: Callable[[str, str], Path]) -> None:
    checkout("mine", PLUGIN.format(name="mine", cls="Mine"))
    checkout("quotes", PLUGIN.format(name="quotes", cls="Quotes").replace('"quotes"', "\n    'quotes',\n"))
    checkout("beside", "import nowhere")
    assert registry.names("methods") == ["mine", "quotes"] and "methods.mine" not in sys.modules
    assert registry.find("methods", "mine").__doc__ == "Says mine."


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("import nowhere", r"ModuleNotFoundError: No module named 'nowhere' \(.*broken\.py, line 1\)"),
        ("x = (", r"SyntaxError: .*line 1"),
        ("\n\n1 / 0", r"ZeroDivisionError: .* \(.*broken\.py, line 3\)"),
        ("import os\nos.nothing", r"AttributeError: .*line 2\)"),
        (
            "from harness import Method\nclass Idle(Method): pass",
            r"must write predict\(\), or encode\(\) and segment\(\)\. \(.*broken\.py, line 2\)\.$",
        ),
        ("import json\njson.loads('{')", r"JSONDecodeError: .* \(.*broken\.py, line 2\)\.$"),
        (
            "import argparse\nargparse.ArgumentParser().parse_args(['x'])",
            r"RuntimeError: sys\.exit\(2\) \(.*broken\.py, line 2\)\.$",
        ),
    ],
    ids=["import", "syntax", "run", "attribute", "contract", "library", "exit"],
)
def test_a_broken_file_is_named(checkout: Callable[[str, str], Path], broken: str, reason: str) -> None:
    checkout("fine", PLUGIN.format(name="fine", cls="Fine"))
    checkout("broken", broken + PLUGIN.format(name="broken", cls="Broken"))
    assert registry.names("methods") == ["broken", "fine"]
    with pytest.raises(UserError, match=rf"^here: methods/broken\.py cannot be imported\. .*{reason}"):
        registry.find("methods", "broken", "here")
    assert registry.find("methods", "fine")


def test_an_unfinished_plugin_is_told_what_to_write(module: str) -> None:
    with pytest.raises(UserError, match=r"Halfway must write load\."):
        registry.find("datasets", f"{module}:Halfway")


@pytest.mark.slow
def test_a_config_is_checked_without_the_libraries_of_networks() -> None:
    """They take 4 seconds to import; only a process that builds a network needs them."""
    code = """
import sys
from harness.plugins import registry

for kind in ("methods", "saliency", "learners"):
    for name in registry.names(kind):
        registry.find(kind, name)
heavy = {"open_clip", "segment_anything", "segmentation_models_pytorch", "timm", "torchvision", "transformers"}
print(*heavy & {*sys.modules})
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == []
