"""Configs: what is read, and what each mistake is told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import UserError, places
from harness.config.parts import label
from harness.config.recipe import load_recipe
from harness.config.run_config import RunConfig, load_run
from harness.config.wording import Text, words_of

BASE: dict[str, Any] = {
    "run": "tried",
    "datasets": [{"name": "scenes", "params": {"split": "val", "count": 4}}],
    "methods": [{"name": "click_only", "params": {"checkpoint": "methods/a.pt"}}],
}
RECIPE: dict[str, Any] = {
    "learner": {"name": "prompted_deeplab"},
    "datasets": [{"name": "scenes", "params": {"split": "train", "count": 4}}],
    "steps": 3,
}


def _file(folder: Path, content: Any, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def _load(folder: Path, *overrides: str, **changes: Any) -> RunConfig:
    return load_run(_file(folder, BASE | changes), overrides)


def _method(**changes: Any) -> dict[str, Any]:
    return {"methods": [{**BASE["methods"][0], **changes}]}


def _params(**params: Any) -> dict[str, Any]:
    return {"methods": [{"name": "text_click", "params": {"checkpoint": "a.pt", **params}}]}


def test_a_config_as_it_is_meant(tmp_path: Path) -> None:
    config = _load(tmp_path, seed=3, clicks={"options": {"margin": "1e-1"}}, limit=2)
    assert (config.run, config.seed, config.limit, label(config.methods[0])) == ("tried", 3, 2, "click_only")
    assert config.datasets[0].params == {"split": "val", "count": 4}
    assert config.methods[0].params == {"checkpoint": "methods/a.pt"} and config.clicks.options == {"margin": 0.1}
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((places.ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_the_configs_of_the_checkout(path: Path) -> None:
    if "learner" in yaml.safe_load(path.read_text()):
        assert load_recipe(path).steps > 0
    else:
        assert load_run(path).methods


# The file


def test_no_such_file(tmp_path: Path) -> None:
    _file(tmp_path, BASE, "quickstart.yaml")
    with pytest.raises(UserError, match=r"quikstart\.yaml: no such file\. Did you mean '.*/quickstart\.yaml'\?"):
        load_run(tmp_path / "quikstart.yaml")
    with pytest.raises(UserError, match=r"no such file\. .* has no \.yaml file"):
        load_run(tmp_path / "nowhere" / "a.yaml")


def test_a_config_at_the_root_is_told_of_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _file(tmp_path, BASE, "mine.yaml")
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr("harness.places.ROOT", tmp_path)
    monkeypatch.chdir(tmp_path / "docs")
    with pytest.raises(UserError, match=f"mine.yaml: no such file. The current folder is .* mean {tmp_path}/mine.yaml"):
        load_run(Path("mine.yaml"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("run: [", r": not valid YAML\. .*expected the node content.* at line 1, column 7"),
        ("run:\n\t- a", r": not valid YAML\. .*at line 2"),
        ("run: a\nseed: 1\nseed: 2", r": not valid YAML\. found 'seed' twice at line 3, column 1"),
        ("run: a\nworkers: {count: 1, count: 2}", "found 'count' twice at line 2, column 21"),
        ("run: !!python/object:os.system x", "not valid YAML. could not determine a constructor"),
        ("", ": found an empty file; wanted keys such as `run:`"),
        ("- a\n- b", ": found a list at the top; wanted keys such as `run:`"),
        ("quickstart", ": found a str at the top; wanted keys such as `run:`"),
    ],
)
def test_a_file_that_is_no_config(tmp_path: Path, content: str, reason: str) -> None:
    path = _file(tmp_path, content)
    with pytest.raises(UserError, match=rf"^{path}.*{reason}"):
        load_run(path)


def test_a_folder_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "b.yaml"):
        with pytest.raises(UserError, match=rf"^{path}: cannot be read \(.*Wanted a YAML file"):
            load_run(path)


def test_yaml_s_merge_keys_are_no_doubles(tmp_path: Path) -> None:
    text = """
