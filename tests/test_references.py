"""The references are those of today's code: every key, every public name, and words that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import harness
from docs import references
from harness.config.parts import Model
from harness.config.recipe import Recipe
from harness.config.run_config import RunConfig, load_run

DOCS = Path(references.DOCS)


@pytest.mark.parametrize("page", references.PAGES)
def test_a_page_is_what_the_code_writes(page: str) -> None:
    assert (DOCS / page).read_text("utf-8") == references.PAGES[page](), "Call: make references"


def test_every_model_of_a_config_has_a_section() -> None:
    there = {model for _, model, _ in references.MODELS}
    own = {one for one in _below(Model) if one.__module__.startswith("harness.config")}
    assert {one for one in own if one.__name__ != "KnownRecipe"} == there


def _below(model: type[Model]) -> list[type[Model]]:
    return [found for one in model.__subclasses__() for found in (one, *_below(one))]


@pytest.mark.parametrize(("title", "model", "example"), references.MODELS, ids=[one[0] for one in references.MODELS])
def test_an_example_is_one_that_the_model_takes(title: str, model: type[Model], example: str) -> None:
    given = yaml.safe_load(example)
    made = model.model_validate(given)
    assert set(given) == made.model_fields_set


@pytest.mark.slow
def test_the_example_of_a_run_is_a_whole_config(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(references.MODELS[0][2])
    assert load_run(tmp_path / "a.yaml").run == "mine"


def test_a_key_has_its_type_its_default_and_a_line() -> None:
    keys = references.keys(RunConfig)
    assert keys["max_failures"][:2] == ("number, from 0, to 1", "`0.05`")
    assert keys["methods"][0] == "list of [a method](#a-method), at least 1 of them" and keys["run"][1] == "needed"
    assert keys["loggers"][0] == "list of [a logger](#a-plugin)" and "[a data set](#a-plugin)" in keys["datasets"][0]
    assert references.keys(Recipe)["learner"][0] == "[a learner](#a-plugin)"
    assert keys["limit"][:2] == ("whole number, above 0 or null", "`null`") and all(text for *_, text in keys.values())


def test_every_public_name_has_a_section_with_what_its_docstring_lists() -> None:
    page = (DOCS / "api.md").read_text("utf-8")
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^### |^## |\Z)", page, re.DOTALL | re.MULTILINE))
    assert set(sections) == set(harness.__all__)
    assert (
        "    limit: int | None = None,\n" in sections["evaluate"]
        and "\n- `limit`: The most images" in sections["evaluate"]
    )
    assert sections["evaluate"].count("\n    *,\n") == 1
    assert "encode(images: Sequence[Image]) -> list[Any]" in sections["Method"]
    assert "    positive: bool = True,\n" in sections["Click"]


def test_the_glossary_has_the_words_and_says_where_they_are_made() -> None:
    page = (DOCS / "glossary.md").read_text("utf-8")
    rows = re.findall(r"^\| (\*\*.*?) \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    words = {word for names, _, _ in rows for word in re.findall(r"\*\*(.*?)\*\*", names)}
    assert {"mIoU@k", "w", "seen", "unseen", "oracle", "ranking", "variant", "under the click"} <= words
    for names, _, where in rows:
        assert re.fullmatch(r"`(\S+)`|\[.*\]\((\S+)\)", where), names
        for page_name, anchor in re.findall(r"\((\w+\.md)#([\w-]+)\)", where):
            headings = re.findall(r"^#+ (.*)$", (DOCS / page_name).read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}, names
