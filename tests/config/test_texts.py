"""What a prompt's words are, rule by rule, and how a run asks for them."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness import Instance, UserError
from harness.config.texts import WORDS, Asked, Words, read_words
from harness.plugins import find, names

VOCABULARY = ("dog", "tvmonitor", "person", "cup")
MASK = np.ones((2, 3), bool)
WORDS_OF = Words({"tvmonitor": {"said": "tv monitor", "synonym": "television", "hypernym": "device"}})


def asked(category: str = "tvmonitor", present: tuple[str, ...] = ("tvmonitor", "dog"), text: str = "") -> Asked:
    instance = Instance("1", MASK, category, text=text)
    return Asked(instance, frozenset(present), VOCABULARY, WORDS_OF, lambda: np.random.default_rng(0))


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("class_name", "tv monitor"),
        ("given", "the left screen"),
        ("none", None),
        ("synonym", "television"),
        ("hypernym", "device"),
        ("wrong_present", "dog"),
    ],
)
def test_a_rule_says(rule: str, text: str | None) -> None:
    assert find("texts", rule)(asked(text="the left screen")) == text


def test_a_word_that_two_classes_share_is_wrong_for_neither() -> None:
    one = replace(asked("dog", ("dog", "puppy", "cup")), vocabulary=("dog", "puppy", "Dog_", "cup"))
    words = Words({"puppy": {"said": "dog"}, "Dog_": {"said": "dog"}})
    one = replace(one, words=words, rng=lambda: np.random.default_rng())
    assert {find("texts", "wrong_present")(one) for _ in range(20)} == {"cup"}
    with pytest.raises(ValueError, match="no other class to name"):
        find("texts", "wrong_absent")(replace(one, present=frozenset({"dog", "cup"})))
    beside = replace(one, instance=Instance("2", MASK, "cup"), present=frozenset({"cup", "puppy"}))
    with pytest.raises(ValueError, match="no other class to name"):  # A dog is there, as "puppy".
        find("texts", "wrong_absent")(beside)


def test_without_words_of_its_own_an_object_has_its_class_name() -> None:
    assert find("texts", "given")(asked()) == "tv monitor"


def test_the_best_fit_around_the_click_is_said_and_of_equal_ones_the_first() -> None:
    at = replace(asked("dog"), fits=(0.1, 0.3, 0.2, 0.3))
    assert find("texts", "auto/v1")(at) == "tv monitor"
    with pytest.raises(ValueError, match="names no classes"):
        find("texts", "auto/v1")(replace(at, vocabulary=(), fits=()))


def test_without_a_class_there_is_no_text() -> None:
    assert find("texts", "given")(asked(category="")) is None


@pytest.mark.slow
def test_wrong_classes_are_drawn_evenly_and_never_the_right_one() -> None:
    rng = np.random.default_rng(1)
    at = Asked(Instance("1", MASK, "dog"), frozenset({"dog"}), VOCABULARY, WORDS_OF, lambda: rng)
    drawn = Counter(find("texts", "wrong_absent")(at) for _ in range(3000))
    assert set(drawn) == {"tv monitor", "person", "cup"}
    assert all(abs(count - 1000) < 120 for count in drawn.values())  # 4 standard deviations


@pytest.mark.parametrize("rule", ["synonym", "hypernym"])
def test_a_class_that_the_words_file_lacks_fails(rule: str) -> None:
    with pytest.raises(ValueError, match=f"no {rule} for 'dog'"):
        find("texts", rule)(asked(category="dog"))


def test_alone_in_its_image_nothing_wrong_is_present() -> None:
    with pytest.raises(ValueError, match="no other class"):
        find("texts", "wrong_present")(asked(present=("tvmonitor",)))


def test_the_shipped_words_cover_coco_voc_and_scenes() -> None:
    from harness.datasets.scenes.scenes import CLASSES

    splits = Path(__file__).resolve().parents[2] / "harness" / "plugins" / "splits"
    lists = [(splits / f"{name}.txt").read_text("utf-8").splitlines() for name in ("coco_20", "voc_15")]
    voc_unseen = ["pottedplant", "sheep", "sofa", "train", "tvmonitor"]
    names = [*CLASSES, *voc_unseen, *(line for lines in lists for line in lines if not line.startswith("#"))]
    words = read_words(WORDS)
    for name in names:
        own = {name, words.said(name)}
        assert words.other(name, "synonym") not in own
        assert words.other(name, "hypernym") not in own
    assert len(words.rows) >= 98


def test_the_names_that_voc_prints_as_one_word_are_said_as_in_the_papers_code() -> None:
    words = read_words(WORDS)
    said = {name: words.said(name) for name in words.rows if words.said(name) != name}
    assert said == {
        "diningtable": "dining table",
        "motorbike": "motorcycle",
        "pottedplant": "potted plant",
        "tvmonitor": "tv monitor",
    }


def test_underscores_are_not_said_unless_names_are_taken_as_they_are_written() -> None:
    words = read_words(WORDS)
    names = ("aerosol_can", "bow_(weapon)", "_background_", "_", "")
    assert [words.said(name) for name in names] == ["aerosol can", "bow (weapon)", "background", "_", ""]
    assert [Words({}, written=True).said(name) for name in names] == [*names]
    assert Words({"hot_dog": {"said": "hot_dog"}}).said("hot_dog") == "hot_dog"


def test_a_name_stands_once_in_the_shipped_words() -> None:
    with WORDS.open(encoding="utf-8", newline="") as file:
        counts = Counter(row["name"] for row in csv.DictReader(file))
    assert max(counts.values()) == 1


@pytest.mark.parametrize("content", [b"", b"name,synonym\ncup,mug\n", b"\xff\xfe\x00name"])
def test_a_file_of_other_columns_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"words\.csv.*wanted"):
        read_words(path)


def test_a_file_that_a_spreadsheet_wrote(tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text(
        'name,said,synonym,hypernym\r\ncup, ,"mug, beaker",vessel\r\n\r\n,,,\r\n,,,\r\n', encoding="utf-8-sig"
    )
    words = read_words(path)
    assert (words.said("cup"), words.other("cup", "synonym")) == ("cup", "mug, beaker")


def test_a_file_that_is_edited_or_gone_during_a_run_is_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text("name,said,synonym,hypernym\ncup,,mug,vessel\n")
    assert read_words(path).other("cup", "synonym") == "mug"
    path.write_text("name,said,synonym,hypernym\ncup,,beaker,vessel\n")
    assert read_words(path).other("cup", "synonym") == "mug"
    path.unlink()
    assert read_words(path).other("cup", "synonym") == "mug"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("cup,,mug, beaker,vessel", "line 3: found 5 cells; wanted 4.*in quotes"),
        ("cup,,mug", "line 3: found 3 cells"),
        ("dog,,hound,animal", "line 3: found a second row of 'dog'"),
        ('cup,,"mug"s,vessel', "cannot be read"),
    ],
)
def test_a_row_that_could_be_meant_in_two_ways_is_refused(row: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text(f"name,said,synonym,hypernym\ndog,,puppy,animal\n{row}\n")
    with pytest.raises(UserError, match=reason):
        read_words(path)


def test_the_page_lists_every_rule() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "words.md").read_text("utf-8")
    assert [name for name in names("texts") if f"| `{name}`" in page or f", `{name}` |" in page] == names("texts")
