"""A config's methods on one picture: `predict` from the shell and from Python gives the masks of a run's rows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import yaml
from pycocotools import mask as coco_mask

import harness
from harness import Click, Prediction, UserError, places
from harness.cli.predict import clicked, predict
from harness.config.click_protocol import Clicks
from harness.config.run_config import load_run
from harness.config.wording import Text
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.pictures import prepared
from harness.evaluation.protocol import Names, Protocol
from harness.masks import rle
from harness.plugins import parameters
from harness.plugins.interfaces import Method
from harness.structures import Record
from harness.trying import Answer, Loaded, Session, load_methods
from harness.trying.methods import for_workers
from harness.trying.outputs import candidate_said, coco_results, write
from harness.trying.session import clicks_on, own_picture

SCENES = places.config(Path("sam_vs_ours_scenes"))
THREE_AT_ONCE = Clicks(
    strategy="paper/v2", options={"positives": 2, "negatives": 1, "distance": 5, "margin": 0.1}, max_clicks=6
)


class Grows(Method):
    """Adds the last click's pixel to its last mask; memory and rounds show in the number of pixels."""

    encoded = 0

    def encode(self, images: Any) -> list[Any]:
        self.encoded += len(images)
        return list(images)

    def segment(self, groups: Any) -> list[list[Prediction]]:
        return [[self._grown(image, prompt) for prompt in prompts] for image, prompts in groups]

    def _grown(self, image: Any, prompt: Any) -> Prediction:
        mask = np.zeros(image.shape[:2], bool) if prompt.previous is None else prompt.previous.copy()
        mask[prompt.clicks[-1].y, prompt.clicks[-1].x] = True
        if prompt.text == "break":
            raise ValueError("broken on request")
        return Prediction(mask[None])


def grey(height: int = 8, width: int = 10) -> Any:
    return np.full((height, width, 3), 90, np.uint8)


def session(method: Method) -> Session:
    return Session([Loaded("Grows", method, True, "grows")], own_picture(grey()))


def test_each_click_is_a_round_that_starts_from_the_last_mask() -> None:
    clicks = clicks_on([(1, 1), (2, 2), (3, 3, False)], (8, 10))
    asked = session(Grows())
    answer = asked.ask("Grows", clicks, None)
    assert answer.prediction is not None and answer.prediction.masks.sum() == 3
    alone = asked.ask("Grows", clicks, None, at_once=True)
    assert alone.prediction is not None and alone.prediction.masks.sum() == 1


@pytest.mark.parametrize(("count", "rounds"), [(1, 1), (2, 1), (3, 1), (4, 2), (6, 2), (7, 3)])
def test_where_a_round_has_three_clicks_a_session_asks_three_at_once(count: int, rounds: int) -> None:
    asked = Session([Loaded("Grows", Grows(), True, "grows", signs=(True, True, False))], own_picture(grey()))
    answer = asked.ask("Grows", [Click(place, place) for place in range(count)], None)
    assert answer.prediction is not None and answer.prediction.masks.sum() == rounds


def test_the_clicks_of_a_round_are_those_of_the_config(tmp_path: Path) -> None:
    steady = {"name": "fakes:Steady"}
    three = {"strategy": "paper/v2", "options": {"positives": 2, "negatives": 1}, "max_clicks": 3}
    one, two = {"strategy": "center/v1", "max_clicks": 5}, {"strategy": "paper/v2", "options": {"negatives": 1}}
    variants = [{"label": "silent", "clicks": {"max_clicks": 1}}, {"label": "two", "clicks": two | {"max_clicks": 2}}]
    raw = {
        "run": "a",
        "datasets": [{"name": "scenes"}],
        "clicks": three,
        "methods": [
            steady | {"label": "as the run"},
            steady | {"label": "own", "clicks": one},
            steady | {"label": "alike", "variants": variants[1:]},
            steady | {"label": "both", "variants": variants},
        ],
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(raw))
    found = {loaded.label: loaded.signs for loaded in load_methods(load_run(tmp_path / "a.yaml"))}
    assert found == {"as the run": (True, True, False), "own": (True,), "alike": (True, False), "both": (True,)}


