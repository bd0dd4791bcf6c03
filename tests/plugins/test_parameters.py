"""Parameters of plugins: checked, made JSON values, and built; and where their paths lead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from harness import UserError, places
from harness.plugins import parameters

BUILT = """
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from harness import Method, Saliency, UserError

RAISED = {
    "file": lambda: Path("gone.pt").read_bytes(),
    "json": lambda: json.loads("{"),
    "exit": lambda: sys.exit(3),
    "user": lambda: (_ for _ in ()).throw(UserError("here: found a; wanted b.")),
    "lost": lambda: (_ for _ in ()).throw(RuntimeError("CUDA error: device-side assert triggered")),
    "full": lambda: (_ for _ in ()).throw(__import__("torch").OutOfMemoryError("CUDA out of memory.")),
    "memory": lambda: (_ for _ in ()).throw(MemoryError()),
}


class Raises(Method):
    def __init__(self, what: str) -> None:
        RAISED[what]()

    def predict(self, image, click, text):
        raise NotImplementedError


@dataclass
class Late(Raises):
    what: str

    def __post_init__(self) -> None:
        super().__init__(self.what)


class Inner(Saliency):
    def __init__(self) -> None:
        raise KeyError("a class\\nof two lines")

    def features(self, images):
        return []

    maps = features


class Outer(Raises):
    def __init__(self, saliency: Saliency) -> None:
        pass
