"""The commands, in the order of `--help`, and the handling of their errors.

Commands import what they need inside their functions. So `--help` imports neither torch nor pandas, and a command
imports only its own part of the harness.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

import harness
from harness import places
from harness.cli.check import check
from harness.cli.explain import explain
from harness.cli.export import export
from harness.cli.listing import list_
from harness.cli.page import page, publish
from harness.cli.plan import doctor, plan
from harness.cli.predict import predict
from harness.cli.replay import replay
from harness.cli.report import report
from harness.cli.rows import rows
from harness.cli.run import run
from harness.cli.runs import merge, verify, watch
from harness.cli.score import score
from harness.cli.tables import audit, claims, compare, leaderboard
from harness.cli.terminal import errors
from harness.cli.train import card, train
from harness.cli.trying import try_
from harness.cli.weights import weights_app
from harness.structures import UserError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
for command in (
    run,
    predict,
    try_,
    doctor,
    check,
    plan,
    report,
    rows,
    watch,
    compare,
    leaderboard,
    audit,
    claims,
    page,
    publish,
    verify,
    replay,
    explain,
    score,
    export,
    merge,
    train,
    card,
):
    app.command(name=command.__name__.removesuffix("_"))(command)
app.add_typer(weights_app, name="weights")
app.command(name="list")(list_)


def _print_version(wanted: bool) -> None:
    if wanted:
        from harness.environment import commit

        typer.echo(f"harness {harness.__version__} ({commit() or 'unknown commit'})")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run promptable segmentation methods on the same instances with the same clicks, and compare them in tables.

    The first run: harness run quickstart.

    Exit codes: 0 complete, 1 too many failures or missing rows, 2 a mistake that you can mend, 130 interrupted.
    """


def main() -> NoReturn:
    """Run the command line; a UserError, or a loss that is not finite, becomes one message and exit code 2."""
    # A UserError is a mistake that the user can mend: its text is the whole message. Anything else is a bug, and keeps
    # its traceback and Python's exit code 1.
    if isinstance(sys.stdout, io.TextIOWrapper):  # A name that the terminal's encoding lacks is escaped, as on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        _refuse_another_checkout()
        _tell_how_to_resume(sys.argv[1:])
        app()
    except UserError as error:
        errors.print(f"[bold red]error[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(2)
    sys.exit(0)


def _tell_how_to_resume(words: list[str]) -> None:
    """Answer a command or an option that many try first, and that is not needed: one that resumes.

    Raises:
        UserError: One of them was given.
    """
    # A command can only be the first word, since "resume" may also be a file's name; an option may be anywhere.
    if asked := [*({"resume", "continue"} & {*words[:1]}), *({"--resume", "--continue"} & {*words})]:
        raise UserError(
            f"{asked[0]}: no such command or option. `run CONFIG` and `train RECIPE` go on where they were stopped: "
            "give the same command again. To redo images that failed: run CONFIG --retry-failed."
        )


def _refuse_another_checkout() -> None:
    """Refuse to run one checkout's code from within another: `pip install -e` binds `harness` to one of them.

    Raises:
        UserError: The current folder is in another checkout than this code.
    """
    # An installed wheel belongs to no checkout (`CHECKOUT` is None) and may be used within any.
    here = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if places.is_checkout(folder)), None)
    if here and places.CHECKOUT and here != places.CHECKOUT:
        raise UserError(
            f"harness: this command belongs to the checkout {places.CHECKOUT}, but the current folder lies in "
            f"{here}. Run `python -m harness` in {here}, or install the checkout in {here}: pip install -e ."
        )
