"""Tables of a user's: a sound one, and such as go wrong."""

from harness.report.layout import Cell, Column, Row, Table


def sound(rows, context):
    return Table("A sound one", (Column("n"),), (Row((Cell(str(len(rows.rows))),)),))


def raises(rows, context):
    return rows.rows["no such column"]


def leaves(rows, context):
    raise SystemExit(0)


def empty(rows, context):
    return None


def short(rows, context):
    table = Table("Short", (Column("a"), Column("b")), ())
    object.__setattr__(table, "body", (Row((Cell("1"),)),))
    return table


def number(rows, context):
    return Table("A number", (Column("a"),), (Row((Cell(0.5),)),))
