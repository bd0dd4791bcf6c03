"""Draws docs/rooms.svg, the packages and who imports whom: `make graph`.

The picture is made of the code alone: every import statement of harness/, methods/ and datasets/ is read, those within
functions too, and nothing is run. A room is a package of harness/, methods/, datasets/, or the ground: the single files
of harness/, which any room may import.
"""

from __future__ import annotations

import ast
import itertools
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from html import escape
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parents[1]
HARNESS = ROOT / "harness"
PICTURE = ROOT / "docs" / "rooms.svg"

GROUND = "harness/*.py"
FACE = "harness"
DOORS = {"__init__": FACE, "__main__": "cli"}
"""The single files of harness/ that are no ground."""

SAID = {
    FACE: "`from harness import ...`: what a plugin or a notebook needs",
    "methods": "One file or folder a method",
    "datasets": "One file or folder a data set",
}
"""The purpose of rooms that are no packages; for a package it is the first line of its docstring."""

RUN = ["config", "running", "jobs", "cluster", "evaluation", "storage", "statistics", "report"]
"""The rooms that a run passes, in this order: the numbers in the picture."""

Graph = Mapping[str, set[str]]
"""Room -> the rooms that it imports."""


@cache
def imported(file: Path) -> tuple[str, ...]:
    """Every module, or attribute of one, that a file names in an absolute import, dotted."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and not node.level:
            names += (f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(names)


def files() -> list[Path]:
    """Every file of ours that is read."""
    return sorted(file for folder in ("harness", "methods", "datasets") for file in (ROOT / folder).rglob("*.py"))


def room_of(file: Path) -> str:
    """The room that a file lies in; the command line's first file belongs to `cli`."""
    folder, *inner = file.relative_to(ROOT).with_suffix("").parts
    return (inner[0] if len(inner) > 1 else DOORS.get(inner[0], GROUND)) if folder == "harness" else folder


def room_named(module: str) -> str | None:
    """The room of an imported name; None where it is none of ours. `harness.load` is looked up in the face."""
    top, *inner = module.split(".")
    if top != "harness":
        return None
    if inner and (HARNESS / inner[0] / "__init__.py").is_file():
        return inner[0]
    return DOORS.get(inner[0], GROUND) if inner and (HARNESS / f"{inner[0]}.py").is_file() else FACE


def graph() -> dict[str, set[str]]:
    """Who imports whom, as the code says."""
    arrows: dict[str, set[str]] = {}
    for file in files():
        own = room_of(file)
        found = {room_named(name) for name in imported(file)} - {None, own}
        arrows.setdefault(own, set()).update(room for room in found if room is not None)
    return arrows


def reached(arrows: Graph, start: str) -> set[str]:
    """All rooms that a room needs, over any number of arrows; itself only if it lies on a circle."""
    found: set[str] = set()
    waiting = [*arrows.get(start, ())]
    while waiting:
        room = waiting.pop()
        if room not in found:
            found.add(room)
            waiting += arrows.get(room, ())
    return found


def circles(arrows: Graph) -> list[list[str]]:
    """Groups of rooms that need each other: none, if all is well."""
    below = {room: reached(arrows, room) for room in arrows}
    groups = {frozenset(other for other in below[room] if room in below[other]) for room in arrows} - {frozenset()}
    return sorted(map(sorted, groups))


def floors(arrows: Graph) -> dict[str, int]:
    """How high each room lies: one floor above the highest that it imports, the ground at 0."""
    height: dict[str, int] = {}
    for room in sorted(arrows, key=lambda room: len(reached(arrows, room))):  # What is needed comes first.
        height[room] = 1 + max((height[other] for other in arrows[room]), default=-1)
    return height


def drawn(arrows: Graph) -> dict[str, set[str]]:
    """The arrows that the picture shows: none that follows from others, none to the ground, which all may use.

    `page -> storage` is left out where `page -> results -> storage` says as much.
    """
    above = {room: wanted - {GROUND} for room, wanted in arrows.items() if room != GROUND}
    return {
        room: {one for one in wanted if not any(one in reached(above, other) for other in wanted - {one})}
        for room, wanted in above.items()
    }


# The picture. Rooms stand on their floors, what imports above what is imported. An arrow over several floors gets a
# narrow place on each floor between, so that it passes beside the rooms; a few sweeps then put each thing near the
# middle of those that it is joined to, which takes out most crossings.

WIDE, HIGH, FLOOR, GAP, LANE, MARGIN = 172, 62, 104, 16, 12, 20
Place = tuple[str, str, int]
"""A room as (room, "", floor), or the lane of an arrow on a floor as (from, to, floor)."""


def lanes(arrows: Graph, height: Mapping[str, int]) -> list[list[Place]]:
    """The chain of places of every arrow, from the room that imports down to the one that is imported."""
    chains = []
    for room, wanted in sorted(arrows.items()):
        for other in sorted(wanted):
            between: list[Place] = [(room, other, floor) for floor in range(height[room] - 1, height[other], -1)]
            chains.append([(room, "", height[room]), *between, (other, "", height[other])])
    return chains


def spread(rows: list[list[Place]], width: float) -> dict[Place, float]:
    """The middle of each place, a row's places packed around the picture's middle."""
    across: dict[Place, float] = {}
    for row in rows:
        sizes = [LANE if place[1] else WIDE for place in row]
        left = (width - sum(sizes) - GAP * (len(row) - 1)) / 2
        for place, size in zip(row, sizes, strict=True):
            across[place] = left + size / 2
            left += size + GAP
    return across


