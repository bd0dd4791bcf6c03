"""LAVT against the official code's answers, and the files and texts that it refuses."""

from __future__ import annotations

import builtins
import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import torch.nn.functional as F
import torchvision
from harness.methods.lavt import network as lavt_network
from harness.methods.lavt.checkpoint import load_lavt
from harness.methods.lavt.lavt import Lavt, squashed
from harness.methods.lavt.word_pieces import BERT_BASE_UNCASED, WordPieces, word_piece_limit
from torch import nn

import real_data
import toy_lavt
from harness.plugins import parameters
from harness.structures import Click, Prompt, UserError

pytest.importorskip("tokenizers", reason="LAVT's word pieces need it: pip install tokenizers")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*not the vocabulary of bert-base-uncased")]

CASE = real_data.PARITY / "lavt"
WITH_CASE = real_data.needs("lavt")


@pytest.fixture(scope="module")
def case() -> dict[str, Any]:
    return json.loads((CASE / "case.json").read_text())


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    return dict(np.load(CASE / "expected.npz"))


@pytest.fixture(scope="module")
def official() -> Lavt:
    with warnings.catch_warnings(action="ignore"):
        return Lavt(CASE / "checkpoint.pth", CASE / "vocab.txt", device="cpu")


@pytest.fixture(scope="module")
def photo(case: dict[str, Any]) -> np.ndarray:
    return np.array(PIL.Image.open(real_data.FOLDER / case["image"]).convert("RGB"))


@pytest.fixture
def toy(tmp_path: Path) -> Lavt:
    return Lavt(toy_lavt.checkpoint(tmp_path / "lavt.pth"), toy_lavt.vocabulary(tmp_path / "vocab.txt"), device="cpu")


