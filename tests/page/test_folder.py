"""A page's folder: the earlier page goes, the user's files stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.page.folder import LIST, replaced
from harness.structures import UserError


def built(out: Path, **files: str) -> None:
    with replaced(out) as folder:
        for name, text in files.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)


def names(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*")}


def test_a_new_page_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    built(tmp_path / "page", report="1", data__0="a", data__1="b", masks__0="m")
    built(tmp_path / "page", report="2", data__0="c")
    assert names(tmp_path / "page") == {"report", "data", "data/0", LIST}
    assert (tmp_path / "page" / "report").read_text() == "2"


@pytest.mark.parametrize("page", ["report.html", LIST])
def test_a_folder_of_other_files_is_refused_and_left_alone(tmp_path: Path, page: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "years of work").write_text("mine")
    (tmp_path / page).write_text("anybody's")
    before = names(tmp_path)
    with pytest.raises(UserError, match="found files, but no page_files.txt"):
        built(tmp_path, report="1")
    assert names(tmp_path) == before


def test_the_users_files_beside_a_page_stay(tmp_path: Path) -> None:
    built(tmp_path, report="1", data__0="a")
    (tmp_path / "data" / "years of work").write_text("mine")
    (tmp_path / "figures").mkdir()
    built(tmp_path, report="2")
    assert names(tmp_path) == {"report", "data", "data/years of work", "figures", LIST}
    with pytest.raises(UserError, match="found a file that is not of the earlier page"):
        built(tmp_path, report="3", figures="a page's")
    assert (tmp_path / "report").read_text() == "2"


def test_an_interrupted_building_leaves_the_earlier_page(tmp_path: Path) -> None:
    built(tmp_path, report="1")
    with pytest.raises(KeyboardInterrupt), replaced(tmp_path) as folder:
        (folder / "report").write_text("2")
        raise KeyboardInterrupt
    assert (tmp_path / "report").read_text() == "1"
    built(tmp_path, report="3")
    assert names(tmp_path) == {"report", LIST} and (tmp_path / "report").read_text() == "3"


def test_a_list_that_names_files_elsewhere_removes_nothing_there(tmp_path: Path) -> None:
    page, other = tmp_path / "page", tmp_path / "other"
    built(page, report="1")
    other.mkdir()
    (other / "thesis.tex").write_text("mine")
    (page / "link").symlink_to(other)
    with (page / LIST).open("a") as file:
        file.write(f"../other/thesis.tex\nlink/thesis.tex\n{other}/thesis.tex\n\n")
    built(page, report="2")
    assert (other / "thesis.tex").read_text() == "mine" and (page / "link").is_symlink()


def test_a_page_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="file/page: cannot be written"):
        built(tmp_path / "file" / "page", report="1")
