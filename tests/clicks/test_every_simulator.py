"""What every click simulator promises, on objects of every odd kind; and what a name and options have to be."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.clicks import NoClickError, Situation, click_rng, clicks_a_round
from harness.plugins.registry import find, names, register_click_rule
from harness.structures import Click, Instance, Mask, Sample, UserError

H, W = 24, 36
ROUNDS = 4

OTHERS = {"shared/v1", "recorded/v1", "human/v1"}
"""Those that want options: a file of people's clicks has none of these objects (`test_people.py`)."""

ASKED: list[tuple[str, dict[str, Any]]] = [
    *[(name, {}) for name in sorted(names("clicks")) if name not in OTHERS],
    ("shared/v1", {"least_px": 1}),
    ("paper/v2", {"positives": 3, "negatives": 2, "sources": ("any_class",), "margin_px": 40.0}),
    ("paper/v2", {"positives": 2, "distance": 1e200}),
    ("xu/v1", {"positives": 3, "negatives": 2, "negatives_by": 1, "margin": 1e200, "step": 1e200}),
    ("xu/v1", {"negatives": 2, "negatives_by": 2, "margin": 0.0, "band": 1}),
    ("sam/v1", {"first": "random"}),
    ("rclicks/v1", {"group": 1}),
    ("grid/v1", {"side": 50}),
]


def box(top: int, bottom: int, left: int, right: int) -> Mask:
    mask = np.zeros((H, W), bool)
    mask[top:bottom, left:right] = True
    return mask


FULL = box(0, H, 0, W)
SHAPES = {
    "one pixel": box(5, 6, 7, 8),
    "the last pixel": box(H - 1, H, W - 1, W),
    "a line": box(0, H, 3, 4),
    "a frame along the border": FULL & ~box(1, H - 1, 1, W - 1),
    "many parts": np.indices((H, W)).sum(axis=0) % 5 == 0,
    "all but a pixel": FULL & ~box(9, 10, 20, 21),
    "all": FULL,
}


def situation(truth: Mask, ignore: Mask | None) -> Situation:
    instance, other = Instance("i", truth, "thing"), Instance("o", box(2, 9, 1, 30), "other")
    sample = Sample("s", np.zeros((H, W, 3), np.uint8), (instance, other), ignore=ignore)
    partner = Instance("all", FULL, "another")
    return Situation(sample, instance, (), None, click_rng(0, "d", "s", "i", 1), partner=partner)


@pytest.mark.parametrize(("name", "options"), ASKED, ids=str)
@pytest.mark.parametrize("ignore", [None, box(0, 5, 0, W)], ids=["all counts", "some is ignored"])
def test_what_every_simulator_promises(name: str, options: dict[str, Any], ignore: Mask | None) -> None:
    made, drawn = clicks_a_round(name, options), np.random.default_rng(0)
    for shape in SHAPES.values():
        at = situation(shape, ignore)
        for number in range(1, ROUNDS + 1):
            try:
                clicks = find("clicks", name)(replace(at, rng=click_rng(0, "d", "s", "i", number)), **options)
            except NoClickError as error:
                assert shape.sum() >= H * W - 1 and str(error).startswith(name)  # nothing is left off the object
                break
            assert clicks == find("clicks", name)(replace(at, rng=click_rng(0, "d", "s", "i", number)), **options)
            assert len(clicks) == made and all(type(click) is Click for click in clicks)
            assert all(type(x) is int and 0 <= x < most for click in clicks for x, most in ((click.x, W), (click.y, H)))
            if number == 1:
                assert clicks[0].positive and all(shape[click.y, click.x] == click.positive for click in clicks)
            at = replace(at, clicks=at.clicks + clicks, predicted=drawn.random((H, W)) < 0.5)


PAGE = Path(__file__).resolve().parents[2] / "docs" / "clicks.md"


def example() -> str:
    """The page's rule of one's own."""
    return PAGE.read_text("utf-8").split("## A simulator of your own")[1].split("```python\n")[1].split("```")[0]


