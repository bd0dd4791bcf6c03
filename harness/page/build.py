"""Builds the folder of a run's report page."""

from __future__ import annotations

import html
import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import PIL.Image

from harness import atomic
from harness.figures import charts, opened, write_charts, write_grids
from harness.messages import without_folders
from harness.page.explorer import Listing, Picture, stratified, write_data
from harness.page.folder import replaced
from harness.page.pictures import Tell, silent, write_pictures
from harness.page.provenance import provenance
from harness.page.publishing import write_beside
from harness.report.context import Context
from harness.report.failures import failures_table
from harness.report.layout import Table, for_others, plain
from harness.report.rendering.html import to_html
from harness.report.shortfalls import shortfalls
from harness.results.recorded import recorded
from harness.results.reported import table_or_why
from harness.statistics.final_clicks import FinalClicks
from harness.statistics.means import Rows
from harness.statistics.reasons import reasons
from harness.storage.store import found_at
from harness.structures import UserError

PICTURES = 200
"""The number of images in a page, by default."""

_HERE = Path(__file__).parent
_SCRIPTS = ("data.js", "paint.js", "charts.js", "viewer.js", "explorer.js", "theme.js", "page.js")
_STYLE, _CHARTS, _LICENCE = "page.css", "vendor/chart.umd.min.js", "vendor/LICENSE.md"


@dataclass(frozen=True)
class Counts:
    """The numbers of things on a page, and sentences on what its tables lack."""

    page: Path
    instances: int
    entries: int
    pictures: int
    figures: int
    notes: tuple[str, ...]
    shortfalls: tuple[str, ...] = ()


def build_page(
    run: Path | str,
    out: Path | None = None,
    pictures: int = PICTURES,
    figures: bool = True,
    roots: Mapping[str, Path] | None = None,
    tell: Tell = silent,
    published: bool = False,
) -> Counts:
    """Build the report page of a run from its rows, and from its pictures if they are on this machine.

    Args:
        run: The run's folder or bucket.
        out: The page's folder; `<run>/page` by default.
        pictures: The number of images in the page, a sample of all classes.
        figures: Whether to draw the figures for paper as well.
        roots: Data set's label -> its folder on this machine, if it has moved since the run.
        tell: Called with the progress.
        published: Whether the folder is for others: with the rows as Parquet, a card, and an index.html.

    Raises:
        UserError: There is no run, or the page's folder holds something else.
    """
    store = found_at(run)
    local = store.folder.local
    if out is None and local is None:
        raise UserError(
            f"{run}: found a bucket; wanted a folder on this machine for the page. Name it: -o report_page."
        )
    out = out or Path(str(local)) / "page"
    with replaced(out) as folder:
        tell("reading the rows", 0, 0)
        source = opened(store, roots)
        # Pictures before tables: data sets that cannot be read are known only then, and the page's notes name them.
        listing = Listing.of(source.final, source.context)
        shown = stratified(listing.instances, pictures) if pictures else []
        held = write_pictures(source, shown, folder / "pictures", tell) if pictures else {}
        tell("grids of pictures" if figures and pictures else "tables", 0, 0)
        drawn = write_grids(source, folder / "figures") if figures and pictures else {}
        context = replace(source.context, intervals=True)  # The page shows them on demand.
        tables = [for_others(table_or_why(name, source.final, context)[0]) for name in source.config.tables]
        if why := reasons(source.final.every):
            tables.append(for_others(failures_table(why, source.context.run)))
        unread = {name: without_folders(why) for name, why in source.unread.items()}
        notes = [f"{name}: pictures are not shown, or not all: {why}" for name, why in unread.items()]
        made = for_others(provenance(source.config, store.manifest()))
        counts = _written(
            source.final, source.context, listing, tables, held, drawn, notes, folder, figures, made, tell
        )
        if published:
            write_beside(folder, recorded(store), tables, made, len(held))
        short = shortfalls(str(store.folder), source.final, source.context)
    return replace(counts, page=out / counts.page.name, shortfalls=short)


