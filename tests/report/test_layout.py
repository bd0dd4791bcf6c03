import dataclasses

import pytest
from rich.console import Console

from harness.plugins.scale import Scale
from harness.report.layout import (
    Cell,
    Column,
    Row,
    Table,
    best_of_columns,
    best_of_row,
    best_strong,
    comparable,
    for_others,
    percent,
    signed,
    with_interval,
)
from harness.report.rendering.markdown import to_markdown
from harness.report.rendering.terminal import to_terminal
from harness.report.rendering.terminal import to_text as text

HOSTILE = "[red]a|b[/red] \\ `c` *d* __e__ <b> &lt; :smile:\nnext\x1b[2J\u202e"

TABLE = Table(
    "A title",
    (Column("Name"), Column("Mean", "mIoU", "right"), Column("Here", align="center")),
    (
        Row((Cell("one", ("first",)), Cell("1.00", ("second", "first")), Cell("✓"))),
        Row((Cell("two"), Cell("22.00", ("second",)), Cell()), starts_section=True),
        Row((Cell("printed"), Cell("3.00"), Cell()), quoted=True),
    ),
    ("A note.",),
)


def named(name: str) -> Table:
    return Table(name, (Column(name), Column("b")), (Row((Cell(name, (name,)), Cell("x"))),), (name,))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cannot open /home/ada/data/a.jpg", "cannot open .../a.jpg"),
        ("at root=/mnt, '/mnt/x y/z' (/a/b.py, line 3)", "at root=/mnt, '.../x y/z' (.../b.py, line 3)"),
        ("runs:/home/ada/x file:///home/ada/y", "runs:.../x .../y"),
        ("/home/ada/runs/x: 4 of 8 images", ".../x: 4 of 8 images"),
        ("1/2, and/or, </b>, / and – / –, ../runs/x, data/a.jpg", None),
        ("Ours (/wo text)", None),
        ("https://host/a/b.html s3://bucket/x gs://b/c", None),
    ],
)
def test_texts_for_others_name_no_folder_of_this_machine(text: str, said: str | None) -> None:
    table = Table(text, (Column("a"),), (Row((Cell(text, (text,)),)),), (text,))
    made = for_others(table)
    (cell,) = made.body[0].cells
    assert {made.title, *made.notes, cell.text, *cell.notes} == {said or text}


def test_a_wide_table_is_printed_in_parts_and_no_number_is_cut() -> None:
    columns = (
        Column("Method"),
        Column("Weights"),
        *[Column(f"n{at}", "a group", "right") for at in range(12)],
        Column("Run"),
    )
    numbers = [f"{at}{at}.25 [{at}.00, {at}.50]" for at in range(12)]
    cells = ("ours", "a checkpoint of a very long name " * 2, *numbers, "runs/x")
    wide = Table("t", columns, (Row(tuple(Cell(cell) for cell in cells)),))
    said = text(wide, width=100)
    assert all(number in said for number in numbers), "whole, on one line"
    assert max(map(len, said.splitlines())) <= 100
    assert said.count("Method") == said.count("ours") > 1 and said.count("runs/x") == 1
    whole = text(wide, width=400)
    assert whole.count("Method") == 1 and whole.count("a group") == 12
    only = dataclasses.replace(wide, columns=wide.columns[2:14], body=(Row(wide.body[0].cells[2:14]),))
    assert text(only, width=60).count(numbers[0]) > 1, "without words, the first column is in every part"


def test_a_row_of_another_length_is_named() -> None:
    columns = (Column("A"), Column("B"))
    with pytest.raises(ValueError, match="the table 'Mine' has no column; wanted at least one"):
        Table("Mine", (), ())
    with pytest.raises(ValueError, match="row 2 of the table 'Mine' has 1 cells; wanted 2, one for each column"):
        Table("Mine", columns, (Row((Cell("1"), Cell("2"))), Row((Cell("3"),))))


def test_markdown_exactly() -> None:
    assert to_markdown(TABLE) == (
        "**A title**\n\n"
        "| Name | mIoU Mean | Here |\n"
        "| :-- | --: | :-: |\n"
        "| one ¹ | 1.00 ² ¹ | ✓ |\n"
        "| two | 22.00 ² |  |\n"
        "| printed | 3.00 |  |\n\n"
        "- ¹ first\n- ² second\n- A note.\n"
    )


def test_terminal_exactly() -> None:
    assert text(TABLE) == (
        "A title\n\n"
        "              mIoU\n"
        "Name          Mean   Here\n"
        "─────────────────────────\n"
        "one ¹     1.00 ² ¹    ✓\n"
        "\n"
        "two        22.00 ²\n"
        "printed       3.00\n\n"
        "¹ first\n² second\nA note.\n"
    )


def test_header_rows_keep_the_groups_apart() -> None:
    assert TABLE.groups == (("", 1), ("mIoU", 1), ("", 1)) and TABLE.headings == ("Name", "mIoU Mean", "Here")
    assert named("x").groups == () and named("x").headings == ("x", "b")


def test_footnotes_are_numbered_past_nine() -> None:
    rows = tuple(Row((Cell(str(n), (f"note {n}",)),)) for n in range(1, 13))
    assert "| 12 ¹² |" in to_markdown(Table("t", (Column("a"),), rows))


