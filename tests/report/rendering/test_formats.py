"""LaTeX, HTML, CSV and Parquet: what they look like, and what hostile names become in them."""

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmarks import browser
from harness import UserError
from harness.plugins import names
from harness.report.build import build_table
from harness.report.context import Context, MethodFacts
from harness.report.layout import Cell, Column, Row, RowsOf, Table, for_others
from harness.report.rendering.csv import to_csv
from harness.report.rendering.formats import FORMATS, rendered
from harness.report.rendering.html import to_html, to_page
from harness.report.rendering.latex import to_latex
from harness.report.rendering.markdown import to_markdown
from harness.report.rendering.parquet import to_arrow

HOSTILE = '<script>alert(1)</script> a|b \\& 50% $x_1^2$ {#} "q" ~\nnext'

TABLE = Table(
    "A title",
    (Column("Name"), Column("Mean", "mIoU", "right"), Column("Seen", "mIoU", "right")),
    (
        Row(
            (
                Cell("one", ("first",)),
                Cell("1.00", ("second",), 0.01, 0.005, 0.02, 7, True),
                Cell("–", value=float("nan")),
            )
        ),
        Row((Cell("two"), Cell("22.00"), Cell()), starts_section=True),
        Row((Cell("printed"), Cell("3.00"), Cell()), quoted=True),
    ),
    ("A note.",),
)
NASTY = Table(
    HOSTILE, (Column(HOSTILE, HOSTILE), Column("b")), (Row((Cell(HOSTILE, (HOSTILE,)), Cell("x"))),), (HOSTILE,)
)
EMPTY = Table("Empty", (Column("a"),), (), ("No rows.",))


def test_latex_exactly() -> None:
    assert to_latex(TABLE) == (
        "\\begin{table}\n\\centering\n\\caption{A title}\n\\begin{tabular}{lrr}\n\\toprule\n"
        " & \\multicolumn{2}{c}{mIoU} \\\\\n"
        "Name & Mean & Seen \\\\\n\\midrule\n"
        "one\\textsuperscript{1} & \\textbf{1.00}\\textsuperscript{2} & \\textendash{} \\\\\n"
        "\\midrule\n"
        "two & 22.00 &  \\\\\n"
        "\\textit{printed} & \\textit{3.00} &  \\\\\n"
        "\\bottomrule\n\\end{tabular}\n\\par\\footnotesize\n"
        "\\textsuperscript{1} first \\par\n\\textsuperscript{2} second \\par\nA note. \\par\n\\end{table}\n"
    )


def test_latex_prints_hostile_names() -> None:
    latex = to_latex(NASTY)
    name = (
        r"\textless{}script\textgreater{}alert(1)\textless{}/script\textgreater{} a\textbar{}b \textbackslash{}\& 50\% "
        r"\$x\_1\textasciicircum{}2\$ \{\#\} \textquotedbl{}q\textquotedbl{} \textasciitilde{} next"
    )
    assert latex.count(name) == 6
    bare = re.sub(r"\\[\\{}&%$#_]", "", latex)
    assert bare.count("{") == bare.count("}")
    body = bare.split(r"\midrule")[1]
    assert body.count("&") == 1 and not set(body) & set("<>|%$#^~")


