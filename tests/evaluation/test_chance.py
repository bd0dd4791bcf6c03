"""A method that draws gives an image the same rows in every shard, worker and start."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from chancy import drawn
from fakes import Toys
from harness.config.click_protocol import Clicks
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin
from harness.config.run_config import RunConfig, Text
from harness.evaluation import chance
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.protocol import Names, Protocol
from harness.jobs.plan import planned, remaining
from harness.jobs.worker import Worker, run_here
from harness.plugins import parameters
from harness.storage.rows import MEASURED
from harness.storage.store import Store

CHANCY = MethodEntry(name="chancy:Chancy", label="chancy")
TOYS = Plugin(name="fakes:Toys", label="toys", params={"count": 7})


def config(**changed: Any) -> RunConfig:
    known = {"run": "r", "datasets": (TOYS,), "methods": (CHANCY,), "clicks": Clicks(max_clicks=2)}
    return RunConfig(**known | changed)


def rows_of(store: Store, asked: RunConfig) -> pd.DataFrame:
    jobs = planned(asked)
    rows = store.rows([job.facts for job in jobs], {"toys": jobs[0].sample_ids}, masks=True)
    return rows.drop(columns=list(MEASURED))


def ran(folder: Path, size: int, asked: RunConfig) -> pd.DataFrame:
    """The rows of a run in shards of `size` images, after somebody else drew numbers."""
    random.seed()
    drawn()
    store = Store(folder)
    list(run_here(remaining(planned(asked), store, size), store, 1))
    return rows_of(store, asked)


@pytest.mark.slow
def test_a_method_that_draws_gives_the_same_rows_twice_and_in_shards_of_any_size(tmp_path: Path) -> None:
    first = ran(tmp_path / "a", 7, config())
    assert first["iou"].nunique() > 5
    for name, size in (("b", 7), ("c", 3), ("d", 1)):
        pd.testing.assert_frame_equal(ran(tmp_path / name, size, config()), first)


def test_several_workers_and_a_start_that_goes_on_agree(tmp_path: Path) -> None:
    whole = ran(tmp_path / "whole", 7, config())
    store, jobs = Store(tmp_path / "parts"), planned(config())
    workers = [Worker(CHANCY, store), Worker(CHANCY, store)]
    for number, shard in enumerate(remaining(jobs, store, 2)[1:]):
        workers[number % 2].run(replace(shard, jobs=shard.jobs))
    pd.testing.assert_frame_equal(ran(tmp_path / "parts", 1, config()), whole)


def test_the_run_s_seed_is_the_chance_s(tmp_path: Path) -> None:
    one, other = (ran(tmp_path / str(seed), 7, config(seed=seed)) for seed in (0, 1))
    assert not one["mask"].equals(other["mask"])


@pytest.mark.slow
def test_variants_are_drawn_alike_together_and_alone(tmp_path: Path) -> None:
    entry = MethodEntry(name="chancy:Chancy", label="chancy", variants=({"label": "a"}, {"label": "b"}))
    both = ran(tmp_path / "both", 3, config(methods=tuple(entry.expanded())))
    alone = ran(tmp_path / "alone", 7, config(methods=(entry.expanded()[1],)))
    kept = both[both["method"] == "chancy, b"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, alone)


def answers(method: str, batch: int = 1, device: str = "cpu") -> list[Any]:
    chance.seed("build")
    built, toys = parameters.build("methods", method, {}), Toys(6)
    built.device = device
    protocol = Protocol("r", 0, Clicks(max_clicks=2), Text(), ("iou",), batch)
    evaluation = Evaluation(built, toys, [(Names("m", "m", "d", "d"), protocol)])
    return [(one.status, one.instance_id, one.mask) for one in evaluation.records(toys.sample_ids())]


def test_each_image_of_a_batch_that_failed_is_asked_as_if_it_were_alone() -> None:
    assert sorted(answers("chancy:AloneOnly", batch=3), key=str) == sorted(answers("chancy:Chancy"), key=str)


def test_two_threads_that_take_turns_draw_what_one_draws() -> None:
    assert answers("chancy:Chancy", device="elsewhere") == answers("chancy:Chancy")


@pytest.mark.slow
def test_a_seed_is_the_same_in_every_process() -> None:
    code = (
        "import cv2, torch, chancy; from harness.evaluation import chance; chance.seed(3, 'a'); print(chancy.drawn())"
    )
    chance.seed(3, "a")
    here = drawn()
    chance.seed(3, "b")
    assert drawn() != here
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(said) == here


@pytest.mark.slow
def test_torch_is_not_loaded_to_be_seeded() -> None:
    code = "import sys; from harness.evaluation import chance; chance.seed(1); print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"


def test_after_a_block_that_is_kept_the_generators_go_on_as_if_it_had_not_been() -> None:
    def numbers() -> tuple[float, ...]:
        return random.random(), np.random.random(), torch.rand(1).item()

    chance.seed(1)
    wanted = [numbers(), numbers()]
    chance.seed(1)
    first = numbers()
    with chance.kept():
        chance.seed(2)
        assert numbers() not in wanted
    assert [first, numbers()] == wanted


@pytest.mark.parametrize("values", [(0, "encode", "a"), (2**63, "ä")])
def test_any_whole_number_and_text_is_a_seed(values: tuple[int | str, ...]) -> None:
    chance.seed(*values)
    first = drawn()
    chance.seed(*values)
    assert drawn() == first