run: a
datasets: [&one {name: scenes, label: one, params: {count: 2}}, {<<: *one, label: two}]
methods: [{name: click_only, params: {checkpoint: a}}]
"""
    assert [entry.label for entry in load_run(_file(tmp_path, text)).datasets] == ["one", "two"]


# Keys, types, names


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sed": 1}, r"sed: no such key\. Did you mean 'seed'\? There are: baseline, clicks, "),
        ({"workers": {"cont": 1}}, r"workers\.cont: no such key\. Did you mean 'count'\? There are: count, cpus"),
        ({"clicks": {"stratgy": "x"}}, r"clicks\.stratgy: no such key\. Did you mean 'strategy'"),
        (_method(parms={}), r"methods\[0\]\.parms: no such key\. Did you mean 'params'"),
        ({"datasets": [{"name": "scenes", "lable": "x"}]}, r"datasets\[0\]\.lable: no such key\. Did you mean 'label'"),
        ({"seed": "abc"}, r"seed: found 'abc'; wanted a valid integer"),
        ({"seed": None}, r"seed: found nothing; wanted a valid integer"),
        ({"workers": 3}, r"workers: found 3; wanted a mapping"),
        ({"workers": None}, r"workers: found nothing; wanted a mapping"),
        ({"workers": {"executor": "rya"}}, r"workers\.executor: found 'rya'; wanted 'ray' or 'local'"),
        ({"workers": {"count": 0}}, r"workers\.count: found 0; wanted greater than 0"),
        ({"workers": {3: 4}}, r"workers\[3\]: found 3; wanted text as every key"),
        ({"methods": "click_only"}, r"methods: found 'click_only'; wanted a list"),
        ({"methods": ["click_only"]}, r"methods\[0\]: found 'click_only'; wanted a mapping"),
        ({"methods": []}, r"methods: found \[\]; wanted at least one"),
        ({"methods": [{"label": "x"}]}, r"methods\[0\]\.name: found nothing; wanted a value"),
        ({"metrics": ["boundary_iou"]}, r"metrics: found boundary_iou; wanted 'iou' among them"),
        ({"metrics": []}, r"metrics: found none; wanted 'iou' among them"),
        ({"metrics": "iou"}, r"metrics: found 'iou'; wanted a list"),
        ({"metrics": ["iou", "iuo"]}, r"metrics\[1\]: no metric 'iuo'\. Did you mean 'iou'\?"),
        ({"clicks": {"strategy": "paper/v0"}}, r"clicks\.strategy: no click rule 'paper/v0'\. Did you mean 'paper/v"),
        ({"clicks": {"max_clicks": -1}}, r"clicks\.max_clicks: found -1; wanted greater than or equal to 0"),
        (
            {"clicks": {"strategy": "paper/v2", "options": {"positives": 2, "negatives": 1}, "max_clicks": 4}},
            r"clicks\.max_clicks: found 4; wanted 3 or a multiple of it, since paper/v2 with these options makes",
        ),
        (
            {"clicks": {"strategy": "grid/v1", "options": {"side": 3, "cell": 9}}},
            r"clicks\.options: grid/v1: found cell 9 of 3 x 3; wanted 0 to 8",
        ),
        ({"clicks": {"options": {"margn": 1}}}, r"clicks\.options\.margn: paper/v1 takes no such .*mean 'margin'"),
        ({"clicks": {"options": {"at": 1}}}, r"clicks\.options\.at: paper/v1 takes no such parameter"),
        ({"clicks": {"options": {"margin": "wide"}}}, r"clicks\.options\.margin: found 'wide'; wanted a valid number"),
        ({"clicks": {"options": {"margin": 7}}}, r"clicks\.options\.margin: found 7; wanted less than or equal to 1"),
        ({"text": "clas_name"}, r"text\.rule: no text rule 'clas_name'\. Did you mean 'class_name'\?"),
        ({"text": {"template": "a"}}, r"text\.template: found 'a'; wanted one {}"),
        ({"text": {"words": "none.csv"}}, r"none\.csv: cannot be read"),
        ({"text": {"rul": "none"}}, r"text\.rul: no such key\. Did you mean 'rule'"),
        (_method(variants=[{"text": "none"}]), r"methods\[0\]\.variants\[0\]\.label: found nothing"),
        (
            _method(variants=[{"label": "a", "text": "non"}]),
            r"methods\[0\]\.variants\[0\]\.text\.rule: no text rule 'non'",
        ),
        (_method(variants=[{"label": "a"}, {"label": "a"}]), r"methods\[1\]: a second 'click_only, a'"),
        (_method(clicks={"strategy": "x"}), r"methods\[0\]\.clicks\.strategy: no click rule 'x'"),
        ({"max_failures": float("nan")}, r"max_failures: found nan"),
        ({"effort": {"click_s": math.inf}}, r"effort\.click_s: found inf; wanted a finite number"),
        ({"workers": {"timeout_s": math.nan}}, r"workers\.timeout_s: found nan; wanted a finite number"),
        (_method(resources={"A100": math.inf}), r"methods\[0\]\.resources\.A100: found inf; wanted a finite number"),
        (_method(gpus=1.5), r"methods\[0\]\.gpus: found 1\.5; wanted a share of one GPU such as 0\.5, or whole ones"),
        ({"workers": {"gpus": 2.5}}, r"workers\.gpus: found 2\.5; wanted a share of one GPU"),
        (
            _method(resources={"GPU": 1}),
            r"methods\[0\]\.resources: found .*GPU.*; wanted resources besides those",
        ),
        (_method(resources={"memory": 1e9}), r"methods\[0\]\.resources: found .*memory.*; wanted resources besides"),
        ({"limit": 0}, r"limit: found 0; wanted greater than 0"),
        ({"run": "a/b"}, r"run: found 'a/b'; wanted letters, digits"),
        ({"only": {"scenes": []}}, r"only\.scenes: found \[\]; wanted at least one"),
        (
            {"only": {"scene": ["val-00000"]}},
            r"only: no data set labelled 'scene' in this run\. Did you mean",
        ),
        ({"run": ".."}, r"run: found '\.\.'; wanted letters, digits"),
        ({"run": "a\n"}, r"run: found 'a\\n'; wanted letters, digits"),
        (_method(name="clck_only"), r"methods\[0\]\.name: no methods/clck_only\.py\. Did you mean 'click_only'\?"),
        ({"datasets": [{"name": "scens"}]}, r"datasets\[0\]\.name: no datasets/scens\.py\. Did you mean 'scenes'\?"),
        (_method(params={"chekpoint": "a"}), r"methods\[0\]\.params\.chekpoint: click_only takes no such parameter"),
        (_method(params={}), r"methods\[0\]\.params: click_only needs checkpoint"),
        (_method(params=None), r"methods\[0\]\.params: found nothing; wanted a mapping"),
        (_method(params={"checkpoint": 3}), r"methods\[0\]\.params\.checkpoint: found 3; wanted a path"),
        (
            {"datasets": [{"name": "scenes", "params": {"split": "vla"}}]},
            r"split: found 'vla'; wanted 'train', 'val' or",
        ),
        (_params(), r"methods\[0\]\.params: text_click needs saliency"),
        (_params(saliency="maskclp"), r"methods\[0\]\.params\.saliency\.name: no methods/saliency/maskclp\.py\. Did"),
        (
            _params(saliency={"name": "maskclip", "params": {"modle": 1}}),
            r"methods\[0\]\.params\.saliency\.params\.modle: maskclip takes no such parameter\. Did you mean 'model'",
        ),
        ({"methods": BASE["methods"] * 2}, r"methods\[1\]: a second 'click_only'\. Give one of them a `label:`"),
        ({"datasets": BASE["datasets"] * 2}, r"datasets\[1\]: a second 'scenes'\. Give one of them a `label:`"),
        (_method(train=4), r"methods\[0\]\.train: found 4; wanted a mapping"),
        (_method(train=RECIPE | {"stps": 4}), r"methods\[0\]\.train\.stps: no such key\. Did you mean 'steps'"),
        (_method(train={**RECIPE, "steps": 0}), r"methods\[0\]\.train\.steps: found 0"),
        (
            _method(train=RECIPE | {"learner": {"name": "deeplab"}}),
            r"methods\[0\]\.train\.learner\.name: no methods/learners/deeplab\.py\. Did you mean 'prompted_deeplab'",
        ),
        (_method(train="configs/gone.yaml"), r"methods\[0\]\.train: .*configs/gone\.yaml: no such file"),
    ],
)
def test_a_mistake_is_told_with_file_key_and_what_was_wanted(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UserError, match=rf"^{tmp_path}/a\.yaml, .*{reason}"):
        _load(tmp_path, **changes)


def test_no_two_methods_go_by_one_label_in_variants(tmp_path: Path) -> None:
    far, near = ({**BASE["methods"][0], "variants": [{"label": one}]} for one in ("far", "near"))
    with pytest.raises(UserError, match=r"methods\[1\]: a second 'click_only'"):
        _load(tmp_path, methods=[far, near])


def test_a_recipe_is_no_run_s_config() -> None:
    with pytest.raises(UserError, match=r"scenes_ritm\.yaml: found the recipe of a training, .* harness train "):
        load_run(Path("configs/scenes_ritm.yaml"))


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("seed=true", "seed"),
        ("workers.cpus=true", "workers.cpus"),
        ("limit=true", "limit"),
        ("clicks.options.margin=true", r"clicks\.options\.margin"),
        ("datasets[0].params.count=yes", r"datasets\[0\]\.params\.count"),
        ("methods[0].resources={A100: true}", r"methods\[0\]\.resources\.A100"),
    ],
)
def test_true_and_false_are_no_numbers(tmp_path: Path, override: str, key: str) -> None:
    with pytest.raises(UserError, match=rf"a\.yaml, {key}: found true or false; wanted a number"):
        _load(tmp_path, override)
    with pytest.raises(UserError, match=r"scenes_ritm\.yaml, seed: found true or false; wanted a number"):
        load_recipe(Path("configs/scenes_ritm.yaml"), ["seed=true"])


def test_positions_count_every_entry(tmp_path: Path) -> None:
    entries = [{"name": "scenes", "label": "one"}, {"name": "scenes", "label": "two"}, {"name": "scens"}]
    with pytest.raises(UserError, match=r"datasets\[2\]\.name: no datasets/scens"):
        _load(tmp_path, datasets=entries)


def test_labels_keep_two_entries_of_one_plugin_apart(tmp_path: Path) -> None:
    assert len(_load(tmp_path, methods=[*BASE["methods"], {**BASE["methods"][0], "label": "again"}]).methods) == 2
    with pytest.raises(UserError, match=r"methods\[1\]: a second 'click_only'"):
        _load(
            tmp_path, methods=[*BASE["methods"], {**_params(saliency="maskclip")["methods"][0], "label": "click_only"}]
        )


# Overrides


def test_a_text_is_a_rule_s_name_or_a_mapping(tmp_path: Path) -> None:
    assert _load(tmp_path).text == Text(rule="given")
    assert _load(tmp_path, text="none").text == Text(rule="none")
    assert _load(tmp_path, text={"rule": "synonym", "template": "a {}."}).text == Text(rule="synonym", template="a {}.")
    own = tmp_path / "words.csv"
    own.write_text("name,said,synonym,hypernym\ncup,,mug,ware\n")
    assert words_of(_load(tmp_path, text={"words": str(own)}).text).other("cup", "synonym") == "mug"
    assert words_of(_load(tmp_path, text={"words": ""}).text).said("tvmonitor") == "tvmonitor"


def test_variants_are_entries_that_are_asked_otherwise(tmp_path: Path) -> None:
    variants = [{"label": "silent", "text": "none"}, {"label": "twice", "clicks": {"max_clicks": 2}}]
    silent, twice = _load(tmp_path, **_method(label="Click", text="class_name", variants=variants)).methods
    assert [label(silent), label(twice)] == ["Click, silent", "Click, twice"]
    assert silent.text == Text(rule="none") and silent.clicks is None
    assert twice.text == Text(rule="class_name") and twice.clicks and twice.clicks.max_clicks == 2
    assert silent.variant_of == twice.variant_of == "Click" and not silent.variants


def test_a_method_is_asked_on_the_data_sets_that_it_names(tmp_path: Path) -> None:
    data = [{"name": "scenes", "label": name, "params": {"split": "val", "count": 2}} for name in ("a", "b")]
    methods = [{**BASE["methods"][0], "label": name, "datasets": on} for name, on in {"x": [], "y": ["b"]}.items()]
    config = _load(tmp_path, datasets=data, methods=methods)
    assert [(label(method), label(one)) for method, one in config.pairs()] == [("x", "a"), ("x", "b"), ("y", "b")]
    with pytest.raises(UserError, match=r"methods\[0\]\.datasets: no data set labelled 'scene' in this run.*'scenes'"):
        _load(tmp_path, **_method(datasets=["scene"]))


def test_the_baseline_is_a_method_of_the_run(tmp_path: Path) -> None:
    name = BASE["methods"][0].get("label") or BASE["methods"][0]["name"]
    assert _load(tmp_path, baseline=name).baseline == (name,) == _load(tmp_path, baseline=[name]).baseline
    assert _load(tmp_path).baseline == ()
    with pytest.raises(UserError, match=r"a\.yaml, baseline: no method labelled 'clik' in this run\. .*There"):
        _load(tmp_path, baseline="clik")


def test_overrides(tmp_path: Path) -> None:
    second = {"name": "click_only", "label": "b", "params": {"checkpoint": "b.pt"}}
    config = _load(
        tmp_path,
        "methods[1].label=x",
        "methods.0.label=y=z",
        "workers.count=2",
        "metrics=[iou]",
        "datasets[0].params.count=2",
        "clicks.options.margin=.5",
        "limit=null",
        methods=[*BASE["methods"], second],
        limit=4,
        workers=None,
    )
    assert [method.label for method in config.methods] == ["y=z", "x"]
    assert (config.workers.count, config.metrics, config.limit) == (2, ("iou",), None)
    assert config.datasets[0].params["count"] == 2 and config.clicks.options == {"margin": 0.5}


SHARED = """
run: shared
datasets: [{name: "fakes:Toys"}]
methods:
  - &base {name: "fakes:Steady", label: first, params: &params {reach: 5}}
  - {<<: *base, label: second}
  - {name: "fakes:Steady", label: third, params: *params}
