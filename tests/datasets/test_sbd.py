"""SBD: generated folders whose .mat files SciPy writes, sound, broken and malicious."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from harness.datasets.sbd import Sbd
from harness.datasets.voc.objects import CLASSES
from harness.datasets.voc.sbd_masks import read_annotation
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness import UserError
from harness.evaluation.pictures import listed
from harness.plugins import parameters, registry
from harness.structures import Listed
from toy_files import gtinst, picture, write_sbd

H, W = 32, 48


pytestmark = pytest.mark.usefixtures("own_index")


def _segmentation() -> np.ndarray:
    """Object 1 a sheep, object 2 a person, object 3 a person."""
    numbers = np.zeros((H, W), np.uint8)
    numbers[2:20, 3:12], numbers[5:9, 20:41], numbers[31, 47] = 1, 2, 3
    return numbers


CATEGORIES = (17, 15, 15)


def _mat(path: Path, segmentation: Any = None, categories: Any = CATEGORIES, packed: bool = True) -> Path:
    return write_sbd(path, _segmentation() if segmentation is None else segmentation, categories, packed)


def _write(root: Path, images: Mapping[str, np.ndarray], **lists: str) -> Path:
    (root / "img").mkdir(parents=True)
    (root / "inst").mkdir()
    for image, segmentation in images.items():
        _mat(root / "inst" / f"{image}.mat", segmentation)
        picture(*segmentation.shape, 3).save(root / "img" / f"{image}.jpg")
    for split, text in ({"val": "".join(f"{image}\n" for image in images)} | lists).items():
        (root / f"{split}.txt").write_text(text, encoding="utf-8")
    return root


# Sound files


@pytest.mark.parametrize("packed", [True, False])
def test_objects_and_their_classes(tmp_path: Path, packed: bool) -> None:
    root = _write(tmp_path, {"a": _segmentation()})
    _mat(root / "inst" / "a.mat", packed=packed)
    sbd = Sbd(root)
    sample = sbd.load("a")
    assert [(i.id, i.category, i.seen, i.same_class_count) for i in sample.instances] == [
        ("a/1", "sheep", False, 1),
        ("a/2", "person", True, 2),
        ("a/3", "person", True, 2),
    ]
    for number, instance in enumerate(sample.instances, 1):
        assert instance.mask.dtype == np.bool_
        np.testing.assert_array_equal(instance.mask, _segmentation() == number)
    assert sample.ignore is None and not sample.broken
    assert [(entry.id, entry.category, entry.seen) for entry in sbd.list_instances("a")] == [
        (i.id, i.category, i.seen) for i in sample.instances
    ]


@pytest.mark.slow
@settings(max_examples=40, derandomize=True)
@given(
    numbers=arrays.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32, np.float64]),
        st.tuples(st.integers(1, 7), st.integers(2, 12)),
        elements=st.integers(0, 5),
    ),
    categories=st.lists(st.sampled_from([1, 15, 20, 20, 0, 21]), max_size=5),
    wide=st.booleans(),
    packed=st.booleans(),
)
def test_any_file_against_scipy(
    tmp_path_factory: pytest.TempPathFactory, numbers: np.ndarray, categories: list[int], wide: bool, packed: bool
) -> None:
    column = np.array(categories, np.float64 if wide else np.uint8).reshape(-1, 1)
    path = _mat(tmp_path_factory.mktemp("Ordner mit ü") / "a 1.mat", numbers, column, packed)
    official = scipy.io.loadmat(path)["GTinst"][0, 0]
    annotation = read_annotation(path)
    np.testing.assert_array_equal(annotation.objects, official["Segmentation"])
    whole, broken = {}, set()
    for number in np.unique(official["Segmentation"])[np.unique(official["Segmentation"]) > 0].tolist():
        names = official["Categories"].ravel().tolist()
        if number <= len(names) and 1 <= names[int(number) - 1] <= 20:
            whole[number] = CLASSES[int(names[int(number) - 1]) - 1]
        else:
            broken.add(number)
    assert annotation.categories == whole and set(annotation.broken) == broken and annotation.void is None


def test_val_is_the_list_of_ritms_evaluation(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = {f"2008_{n:06d}": rng.integers(0, rng.integers(1, 5), (5, 7), dtype=np.uint8) for n in (9, 3, 5, 7)}
    root = _write(tmp_path, images)
    wanted = []  # every number that has a pixel, image by image, in ascending order
    for image in (root / "val.txt").read_text().split():
        numbers = scipy.io.loadmat(root / "inst" / f"{image}.mat")["GTinst"][0][0][0].astype(np.int32)
        counts = np.bincount(numbers.flatten())
        wanted += [f"{image}/{number}" for number in np.nonzero(counts)[0].tolist() if number]
    sbd = Sbd(root)
    assert [entry.id for sample in sbd.sample_ids() for entry in sbd.list_instances(sample)] == wanted and wanted


def test_a_class_without_pixels_is_no_instance(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a": np.where(_segmentation() == 2, 0, _segmentation()).astype(np.uint8)})
    assert [(i.id, i.same_class_count) for i in Sbd(root).load("a").instances] == [("a/1", 1), ("a/3", 1)]


def test_a_picture_without_objects_is_a_sample_without_instances(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a": np.zeros((H, W), np.uint8)})
    _mat(root / "inst" / "a.mat", np.zeros((H, W), np.uint8), np.zeros((0, 0), np.uint8))
    assert not Sbd(root).load("a").instances and Sbd(root).list_instances("a") == []


def test_other_variables_and_fields_do_not_matter(tmp_path: Path) -> None:
    inner = {"Extra": "words", **gtinst(_segmentation(), CATEGORIES), "Cell": np.array([[1, "a"]], object)}
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"other": np.arange(5), "GTcls": {"Segmentation": 3}, "GTinst": inner})
    np.testing.assert_array_equal(read_annotation(path).objects, _segmentation())
    assert list(read_annotation(path).categories.values()) == ["sheep", "person", "person"]


def test_an_object_without_a_class_is_broken_and_its_neighbours_are_whole(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a": _segmentation()})
    _mat(root / "inst" / "a.mat", categories=(21, 15))
    sbd = Sbd(root)
    sample = sbd.load("a")
    assert [(i.id, i.same_class_count) for i in sample.instances] == [("a/2", 1)]
    assert "found the class 21 in Categories, of 2; wanted one of 1 to 20" in sample.broken["a/1"]
    assert "found the class None in Categories" in sample.broken["a/3"]
    assert sbd.list_instances("a") == [Listed("a/1"), Listed("a/2", "person", True), Listed("a/3")]


def test_listing_opens_no_picture_and_each_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _write(tmp_path, {"b": _segmentation(), "a": _segmentation()})
    for shown in root.glob("img/*"):
        shown.unlink()
    wanted = Sbd(root).list_instances("a")
    assert len(wanted) == 3
    monkeypatch.setattr("harness.datasets.sbd.read_annotation", None)
    assert Sbd(root).list_instances("a") == wanted and Sbd(root).sample_ids() == ["b", "a"]


# Pictures


def test_missing_and_empty_pictures_and_those_of_another_size_fail(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a": _segmentation()})
    shown = root / "img" / "a.jpg"
    picture(W, H, 3).save(shown)
    with pytest.raises(ValueError, match=r"inst.a\.mat: found 32 x 48 \(h x w\); wanted 48 x 32"):
        Sbd(root).load("a")
    shown.write_bytes(b"")
    with pytest.raises(OSError, match="found 0 bytes that do not decode"):
        Sbd(root).load("a")
    shown.unlink()
    with pytest.raises(FileNotFoundError, match="no such file"):
        Sbd(root).load("a")


def test_a_grey_picture_has_three_channels(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a": _segmentation()})
    picture(H, W).save(root / "img" / "a.jpg")
    assert Sbd(root).load("a").image.shape == (H, W, 3)


# Broken and malicious files


def _element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def _matrix(kind: int, dimensions: Sequence[int], body: bytes, name: bytes = b"") -> bytes:
    shape = struct.pack(f"<{len(dimensions)}i", *dimensions)
    return _element(14, _element(6, struct.pack("<II", kind, 0)) + _element(5, shape) + _element(1, name) + body)


def _file(*variables: bytes, packed: bool = False) -> bytes:
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    if not packed:
        return header + b"".join(variables)
    pressed = [zlib.compress(variable) for variable in variables]
    return header + b"".join(struct.pack("<II", 15, len(data)) + data for data in pressed)


def _struct(fields: Mapping[str, bytes], dimensions: Sequence[int] = (1, 1), step: int = 32, kind: int = 2) -> bytes:
    names = b"".join(name.encode().ljust(32, b"\0") for name in fields)
    length = struct.pack("<HHi", 5, 4, step)
    return _matrix(kind, dimensions, length + _element(1, names) + b"".join(fields.values()), b"GTinst")


def _uint8(dimensions: Sequence[int], data: bytes, kind: int = 2) -> bytes:
    return _matrix(9, dimensions, _element(kind, data))


def _nested(levels: int) -> bytes:
    """Cells within cells: SciPy's reader ends the process on them."""
    head = _element(6, struct.pack("<II", 1, 0)) + _element(5, struct.pack("<ii", 1, 1)) + _element(1, b"")
    sizes = [8 + level * (len(head) + 8) + len(head) for level in range(levels)]
    return b"".join(struct.pack("<II", 14, size) + head for size in reversed(sizes)) + _element(14, b"")


