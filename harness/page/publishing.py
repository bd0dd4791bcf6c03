"""Prepares a report page for publishing: adds its rows as Parquet, a card that describes them, and index.html.

The folder is then ready for any host of static files, or for a Space of Hugging Face's hub (`sdk: static`): the hub
shows the card, README.md, and hosts open index.html first, which leads to the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import yaml

from harness import atomic
from harness.messages import without_folders
from harness.report.layout import Table, for_others
from harness.report.rendering.markdown import to_markdown
from harness.results.recorded import Recorded
from harness.storage.results_file import as_parquet

ROWS, CARD, INDEX = "results.parquet", "README.md", "index.html"

_INDEX = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=report.html">
<title>Report</title></head><body><a href="report.html">The report</a></body></html>
"""

_CARD = """\
# {run}

Promptable instance segmentation, compared: each method was asked for the same instances with the same clicks and words.
[The report](report.html) has tables, charts, and every instance with its masks.

| file | what |
|---|---|
| `report.html` | the report; it opens from a disk, too |
| `results.parquet` | {rows:,} rows, one a mask: prompt, scores, and the mask as COCO's run lengths |
| `pictures/` | {pictures} of the images, made smaller. They are the data sets' and keep their licences |

{tables}
"""


def write_beside(folder: Path, run: Recorded, tables: Sequence[Table], made_by: Table, pictures: int) -> None:
    """Write the rows, the card and index.html into the page's folder; absolute paths are shortened to file names.

    Args:
        folder: The page's folder.
        run: The run that is published.
        tables: The tables for the card.
        made_by: The table of everything that made the rows.
        pictures: The number of images in the page.
    """
    content, rows = as_parquet(run.store, run.jobs, run.samples, {}, _without_folders)
    atomic.write(folder / ROWS, content)
    # The hub reads the lines between the two rulers.
    tags = ["instance-segmentation", "benchmark"]
    about = {"title": run.config.run, "sdk": "static", "app_file": INDEX, "tags": tags}
    shown = "\n\n".join(to_markdown(for_others(table)) for table in (*tables, made_by))
    said = _CARD.format(run=run.config.run, rows=rows, pictures=pictures, tables=shown)
    atomic.write(folder / CARD, f"---\n{yaml.safe_dump(about, sort_keys=False)}---\n\n{said}".encode())
    atomic.write(folder / INDEX, _INDEX.encode())


def _without_folders(rows: pa.Table) -> pa.Table:
    """The rows without folders of this machine: errors and the options of clicks, such as a file, may name some."""
    for name in ("error", "retried", "click_options"):
        texts = [text and without_folders(text) for text in rows[name].to_pylist()]
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(place), pa.array(texts, pa.string()))
    return rows
