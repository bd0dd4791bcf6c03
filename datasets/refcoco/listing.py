"""Reads REFER's refs, each of which names an object of an image and has the sentences about it.

Source: https://github.com/lichengunc/refer at e3bbaa3. Registers no data set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from harness.messages import suggest
from harness.structures import UserError

from ..shared.index_cache import cached
from .plain_pickle import load_plain

SPLITS = {
    ("refcoco", "unc"): ("train", "val", "testA", "testB"),
    ("refcoco", "google"): ("train", "val", "test"),
    ("refcoco+", "unc"): ("train", "val", "testA", "testB"),
    ("refcocog", "google"): ("train", "val"),
    ("refcocog", "umd"): ("train", "val", "test"),
}
"""(Data set, author of the split) -> the published splits."""

LAYOUT = (
    "Lay it out as REFER's data folder (https://github.com/lichengunc/refer, Download): instances.json and "
    "refs(<split_by>).p in <root>/<dataset>, COCO's pictures in <root>/images/mscoco/images/train2014; "
    "or correct `root`."
)

_SENTENCE = pa.struct([("id", pa.string()), ("text", pa.string()), ("problem", pa.string())])
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("split", pa.string()),
        ("image_id", pa.int64()),
        ("ann_id", pa.int64()),
        ("category_id", pa.int64()),
        ("problem", pa.string()),
        ("sentences", pa.list_(_SENTENCE)),
    ]
)


class Sentence(NamedTuple):
    """One expression for an object.

    Attributes:
        id: The file's `sent_id`; repeated ids of a ref get "#2", "#3", ...
        text: The text as it was typed (`raw`), without blanks around it; empty if there is a problem.
        problem: The reason why it cannot be used, or "".
    """

    id: str
    text: str
    problem: str


class Ref(NamedTuple):
    """One object with the sentences about it.

    Attributes:
        id: The file's `ref_id`; repeated ids get "#2", "#3", ...
        ann_id: The id of its annotation in instances.json; -1 if the file has no number.
        category_id: The id of its category; -1 if the file has no number.
        problem: The reason why it cannot be used, or "".
        sentences: The sentences, in the file's order.
    """

    id: str
    ann_id: int
    category_id: int
    problem: str
    sentences: tuple[Sentence, ...]


def check_split(dataset: str, split_by: str, split: str) -> None:
    """Refuse a split that was never published.

    Raises:
        UserError: It was not; the message names the published splits.
    """
    by = [known_by for known, known_by in SPLITS if known == dataset]
    if split_by not in by:
        raise UserError(f"datasets/refcoco/refcoco.py: no split_by '{split_by}' of {dataset}. {suggest(split_by, by)}")
    splits = SPLITS[dataset, split_by]
    if split not in splits:
        raise UserError(
            f"datasets/refcoco/refcoco.py: no split '{split}' of {dataset} by {split_by}. {suggest(split, splits)}"
        )


def check_layout(json_path: Path, refs_path: Path, image_folder: Path) -> None:
    """Refuse a root without the layout of REFER's data folder.

    Raises:
        UserError: A file or folder is missing; the message names it.
    """
    for path in (json_path, refs_path):
        if not path.is_file():
            raise UserError(f"datasets/refcoco/refcoco.py: no file {path}. {LAYOUT}")
    if not image_folder.is_dir():
        raise UserError(f"datasets/refcoco/refcoco.py: no folder {image_folder}. {LAYOUT}")


@lru_cache(maxsize=8)
def refs_by_image(path: Path, version: tuple[int, int], split: str) -> Mapping[str, Sequence[Ref]]:
    """Image id -> the split's refs of it, in the file's order; the images come in the order of their ids.

    Args:
        path: REFER's `refs(<split_by>).p`.
        version: The file's size and time of change (ns), so that a changed file is read anew.
        split: The split, as in its refs.

    Raises:
        UserError: The file is not REFER's, or no ref is of the split.
    """
    del version
    table = cached("refer 1", [path], lambda: _table(path))
    # Arrow's sort is stable: the refs of one image stay in the file's order.
    own = table.filter(pc.equal(table["split"], split)).sort_by("image_id").to_pylist()
    if not own:
        there = ", ".join(sorted(table["split"].unique().to_pylist())) or "none"
        raise UserError(f"datasets/refcoco/refcoco.py: {path} has no ref of the split '{split}'. Its splits: {there}.")
    found: dict[str, list[Ref]] = {}
    for row in own:
        sentences = tuple(Sentence(**sentence) for sentence in row["sentences"])
        ref = Ref(row["id"], row["ann_id"], row["category_id"], row["problem"], sentences)
        found.setdefault(str(row["image_id"]), []).append(ref)
    return found


def _table(path: Path) -> pa.Table:
    refs = load_plain(path)
    try:
        return pa.Table.from_pylist(list(_rows(refs)), _SCHEMA)
    except ValueError as error:
        raise UserError(
            f"datasets/refcoco/refcoco.py: {path} is not REFER's list of refs: {error}. {LAYOUT}"
        ) from error


def _rows(refs: Any) -> Iterator[dict[str, Any]]:
    uses: dict[int, int] = {}
    # Two kinds of faults: one without which the file is no list of refs (no id, no split) raises and ends the run; one
    # of a single ref or sentence is kept as the text `problem`, so that this ref becomes a failed row beside the good
    # ones.
    for position, ref in enumerate(_list(refs, "the file")):
        where = f"entry {position}"
        ref_id = _whole(ref, "ref_id", where)
        uses[ref_id] = uses.get(ref_id, 0) + 1
        split = ref.get("split")
        if type(split) is not str or not _encodable(split):
            raise ValueError(f"{where} has no text `split`")
        yield {
            "id": _unique(ref_id, uses[ref_id]),
            "split": split,
            "image_id": _whole(ref, "image_id", where),
            "ann_id": _number(ref.get("ann_id")),
            "category_id": _number(ref.get("category_id")),
            "problem": _flaw(ref, uses[ref_id]),
            "sentences": list(_sentences(_list(ref.get("sentences"), f"`sentences` of {where}"), where)),
        }


def _flaw(ref: Mapping[str, Any], uses: int) -> str:
    """Says what is wrong with a ref, apart from its sentences; "" if nothing is."""
    if uses > 1:
        return "found the id of an earlier ref; wanted one of its own"
    missing = [key for key in ("ann_id", "category_id") if _number(ref.get(key)) < 0]
    return f"found a ref without a number `{missing[0]}`; wanted its annotation's" if missing else ""


def _sentences(sentences: Sequence[Any], where: str) -> Iterator[dict[str, str]]:
    uses: dict[int, int] = {}
    for sentence in sentences:
        sent_id = _whole(sentence, "sent_id", f"a sentence of {where}")
        uses[sent_id] = uses.get(sent_id, 0) + 1
        problem = _complaint(sentence.get("raw"))
        if uses[sent_id] > 1:
            problem = "found the id of an earlier sentence of the ref; wanted one of its own"
        text = "" if problem else sentence["raw"].strip()
        yield {"id": _unique(sent_id, uses[sent_id]), "text": text, "problem": problem}


def _complaint(raw: Any) -> str:
    """Says what is wrong with a sentence's text; "" if nothing is."""
    if type(raw) is not str:
        return "found a sentence without a text `raw`; wanted words"
    if not raw.strip():
        return "found an empty sentence; wanted words"
    return "" if _encodable(raw) else "found a sentence with half a character (a lone surrogate); wanted Unicode"


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _unique(number: int, uses: int) -> str:
    return f"{number}#{uses}" if uses > 1 else str(number)


def _number(value: Any) -> int:
    """An id; -1 for a value that cannot be one."""
    # `isinstance` would take True for a number as well. Ids are kept as int64, which ends below 2^63.
    return value if type(value) is int and 0 <= value < 2**63 else -1


def _whole(entry: Any, key: str, where: str) -> int:
    number = _number(entry.get(key)) if type(entry) is dict else -1
    if number < 0:  # the message leaves the value out: its text may be endless
        raise ValueError(f"{where} has no `{key}` that is a number from 0 on")
    return number


def _list(value: Any, where: str) -> Sequence[Any]:
    if type(value) is not list:
        raise ValueError(f"{where} is of type {type(value).__name__}; wanted a list")
    return value
