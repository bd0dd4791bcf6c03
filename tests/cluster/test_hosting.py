"""Methods in processes of a cluster answer the page as those of its own process do, and a process that dies is said."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import tried
from harness import Click, UserError
from harness.cluster import capacity
from harness.cluster.hosting import Host, HostError, hosted, stored
from harness.config.run_config import RunConfig
from harness.serving.api import Api
from harness.serving.asking import There
from harness.serving.gallery import Gallery
from harness.trying.desk import Question, desk_of
from harness.trying.methods import chosen
from try_servers import Browser, api_of, config_of, running

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("shared_ray")]
SHARED = {"workers": {"cpus": 0.25}}
ASKED = {"CPU": 0.25, "GPU": 0.0}
NESTED = {"source": "nested", "name": "nested-0"}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    return config_of(tmp_path_factory.mktemp("try"), ("Marks", "Names", "Breaks"), **SHARED)


@pytest.fixture(scope="module")
def there(config: RunConfig) -> Iterator[There]:
    there = There(hosted(config, chosen(config), None, desk_of), stored)
    yield there
    for host in there.hosts.values():  # Their places are of the Ray that other files use, too.
        host.end()  # type: ignore[attr-defined]


def test_a_page_of_a_cluster_answers_as_that_of_one_process(config: RunConfig, there: There) -> None:
    questions = [
        ("predict", label, clicks, text)
        for label, text in (("marks", ""), ("names", "tie"), ("names", ""), ("breaks", ""))
        for clicks in ([[24, 18, True]], [[24, 18, True], [25, 18, False]])
    ] + [("saliency", "names", [[24, 18, True]], "tie"), ("saliency", "marks", [[24, 18, True]], "")]
    answers = []
    for api in (api_of(config), Api(config, Gallery(config), there)):
        with running(api) as address:
            browser = Browser(address)
            replies = [
                browser.post(what, **NESTED, clicks=clicks, text=text, method=label)[1]
                for what, label, clicks, text in questions
            ]
            answers.append([{key: own for key, own in one.items() if not key.endswith("_ms")} for one in replies])
            answers[-1].append(browser.get("about")[1]["methods"])
    assert answers[0] == answers[1]


def test_a_process_that_ends_is_said_and_the_next_question_is_answered(there: There) -> None:
    host = there.hosts["marks"]
    question = Question("marks", "p", "p", (Click(5, 5),), None)
    image = np.zeros((tried.H, tried.W, 3), np.uint8)
    process = host._actor.__ray_call__  # type: ignore[attr-defined]
    with pytest.raises(HostError, match=r"'marks': its process in the cluster (ended \(|is starting again\. )"):
        process.remote(lambda _: os._exit(1))
        host.call("ask", question, image).result(60)
    found, ends = None, time.monotonic() + 120
    while found is None and time.monotonic() < ends:
        with suppress(HostError):  # "is starting again. Ask again in a moment."
            found = host.call("ask", question, image).result(60)
    assert found.prediction.masks.sum() == 25


def test_what_keeps_a_method_from_loading_is_its_own_message(there: There) -> None:
    host = Host("ours", ASKED, tried.unfetched)
    with pytest.raises(UserError, match=r"^'ours': no file at checkpoint=x\. Fetch it\.$"):
        host.call("facts").result(60)
    host.end()


def test_methods_that_do_not_fit_together_are_refused(there: There, tmp_path: Path) -> None:
    config = config_of(tmp_path, ("Marks", "Names"), workers={"cpus": (os.cpu_count() or 1) * 0.75})
    with pytest.raises(UserError, match=r"'names' asks for .* beside 1 other methods; the cluster has"):
        hosted(config, chosen(config), None, desk_of)


def test_a_place_that_others_hold_is_waited_for_only_a_while(
    there: There, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "PLACE_TIMEOUT_S", 1.0)
    config = config_of(tmp_path, ("Marks",), workers={"cpus": os.cpu_count() or 1})
    with pytest.raises(
        UserError, match=r"no process for 'marks', which asks for \d+ CPU.* The cluster has .*; free are"
    ):
        hosted(config, chosen(config), None, desk_of)
