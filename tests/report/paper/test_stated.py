"""Figures that stand in the paper's text alone."""

from dataclasses import replace

from harness.report.paper.published import printed_rows
from harness.report.paper.stated import disagreements, load_stated


def test_every_figure_names_its_source_and_words() -> None:
    assert all(one.about and one.source and one.said for one in load_stated())


def test_two_values_of_one_thing_are_a_finding_of_the_lines_that_they_are_about() -> None:
    rows = printed_rows()
    found = [one for one in disagreements(rows, load_stated()) if "OpenImages" in one.text]
    lines = [rows[one.row] for one in found if one.row is not None]
    assert [(row.table, row.dataset, row.method) for row in lines] == [
        (6, "openimages", "ritm"),
        (6, "openimages", "text_click"),
    ]
    assert "350 in section 4, 300 in Table 6's caption" in found[0].text


def test_what_speaks_of_no_line_is_a_finding_of_the_text() -> None:
    (found,) = (one for one in disagreements(printed_rows(), load_stated()) if "click map" in one.text)
    assert (found.row, found.where) == (None, "section 3, section 4")


def test_with_one_value_there_is_none() -> None:
    agreed = [replace(one, value=350.0) if one.value == 300 else one for one in load_stated()]
    assert not [one for one in disagreements(printed_rows(), agreed) if "OpenImages" in one.text]
