"""What the pages tell a reader to type is what today's code takes, and what they print is what it answers.

Each command is read by the real command line, each YAML by the config's models, each Python block is compiled and its
names are looked up. Where no other test does it, Python is executed, and an output is compared with that of the command
above it. Of other programs' commands (pip, ray, docker, sbatch) only the files are looked for: tests/test_deploy.py and
tests/test_installed.py run what they can of them. What no test prints again is named, with the reason.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import typer
from harness.datasets.scenes.scenes import Scenes
from pydantic import ValidationError

from harness import UserError, places
from harness.cli import app
from harness.cli.power import say_detect
from harness.config import yaml_file
from harness.config.click_protocol import Clicks, checked_clicks
from harness.config.method_entry import MethodEntry, Variant, read_recipes
from harness.config.recipe import Recipe
from harness.config.run_config import RunConfig, load_run
from harness.plugins import parameters
from harness.running.one_run import run
from harness.storage.store import Store
from toy_runs import Quiet

ROOT = places.ROOT
KEPT = ROOT / "docs" / "example_report" / "run"
MADE_PAGES = ("docs/config.md", "docs/api.md")
"""Written by `make references` and held by tests/test_references.py."""

FILES = [
    *("README.md", "CONTRIBUTING.md", "tests/README.md", "templates/plugin/README.md", "docs/example_report/README.md"),
    *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("docs/*.md"))),
]
FILES = [one for one in FILES if one not in MADE_PAGES]
SCRIPTS = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("deploy/*")) if path.is_file()]
PAGES = {name: (ROOT / name).read_text("utf-8") for name in [*FILES, *SCRIPTS]}

INVENTED = {"mine.yaml", "run.yaml", "tiny.yaml", "config.yaml"}
"""Configs of a reader's own: a page shows them, or leaves them to the reader."""


def blocks(page: str, tag: str) -> list[str]:
    """The fenced blocks of a page that are so tagged."""
    found = re.findall(r"^( *)```(\w*)\n(.*?)^\1```$", PAGES[page], re.DOTALL | re.MULTILINE)
    return [text for _, kind, text in found if kind == tag]


def with_blocks(tag: str) -> list[str]:
    return [page for page in FILES if blocks(page, tag)]


def commands(text: str) -> list[str]:
    """What follows `python -m harness`, or `harness`, in blocks and within sentences; a shell's variables are X."""
    text = re.sub(r"\"?\$[\w@{}:-]+\"?", "X", re.sub(r"\\\n\s*", " ", text))
    found = re.findall(r"(?:python -m |^ *|`)harness ([a-z][^`\n]*)", text, re.MULTILINE)
    return [re.split(r" +#|;| &|\)$", one)[0].strip().replace("list KIND", "list methods") for one in found]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands(PAGES[page])])
def test_the_command_line_takes_each_command(page: str) -> None:
    for command in commands(PAGES[page]):
        arguments = [one for one in shlex.split(command) if one != "..."]
        try:
            given = read(arguments)
        except typer.BadParameter as error:  # A sentence may name a command without what it is given.
            bare = len(arguments) == 1 or arguments[0] == "weights" or "..." in command
            assert bare and type(error).__name__ == "MissingParameter", f"{command}: {error.format_message()}"
            continue
        for key in ("config", "recipe"):
            if given.get(key) is not None and not given[key].name.isupper() and given[key].name not in INVENTED:
                check_config(given[key], given.get("set_", []))


COMMANDS: Any = typer.main.get_command(app)


def read(arguments: list[str]) -> dict[str, Any]:
    """What the command line makes of them, without doing anything."""
    command = COMMANDS
    context = command.make_context("harness", list(arguments))
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
    return dict(context.params)


def check_config(path: Path, overrides: list[str]) -> None:
    """The config is there, and takes what `--set` changes."""
    path = ROOT / places.config(path)
    raw = yaml_file.read(path)
    for one in overrides:
        yaml_file.override(raw, one)
    if "methods" in raw:
        read_recipes(raw, path)
    (RunConfig if "methods" in raw else Recipe).model_validate(raw)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in FILES if "-m benchmarks." in PAGES[page]])