SOUND = {"Segmentation": _uint8((2, 3), bytes([0, 1, 1, 1, 0, 2])), "Categories": _uint8((2, 1), bytes([1, 20]))}


def test_the_builder_of_files_builds_sound_ones(tmp_path: Path) -> None:
    for packed in (True, False):
        path = tmp_path / "a.mat"
        path.write_bytes(_file(_struct(SOUND), packed=packed))
        np.testing.assert_array_equal(read_annotation(path).objects, [[0, 1, 0], [1, 1, 2]])
        np.testing.assert_array_equal(scipy.io.loadmat(path)["GTinst"][0, 0]["Segmentation"], [[0, 1, 0], [1, 1, 2]])


OUTLINES = {
    "cells nested deep": _nested(200_000),
    "four billion cells": _matrix(1, (65536, 65536), b""),
    "four billion letters in no bytes": _matrix(4, (65536, 65536), _element(16, b"")),
}
"""SciPy's reader crashes, asks for 32 GiB, takes 17 s and 4 GB."""


@pytest.mark.parametrize("outlines", OUTLINES.values(), ids=list(OUTLINES))
def test_outlines_are_passed_over_whatever_they_hold(tmp_path: Path, outlines: bytes) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(_file(_struct({"Boundaries": outlines, **SOUND})))
    assert read_annotation(path).categories == {1: "aeroplane", 2: "tvmonitor"}
    path.write_bytes(_file(_matrix(2, (1, 1), outlines, b"GTinst")))
    with pytest.raises(ValueError, match="not SBD's masks"):
        read_annotation(path)


