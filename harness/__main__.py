"""The command line: `python -m harness run configs/quickstart.yaml`.

Exit codes: 0 complete, 1 complete with more failures than `max_failures`, 2 a mistake that the reader can mend,
130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from harness import config as configs
from harness import registry
from harness.clicks import STRATEGIES
from harness.metrics import METRICS
from harness.structures import UserError
from harness.weights_command import weights_app

if TYPE_CHECKING:
    from harness.progress import Live

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(weights_app, name="weights")
console = Console(width=None if sys.stdout.isatty() else 150, emoji=False)
errors = Console(stderr=True, emoji=False)

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file, such as configs/quickstart.yaml.")]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key: --set workers.count=2.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most this many images a data set; every table says so.")]
Address = Annotated[str | None, typer.Option(help="Of a Ray cluster (auto, ray://...); this machine by default.")]


class Kind(StrEnum):
    """What `list` lists."""

    methods = "methods"
    datasets = "datasets"
    saliency = "saliency"
    learners = "learners"
    metrics = "metrics"
    clicks = "clicks"
    tables = "tables"


@app.command()
def run(config: ConfigPath, set_: Set = [], limit: Limit = None, address: Address = None) -> None:  # noqa: B006
    """Evaluate every method on every data set of a config, and print its tables. The same command again resumes."""
    from harness.report.layout import to_terminal
    from harness.run import run as execute

    loaded = _loaded(config, set_, limit)
    with _live() as live:
        finished = execute(loaded, live, address)
    for table in finished.tables:
        console.print(to_terminal(table))
    _say(f"runs/{loaded.run}/report.md, runs/{loaded.run}/results.parquet")
    if finished.over_budget:
        errors.print(
            f"{finished.failed} of {finished.instances} instances failed: over max_failures={loaded.max_failures:g}.",
            style="red",
        )
        raise typer.Exit(1)


@app.command()
def report(
    target: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's folder, such as runs/quickstart, or its config.")
    ],
    set_: Set = [],  # noqa: B006
    limit: Limit = None,
) -> None:
    """Print and write the tables of the rows that are there; nothing is computed anew."""
    from harness.plan import planned
    from harness.report.layout import to_terminal
    from harness.run import report as build
    from harness.store import Store

    if target.is_dir() and (set_ or limit):
        raise UserError(f"{target}: --set and --limit belong to a config; a run's folder reports what was run.")
    loaded = _recorded(target) if target.is_dir() else _loaded(target, set_, limit)
    store = Store(registry.ROOT / "runs" / loaded.run)
    if not store.manifest():
        raise UserError(f"{store.root}: no such run. Start it: python -m harness run {target}.")
    for table in build(loaded, planned(loaded), store).tables:
        console.print(to_terminal(table))


@app.command()
def plan(config: ConfigPath, set_: Set = [], limit: Limit = None) -> None:  # noqa: B006
    """Say what `run` would do: images, instances, what is there already, what must be trained. Computes nothing."""
    from harness.plan import instances, planned
    from harness.store import Store

    loaded = _loaded(config, set_, limit)
    untrained = [m for m in loaded.methods if m.train is not None and not m.train.output.is_file()]
    for method in untrained:
        assert method.train is not None
        _say(f"{configs.label(method)}: trained first, {method.train.steps} steps to {method.train.output}")
    ready = [m for m in loaded.methods if m not in untrained]
    jobs = planned(loaded.model_copy(update={"methods": tuple(ready)}))
    store = Store(registry.ROOT / "runs" / loaded.run)
    listing = RichTable("Method", "Data set", "Images", "Instances", "Done already")
    counts: dict[str, int] = {}
    for job in jobs:
        name = job.facts.dataset
        counts[name] = counts[name] if name in counts else instances(job)
        done = f"{len(store.done(job.facts) & set(job.sample_ids))} images"
        listing.add_row(escape(job.facts.method), escape(name), str(len(job.sample_ids)), str(counts[name]), done)
    console.print(listing)


@app.command()
def doctor(config: ConfigPath, set_: Set = [], address: Address = None) -> None:  # noqa: B006
    """Look at all that a run needs: data, counts, checkpoints, GPU, Ray, memory, disk. Computes nothing."""
    from harness.doctor import State, examined
    from harness.machine import fitness

    loaded = _loaded(config, set_, None)
    found = [*examined(loaded), *fitness(loaded, address)]
    colour = {State.FINE: "green", State.NOTE: "yellow", State.WRONG: "red"}
    listing = RichTable("", "What", "Found")
    for one in found:
        listing.add_row(f"[{colour[one.state]}]{one.state}", escape(one.subject), escape(one.said))
    console.print(listing)
    wrong = sum(one.state is State.WRONG for one in found)
    _say(f"{wrong} of {len(found)} findings are wrong." if wrong else "Nothing is wrong.")
    if wrong:
        raise typer.Exit(1)


@app.command(name="list")
def list_(kind: Annotated[Kind, typer.Argument(help="What to list.")]) -> None:
    """Every name that a config may use, with one line on each."""
    listing = RichTable("Name", "What it is")
    for name, line in _described(kind.value):
        listing.add_row(escape(name), escape(line))
    console.print(listing)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A training recipe, such as configs/scenes_text_click.yaml.")],
    force: Annotated[bool, typer.Option(help="Train even if the checkpoint is there.")] = False,
) -> None:
    """Train a checkpoint by its recipe; the same command again resumes."""
    from harness.training import train as execute

    loaded = configs.load_recipe(recipe)
    if loaded.output.is_file() and not force:
        _say(f"{loaded.output} is there already; --force trains it anew.")
        return
    with _live() as live:
        path = execute(loaded, lambda progress: live.training(recipe.stem, progress))
    _say(f"{path} and its card {path.with_suffix('.md').name}")


def _say(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)


@contextmanager
def _live() -> Iterator[Live]:
    """Shows how the work goes; an interrupt ends it with a word on what is kept."""
    from harness.progress import Live

    try:
        with Live(console) as live:
            yield live
    except KeyboardInterrupt:
        errors.print("Interrupted. What is done is kept: the same command goes on from here.")
        raise typer.Exit(130) from None


def _loaded(path: Path, overrides: list[str], limit: int | None) -> configs.RunConfig:
    from harness.report import tables

    loaded = configs.load_run(path, overrides)
    for index, name in enumerate(loaded.tables):
        if name not in tables():
            raise UserError(f"{path}, tables[{index}]: no table '{name}'. {registry.suggest(name, tables())}")
    return loaded if limit is None else loaded.model_copy(update={"limit": limit})


def _recorded(run_folder: Path) -> configs.RunConfig:
    """The config of a run's last start."""
    from harness.store import Store

    manifest = Store(run_folder).manifest()
    if not manifest:
        raise UserError(f"{run_folder}: no manifest.json in it; wanted the folder of a run, such as runs/quickstart.")
    return configs.RunConfig.model_validate(manifest["config"])


def _described(kind: str) -> list[tuple[str, str]]:
    if kind == "metrics":
        return [(name, metric.description) for name, metric in METRICS.items()]
    if kind == "clicks":
        return [(name, _first_line(function)) for name, function in STRATEGIES.items()]
    if kind == "tables":
        from harness.report import tables

        return [(name, _first_line(builder)) for name, builder in tables().items()]
    return [(name, _plugin_line(kind, name)) for name in registry.names(kind)]


def _plugin_line(kind: str, name: str) -> str:
    """What a plugin says of itself, or why it cannot: a broken one hides no other."""
    try:
        return _first_line(registry.find(kind, name))
    except UserError as error:
        return f"broken: {error}"


def _first_line(thing: object) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0]


def main() -> NoReturn:
    """Run the command line; a UserError becomes one message and exit code 2."""
    try:
        app()
    except UserError as error:
        errors.print(f"[bold red]error[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(2)
    sys.exit(0)


if __name__ == "__main__":
    main()
