"""`python -m harness try`: a page on which one clicks on pictures and sees every method's mask."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import Address, ConfigPath, Set, loaded
from harness.cli.terminal import say
from harness.interrupts import in_order

if TYPE_CHECKING:
    from harness.config.run_config import RunConfig
    from harness.serving.asking import Here, There

PORT = 8007


def try_(
    config: ConfigPath,
    images: Annotated[
        list[Path], typer.Option("--images", "-i", metavar="FOLDER", help="A folder of pictures; may be repeated.")
    ] = [],  # noqa: B006
    method: Annotated[list[str], typer.Option(metavar="LABEL", help="Only this method; may be repeated.")] = [],  # noqa: B006
    host: Annotated[
        str,
        typer.Option(help="The address to listen at. Other machines need the token of the printed link."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen at; 0 takes a free one.")] = PORT,
    cluster: Annotated[
        bool,
        typer.Option("--cluster", help="Load each method in a Ray process of its own, with a GPU where there are any."),
    ] = False,
    address: Address = None,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep the prompts of visitors who agree to it on the page."),
    ] = None,
    set_: Set = [],  # noqa: B006
) -> None:
    """Open a page to try a config's methods on: click on a picture, type a word, see every method's mask.

    harness try quickstart
    """
    asked = loaded(config, set_, None)
    from harness.serving.api import Api
    from harness.serving.gallery import Gallery
    from harness.serving.guard import is_loopback
    from harness.serving.server import serve

    gallery = Gallery(asked, images)
    if record:
        _check_writable(record)
    # A method in this process may compute for minutes, or hang; the processes of a cluster are ended in order.
    here = not (cluster or address)
    with in_order("Ended.", leaves_threads=here):
        say("Loading the methods ...")
        answering = _here(asked, method) if here else _there(asked, method, address)
        serve(Api(asked, gallery, answering, not is_loopback(host), record), host, port, _tell)


def _check_writable(folder: Path) -> None:
    """Make the folder for recordings and write there, so that no visitor is the first to learn that it cannot be."""
    from harness.storage.folder import writing

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def _there(config: RunConfig, labels: list[str], address: str | None) -> There:
    from harness.cluster.hosting import hosted, stored
    from harness.serving.asking import There
    from harness.trying.desk import desk_of
    from harness.trying.methods import chosen, for_workers

    loaded_there = for_workers(config, labels)
    return There(hosted(loaded_there, chosen(loaded_there, labels), address, desk_of), stored)


def _here(config: RunConfig, labels: list[str]) -> Here:
    from harness.serving.asking import Here
    from harness.trying.desk import desk_of

    return Here(desk_of(config, labels))


def _tell(address: str) -> None:
    say(f"Open {address} in a browser. Ctrl-C ends it.")