def test_a_picture_is_encoded_once_and_an_answer_is_kept() -> None:
    method = Grows()
    asked = session(method)
    first = asked.ask("Grows", clicks_on((1, 1), (8, 10)), "a")
    again = asked.ask("Grows", clicks_on((1, 1), (8, 10)), "a")
    asked.ask("Grows", clicks_on([(1, 1), (2, 2)], (8, 10)), "a")
    assert first is again and method.encoded == 1


def test_a_method_that_fails_says_why_and_answers_the_next_question() -> None:
    asked = session(Grows())
    failed = asked.ask("Grows", [Click(1, 1)], "break")
    assert failed.prediction is None and "broken on request" in failed.error
    assert asked.ask("Grows", [Click(1, 1)], "mend").prediction is not None


class ByText(Method):
    """As many pixels as the text has letters."""

    uses_text = True
    needs_click = False

    def segment(self, groups: Any) -> list[list[Prediction]]:
        return [[self._written(image, prompt) for prompt in prompts] for image, prompts in groups]

    def _written(self, image: Any, prompt: Any) -> Prediction:
        mask = np.zeros(image.shape[:2], bool)
        mask.ravel()[: len(prompt.text)] = True
        return Prediction(mask[None])


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ((10, 0), "click (10, 0): outside the picture; wanted 0 to 9, 0 to 7"),
        ((0, -1), "outside the picture"),
        ([(1.5, 2)], "wanted whole pixels"),
        ((1.5, 2), "click (1.5, 2): wanted whole pixels"),
        (np.array([1.0, 2.0]), "wanted whole pixels"),
        ([(1, 2, True, 4)], "wanted whole pixels"),
        (None, "click None: wanted whole pixels"),
        ({"x": 1, "y": 2}, "click {'x': 1, 'y': 2}: wanted whole pixels"),
        ([1, 2, 3, 4], "click [1, 2, 3, 4]: wanted whole pixels"),
    ],
)
def test_clicks_that_are_none_are_refused(points: Any, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        clicks_on(points, (8, 10))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"method": ByText}, "harness.predict: found the class ByText; wanted a built method: ByText(...)."),
        ({"method": None}, "harness.predict: found NoneType None; wanted a method, from harness.method"),
        ({"text": ["tie"]}, "text ['tie']: wanted the words as one str, or None."),
        ({"vocabulary": "tie"}, "vocabulary 'tie': wanted a list of names, ['tie']."),
        ({"image": Path()}, ".: no such file; wanted an image."),
    ],
)
def test_arguments_of_another_kind_are_one_message(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        harness.predict(**{"method": ByText(), "image": np.zeros((8, 10, 3), np.uint8), "text": "a", **changed})


def test_a_method_that_needs_no_click_is_asked_by_text_alone() -> None:
    assert harness.predict(ByText(), grey(), text="tie").masks.sum() == 3
    asked = session(ByText())
    answer = asked.ask("Grows", (), "kayak")
    assert (
        answer.prediction is not None
        and answer.prediction.masks.sum() == 5
        and answer is asked.ask("Grows", (), "kayak")
    )
    with pytest.raises(UserError, match=r"Grows: found no click; wanted at least one, \(x, y\) in pixels"):
        harness.predict(Grows(), grey(), text="tie")


@pytest.mark.slow
def test_predict_without_a_click_asks_those_that_need_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = yaml.safe_load(SCENES.read_text("utf-8"))
    config["methods"] = [{"name": "by_words:ByText", "label": "words"}, {"name": "fakes:Steady", "label": "steady"}]
    (tmp_path / "by_words.py").write_text(WORDS)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(config))
    PIL.Image.fromarray(grey()).save(tmp_path / "a.png")

    def asked(text: str | None, methods: list[str]) -> None:
        predict(
            tmp_path / "a.yaml", tmp_path / "a.png", [], text, methods, [tmp_path / "out.json", tmp_path / "out.png"]
        )

    asked("kayak", ["words"])
    (result,) = json.loads((tmp_path / "out.json").read_text())
    assert coco_mask.decode(result["segmentation"]).sum() == 5 and (tmp_path / "out.png").stat().st_size > 1000
    others = r"found no click; wanted one for 'steady': give --click X,Y, or ask the others: --method 'words'\."
    with pytest.raises(UserError, match=others):
        asked("kayak", [])
    with pytest.raises(UserError, match=r"wanted one for 'steady': give --click X,Y\."):
        asked("kayak", ["steady"])
    with pytest.raises(UserError, match="found neither --click nor --text; wanted at least one"):
        asked(" ", ["words"])


