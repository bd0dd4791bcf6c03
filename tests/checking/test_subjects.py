"""`python -m harness check` as it is typed: a plugin by its name, a config, and what it says of mistakes."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from checked import Here
from harness import places
from harness.checking import datasets

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "ProcessPoolExecutor", Here)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "a.yaml"
    methods = [{"name": "checked:Good", "label": "good"}, {"name": "checked:Swapped", "label": "swapped"}]
    path.write_text(yaml.safe_dump({"run": "r", "datasets": [{"name": "checked:Sound"}], "methods": methods}))
    return path


@pytest.mark.slow
def test_a_method_by_its_name_and_params(here: Command) -> None:
    done = here("check", "checked:Good", "--params", "{device: here}", "--text", "a cup", "--text", "the cup")
    assert (done.returncode, done.stderr) == (0, "")
    assert "method checked:Good: no probe failed" in done.stdout and "uses_text = True, and other words" in done.stdout


@pytest.mark.slow
def test_what_fails_is_told_with_what_to_mend(here: Command) -> None:
    done = here("check", "checked:Swapped")
    assert done.returncode == 1 and "method checked:Swapped: 1 of 12 probes failed" in done.stderr
    line = next(line for line in done.stdout.splitlines() if "│ swapped x and y" in line)
    assert "│ failed" in line and "Mend: A click is (x, y), x to the right" in done.stdout


def test_a_data_set_is_known_by_its_kind(here: Command) -> None:
    done = here("check", "checked:Empty", "--limit", "3")
    assert done.returncode == 1 and "data set checked:Empty: 1 of 12 probes failed" in done.stderr
    assert "3 instances have no pixel that counts, the first: s0, instance s0/0." in done.stdout


@pytest.mark.slow
def test_a_config_stands_for_its_plugins_or_for_one_of_them(here: Command, config: Path) -> None:
    done = here("check", config)
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if ": no probe failed" in line][1].startswith("method good:")
    assert "data set checked:Sound: no probe failed" in done.stdout and "method swapped: 1 of 12" in done.stderr
    done = here("check", config, "--method", "good")
    assert done.returncode == 0 and "data set" not in done.stdout
    done = here("check", config, "--dataset", "checked:Sound")
    assert done.returncode == 0 and "method" not in done.stdout


def test_a_method_is_asked_with_its_config_s_round_of_clicks(here: Command, config: Path) -> None:
    raw = yaml.safe_load(config.read_text())
    clicks = {"strategy": "paper/v2", "options": {"positives": 2, "negatives": 1}, "max_clicks": 3}
    raw["methods"] = [{"name": "checked:Three", "label": "three", "clicks": clicks}]
    config.write_text(yaml.safe_dump(raw))
    done = here("check", config, "--method", "three")
    assert (done.returncode, done.stderr) == (0, "") and "method three: no probe failed" in done.stdout


@pytest.mark.slow
def test_the_page_shows_what_is_printed(here: Command, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = repository / "my_repo" / "methods.py"
    source.write_text(
        source.read_text().replace("(xs - last.x) ** 2 + (ys - last.y)", "(xs - last.y) ** 2 + (ys - last.x)")
    )
    monkeypatch.syspath_prepend(repository)
    page = (places.ROOT / "docs" / "plugins.md").read_text("utf-8")
    (command,) = re.findall(r"\$ python -m harness (check .*)\n", page)
    done = here(*shlex.split(command))
    shown = page.partition("<!-- check:begin -->\n```\n")[2].partition("\n```\n<!-- check:end -->")[0]
    table = [line.rstrip() for line in done.stdout.splitlines()]
    assert done.returncode == 1 and shown.splitlines() == table, done.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["scene"], "no method, data set or config 'scene'; wanted one, or module:Class. Did you mean 'scenes'"),
        (["checked"], "no method, data set or config 'checked'; wanted one, or module:Class.\n"),
        (["checked:Goody"], "check: checked:Goody: module checked has no method 'Goody'. Did you mean 'Good'?"),
        (["checked:Good", "--params", "7"], "--params 7: wanted a mapping as in a config, such as '{radius: 7}'."),
        (["checked:Good", "--params", "{a: 1}"], "checked:Good takes no such parameter"),
        (["checked:Good", "--method", "good"], "--method and --dataset go with a config; checked:Good is a plugin."),
        (["quickstart", "--params", "{a: 1}"], "--params goes with a plugin's name; quickstart is a config"),
        (
            ["CONFIG", "--dataset", "sound"],
            "no data set labelled 'sound' in this config. There are: checked:Sound.",
        ),
        (["CONFIG", "--method", "goods"], "no method labelled 'goods' in this config. Did you mean 'good'?"),
    ],
)
def test_mistakes_are_told(here: Command, config: Path, given: list[str], said: str) -> None:
    done = here("check", *(str(config) if one == "CONFIG" else one for one in given))
    assert done.returncode == 2 and said in done.stderr, done.stderr