def unpacked(bits: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    return np.unpackbits(bits)[: int(np.prod(size))].reshape(size).astype(bool)


@WITH_CASE
@pytest.mark.parametrize("index", range(3))
def test_answers_are_the_official_codes(
    official: Lavt, case: dict[str, Any], expected: dict[str, np.ndarray], photo: np.ndarray, index: int
) -> None:
    text = case["sentences"][index]
    answer = {name.partition("__")[2]: one for name, one in expected.items() if name.startswith(f"sentence{index}__")}
    ids, known = official.pieces([text])
    np.testing.assert_array_equal(ids[0], answer["ids"])
    np.testing.assert_array_equal(known[0], answer["mask"])
    (image,), (reading,) = official.encode([photo]), official.read([text])
    words = int(known.sum())
    np.testing.assert_allclose(reading[0][:words, ::4], answer["hidden"][:words], atol=1e-5)
    logits = official.logits([image], [reading])[0]
    np.testing.assert_allclose(logits[:, ::4, ::4], answer["logits"], atol=1e-3)
    assert (unpacked(answer["mask480"], (480, 480)) ^ (logits[1] > logits[0]).numpy()).sum() <= 20
    mask = official.predict(photo, Click(9, 9), text).masks[0]
    assert (unpacked(answer["masknative_exact"], photo.shape[:2]) ^ mask).sum() <= 20


@WITH_CASE
def test_stages_are_the_official_codes(
    official: Lavt, case: dict[str, Any], expected: dict[str, np.ndarray], photo: np.ndarray
) -> None:
    (image,), (reading,) = official.encode([photo]), official.read(case["sentences"][:1])
    found = official.network.stages(image.features, reading[0][None], reading[1][None])
    for stage, (one, step) in enumerate(zip(found, (6, 4, 2, 1), strict=True), 1):
        np.testing.assert_allclose(one[0, ::4, ::step, ::step], expected[f"sentence0__stage{stage}"], atol=5e-3)


@WITH_CASE
@real_data.needs("refer")
def test_the_official_evaluation_is_reproduced(official: Lavt, case: dict[str, Any]) -> None:
    """Every sentence of refCOCO's val, at 480 x 480, against the ground truth shrunk by PIL's nearest pixel."""
    dataset = parameters.build("datasets", "refcoco", {"root": str(real_data.REFER), "text": "all_phrases"})
    rows = {str(row["sent_id"]): row for row in case["evaluation"]["rows"]}
    sums, ious = np.zeros(2, int), []
    for sample_id in dataset.sample_ids():
        sample = dataset.load(sample_id)
        (image,) = official.encode([sample.image])
        for instance in sample.instances:
            row = rows[instance.id.partition("~")[2]]
            assert instance.text == row["raw"]
            truth = np.array(PIL.Image.fromarray(instance.mask).resize((480, 480), PIL.Image.Resampling.NEAREST))
            logits = official.logits([image], official.read([instance.text]))[0]
            mask = (logits[1] > logits[0]).numpy()
            found = (mask & truth).sum(), (mask | truth).sum()
            assert abs(found[0] - row["intersection"]) <= 20 and abs(found[1] - row["union"]) <= 20, row
            sums, ious = sums + found, [*ious, found[0] / found[1]]
    assert len(ious) == len(rows)
    assert 100 * sums[0] / sums[1] == pytest.approx(case["evaluation"]["overall_iou"], abs=0.01)
    assert 100 * np.mean(ious) == pytest.approx(case["evaluation"]["mean_iou"], abs=0.01)


class Timms(nn.Module):
    """A Swin block as timm has it: a map is shifted before it is padded to whole windows."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block, self.shift = block, block.attn.shift_size[0]
        block.attn.shift_size = [0, 0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near = torch.roll(self.block.norm1(x), (-self.shift, -self.shift), (1, 2))
        x = x + torch.roll(self.block.attn(near), (self.shift, self.shift), (1, 2))
        return x + self.block.mlp(self.block.norm2(x))


def padded_last(network: nn.Module) -> None:
    for stage in (1, 3, 5, 7):
        blocks = network.features[stage]
        network.features[stage] = nn.Sequential(*(Timms(block) for block in blocks))


def gates_shut(network: nn.Module) -> None:
    for fusion in network.fusions:
        fusion.gate[0].weight.zero_()


def norms_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lavt_network, "over_places", lambda tokens: tokens)


@WITH_CASE
@pytest.mark.parametrize("mistake", ["timm's Swin", "no gate", "no instance norm", "corners not aligned", "plain ReLU"])
def test_a_mistake_in_the_network_would_show(
    case: dict[str, Any],
    expected: dict[str, np.ndarray],
    photo: np.ndarray,
    mistake: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of these gives at least a hundred wrong pixels, where twenty are allowed."""
    with warnings.catch_warnings(action="ignore"):
        wrong = Lavt(CASE / "checkpoint.pth", CASE / "vocab.txt", device="cpu")
    if mistake == "timm's Swin":
        padded_last(wrong.network)
    elif mistake == "no gate":
        gates_shut(wrong.network)
    elif mistake == "no instance norm":
        norms_gone(monkeypatch)
    elif mistake == "plain ReLU":
        monkeypatch.setattr(lavt_network.F, "gelu", lambda tokens, **_: F.relu(tokens))
    else:
        enlarged = F.interpolate
        monkeypatch.setattr(
            lavt_network.F, "interpolate", lambda x, size, mode, align_corners: enlarged(x, size, mode=mode)
        )
    (image,), readings = wrong.encode([photo]), wrong.read(case["sentences"][:1])
    logits = wrong.logits([image], readings)[0]
    assert (unpacked(expected["sentence0__mask480"], (480, 480)) ^ (logits[1] > logits[0]).numpy()).sum() > 100


def test_both_implementations_checkpoints_are_read(tmp_path: Path) -> None:
    vocab, image = toy_lavt.vocabulary(tmp_path / "vocab.txt"), np.zeros((32, 48, 3), np.uint8)
    image[8:20, 10:30] = 200, 90, 10
    answers = [
        Lavt(toy_lavt.checkpoint(tmp_path / f"{inside}.pth", inside), vocab, "cpu").predict(image, (), "red car").masks
        for inside in (False, True)
    ]
    np.testing.assert_array_equal(*answers)
    assert 0 < answers[0].mean() < 1


def test_a_released_networks_sizes_follow_from_its_shapes(tmp_path: Path) -> None:
    network, bert = load_lavt(toy_lavt.checkpoint(tmp_path / "lavt.pth"))
    blocks = [len(network.features[stage]) for stage in (1, 3, 5, 7)]
    assert blocks == list(toy_lavt.DEPTHS)
    assert [network.features[stage][0].attn.num_heads for stage in (1, 3, 5, 7)] == list(toy_lavt.HEADS)
    assert isinstance(network.features[1][0], torchvision.models.swin_transformer.SwinTransformerBlock)
    assert network.features[1][0].attn.window_size == [toy_lavt.WINDOW] * 2
    assert bert.pieces.weight.shape == (len(toy_lavt.VOCABULARY), toy_lavt.WORDS)


def test_prompts_of_several_images_share_forward_passes(toy: Lavt, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.pairs_per_batch = 3
    sizes: list[int] = []
    finish = toy.network.finish

    def counted(tokens: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        sizes.append(len(tokens))
        return finish(tokens, *rest)

    monkeypatch.setattr(toy.network, "finish", counted)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, size, np.uint8) for size in ((32, 48, 3), (40, 30, 3))]
    groups = [(state, [Prompt((), text) for text in ("car", "the house", "car")]) for state in toy.encode(images)]
    together = toy.segment(groups)
    assert sizes == [3, 1]
    for image, answers in zip(images, together, strict=True):
        for text, answer in zip(("car", "the house", "car"), answers, strict=True):
            assert answer.masks.shape == (1, *image.shape[:2])
            assert (toy.predict(image, (), text).masks ^ answer.masks).mean() < 2e-3


def test_a_long_text_is_cut_as_the_authors_cut_it_and_a_warning_says_so(toy: Lavt) -> None:
    with pytest.warns(UserWarning, match="reads the first 20 word pieces") as told:
        ids, known = toy.pieces([" ".join(["car"] * 300), "car"])
    assert len(told) == 1
    assert ids[0].tolist() == [2, *[4] * 19]  # [CLS] and words; the [SEP] is cut off, too
    assert ids[1].tolist() == [2, 4, 3, *[0] * 17]
    assert known.sum(1).tolist() == [20, 3]


def test_a_text_of_unknown_words_alone_fails_with_one_message(toy: Lavt) -> None:
    image = np.zeros((32, 48, 3), np.uint8)
    with pytest.raises(ValueError, match=r"found no word in 'xyzzy ♞' that .*vocab.txt knows; wanted one at least"):
        toy.predict(image, (), "xyzzy ♞")
    assert toy.predict(image, (), "xyzzy car").masks.any()
    with pytest.raises(ValueError, match="found no word"):  # The one that is known comes after the 20 that are read.
        toy.pieces([" ".join(["xyzzy"] * 19 + ["car"])])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no file at vocab="),
        (b"\xff\xfe\x00", "found no text"),
        (b"hello\nworld\n", r"found no \[PAD\], \[UNK\], \[CLS\], \[SEP\]; wanted a vocabulary of BERT"),
        ("\n".join([*toy_lavt.VOCABULARY, "more"]).encode(), "found 14 word pieces, .* wanted the 13 .* another model"),
        ("\n".join(reversed(toy_lavt.VOCABULARY)).encode(), r"found 13 word pieces, 'of' first; wanted the 13"),
    ],
)
def test_the_vocabulary_of_another_model_is_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(UserError, match=said) as refused:
        Lavt(toy_lavt.checkpoint(tmp_path / "lavt.pth"), tmp_path / "vocab.txt")
    assert "bert-base-uncased" in str(refused.value)
    (tmp_path / "vocab.txt").touch()
    assert all(limit.most == 20 for limit in word_piece_limit(tmp_path / "vocab.txt"))  # `doctor` asks it first