WORDS = """
import numpy as np
from harness import Method, Prediction


class ByText(Method):
    \"\"\"As many pixels as the text has letters.\"\"\"

    uses_text = True
    needs_click = False

    def predict(self, image, click, text):
        mask = np.zeros(image.shape[:2], bool)
        mask.ravel()[: len(text)] = True
        return Prediction(mask[None])
"""


def test_clicks_take_every_usual_form() -> None:
    wanted = (Click(3, 4), Click(5, 6, positive=False))
    assert clicks_on([Click(3, 4), (np.int64(5), 6, False)], (8, 10)) == wanted
    assert clicks_on(np.array([3, 4]), (8, 10)) == wanted[:1] == clicks_on((3, 4), (8, 10))  # type: ignore[arg-type]
    assert (clicked("3,4"), clicked("-5,6")) == wanted and clicked("-0,6") == Click(0, 6, positive=False)
    with pytest.raises(UserError, match="--click 3: wanted X,Y in whole pixels"):
        clicked("3")


def test_a_picture_is_read_as_viewers_show_it(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 5] = 255
    turned = PIL.Image.Exif()
    turned[0x0112] = 6  # Shown after a quarter turn clockwise.
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png", exif=turned)
    shown = own_picture(tmp_path / "a.png").sample.image
    assert shown.shape == (6, 4, 3) and shown[5, 3].tolist() == [255] * 3


def test_what_is_no_picture_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(UserError, match=r"a.png: found 10 bytes that do not decode"):
        own_picture(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"b.png: no such file"):
        own_picture(tmp_path / "b.png")
    with pytest.raises(UserError, match=r"image float64 \(4, 4\); wanted uint8"):
        own_picture(np.zeros((4, 4)))


def test_answers_are_written_as_a_picture_as_masks_and_as_coco_s_results(tmp_path: Path) -> None:
    clicks = clicks_on([(1, 1), (2, 2)], (8, 10))
    answers = [session(Grows()).ask("Grows", clicks, None), session(Grows()).ask("Grows", clicks, "break")]
    (picture,) = write(tmp_path / "out.png", grey(), "a", clicks, answers)
    assert PIL.Image.open(picture).size[0] > 500
    (mask,) = write(tmp_path / "masks", grey(), "a", clicks, answers)
    assert np.asarray(PIL.Image.open(mask)).tolist()[1][:4] == [0, 255, 0, 0]
    (results,) = write(tmp_path / "out.json", grey(), "a", clicks, answers)
    (one,) = json.loads(results.read_text())
    assert coco_mask.decode(one["segmentation"]).sum() == 2 and one["method"] == "Grows"