def test_markdown_prints_hostile_names_and_keeps_its_columns() -> None:
    lines = to_markdown(named(HOSTILE)).splitlines()
    body = next(line for line in lines if line.endswith("| x |"))
    name = r"\[red\]a\|b\[/red\] \\ \`c\` \*d\* \_\_e\_\_ \<b> \&lt; :smile: next\\x1b\[2J\\x202e"
    assert body == f"| {name} ¹ | x |"
    unescaped = [index for index, char in enumerate(body) if char == "|" and body[index - 1] != "\\"]
    assert len(unescaped) == 3
    assert len(lines) == 8


def test_the_terminal_prints_brackets_and_no_control_characters() -> None:
    printed = text(named(HOSTILE), width=200)
    assert printed.count(r"[red]a|b[/red] \ `c` *d* __e__ <b> &lt; :smile: next\x1b[2J\x202e") == 4
    assert "\x1b" not in printed
    console = Console(width=200, force_terminal=True, color_system="truecolor", legacy_windows=False)
    with console.capture() as capture:
        console.print(to_terminal(named(HOSTILE)))
    assert "[red]a|b[/red]" in capture.get()
    assert "\x1b[2J" not in capture.get()


def test_a_narrow_terminal_wraps_and_loses_nothing() -> None:
    long = dataclasses.replace(TABLE, notes=("word " * 30,))
    printed = text(long, width=40)
    assert max(map(len, printed.splitlines())) <= 40
    assert printed.count("word") == 30


@pytest.mark.parametrize(
    ("share", "plain", "gain"),
    [(0.57764, "57.76", "+57.76"), (0.0, "0.00", "+0.00"), (-0.00001, "-0.00", "+0.00"), (float("nan"), "–", "–")],
)
def test_numbers(share: float, plain: str, gain: str) -> None:
    assert percent(share) == plain
    assert signed(share) == gain


def strong(rows: tuple[Row, ...]) -> list[list[bool]]:
    return [[cell.strong for cell in row.cells] for row in rows]


def test_the_best_of_a_column_is_strong_among_its_section_in_print() -> None:
    def line(a: float | None, b: float | None, **given: bool) -> Row:
        return Row((Cell("x"), Cell("a", value=a), Cell("b", value=b)), **given)

    body = (
        line(0.50001, 0.3, starts_section=True),
        line(0.50002, 0.4),
        line(0.9, 0.9, quoted=True),
        line(0.8, 0.8, bound=True),
        line(0.7, None, starts_section=True),
        line(0.6, float("nan")),
    )
    found = strong(best_strong(body, (1, 2)))
    assert found == [
        [False, True, False],
        [False, True, True],
        [False] * 3,
        [False] * 3,
        [False, True, False],
        [False] * 3,
    ]
    assert strong(best_strong(body[:1], (1, 2))) == [[False] * 3]


def test_only_means_over_the_same_instances_compete() -> None:
    def may(*cells: tuple[float | None, int, str]) -> list[bool]:
        return comparable([Cell("", value=value, n=n, alike=alike) for value, n, alike in cells])

    assert may((0.5, 4, "abcd"), (0.9, 3, "abc"), (0.4, 4, "abcd")) == [True, False, True]
    assert may((0.5, 3, "abd"), (0.9, 3, "abc")) == [False, False]
    assert may((0.5, 3, "abd"), (0.9, 3, "abc"), (None, 3, "abd"), (0.1, 3, "abd")) == [True, False, False, True]
    assert may() == []


def test_the_best_of_columns_over_all_sections() -> None:
    body = tuple(Row((Cell("x"), Cell("a", value=value)), starts_section=True) for value in (0.1, 0.3, 0.2))
    assert strong(best_of_columns(body, (1,))) == [[False] * 2, [False, True], [False] * 2]
    assert strong(best_strong(body, (1,))) == [[False] * 2] * 3


def test_the_best_of_a_row() -> None:
    row = Row((Cell("x"), Cell("1", value=0.1), Cell("2", value=0.2), Cell("–", value=float("nan"))))
    assert strong((best_of_row(row, (1, 2, 3)),)) == [[False, False, True, False]]
    assert strong((best_of_row(row, (1, 3)),)) == [[False] * 4]


def test_strong_cells_are_bold() -> None:
    table = Table("t", (Column("a"),), (Row((Cell("1.00", ("n",), strong=True),)), Row((Cell("", strong=True),))))
    assert "| **1.00** ¹ |\n|  |" in to_markdown(table)
    console = Console(width=80, force_terminal=True, color_system="standard", legacy_windows=False)
    with console.capture() as capture:
        console.print(to_terminal(table))
    assert "\x1b[1m1.00" in capture.get()


def test_the_least_is_the_best_where_a_metric_says_so() -> None:
    fewer = Scale(higher_is_better=False, bounds=(0, float("inf")), unit="px")
    body = [Row((Cell("", value=value, scale=fewer),)) for value in (3.0, 2.004, 2.001, float("nan"))]
    assert [row.cells[0].strong for row in best_strong(body, [0])] == [False, True, True, False]
    several = Row(tuple(Cell("", value=value, scale=fewer) for value in (3.0, 2.0)))
    assert [cell.strong for cell in best_of_row(several, [0, 1]).cells] == [False, True]


def test_an_interval_is_in_the_unit_of_its_mean() -> None:
    cell = Cell("3.00", value=3.0, n=4, scale=Scale(bounds=(0, float("inf")), unit="px"))
    assert with_interval(cell, 2.5, 3.5).whole == "3.00 [2.50, 3.50], n = 4"
