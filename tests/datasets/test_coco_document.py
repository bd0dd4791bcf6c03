"""The walk over a JSON file: the elements and the rest are json's, and each element lies where it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness.datasets.coco.document import Document
from hypothesis import example, given, settings
from hypothesis import strategies as st

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("long"), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.slow
@settings(max_examples=40)
@given(
    rest=st.dictionaries(st.text().filter(lambda key: key != "long"), VALUES, max_size=4),
    elements=st.lists(VALUES, max_size=4),
    place=st.integers(0, 4),
    layout=st.sampled_from([{}, {"indent": 1}, {"separators": (",", ":")}, {"ensure_ascii": False}]),
)
@example(rest={"long ": [{"long": [1]}], "": '"long": ['}, elements=["]"], place=1, layout={"ensure_ascii": False})
def test_it_gives_what_json_reads(rest: dict[str, Any], elements: list[Any], place: int, layout: Any) -> None:
    items = list(rest.items())
    written = dict([*items[:place], ("long", elements), *items[place:]])
    content = f" {json.dumps(written, **layout)}\n".encode(errors="surrogatepass")
    document = Document(content, "long")
    places = [(start, stop) for _, start, stop in document.elements()]
    assert [document.exact(*one) for one in places] == elements
    assert document.rest == rest
    assert all(content[start - 1 : start].strip(b" \n\t[,") == b"" for start, _ in places)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no '{' at byte 0"),
        ("[]", "no '{' at byte 0"),
        ("{}", "no list of `long`"),
        ('{"long": {}}', "no list of `long`"),
        ('{"long": [1 2]}', r"no ',' or '\]' at byte 11"),
        ('{"long": [1}', r"no ',' or '\]' at byte 11"),
        ('{"long": [1]', "no ',' or '}' at byte 12"),
        ('{"long": [1], "long": []}', "found 'long' as a key at byte 20"),
        ('{"long": [1], "a": 1, "a": 2}', "each key once"),
        ('{"long": [], 1: 2}', "found 1 as a key"),
        ('{"long": []} {', "more text after the end"),
        ('{"long": [1,]}', "Expecting value"),
    ],
)
def test_what_is_no_such_file(text: str, reason: str) -> None:
    document = Document(text.encode(), "long")
    with pytest.raises(ValueError, match=reason):
        list(document.elements())


@pytest.mark.parametrize(
    "element", ['{"a": NaN}', '{"a": {"b": [1]}, "c": "}"}', '{"a": "}"}', '{"a": "\\ud800"}', "[{}, 1]", "2"]
)
def test_elements_that_orjson_does_not_take_or_that_hold_a_brace(element: str) -> None:
    document = Document(f'{{"long": [{element}, {{"z": 1}}], "rest": 1}}'.encode(), "long")
    values = [value for value, *_ in document.elements()]
    assert repr(values) == repr([json.loads(element), {"z": 1}]) and document.rest == {"rest": 1}
