"""SAM 2 through the plugin, against its own package; skipped where `pip install sam2` was not run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from harness.methods.sam2 import LOGITS_LIMIT, Sam2, load_sam2

from harness.evaluation.scoring import check
from harness.structures import Click, Prompt, UserError

IMAGE = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8).repeat(12, 0).repeat(12, 1)


def test_a_missing_package_is_an_error_that_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sam2", None)
    monkeypatch.setitem(sys.modules, "sam2.build_sam", None)
    with pytest.raises(UserError, match=r"SAM2_BUILD_CUDA=0 pip install --no-build-isolation 'sam2>="):
        load_sam2(tmp_path / "weights.pt", "sam2.1_hiera_t")


@pytest.mark.slow
def test_released_checkpoints_answer_as_in_the_package(tmp_path: Path) -> None:
    pytest.importorskip("sam2", reason="pip install sam2")
    from sam2.build_sam import build_sam2
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    torch.manual_seed(0)
    model = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", None, device="cpu")
    torch.save({"model": model.state_dict()}, tmp_path / "sam2.1_hiera_tiny.pt")
    method = Sam2(tmp_path / "sam2.1_hiera_tiny.pt", "sam2.1_hiera_t", device="cpu")
    predictor = SAM2ImagePredictor(model)
    predictor.set_image(IMAGE)
    (state,) = method.encode([IMAGE])
    prompts = [Prompt((Click(70, 20),)), Prompt((Click(3, 50),)), Prompt((Click(40, 30), Click(50, 8, False)))]
    (first,) = method.segment([(state, prompts[:1])])[0]
    prompts.append(Prompt((Click(70, 20), Click(9, 9)), previous=first.memory[0]))
    for prompt, found in zip(prompts, method.segment([(state, prompts)])[0], strict=True):
        check(found, IMAGE.shape[:2])
        assert 0.01 < found.masks.mean() < 0.99
        previous = prompt.previous
        masks, confidence, _ = predictor.predict(
            np.array([(click.x, click.y) for click in prompt.clicks]),
            np.array([int(click.positive) for click in prompt.clicks]),
            mask_input=None if previous is None else previous.clamp(-LOGITS_LIMIT, LOGITS_LIMIT).numpy()[None],
            multimask_output=len(prompt.clicks) == 1,
        )
        np.testing.assert_array_equal(found.masks, masks > 0)
        np.testing.assert_allclose(found.scores["confidence"], confidence, atol=1e-4)
    with pytest.raises(UserError, match="tensors do not fit"):
        Sam2(tmp_path / "sam2.1_hiera_tiny.pt", "sam2.1_hiera_s", device="cpu")
