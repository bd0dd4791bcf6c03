"""What of a job differs, told by the manifest's words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import UserError
from harness.storage.manifest import JobFacts, difference, save_manifest
from harness.storage.store import Store

ABOUT = {
    "method_plugin": "fakes:Steady",
    "method_params": {"reach": 5, "checkpoint": "/old/a.pt"},
    "weights_sha256": {"checkpoint": "aa"},
    "dataset_plugin": "fakes:Toys",
    "dataset_params": {"count": 6, "top": 5},
    "dataset_fingerprint": {"samples": 6, "files": {"a.png": 1, "b.png": 2}},
    "clicks": {"strategy": "paper/v1", "max_clicks": 1},
}
JOB = JobFacts("steady", "toys", {"method": "m0", "weights": "w0", "dataset": "d0", "seed": "0"}, ABOUT)


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("method", {"method_params": {"reach": 7}}, "method_params.reach: 5 then, 7 now"),
        ("method", {"method_params": {"checkpoint": "/new/a.pt"}}, "method_params.reach: 5 then, absent now"),
        ("method", {"method_params": ABOUT["method_params"] | {"checkpoint": "/new/a.pt"}}, ""),
        (
            "method",
            {"method_plugin": "fakes:Sleepy", "method_params": {"seconds": 1}},
            "method_plugin: fakes:Steady then, fakes:Sleepy now",
        ),
        ("weights", {"weights_sha256": {"checkpoint": "bb"}}, "weights_sha256.checkpoint: aa then, bb now"),
        ("dataset", {"dataset_params": {"count": 6, "top": 9}}, "dataset_params.top: 5 then, 9 now"),
        (
            "dataset",
            {"dataset_fingerprint": {"samples": 6, "files": {"a.png": 3, "c.png": 2}}},
            "dataset_fingerprint.files.a.png: 1 then, 3 now, dataset_fingerprint.files.b.png: 2 then, absent now, "
            "dataset_fingerprint.files.c.png: absent then, 2 now",
        ),
        ("clicks", {"clicks": {"strategy": "paper/v1", "max_clicks": 2}}, "clicks.max_clicks: 1 then, 2 now"),
        ("seed", {"method_params": {"reach": 7}}, ""),
    ],
)
def test_every_value_that_differs_is_told_and_no_place_of_a_file(part: str, change: dict[str, Any], said: str) -> None:
    assert difference(part, ABOUT, ABOUT | change) == said


def test_of_parameters_that_the_plugin_takes_no_more_all_are_compared() -> None:
    then = ABOUT | {"dataset_params": {"count": "many"}}
    assert (
        difference("dataset", then, ABOUT)
        == "dataset_params.count: many then, 6 now, dataset_params.top: absent then, 5 now"
    )
    gone = {"method_plugin": "gone_far_away:Method"}
    assert difference("method", ABOUT | gone, ABOUT | gone | {"method_params": {}}).startswith(
        "method_params.checkpoint: /old"
    )


def _refused(store: Store, job: JobFacts) -> str:
    with pytest.raises(UserError) as error:
        store.check([job])
    return str(error.value)


def test_a_refusal_names_the_parameter_and_else_the_hashes(tmp_path: Path) -> None:
    store = Store(tmp_path / "run")
    store.open({}, [JOB], {"started": "now"})
    store.write(JOB, ["1"], [])
    now = replace(JOB, parts=JOB.parts | {"method": "m1", "seed": "1"}, about=ABOUT | {"method_params": {"reach": 7}})
    assert "other settings or files (method_params.reach: 5 then, 7 now; seed: 0 then, 1 now), as in" in _refused(
        store, now
    )
    assert "other settings or files (method: m0 then, m1 now), as in" in _refused(
        store, replace(now, about={}, parts={**now.parts, "seed": "0"})
    )

    other = replace(JOB, parts=JOB.parts | {"method": "m2"}, about=ABOUT | {"method_params": {"reach": 9}})
    store.folder.remove("manifest.json")
    assert "other settings or files (method: m0 then, m1 now; seed" in _refused(store, now), "the manifest is lost"
    manifestless = Store(tmp_path / "run")
    manifestless.folder.remove(f"shards/{JOB.key}/{next(iter(manifestless.headers(JOB.key)))}")
    manifestless.open({}, [other], {"started": "later"})
    manifestless.write(JOB, ["1"], [])
    assert "other settings or files (method: m0 then, m1 now; seed" in _refused(manifestless, now), (
        "it tells of another state"
    )


@pytest.mark.parametrize("changed", [{"results": "none"}, {"parts": "3"}])
def test_results_and_parts_of_another_form_are_damage(changed: dict[str, Any], tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open({}, [JOB], {"started": "now"})
    save_manifest(store.folder, store.manifest() | changed)
    with pytest.raises(UserError, match=r"manifest\.json: damaged \(its results or parts have another form"):
        store.manifest()


@pytest.mark.parametrize("content", ["[" * 200_000, '{"config": ' + "[" * 200_000 + "]" * 200_000 + "}"])
def test_a_manifest_that_is_nested_too_deeply_is_damaged(content: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json: damaged \(maximum recursion depth exceeded"):
        Store(tmp_path).manifest()
