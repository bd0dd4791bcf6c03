"""Splits: what the files hold, and the hash by which a run knows them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import real_data
from harness import UserError
from harness.plugins.class_splits import marked, seen_names, split_hash, split_of

ROOT = Path(__file__).resolve().parents[2]
SPLITS = sorted((ROOT / "harness" / "plugins" / "splits").glob("*.txt"))


@pytest.mark.parametrize("path", SPLITS, ids=lambda path: path.stem)
def test_a_split_names_each_class_once_and_its_source(path: Path) -> None:
    names = seen_names(path.stem)
    assert names and len(set(names)) == len(names)
    comments = [line for line in path.read_text("utf-8").splitlines() if line.startswith("#")]
    assert any("Source" in line for line in comments)


@pytest.mark.parametrize("path", SPLITS, ids=lambda path: path.stem)
def test_the_page_states_each_split_s_hash(path: Path) -> None:
    page = (ROOT / "docs" / "seen.md").read_text("utf-8")
    names = seen_names(path.stem)
    assert f"| `{path.stem}` | {len(names)} | `{split_hash(names)}` |" in page


def test_a_hash_is_of_the_names_alone() -> None:
    assert split_hash(["cup", "tie"]) == split_hash(["tie", "cup", "cup"])
    assert split_hash(["cup", "tie"]) == hashlib.sha256(b"cup\ntie\n").hexdigest()[:12]
    assert len({split_hash(names) for names in (["cup"], ["tie"], ["cup", "tie"], ["cuptie"], [])}) == 5


def test_classes_are_marked_by_the_names() -> None:
    classes = ("cup", "tie", "dog")
    assert marked(("tie",), classes, "here") == {"cup": False, "tie": True, "dog": False}
    assert marked(None, classes, "here") == {} and split_of({}) is None
    assert split_of(marked(("tie",), classes, "here")) == split_hash(["tie"])
    with pytest.raises(UserError, match=r"^here: no category 'ties', which `seen` names\. Did you mean 'tie'\?"):
        marked(("ties",), classes, "here")


@real_data.needs("splits")
def test_the_lists_are_those_of_the_sources() -> None:
    lists = json.loads((real_data.FOLDER / "splits.json").read_text("utf-8"))
    found = {path.stem: set(seen_names(path.stem)) for path in SPLITS}
    assert set(lists["voc_15_5"]["seen"]) == found["voc_15"]
    assert set(lists["coco_20_60"]["seen"]) == found["coco_20"]
    assert set(lists["coco_15_65"]["seen"]) == found["coco_15"]
    voc = set(lists["voc_15_5"]["seen"]) | set(lists["voc_15_5"]["unseen"])
    for count, unseen in lists["zs3net_voc"].items():
        assert voc - found[f"zs3_{count}"] == set(unseen) and len(set(unseen)) == int(count)