def test_each_benchmark_takes_its_options(page: str) -> None:
    text = re.sub(r"\\\n\s*", " ", PAGES[page])
    for name, options in re.findall(r"-m benchmarks\.(\w+)([^`#\n]*)", text):
        module = importlib.import_module(f"benchmarks.{name}")
        if hasattr(module, "main"):
            benchmark = typer.Typer()
            benchmark.command()(module.main)
            typer.main.get_command(benchmark).make_context(name, shlex.split(options.strip(" []")))


@pytest.mark.parametrize("page", FILES)
def test_files_and_targets_that_a_shell_is_given_are_there(page: str) -> None:
    text = "\n".join(blocks(page, "sh"))
    files = re.findall(r"(?<![\w/.])(?:configs|deploy|docs|methods|templates|tests)/[\w./]+", text)
    assert [one for one in files if Path(one).name not in INVENTED and not (ROOT / one).exists()] == []
    targets = re.findall(r"(?:^|`)make (\w+)", text, re.MULTILINE)
    assert [one for one in targets if not re.search(rf"^{one}:", (ROOT / "Makefile").read_text(), re.MULTILINE)] == []


# YAML

QUICKSTART = yaml_file.read(ROOT / "configs" / "quickstart.yaml")
RECIPE = yaml_file.read(ROOT / "configs" / "scenes_click_only.yaml")
MODELS: tuple[tuple[type[Any], Mapping[str, Any]], ...] = (
    (RunConfig, QUICKSTART),
    (MethodEntry, QUICKSTART["methods"][0]),
    (Variant, {"label": "a"}),
    (Recipe, RECIPE),
)
"""A part of a config, and what it has beside a fragment of it."""
OWN = ("centroid/v1", "file", "'run'")
"""Click rules of a reader's own, and options that are files or runs of theirs: only the model looks at such clicks."""


@pytest.mark.slow
@pytest.mark.parametrize("page", with_blocks("yaml"))
def test_each_yaml_is_a_config_or_a_part_of_one(page: str) -> None:
    for text in blocks(page, "yaml"):
        whole = re.search(r"^(run|learner):", text, re.MULTILINE)
        for entry in [text] if whole else re.split(r"^(?=\w)", text, flags=re.MULTILINE):
            check_fragment(yaml_file.parsed(entry, page) or {})


def check_fragment(fragment: Mapping[str, Any]) -> None:
    """Some part of a config has these keys and takes these values, and each plugin the arguments that it is given."""
    if set(fragment) == {"saliency"}:
        parameters.resolve("saliency", fragment["saliency"]["name"], fragment["saliency"]["params"])
        return
    mistakes = [
        mistake_of(model, {**rest, **fragment}) for model, rest in MODELS if set(fragment) <= set(model.model_fields)
    ]
    assert None in mistakes, (fragment, mistakes)
    for kind in ("datasets", "methods"):
        for entry in fragment.get(kind, []):
            check_entry(kind, entry)
    clicks = fragment.get("clicks", {})
    if clicks and ":" not in clicks.get("strategy", "") and not any(one in str(clicks) for one in OWN):
        checked_clicks(Clicks(**clicks), "the page")


def check_entry(kind: str, entry: Any) -> None:
    """A data set or a method: its arguments are those of the plugin, and its variants parts of a config."""
    if not isinstance(entry, Mapping) or ":" in entry["name"]:  # a label, or a plugin of the reader's own
        return
    trained = {"checkpoint": "weights/it.safetensors"} if "train" in entry else {}
    parameters.resolve(kind, entry["name"], trained | entry.get("params", {}))
    for variant in entry.get("variants", []):
        check_fragment(variant)


def mistake_of(model: type[Any], given: Mapping[str, Any]) -> object:
    """What a model says of it; None where it takes it."""
    raw = dict(given)
    try:
        if "methods" in raw:
            read_recipes(raw, Path("the page"))
        model.model_validate(raw)
    except (ValidationError, UserError) as error:
        return error
    return None


KEYS = re.compile(r"`((?:clicks: \{|(?:text|metrics|tables|limit|seed|max_failures|workers|loggers|effort): )[^`]+)`")
"""In a sentence: keys of a run's config that are no plugin's arguments as well."""


