"""refCOCO: generated refs, sound and broken, and the real files where they are at hand."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from harness.datasets.coco.coco import Coco
from harness.datasets.refcoco import listing as refer_listing
from harness.datasets.refcoco.refcoco import RefCoco
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

import real_data
from harness import Sample, UserError
from harness.plugins import parameters, registry
from harness.structures import Listed
from toy_files import picture

H, W = 32, 48
CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 27, "name": "backpack"}]


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HARNESS_INDEX", str(tmp_path / "index"))
    yield tmp_path / "index"
    refer_listing.refs_by_image.cache_clear()


def _box(left: int) -> list[list[int]]:
    """The columns left to left + 5, the rows 3 to 14."""
    return [[left, 3, left + 6, 3, left + 6, 15, left, 15]]


def _box_mask(left: int) -> np.ndarray:
    mask = np.zeros((H, W), dtype=bool)
    mask[3:15, left : left + 6] = True
    return mask


def _annotation(id: int = 11, left: int = 4, **fields: Any) -> dict[str, Any]:
    plain = {"id": id, "image_id": 7, "category_id": 1, "iscrowd": 0, "area": 72, "segmentation": _box(left)}
    return plain | fields


def _sentence(sent_id: Any = 0, raw: Any = "left dog", **fields: Any) -> dict[str, Any]:
    return {"sent_id": sent_id, "raw": raw, "sent": "cleaned", "tokens": ["cleaned"]} | fields


def _ref(ref_id: Any = 5, ann_id: Any = 11, sentences: Any = None, **fields: Any) -> dict[str, Any]:
    plain = {
        "ref_id": ref_id,
        "ann_id": ann_id,
        "image_id": 7,
        "category_id": 1,
        "split": "val",
        "file_name": "a_5.jpg",
    }
    return plain | {"sentences": [_sentence()] if sentences is None else sentences, "sent_ids": [0]} | fields


def _write(
    root: Path,
    refs: Any,
    annotations: Any = None,
    dataset: str = "refcoco",
    by: str = "unc",
    pictures: tuple[int, ...] = (7,),
    images: tuple[int, ...] = (7, 8, 100),
) -> Path:
    folder = root / dataset
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"refs({by}).p").write_bytes(refs if isinstance(refs, bytes) else pickle.dumps(refs, 2))
    listed = [{"id": n, "file_name": f"COCO_train2014_{n:012d}.jpg", "height": H, "width": W} for n in images]
    content = {"images": listed, "categories": CATEGORIES}
    content["annotations"] = [_annotation()] if annotations is None else annotations
    (folder / "instances.json").write_text(json.dumps(content))
    shown = root / "images" / "mscoco" / "images" / "train2014"
    shown.mkdir(parents=True, exist_ok=True)
    for number in pictures:
        picture(H, W, 3).save(shown / f"COCO_train2014_{number:012d}.jpg")
    return root


def _refcoco(root: Path, refs: Any, annotations: Any = None, **params: Any) -> RefCoco:
    return RefCoco(_write(root, refs, annotations), **{"seen": ["person"], **params})


def _only(root: Path, refs: Any, annotations: Any = None, **params: Any) -> Sample:
    return _refcoco(root, refs, annotations, **params).load("7")


# Sound refs

TWO = [
    _ref(5, 11, [_sentence(20, " Left DOG \n"), _sentence(9, "the café's 犬")]),
    _ref(3, 12, [_sentence(21, "red bag")], category_id=27),
]
BOTH = [_annotation(11), _annotation(12, 20, category_id=27), _annotation(13, 30)]


def test_a_ref_is_an_instance_without_words_of_its_own(tmp_path: Path) -> None:
    first, second = _only(tmp_path, TWO, BOTH).instances
    assert (first.id, first.category, first.seen, first.same_class_count, first.text) == ("5", "person", True, 2, "")
    assert (second.id, second.category, second.seen, second.same_class_count) == ("3", "backpack", False, 1)
    np.testing.assert_array_equal(first.mask, _box_mask(4))
    np.testing.assert_array_equal(second.mask, _box_mask(20))
    assert first.mask.dtype == np.bool_ and first.mask.shape == (H, W)


def test_a_phrase_is_the_refs_first_sentence_as_it_was_typed(tmp_path: Path) -> None:
    instances = _only(tmp_path, TWO, BOTH, text="phrase").instances
    assert [(instance.id, instance.text) for instance in instances] == [("5", "Left DOG"), ("3", "red bag")]


def test_every_sentence_is_an_instance_and_a_ref_one_object(tmp_path: Path) -> None:
    instances = _only(tmp_path, TWO, BOTH, text="all_phrases").instances
    assert [(i.id, i.text) for i in instances] == [
        ("5~20", "Left DOG"),
        ("5~9", "the café's 犬"),
        ("3~21", "red bag"),
    ]
    assert [instance.object_id for instance in instances] == ["5", "5", "3"]
    np.testing.assert_array_equal(instances[0].mask, instances[1].mask)


def test_polygons_are_united_where_they_overlap(tmp_path: Path) -> None:
    (instance,) = _only(tmp_path, [_ref()], [_annotation(segmentation=_box(4) + _box(7))]).instances
    np.testing.assert_array_equal(instance.mask, _box_mask(4) | _box_mask(7))


def test_all_of_the_images_annotations_count_and_crowds_do_not(tmp_path: Path) -> None:
    crowd = _annotation(14, segmentation={"size": [H, W], "counts": [0, H * W]}, iscrowd=1)
    annotations = [*BOTH, _annotation(15, segmentation=[]), crowd, _annotation(16, image_id=8)]
    assert [i.same_class_count for i in _only(tmp_path, TWO, annotations).instances] == [3, 1]


def test_only_the_splits_refs_and_images(tmp_path: Path) -> None:
    refs = [
        _ref(1, 12, image_id=100),
        _ref(2, 11),
        _ref(3, 13, image_id=8),
        _ref(4, 14, split="testA"),
        _ref(5, 14, image_id=8, split="train"),
    ]
    root = _write(tmp_path, refs)
    found = {split: RefCoco(root, split=split, seen=None) for split in ("train", "val", "testA")}
    listed = {
        name: {s: [one.id for one in own.list_instances(s)] for s in own.sample_ids()} for name, own in found.items()
    }
    assert listed == {"train": {"8": ["5"]}, "val": {"7": ["2"], "8": ["3"], "100": ["1"]}, "testA": {"7": ["4"]}}
    assert list(listed["val"]) == ["7", "8", "100"]


def test_two_refs_may_share_an_annotation(tmp_path: Path) -> None:
    one, other = _only(tmp_path, [_ref(1), _ref(2)]).instances
    assert one.id != other.id
    np.testing.assert_array_equal(one.mask, other.mask)


def test_listing_needs_no_picture(tmp_path: Path) -> None:
    refcoco = RefCoco(_write(tmp_path, TWO, BOTH, pictures=()), seen=None, text="phrase")
    assert refcoco.list_instances("7") == [
        Listed("5", "person", None, "Left DOG"),
        Listed("3", "backpack", None, "red bag"),
    ]


def test_its_pictures_are_cocos(tmp_path: Path) -> None:
    refcoco = _refcoco(tmp_path, TWO, BOTH)
    assert refcoco.image_key("7") == "coco/7"
    assert refcoco.classes == ("person", "backpack", "toothbrush")


def test_other_data_sets_lie_beside_it(tmp_path: Path) -> None:
    _write(tmp_path, [_ref(1)], dataset="refcoco+")
    _write(tmp_path, [_ref(2)], dataset="refcocog", by="umd")
    _write(tmp_path, [_ref(3)], dataset="refcocog", by="google")
    asked = [("refcoco+", "unc"), ("refcocog", "umd"), ("refcocog", "google")]
    found = [RefCoco(tmp_path, dataset, by, seen=None).list_instances("7") for dataset, by in asked]
    assert [[listed.id for listed in one] for one in found] == [["1"], ["2"], ["3"]]


ENTRY = st.tuples(st.integers(0, 2), st.sampled_from(["train", "val", "testA", "testB"]), st.integers(0, 3))


@pytest.mark.slow
@settings(max_examples=30, derandomize=True)
@given(st.lists(ENTRY, min_size=1, max_size=12), st.integers(0, 5))
def test_every_ref_and_sentence_is_there_once(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[int, str, int]], protocol: int
) -> None:
    images = (7, 8, 100)
    annotations = [_annotation(n, n % 40, image_id=images[i]) for n, (i, _, _) in enumerate(entries)]
    refs = [
        _ref(90 - n, n, [_sentence(10 * n + k, f"words {k}") for k in range(count)], image_id=images[i], split=split)
        for n, (i, split, count) in enumerate(entries)
    ]
    root = _write(tmp_path_factory.mktemp("refs"), pickle.dumps(refs, protocol), annotations, pictures=images)
    wanted = {split: [ref for ref in refs if ref["split"] == split] for split in {ref["split"] for ref in refs}}
    for split, own in wanted.items():
        named, phrase, every = (RefCoco(root, split=split, seen=None, text=text) for text in TEXTS)
        samples = [named.load(sample_id) for sample_id in named.sample_ids()]
        masks = {i.id: i.mask for sample in samples for i in sample.instances}
        assert sorted(masks) == sorted(str(ref["ref_id"]) for ref in own)
        assert all((masks[str(r["ref_id"])] == _box_mask(r["ann_id"] % 40)).all() for r in own)
        for dataset in (named, phrase, every):
            for sample_id in dataset.sample_ids():
                loaded, listed = dataset.load(sample_id), dataset.list_instances(sample_id)
                assert {i.id for i in loaded.instances} | set(loaded.broken) == {one.id for one in listed}
                assert len(listed) == len(loaded.instances) + len(loaded.broken)
        texts = [i.id for s in every.sample_ids() for i in every.load(s).instances]
        assert sorted(texts) == sorted(f"{r['ref_id']}~{x['sent_id']}" for r in own for x in r["sentences"])
        speechless = {str(ref["ref_id"]) for ref in own if not ref["sentences"]}
        for dataset in (phrase, every):
            assert {name for s in dataset.sample_ids() for name in dataset.load(s).broken} == speechless


TEXTS = ("class_name", "phrase", "all_phrases")

# Refs that cannot be used: each is listed and named, its neighbour is loaded

CROWD = _annotation(12, segmentation={"size": [H, W], "counts": [0, H * W]}, iscrowd=1)
BROKEN = {
    "no annotation": ({"ann_id": 99}, [], "found 0 annotations 99 of the ref's image"),
    "ann_id missing": ({"ann_id": None}, [], "found a ref without a number `ann_id`"),
    "ann_id a text": ({"ann_id": "12"}, [_annotation(12)], "found a ref without a number `ann_id`"),
    "ann_id true": ({"ann_id": True}, [_annotation(1)], "found a ref without a number `ann_id`"),
    "ann_id endless": ({"ann_id": 10**5000}, [], "found a ref without a number `ann_id`"),
    "of another image": ({"ann_id": 12}, [_annotation(12, image_id=8)], "found 0 annotations 12 of the ref's image"),
    "twice": ({"ann_id": 12}, [_annotation(12), _annotation(12, 20)], "found 2 annotations 12 of"),
    "crowd": ({"ann_id": 12}, [CROWD], "found a crowd region, annotation 12; wanted one object"),
    "another category": ({"category_id": 27}, [], "found category_id 27 in the ref and 1 in its annotation 11"),
    "category missing": ({"category_id": None}, [], "found a ref without a number `category_id`"),
    "unknown category": ({"ann_id": 12, "category_id": 28}, [_annotation(12, category_id=28)], "that `categories` nam"),
    "mask": ({"ann_id": 12}, [_annotation(12, segmentation=[[1, 2, 3]])], "found the polygon"),
    "no mask": ({"ann_id": 12}, [_annotation(12, segmentation=[])], "found the segmentation"),
    "same id": ({"ref_id": 5}, [], "found the id of an earlier ref"),
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(("fields", "annotations", "reason"), BROKEN.values(), ids=list(BROKEN))
def test_broken_ref(tmp_path: Path, fields: Any, annotations: Any, reason: str, text: str) -> None:
    refs = [_ref(5), _ref(6, sentences=[_sentence(1), _sentence(2)]) | fields, _ref(7)]
    refcoco = _refcoco(tmp_path, refs, [_annotation(), *annotations], text=text)
    sample = refcoco.load("7")
    name = "5#2" if "ref_id" in fields else "6"
    wanted = [f"{name}~1", f"{name}~2"] if text == "all_phrases" else [name]
    assert list(sample.broken) == wanted and all(reason in problem for problem in sample.broken.values())
    assert [instance.object_id for instance in sample.instances] == ["5", "7"]
    assert {listed.id for listed in refcoco.list_instances("7")} >= set(wanted)
    assert len(refcoco.list_instances("7")) == 2 + len(wanted)


WORDLESS = {
    "empty": ("", "found an empty sentence; wanted words"),
    "blank": (" \n\t", "found an empty sentence"),
    "none": (None, "found a sentence without a text `raw`"),
    "number": (7, "found a sentence without a text `raw`"),
    "bytes": (b"left dog", "found a sentence without a text `raw`"),
    "half a character": ("dog \ud83d", "found a sentence with half a character"),
}


@pytest.mark.parametrize(("raw", "reason"), WORDLESS.values(), ids=list(WORDLESS))
def test_a_sentence_without_words_is_broken_where_words_are_wanted(tmp_path: Path, raw: Any, reason: str) -> None:
    root = _write(tmp_path, pickle.dumps([_ref(5, sentences=[_sentence(1, raw), _sentence(2)]), _ref(6)], 4))
    named, phrase, every = (RefCoco(root, seen=None, text=text).load("7") for text in TEXTS)
    assert [instance.id for instance in named.instances] == ["5", "6"] and not named.broken
    assert [instance.id for instance in phrase.instances] == ["6"] and reason in phrase.broken["5"]
    assert [instance.id for instance in every.instances] == ["5~2", "6~0"] and reason in every.broken["5~1"]
    assert RefCoco(root, seen=None, text="phrase").list_instances("7")[0] == Listed("5", "person", None, "")


def test_a_ref_without_a_sentence_does_not_vanish(tmp_path: Path) -> None:
    root = _write(tmp_path, [_ref(5, sentences=[]), _ref(6)])
    named, phrase, every = (RefCoco(root, seen=None, text=text).load("7") for text in TEXTS)
    assert [instance.id for instance in named.instances] == ["5", "6"]
    assert phrase.broken == every.broken == {"5": "found a ref without a sentence; wanted one at least"}
    assert [instance.id for instance in every.instances] == ["6~0"]


def test_the_later_of_two_sentences_with_one_id_is_broken(tmp_path: Path) -> None:
    sentences = [_sentence(1, "first"), _sentence(1, "second"), _sentence(2, "third"), _sentence(1, "fourth")]
    sample = _only(tmp_path, [_ref(5, sentences=sentences), _ref(6, sentences=[_sentence(1)])], text="all_phrases")
    assert [(i.id, i.text) for i in sample.instances] == [("5~1", "first"), ("5~2", "third"), ("6~1", "left dog")]
    assert list(sample.broken) == ["5~1#2", "5~1#3"]
    assert "found the id of an earlier sentence of the ref" in sample.broken["5~1#2"]


def test_an_id_twice_in_other_images_harms_no_one(tmp_path: Path) -> None:
    sample = _only(tmp_path, [_ref(5, 11)], [_annotation(11, 20, image_id=8), _annotation(11)])
    np.testing.assert_array_equal(sample.instances[0].mask, _box_mask(4))


def test_an_image_that_the_json_lacks(tmp_path: Path) -> None:
    refcoco = _refcoco(tmp_path, [_ref(5), _ref(6, image_id=55)])
    assert refcoco.sample_ids() == ["7", "55"] and refcoco.list_instances("55")[0].id == "6"
    with pytest.raises(ValueError, match=r"found refs of image 55, of which .*instances\.json says nothing"):
        refcoco.load("55")


def test_an_image_without_annotations(tmp_path: Path) -> None:
    root = _write(tmp_path, [_ref(5, image_id=8)], pictures=(8,))
    assert "found 0 annotations 11" in RefCoco(root, seen=None).load("8").broken["5"]


def test_missing_damaged_and_resized_pictures(tmp_path: Path) -> None:
    refcoco = RefCoco(_write(tmp_path, [_ref()], pictures=()), seen=None)
    with pytest.raises(OSError, match=r"COCO_train2014_000000000007\.jpg: no such file"):
        refcoco.load("7")
    path = refcoco.image_folder / "COCO_train2014_000000000007.jpg"
    path.write_bytes(b"\xff\xd8")
    with pytest.raises(OSError, match=r"found 2 bytes that do not decode"):
        refcoco.load("7")
    PIL.Image.new("RGB", (H, W)).save(path)
    with pytest.raises(ValueError, match=r"found 48 x 32 \(h x w\); wanted 32 x 48"):
        refcoco.load("7")


# Files that are no REFER files

NOT_REFS = {
    "dictionary": ({"refs": []}, "the file is of type dict; wanted a list"),
    "texts": (["a"], "entry 0 has no `ref_id`"),
    "lists": ([[]], "entry 0 has no `ref_id`"),
    "no ref_id": ([_ref(), {"image_id": 7}], "entry 1 has no `ref_id`"),
    "text ref_id": ([_ref("5")], "entry 0 has no `ref_id`"),
    "negative ref_id": ([_ref(-5)], "entry 0 has no `ref_id`"),
    "endless ref_id": ([_ref(10**5000)], "entry 0 has no `ref_id`"),
    "no image_id": ([_ref(image_id=None)], "entry 0 has no `image_id`"),
    "split is a number": ([_ref(split=1)], "entry 0 has no text `split`"),
    "split is half a character": ([_ref(split="\ud800")], "entry 0 has no text `split`"),
    "no sentences": ([_ref(sentences=())], "`sentences` of entry 0 is of type tuple; wanted a list"),
    "sentences are texts": ([_ref(sentences=["left dog"])], "a sentence of entry 0 has no `sent_id`"),
    "sentence without id": ([_ref(sentences=[_sentence(None)])], "a sentence of entry 0 has no `sent_id`"),
}


@pytest.mark.parametrize(("refs", "reason"), NOT_REFS.values(), ids=list(NOT_REFS))
def test_not_a_list_of_refs(tmp_path: Path, refs: Any, reason: str) -> None:
    refcoco = _refcoco(tmp_path, pickle.dumps(refs, 4))
    with pytest.raises(UserError, match=r"refs\(unc\)\.p is not REFER's list of refs") as refused:
        refcoco.sample_ids()
    assert reason in str(refused.value)


def test_a_hostile_file_is_the_readers_to_mend(tmp_path: Path) -> None:
    refcoco = _refcoco(tmp_path, b"cos\nsystem\n(S'touch " + str(tmp_path / "canary").encode() + b"'\ntR.")
    with pytest.raises(UserError, match=r"found the instruction GLOBAL, which makes no plain value"):
        refcoco.sample_ids()
    assert not (tmp_path / "canary").exists()


def test_a_split_without_a_ref_says_which_there_are(tmp_path: Path) -> None:
    refs = [_ref(1), _ref(2, split="testA")]
    with pytest.raises(UserError, match=r"no ref of the split 'train'\. Its splits: testA, val\."):
        _refcoco(tmp_path / "a", refs, split="train").sample_ids()
    with pytest.raises(UserError, match=r"Its splits: none\."):
        _refcoco(tmp_path / "b", []).sample_ids()


def test_a_damaged_json_is_blamed_on_the_right_download(tmp_path: Path) -> None:
    refcoco = _refcoco(tmp_path, [_ref()])
    refcoco.json_path.write_text("<html>")
    with pytest.raises(UserError, match=r"refcoco/instances\.json is no whole COCO instances file: .*lichengunc/refer"):
        RefCoco(tmp_path).list_instances("7")


def test_missing_files_are_the_readers_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file .*nowhere/refcoco/instances\.json\. Lay it out as REFER's"):
        RefCoco(tmp_path / "nowhere")
    root = _write(tmp_path, [_ref()])
    with pytest.raises(UserError, match=r"no file .*refs\(google\)\.p"):
        RefCoco(root, split_by="google")
    (root / "images").rename(root / "pictures")
    with pytest.raises(UserError, match=r"no folder .*train2014"):
        RefCoco(root)


@pytest.mark.parametrize(
    ("dataset", "by", "split", "reason"),
    [
        ("refcoco", "umd", "val", r"no split_by 'umd' of refcoco\. There are: google, unc\."),
        ("refcoco+", "google", "val", r"no split_by 'google' of refcoco\+\. There are: unc\."),
        ("refcocog", "unc", "val", r"no split_by 'unc' of refcocog\. .*There are: google, umd\."),
        ("refcoco", "unc", "test", r"no split 'test' of refcoco by unc\. .*There are: testA, testB, train, val\."),
        ("refcoco", "google", "testA", r"no split 'testA' of refcoco by google\. .*There are: test, train, val\."),
        ("refcocog", "umd", "testB", r"no split 'testB' of refcocog by umd\. .*There are: test, train, val\."),
        ("refcocog", "google", "test", r"no split 'test' of refcocog by google\. .*There are: train, val\."),
    ],
)
def test_splits_that_were_never_published(tmp_path: Path, dataset: Any, by: Any, split: Any, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        RefCoco(tmp_path, dataset, by, split)


def test_unknown_seen_category(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no category 'persons', which `seen` names.*Did you mean 'person'\?"):
        _refcoco(tmp_path, [_ref()], seen=["persons"]).list_instances("7")


# The object itself


def test_the_registry_builds_it_from_a_config(tmp_path: Path) -> None:
    root = _write(tmp_path, TWO, BOTH)
    params = {"root": str(root), "split_by": "unc", "split": "val", "text": "phrase", "seen": ["person"]}
    refcoco = parameters.build("datasets", "refcoco", parameters.resolve("datasets", "refcoco", params))
    assert isinstance(refcoco, RefCoco) and refcoco.name == "refcoco"
    for key, value in {"dataset": "refclef", "split_by": "berkeley", "split": "testC", "text": "sent"}.items():
        with pytest.raises(UserError, match=rf"params\.{key}: found '{value}'"):
            parameters.resolve("datasets", "refcoco", params | {key: value})
    assert not {"refer_pickle", "refer_listing"} & set(registry.names("datasets"))


def test_fingerprint_notices_a_changed_word_and_a_changed_coordinate(tmp_path: Path) -> None:
    one = _refcoco(tmp_path / "a", TWO, BOTH, text="all_phrases").fingerprint()
    word = _refcoco(tmp_path / "b", [*TWO[:1], _ref(3, 12, [_sentence(21, "red bags")])], BOTH).fingerprint()
    coordinate = _refcoco(tmp_path / "c", TWO, [*BOTH[:2], _annotation(13, 31)]).fingerprint()
    assert (one["samples"], one["instances"]) == (1, 3) and json.loads(json.dumps(one)) == one
    assert one["refs_sha256"] != word["refs_sha256"] and one["json_sha256"] == word["json_sha256"]
    assert one["refs_sha256"] == coordinate["refs_sha256"] and one["json_sha256"] != coordinate["json_sha256"]


def test_pickled_it_stays_small_and_works(tmp_path: Path) -> None:
    refcoco = _refcoco(tmp_path, [_ref(n) for n in range(500)])
    refcoco.load("7")
    pickled = pickle.dumps(refcoco)
    assert len(pickled) < 5_000
    assert pickle.loads(pickled).list_instances("7") == refcoco.list_instances("7")


def test_the_pickle_is_read_once_for_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _write(tmp_path, TWO, BOTH)
    wanted = [RefCoco(root, seen=None, text=text).list_instances("7") for text in TEXTS]
    refer_listing.refs_by_image.cache_clear()
    monkeypatch.setattr(refer_listing, "load_plain", None)
    assert [RefCoco(root, seen=None, text=text).list_instances("7") for text in TEXTS] == wanted
    monkeypatch.undo()


def test_a_changed_pickle_is_read_anew(tmp_path: Path) -> None:
    assert len(_refcoco(tmp_path, TWO, BOTH).list_instances("7")) == 2
    assert len(_refcoco(tmp_path, TWO[:1], BOTH).list_instances("7")) == 1


def test_loading_twice_gives_the_same(tmp_path: Path) -> None:
    refcoco = _refcoco(tmp_path, TWO, BOTH)
    one, other = refcoco.load("7"), refcoco.load("7")
    np.testing.assert_array_equal(one.image, other.image)
    assert [i.id for i in one.instances] == [i.id for i in other.instances]
    assert one.instances[0].mask is not other.instances[0].mask


# The real files

SPLITS = [("refcoco", "unc", split) for split in ("train", "val", "testA", "testB")] + [("refcocog", "google", "val")]
"""Data set, who split it, split."""
MOST = 20
"""Images of a split that are looked at."""


@pytest.mark.slow
@real_data.needs("refer")
@pytest.mark.parametrize(("dataset", "by", "split"), SPLITS)
def test_real_refs_sentences_and_masks(dataset: Any, by: Any, split: Any) -> None:
    refs = pickle.loads((real_data.REFER / dataset / f"refs({by}).p").read_bytes())
    refs = {str(ref["ref_id"]): ref for ref in refs if ref["split"] == split}
    official = COCO(real_data.REFER / dataset / "instances.json")
    named, phrase, every = (RefCoco(real_data.REFER, dataset, by, split, text) for text in TEXTS)
    assert {int(s) for s in named.sample_ids()} == {ref["image_id"] for ref in refs.values()}
    looked_at = named.sample_ids()[:MOST]
    refs = {ref_id: ref for ref_id, ref in refs.items() if str(ref["image_id"]) in looked_at}
    samples = [(named.load(s), phrase.load(s), every.load(s)) for s in looked_at]
    assert not any(sample.broken for together in samples for sample in together)
    objects = [i for sample, _, _ in samples for i in sample.instances]
    assert sorted(i.id for i in objects) == sorted(refs)
    for instance in objects:
        ref = refs[instance.id]
        (annotation,) = official.loadAnns([ref["ann_id"]])
        np.testing.assert_array_equal(instance.mask, official.annToMask(annotation) > 0)
        assert instance.category == official.cats[ref["category_id"]]["name"] and instance.text == ""
        same = official.getAnnIds([ref["image_id"]], [ref["category_id"]], iscrowd=False)
        assert instance.same_class_count == len(same)
    first = {i.id: i.text for _, sample, _ in samples for i in sample.instances}
    assert first == {ref_id: ref["sentences"][0]["raw"].strip() for ref_id, ref in refs.items()}
    words = {i.id: i.text for _, _, sample in samples for i in sample.instances}
    pairs = [(ref_id, sentence) for ref_id, ref in refs.items() for sentence in ref["sentences"]]
    assert words == {f"{ref_id}~{sentence['sent_id']}": sentence["raw"].strip() for ref_id, sentence in pairs}
    assert objects and words
    assert any(sample.size[0] != sample.size[1] for sample, _, _ in samples)


@real_data.needs("refer")
def test_real_listing_agrees_with_loading() -> None:
    for text in TEXTS:
        refcoco = RefCoco(real_data.REFER, split="testA", text=text)
        for sample_id in refcoco.sample_ids()[:MOST]:
            loaded = refcoco.load(sample_id).instances
            assert refcoco.list_instances(sample_id) == [Listed(i.id, i.category, i.seen, i.text) for i in loaded]


@real_data.needs("refer", "coco")
def test_real_masks_and_pictures_are_those_of_the_coco_loader() -> None:
    coco, refcoco = Coco(real_data.COCO, "train2017"), RefCoco(real_data.REFER, split="val")
    refs = {
        str(r["ref_id"]): str(r["ann_id"])
        for r in pickle.loads((real_data.REFER / "refcoco" / "refs(unc).p").read_bytes())
    }
    for sample_id in refcoco.sample_ids()[:MOST]:
        assert refcoco.image_key(sample_id) == f"coco/{sample_id}"
        ours, theirs = refcoco.load(sample_id), coco.load(sample_id)
        np.testing.assert_array_equal(ours.image, theirs.image)
        known = {i.id: i for i in theirs.instances}
        for instance in ours.instances:
            same = known[refs[instance.id]]
            np.testing.assert_array_equal(instance.mask, same.mask)
            assert (instance.category, instance.seen, instance.same_class_count) == (
                same.category,
                same.seen,
                same.same_class_count,
            )


def test_a_picture_that_was_replaced_changes_the_fingerprint_and_a_copied_one_does_not(tmp_path: Path) -> None:
    def facts() -> dict[str, Any]:
        return dict(RefCoco(tmp_path, seen=["person"]).fingerprint())

    _refcoco(tmp_path, [_ref()])
    before = facts()
    (picture, *_) = sorted(tmp_path.rglob("*.jpg"))
    os.utime(picture, ns=(1, 1))
    assert facts() == before
    picture.write_bytes(picture.read_bytes() + b"0")
    assert {key for key in before if facts()[key] != before[key]} == {"pictures"}
