"""`python -m harness plan` and `doctor`: the work of a run before it begins, and checks that everything is there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from harness.cli.costs import say_costs
from harness.cli.options import Address, ConfigPath, Limit, Only, Runs, Set, loaded
from harness.cli.power import say_detect
from harness.cli.terminal import console, say, warn

if TYPE_CHECKING:
    from harness.config.method_entry import MethodEntry
    from harness.config.recipe import KnownRecipe
    from harness.jobs.jobs import Job
    from harness.storage.store import Store
    from harness.training.estimate import Expected


def plan(
    config: ConfigPath,
    set_: Set = [],  # noqa: B006
    limit: Limit = None,
    only: Only = None,
    runs: Runs = None,
    probe: Annotated[
        bool,
        typer.Option(
            help="Estimate the GPU-hours of every training that is due, from a few steps of at most a minute."
        ),
    ] = False,
    cost: Annotated[
        bool, typer.Option(help="Count each method's parameters, and its operations on one picture, on this machine.")
    ] = False,
    detect: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            min=0.001,
            help="Estimate from the run's rows how many images it takes to show a difference of this many points of "
            "mIoU between two methods: --detect 0.5.",
        ),
    ] = None,
) -> None:
    """Show what `run` would do: images, instances, rows that are there already, and trainings that come first.

    Computes nothing but what --probe and --cost ask for.
    """
    from harness.jobs.plan import planned, samples_of
    from harness.jobs.requirements import untrained
    from harness.results.recorded import left_out_of
    from harness.storage.edits import old_rows, redo, said_of
    from harness.storage.store import store_of

    asked = loaded(config, set_, limit, only)
    due = untrained(asked)
    jobs = planned(asked, due)
    _say_training(due, probe)
    store = store_of(asked.run, runs)
    store.check([job.facts for job in jobs if job.method not in due])
    if old := old_rows(store, [job.facts for job in jobs], samples_of(jobs)):
        warn(f"{said_of(old)} `run` computes them again with {redo(old)}.")
    _say_jobs(store, jobs, due)
    for line in left_out_of([job.facts for job in jobs]):
        say(line)
    if cost:
        say_costs(asked)
    if detect is not None:
        say_detect(store, asked, detect)


def _say_jobs(store: Store, jobs: Sequence[Job], due: Sequence[MethodEntry]) -> None:
    """Print the images and instances of each job and how many are done, also those done under another label."""
    from harness.jobs.plan import instances
    from harness.storage.labels import renamed

    # Rows under a former label count as done, since `run` only gives them the new label. The instances of a data set
    # are counted once for all methods: without a listing each image must be opened for that.
    taken: dict[str, set[str]] = {}
    for same in renamed(store, [job.facts for job in jobs]):
        warn(f"{same}")
        taken[same.now.key] = taken.get(same.now.key, set()) | same.samples
    listing = Table("Method", "Data set", "Images", "Instances", "Done already")
    counts: dict[str, int] = {}
    for job in jobs:
        name = job.facts.dataset
        counts[name] = counts[name] if name in counts else instances(job)
        there = store.done(job.facts) | taken.get(job.facts.key, set())
        done = f"{len(there & set(job.sample_ids))} images"
        done = "not trained yet" if job.method in due else done
        listing.add_row(escape(job.facts.method), escape(name), str(len(job.sample_ids)), str(counts[name]), done)
    console.print(listing)


def _say_training(methods: list[MethodEntry], probe: bool) -> None:
    """Print what must be trained first, each checkpoint once, and with `probe` how long that takes on this device."""
    from harness.config.parts import label
    from harness.config.recipe import identified

    trained = [(method, identified(method.train)) for method in methods if method.train]
    due = {recipe.output: recipe for _, recipe in trained}
    expected = _expected(due.values()) if probe else {}
    for path, recipe in due.items():
        names = ", ".join(label(method) for method, own in trained if own.output == path)
        say(f"{names}: trained first, {recipe.steps} steps to {path}")
        if found := expected.get(path):
            say(
                f"  {found.hours:.2g} hours x {max(1, recipe.workers)} workers: {found.steps_per_s:.3g} steps/s in "
                f"{found.measured} steps here, {found.device}"
            )
    if expected:
        say(f"{sum(found.device_hours for found in expected.values()):.2g} hours of one such device in all.")


def _expected(recipes: Iterable[KnownRecipe]) -> dict[Path, Expected]:
    """Checkpoint -> how long its training takes. Trainings that differ only in the seed are measured once."""
    from harness.training.estimate import expected_hours

    expected: dict[Path, Expected] = {}
    measured: dict[str, Expected] = {}
    for recipe in recipes:
        alike = recipe.model_dump_json(exclude={"seed", "checkpoint", "note"})
        if alike not in measured:
            measured[alike] = expected_hours(recipe)
        expected[recipe.output] = measured[alike]
    return expected


def doctor(config: ConfigPath, set_: Set = [], address: Address = None) -> None:  # noqa: B006
    """Look at all that a run needs: data, counts, checkpoints, GPU, Ray, memory, disk. Computes nothing."""
    from harness.running.doctor import State, examined, fitness

    asked = loaded(config, set_, None)
    found = [*examined(asked), *fitness(asked, address)]
    colour = {State.FINE: "green", State.NOTE: "yellow", State.WRONG: "red"}
    listing = Table("", "What", "Found")
    for one in found:
        listing.add_row(f"[{colour[one.state]}]{one.state}", escape(one.subject), escape(one.text))
    console.print(listing)
    wrong = sum(one.state is State.WRONG for one in found)
    say(f"{wrong} of {len(found)} findings are wrong." if wrong else "Nothing is wrong.")
    if wrong:
        raise typer.Exit(1)
