import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from harness.storage.clicks import click_counts, click_keys, click_points
from harness.storage.rows import COLUMNS


def test_clicks_are_told_apart_by_place_order_sign_and_number() -> None:
    one, two = {"x": 3, "y": 5, "positive": True}, {"x": 5, "y": 3, "positive": True}
    several = [[one], [two], [one, two], [two, one], [one | {"positive": False}], [one, one], [], None]
    keys = click_keys(pd.Series(several, dtype=object))
    assert len(set(keys.tolist())) == 7 and keys[-1] == keys[-2]
    assert click_counts(pd.Series(several, dtype=object)).tolist() == [1, 1, 2, 2, 1, 2, 0, 0]
    stored = pd.DataFrame({"clicks": several}).to_parquet()
    for kinds in ({}, {"types_mapper": pd.ArrowDtype}):
        back = pa.parquet.read_table(io.BytesIO(stored)).to_pandas(**kinds)["clicks"]
        assert click_keys(back).tolist() == keys.tolist()
        assert len(set(click_keys(back.iloc[:4], most=1).tolist())) == 2, "two first clicks"
        assert click_keys(back, most=9).tolist() == keys.tolist()
        assert click_keys(back.iloc[2:]).tolist() == keys[2:].tolist()


def test_every_click_of_a_small_picture_has_a_key_of_its_own() -> None:
    places = [(x, y, positive) for x in range(5) for y in range(5) for positive in (True, False)]
    lists = [[{"x": x, "y": y, "positive": positive}] for x, y, positive in places]
    assert len(set(click_keys(pd.Series(lists)).tolist())) == 50


def test_points_of_parts_of_a_column_and_of_plain_lists() -> None:
    one, two = {"x": 3, "y": 4, "positive": True}, {"x": 5, "y": 6, "positive": False}
    lists = [[one], None, [], [one, two]]
    kind = COLUMNS["clicks"]
    arrow = pd.Series(pa.array(lists, kind), dtype=pd.ArrowDtype(kind))
    assert click_points(arrow) == click_points(pd.Series(lists)) == [[[3, 4, 1]], [], [], [[3, 4, 1], [5, 6, 0]]]
    assert click_points(arrow[3:]) == [[[3, 4, 1], [5, 6, 0]]]
    assert click_points(arrow[:0]) == []
