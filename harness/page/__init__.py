"""The report page: a folder with report.html that opens from a disk.

It needs no server and no network. Tables stand in the HTML itself. Charts and the explorer of instances are drawn by
the scripts beside this file from data files that are scripts, too, because a page from a disk may load scripts, but not
fetch data. Nothing of a run is ever put into HTML unescaped, and no script builds HTML from text.
"""

from typing import TYPE_CHECKING

from harness.lazily import imported_when_asked

if TYPE_CHECKING:
    from harness.page.build import build_page, write_page

__all__ = ["build_page", "write_page"]
__getattr__ = imported_when_asked(__name__, {"build_page": "build", "write_page": "build"})