"""


def test_an_override_changes_its_own_place_alone_where_anchors_share_one(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SHARED)
    config = load_run(tmp_path / "a.yaml", ["methods[1].params.reach=8"])
    assert [one.params["reach"] for one in config.methods] == [5, 8, 5]


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("seed", r"^--set seed: wanted key=value"),
        ("=3", r"^--set =3: wanted key=value"),
        ("..=3", r"^--set \.\.=3: wanted key=value"),
        ("methods[1].label=x", r"^--set methods\[1\]\.label=x: no '1' in a list of 1, counted from 0"),
        ("methods[1]=x", r"no '1' in a list of 1"),
        ("methods[-1].label=x", r"no '-1' in a list of 1"),
        ("methods.click_only.label=x", r"no 'click_only' in a list of 1"),
        ("run.name=x", r"^--set run\.name=x: no 'name' in 'tried'"),
        ("text.rule=none", r"text\.rule=none: no 'rule' in 'given'\. Give `text` as a whole: 'text=\{rule: \.\.\.\}'"),
        ("metrics=[iou", r"^--set metrics=\[iou: not valid YAML\. .*at line 1"),
        ("sed=3", r"a\.yaml, sed: no such key\. Did you mean 'seed'"),
        ("workers.cont=3", r"a\.yaml, workers\.cont: no such key"),
        ("seed=", r"a\.yaml, seed: found nothing; wanted a valid integer"),
        ("methods[0].params.chekpoint=a", r"methods\[0\]\.params\.chekpoint: click_only takes no such parameter"),
        ("methods=click_only", r"a\.yaml, methods: found 'click_only'; wanted a list"),
    ],
)
def test_mistaken_overrides(tmp_path: Path, override: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        _load(tmp_path, override, text="given")


# Recipes


def test_a_trained_method_knows_its_checkpoint(tmp_path: Path) -> None:
    recipe = load_recipe(_file(tmp_path, RECIPE, "recipe.yaml"))
    for train in (RECIPE, str(tmp_path / "recipe.yaml")):
        (method,) = _load(tmp_path, methods=[{"name": "click_only", "train": train}]).methods
        assert method.train == recipe and method.params == {"checkpoint": str(recipe.output)}
    assert recipe.output == places.ROOT / "weights" / "trained" / f"{recipe.key}.safetensors"


def test_a_checkpoint_in_the_checkout_stays_relative(tmp_path: Path) -> None:
    recipe = RECIPE | {"checkpoint": "methods/weights/a.safetensors"}
    (method,) = _load(tmp_path, methods=[{"name": "click_only", "train": recipe}]).methods
    assert method.params == {"checkpoint": "methods/weights/a.safetensors"}
    assert method.train is not None and method.train.output == places.ROOT / "methods/weights/a.safetensors"


def _seeded(recipe: str, **changes: Any) -> dict[str, Any]:
    return {"methods": [{"name": "click_only", "label": "Click", "train": recipe, **changes}]}


def test_seeds_are_entries_with_checkpoints_of_their_own(tmp_path: Path) -> None:
    file = _file(tmp_path, RECIPE | {"seed": 1, "checkpoint": "methods/weights/a.safetensors"}, "recipe.yaml")
    own, other = _load(tmp_path, **_seeded(str(file), seeds=[1, 2])).methods
    assert [label(own), label(other)] == ["Click, seed 1", "Click, seed 2"]
    assert own.seed_of == other.seed_of == "Click" and not own.seeds
    assert own.params == {"checkpoint": "methods/weights/a.safetensors"}
    assert other.train is not None and other.train.seed == 2
    assert other.params == {"checkpoint": str(load_recipe(file, ["seed=2"]).output)}


def test_seeds_and_variants_multiply(tmp_path: Path) -> None:
    variants = [{"label": "silent", "text": "none"}, {"label": "said"}]
    file = _file(tmp_path, RECIPE, "recipe.yaml")
    methods = _load(tmp_path, **_seeded(str(file), seeds=[1, 2], variants=variants)).methods
    assert [label(one) for one in methods] == [
        f"Click, seed {n}, {said}" for n in (1, 2) for said in ("silent", "said")
    ]
    assert [one.variant_of for one in methods] == [f"Click, seed {n}" for n in (1, 1, 2, 2)]


def test_seeds_want_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"methods\[0\]\.seeds: found a checkpoint under `params`; wanted `train:` with a recipe"
    ):
        _load(tmp_path, **_method(seeds=[1], train=RECIPE))
    with pytest.raises(UserError, match=r"methods\[0\]\.seeds: found no `train`; wanted `train:` with a recipe"):
        _load(tmp_path, methods=[{"name": "click_only", "seeds": [1]}])


def test_a_recipe_with_changes(tmp_path: Path) -> None:
    file = _file(tmp_path, RECIPE | {"checkpoint": "methods/weights/a.safetensors"}, "recipe.yaml")
    train = {"recipe": str(file), "set": {"steps": 7, "datasets[0].params.count": 2}}
    (method,) = _load(tmp_path, methods=[{"name": "click_only", "train": train}]).methods
    assert method.train is not None and method.train.steps == 7 and method.train.datasets[0].params["count"] == 2
    assert method.params == {"checkpoint": str(method.train.output)} != {"checkpoint": "methods/weights/a.safetensors"}


def test_one_change_for_all_recipes_of_a_run(tmp_path: Path) -> None:
    file = _file(tmp_path, RECIPE | {"checkpoint": "methods/weights/a.safetensors", "note": "Toy."}, "recipe.yaml")
    methods = [
        {"name": "click_only", "label": name, "train": {"recipe": str(file), "set": {"steps": 7, "seed": 3}}}
        for name in ("a", "b")
    ]
    path = _file(tmp_path, BASE | {"methods": methods})
    given = ["training.steps=2", "training.learner.params.size=64", "methods[1].train.set.learner.params.dropout=0.25"]
    first, second = (method.train for method in load_run(path, given).methods)
    assert first is not None and second is not None
    assert (first.steps, first.seed, first.learner.params) == (2, 3, {"size": 64})  # its own `set` is weaker
    assert second.learner.params == {"size": 64, "dropout": 0.25}
    assert first.note == "Toy. Changed: steps: 2, learner.params.size: 64."
    assert first.output.stem == first.key != second.output.stem == second.key
    with pytest.raises(UserError, match=r"a\.yaml, methods\[0\]\.train: .*recipe\.yaml, stps: no such key"):
        load_run(path, ["training.stps=2"])
    with pytest.raises(UserError, match=r"a\.yaml, training: found 3; wanted"):
        load_run(path, ["training=3"])


def test_it_changes_a_recipe_that_stands_in_the_config(tmp_path: Path) -> None:
    written = RECIPE | {"checkpoint": "methods/weights/a.safetensors", "note": "Toy."}
    path = _file(tmp_path, BASE | {"methods": [{"name": "click_only", "train": written}]})
    (plain,), (changed,) = (load_run(path, given).methods for given in ([], ["training.steps=2"]))
    assert plain.train is not None and plain.train.checkpoint == "methods/weights/a.safetensors"
    assert changed.train is not None and (changed.train.steps, changed.train.checkpoint) == (2, "")
    assert changed.train.note == "Toy. Changed: steps: 2."
    with pytest.raises(UserError, match=r"a\.yaml, methods\[0\]\.train, stps: no such key"):
        load_run(path, ["training.stps=2"])


def _two(folder: Path, **second: Any) -> list[dict[str, Any]]:
    """Two methods of one recipe and one checkpoint, the second one's changed."""
    file = str(_file(folder, RECIPE, "recipe.yaml"))
    sets = [{"checkpoint": "methods/x.safetensors", "seed": 1} | own for own in ({}, second)]
    return [
        {"name": "click_only", "label": name, "train": {"recipe": file, "set": own}}
        for name, own in zip("ab", sets, strict=True)
    ]


