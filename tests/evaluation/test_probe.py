"""A method that reads the words without saying so is found out, and no row changes by it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import Method, Prediction
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin
from harness.config.run_config import RunConfig, Workers
from harness.evaluation.probe import IMAGES, says_uses_text
from harness.jobs.plan import planned
from harness.results.recorded import recorded
from harness.running.one_run import run
from harness.storage.store import Store
from toy_runs import Quiet

CALLS: list[str | None] = []
INSTANCES = 10


class Secret(Method):
    """A box as high as the words say: "small" and "large" are of one length, and of other letters."""

    def predict(self, image: Any, click: Any, text: str | None) -> Prediction:
        CALLS.append(text)
        mask = np.zeros(image.shape[:2], bool)
        mask[: 3 + sum(map(ord, text or "")) % 20] = True
        return Prediction(mask[None])


class Drawn(Secret):
    """Chance alone."""

    def predict(self, image: Any, click: Any, text: str | None) -> Prediction:
        return Prediction((np.random.random(image.shape[:2]) < 0.5)[None])


class Deaf(Secret):
    """A box of one size."""

    def predict(self, image: Any, click: Any, text: str | None) -> Prediction:
        return super().predict(image, click, None)


class Honest(Secret):
    """It says what it does."""

    uses_text = True


class Broken(Secret):
    """It answers each prompt once."""

    def predict(self, image: Any, click: Any, text: str | None) -> Prediction:
        asked = f"{image[0, 0, 0]} {click}"
        if asked in CALLS:
            raise ValueError("enough")
        CALLS.append(asked)
        return super().predict(image, click, text)


def ran(folder: Path, method: str, **given: Any) -> Store:
    CALLS.clear()
    config = RunConfig(
        run="probed",
        datasets=(Plugin(name="fakes:Toys", label="toys", params={"count": INSTANCES // 2}),),
        methods=(MethodEntry(name=f"{__name__}:{method}", label="it", **given),),
        workers=Workers(executor="local"),
        tables=("leaderboard",),
        max_failures=1,
    )
    run(config, Quiet(), runs=str(folder))
    return Store(folder / "probed")


def readers(store: Store) -> list[str]:
    return [key for start in store.manifest()["starts"] for key in start.get("reads_text", [])]


def reads(store: Store) -> bool:
    """What tables know."""
    found = recorded(store)
    return found.context(found.rows()).facts("it").reads_text


@pytest.mark.slow
def test_who_reads_in_secret_is_warned_of_and_marked_in_the_tables(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        store = ran(tmp_path, "Secret")
    said = "Its masks change with the words, and it does not say whether it uses them: say `uses_text: true`"
    assert caplog.text.count(said) == 1 and len(readers(store)) == 1
    assert "Its masks change with the words" in (tmp_path / "probed" / "report.md").read_text() and reads(store)


@pytest.mark.slow
def test_the_rows_are_those_of_a_method_that_is_not_asked_again(tmp_path: Path) -> None:
    probed, said = ran(tmp_path / "a", "Drawn"), ran(tmp_path / "b", "Drawn", uses_text=False)
    own, other = (recorded(store).rows(masks=True) for store in (probed, said))
    assert own["mask"].tolist() == other["mask"].tolist() and readers(probed) == readers(said) == []


@pytest.mark.slow
def test_it_costs_three_prompts_on_the_first_images(tmp_path: Path) -> None:
    ran(tmp_path, "Deaf")
    assert len(CALLS) == INSTANCES + 3 * IMAGES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "given"), [("Honest", {}), ("Secret", {"uses_text": True}), ("Secret", {"text": "none"})]
)
def test_who_says_it_or_is_given_no_text_is_not_asked(tmp_path: Path, method: str, given: dict[str, Any]) -> None:
    assert readers(ran(tmp_path, method, **given)) == [] and len(CALLS) == INSTANCES


@pytest.mark.slow
def test_what_fails_with_other_words_fails_no_row(tmp_path: Path) -> None:
    store = ran(tmp_path, "Broken")
    assert (recorded(store).rows()["status"] == "ok").all() and readers(store) == []


@pytest.mark.slow
def test_saying_it_afterwards_ends_the_note(tmp_path: Path) -> None:
    store = ran(tmp_path, "Secret")
    config = recorded(store).config
    told = config.model_copy(update={"methods": (config.methods[0].model_copy(update={"uses_text": True}),)})
    (job,) = planned(told)
    assert job.facts.about["says_uses_text"] and job.facts.about["uses_text"]
    run(told, Quiet(), runs=str(tmp_path))
    assert not reads(store)


def test_saying_it_is_inherited_and_the_interface_says_nothing() -> None:
    assert says_uses_text(Honest) and says_uses_text(type("Child", (Honest,), {}))
    assert not says_uses_text(Secret) and not says_uses_text(Method)
