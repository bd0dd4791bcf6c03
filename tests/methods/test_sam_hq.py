"""HQ-SAM through the plugin, against its own package; skipped where `pip install segment-anything-hq` was not run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from harness.methods.sam_hq import SamHq, load_sam_hq

from harness.evaluation.scoring import check
from harness.structures import Click, Prompt, UserError

IMAGE = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8).repeat(12, 0).repeat(12, 1)


def test_a_missing_package_is_an_error_that_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segment_anything_hq", None)
    with pytest.raises(UserError, match=r"pip install 'segment-anything-hq>=0\.3'"):
        load_sam_hq(tmp_path / "weights.pth", "vit_tiny")


@pytest.mark.slow
def test_released_checkpoints_answer_as_in_the_package(tmp_path: Path) -> None:
    package = pytest.importorskip("segment_anything_hq", reason="pip install segment-anything-hq")
    torch.manual_seed(0)
    model = package.sam_model_registry["vit_tiny"]()
    torch.save(model.state_dict(), tmp_path / "sam_hq_vit_tiny.pth")
    predictor = package.SamPredictor(model)
    predictor.set_image(IMAGE)
    prompts = [Prompt((Click(70, 20),)), Prompt((Click(3, 50),)), Prompt((Click(40, 30), Click(50, 8, False)))]
    for rule in ("never", "always"):
        method = SamHq(tmp_path / "sam_hq_vit_tiny.pth", "vit_tiny", rule, device="cpu")
        (state,) = method.encode([IMAGE])
        for prompt, found in zip(prompts, method.segment([(state, prompts)])[0], strict=True):
            check(found, IMAGE.shape[:2])
            assert 0.01 < found.masks.mean() < 0.99
            masks, _, logits = predictor.predict(
                np.array([(click.x, click.y) for click in prompt.clicks]),
                np.array([int(click.positive) for click in prompt.clicks]),
                multimask_output=rule == "always",
            )
            np.testing.assert_array_equal(found.masks, masks)
            np.testing.assert_allclose(torch.stack(list(found.memory)), logits, atol=1e-4)
    with pytest.raises(UserError, match="tensors do not fit"):
        SamHq(tmp_path / "sam_hq_vit_tiny.pth", "vit_b", device="cpu")