def write_page(rows: Rows, context: Context, tables: Sequence[Table], out: Path) -> Counts:
    """Build a page from rows alone, without pictures or figures for paper."""
    final = FinalClicks.of(rows)
    with replaced(out) as folder:
        counts = _written(final, context, Listing.of(final, context), tables, {}, {}, [], folder, figures=False)
    return replace(counts, page=out / counts.page.name)


def _written(
    final: FinalClicks,
    context: Context,
    listing: Listing,
    tables: Sequence[Table],
    held: Mapping[tuple[str, str], Picture],
    drawn: Mapping[str, tuple[Path, str]],
    notes: Sequence[str],
    out: Path,
    figures: bool,
    made_by: Table | None = None,
    tell: Tell = silent,
) -> Counts:
    made = charts(final, context)
    papers: list[Path] = []
    for number, chart in enumerate(made if figures else (), start=1):
        papers += write_charts([chart], out / "figures")
        tell("charts", number, len(made))
    write_data(out / "data" / "charts.js", "charts", [_without_nan(asdict(chart)) for chart in made])
    write_data(out / "data" / "instances.js", "instances", listing.columns(held))
    for number, part in enumerate(listing.files(held)):
        write_data(out / "data" / "masks" / f"{number}.js", f"masks/{number}", part)
    for name in (*_SCRIPTS, _STYLE, _CHARTS, _LICENCE):
        atomic.write(out / "scripts" / Path(name).name, (_HERE / name).read_bytes())
    if context.limited:
        notes = [f"LIMITED to {context.limited}: not a result.", *notes]
    page = out / "report.html"
    said = "" if made_by is None else _folded(made_by)
    atomic.write(page, _page(context, listing, tables, drawn, notes, len(held), bool(papers), said).encode())
    images = len(drawn) + len(papers) // 2
    return Counts(page, len(listing.instances), len(listing.names), len(held), images, tuple(notes))


def _page(
    context: Context,
    listing: Listing,
    tables: Sequence[Table],
    drawn: Mapping[str, tuple[Path, str]],
    notes: Sequence[str],
    pictures: int,
    papers: bool,
    made_by: str,
) -> str:
    template = string.Template((_HERE / "template.html").read_text("utf-8"))
    # Deferred scripts run in this order. data.js defines `report.receive`, which the data files call, and page.js comes
    # last, since it draws what all others have brought.
    scripts = [f"scripts/{Path(name).name}" for name in (_CHARTS, *_SCRIPTS[:-1])]
    scripts += ["data/charts.js", "data/instances.js", f"scripts/{_SCRIPTS[-1]}"]
    counts = f"{len(listing.instances):,} instances, {len(listing.names)} methods and rankings, {pictures:,} pictures"
    return template.substitute(
        title=_escaped(context.run),
        counts=counts,
        notes="".join(f'<p class="warning">{_escaped(note)}</p>' for note in notes),
        made_by=made_by,
        tables="\n".join(map(_scrolled, tables)),
        figures="\n".join(_figure(*one) for one in drawn.values()) or "<p>None in this page.</p>",
        papers="<p>Every chart is also in the folder <code>figures</code>, as PDF and PNG.</p>" if papers else "",
        scripts="\n".join(f'<script defer src="{name}"></script>' for name in scripts),
    )


def _scrolled(table: Table) -> str:
    said = _escaped(table.title)
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{said}">{to_html(table, to_rows=True)}</div>'


def _folded(table: Table) -> str:
    return f"<details><summary>{_escaped(table.title)}</summary>{_scrolled(table)}</details>"


def _figure(path: Path, caption: str) -> str:
    """A grid with its caption. It has the picture's size, so that the text does not move when a picture loads late."""
    file = html.escape(path.stem)
    with PIL.Image.open(path) as picture:
        width, height = picture.size
    return (
        f'<figure><a href="figures/{file}.pdf"><img loading="lazy" src="figures/{file}.png" '
        f'width="{width}" height="{height}" alt="Grid of pictures: {_escaped(caption)}"></a>'
        f'<figcaption>{_escaped(caption)} <a href="figures/{file}.pdf">PDF</a></figcaption></figure>'
    )


def _escaped(text: str) -> str:
    return html.escape(plain(text))


def _without_nan(value: Any) -> Any:
    """The same value with None in place of NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value
