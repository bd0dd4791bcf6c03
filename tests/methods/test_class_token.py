"""The last attention of a CLIP's image tower against open_clip's own forward, and which towers are refused."""

from __future__ import annotations

from typing import Any

import open_clip
import pytest
import torch
from harness.methods.shared.class_token import check_tower, resnet_attention, score_gradient, vit_attention
from harness.methods.shared.clip_vit import vit_tokens
from torch import nn

import small_clips
from harness.structures import UserError

pytestmark = pytest.mark.slow
PIXELS = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))


def visual(model: str, **vision: Any) -> Any:
    config = small_clips.CONFIGS[model]
    made = open_clip.CLIP(**{**config, "vision_cfg": {**config["vision_cfg"], **vision}}).eval()
    small_clips.by_rule(made, 0, 2.0)
    return made.visual


@pytest.mark.parametrize("vision", [{}, {"ls_init_value": 0.3}, {"no_ln_pre": True}, {"final_ln_after_pool": True}])
def test_a_vits_readout_is_its_image_embedding(vision: dict[str, Any]) -> None:
    tower = visual("vit", image_size=96, **vision)
    with torch.inference_mode():
        last = vit_attention(tower, vit_tokens(tower, PIXELS))
        torch.testing.assert_close(last.readout(last.attended), tower(PIXELS), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(last.weights.sum(-1), torch.ones(2, 4))


def test_a_resnets_readout_is_its_image_embedding() -> None:
    tower = visual("resnet")
    with torch.inference_mode():
        cells = tower.layer4(tower.layer3(tower.layer2(tower.layer1(tower.stem(PIXELS)))))
        last = resnet_attention(tower.attnpool, cells)
        torch.testing.assert_close(last.readout(last.attended), tower(PIXELS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["cosine", "dot"])
def test_the_scores_gradient_is_autograds(kind: Any) -> None:
    embedded = torch.randn(2, 5, requires_grad=True)
    texts = nn.functional.normalize(torch.randn(3, 1, 5), dim=-1)
    cosine = 7 * torch.cosine_similarity(embedded, texts, dim=-1)
    scores = cosine if kind == "cosine" else (embedded * texts).sum(-1)
    found = score_gradient(embedded.detach(), texts, kind, 7.0)
    for row in range(3):
        (wanted,) = torch.autograd.grad(scores[row].sum(), embedded, retain_graph=True)
        torch.testing.assert_close(found[row], wanted)


@pytest.mark.parametrize("vision", [{"pool_type": "avg"}, {"attentional_pool": True}])
def test_a_vit_that_pools_otherwise_is_refused(vision: dict[str, Any]) -> None:
    tower = visual("vit", **vision)
    for resnet in (True, False):
        with pytest.raises(
            UserError, match=r"x.py: found an image tower of the type VisionTransformer with pool_type="
        ):
            check_tower(tower, "x.py", resnet=resnet)


def test_another_tower_is_refused() -> None:
    with pytest.raises(UserError, match=r"of the type Conv2d, .* or CLIP's ResNet. Choose another `model`"):
        check_tower(nn.Conv2d(3, 3, 1), "x.py", resnet=True)
