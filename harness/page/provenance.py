"""A table for the page with everything that made a run's rows: weights, clicks, words, seed, commits, packages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.config.run_config import RunConfig
from harness.report.layout import Cell, Column, Row, Table
from harness.report.several_runs import weights_said

HEADS = ("Method", "Plugin", "Data set", "Weights, by the start of their SHA-256")

Manifest = Mapping[str, Any]


def provenance(config: RunConfig, manifest: Manifest) -> Table:
    """A line for each method and data set; notes on prompts and on the run's starts. No machine is named."""
    body = tuple(_row(job) for job in manifest.get("jobs", {}).values())
    return Table("What made these rows", tuple(Column(head) for head in HEADS), body, tuple(_notes(config, manifest)))


def _row(job: Manifest) -> Row:
    about = job.get("about", {})
    texts = (job["method"], about.get("method_plugin", "–"), job["dataset"], weights_said(about) or "–")
    return Row(tuple(Cell(str(text)) for text in texts))


def _notes(config: RunConfig, manifest: Manifest) -> Iterator[str]:
    clicks = f"{config.clicks.strategy}, {config.clicks.max_clicks} at most" if config.clicks.max_clicks else "none"
    yield f"Clicks: {clicks}. Seed: {config.seed}."
    yield f"Text: {config.text.rule}, as '{config.text.template}'."
    yield "The tables say which methods had clicks or words of their own."
    for start in manifest.get("starts", []):
        packages = ", ".join(f"{name} {version}" for name, version in start.get("packages", {}).items())
        when = f" {start['started']}" if "started" in start else ""
        yield f"Started{when}: commit {start.get('commit') or 'unknown'}, {packages or 'packages unknown'}."
    yield "A commit that ends in + had changes of its own. All of it is in the run's manifest.json."