class Reader(HTMLParser):
    """Collects tags and text, as a browser would."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_html_holds_the_table_and_no_script() -> None:
    read = Reader(to_html(TABLE))
    assert read.tags.count("tr") == 5 and read.tags.count("td") == 9 and read.tags.count("strong") == 1
    assert {"figure", "caption", "ol", "figcaption"} <= set(read.tags)
    assert '<th colspan="2" scope="colgroup">mIoU</th>' in to_html(TABLE)
    assert '<tr class="section">' in to_html(TABLE) and '<tr class="published">' in to_html(TABLE)
    nasty = Reader(to_html(NASTY))
    assert "script" not in nasty.tags
    assert "".join(nasty.texts).count("<script>alert(1)</script> a|b \\& 50%") == 6


def test_a_page_is_whole_and_its_title_is_escaped() -> None:
    made = rendered([NASTY, TABLE], "html").decode()
    assert made.startswith("<!doctype html>") and made.rstrip().endswith("</html>") and "<style>" in made
    assert "<script" not in made and made.count("<figure class=") == 2
    assert to_html(for_others(TABLE)) in made
    assert "<title>No table</title>" in to_page([])


@pytest.mark.slow
@pytest.mark.skipif(browser.program() is None, reason="no Chromium on PATH; on Debian, apt-get install chromium")
def test_twenty_columns_fit_on_a_sheet_of_paper(tmp_path: Path) -> None:
    wide = Table("Wide", tuple(Column(f"Column {n}") for n in range(20)), (Row((Cell("some words"),) * 20),))
    (tmp_path / "wide.html").write_bytes(rendered([wide], "html"))
    with browser.window() as window:
        window.set_viewport_size({"width": 1047, "height": 718})  # A4 across, less the margins
        window.goto((tmp_path / "wide.html").as_uri())
        width = "document.querySelector('table').scrollWidth"
        assert window.evaluate(width) > 1047
        window.emulate_media(media="print")
        assert window.evaluate(width) <= 1047


def test_html_escapes_every_text_of_a_cell() -> None:
    payload = '"><img src=x onerror=alert(1)>'
    cells = (
        Cell(payload, (payload,), spread=payload, strong=True),
        Cell("x", links=((payload, f"javascript{payload}"),)),
    )
    made = to_html(Table(payload, (Column(payload, payload), Column("b")), (Row(cells),), (payload,)))
    read = Reader(made)
    assert "img" not in read.tags and made.count("&lt;img") == 8
    assert read.tags.count("a") == 1 and 'href="javascript%22%3E%3Cimg' in made


@pytest.mark.parametrize("form", ["terminal", "md", "latex", "html", "csv"])
def test_every_form_says_the_same(form: str) -> None:
    said = rendered([TABLE], form).decode()
    cells = [cell for row in TABLE.body for cell in row.cells]
    texts = [column.heading for column in TABLE.columns] + [cell.whole for cell in cells]
    texts += [TABLE.title, *TABLE.notes]
    shown = said.replace("\\textendash{}", "–")
    assert all(text in shown for text in (*texts, *TABLE.footnotes))


def test_markdown_prints_hostile_names() -> None:
    body = next(line for line in to_markdown(NASTY).splitlines() if line.endswith("| x |"))
    assert "\\<script>" in body and "a\\|b" in body and "\\\\\\&" in body
    assert len(re.findall(r"(?<!\\)\|", body)) == 3


def test_csv_is_read_back() -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(TABLE))))
    about = {"table": "A title", "table notes": "A note."}
    assert lines[0] == {"Name": "one", "mIoU Mean": "1.00", "mIoU Seen": "–", "notes": "first second", **about}
    assert [line["table"] for line in lines] == ["A title"] * 3
    nasty = list(csv.reader(io.StringIO(to_csv(NASTY))))
    assert nasty[1][0].startswith("<script>") and len(nasty) == 2


def test_csv_of_no_rows_keeps_title_and_notes() -> None:
    (line,) = csv.DictReader(io.StringIO(to_csv(EMPTY)))
    assert (line["a"], line["table"], line["table notes"]) == ("", "Empty", "No rows.")


@pytest.mark.parametrize("text", ["=1+1", "+SUM(A1)", "-2+3", "@x", "\t=1", '=HYPERLINK("http://x")'])
def test_csv_holds_no_formula(text: str) -> None:
    named = Table(text, (Column(text),), (Row((Cell(text, (text,)),)),), (text,))
    cells = [cell for line in csv.reader(io.StringIO(to_csv(named))) for cell in line]
    assert len(cells) == 8 and not [cell for cell in cells if cell.strip().startswith(("=", "+", "-", "@"))]


@pytest.mark.parametrize("text", ["-1.50", "+19.06", "+1,552", "-3", "+.5", "-12.5%"])
def test_csv_keeps_numbers_with_a_sign(text: str) -> None:
    assert text in to_csv(Table("t", (Column("a"),), (Row((Cell(text),)),)))
    assert f"'{text}" not in to_csv(Table("t", (Column("a"),), (Row((Cell(text),)),)))


def test_parquet_is_a_line_a_cell() -> None:
    cells = to_arrow([TABLE, EMPTY]).to_pylist()
    assert len(cells) == 9
    mean = cells[1]
    assert (mean["column"], mean["text"], mean["value"], mean["unit"], mean["n"]) == ("mIoU Mean", "1.00", 1.0, "%", 7)
    assert (mean["low"], mean["high"], mean["strong"], mean["notes"]) == (0.5, 2.0, True, ["second"])
    assert cells[2]["value"] is None and cells[2]["unit"] is None and cells[7]["published"]
    assert [cell["row"] for cell in cells] == [0, 0, 0, 1, 1, 1, 2, 2, 2], "from 0, a line a cell"
    assert pq.read_table(io.BytesIO(rendered([TABLE], "parquet"))).num_rows == 9


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_takes_no_rows_one_row_and_several_tables(form: str) -> None:
    for several in ([EMPTY], [TABLE], [TABLE, EMPTY], []):
        assert isinstance(rendered(several, form), bytes)
    if form not in ("parquet", "csv"):
        assert b"No rows." in rendered([EMPTY], form)


def test_several_tables_of_csv_are_told_by_their_headings() -> None:
    first, second = rendered([TABLE, EMPTY], "csv").decode().split("\n\n")
    assert first.startswith("Name,") and second == "a,notes,table,table notes\n,,Empty,No rows.\n"


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(UserError, match=r"no format 'markdwon'"):
        rendered([TABLE], "markdwon")


def lacks_latex() -> str:
    """Why nothing can be compiled here; "" where it can."""
    if not (shutil.which("pdflatex") and shutil.which("kpsewhich")):
        return (
            "no pdflatex on PATH (Debian: apt-get install texlive-latex-recommended texlive-fonts-recommended lmodern)"
        )
    wanted = ("lmodern.sty", "booktabs.sty", "amssymb.sty")
    found = subprocess.run(["kpsewhich", *wanted], capture_output=True, text=True).stdout.split()
    return "" if len(found) == len(wanted) else f"LaTeX lacks some of {', '.join(wanted)}"


def compiled(folder: Path, parts: list[str]) -> str:
    """What pdflatex says of a document of these tables, one a page."""
    head = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{lmodern,booktabs,amssymb}\begin{document}"
    (folder / "all.tex").write_text("\n\\clearpage\n".join([head, *parts, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "all.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60)
    said = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, said[-1500:]
    return said


@pytest.mark.skipif(bool(lacks_latex()), reason=lacks_latex() or "there")
def test_pdflatex_compiles_every_table_and_hostile_names(pair: pd.DataFrame, tmp_path: Path) -> None:
    starts = ["[bold] a", "*", "--limit ,, ''", "中文 😀 кот", "".join(map(chr, range(0xA1, 0x180))), "\\begin{table}"]
    odd = [
        Table(name, (Column(name, name), Column("b")), (Row((Cell(name, (name,)), Cell(name)), quoted=True),), (name,))
        for name in starts
    ]
    rows = pair.assign(method=pair["method"].map({"ours": HOSTILE, "click": "[bold] b"}), dataset_plugin="coco")
    rows = rows.assign(
        method_plugin=rows["method"].map({HOSTILE: "text_click", "[bold] b": "click_only"}), category=HOSTILE
    )
    context = Context(HOSTILE, labels={HOSTILE: MethodFacts(True), "[bold] b": MethodFacts()}, intervals=True)
    real = [build_table(name, rows.assign(text_rule="given"), context) for name in names("tables")]
    assert sum(len(table.body) for table in real) > 60
    compiled(tmp_path, [to_latex(table) for table in (TABLE, NASTY, EMPTY, *odd, *real)])


def test_a_mean_leads_to_its_rows_where_the_page_has_them() -> None:
    cell = Cell("62.4", n=3, rows=RowsOf("scenes", 'a "b" <i>', False))
    table = Table("t", (Column("mIoU"), Column("other")), (Row((cell, Cell("–", rows=RowsOf("scenes", "none")))),))
    assert "<a" not in to_html(table)
    made = to_html(table, to_rows=True)
    assert made.count("<a ") == 1, "a blank has no rows"
    assert 'href="#instances" data-dataset="scenes" data-entry="a &#34;b&#34; &lt;i&gt;" data-seen="0"' in made
