"""A table -> Markdown, LaTeX, HTML, CSV, a terminal's text."""
