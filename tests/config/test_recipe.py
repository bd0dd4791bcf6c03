"""Training recipes: what decides a checkpoint's name, and what each mistake is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import UserError, places
from harness.config import recipe as recipes
from harness.config.recipe import KnownRecipe, Recipe, identified, load_recipe
from harness.config.run_config import RunConfig, load_run
from harness.jobs.requirements import untrained
from harness.plugins import files

RECIPE: dict[str, Any] = {
    "learner": {"name": "prompted_deeplab"},
    "datasets": [{"name": "scenes", "params": {"split": "train", "count": 4}}],
    "steps": 3,
}


def _file(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "a.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def test_a_key_is_of_what_decides_the_weights(tmp_path: Path) -> None:
    def key(**changes: Any) -> str:
        return load_recipe(_file(tmp_path, RECIPE | changes)).key

    same = [
        key(),
        key(note="x"),
        key(save_every=7),
        key(device="cpu"),
        key(checkpoint="weights/a.safetensors"),
        key(seed=0),
    ]
    other = [key(steps=4), key(seed=1), key(optimizer={"lr": "2e-3"}), key(classes="all")]
    assert len(set(same)) == 1 and len({same[0], *other}) == 5


def test_a_cache_s_limit_and_the_device_of_a_saliency_leave_the_key(tmp_path: Path) -> None:
    def key(limit: float = 100.0, **saliency: Any) -> str:
        clip = {"name": "maskclip", "params": {"model": "methods/weights/scenes_clip.json"} | saliency}
        learner = {"name": "prompted_deeplab", "params": {"saliency": clip, "features_gib": limit}}
        return load_recipe(_file(tmp_path, RECIPE | {"learner": learner})).key

    assert key() == key(limit=7) == key(device="cpu")
    assert key() != key(temperature=0.5)


def test_a_key_is_of_what_files_hold_not_of_where_they_lie(tmp_path: Path) -> None:
    for name, content in {"a.pth": b"weights", "b.pth": b"weights", "c.pth": b"others"}.items():
        (tmp_path / name).write_bytes(content)

    def known(name: str) -> KnownRecipe:
        learner = {"name": "prompted_deeplab", "params": {"encoder_weights": str(tmp_path / name)}}
        return load_recipe(_file(tmp_path, RECIPE | {"learner": learner}))

    first, moved, others = (known(name) for name in ("a.pth", "b.pth", "c.pth"))
    assert first.key == moved.key != others.key
    (tmp_path / "a.pth").write_bytes(b"weights of a longer training")
    assert identified(first) is first  # Found once: it keeps the name under which its command began.
    assert known("a.pth").key not in (first.key, others.key)


def test_a_changed_copy_of_a_known_recipe_is_a_plain_one(tmp_path: Path) -> None:
    known = load_recipe(_file(tmp_path, RECIPE))
    changed = known.model_copy(update={"steps": 4})
    assert type(changed) is Recipe and changed.steps == 4
    assert identified(changed).key != known.key == identified(known.model_copy()).key


def test_a_known_recipe_is_dumped_as_it_was_written(tmp_path: Path) -> None:
    known = load_recipe(_file(tmp_path, RECIPE))
    assert Recipe.model_validate(known.model_dump()) == known.model_copy()
    assert "key" not in known.model_dump_json()
    with pytest.raises(UserError, match=r"key: no such key"):
        load_recipe(_file(tmp_path, RECIPE | {"key": "0123456789abcdef"}))


@pytest.fixture
def identifications(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was hashed to a key, in order."""
    made: list[object] = []
    hashed = recipes.fingerprint
    monkeypatch.setattr(recipes, "fingerprint", lambda value: made.append(value) or hashed(value))
    return made


@pytest.mark.slow
@pytest.mark.parametrize(("table", "networks"), [("table1", 8), ("table5", 10)])
def test_a_command_identifies_each_recipe_once(identifications: list[object], table: str, networks: int) -> None:
    config = load_run(places.ROOT / "configs" / f"{table}.yaml")
    due = untrained(config)
    assert len({method.train.output for method in due if isinstance(method.train, KnownRecipe)}) == networks
    assert len(identifications) == networks
    assert RunConfig.model_validate(config.model_dump()).methods[0].train is not None


