"""The report page: a folder with report.html that opens from a disk.

It needs no server and no network. Tables are in the HTML itself. Charts and the explorer of instances are drawn by the
scripts beside this file, from data files that are scripts as well, since a page from a disk may load scripts but not
fetch data. No text of a run gets into HTML unescaped, and no script builds HTML from text.

    report.html                tables, and links to the rest
    scripts/                   page.js and others; vendor's Chart.js
    data/charts.js             the charts' numbers, read at once
    data/instances.js          a line for each instance in columns, with all IoUs: filters and sorting need no more
    data/masks/0.js, 1.js ...  masks and clicks of up to 100 instances each, read when one of them is opened
    pictures/, figures/        images, small; the figures for paper
"""

from typing import TYPE_CHECKING

from harness.lazily import imported_when_asked

if TYPE_CHECKING:
    from harness.page.build import build_page, write_page

__all__ = ["build_page", "write_page"]
__getattr__ = imported_when_asked(__name__, {"build_page": "build", "write_page": "build"})
