"""The report page: a folder with report.html that opens from a disk.

It needs no server and no network. Tables stand in the HTML itself. Charts and the explorer of instances are drawn by
the scripts beside this file from data files that are scripts, too, because a page from a disk may load scripts, but not
fetch data. Nothing of a run is ever put into HTML unescaped, and no script builds HTML from text.
"""