def test_what_a_known_recipe_says_reads_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = load_recipe(_file(tmp_path, RECIPE))
    for name in ("hashes", "portable", "paths"):
        monkeypatch.setattr(files, name, lambda *_: pytest.fail("looks at files"))
    assert known.output == places.ROOT / known.saved_as == places.ROOT / f"weights/trained/{known.key}.safetensors"
    assert identified(known) is known


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stps": 4}, r"stps: no such key\. Did you mean 'steps'"),
        ({"learner": {"name": "prompted_deeplb"}}, r"learner\.name: no methods/learners/prompted_deeplb\.py\. Did"),
        (
            {"learner": {"name": "prompted_deeplab", "params": {"encodr": "x"}}},
            r"learner\.params\.encodr: prompted_deeplab takes no such parameter\. Did you mean 'encoder'",
        ),
        ({"learner": "prompted_deeplab"}, r"learner: found 'prompted_deeplab'; wanted a mapping"),
        ({"learner": None}, r"learner: found nothing; wanted a mapping"),
        ({"datasets": [{"name": "scens"}]}, r"datasets\[0\]\.name: no datasets/scens\.py"),
        ({"datasets": []}, r"datasets: found \[\]; wanted at least one"),
        ({"steps": 0}, r"steps: found 0; wanted greater than 0"),
        ({"optimizer": {"name": "adam"}}, r"optimizer\.name: found 'adam'; wanted 'adamw' or 'sgd'"),
        ({"optimizer": {"rl": 1}}, r"optimizer\.rl: no such key"),
        (
            {"device": "gpu"},
            r"device: found 'gpu'; wanted 'auto', 'cpu', 'cuda' or a GPU by its number, such as 'cuda:0'",
        ),
        ({"device": "cuda:"}, r"device: found 'cuda:'; wanted 'auto'"),
        ({"device": 0}, r"device: found 0; wanted a valid string"),
        (
            {"checkpoint": "weights/a.pt"},
            r"checkpoint: found 'weights/a\.pt'; wanted a file whose name ends with",
        ),
        ({"clip_norm": -1}, r"clip_norm: found -1; wanted greater than 0"),
        ({"clip_norm": 0}, r"clip_norm: found 0; wanted greater than 0"),
        ({"optimizer": {"betas": [0.9, 1.0]}}, r"optimizer\.betas\[1\]: found 1\.0; wanted less than 1"),
        ({"optimizer": {"lr": 0}}, r"optimizer\.lr: found 0; wanted greater than 0"),
        ({"schedule": {"horizon": -5}}, r"schedule\.horizon: found -5; wanted greater than 0"),
        ({"schedule": {"power": -1}}, r"schedule\.power: found -1; wanted greater than or equal to 0"),
        ({"schedule": {"min_lr": -1}}, r"schedule\.min_lr: found -1; wanted greater than or equal to 0"),
        ({"schedule": {"name": "step"}}, r"schedule\.name: found 'step'; wanted 'poly', 'cosine' or 'constant'"),
    ],
)
def test_a_mistaken_recipe(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=rf"^{tmp_path}/a\.yaml, {reason}"):
        load_recipe(_file(tmp_path, RECIPE | changes))


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:11"])
def test_devices(tmp_path: Path, device: str) -> None:
    assert load_recipe(_file(tmp_path, RECIPE | {"device": device})).device == device


def test_a_change_that_trains_other_weights_saves_them_elsewhere(tmp_path: Path) -> None:
    file = _file(tmp_path, RECIPE | {"checkpoint": "weights/a.safetensors"})
    assert load_recipe(file, ["steps=4"]).checkpoint == load_recipe(file, changes={"seed": 1}).checkpoint == ""
    assert load_recipe(file, ["save_every=4", "device=cpu"]).checkpoint == "weights/a.safetensors"
    assert load_recipe(file, ["steps=4", "checkpoint=b.safetensors"]).checkpoint == "b.safetensors"
    assert load_recipe(file, changes={"seed": 1}, remark="Changed: seed: 1.").note == "Changed: seed: 1."


def test_a_run_s_config_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.yaml: found the config of a run, .* harness run "):
        load_recipe(_file(tmp_path, {"run": "tried", "methods": [], "steps": 3}))