def test_a_place_that_takes_no_answer_is_refused_before_the_methods_are_asked(
    tmp_path: Path, here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    own = tmp_path / "scene.png"
    PIL.Image.fromarray(grey()).save(own)
    before = own.read_bytes()
    asked = ["predict", "quickstart", "--image", own, "--click", "3,4", "--text", "tie", "-o"]
    for place, said in (("out.gif", "wanted a picture"), ("scene.png", "found the picture itself")):
        done = here(*asked, tmp_path / place)
        assert done.returncode == 2 and f"{place}: {said}" in done.stderr.replace("\n", " ") and not done.stdout
    assert own.read_bytes() == before


@pytest.mark.parametrize("name", ["out.png", "out.json", "masks"])
def test_an_answer_that_cannot_be_written_is_one_message(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("no folder")
    answer = session(Grows()).ask("Grows", clicks_on((1, 1), (8, 10)), None)
    with pytest.raises(UserError, match=f"file/{name}: cannot be written"):
        write(tmp_path / "file" / name, grey(), "a", (), [answer])


def test_labels_with_one_file_name_keep_their_masks_apart(tmp_path: Path) -> None:
    masks = np.zeros((3, 1, 8, 10), bool)
    for number in range(3):
        masks[number, 0, 0, : number + 1] = True
    answers = [Answer(label, Prediction(one)) for label, one in zip(("a/b", "a b", "a-b-2"), masks, strict=True)]
    paths = write(tmp_path / "masks", grey(), "a", (), answers)
    assert [path.name for path in paths] == ["a-b.png", "a-b-2.png", "a-b-2-2.png"]
    assert [(np.asarray(PIL.Image.open(path)) > 0).sum() for path in paths] == [1, 2, 3]
    # Two rankings that choose a lone candidate have one file.
    lone = Answer("SAM", Prediction(masks[0], {"confidence": [0.5], "clip": [1.0]}))
    assert [path.name for path in write(tmp_path / "lone", grey(), "a", (), [lone])] == ["SAM.png"]


def test_candidates_are_said_with_their_scores() -> None:
    masks = np.ones((2, 8, 10), bool)
    answer = harness.trying.Answer("SAM", Prediction(masks, {"confidence": [0.2, 0.75], "clip": [3, 1]}))
    assert candidate_said(answer, 1) == "candidate 2: confidence 0.750 (taken), clip 1.000"
    assert [one["taken_by"] for one in coco_results("a", [answer])] == [["clip"], ["confidence"]]
    excluding = Answer("SAM", Prediction(masks, {"confidence": [-np.inf, 0.75]}))
    assert [one["scores"]["confidence"] for one in coco_results("a", [excluding])] == ["-inf", 0.75]


@pytest.mark.slow
def test_variants_are_one_method_and_entries_of_one_checkpoint_share_it(tmp_path: Path) -> None:
    raw = yaml.safe_load(places.config(Path("quickstart")).read_text())
    ours, click_only = raw["methods"]
    ours["variants"] = [{"label": "given"}, {"label": "wrong", "text": "wrong_present"}]
    raw["methods"] = [ours, click_only | {"label": "Silent", "text": "none"}, click_only]
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(raw))
    found = load_methods(load_run(tmp_path / "a.yaml"))
    assert [(one.label, one.reads) for one in found] == [("Text+Click", True), ("Silent", False), ("Click only", True)]
    assert found[1].method is found[2].method is not found[0].method
    with pytest.raises(UserError, match="has 3 methods: Text.Click, Silent, Click only. Say which"):
        harness.method(tmp_path / "a.yaml")
    with pytest.raises(UserError, match=r"no method labelled 'Silnt' .* Silent"):
        harness.method(tmp_path / "a.yaml", "Silnt")


def test_what_is_not_trained_yet_is_said(tmp_path: Path) -> None:
    raw = yaml.safe_load(places.config(Path("quickstart")).read_text())
    raw["methods"][1] = {
        "name": "click_only",
        "train": {"recipe": "configs/scenes_click_only.yaml", "set": {"seed": 7}},
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(UserError, match="'click_only': not trained yet"):
        load_methods(load_run(tmp_path / "a.yaml"))
    assert load_methods(load_run(tmp_path / "a.yaml"), ["Text+Click"])
    with pytest.raises(UserError, match="'click_only': not trained yet"):
        for_workers(load_run(tmp_path / "a.yaml"))


def test_a_worker_loads_what_was_trained_into_the_driver_s_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = {"seed": 7, "checkpoint": "weights/mine.safetensors"}
    raw = yaml.safe_load(places.config(Path("quickstart")).read_text())
    raw["methods"] = [{"name": "click_only", "train": {"recipe": "configs/scenes_click_only.yaml", "set": mine}}]
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(raw))
    (tmp_path / "weights").mkdir()
    shutil.copy(places.shipped("methods/weights/scenes_click_only.safetensors"), tmp_path / mine["checkpoint"])
    monkeypatch.setattr(places, "ROOT", tmp_path)
    sent = for_workers(load_run(tmp_path / "a.yaml"))
    monkeypatch.setattr(places, "ROOT", tmp_path / "copy")  # of the checkout, without weights/
    (loaded,) = load_methods(sent, ["click_only"])
    assert loaded.label == "click_only"


def rows(loaded: Loaded, count: int, clicks: Clicks) -> list[Record]:
    """Rows of a method on the first scenes, as a run makes them."""
    data = parameters.build("datasets", "scenes", {"split": "val"})
    way = Names(loaded.label, loaded.plugin, "scenes", "scenes"), Protocol("r", 0, clicks, Text(), ("iou",))
    return list(Evaluation(loaded.method, data, [way]).records(data.sample_ids()[:count]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "clicks"),
    [
        ("Text+Click", Clicks(max_clicks=1)),
        ("SAM tiny", Clicks(strategy="center/v1", max_clicks=3)),
        ("RITM tiny", Clicks(strategy="center/v1", max_clicks=3)),
        ("SAM tiny", THREE_AT_ONCE),
        ("RITM tiny", THREE_AT_ONCE),
    ],
)
def test_a_session_answers_as_the_rows_of_a_run_do_click_after_click(label: str, clicks: Clicks) -> None:
    """The 16 instances of 2 scenes; what a batch of another size may tip is a pixel or two."""
    (loaded,) = load_methods(load_run(SCENES).model_copy(update={"clicks": clicks}), [label])
    data = parameters.build("datasets", "scenes", {"split": "val"})
    made = [one for one in rows(loaded, 2, clicks) if one.status == "ok"]
    assert len({one.instance_id for one in made}) >= 12
    for image_id in dict.fromkeys(one.image_id for one in made):
        asked = Session([loaded], prepared(data.load(image_id)), data.classes)
        for row in (one for one in made if one.image_id == image_id and one.ranking != "oracle"):
            assert row.mask is not None and row.ranking is not None
            answer = asked.ask(label, row.clicks, row.text)
            assert answer.prediction is not None
            mask = answer.prediction.masks[answer.taken[row.ranking]]
            assert np.count_nonzero(mask != rle.decode(row.mask, mask.shape)) <= 2


class Draws(Method):
    """Some of the picture's rows, as many as a number says that is drawn once a call."""

    def segment(self, groups: Any) -> list[list[Prediction]]:
        drawn = np.random.random()
        return [[Prediction(self.top(image.shape[:2], drawn)) for _ in prompts] for image, prompts in groups]

    def top(self, size: tuple[int, int], share: float) -> Any:
        return np.broadcast_to(np.arange(size[0])[:, None] < share * size[0], (1, *size)).copy()


def test_a_method_that_draws_draws_by_the_round_as_in_a_run() -> None:
    loaded = Loaded("draws", Draws(), True, "click_only", signs=(True, True, False))
    data = parameters.build("datasets", "scenes", {"split": "val"})
    made = [one for one in rows(loaded, 1, THREE_AT_ONCE) if one.status == "ok"]
    assert {one.click_index for one in made} == {3, 6} and len({one.mask for one in made}) == 2
    asked = Session([loaded], prepared(data.load(made[0].image_id)), data.classes)
    for row in made:
        found = asked.ask("draws", row.clicks, row.text).prediction
        assert found is not None and rle.encode(found.masks[0]) == row.mask


@pytest.mark.slow
def test_predict_from_the_shell_and_from_python_say_one_thing(
    tmp_path: Path, here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    data = parameters.build("datasets", "scenes", {"split": "val"})
    sample = data.load(data.sample_ids()[3])
    PIL.Image.fromarray(sample.image).save(tmp_path / "scene.png")
    command = ["predict", "sam_vs_ours_scenes", "--image", str(tmp_path / "scene.png")]
    asked = [*command, "--click", "155,121", "--text", "tie"]
    places_asked = ["-o", str(tmp_path / "out.json"), "-o", str(tmp_path / "out.png")]
    shell = [sys.executable, "-m", "harness", *asked, *places_asked]
    done = subprocess.run(shell, cwd=places.ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Text+Click" in done.stdout and "candidate" in done.stdout
    results = json.loads((tmp_path / "out.json").read_text())
    assert len(results) == 6  # Three candidates of SAM, one of each of three others.
    ours = harness.method("sam_vs_ours_scenes", "Text+Click")
    found = harness.predict(ours, tmp_path / "scene.png", (155, 121), "tie")
    (own,) = [one for one in results if one["method"] == "Text+Click"]
    assert np.array_equal(coco_mask.decode(own["segmentation"]).astype(bool), found.masks[0])
    wordless = here(*command, "--click", "155,121", "--method", "Text+Click", "--method", "RITM tiny")
    assert wordless.returncode == 1 and "Text+Click: ValueError: text_click needs a text" in " ".join(
        wordless.stderr.split()
    )
    assert "RITM tiny" in wordless.stdout
    outside = here(*command, "--click", "500,1")
    assert outside.returncode == 2 and "outside the picture" in outside.stderr
