"""The command line: `python -m harness run configs/quickstart.yaml`.

Exit codes: 0 complete, 1 more failures than `max_failures` or rows that lack, 2 a mistake that the reader can mend,
130 interrupted.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from harness import messages, places
from harness.cli.results import Format, Output, audit, compare, leaderboard, tabulate
from harness.cli.weights import weights_app
from harness.clicks import STRATEGIES
from harness.config import run_config as configs
from harness.config.parts import label
from harness.config.recipe import load_recipe
from harness.interrupts import in_order
from harness.masks.metrics import METRICS
from harness.page.command import page
from harness.plugins import registry
from harness.structures import UserError

if TYPE_CHECKING:
    from harness.config.recipe import Recipe
    from harness.running.progress import Live
    from harness.running.run import Finished
    from harness.storage.folder import Folder
    from harness.training.estimate import Expected

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(weights_app, name="weights")
app.command()(page)
for made_of_rows in (audit, compare, leaderboard):
    app.command()(made_of_rows)
console = Console(width=None if sys.stdout.isatty() else 150, emoji=False)
errors = Console(stderr=True, emoji=False)

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file, such as configs/quickstart.yaml.")]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key: --set workers.count=2.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most this many images a data set; every table says so.")]
Address = Annotated[str | None, typer.Option(help="Of a Ray cluster (auto, ray://...); this machine by default.")]
Runs = Annotated[
    str | None,
    typer.Option(envvar="HARNESS_RUNS", help="Where runs are kept: a folder, s3://... or gs://...; runs/ by default."),
]
RunFolder = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or bucket, such as runs/quickstart.")]


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
def run(
    config: ConfigPath,
    set_: Set = [],  # noqa: B006
    limit: Limit = None,
    address: Address = None,
    runs: Runs = None,
    retry_failed: Annotated[
        bool, typer.Option(help="Redo the images in which an instance failed, which are else kept.")
    ] = False,
) -> None:
    """Evaluate every method on every data set of a config, and print its tables. The same command again resumes."""
    from harness.report.rendering.terminal import to_terminal
    from harness.running.run import run as execute
    from harness.storage.store import store_of

    loaded = _loaded(config, set_, limit)
    place = store_of(loaded.run, runs).folder
    with _live(place) as live:
        finished = execute(loaded, live, address, runs, retry_failed)
    for table in finished.tables:
        console.print(to_terminal(table))
    folder = _shown(place)
    _say(f"{folder}/report.md, {folder}/results.parquet")
    again = _again(config, set_, limit, address, runs)
    retry = f"{again} --retry-failed"
    _warn_failed(finished, loaded.max_failures, retry)
    _warn_missing(finished, retry if finished.over_budget else again)
    if finished.over_budget or finished.missing:
        raise typer.Exit(1)


@app.command()
def report(
    target: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's folder or bucket, such as runs/quickstart, or its config.")
    ],
    set_: Set = [],  # noqa: B006
    limit: Limit = None,
    runs: Runs = None,
    table: Annotated[str | None, typer.Option(help="Only this: a number of the paper's, a name, or all.")] = None,
    form: Format = None,
    output: Output = None,
    intervals: Annotated[bool, typer.Option(help="Every mean with its n and 95 % interval.")] = False,
) -> None:
    """Print and write the tables of the rows that are there; nothing is computed anew.

    A folder is reported as it was run, without a look at data or weights; a config as it would be run now. With
    --table, --format, --output or --intervals nothing but these tables is written.
    """
    if table or form or output or intervals:
        if Path(target).suffix in (".yaml", ".yml") or set_ or limit:
            raise UserError(f"{target}: --table, --format, -o and --intervals want a run's folder, without --set.")
        tabulate(target, table or "", form, output, intervals)
        return
    from harness.jobs.plan import planned
    from harness.report.rendering.terminal import to_terminal
    from harness.results.recorded import recorded
    from harness.running.run import report as build
    from harness.storage.lock import holder
    from harness.storage.store import Store, store_of

    if Path(target).suffix in (".yaml", ".yml"):
        loaded = _loaded(Path(target), set_, limit)
        store = store_of(loaded.run, runs)
        if not store.manifest():
            raise UserError(f"{store.folder}: no such run. Start it: python -m harness run {target}.")
        jobs = planned(loaded)
        store.check([job.facts for job in jobs])
    else:
        if set_ or limit:
            raise UserError(f"{target}: --set and --limit belong to a config; a run's folder reports what was run.")
        store = Store(target)
        loaded, jobs = recorded(store)
    writer = holder(store.folder)
    finished = build(loaded, jobs, store, write=writer is None)
    for made in finished.tables:
        console.print(to_terminal(made))
    if writer:
        _warn(f"{store.folder} is being written by {writer}: results.parquet and report.md are left to it.")
    _warn_missing(finished, "the same run again")


@app.command()
def watch(run: RunFolder) -> None:
    """Show how a run goes, from another shell, until it ends."""
    from harness.running.watch import follow

    follow(run, console)


@app.command()
def verify(run: RunFolder) -> None:
    """Prove that a run is complete and as it was written: every shard, row and result; exit code 1 if it is not."""
    from harness.storage.store import Store
    from harness.storage.verify import verified

    found = verified(Store(run))
    for line in found.proved:
        _say(f"proved: {line}")
    for line in found.unproved:
        _say(f"not looked at: {line}")
    for line in found.lacking:
        _warn(f"lacking: {line}")
    _say(f"{run}: {f'{len(found.lacking)} things lack.' if found.lacking else 'complete.'}")
    if found.lacking:
        raise typer.Exit(1)


@app.command()
def merge(
    sources: Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders or buckets of runs.")],
    into: Annotated[str, typer.Option("--into", "-o", help="The run's folder to be made or added to.")],
) -> None:
    """Put the rows of several runs, of other machines or other methods, into one run."""
    from harness.storage.folder import Folder
    from harness.storage.merge import merged
    from harness.storage.store import Store

    with in_order():
        copied, rows = merged([Store(source) for source in sources], Store(Folder.at(into)))
    _say(f"{into}: {copied} shards copied, {rows} rows in results.parquet.")
    _say(f"python -m harness verify {into}; python -m harness report {into}")


@app.command()
def plan(
    config: ConfigPath,
    set_: Set = [],  # noqa: B006
    limit: Limit = None,
    runs: Runs = None,
    probe: Annotated[
        bool, typer.Option(help="Measure a few steps of every training that is due, a minute at most: GPU-hours.")
    ] = False,
) -> None:
    """Say what `run` would do: images, instances, what is there already, what must be trained.

    Computes nothing but what --probe asks for.
    """
    from harness.jobs.plan import instances, planned, untrained
    from harness.storage.store import store_of

    loaded = _loaded(config, set_, limit)
    due = untrained(loaded)
    jobs = planned(loaded, due)
    _say_training(due, probe)
    store = store_of(loaded.run, runs)
    store.check([job.facts for job in jobs if job.method not in due])
    listing = RichTable("Method", "Data set", "Images", "Instances", "Done already")
    counts: dict[str, int] = {}
    for job in jobs:
        name = job.facts.dataset
        counts[name] = counts[name] if name in counts else instances(job)
        done = f"{len(store.done(job.facts) & set(job.sample_ids))} images"
        done = "not trained yet" if job.method in due else done
        listing.add_row(escape(job.facts.method), escape(name), str(len(job.sample_ids)), str(counts[name]), done)
    console.print(listing)


def _say_training(methods: list[configs.MethodEntry], probe: bool) -> None:
    """What must be trained first, each checkpoint once; with what it takes on the device at hand, if asked."""
    due = {method.train.output: method.train for method in methods if method.train}
    expected = _expected(due.values()) if probe else {}
    for path, recipe in due.items():
        names = ", ".join(label(method) for method in methods if method.train and method.train.output == path)
        _say(f"{names}: trained first, {recipe.steps} steps to {path}")
        if found := expected.get(path):
            _say(
                f"  {found.hours:.2g} hours x {max(1, recipe.workers)} workers: {found.steps_per_s:.3g} steps/s in "
                f"{found.measured} steps here, {found.device}"
            )
    if expected:
        _say(f"{sum(found.device_hours for found in expected.values()):.2g} hours of one such device in all.")


def _expected(recipes: Iterable[Recipe]) -> dict[Path, Expected]:
    """What each training takes, by its checkpoint; those that differ in the seed alone are measured once."""
    from harness.training.estimate import expected_hours

    expected: dict[Path, Expected] = {}
    measured: dict[str, Expected] = {}
    for recipe in recipes:
        alike = recipe.model_dump_json(exclude={"seed", "checkpoint", "note"})
        if alike not in measured:
            measured[alike] = expected_hours(recipe)
        expected[recipe.output] = measured[alike]
    return expected


@app.command()
def doctor(config: ConfigPath, set_: Set = [], address: Address = None) -> None:  # noqa: B006
    """Look at all that a run needs: data, counts, checkpoints, GPU, Ray, memory, disk. Computes nothing."""
    from harness.running.doctor import State, examined
    from harness.running.machine import fitness

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
    set_: Set = [],  # noqa: B006
    force: Annotated[bool, typer.Option(help="Train even if the checkpoint is there.")] = False,
    address: Address = None,
    runs: Runs = None,
) -> None:
    """Train a checkpoint by its recipe; the same command again resumes.

    With --set, a change that trains other weights saves them under the hash of the changed recipe.
    """
    from harness.running.train import train as execute

    loaded = load_recipe(recipe, set_)
    if loaded.output.is_file() and not force:
        _say(f"{loaded.output} is there already; --force trains it anew.")
        return
    with _live() as live:
        said = partial(live.training, recipe.stem)
        path = execute(loaded, said, address=address, runs=runs)
    _say(f"{path} and its card {path.with_suffix('.md').name}")


@app.command()
def card(checkpoint: Annotated[Path, typer.Argument(help="Weights that were trained here.")]) -> None:
    """Print a checkpoint's model card: what it was trained on, by which recipe, and how to do it again."""
    from harness.training.card import card_of

    _say(card_of(checkpoint))


