"""Words guessed from the click (`auto/v1`), from the config to the rows: what is seen, how often, who is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness.methods.saliency.maskclip import MaskClip
from harness.methods.shared.clip_maps import upsampled

import harness
import toy_runs
from fakes import Steady, Toys
from harness.config.recipe import load_recipe
from harness.config.run_config import load_run
from harness.plugins import parameters
from harness.running.long_texts import texts_of
from harness.structures import Click, Image, Prediction, Prompt, UserError

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "methods" / "weights"
CLIP = {"model": str(WEIGHTS / "scenes_clip.json"), "checkpoint": str(WEIGHTS / "scenes_clip.safetensors")}
TWO = {"strategy": "center/v1", "max_clicks": 2}


class Guessing(Steady):
    """Fits "large" right of column 20, "small" left of it; a mask is empty where the words are not "large"."""

    uses_text = True

    def __init__(self, fits: Any = None) -> None:
        super().__init__()
        self.fits, self.looked, self.texts = fits, [], []  # type: ignore[var-annotated]

    def text_fits(self, state: Any, clicks: Sequence[Click], texts: Sequence[str]) -> np.ndarray:
        self.looked.append((len(clicks), tuple(texts)))
        right = np.array([click.x > 20 for click in clicks], np.float32)
        found = np.stack([1 - right, right], 1)
        return self.fits(found, clicks) if self.fits else found

    @classmethod
    def has_clip(cls, params: Any) -> bool:
        return True

    def predict(self, image: Image, click: Click | Sequence[Click], text: str | None) -> Prediction:
        self.texts.append(text)
        return super().predict(image, click, text)


def asked(method: Guessing, **given: Any) -> Any:
    return harness.evaluate(method, Toys(2), **{"text": "auto/v1", "clicks": {"max_clicks": 1}} | given)


def test_the_words_come_after_the_click_and_are_asked_for_once_an_image() -> None:
    method = Guessing()
    rows = asked(method)
    assert method.looked == [(2, ("small", "large"))] * 2
    assert method.texts == ["small", "large"] * 2
    one = rows[rows["ranking"] == "confidence"]
    assert list(one["text"]) == list(one["guess"]) == list(one["category"]) == ["small", "large"] * 2
    assert set(one["text_rule"]) == {"auto/v1"}


def test_guess_and_given_name_are_both_known_where_they_differ() -> None:
    always_large = Guessing(lambda found, _: found * 0 + np.float32([0, 1]))
    rows = asked(always_large, text={"rule": "auto/v1", "template": "a {}"})
    assert set(rows["guess"]) == {"large"} and set(rows["text"]) == {"a large"}
    assert set(rows["category"]) == {"small", "large"}
    assert always_large.looked[0][1] == ("a small", "a large")


def test_other_rules_guess_nothing_and_do_not_look() -> None:
    method = Guessing()
    rows = asked(method, text="class_name")
    assert rows["guess"].isna().all() and not method.looked


def test_of_equal_fits_the_first_name_counts() -> None:
    assert set(asked(Guessing(lambda found, _: found * 0))["guess"]) == {"small"}


def test_later_clicks_keep_the_words_of_the_first() -> None:
    method = Guessing()
    rows = asked(method, clicks=TWO)
    assert len(method.looked) == 2 and set(rows["click_index"]) == {1, 2}
    assert rows.groupby("instance_id")["text"].nunique().eq(1).all()


def test_each_draw_has_a_guess_of_its_own_click() -> None:
    method = Guessing()
    rows = asked(method, clicks={"max_clicks": 1, "draws": 3})
    assert method.looked == [(6, ("small", "large"))] * 2 and rows["guess"].notna().all()


def raising(found: np.ndarray, clicks: Sequence[Click]) -> np.ndarray:
    if any(click.x > 20 for click in clicks):
        raise RuntimeError("no view there")
    return found


@pytest.mark.parametrize(
    ("fits", "said"),
    [
        (raising, "text: RuntimeError: no view there"),
        (lambda found, _: np.where(found[:, 1:] > 0, np.nan, found), "wanted finite float32 (1, 2)"),
        (lambda found, clicks: found[:, :1] if clicks[0].x > 20 or len(clicks) > 1 else found, "(1, 1)"),
    ],
)
def test_what_fails_for_one_click_fails_its_instance_alone(fits: Any, said: str) -> None:
    with pytest.warns(UserWarning, match="2 of 4"):
        rows = asked(Guessing(fits))
    failed = rows[rows["status"] == "failed"]
    assert set(failed["category"]) == {"large"} and len(failed) == 2
    assert all(said in error for error in failed["error"])
    assert set(rows.loc[rows["status"] == "ok", "guess"]) == {"small"}


class Nameless(Toys):
    """Toys of a data set that names no classes."""

    classes = ()


def test_a_data_set_without_classes_fails_with_the_reason() -> None:
    with pytest.warns(UserWarning, match="names no classes"):
        rows = harness.evaluate(Guessing(), Nameless(1), text="auto/v1")
    assert set(rows["status"]) == {"failed"}


@pytest.mark.parametrize(
    ("method", "clicks", "said"),
    [
        (
            {"name": "fakes:Steady", "label": "steady"},
            {},
            "'steady' is asked with text: auto/v1.*fakes:Steady has none",
        ),
        ({"name": "test_auto_text:Guessing"}, {"max_clicks": 0}, "wanted a click"),
    ],
)
def test_a_config_without_a_clip_or_a_click_is_refused(
    method: Any, clicks: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Guessing, "needs_click", False)
    monkeypatch.setitem(__import__("sys").modules, "test_auto_text", __import__("sys").modules[__name__])
    path = toy_runs.written(tmp_path / "a.yaml", methods=[method], text="auto/v1", clicks=clicks)
    with pytest.raises(UserError, match=said):
        load_run(path)


@pytest.mark.slow
def test_which_of_the_methods_here_have_a_clip(tmp_path: Path) -> None:
    sam = {"name": "sam", "params": {"checkpoint": str(WEIGHTS / "scenes_sam.safetensors")}}
    clip = {"clip_model": CLIP["model"], "clip_checkpoint": str(WEIGHTS / "scenes_clip_crops.safetensors")}
    ours = {"name": "text_click", "params": {"checkpoint": str(WEIGHTS / "scenes_text_click.safetensors")}}

    def loads(entry: dict[str, Any], **params: Any) -> bool:
        changed = entry | {"params": entry["params"] | params}
        try:
            return bool(load_run(toy_runs.written(tmp_path / "a.yaml", methods=[changed], text="auto/v1")))
        except UserError as error:
            assert "none with these params" in str(error)
            return False

    saliency = {"name": "maskclip", "params": CLIP}
    assert loads(ours, saliency=saliency)
    assert not loads(ours, saliency={"name": "gradcam", "params": CLIP})
    assert not loads(sam)
    assert loads(sam, rankings=["clip"], **clip)
    assert loads(sam, rankings=["saliency"], saliency=saliency)


def test_a_training_cannot_guess(tmp_path: Path) -> None:
    text = (ROOT / "configs" / "scenes_text_click.yaml").read_text("utf-8") + "\ntext: auto/v1\n"
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match="text: found auto/v1.*a training has no method yet"):
        load_recipe(tmp_path / "a.yaml")


def test_without_a_clip_evaluate_says_so() -> None:
    with pytest.raises(UserError, match="Steady has none; wanted another rule"):
        harness.evaluate(Steady(), Toys(1), text="auto/v1")


def test_doctor_looks_at_all_names_that_may_be_guessed(tmp_path: Path) -> None:
    config = load_run(toy_runs.written(tmp_path / "a.yaml"))
    changed = config.model_copy(update={"text": config.text.model_copy(update={"rule": "auto/v1", "template": "a {}"})})
    assert texts_of(changed, changed.methods[0], changed.datasets[0], Toys(1), {}) == ["a small", "a large"]


def scenes() -> Any:
    return parameters.build("datasets", "scenes", {"split": "val"})


@pytest.mark.slow
def test_text_click_guesses_by_the_map_that_it_is_given_anyway() -> None:
    """One pass of the CLIP an image, and the guess is the name whose map before the softmax is largest at the click."""
    ours = harness.method("quickstart", "Text+Click")
    data = scenes()
    rows = harness.evaluate(ours, data, limit=3, text="auto/v1", metrics=["iou"])
    saliency: MaskClip = ours.saliency  # type: ignore[attr-defined]
    assert saliency.image_encodings == 3
    for sample in map(data.load, data.sample_ids()[:3]):
        cosines = saliency._scores(saliency.features([sample.image]), data.classes)[0]
        stretched = upsampled(cosines, sample.size).numpy()
        for row in rows[rows["image_id"] == sample.id].itertuples():
            click = row.clicks[0]
            assert row.guess == data.classes[int(stretched[:, click["y"], click["x"]].argmax())]


@pytest.mark.slow
def test_sam_looks_at_each_image_once_by_the_clip_that_ranks() -> None:
    sam = harness.method("sam_vs_ours_scenes", "SAM tiny")
    rows = harness.evaluate(sam, scenes(), limit=2, text="auto/v1", metrics=["iou"], clicks={"draws": 2})
    assert sam.clip.whole_images == 2 and rows["guess"].notna().all()  # type: ignore[attr-defined]
    (state,) = sam.encode([np.zeros((32, 48, 3), np.uint8)])
    sam.segment([(state, [Prompt((Click(3, 3),), "car")])])
    assert sam.clip.whole_images == 2  # type: ignore[attr-defined] # without such a rule, no pass


@pytest.mark.slow
def test_sam_without_a_clip_says_so() -> None:
    sam = parameters.build("methods", "sam", {"checkpoint": str(WEIGHTS / "scenes_sam.safetensors")})
    with pytest.raises(ValueError, match="sam without a ranking by clip or saliency has no CLIP"):
        sam.text_fits(sam.encode([np.zeros((32, 48, 3), np.uint8)])[0], [Click(1, 1)], ["car"])