def sentences(page: str) -> str:
    return re.sub(r"^ *```.*?^ *```", "", PAGES[page], flags=re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in FILES if KEYS.search(sentences(page))])
def test_each_key_in_a_sentence_is_one_that_a_config_takes(page: str) -> None:
    for text in KEYS.findall(sentences(page)):
        if "..." not in text:
            check_fragment(yaml_file.parsed(text, page))


def test_json_and_toml_can_be_read() -> None:
    for page in FILES:
        assert all(json.loads(text) for text in blocks(page, "json"))
        assert all(tomllib.loads(text) for text in blocks(page, "toml"))


# Python

PYTHON_IS_RUN_BY = {
    "CONTRIBUTING.md": "tests/test_habits.py",
    "docs/clicks.md": "tests/clicks/test_every_simulator.py",
    "docs/plugins.md": "tests/plugins/test_repository.py",
    "docs/statistics.md": "tests/report/test_example_report.py",
    "docs/tutorial.md": "tests/test_tutorial.py",
}
NEEDS_DATA = {"docs/referring.md": "refCOCO's pickles and pictures"}
"""Python that is compiled alone, and what running it would take."""
RUN_HERE = ("README.md", "docs/results.md")


@pytest.mark.parametrize("page", with_blocks("python"))
def test_each_name_that_python_imports_is_there(page: str) -> None:
    for text in blocks(page, "python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("harness"):
                module = importlib.import_module(str(node.module))
                assert [one.name for one in node.names if not hasattr(module, one.name)] == []


def test_every_page_s_python_is_run_or_says_what_it_needs() -> None:
    assert set(with_blocks("python")) == {*PYTHON_IS_RUN_BY, *NEEDS_DATA, *RUN_HERE}
    assert all((ROOT / test).is_file() for test in PYTHON_IS_RUN_BY.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader works: a run's rows, as a run that ended leaves them, and a scene as a picture."""
    made = tmp_path_factory.mktemp("reader")
    (made / "runs").mkdir()
    for name in ("quickstart", "x", "sam_vs_ours_all_scenes"):
        (made / "runs" / name).symlink_to(KEPT)
    PIL.Image.fromarray(Scenes("val").load("val-00003").image).save(made / "scene.png")
    return made


@pytest.mark.slow
def test_the_python_of_a_page_runs_from_top_to_bottom(folder: Path) -> None:
    """In one process, which imports once; each page begins with names of its own."""
    for page in RUN_HERE:
        (folder / f"{Path(page).stem}.txt").write_text("\n".join(blocks(page, "python")))
    source = "import sys\nfor name in sys.argv[1:]: exec(compile(open(name).read(), name, 'exec'), {'__name__': name})"
    command = [sys.executable, "-c", source, *(f"{Path(page).stem}.txt" for page in RUN_HERE)]
    for path in folder.glob("*.txt"):
        path.write_text(re.sub(r"limit=\d+", "limit=1", path.read_text()))  # Fewer scenes; nothing else is changed.
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# What is printed

OUTPUT_IS_HELD_BY = {
    "docs/tutorial.md": "tests/test_tutorial.py",
    "docs/plugins.md": "tests/checking/test_subjects.py",
}
ADDED = {"doctor configs/quickstart.yaml": "--set datasets.0.params.count=3 --set workers.executor=local"}
"""What a test adds to a command, to draw 3 scenes and start no Ray: the lines that a page shows are the same."""
SEEN_ELSEWHERE = {
    "On node": "tests/cluster/test_nodes.py, in a cluster of two nodes",
    "The method mine was edited": "tests/storage/test_edits.py, after an edit",
    "Text+Click on scenes: 3 of 3 images": "tests/running/test_watch.py; speed and memory are a machine's own",
}
"""How an output begins -> which test sees such a line, or why no test prints this very one."""


def outputs() -> list[tuple[str, str, str]]:
    """A page, the last command above an output, the output: a fence without a tag."""
    found = []
    for page in FILES:
        parts = re.split(r"^```(\w*)\n(.*?)^```$", PAGES[page], flags=re.DOTALL | re.MULTILINE)
        above = ""
        for before, tag, text in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
            above = (commands(before) or [above])[-1]
            above = (commands(text) or [above])[-1]
            if not tag and page not in OUTPUT_IS_HELD_BY and not text.startswith(tuple(SEEN_ELSEWHERE)):
                found.append((page, above, text))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("page", "command", "shown"), outputs(), ids=lambda text: text[:40])
def test_an_output_is_what_its_command_prints(
    page: str, command: str, shown: str, folder: Path, short: Path, here: Callable[..., Any]
) -> None:
    """Line by line; of a line the page may leave out columns, and of an output lines."""
    runs = short if page in ("docs/runs.md", "docs/inspecting.md") else folder / "runs"
    done = here(*(re.sub(r"^runs/", f"{runs}/", one) for one in shlex.split(f"{command} {ADDED.get(command, '')}")))
    printed = [words(line) for line in done.stdout.replace(f"{runs}/", "runs/").splitlines()]
    lines = [line for line in shown.splitlines() if words(line) and line.strip() != "..."]
    assert [line for line in lines if not any(left_out(words(line), one) for one in printed)] == [], done.stdout


def words(line: str) -> list[str]:
    return [word for word in line.split() if word.strip("─│┃━") and word != "..."]


def left_out(some: list[str], words: list[str]) -> bool:
    """Whether `some` are words in their order, of which others may be left out."""
    rest = iter(words)
    return all(word in rest for word in some)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that docs/inspecting.md verifies, of three images, without Ray."""
    made = tmp_path_factory.mktemp("short")
    config = load_run(ROOT / "configs" / "quickstart.yaml", ["workers.executor=local", "limit=3"])
    run(config, Quiet(), runs=str(made))
    return made


@pytest.mark.slow
def test_statistics_says_how_many_images_each_two_methods_need(capsys: pytest.CaptureFixture[str]) -> None:
    """What `plan --detect` prints, without the listing of all scenes before it."""
    say_detect(Store(KEPT), load_run(ROOT / "configs" / "sam_vs_ours_all_scenes.yaml"), 0.5)
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    table = PAGES["docs/statistics.md"].partition("| half a point needs |\n")[2].split("\n\n")[0]
    for line in table.splitlines()[1:]:
        assert any(left_out(re.sub(r"\||\+(?=\d)", " ", line).split(), one) for one in printed), line


KEPT_TABLES = {
    "docs/scenes.md": ("Every embedded method", "More gain where the click is ambiguous?", "One click, two objects"),
    "docs/statistics.md": ("Classes and sizes",),
}
"""Sections whose tables come from the rows in docs/example_report, and so stand in its documents."""
NOT_KEPT = (
    *("SAM's masks chosen by a saliency", "One network, four saliencies", "Other words, same clicks"),
    *("Words guessed from the click", "A class name, a phrase, a click", "Other names to contrast with"),
    *("With more clicks", "Another place to click", "Twenty clicks", "Chance of the training"),
    "Fewer classes in training",
)
"""Sections of docs/scenes.md whose runs take minutes to an hour and whose rows are not kept: no test makes their tables
again. So it is with the table of docs/interactive.md, and with the times of docs/performance.md, which a machine has.
"""


def test_each_table_of_the_scenes_is_of_kept_rows_or_named() -> None:
    sections = re.split(r"^## ", PAGES["docs/scenes.md"], flags=re.MULTILINE)[1:]
    with_tables = {one.split("\n")[0] for one in sections if "\n|" in one}
    assert with_tables == {*KEPT_TABLES["docs/scenes.md"], *NOT_KEPT}


@pytest.mark.parametrize("page", KEPT_TABLES)
def test_a_table_of_kept_rows_has_the_numbers_of_the_example_report(page: str) -> None:
    documents = "".join(path.read_text("utf-8") for path in KEPT.parent.glob("*.md"))
    for heading in KEPT_TABLES[page]:
        section = re.split(rf"^## {re.escape(heading)}\n", PAGES[page], flags=re.MULTILINE)[1].split("\n## ")[0]
        lines = [line for line in section.splitlines() if line.startswith("|")]
        numbers = re.findall(r"\d+\.\d\d", "".join(lines))
        assert numbers and [one for one in numbers if one not in documents] == []