def test_a_warning_tells_of_a_vocabulary_that_is_not_the_published_one(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="not the vocabulary of bert-base-uncased"):
        WordPieces.from_file(toy_lavt.vocabulary(tmp_path / "vocab.txt"), len(toy_lavt.VOCABULARY))


@real_data.needs("bert vocabulary")
@pytest.mark.filterwarnings("error")
def test_the_published_vocabulary_is_known() -> None:
    pieces = WordPieces.from_file(real_data.BERT_VOCABULARY, 30522)
    ids, _ = pieces(["The man's BOAT, at the back!"])
    # As `transformers` numbers them; its ids of "the man ' s boat , at the back !" between those of [CLS] and [SEP].
    assert ids[0, :12].tolist() == [101, 1996, 2158, 1005, 1055, 4049, 1010, 2012, 1996, 2067, 999, 102]
    assert len(BERT_BASE_UNCASED) == 64


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content["model"].pop("backbone.norm2.bias"), r"norms.2.bias: found nothing, wanted \(16,\)"),
        (lambda content: content.pop("model"), "found bert_model, epoch, args at its top"),
        (lambda content: content.pop("bert_model"), "found no BERT"),
        (lambda content: content["model"].clear(), "found a state_dict without"),
        (lambda content: content.update(model=[1, 2]), "found as `model` something other than a state_dict"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    path = toy_lavt.checkpoint(tmp_path / "lavt.pth")
    content = torch.load(path, weights_only=False)
    change(content)
    torch.save(content, path)
    with pytest.raises(UserError, match=said) as refused:
        load_lavt(path)
    assert str(path) in str(refused.value)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(f"no file at checkpoint={tmp_path / 'no.pth'}")):
        load_lavt(tmp_path / "no.pth")


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "tokenizers":
            raise ImportError("No module named 'tokenizers'")
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="found no package tokenizers .*`pip install tokenizers`"):
        WordPieces.from_file(toy_lavt.vocabulary(tmp_path / "vocab.txt"), len(toy_lavt.VOCABULARY))


def test_the_image_is_resized_as_pil_does_it() -> None:
    """A grey ramp ten times as wide as the square: PIL averages what it shrinks, a plain bilinear filter does not."""
    image = np.zeros((32, 4800, 3), np.uint8)
    image[:, ::10] = 255
    values = squashed(image)[0] * 0.229 + 0.485
    assert values.shape == (480, 480)
    assert values.std() < 0.01 and values.mean() == pytest.approx(0.1, abs=0.01)
