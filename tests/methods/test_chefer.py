"""Chefer et al.'s relevance against the official code's answers, and against whole matrices and backward passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from harness.methods.saliency import chefer
from harness.methods.saliency.chefer import Chefer
from harness.methods.shared import class_token
from torch import Tensor, nn

import small_clips
from harness.plugins.registry import find
from harness.structures import UserError
from small_clips import evidence, expected, far, fixtures, of_fixture, picture, score

pytestmark = pytest.mark.slow
TOLERANCE = 2e-5


@fixtures
@pytest.mark.parametrize(
    ("model", "starts"),
    [("tiny", (-1, 0, 2)), ("ViT-B-32-quickgelu", (-1, 0, 6)), ("ViT-B-16-quickgelu", (-1, 6, 0))],
)
def test_it_is_the_official_code(model: str, starts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    for start in starts:
        saliency, image, vectors, _ = of_fixture(Chefer, model, monkeypatch, start_layer=start)
        assert far(evidence(saliency, [image], vectors)[:, 0], expected(model, f"chefer_start{start}")) < TOLERANCE
        if start == -1 and model != "tiny":
            maps = saliency.maps(saliency.features([image])[0], small_clips.case()["texts"], ())
            assert np.abs(maps[:, ::4, ::4] - expected(model, "chefer_start-1_224")).max() < 3 * TOLERANCE


@fixtures
@pytest.mark.parametrize(
    ("mistake", "options"),
    [
        ("all blocks for the last", {"start_layer": 0}),
        ("dot for cosine", {"score": "dot"}),
        ("imagenet", {"normalise": "imagenet"}),
        ("mean of the heads before the clamp", {}),
        ("raw attention", {}),
        ("no scale of the query", {}),
    ],
)
def test_a_mistake_shows(mistake: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    saliency, image, vectors, _ = of_fixture(Chefer, "tiny", monkeypatch, **options)
    found = evidence(saliency, [image], vectors)[:, 0]
    kept = saliency.features([image])[0].kept[None]
    if mistake in ("mean of the heads before the clamp", "raw attention"):
        with torch.inference_mode():
            last = class_token.vit_attention(saliency.visual, kept)
            product = last.weights * last.products(last.gradients(vectors[:, None], "cosine", saliency.scale))
        whole = product.mean(2).clamp(min=0) if mistake.startswith("mean") else last.weights.mean(1).expand(3, 1, -1)
        found = whole[:, 0, 1:].unflatten(-1, (6, 6))
    elif mistake == "no scale of the query":
        block = saliency.visual.transformer.resblocks[-1]
        block.attn.head_dim = 1
        found = evidence(saliency, [image], vectors)[:, 0]
    wanted = torch.from_numpy(expected("tiny", "chefer_start-1"))
    # A factor of a whole map is no mistake that a picture shows.
    assert far(found / found.amax((1, 2), True), wanted / wanted.amax((1, 2), True)) > 100 * TOLERANCE


@fixtures
@pytest.mark.parametrize("mistake", ["blocks in another order", "no identity", "rows that sum to 1", "GELU"])
def test_a_mistake_over_several_blocks_shows(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    saliency, image, vectors, _ = of_fixture(Chefer, "tiny", monkeypatch, start_layer=0)
    if mistake == "GELU":
        for block in saliency.visual.transformer.resblocks:
            block.mlp.gelu = nn.GELU()
    elif mistake == "blocks in another order":
        monkeypatch.setattr(chefer, "reversed", iter, raising=False)
    else:
        real = torch.einsum
        monkeypatch.setattr(torch, "einsum", lambda said, *given: wrong(mistake, real, said, *given))
    found = evidence(saliency, [image], vectors)[:, 0]
    wanted = torch.from_numpy(expected("tiny", "chefer_start0"))
    assert far(found / found.amax((1, 2), True), wanted / wanted.amax((1, 2), True)) > 100 * TOLERANCE


def wrong(mistake: str, real: Any, said: str, *given: Tensor) -> Tensor:
    """What a row becomes by a block, `row + row cam`, with a mistake in the product."""
    if said != "nt,nts->ns":
        return real(said, *given)  # type: ignore[no-any-return]
    row, cam = given
    if mistake == "no identity":
        return real(said, row, cam) - row  # type: ignore[no-any-return]
    return real(said, row, cam / cam.sum(-1, keepdim=True).clamp(min=1e-12))  # type: ignore[no-any-return]


# Whole matrices: the paper's rule as it stands.


def by_the_book(saliency: Chefer, image: np.ndarray, text: Tensor, start: int) -> Tensor:
    """R over all blocks from `start`, with the attention of plain operations in open_clip's own forward."""
    visual, weights = saliency.visual, []
    x = visual._embeds(small_clips.pixels(saliency, image))
    for block in visual.transformer.resblocks:
        y, heads = block.ln_1(x), block.attn.num_heads
        q, k, v = (
            one.unflatten(-1, (heads, -1)).transpose(1, 2)
            for one in F.linear(y, block.attn.in_proj_weight, block.attn.in_proj_bias).chunk(3, -1)
        )
        weights.append((q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1))
        weights[-1].retain_grad()
        x = x + block.attn.out_proj((weights[-1] @ v).transpose(1, 2).flatten(2))
        x = x + block.mlp(block.ln_2(x))
    embedded = (visual.ln_post(x[:, 0]) @ visual.proj)[0]
    torch.testing.assert_close(embedded, visual(small_clips.pixels(saliency, image))[0], rtol=1e-3, atol=1e-4)
    score(saliency, embedded, text, saliency.score).backward()
    relevance = torch.eye(x.shape[1])
    for one in weights[start:]:
        assert one.grad is not None
        relevance = relevance + (one * one.grad).clamp(min=0).mean(1)[0].detach() @ relevance
    return relevance[0, 1:].unflatten(0, visual.grid_size)


@pytest.mark.parametrize("start", [-1, 1, 0])
def test_the_row_alone_is_the_whole_matrices_row(start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    small_clips.small(monkeypatch, "vit")
    saliency = Chefer("toy", start_layer=start, device="cpu")
    images, vectors = [picture(32, 32, seed) for seed in (0, 1)], F.normalize(torch.randn(5, 32), dim=-1)
    found = evidence(saliency, images, vectors)
    assert found.shape == (5, 2, 4, 4)
    for number, image in enumerate(images):
        for row, text in enumerate(vectors):
            assert far(found[row, number], by_the_book(saliency, image, text, start)) < 1e-4


def test_start_layers_count_from_either_end(monkeypatch: pytest.MonkeyPatch) -> None:
    small_clips.small(monkeypatch, "vit")
    assert Chefer("toy", start_layer=2, device="cpu").start == Chefer("toy", device="cpu").start == 2
    for wrong in (3, -4):
        with pytest.raises(UserError, match=rf"found start_layer={wrong} for model=toy; wanted one of its 3 blocks"):
            Chefer("toy", start_layer=wrong, device="cpu")


def test_a_resnet_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    small_clips.small(monkeypatch, "resnet")
    with pytest.raises(UserError, match=r"chefer.py: found an image tower of the type ModifiedResNet, .* class token"):
        Chefer("toy", device="cpu")


def test_the_registry_knows_it_and_weights_are_wanted() -> None:
    assert find("saliency", "chefer").__name__ == "Chefer"
    with pytest.raises(UserError, match="no checkpoint for model=ViT-B-16-quickgelu"):
        Chefer()