BAD = {
    "empty": (b"", "no MATLAB 5 header"),
    "header alone": (_file(), "no variable GTinst"),
    "level 7.3": (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n", "no MATLAB 5 header"),
    "big-endian": (b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI", "no MATLAB 5 header"),
    "html": (b"<html>404</html>" * 20, "no MATLAB 5 header"),
    "another variable": (_file(_uint8((1, 1), b"a")), "no variable GTinst"),
    "GTinst is a number": (_file(_matrix(9, (1, 1), _element(2, b"\1"), b"GTinst")), "not SBD's masks"),
    "a struct that says it is a cell": (_file(_struct(SOUND, kind=1)), "not one struct"),
    "an array of structs": (_file(_struct({}, (1, 2))), "not one struct"),
    "four billion structs": (_file(_struct({}, (65536, 65536))), "not one struct"),
    "no Categories": (_file(_struct({"Segmentation": SOUND["Segmentation"]})), "Categories"),
    "no Segmentation": (_file(_struct({"Categories": SOUND["Categories"]})), "Segmentation"),
    "fewer values than names": (_file(_struct({**SOUND, "c": b""})), "not SBD's masks"),
    "more values than names": (_file(_struct({**SOUND, "Z": 2 * _uint8((1, 1), b"a")})), "not SBD's masks"),
    "names of no length": (_file(_struct(SOUND, step=0)), "not SBD's masks"),
    "names of negative length": (_file(_struct(SOUND, step=-32)), "not SBD's masks"),
    "more pixels than data": (_file(_struct({**SOUND, "Segmentation": _uint8((2, 4), b"\0" * 6)})), "reshape"),
    "a huge map": (_file(_struct({**SOUND, "Segmentation": _uint8((2**31 - 1, 2**31 - 1), b"\0")})), "not SBD's masks"),
    "a negative size": (_file(_struct({**SOUND, "Segmentation": _uint8((-1, 3), b"\0" * 6)})), r"shape \[-1, 3\]"),
    "no size": (_file(_struct({**SOUND, "Segmentation": _uint8((), b"\0")})), "not SBD's masks"),
    "three dimensions": (_file(_struct({**SOUND, "Segmentation": _uint8((1, 2, 3), b"\0" * 6)})), r"\(1, 2, 3\)"),
    "no pixels": (_file(_struct({**SOUND, "Segmentation": _uint8((0, 3), b"")})), r"of shape \(0, 3\)"),
    "text for numbers": (_file(_struct({**SOUND, "Segmentation": _uint8((2, 3), b"abcdef", 16)})), "16"),
    "negative numbers": (_file(_struct({**SOUND, "Segmentation": _uint8((1, 2), b"\0\xff", 1)})), "0 to 255"),
    "fractions": (_file(_struct({**SOUND, "Categories": _uint8((1, 1), struct.pack("<d", 1.5), 9)})), "0 to 255"),
    "nan": (_file(_struct({**SOUND, "Categories": _uint8((1, 1), struct.pack("<d", float("nan")), 9)})), "0 to 255"),
    "large numbers": (_file(_struct({**SOUND, "Segmentation": _uint8((1, 1), b"\0\1", 4)})), "0 to 255"),
    "an element longer than the file": (_file(struct.pack("<II", 14, 2**32 - 1)), "4294967295 bytes where 0 are left"),
    "packed nothing": (_file(b"", packed=True), "no variable GTinst"),
    "packed rubbish": (_file(struct.pack("<II", 15, 8) + b"rubbish!"), "not SBD's masks"),
    "a bomb": (_file(bytes(2**25), packed=True), "cut off or too large"),
    "a bomb in it": (
        _file(_struct({"Boundaries": _uint8((2**25, 1), bytes(2**25)), **SOUND}), packed=True),
        "too large",
    ),
    "too large": (_file(bytes(2**24)), "too large"),
    "packed in itself": (_file(_file(_struct(SOUND), packed=True)[128:], packed=True), "no variable GTinst"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=list(BAD))
def test_a_bad_file_fails_its_sample_alone(tmp_path: Path, content: bytes, message: str) -> None:
    root = _write(tmp_path, {"a": _segmentation(), "b": _segmentation()})
    (root / "inst" / "a.mat").write_bytes(content)
    sbd = Sbd(root)
    for ask in (sbd.load, sbd.list_instances):
        with pytest.raises(ValueError, match=rf"a\.mat: found {len(content)} bytes .*(?s:{message})"):
            ask("a")
        assert ask("b")
    assert len(listed(sbd, "a")) == 1 and sbd.fingerprint()["instances"] == 3


def test_a_missing_file_fails_its_sample_alone(tmp_path: Path) -> None:
    sbd = Sbd(_write(tmp_path, {"a": _segmentation()}, val="a\nb\n"))
    assert sbd.sample_ids() == ["a", "b"] and len(sbd.list_instances("a")) == 3
    with pytest.raises(FileNotFoundError, match=r"b\.(mat|jpg): no such file"):
        sbd.load("b")
    with pytest.raises(FileNotFoundError, match=r"b\.mat: no such file; wanted SBD's masks"):
        sbd.list_instances("b")


@pytest.mark.slow
def test_no_byte_changed_in_a_packed_file_changes_a_mask(tmp_path: Path) -> None:
    path = _mat(tmp_path / "a.mat")
    whole, wanted = path.read_bytes(), read_annotation(path)
    refused = 0
    for position in range(128, len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x11]) + whole[position + 1 :])
        try:
            found = read_annotation(path)
            np.testing.assert_array_equal(found.objects, wanted.objects)
            assert found.categories == wanted.categories
        except ValueError:
            refused += 1
    assert refused == len(whole) - 128


@settings(max_examples=50, derandomize=True)
@given(data=st.data())
def test_no_change_of_an_open_file_does_more_than_raise(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = bytearray(_file(_struct({"Boundaries": _nested(3), **SOUND})))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(124, len(whole) - 1))
        whole[position] = data.draw(st.sampled_from([0, 1, 2, 5, 14, 15, 127, 128, 255]))
    path = tmp_path_factory.mktemp("mat") / "a.mat"
    path.write_bytes(bytes(whole[: data.draw(st.sampled_from([len(whole), len(whole) - 3, 200]))]))
    try:
        annotation = read_annotation(path)
    except ValueError:
        return
    assert annotation.objects.ndim == 2 and annotation.objects.dtype == np.uint8
    assert {*annotation.categories, *annotation.broken} == set(annotation.objects.ravel().tolist()) - {0}


# Lists and the object itself


def test_lists_are_read_as_vocs_are(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a": _segmentation(), "Bild ü": _segmentation()}, val="\n Bild ü\r\n\na\n", twice="a\na\n")
    assert Sbd(root).sample_ids() == ["Bild ü", "a"] and len(Sbd(root).load("Bild ü").instances) == 3
    with pytest.raises(UserError, match=r"twice\.txt: found a twice"):
        Sbd(root, "twice").sample_ids()


def test_what_the_reader_can_mend_in_the_layout(tmp_path: Path) -> None:
    root = _write(tmp_path / "benchmark_RELEASE" / "dataset", {"a": _segmentation()}, train="a\n")
    for outer in (tmp_path, tmp_path / "benchmark_RELEASE"):
        with pytest.raises(UserError, match=r"no folder .*img\. Did you mean root=.*benchmark_RELEASE.dataset\?"):
            Sbd(outer)
    with pytest.raises(UserError, match=r"no folder .*img\. Download benchmark\.tgz.*HARNESS_DATA"):
        Sbd(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no file .*trainaug\.txt; there are the splits: train, val \(trainaug is a"):
        Sbd(root, "trainaug")
    with pytest.raises(UserError, match=r"datasets/sbd\.py: no category 'tv', which `seen` names"):
        Sbd(root, seen=["tv"])


def test_the_registry_builds_it_and_its_pictures_are_vocs(tmp_path: Path) -> None:
    root = _write(tmp_path, {"a": _segmentation()}, train="a\n")
    sbd = parameters.build(
        "datasets", "sbd", parameters.resolve("datasets", "sbd", {"root": str(root), "split": "train"})
    )
    assert isinstance(sbd, Sbd) and sbd.name == "sbd" and sbd.image_key("a") == "voc/a" and sbd.classes == CLASSES
    assert "sbd_masks" not in registry.names("datasets")
    facts = sbd.fingerprint()
    assert (facts["samples"], facts["instances"]) == (1, 3) and json.loads(json.dumps(facts)) == facts
    again = pickle.loads(pickle.dumps(sbd))
    assert again.list_instances("a") == sbd.list_instances("a") and len(pickle.dumps(sbd)) < 3_000


def test_a_moved_object_changes_the_fingerprint(tmp_path: Path) -> None:
    one, other = _segmentation(), np.roll(_segmentation(), 1, axis=1)
    facts = [Sbd(_write(tmp_path / name, {"a": masks})).fingerprint() for name, masks in (("a", one), ("b", other))]
    assert facts[0]["sha256"] != facts[1]["sha256"]


def test_a_picture_that_was_replaced_changes_the_fingerprint_and_a_copied_one_does_not(tmp_path: Path) -> None:
    def facts() -> dict[str, Any]:
        return dict(Sbd(tmp_path).fingerprint())

    _write(tmp_path, {"a": _segmentation()})
    before = facts()
    (picture, *_) = sorted(tmp_path.rglob("*.jpg"))
    os.utime(picture, ns=(1, 1))
    assert facts() == before
    picture.write_bytes(picture.read_bytes() + b"0")
    assert {key for key in before if facts()[key] != before[key]} == {"pictures"}
