"""PhraseClick: what its network makes of words and clicks, its learner, and the files and prompts that it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness.methods.learners.phraseclick import PhraseClickLearner, listed
from harness.methods.phraseclick.network import PADDING, UNKNOWN, PhraseClickNetwork, numbered
from harness.methods.phraseclick.phraseclick import PhraseClick
from safetensors.torch import save_file

import toy_phraseclick
from harness.plugins import files, parameters
from harness.structures import Click, Instance, Prompt, Said, Sample, UserError

pytestmark = pytest.mark.slow

CLICK = (Click(30, 9),)


@pytest.fixture(scope="module")
def method(tmp_path_factory: pytest.TempPathFactory) -> PhraseClick:
    return PhraseClick(toy_phraseclick.checkpoint(tmp_path_factory.mktemp("weights") / "phrase.safetensors"))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1)


def masks(method: PhraseClick, image: np.ndarray, *prompts: Prompt) -> list[np.ndarray]:
    return [one.masks[0] for one in method.segment([(method.encode([image])[0], prompts)])[0]]


def test_words_have_numbers() -> None:
    found = numbered('The RED, "car"!', toy_phraseclick.WORDS)
    assert found[:4] == [UNKNOWN, 4, 2, PADDING] and len(found) == 20
    assert set(numbered(None, toy_phraseclick.WORDS)) == {PADDING}
    assert numbered(" ".join(["car"] * 300), toy_phraseclick.WORDS) == [2] * 20


def test_a_click_a_phrase_and_both_are_answered(method: PhraseClick, image: np.ndarray) -> None:
    both, click, phrase = masks(method, image, Prompt(CLICK, "car"), Prompt(CLICK, None), Prompt((), "car"))
    assert (both ^ click).any() and (both ^ phrase).any() and (click ^ phrase).any()
    (alone,) = masks(method, image, Prompt((), "car"))
    np.testing.assert_array_equal(phrase, alone)


def test_a_long_phrase_is_cut_and_a_warning_says_so(method: PhraseClick, image: np.ndarray) -> None:
    (short,) = masks(method, image, Prompt(CLICK, " ".join(["car"] * 20)))
    with pytest.warns(UserWarning, match="PhraseClick reads the first 20 words"):
        (long,) = masks(method, image, Prompt(CLICK, " ".join(["car"] * 300)))
    np.testing.assert_array_equal(long, short)


def test_words_outside_the_vocabulary_are_one_word_and_counted(method: PhraseClick, image: np.ndarray) -> None:
    lion, tiger, car = masks(method, image, *(Prompt(CLICK, f"red {word}") for word in ("lion", "tiger", "car")))
    np.testing.assert_array_equal(lion, tiger)
    assert (lion ^ car).any()
    counted = map(method.unknown_words, ("red lion", "Red car!", "a", ""))
    assert list(counted) == [(1, 2), (0, 2), (1, 1), (0, 0)]


def test_the_lstm_reads_no_padding() -> None:
    network = PhraseClickNetwork(toy_phraseclick.small()).eval()
    words = torch.tensor([numbered("red car", toy_phraseclick.WORDS)])
    with torch.no_grad():
        torch.testing.assert_close(network.phrase(words), network.phrase(words[:, :2]))
        states, (last, _) = network.lstm(network.vectors(words[:, :2]))
        found = network.phrase(words)[0]
    torch.testing.assert_close(found, torch.cat([states[0, -1, :5], states[0, 0, 5:]]))
    assert last.shape == (2, 1, 5)


def test_without_a_phrase_the_bottleneck_stays_as_it_is() -> None:
    network = PhraseClickNetwork(toy_phraseclick.small()).eval()
    inputs = torch.randn(1, 4, 64, 64)
    with torch.no_grad():
        found, _ = network(inputs, torch.zeros(1, 20, dtype=torch.int64))
        torch.testing.assert_close(found, network.deeplab(inputs))


@pytest.mark.parametrize("text", [None, " ", "?!"])
def test_nothing_at_all_is_no_prompt(method: PhraseClick, image: np.ndarray, text: str | None) -> None:
    with pytest.raises(ValueError, match="phraseclick needs a click or a text; found neither"):
        masks(method, image, Prompt((), text))


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(UserError, match="no file at checkpoint=.*scenes_phraseclick.yaml"):
        PhraseClick(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="a.safetensors: found no architecture of PhraseClick"):
        PhraseClick(path)


def learner(**options: Any) -> PhraseClickLearner:
    torch.manual_seed(0)
    tiny: dict[str, Any] = {"encoder": "tu-regnetx_002", "decoder_channels": 8, "size": 64, "word_width": 6, "state": 5}
    return PhraseClickLearner(toy_phraseclick.WORDS, **(tiny | options))


def example(made: PhraseClickLearner, seed: int = 0, text: str | None = "red car") -> dict[str, np.ndarray]:
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    mask = np.zeros((32, 48), bool)
    mask[4:28, 10:40] = True
    instance = Instance("a", mask, "car", True)
    return made.example(Sample("1", image, (instance,)), instance, Said(text, (), ()), np.random.default_rng(seed))


def test_an_example_lacks_its_phrase_or_its_click_but_never_both() -> None:
    made = learner(without_phrase=0.5, without_click=0.5)
    found = [example(made, seed) for seed in range(40)]
    kinds = {(bool(one["words"].any()), bool(one["clicked"])) for one in found}
    assert kinds == {(True, True), (True, False), (False, True)}


def test_a_training_step_teaches_every_part_and_the_far_click_is_the_methods() -> None:
    made = learner()
    examples = [example(made, seed) for seed in (1, 2, 3)]
    batch = {name: torch.from_numpy(np.stack([one[name] for one in examples])) for name in examples[0]}
    batch["words"] = torch.tensor([numbered("red car", toy_phraseclick.WORDS)] * 3)
    batch["clicked"] = torch.tensor([True, False, True])
    inputs = made._inputs(batch)
    assert (inputs[1, 3] == 1).all() and (inputs[0, 3] < 1).any()
    made.loss(batch).backward()
    own = {name: one.grad for name, one in made.network.named_parameters() if not name.startswith("deeplab.encoder")}
    assert [name for name, gradient in own.items() if gradient is None or not gradient.any()] == []
    batch["words"][:] = PADDING
    assert torch.isfinite(made.loss(batch))


def test_the_unknown_word_is_zeros_until_a_training_has_one() -> None:
    made = learner(without_phrase=0.0)
    vectors = made.network.vectors.weight
    assert not vectors[UNKNOWN].any() and vectors[UNKNOWN + 1 :].any(dim=1).all()
    for text, taught in (("red car", False), ("red lion", True)):
        examples = [example(made, seed, text) for seed in (1, 2)]
        batch = {name: torch.from_numpy(np.stack([one[name] for one in examples])) for name in examples[0]}
        made.loss(batch).backward()
        assert vectors.grad is not None and bool(vectors.grad[UNKNOWN].any()) == taught


def test_it_trains_in_half_precision_on_a_cpu() -> None:
    made = learner(without_phrase=0.0)
    examples = [example(made, seed) for seed in (1, 2)]
    batch = {name: torch.from_numpy(np.stack([one[name] for one in examples])) for name in examples[0]}
    with torch.autocast("cpu", torch.bfloat16):
        loss = made.loss(batch)
    loss.backward()
    assert torch.isfinite(loss) and made.network.lstm.weight_ih_l0.grad.any()


SIDES = ["left car", "car on the Right", "rightmost car", "lefthand, car", "car lft", "r car"]
SIDES += ["far-right car", "upper-left car", "topleft car", "bottomright car", "2nd-r car", "toprt car"]


@pytest.mark.parametrize("text", SIDES)
def test_a_phrase_that_names_a_side_is_never_mirrored(text: str) -> None:
    made, straight = learner(), learner(flip=False)
    wanted = example(straight, text=text)["target"]
    assert all(np.array_equal(example(made, seed, text)["target"], wanted) for seed in range(12))
    mirrored = [not np.array_equal(example(made, seed, "bright shirt")["target"], wanted) for seed in range(12)]
    assert {*mirrored} == {True, False}


@pytest.mark.parametrize("word", ["Car", "dining table", "car,", ""])
def test_a_list_of_words_is_checked_as_a_file_is(word: str) -> None:
    with pytest.raises(UserError, match=f"phraseclick.py: words: found '{word}'; wanted single words, in lower case"):
        PhraseClickLearner(["red", word])


def test_an_instance_without_words_is_told() -> None:
    with pytest.raises(UserError, match="instance a of sample 1: found no words"):
        example(learner(), text=None)


def test_the_vocabulary_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("car\n\n t-shirt \ncar\n", encoding="utf-8")
    resolved = parameters.resolve("learners", "phraseclick", {"words": str(path)})
    assert files.files("learners", "phraseclick", resolved) == {"words": path}
    assert files.files("learners", "phraseclick", {"words": ["car"]}) == {}
    assert listed(path) == ("car", "t-shirt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "found no word"),
        (b"left car\n", "found 'left car'"),
        (b"Car\n", "found 'Car'"),
        (b"caf\xe9\n", "cannot be read"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_list_of_words(content: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"words={path}.*{said}.*docs/referring.md"):
        listed(path)