def arranged(arrows: Graph, height: Mapping[str, int]) -> tuple[dict[Place, float], float]:
    """Where everything stands from left to right, and the picture's width."""
    chains = lanes(arrows, height)
    places = {(room, "", height[room]) for room in arrows} | {place for chain in chains for place in chain}
    rows = [sorted(place for place in places if place[2] == floor) for floor in range(1, max(height.values()) + 1)]
    width = 2 * MARGIN + max(sum(LANE if place[1] else WIDE for place in row) + GAP * (len(row) - 1) for row in rows)
    joined: dict[Place, list[Place]] = {place: [] for place in places}
    for chain in chains:
        for upper, lower in itertools.pairwise(chain):
            joined[upper].append(lower)
            joined[lower].append(upper)
    across = spread(rows, width)
    for sweep in range(24):
        for row in rows if sweep % 2 else reversed(rows):
            row.sort(key=lambda place: fmean(across[other] for other in joined[place] or [place]))
            across |= spread([row], width)
    return across, width


def svg() -> str:
    """The picture of today's code."""
    arrows = graph()
    height = floors(arrows)
    shown = drawn(arrows)
    across, width = arranged(shown, height)
    top = max(height.values())

    def y(floor: int) -> float:
        return MARGIN + (top - floor) * FLOOR

    parts = []
    for chain in lanes(shown, height):
        points = [(across[place], y(place[2])) for place in chain]
        parts.append(f'<path d="{path(points)}" class="arrow" marker-end="url(#tip)"/>')
    for room in sorted(shown):
        parts += box(room, across[room, "", height[room]] - WIDE / 2, y(height[room]), WIDE)
    parts += box(GROUND, MARGIN, y(0), width - 2 * MARGIN, 40)
    body = "\n".join(parts)
    tall = y(0) + 40 + MARGIN
    return HEAD.format(width=f"{width:g}", tall=f"{tall:g}") + body + "\n</svg>\n"


def path(points: list[tuple[float, float]]) -> str:
    """A line from the bottom of a box, through lanes, to the top of another."""
    said = f"M{points[0][0]:.0f} {points[0][1] + HIGH:.0f}"
    for index, (x, y) in enumerate(points[1:], 1):
        before_x, before_y = points[index - 1][0], points[index - 1][1] + HIGH
        half = (y - before_y) / 2
        end = y - 2 if index == len(points) - 1 else y
        said += f" C{before_x:.0f} {before_y + half:.0f} {x:.0f} {y - half:.0f} {x:.0f} {end:.0f}"
        if index < len(points) - 1:
            said += f" V{y + HIGH:.0f}"
    return said


def box(room: str, left: float, top: float, wide: float, high: float = HIGH) -> Iterator[str]:
    """A room with its purpose, and its number on a run's way."""
    kind = "run" if room in RUN else "room"
    middle = left + wide / 2
    yield f'<rect x="{left:.0f}" y="{top:.0f}" width="{wide:.0f}" height="{high}" rx="6" class="{kind}"/>'
    yield f'<text x="{middle:.0f}" y="{top + 16:.0f}" class="name">{escape(room)}</text>'
    if room in RUN:
        yield f'<circle cx="{left + 12:.0f}" cy="{top + 12:.0f}" r="9" class="step"/>'
        yield f'<text x="{left + 12:.0f}" y="{top + 16:.0f}" class="number">{RUN.index(room) + 1}</text>'
    for index, line in enumerate(textwrap.wrap(said_of(room), int(wide / 5.9), max_lines=3, placeholder=" ...")):
        yield f'<text x="{middle:.0f}" y="{top + 30 + 12 * index:.0f}" class="said">{escape(line)}</text>'


def said_of(room: str) -> str:
    """The purpose of a room, in a line."""
    if room in SAID:
        return SAID[room]
    if room == GROUND:
        return ", ".join(sorted(file.stem for file in HARNESS.glob("*.py") if file.stem not in DOORS))
    first = (ast.get_docstring(ast.parse((HARNESS / room / "__init__.py").read_text("utf-8"))) or "").partition("\n")[0]
    return first.rstrip(".")


HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {tall}" width="{width}" height="{tall}">
<!-- Drawn by docs/rooms.py: make graph -->
<style>
text {{ font-family: Helvetica, Arial, sans-serif; text-anchor: middle; fill: #1f2933; }}
.name {{ font-size: 13px; font-weight: bold; }}
.said {{ font-size: 10px; fill: #52606d; }}
.number {{ font-size: 11px; font-weight: bold; fill: #fff; }}
.room {{ fill: #f5f7fa; stroke: #9aa5b1; }}
.run {{ fill: #e3f0fb; stroke: #2f6fa8; }}
.step {{ fill: #2f6fa8; }}
.arrow {{ fill: none; stroke: #7b8794; stroke-width: 1.2; }}
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 8 4 0 8z" fill="#7b8794"/></marker></defs>
<rect width="100%" height="100%" fill="#fff"/>
"""


def main() -> None:
    """Write the picture, and say what it shows."""
    arrows = graph()
    found = circles(arrows)
    for circle in found:
        print("circle:", " <-> ".join(circle))
    if not found:
        PICTURE.write_text(svg(), "utf-8")
    above = [room for room in arrows if room != GROUND]
    count = sum(len(wanted - {GROUND}) for wanted in arrows.values())
    print(f"{len(above)} rooms above the ground, {count} arrows between them, {len(found)} circles; ", end="")
    print(f"{sum(map(len, drawn(arrows).values()))} arrows drawn in docs/rooms.svg, the others follow from these")
    if not found:
        height = floors(arrows)
        for floor in range(max(height.values()), -1, -1):
            print(f"{floor:2}  {', '.join(sorted(room for room in height if height[room] == floor))}")


if __name__ == "__main__":
    main()
