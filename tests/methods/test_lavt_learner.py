"""LAVT's learner: it shows its network what the method shows it, it learns, and its checkpoint is all one needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness.methods.lavt.lavt import Lavt
from harness.methods.lavt.word_pieces import LENGTH, WordPieces, spelling
from harness.methods.learners.lavt import LavtLearner
from safetensors.torch import save_file

import toy_lavt
from harness.structures import Instance, Said, Sample, UserError

pytest.importorskip("tokenizers", reason="LAVT's word pieces need it: pip install tokenizers")
pytestmark = pytest.mark.slow

WORDS = ["car", "tree", "left", "right"]


def learner() -> LavtLearner:
    torch.manual_seed(0)
    return LavtLearner(WORDS, 4, (1, 1, 1, 1), (1, 1, 2, 2), 2, 1, 64, size=64)


def sample() -> Sample:
    """A bright square at the left and a dark one at the right, both cars."""
    image = np.full((48, 80, 3), 90, np.uint8)
    masks = np.zeros((2, 48, 80), bool)
    masks[0, 10:34, 6:34], masks[1, 10:34, 46:74] = True, True
    image[masks[0]], image[masks[1]] = (220, 60, 40), (20, 30, 160)
    return Sample("1", image, tuple(Instance(str(n), mask, "car", True, 2) for n, mask in enumerate(masks)))


def batch(made: LavtLearner, *asked: tuple[int, str]) -> dict[str, torch.Tensor]:
    scene = sample()
    found = [
        made.example(scene, scene.instances[number], Said(text, (), ()), np.random.default_rng(0))
        for number, text in asked
    ]
    return {name: torch.from_numpy(np.stack([one[name] for one in found])) for name in found[0]}


def saved(made: LavtLearner, folder: Path, about: dict[str, str] | None = None) -> Path:
    path = folder / "lavt.safetensors"
    save_file(dict(made.network.state_dict()), path, made.metadata() if about is None else about)
    return path


def test_it_learns_which_of_two_is_meant_and_the_method_answers_as_the_learner_saw(tmp_path: Path) -> None:
    made = learner()
    examples = batch(made, (0, "left car"), (1, "right car"))
    optimiser = torch.optim.AdamW(made.parameter_groups(0.0), lr=3e-3)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        losses.append(made.loss(examples))
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.3 * losses[0]
    without = [name for name, one in made.network.named_parameters() if one.grad is None]
    # The padding's segment, and what the last stage would hand to a fifth, reach no logit.
    assert without == ["network.fusions.3.gate.0.weight", "network.fusions.3.gate.2.weight"]

    method, scene = Lavt(saved(made, tmp_path), device="cpu"), sample()
    for instance, text in zip(scene.instances, ("left car", "right car"), strict=True):
        mask = method.predict(scene.image, (), text).masks[0]
        assert (mask & instance.mask).sum() / (mask | instance.mask).sum() > 0.7
    made.network.eval()
    shown = batch(made, (0, "left car"))
    (image,), (reading,) = method.encode([scene.image]), method.read(["left car"])
    with torch.no_grad():
        words = made.network.bert(shown["ids"], shown["known"])
        expected = made.network.network.finish(made.network.network.begin(shown["pixels"]), words, shown["known"])
        torch.testing.assert_close(method.logits([image], [reading]), expected)


def test_the_loss_is_the_papers_weighted_cross_entropy() -> None:
    made = learner()
    examples = batch(made, (0, "left car"), (1, "right car"))
    network = made.network.network
    with torch.no_grad():
        words = made.network.bert(examples["ids"], examples["known"])
        logits = network.finish(network.begin(examples["pixels"]), words, examples["known"])
        each = -logits.log_softmax(1).gather(1, examples["target"][:, None])[:, 0]
        weights = torch.where(examples["target"] == 1, 1.1, 0.9)
        torch.testing.assert_close(made.loss(examples), (weights * each).sum() / weights.sum())


def test_other_words_are_spelled() -> None:
    pieces = WordPieces(spelling(WORDS), "here")
    vocabulary = spelling(WORDS)
    ids, known = pieces(["left boat"])
    assert [vocabulary[number] for number in ids[0][: int(known[0].sum())]] == [
        *("[CLS]", "left", "b", "##o", "##a", "##t", "[SEP]")
    ]
    assert ids.shape == (1, LENGTH) and len(set(vocabulary)) == len(vocabulary)


def test_doctor_counts_by_the_words_of_the_checkpoint(tmp_path: Path) -> None:
    (limit,) = Lavt.text_limits({"vocab": None, "checkpoint": str(saved(learner(), tmp_path))})
    # A word that it does not know is spelled: each letter is a piece, and the marks are two more.
    assert limit.cut and [limit.beyond("q" * count) for count in (18, 19)] == [0, 21]
    assert Lavt.text_limits({"vocab": None, "checkpoint": str(tmp_path / "later.safetensors")}) == ()


def bad(folder: Path, kind: str) -> dict[str, Any]:
    if kind == "own words and a file":
        return {"checkpoint": saved(learner(), folder), "vocab": toy_lavt.vocabulary(folder / "vocab.txt")}
    if kind == "no vocabulary":
        return {"checkpoint": toy_lavt.checkpoint(folder / "lavt.pth")}
    if kind == "nothing about it":
        return {"checkpoint": saved(learner(), folder, {})}
    if kind == "another network":
        other = LavtLearner(WORDS, 8, (1, 1, 1, 1), (1, 1, 2, 2), 2, 1, 64, size=64)
        return {"checkpoint": saved(learner(), folder, other.metadata())}
    return {"checkpoint": folder / "none.safetensors"}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("own words and a file", "which holds its own words"),
        ("no vocabulary", "found no `vocab` for .*weights fetch bert_base_uncased_vocab"),
        ("nothing about it", "found no sizes and words of LAVT"),
        ("another network", "features.0.0.weight"),
        ("no file", "none.safetensors"),
    ],
)
def test_what_it_cannot_read_is_told(tmp_path: Path, kind: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Lavt(**bad(tmp_path, kind), device="cpu")


@pytest.mark.parametrize("word", ["Car", "left car", "t-shirt", "café", ""])
def test_words_that_are_never_read_are_told(word: str) -> None:
    with pytest.raises(UserError, match=f"lavt.py: words: found '{word}'; wanted single words, in lower case"):
        LavtLearner(["left", word], 4, (1, 1, 1, 1), (1, 1, 2, 2), 2, 1, 64, size=64)


@pytest.mark.parametrize("text", [None, " "])
def test_an_instance_without_words_is_told(text: str | None) -> None:
    scene = sample()
    with pytest.raises(UserError, match="instance 0 of sample 1: found no words"):
        learner().example(scene, scene.instances[0], Said(text, (), ()), np.random.default_rng(0))


def test_a_batch_of_one_is_refused_only_where_norms_need_more() -> None:
    made = learner()
    one = batch(made, (0, "left car"))
    with pytest.raises(UserError, match=r"lavt.py: found batches of 1; wanted 2 or more"):
        made.loss(one)
    made.network.eval()  # As in a validation whose last part is one example.
    assert torch.isfinite(made.loss(one))