@pytest.mark.parametrize("options", [{}, {"jitter": 2.5}], ids=str)
def test_the_page_s_example_keeps_the_promises(importable: Callable[[str, str], Path], options: dict[str, Any]) -> None:
    importable("my_rules", example())
    test_what_every_simulator_promises("my_rules:centroid/v1", options, None)
    assert find("clicks", "my_rules:centroid")(situation(box(4, 9, 10, 21), None)) == (Click(15, 6),)
    with pytest.raises(UserError, match=r"jitter: found -1; wanted greater than or equal to 0"):
        clicks_a_round("my_rules:centroid", {"jitter": -1})


@pytest.mark.slow
def test_a_file_of_one_s_own_is_known_by_being_there(tmp_path: Path) -> None:
    source = PAGE.parents[1] / "harness"
    shutil.copytree(source, tmp_path / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "harness" / "clicks" / "centroid.py").write_text(example())
    code = "from harness.plugins import find; print(find('clicks', 'centroid/v1').__doc__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("The object's pixel nearest to its centroid")


def test_the_page_has_a_line_for_every_simulator() -> None:
    table = PAGE.read_text("utf-8").split("## The simulators")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) == set(names("clicks"))


@pytest.mark.parametrize("name", ["mine", "mine/v0", "mine/v1.2", "Mine/v1"])
def test_a_name_has_a_version(name: str) -> None:
    with pytest.raises(UserError, match=rf"register_click_rule\('{name}'\); wanted a name such as 'family/v1'"):
        register_click_rule(name)(never)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("rclicks/v1", {"group": 11}, "group 11 of 10; wanted 1 to 10"),
        ("rclicks/v1", {"group": 3, "groups": 2}, "group 3 of 2"),
        ("grid/v1", {"cell": 9}, "cell 9 of 3 x 3; wanted 0 to 8"),
        ("grid/v1", {"side": 1, "cell": 1}, "cell 1 of 1 x 1"),
    ],
)
def test_options_that_do_not_fit_each_other(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"{name}: found {said}"):
        clicks_a_round(name, options)


def test_an_option_that_it_does_not_take() -> None:
    with pytest.raises(UserError, match="distnace: paper/v2 takes no such parameter. Did you mean 'distance'"):
        clicks_a_round("paper/v2", {"distnace": 40})
    with pytest.raises(UserError, match=r"margin: found 2.* wanted less than or equal to 1"):
        clicks_a_round("paper/v1", {"margin": 2})


def never(at: Situation) -> tuple[Click, ...]:
    raise NoClickError("never: no pixel is good enough.")


def broken(at: Situation) -> tuple[Click, ...]:
    return at.truth.nothing


def test_a_round_that_cannot_be_made_anywhere() -> None:
    with pytest.raises(UserError, match=r"never: no pixel is good enough\. .*ask for less"):
        clicks_a_round(f"{__name__}:never", {})


@pytest.mark.parametrize("made", [None, (), [Click(1, 2)], (1, 2), Click(1, 2)], ids=str)
def test_a_rule_that_returns_no_clicks(monkeypatch: pytest.MonkeyPatch, made: Any) -> None:
    monkeypatch.setattr(sys.modules[__name__], "idle", lambda at: made, raising=False)
    with pytest.raises(UserError, match=r"idle: returned .*; wanted a tuple of at least one Click\.$"):
        clicks_a_round(f"{__name__}:idle", {})


def test_a_rule_that_raises_is_one_message_that_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    said = rf"broken cannot be tried\. AttributeError: .*'nothing' \({re.escape(__file__)}, line \d+\)\.$"
    with pytest.raises(UserError, match=said):
        clicks_a_round(f"{__name__}:broken", {})
    with pytest.raises(UserError, match=r"^sam/v1 cannot be tried\. .* \(\S*/harness/clicks/\S*\.py, line \d+\)\.$"):
        monkeypatch.setattr("harness.clicks.correction.deepest", None)
        clicks_a_round("sam/v1", {})
