"""Vectors of texts: computed once, kept on disk, read by other processes."""

from __future__ import annotations

import logging
import re
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

import pytest
import torch
from harness.methods.shared import clip_texts
from harness.methods.shared.clip_texts import TextVectors, tower_hash
from harness.methods.shared.open_clip_model import ClipModel, load_clip

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_index")]

TEMPLATES = ("a {}.", "one {}", "{} there")
NAMES = [f"thing {letter}" for letter in "abcdefghi"]


@pytest.fixture(scope="module")
def clip() -> ClipModel:
    torch.manual_seed(0)
    return load_clip("methods/weights/scenes_clip.json", allow_random=True, device="cpu")


def counting(vectors: TextVectors, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that go through its text tower from now on."""
    computed: list[str] = []
    mean_of = vectors.sentences.mean_of
    monkeypatch.setattr(vectors.sentences, "mean_of", lambda name: computed.append(name) or mean_of(name))
    return computed


def test_a_second_process_reads_what_the_first_computed(clip: ClipModel, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = TextVectors(clip, TEMPLATES), TextVectors(clip, TEMPLATES)
    computed = counting(first, monkeypatch), counting(second, monkeypatch)
    found = first.of([*NAMES, NAMES[0]])
    assert torch.equal(second.of([*NAMES, NAMES[0]]), found) and torch.equal(first.of(NAMES), found[:-1])
    assert computed == (NAMES, [])


def test_names_are_announced_where_they_are_not_kept_yet(clip: ClipModel) -> None:
    first, again = TextVectors(clip, TEMPLATES), TextVectors(clip, TEMPLATES)
    assert first.work_of(NAMES) == "embedding 9 names x 3 templates"
    first.of(NAMES)
    assert first.work_of(NAMES) == again.work_of(NAMES) == ""
    assert set(again.known) == set(NAMES)


def test_one_of_several_computes_and_the_others_wait(clip: ClipModel, monkeypatch: pytest.MonkeyPatch) -> None:
    each = [TextVectors(clip, TEMPLATES) for _ in range(3)]
    computed = [counting(one, monkeypatch) for one in each]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda one: one.of(NAMES), each))
    assert sorted(map(len, computed)) == [0, 0, len(NAMES)]
    assert all(torch.equal(one, found[0]) for one in found)


def test_who_comes_while_another_computes_the_last_names_waits(
    clip: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, late = TextVectors(clip, TEMPLATES), TextVectors(clip, TEMPLATES)
    mean_of, at_the_last, go_on = first.sentences.mean_of, Event(), Event()

    def slow(name: str) -> torch.Tensor:
        if name == NAMES[-1]:
            at_the_last.set()
            go_on.wait(30)
        return mean_of(name)

    monkeypatch.setattr(first.sentences, "mean_of", slow)
    computed = counting(late, monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        own = pool.submit(first.of, NAMES)
        assert at_the_last.wait(30)
        other = pool.submit(late.of, NAMES)
        assert not wait([other], timeout=1.0).done
        go_on.set()
        assert torch.equal(own.result(), other.result()) and computed == []


def test_other_weights_or_sentences_have_other_files(clip: ClipModel) -> None:
    torch.manual_seed(1)
    other = load_clip("methods/weights/scenes_clip.json", allow_random=True, device="cpu")
    hashes = {tower_hash(clip, TEMPLATES), tower_hash(clip, TEMPLATES[:2]), tower_hash(other, TEMPLATES)}
    assert len(hashes) == 3
    with torch.no_grad():
        other.module.load_state_dict(clip.module.state_dict())
        assert tower_hash(other, TEMPLATES) == tower_hash(clip, TEMPLATES)
        other.module.visual.conv1.weight.add_(1)  # the image tower does not matter
        assert tower_hash(other, TEMPLATES) == tower_hash(clip, TEMPLATES)
        other.module.transformer.resblocks[1].attn.num_heads *= 2
        assert tower_hash(other, TEMPLATES) != tower_hash(clip, TEMPLATES)


def test_what_takes_long_is_said_once_its_second_name_is_there(
    clip: ClipModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    TextVectors(clip, TEMPLATES).of(NAMES[:1])
    assert caplog.messages == []
    monkeypatch.setattr(clip_texts, "SAID_ABOVE_S", 0.0)
    with caplog.at_level(logging.WARNING):
        TextVectors(clip, TEMPLATES).of(NAMES)
    (said,) = caplog.messages
    assert re.match(r"embedding 8 names x 3 templates: about \d+ s, once; they are kept in /", said)


def test_one_sentence_a_text_touches_no_disk(clip: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_INDEX", str(tmp_path / "index"))
    vectors = TextVectors(clip, ("a {}.",))
    assert vectors.of(NAMES).shape[0] == len(NAMES) and vectors.work_of(["other"]) == ""
    assert not (tmp_path / "index").exists()