@pytest.mark.parametrize("place", ["methods/x.safetensors", "methods/weights/../x.safetensors"])
def test_two_recipes_with_one_checkpoint_would_pass_for_each_other(tmp_path: Path, place: str) -> None:
    reason = "a.yaml, methods: 'a' and 'b' have different recipes that save to one checkpoint, methods/.*x.safetensors"
    with pytest.raises(UserError, match=reason):
        _load(tmp_path, methods=_two(tmp_path, seed=2, checkpoint=place))
    assert len(_load(tmp_path, methods=_two(tmp_path, seed=2, checkpoint="methods/y.safetensors")).methods) == 2


def test_entries_of_one_recipe_share_its_checkpoint(tmp_path: Path) -> None:
    for same in ({}, {"note": "Another."}, {"save_every": 7}):
        assert len(_load(tmp_path, methods=_two(tmp_path, **same)).methods) == 2


def test_what_is_asked_is_what_was_trained(tmp_path: Path) -> None:
    def loaded(asked: str, **recipe: Any) -> RunConfig:
        entry = {"name": "click_only", "params": {"checkpoint": asked}, "train": RECIPE | recipe}
        return _load(tmp_path, methods=[entry])

    for asked in ("methods/x.safetensors", str(places.ROOT / "methods" / "x.safetensors")):
        assert loaded(asked, checkpoint="methods/x.safetensors").methods[0].params == {"checkpoint": asked}
    recipes: list[dict[str, Any]] = [{}, {"checkpoint": "methods/y.safetensors"}]
    for recipe in recipes:
        with pytest.raises(UserError, match=r"methods\[0\]\.params\.checkpoint: found methods/x\.saf.*`train` saves "):
            loaded("methods/x.safetensors", **recipe)


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        ({"recipe": "no.yaml"}, r"no\.yaml: no such file"),
        ({"recipe": "recipe.yaml", "sat": {}}, r"found .*'sat'.*; wanted a path, or \{recipe: PATH, set: "),
        ({"recipe": 3}, r"found \{'recipe': 3\}; wanted a path"),
        ({"recipe": "recipe.yaml", "set": [1]}, r"wanted a path, or"),
        ({"recipe": "recipe.yaml", "set": {"stps": 3}}, r"recipe\.yaml, stps: no such key\. Did you mean 'steps'"),
        ({"recipe": "recipe.yaml", "set": {"steps.x": 3}}, r"recipe\.yaml, set: no 'x' in 3"),
    ],
)
def test_mistaken_changes(tmp_path: Path, train: dict[str, Any], reason: str) -> None:
    _file(tmp_path, RECIPE, "recipe.yaml")
    train = train | ({"recipe": str(tmp_path / train["recipe"])} if isinstance(train["recipe"], str) else {})
    with pytest.raises(UserError, match=rf"a\.yaml, methods\[0\]\.train: .*{reason}"):
        _load(tmp_path, methods=[{"name": "click_only", "train": train}])
