"""Each probe of a data set passes a sound one, and a bad one for it fails it and no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from checked import BAD_DATASETS, ByProcess, Here, Sound
from harness.checking import datasets
from harness.checking.datasets import PROBES, check_dataset
from harness.checking.probes import Outcome
from harness.plugins.interfaces import Dataset


def found(data: type[Dataset]) -> list[Outcome]:
    return list(check_dataset(f"checked:{data.__name__}", {}))


def of(outcomes: list[Outcome], verdict: str) -> list[str]:
    return [one.probe for one in outcomes if one.verdict == verdict]


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets, "ProcessPoolExecutor", Here)
    yield


def test_there_are_twelve_each_with_what_to_mend() -> None:
    assert len({probe.name for probe in PROBES}) == len(PROBES) == 12
    assert all(probe.mend.endswith(".") for probe in PROBES)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("bad", [one for one in BAD_DATASETS if one is not ByProcess], ids=lambda bad: bad.__name__)
def test_a_bad_data_set_fails_its_own_probe_alone(bad: type[Dataset]) -> None:
    name, _, _ = str(bad.__doc__).partition(":")
    outcomes = found(bad)
    assert of(outcomes, "failed") == [name]
    (failed,) = [one for one in outcomes if one.verdict == "failed"]
    assert failed.text and failed.mend
    assert {one.text for one in outcomes if one.verdict == "skipped"} <= {f"not asked, since '{name}' failed"}


@pytest.mark.slow
@pytest.mark.parametrize(("data", "failed"), [(Sound, []), (ByProcess, ["another process"])])
def test_a_process_of_its_own_builds_it_by_name(data: type[Dataset], failed: list[str]) -> None:
    outcomes = found(data)
    assert of(outcomes, "failed") == failed
    assert len(of(outcomes, "passed")) == 12 - len(failed)


@pytest.mark.usefixtures("in_this_process")
def test_what_is_broken_in_the_data_is_told_and_no_mistake_of_the_plugin() -> None:
    outcomes = {one.probe: one for one in check_dataset("fakes:Toys", {"unreadable": [2]})}
    assert outcomes["every image loads"].verdict == "failed" and "toy-2: load: " in outcomes["every image loads"].text
