"""A snapshot is loaded from this disk alone, and what is wrong with it is said in one message."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.methods.shared import snapshots
from safetensors.torch import load_file, save_file

import toy_snapshots
from harness.config.method_entry import MethodEntry
from harness.jobs.requirements import check_weights
from harness.jobs.sameness import same_weights
from harness.plugins import files
from harness.structures import UserError

WHERE = "methods/here.py"


def refused(said: str, folder: Path, kinds: tuple[str, ...] = ("clipseg",)) -> None:
    with pytest.raises(UserError, match=said):
        snapshots.check_snapshot(folder, kinds, WHERE)


def test_a_folder_that_is_no_snapshot_is_refused_before_anything_is_imported(tmp_path: Path) -> None:
    refused(
        r"methods/here\.py: found no .*/no/config\.json; wanted a snapshot of the hub.*hf download OWNER/NAME",
        tmp_path / "no",
    )
    refused(r"hf download CIDAS/clipseg-rd64-refined --local-dir", tmp_path / "clipseg-rd64-refined")
    for content, found in (('{"model_type": "sam3_video"}', "sam3_video"), ("[1]", "no model"), ("\xff{", "no model")):
        (tmp_path / "config.json").write_text(content, "latin-1")
        refused(f"found a snapshot of {found}; wanted one of clipseg or clip", tmp_path, ("clipseg", "clip"))
    (tmp_path / "config.json").write_text('{"model_type": "clipseg"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    refused(r"found no weights as \.safetensors.*Pickled weights \(\.bin\) are not loaded", tmp_path)


def test_a_missing_package_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"methods/here\.py: found no package transformers .*'\.\[transformers\]'"):
        snapshots.package(WHERE)


def test_a_snapshot_that_is_not_there_ends_a_run_before_it_begins(tmp_path: Path) -> None:
    entry = MethodEntry(
        name="text_click",
        params={
            "checkpoint": str(Path(__file__)),
            "saliency": {"name": "clipseg", "params": {"snapshot": str(tmp_path / "no")}},
        },
    )
    with pytest.raises(UserError, match=r"method 'text_click': no folder at saliency\.snapshot=.*/no\."):
        check_weights([entry])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_snapshots.clipseg(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "snapshot"))


def network(folder: Path) -> Any:
    return snapshots.load_network("CLIPSegForImageSegmentation", folder, WHERE)


@pytest.mark.slow
def test_nothing_is_asked_of_the_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was wanted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    loaded = network(folder)
    assert not loaded.training and not any(one.requires_grad for one in loaded.parameters())
    assert processor(folder).tokenizer("car")["input_ids"] == [0, 4, 2, 45, 1]


def processor(folder: Path, words: int = toy_snapshots.CLIP_WORDS) -> Any:
    return snapshots.load_processor("CLIPSegProcessor", folder, WHERE, words)


@pytest.mark.slow
def test_a_processor_with_another_vocabulary_or_none_is_refused(folder: Path) -> None:
    for words in (40, 400):
        with pytest.raises(
            UserError, match=f"found a vocabulary of 54 pieces; wanted the network's, of {words}, in tok"
        ):
            processor(folder, words)
    (folder / "tokenizer.json").unlink()  # The package then knows no word, and says nothing.
    with pytest.raises(UserError, match="found a vocabulary of 0 pieces; wanted the network's, of 54"):
        processor(folder)
    (folder / "processor_config.json").unlink()
    with pytest.raises(UserError, match="CLIPSegProcessor cannot be loaded from this snapshot"):
        processor(folder)


def fewer(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["decoder.film_mul.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def wider(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"reduce_dim": 12}))


def cut(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (fewer, r"the snapshot lacks 1 tensors \(decoder\.film_mul\.weight"),
        (wider, r"the snapshot has other shapes of \d+ tensors \(decoder\."),
        (cut, r"CLIPSegForImageSegmentation cannot be loaded from this snapshot \(SafetensorError"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder: Path, harm: Callable[[Path], None], said: str) -> None:
    harm(folder)
    with pytest.raises(UserError, match=said):
        network(folder)


@pytest.mark.slow
def test_a_worker_notices_other_weights_in_the_folder(folder: Path) -> None:
    params = {"checkpoint": str(Path(__file__)), "saliency": {"name": "clipseg", "params": {"snapshot": str(folder)}}}
    entry = MethodEntry(name="text_click", params=params)
    planned = files.hashes("methods", "text_click", params)
    with same_weights(entry, planned):
        pass
    wider(folder)
    with (
        pytest.raises(UserError, match=r"saliency\.snapshot/config\.json=.*/config\.json has changed since the run"),
        same_weights(entry, planned),
    ):
        pass


def test_a_damaged_vocabulary_sets_no_limit(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="it counts the pieces")
    (tmp_path / "tokenizer.json").write_text("{")
    assert snapshots.snapshot_text_limit(tmp_path, 20, "SAM 3") == []
