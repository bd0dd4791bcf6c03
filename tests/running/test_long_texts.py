"""Texts beyond what a method reads: how many of a run there are, whether they fail or are cut, and the longest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
import yaml
from harness.datasets.scenes.scenes import CLASSES

from harness.config.run_config import RunConfig, load_run
from harness.plugins import parameters
from harness.plugins.interfaces import TextLimit
from harness.running.doctor import State, examined
from harness.running.long_texts import limits_of, texts_of, too_long
from toy_runs import STEADY

pytestmark = pytest.mark.slow  # The methods that read texts load torch.

CLIP = "methods/weights/scenes_clip.json"
MASKCLIP = {
    "name": "maskclip",
    "params": {"model": CLIP, "checkpoint": "methods/weights/scenes_clip.safetensors", "input": 128},
}
OURS = {"checkpoint": "methods/weights/scenes_text_click.safetensors", "saliency": MASKCLIP}


def config(folder: Path, method: dict[str, Any], **changed: Any) -> RunConfig:
    known = {"run": "r", "datasets": [{"name": "scenes", "params": {"count": 1}}], "methods": [method]}
    path = folder / "a.yaml"
    path.write_text(yaml.safe_dump(known | {"workers": {"executor": "local"}} | changed))
    return load_run(path)


def texts(found: RunConfig) -> list[str]:
    (entry,), (method,) = found.datasets, found.methods
    dataset = parameters.build("datasets", entry.name, entry.params)
    listed = {one: dataset.list_instances(one) for one in dataset.sample_ids()}
    return texts_of(found, method, entry, dataset, listed)


@pytest.mark.parametrize(
    ("kind", "name", "params", "said"),
    [
        ("methods", "text_click", OURS, [(24, "tokens", False)]),
        (
            "methods",
            "text_click",
            {"checkpoint": "a", "saliency": {"name": "gradcam", "params": {}}},
            [(77, "tokens", False)],
        ),
        ("saliency", "chefer", {}, [(77, "tokens", False)]),
        ("methods", "sam", {"checkpoint": "a"}, []),
        ("methods", "sam", {"checkpoint": "a", "rankings": ["confidence", "clip"]}, [(77, "tokens", False)]),
        (
            "methods",
            "sam",
            {"checkpoint": "a", "rankings": ["saliency"], "saliency": MASKCLIP},
            [(24, "tokens", False)],
        ),
        ("methods", "vlt", {"checkpoint": "a", "vectors": "b"}, [(15, "words", True)]),
        ("methods", "vlt", {"checkpoint": "a", "vectors": "b", "words": 20}, [(20, "words", True)]),
        ("methods", "lavt", {"checkpoint": "a", "vocab": "b"}, []),
        ("methods", "lavt", {"checkpoint": "a", "vocab": "README.md"}, []),  # damaged: loading it says so
        ("methods", "phraseclick", {"checkpoint": "a"}, [(20, "words", True)]),
        ("methods", "click_only", {"checkpoint": "a"}, []),
    ],
)
def test_a_method_says_how_much_it_reads_without_its_weights(
    kind: str, name: str, params: dict[str, Any], said: list[tuple[int, str, bool]]
) -> None:
    assert [(one.most, one.units, one.cut) for one in limits_of(kind, name, params)] == said


def test_tokens_are_counted_in_the_longest_template_and_words_as_vlt_parts_them() -> None:
    (clip,) = limits_of("methods", "sam", {"checkpoint": "a", "rankings": ["clip"], "clip_model": CLIP})
    # "a photo of a {}." takes 5 tokens and the marks 2 more of 24; each letter alone is one token.
    assert [clip.beyond(" ".join("abcdefghijklmnopqrstuvwxyz"[:count])) for count in (16, 17, 18, 26)] == [0, 0, 25, 33]
    # The letter has three bytes, but the tokeniser parts it first, and reads four tokens.
    (full,) = limits_of("methods", "sam", {"checkpoint": "a", "rankings": ["clip"], "clip_model": "RN50-quickgelu"})
    count = open_clip.SimpleTokenizer().encode
    for text, over in (("\N{DEVANAGARI LETTER KHHA}" * 18, True), ("1 " * 35, False), ("1 " * 71, True)):
        tokens = len(count(f"a photo of a {text}.")) + 2
        assert (tokens > 77, full.beyond(text)) == (over, tokens if over else 0)
    (vlt,) = limits_of("methods", "vlt", {"checkpoint": "a", "vectors": "b", "words": 3})
    assert [vlt.beyond(text) for text in ("the cup's, left", "the red-ish cup, left")] == [0, 4]
    (phrase,) = limits_of("methods", "phraseclick", {"checkpoint": "a"})
    assert [phrase.beyond(" ".join(["car, -"[:count]] * 20)) for count in (3, 4, 6)] == [0, 0, 40]


def test_word_pieces_are_counted_where_the_vocabulary_is(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cup"]) + "\n")
    (bert,) = limits_of("methods", "lavt", {"checkpoint": "a", "vocab": str(vocab)})
    assert bert.cut and [bert.beyond(" ".join(["cup"] * count)) for count in (18, 19)] == [0, 21]


def test_the_texts_are_those_that_the_rule_says_in_the_template(tmp_path: Path) -> None:
    said = texts(config(tmp_path, STEADY, text={"rule": "given", "template": "the {} there"}))
    assert said and len(said) == len({*said}) and all(one.startswith("the ") and one.endswith(" there") for one in said)
    assert texts(config(tmp_path, STEADY, text="none")) == []
    assert texts(config(tmp_path, STEADY, text="hypernym"))  # Names without one are left to their rows.
    assert texts(config(tmp_path, STEADY, text="wrong_absent"))


def test_how_many_are_too_long_is_said_with_the_longest() -> None:
    limit = TextLimit(3, "words", "VLT", lambda text: count if (count := len(text.split())) > 3 else 0, cut=True)
    assert too_long(["a b c", "d"], limit) == ""
    assert too_long(["a b c d", "e " * 200, "f"], limit) == (
        "2 of 3 texts have more than the 3 words that VLT reads; longer texts are cut, as by its authors. The longest "
        f"has 200: '{('e ' * 200)[:120]}...'"
    )


def test_doctor_says_it_of_each_method_and_data_set(tmp_path: Path) -> None:
    method = {"name": "text_click", "label": "ours", "params": OURS}
    found = config(tmp_path, method, text={"rule": "given", "template": "the {} " + "over there " * 20})
    (wrong,) = [one.text for one in examined(found) if one.state is State.WRONG]
    count = len(texts(found))
    assert wrong.startswith(
        f"on scenes, {count} of {count} texts have more than the 24 tokens that the CLIP {CLIP} reads;"
    )
    assert "longer texts will be failed rows. The longest has " in wrong and "over there" in wrong
    assert not [one for one in examined(config(tmp_path, method)) if one.state is State.WRONG]


def test_doctor_says_where_the_rule_has_no_words_whatever_the_method_reads(tmp_path: Path) -> None:
    words = tmp_path / "words.csv"
    words.write_text("name,said,synonym,hypernym\n" + "".join(f"{one},,thing,\n" for one in CLASSES if one != "cup"))
    scenes = parameters.build("datasets", "scenes", {"count": 20})
    named = [one.category for sample_id in scenes.sample_ids() for one in scenes.list_instances(sample_id)]
    cups = named.count("cup")
    assert 0 < cups / len(named) < 0.2
    asked = {"datasets": [{"name": "scenes", "params": {"count": 20}}]}
    told = {}
    for limit in (0, 0.2):
        text = {"rule": "synonym", "words": str(words)}
        found = config(tmp_path, STEADY, text=text, max_failures=limit, **asked)
        (told[limit],) = [one for one in examined(found) if "failed rows" in one.text]
    share = f"{cups} of {len(named)} instances of scenes will be failed rows"
    assert told[0].state is State.WRONG
    assert told[0].text.startswith(f"{share}; max_failures=0 would stop the run. The first: no synonym for 'cup'")
    assert told[0.2].state is State.NOTE and told[0.2].text.startswith(f"{share}. The first: no synonym for 'cup'")