def _say(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)


def _warn(text: str) -> None:
    errors.print(text, markup=False, soft_wrap=True, style="red")


def _again(config: Path, set_: list[str], limit: int | None, address: str | None, runs: str | None) -> str:
    """The command that was given, to be pasted."""
    given = {"--limit": limit, "--address": address, "--runs": runs}
    options = [*(part for one in set_ for part in ("--set", one)), *(f"{k}={v}" for k, v in given.items() if v)]
    return shlex.join(["python", "-m", "harness", "run", str(config), *options])


def _warn_failed(finished: Finished, max_failures: float, retry: str) -> None:
    if finished.failed:
        stopped = ", and the run was stopped" if finished.missing else ""
        over = f": over max_failures={max_failures:g}{stopped}" if finished.over_budget else ""
        _warn(
            f"{finished.failed} of {finished.instances} instances failed{over}. Their rows are kept as they are: "
            f"mend it, then: {retry}"
        )


def _warn_missing(finished: Finished, command: str) -> None:
    if finished.missing:
        _warn(f"{finished.missing} of {finished.instances + finished.missing} instances have no row: {command}.")


def _shown(folder: Folder) -> str:
    """A folder as a reader in the checkout would type it."""
    local = folder.local
    return str(local.relative_to(places.ROOT) if local and local.is_relative_to(places.ROOT) else folder)


@contextmanager
def _live(run: Folder | None = None) -> Iterator[Live]:
    """Shows how the work goes, and keeps it in the run's folder for `watch`."""
    from harness.running.progress import Live

    with in_order(), Live(console, run) as live:
        yield live


def _loaded(path: Path, overrides: list[str], limit: int | None) -> configs.RunConfig:
    from harness.report.registry import tables

    loaded = configs.load_run(path, overrides)
    for index, name in enumerate(loaded.tables):
        if name not in tables():
            raise UserError(f"{path}, tables[{index}]: no table '{name}'. {messages.suggest(name, tables())}")
    return loaded if limit is None else loaded.model_copy(update={"limit": limit})


def _described(kind: str) -> list[tuple[str, str]]:
    if kind == "metrics":
        return [(name, metric.description) for name, metric in METRICS.items()]
    if kind == "clicks":
        return [(name, _first_line(function)) for name, function in STRATEGIES.items()]
    if kind == "tables":
        from harness.report.registry import tables

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
    """Run the command line; a UserError, or a loss that is no number, becomes one message and exit code 2."""
    try:
        app()
    except (UserError, FloatingPointError) as error:
        errors.print(f"[bold red]error[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(2)
    sys.exit(0)


if __name__ == "__main__":
    main()