"""


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, Any]], Any]:
    """Builds a class of a module whose constructors raise."""
    name = f"raising_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(BUILT)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda cls, params: parameters.build(
        "methods", f"{name}:{cls}", json.loads(json.dumps(params).replace("<>", name))
    )


@pytest.mark.parametrize(
    ("cls", "params", "reason"),
    [
        ("Raises", {"what": "file"}, r"FileNotFoundError: .*'gone\.pt' \(\S*raising_\d+\.py, line 10\)\.$"),
        ("Raises", {"what": "json"}, r"JSONDecodeError: .* \(\S*raising_\d+\.py, line 11\)\.$"),
        ("Raises", {"what": "exit"}, r"RuntimeError: sys\.exit\(3\) \(\S*raising_\d+\.py, line 12\)\.$"),
        ("Raises", {"what": "none"}, r"KeyError: 'none' \(\S*raising_\d+\.py, line 22\)\.$"),
        ("Late", {"what": "file"}, r"FileNotFoundError: .*line 10\)\.$"),
        ("Outer", {"saliency": {"name": "<>:Inner", "params": {}}}, r"KeyError: 'a class.*two lines' \(.*line 38\)\.$"),
    ],
    ids=["file", "library", "exit", "bug", "dataclass", "inner"],
)
def test_a_constructor_that_raises_is_one_message_that_says_where(
    built: Callable[[str, dict[str, Any]], Any], cls: str, params: dict[str, Any], reason: str
) -> None:
    kind, own = ("saliency", "Inner") if cls == "Outer" else ("methods", cls)
    with pytest.raises(UserError, match=rf"^{kind}: 'raising_\d+:{own}' cannot be built\. {reason}") as error:
        built(cls, params)
    assert isinstance(error.value.__cause__, BaseException) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("what", "kind", "said"),
    [
        ("user", UserError, r"^here: found a; wanted b\.$"),
        ("lost", RuntimeError, "^CUDA error"),
        ("full", torch.OutOfMemoryError, "^CUDA out of memory"),
        ("memory", MemoryError, "^$"),
    ],
)
def test_what_is_said_already_or_is_the_machine_s_stays_as_it_is(
    built: Callable[[str, dict[str, Any]], Any], what: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said) as error:
        built("Raises", {"what": what})
    assert type(error.value) is kind


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"checkpont": "a"}, r"\.checkpont: .*:Many takes no such parameter\. Did you mean 'checkpoint'\?"),
        ({}, r": .*:Many needs checkpoint\. It takes: checkpoint, saliency, scale"),
        ({"checkpoint": None}, r"\.checkpoint: found nothing; wanted a path"),
        ({"checkpoint": 3}, r"\.checkpoint: found 3; wanted a path"),
        ({"checkpoint": "a", "scale": "big"}, r"\.scale: found 'big'; wanted a valid number"),
        ({"checkpoint": "a", "betas": [1, 2, 3]}, r"\.betas: found \[1, 2, 3\]; wanted"),
        ({"checkpoint": "a", "betas": 1}, r"\.betas: found 1; wanted a list"),
        ({"checkpoint": "a", "mode": "naive"}, r"\.mode: found 'naive'; wanted 'native', or a valid integer"),
        ({"checkpoint": "a", "folds": "b"}, r"\.folds: found 'b'; wanted a list"),
        ({"checkpoint": "a", "saliency": 3}, r"\.saliency: found 3; wanted a name, or"),
        ({"checkpoint": "a", "saliency": {"nam": "maskclip"}}, r"\.saliency: found .*; wanted a name, or"),
        (
            {"checkpoint": "a", "saliency": {"name": "maskclip", "parms": {}}},
            r"\.saliency\.parms: no such key\. Did you mean 'params'",
        ),
        (
            {"checkpoint": "a", "saliency": "maskclp"},
            r"\.saliency\.name: no methods/saliency/maskclp\.py\. Did you mean 'maskclip'",
        ),
        (
            {"checkpoint": "a", "saliency": {"name": "<>:Blank", "params": {"weighs": "x"}}},
            r"\.saliency\.params\.weighs: .*:Blank takes no such parameter\. Did you mean 'weights'",
        ),
        (
            {"checkpoint": "a", "saliency": {"name": "<>:Blank", "params": {"weights": "a", "sharp": 3}}},
            r"\.saliency\.params\.sharp: found 3; wanted a valid boolean",
        ),
    ],
)
def test_wrong_parameters(module: str, params: dict[str, Any], reason: str) -> None:
    given = json.loads(json.dumps(params).replace("<>", module))
    with pytest.raises(UserError, match=r"^a\.yaml, methods\[2\]\.params" + reason):
        parameters.resolve("methods", f"{module}:Many", given, "a.yaml, methods[2].name")


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        (
            {"crop": {"target_sise": 100}},
            r"crop\.target_sise: no such key\. Did you mean 'target_size'\? There are: edges, target_size\.",
        ),
        (
            {"crop": {"edges": [{"width": 1}, {"width": 1, "shrp": True}]}},
            r"crop\.edges\[1\]\.shrp: no such key\. Did you mean 'sharp'\? There are: sharp, width\.",
        ),
        ({"crops": {"a": {"edgs": None}}}, r"crops\.a\.edgs: no such key\. Did you mean 'edges'\?"),
        ({"margin": {"lefd": 1}}, r"margin\.lefd: no such key\. Did you mean 'left'\? There are: left\."),
        ({"crop": {"edges": [{"sharp": True}]}}, r"crop\.edges\[0\]\.width: found nothing; wanted a value\."),
        ({"crop": 3}, r"crop: found 3; wanted a mapping\."),
    ],
)
def test_a_key_within_a_parameter_is_named_with_the_nearest(module: str, params: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=rf"^a\.yaml, methods\[2\]\.params\.{reason}"):
        parameters.resolve("methods", f"{module}:Cropped", params, "a.yaml, methods[2].name")


def test_parameters_are_json_and_build_the_annotated_types(module: str) -> None:
    saliency = {"name": f"{module}:Blank", "params": {"weights": "methods/b.pt", "sharp": True}}
    params = {
        "checkpoint": "methods/weights/a.pt",
        "scale": "1e-2",  # How YAML reads 1e-2: as text.
        "betas": [0, 1],
        "folds": ["methods/a", "/tmp/b"],
        "mode": 128,
        "anything": {"deep": [1, None]},
        "saliency": saliency,
    }
    resolved = parameters.resolve("methods", f"{module}:Many", params)
    assert json.loads(json.dumps(resolved)) == resolved
    assert parameters.resolve("methods", f"{module}:Many", resolved) == resolved
    built = parameters.build("methods", f"{module}:Many", json.loads(json.dumps(resolved)))
    root = places.ROOT
    folds = [root / "methods/a", Path("/tmp/b")]
    assert built.given == (
        root / "methods/weights/a.pt",
        0.01,
        (0.0, 1.0),
        folds,
        128,
        None,
        {"deep": [1, None]},
    )
    assert (built.saliency.weights, built.saliency.sharp) == (root / "methods/b.pt", True)


def test_defaults_stay_the_plugin_s(module: str) -> None:
    assert parameters.resolve("methods", f"{module}:Many", {"checkpoint": "a"}) == {"checkpoint": "a"}
    assert parameters.build("methods", f"{module}:Many", {"checkpoint": "a"}).given[1:3] == (1.0, (0.9, 0.99))


@pytest.mark.usefixtures("no_harness_data")
def test_a_default_path_counts_from_the_root_for_workers_too() -> None:
    class Mine:
        def __init__(
            self,
            root: Path = Path("data/mine"),
            rules: Path = Path("methods/rules.txt"),
            beside: Path = Path(__file__),
            cache: Path | None = None,
        ) -> None:
            del root, rules, beside, cache

    # `beside` is the plugin's own file, which lies elsewhere in a worker's copy of the checkout.
    told = {"root": str(places.ROOT / "data/mine"), "rules": "methods/rules.txt"}
    assert parameters.arguments(Mine, "mine", {}, "here") == told
    assert parameters.arguments(Mine, "mine", {"root": "/far"}, "here") == told | {"root": "/far"}


def test_an_optional_plugin_may_be_none(module: str) -> None:
    resolved = parameters.resolve("methods", f"{module}:Many", {"checkpoint": "a", "saliency": None})
    assert resolved["saliency"] is None and parameters.build("methods", f"{module}:Many", resolved).saliency is None


def test_a_method_within_a_method(module: str) -> None:
    inner = {"name": f"{module}:Many", "params": {"checkpoint": "weights/a.pt"}}
    resolved = parameters.resolve("methods", f"{module}:Wrapped", {"inner": inner})
    assert resolved["inner"]["params"] == {"checkpoint": str(places.ROOT / "weights/a.pt")}
    built = parameters.build("methods", f"{module}:Wrapped", resolved)
    assert built.inner.given[0] == places.ROOT / "weights/a.pt"


def test_constructors_that_take_anything_or_are_generated(module: str) -> None:
    params = {"first": "4", "second": "x"}
    built = parameters.build("methods", f"{module}:Open", parameters.resolve("methods", f"{module}:Open", params))
    assert (built.first, built.others) == (4, {"second": "x"})
    built = parameters.build("methods", f"{module}:Frozen", {"checkpoint": "a", "rounds": 3})
    assert (built.checkpoint, built.rounds) == (places.ROOT / "a", 3)


def test_an_annotation_that_cannot_be_read(module: str) -> None:
    with pytest.raises(UserError, match=r":Torn: name 'torch' is not defined"):
        parameters.resolve("methods", f"{module}:Torn", {"device": "cpu"})


def test_options_of_a_function() -> None:
    def click(at: object, margin: float = 0.5, kind: Literal["a", "b"] = "a") -> None:
        del at, margin, kind

    assert parameters.arguments(click, "click", {"margin": "0.25"}, "here") == {"margin": 0.25}
    with pytest.raises(UserError, match=r"here\.at: click takes no such parameter"):
        parameters.arguments(click, "click", {"at": 1}, "here")


@pytest.fixture
def no_harness_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_DATA", raising=False)


@pytest.mark.usefixtures("no_harness_data")
@pytest.mark.parametrize(
    ("written", "travels"),
    [
        ("data/a.pt", "{root}/data/a.pt"),
        ("weights/a.pt", "{root}/weights/a.pt"),
        ("runs/a/b.pt", "{root}/runs/a/b.pt"),
        ("./data/a.pt", "{root}/data/a.pt"),
        ("methods/weights/a.pt", "methods/weights/a.pt"),
        ("datasets/data/a.pt", "datasets/data/a.pt"),
        ("database/a.pt", "database/a.pt"),
        ("/far/a.pt", "/far/a.pt"),
        ("~/a.pt", "{home}/a.pt"),
    ],
)
def test_what_no_worker_holds_becomes_absolute(module: str, written: str, travels: str) -> None:
    known = {"root": places.ROOT, "home": Path.home()}
    resolved = parameters.resolve(
        "methods", f"{module}:Many", {"checkpoint": written, "table": written, "folds": [written]}
    )
    expected = travels.format(**known)
    assert resolved == {"checkpoint": expected, "table": expected, "folds": [expected]}


def test_a_worker_reads_relative_paths_from_its_own_copy(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = parameters.resolve("methods", f"{module}:Many", {"checkpoint": "methods/a.pt", "table": "data/t.csv"})
    driver = places.ROOT
    monkeypatch.setattr(places, "ROOT", tmp_path)
    checkpoint, *_, table, _ = parameters.build("methods", f"{module}:Many", resolved).given
    assert (checkpoint, table) == (tmp_path / "methods/a.pt", driver / "data/t.csv")


def test_harness_data_stands_for_data(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DATA", "/mnt/sets")
    assert places.located("data/coco") == Path("/mnt/sets/coco") and places.located("data") == Path("/mnt/sets")
    assert places.located("weights/a") == places.ROOT / "weights/a"
    assert places.located("/data/coco") == Path("/data/coco")
    resolved = parameters.resolve("methods", f"{module}:Many", {"checkpoint": "data/a.pt"})
    monkeypatch.delenv("HARNESS_DATA")
    assert parameters.build("methods", f"{module}:Many", resolved).given[0] == Path("/mnt/sets/a.pt")


def test_a_path_in_windows_writing_is_told_unless_a_file_has_that_name(tmp_path: Path) -> None:
    named = f"{tmp_path}\\mine"
    with pytest.raises(UserError, match=r"davis: params.root: found .*\\mine; wanted '/' between folders, .*/mine\."):
        parameters.resolve("datasets", "davis", {"root": named})
    Path(named).mkdir()
    assert parameters.resolve("datasets", "davis", {"root": named}) == {"root": named}
