"""SAM: the masks of the official predictor, one encoding an image, and which checkpoints and prompts it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness.datasets.scenes.scenes import Scenes
from harness.methods.learners.sam import SamLearner, drawn_from_error, mask_loss
from harness.methods.sam.sam import Sam, load_sam
from harness.methods.sam.tiny import Architecture
from harness.methods.shared.checkpoints import read_tensors
from harness.methods.shared.multimask import MultiMask
from harness.methods.shared.open_clip_model import load_clip
from harness.methods.shared.ranking import ClipRanking
from safetensors.torch import load_file, save_file
from segment_anything import SamPredictor, sam_model_registry

from harness.config.click_protocol import Clicks
from harness.config.wording import Text
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.protocol import Names, Protocol
from harness.evaluation.scoring import check, score
from harness.masks.measure import metric
from harness.masks.region import Region
from harness.plugins import files, parameters
from harness.structures import Box, Click, Prediction, Prompt, Said, UserError

pytestmark = pytest.mark.slow

TINY = Architecture(image_size=64, patch_size=8, width=32, depth=2, heads=2, prompt_width=32)
ROOT = Path(__file__).resolve().parents[2]
SAID = Said(None, Scenes.classes, Scenes.classes)
CLIP_CONFIG = "methods/weights/scenes_clip.json"


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blocks of random colours."""
    blocks = np.random.default_rng(seed).integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return np.ascontiguousarray(blocks.repeat(8, 0).repeat(8, 1)[:height, :width])


IMAGE = noise(40, 56)
CLICK = Click(30, 9)
SHAPES = ((40, 56), (90, 70), (64, 64), (7, 130), (3, 5))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SAM with random weights, large enough for both signs to come out."""
    torch.manual_seed(4)
    network = TINY.network()
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(tensors, path, {"architecture": json.dumps(asdict(TINY))})
    return path


@pytest.fixture(scope="module")
def clip_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "clip.safetensors"
    save_file(dict(load_clip(CLIP_CONFIG, device="cpu", allow_random=True).module.state_dict()), path)
    return path


def sam(weights: Path, **options: Any) -> Sam:
    return Sam(weights, device="cpu", **options)


def with_clip(weights: Path, clip_weights: Path, **options: Any) -> Sam:
    return sam(
        weights, rankings=("confidence", "clip"), clip_model=CLIP_CONFIG, clip_checkpoint=clip_weights, **options
    )


def answers(method: MultiMask, image: np.ndarray, prompts: Sequence[Prompt]) -> list[Prediction]:
    (state,) = method.encode([image])
    return method.segment([(state, prompts)])[0]


def official(predictor: SamPredictor, prompt: Prompt, several: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The package's masks, predicted IoUs and logits for the image that it was given last."""
    return predictor.predict(
        np.array([(click.x, click.y) for click in prompt.clicks]) if prompt.clicks else None,
        np.array([int(click.positive) for click in prompt.clicks]) if prompt.clicks else None,
        box=np.array([(one.left, one.top, one.right, one.bottom) for one in prompt.boxes]) if prompt.boxes else None,
        mask_input=None if prompt.previous is None else prompt.previous.numpy()[None],
        multimask_output=several,
    )


def click_in(mask: np.ndarray) -> Click:
    y, x = np.argwhere(mask)[mask.sum() // 2]
    return Click(int(x), int(y))


def random_prompts(shape: tuple[int, int], counts: Sequence[int]) -> list[Prompt]:
    rng = np.random.default_rng(1)
    return [
        Prompt(
            tuple(
                Click(int(rng.integers(shape[1])), int(rng.integers(shape[0])), number == 0 or bool(rng.integers(2)))
                for number in range(count)
            )
        )
        for count in counts
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_masks_are_those_of_the_official_predictor(weights: Path, shape: tuple[int, int]) -> None:
    method, predictor = sam(weights), SamPredictor(load_sam(weights))
    image, prompts = noise(*shape, seed=shape[0]), random_prompts(shape, [1, 1, 2, 1, 4, 3, 1])
    predictor.set_image(image)
    for prompt, found in zip(prompts, answers(method, image, prompts), strict=True):
        masks, confidence, logits = official(predictor, prompt, several=len(prompt.clicks) == 1)
        assert found.masks.dtype == bool
        np.testing.assert_array_equal(found.masks, masks)
        np.testing.assert_allclose(found.scores["confidence"], confidence, atol=1e-5)
        np.testing.assert_allclose(torch.stack(list(found.memory)), logits, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_boxes_and_boxes_with_clicks_as_the_official_predictor(weights: Path, shape: tuple[int, int]) -> None:
    method, predictor = sam(weights), SamPredictor(load_sam(weights))
    image, rng = noise(*shape, seed=shape[1]), np.random.default_rng(3)
    predictor.set_image(image)
    prompts = []
    for prompt in [Prompt(()), Prompt(()), *random_prompts(shape, [1, 2, 1]), Prompt(())]:
        left, right = np.sort(rng.uniform(0, shape[1] - 1, 2)).tolist()
        top, bottom = np.sort(rng.uniform(0, shape[0] - 1, 2)).tolist()
        prompts.append(replace(prompt, boxes=(Box(left, top, right, bottom),)))
    found = answers(method, image, [*prompts, *random_prompts(shape, [1])])  # A click alone among them: three masks.
    for prompt, one in zip(prompts, found[:-1], strict=True):
        masks, confidence, logits = official(predictor, prompt, several=False)
        np.testing.assert_array_equal(one.masks, masks)
        np.testing.assert_allclose(one.scores["confidence"], confidence, atol=1e-5)
        np.testing.assert_allclose(torch.stack(list(one.memory)), logits, atol=1e-5)
        assert not np.array_equal(logits, official(predictor, replace(prompt, boxes=(Box(0, 0, 3, 3),)), False)[2])
    assert len(found[-1].masks) == 3


def test_a_box_with_three_masks_on_request(weights: Path) -> None:
    method, predictor = sam(weights, multimask="always"), SamPredictor(load_sam(weights))
    predictor.set_image(IMAGE)
    prompt = Prompt((), boxes=(Box(4, 6, 30.5, 20),))
    (found,) = answers(method, IMAGE, [prompt])
    np.testing.assert_array_equal(found.masks, official(predictor, prompt, several=True)[0])


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (Prompt(()), "needs a click or a box; found none"),
        (Prompt((), boxes=(Box(0, 0, 3, 3), Box(1, 1, 2, 2))), "found 2 boxes; wanted one"),
        (Prompt((), boxes=(Box(-9, 0, -1, 3),)), r"wanted one that reaches into the \d+ x \d+ image"),
        (Prompt((), boxes=(Box(0, 400, 3, 500),)), r"wanted one that reaches into the \d+ x \d+ image"),
    ],
)
def test_no_box_and_no_click_two_boxes_or_one_beside_the_image(weights: Path, prompt: Prompt, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        answers(sam(weights), IMAGE, [prompt])


def test_the_embedded_sam_answers_as_the_official_predictor() -> None:
    trained = ROOT / "methods" / "weights" / "scenes_sam.safetensors"
    method, predictor = sam(trained), SamPredictor(load_sam(trained))
    sample = Scenes("val", count=1).load("val-00000")
    image = np.ascontiguousarray(sample.image[:150])
    prompts = [Prompt((click_in(one.mask[:150]),)) for one in sample.instances if one.mask[:150].any()]
    predictor.set_image(image)
    for prompt, found in zip(prompts, answers(method, image, prompts), strict=True):
        np.testing.assert_array_equal(found.masks, official(predictor, prompt, several=True)[0])
        assert 0 < found.masks.mean() < 1


def test_the_masks_that_are_compared_are_of_all_sizes(weights: Path) -> None:
    shares = [found.masks.mean((1, 2)) for found in answers(sam(weights), IMAGE, random_prompts((40, 56), [1] * 8))]
    assert 0.02 < np.mean(shares) < 0.98
    assert np.ptp(shares) > 0.1


def test_earlier_logits_are_fed_back_as_the_official_mask_input(weights: Path) -> None:
    method, predictor = sam(weights), SamPredictor(load_sam(weights))
    predictor.set_image(IMAGE)
    first = answers(method, IMAGE, random_prompts((40, 56), [1, 1, 1]))
    prompts = [
        replace(prompt, previous=prediction.memory[number])
        for number, (prompt, prediction) in enumerate(zip(random_prompts((40, 56), [2, 2, 2]), first, strict=True))
    ]
    changed = 0
    for prompt, found in zip(prompts, answers(method, IMAGE, prompts), strict=True):
        np.testing.assert_array_equal(found.masks, official(predictor, prompt, several=False)[0])
        changed += int((found.masks ^ official(predictor, replace(prompt, previous=None), several=False)[0]).sum())
    assert changed


@pytest.mark.parametrize(("rule", "counts"), [("first", [3, 1]), ("always", [3, 3]), ("never", [1, 1])])
def test_how_many_masks_answer_one_click_and_two(weights: Path, rule: Any, counts: list[int]) -> None:
    method, predictor = sam(weights, multimask=rule), SamPredictor(load_sam(weights))
    predictor.set_image(IMAGE)
    prompts = random_prompts((40, 56), [1, 2])
    for prompt, count, found in zip(prompts, counts, answers(method, IMAGE, prompts), strict=True):
        assert len(found.masks) == count
        np.testing.assert_array_equal(found.masks, official(predictor, prompt, several=count == 3)[0])


def test_a_prompt_among_others_is_answered_as_alone(weights: Path) -> None:
    method = sam(weights, prompts_per_batch=3)
    (state,) = method.encode([IMAGE])
    prompts = random_prompts((40, 56), [1, 2, 1, 1, 3, 1, 2, 1])
    prompts[3] = replace(prompts[3], previous=torch.randn(TINY.network().prompt_encoder.mask_input_size))
    for prompt, found in zip(prompts, method.segment([(state, prompts)])[0], strict=True):
        ((alone,),) = method.segment([(state, [prompt])])
        np.testing.assert_array_equal(found.masks, alone.masks)
        np.testing.assert_allclose(found.scores["confidence"], alone.scores["confidence"], atol=1e-5)


def test_one_encoding_an_image_whatever_is_asked(weights: Path, clip_weights: Path) -> None:
    method = with_clip(weights, clip_weights, prompts_per_batch=64)
    calls = {"encoder": 0, "decoder": 0}
    for name, module in (("encoder", "image_encoder"), ("decoder", "mask_decoder")):
        getattr(method.network.model, module).register_forward_hook(
            lambda *_, name=name: calls.update({name: calls[name] + 1})
        )
    states = method.encode([IMAGE, noise(30, 50, 1)])
    prompts = [Prompt((Click(number, 2 * number),), "a cat") for number in range(10)]
    for _ in range(3):
        method.segment([(state, prompts) for state in states])
    assert method.image_encodings == calls["encoder"] == 2
    assert calls["decoder"] == 2 * 3


def test_all_rows_of_an_image_come_from_one_encoding(weights: Path, clip_weights: Path) -> None:
    method, dataset = with_clip(weights, clip_weights), Scenes("val", count=2)
    calls: list[Any] = []
    method.network.model.image_encoder.register_forward_hook(lambda *_: calls.append(None))
    protocol = Protocol("r", 0, Clicks(max_clicks=3), Text(), ("iou",))
    evaluation = Evaluation(method, dataset, [(Names("SAM", "sam", "scenes", "scenes"), protocol)])
    rows = list(evaluation.records(dataset.sample_ids()))
    assert {row.status for row in rows} == {"ok"}
    asked = {(row.instance_id, row.click_index, row.ranking) for row in rows}
    instances = {row.instance_id for row in rows}
    assert len(instances) > 10
    assert asked == {(one, k, name) for one in instances for k in (1, 2, 3) for name in (*method.rankings, "oracle")}
    assert len(calls) == 2


def test_the_first_rankings_logits_are_fed_back(weights: Path, clip_weights: Path) -> None:
    kept: list[list[tuple[Prompt, Prediction]]] = []

    class Watched(Sam):
        def segment(self, groups: Any) -> Any:
            found = super().segment(groups)
            kept.append([*zip(groups[0][1], found[0], strict=True)])
            return found

    clip = {"clip_model": CLIP_CONFIG, "clip_checkpoint": clip_weights, "multimask": "always"}
    method = Watched(weights, rankings=("clip", "confidence"), device="cpu", **clip)
    dataset = Scenes("val", count=1)
    protocol = Protocol("r", 0, Clicks(max_clicks=2), Text(), ("iou",))
    list(
        Evaluation(method, dataset, [(Names("SAM", "sam", "scenes", "scenes"), protocol)]).records(dataset.sample_ids())
    )
    first, second = kept
    assert all(prompt.previous is None for prompt, _ in first)
    for (_, answer), (prompt, _) in zip(first, second, strict=True):
        assert prompt.previous is answer.memory[int(np.argmax(answer.scores["clip"]))]


@pytest.mark.parametrize(("candidates", "planes"), [("chosen", 9), ("all", 27)])
def test_only_what_is_returned_is_upsampled(
    weights: Path, candidates: Any, planes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = sam(weights, candidates=candidates)
    upsampled, counts = method.network.upsampled, []
    monkeypatch.setattr(method.network, "upsampled", lambda x, size: counts.append(len(x)) or upsampled(x, size))
    answers(method, IMAGE, random_prompts((40, 56), [1] * 9))
    assert sum(counts) == planes


def test_both_rankings_and_the_oracle_come_from_one_forward_pass(weights: Path, clip_weights: Path) -> None:
    method, dataset, pairs = with_clip(weights, clip_weights), Scenes("val", count=2), []
    for sample in map(dataset.load, dataset.sample_ids()):
        prompts = [Prompt((click_in(one.mask),), one.category) for one in sample.instances]
        pairs += list(zip(sample.instances, answers(method, sample.image, prompts), strict=True))
    taken, gains = [], []
    for instance, found in pairs:
        check(found, instance.mask.shape)
        worth = {one.ranking: one for one in score(found, Region(instance.mask), [metric("iou")])}
        assert list(worth) == ["confidence", "clip", "oracle"]
        gains += [worth["oracle"].metrics["iou"] - worth[name].metrics["iou"] for name in ("confidence", "clip")]
        taken.append((worth["confidence"].candidate, worth["clip"].candidate))
    assert min(gains) >= 0
    assert max(gains) > 0
    assert any(confidence != clip for confidence, clip in taken)
    assert method.image_encodings == 2


@pytest.mark.parametrize("ranking", ["confidence", "clip"])
def test_chosen_alone_is_the_rankings_choice_of_all(weights: Path, clip_weights: Path, ranking: str) -> None:
    every = with_clip(weights, clip_weights)
    prompts = [replace(prompt, text="a cat") for prompt in random_prompts((40, 56), [1, 1, 2])]
    options = {"clip_model": CLIP_CONFIG, "clip_checkpoint": clip_weights}
    chosen = sam(weights, rankings=(ranking,), candidates="chosen", **options)
    for all_, one in zip(answers(every, IMAGE, prompts), answers(chosen, IMAGE, prompts), strict=True):
        best = int(np.argmax(all_.scores[ranking]))
        np.testing.assert_array_equal(one.masks, all_.masks[best : best + 1])
        np.testing.assert_allclose(one.memory[0], all_.memory[best], atol=1e-5)
        assert [worth.ranking for worth in score(one, Region(one.masks[0] | True), [metric("iou")])] == ["single"]


def test_options_that_contradict_each_other_are_refused(weights: Path, clip_weights: Path) -> None:
    with pytest.raises(UserError, match="candidates: all"):
        with_clip(weights, clip_weights, candidates="chosen")
    with pytest.raises(UserError, match="once each"):
        sam(weights, rankings=())
    with pytest.raises(UserError, match="prompts_per_batch=0"):
        sam(weights, prompts_per_batch=0)
    with pytest.raises(UserError, match="clip_checkpoint"):
        sam(weights, rankings=("clip",))


def test_a_config_builds_it(weights: Path, clip_weights: Path) -> None:
    params = {
        "checkpoint": str(weights),
        "rankings": ["confidence", "clip"],
        "clip_model": CLIP_CONFIG,
        "clip_checkpoint": str(clip_weights),
        "crop": "masked_padded",
        "device": "cpu",
    }
    resolved = parameters.resolve("methods", "sam", params)
    assert set(files.files("methods", "sam", resolved)) == {"checkpoint", "clip_checkpoint"}
    method = parameters.build("methods", "sam", json.loads(json.dumps(resolved)))
    assert method.rankings == ("confidence", "clip")
    assert isinstance(method.clip, ClipRanking)
    assert method.clip.crop == "masked_padded"
    with pytest.raises(UserError, match="crop"):
        parameters.resolve("methods", "sam", {**params, "crop": "circle"})


@pytest.mark.parametrize("click", [Click(56, 3), Click(-1, 3), Click(3, 40), Click(3, -1)])
def test_a_click_off_the_image_is_an_error(weights: Path, click: Click) -> None:
    with pytest.raises(ValueError, match="56 x 40"):
        sam(weights).predict(IMAGE, [CLICK, click], None)


def test_prompts_that_cannot_be_answered(weights: Path, clip_weights: Path) -> None:
    method = with_clip(weights, clip_weights)
    for text in (None, "", "  "):
        with pytest.raises(ValueError, match="needs a text"):
            method.predict(IMAGE, CLICK, text)
    with pytest.raises(ValueError, match="found none"):
        method.predict(IMAGE, [], "a cat")
    for memory in (np.ones((40, 56), bool), torch.zeros(4, 4)):
        with pytest.raises(ValueError, match=r"wanted the float logits \(32, 32\)"):
            answers(method, IMAGE, [Prompt((CLICK,), "a cat", memory)])


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1)])
def test_the_smallest_images_are_answered(weights: Path, clip_weights: Path, shape: tuple[int, int]) -> None:
    found = with_clip(weights, clip_weights).predict(noise(*shape), Click(shape[1] - 1, shape[0] - 1), "a cat")
    check(found, shape)


def test_no_prompts_and_no_images(weights: Path, clip_weights: Path) -> None:
    method = with_clip(weights, clip_weights)
    assert method.encode([]) == []
    assert method.segment([]) == []
    assert answers(method, IMAGE, []) == []


def test_the_input_stays_as_it_was_and_the_answer_too(weights: Path) -> None:
    image = IMAGE.copy()
    image.flags.writeable = False
    method = sam(weights)
    first, second = (method.predict(image, CLICK, None) for _ in range(2))
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(first.masks, second.masks)


def test_bfloat16_is_close(weights: Path) -> None:
    exact, rough = (sam(weights, precision=name).predict(IMAGE, CLICK, None) for name in ("float32", "bfloat16"))
    assert (exact.masks == rough.masks).mean() > 0.95
    assert any((a != b).any() for a, b in zip(exact.memory, rough.memory, strict=True))


class Burglar:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_but_tensors_is_unpickled(tmp_path: Path) -> None:
    torch.save({"image_encoder.pos_embed": torch.zeros(1), "x": Burglar(tmp_path / "open")}, tmp_path / "sam.pth")
    with pytest.raises(UserError, match="wanted only tensors"):
        load_sam(tmp_path / "sam.pth")
    assert not (tmp_path / "open").exists()


def test_files_that_are_no_checkpoint_of_sam(tmp_path: Path, weights: Path) -> None:
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 1024)}, tmp_path / "large.pth")
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "large.pth").read_bytes()[:50_000])
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:50_000])
    (tmp_path / "text.pth").write_text("<html>not found</html>")
    (tmp_path / "empty.pth").touch()
    wanted = {
        "large.pth": "found a SAM with backbone vit_l; wanted the released weights of SAM's vit_b",
        "other.pth": "found tensors such as conv.weight",
        "list.pth": "something other than a state_dict",
        "cut.pth": "no whole file",
        "cut.safetensors": "no whole file",
        "text.pth": "no whole file",
        "empty.pth": "no whole file",
        "absent.pth": "no file at checkpoint=",
        "sam_vit_b_01ec64.pth": "Fetch it: python -m harness weights fetch sam_vit_b, or correct",
    }
    for name, message in wanted.items():
        with pytest.raises(UserError, match=message) as caught:
            load_sam(tmp_path / name, "vit_b")
        assert name in str(caught.value)
        assert "orrect `" in str(caught.value)


def test_weights_that_training_made_for_another_method_are_called_so(tmp_path: Path, weights: Path) -> None:
    save_file(load_file(weights), tmp_path / "another.safetensors", {"architecture": '{"channels": {}}'})
    with pytest.raises(UserError, match="The file may be another method's: correct `checkpoint`"):
        load_sam(tmp_path / "another.safetensors")


def test_a_damaged_published_file_names_the_command(tmp_path: Path) -> None:
    for name, fetched in (("sam_vit_h_4b8939.pth", "sam_vit_h"), ("sam_hq_vit_b.pth", "sam_hq_vit_b")):
        (tmp_path / name).write_bytes(b"PK")
        with pytest.raises(UserError, match=f"Fetch it again: python -m harness weights fetch {fetched} --force, or"):
            read_tensors(tmp_path / name, "here")


def test_tensors_of_another_shape_are_named(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(UserError, match="3 tensors do not fit") as caught:
        tensors, about = read_tensors(weights, "here")
        tensors["mask_decoder.iou_token.weight"] = torch.zeros(1, 7)
        tensors["more"] = tensors.pop("image_encoder.pos_embed")
        save_file(tensors, tmp_path / "other.safetensors", about)
        load_sam(tmp_path / "other.safetensors")
    for part in (
        "found (1, 7), wanted (1, 32)",
        "pos_embed: found nothing",
        "more: found (1, 8, 8, 32), wanted nothing",
    ):
        assert part in str(caught.value)


def test_an_architecture_that_nobody_knows(tmp_path: Path, weights: Path) -> None:
    tensors, _ = read_tensors(weights, "here")
    save_file(tensors, tmp_path / "odd.safetensors", {"architecture": '{"wings": 2}'})
    with pytest.raises(UserError, match="wings"):
        load_sam(tmp_path / "odd.safetensors")
    with pytest.raises(UserError, match="Leave `backbone` out"):
        load_sam(weights, "vit_b")


def test_half_precision_weights_run_in_float32(tmp_path: Path, weights: Path) -> None:
    tensors, about = read_tensors(weights, "here")
    save_file({name: tensor.half() for name, tensor in tensors.items()}, tmp_path / "half.safetensors", about)
    model = load_sam(tmp_path / "half.safetensors")
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


@pytest.fixture(scope="module")
def official_vit_b() -> torch.nn.Module:
    """What the package's own builder makes; random weights."""
    torch.manual_seed(0)
    return sam_model_registry["vit_b"]()


@pytest.fixture(scope="module")
def vit_b(official_vit_b: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released format."""
    path = tmp_path_factory.mktemp("weights") / "sam_vit_b.pth"
    torch.save(official_vit_b.state_dict(), path)
    return path


def test_released_checkpoints_load_as_they_are(vit_b: Path) -> None:
    model = load_sam(vit_b, "vit_b")
    saved = torch.load(vit_b, weights_only=True)
    assert model.state_dict().keys() == saved.keys()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert not model.training
    with pytest.raises(UserError, match="found a SAM with backbone vit_b; wanted the released weights of SAM's vit_h"):
        load_sam(vit_b, "vit_h")


def test_vit_b_answers_as_the_official_predictor(official_vit_b: torch.nn.Module, vit_b: Path) -> None:
    """In its real sizes; of the encoder's twelve blocks the first three: two that attend in windows, one to all."""
    method, predictor = sam(vit_b, backbone="vit_b"), SamPredictor(official_vit_b.eval())
    for model in (method.network.model, predictor.model):
        del model.image_encoder.blocks[3:]
    assert [block.window_size for block in model.image_encoder.blocks] == [14, 14, 0]
    image, prompts = noise(120, 200), random_prompts((120, 200), [1, 1, 2])
    predictor.set_image(image)
    for prompt, found in zip(prompts, answers(method, image, prompts), strict=True):
        np.testing.assert_array_equal(found.masks, official(predictor, prompt, several=len(prompt.clicks) == 1)[0])
        assert 0.01 < found.masks.mean() < 0.99


@pytest.fixture(scope="module")
def learner() -> SamLearner:
    torch.manual_seed(0)
    return SamLearner(image_size=64, width=32, depth=1, heads=2, prompt_width=32, instances=3)


def batch(learner: SamLearner, samples: Sequence[Any]) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    examples = [learner.example(sample, sample.instances[0], SAID, rng) for sample in samples]
    return {key: torch.from_numpy(np.stack([example[key] for example in examples])) for key in examples[0]}


def test_an_example_is_a_scene_with_a_click_on_each_of_its_masks(learner: SamLearner) -> None:
    wide = Scenes("train", count=1).load("train-00000")
    wide = replace(
        wide,
        image=wide.image[40:160],
        instances=tuple(replace(one, mask=one.mask[40:160]) for one in wide.instances if one.mask[40:160].any()),
    )
    rng = np.random.default_rng(0)
    for _ in range(4):
        example = learner.example(wide, wide.instances[-1], SAID, rng)
        assert example["pixels"].shape == (3, 64, 64)
        assert (example["pixels"][:, 40:] == 0).all()  # padding, after 120 x 192 became 40 x 64
        assert (example["target"][:, 20:] == 0).all()
        for (x, y), target in zip(example["clicks"], example["target"], strict=True):
            assert target[int((y + 0.5) / 2), int((x + 0.5) / 2)] > 0


def test_others_are_drawn_from_the_same_half_of_the_split(learner: SamLearner) -> None:
    sample = Scenes("train", count=1).load("train-00000")
    seen = [one for one in sample.instances if one.seen]
    sizes = {round(float(learner._target(one, mirror).sum()), 3) for one in seen for mirror in (1, -1)}
    rng = np.random.default_rng(0)
    for _ in range(5):
        target = learner.example(sample, seen[0], SAID, rng)["target"]
        assert {round(float(one.sum()), 3) for one in target} <= sizes


def test_prompts_of_several_images_are_decoded_as_by_the_package(learner: SamLearner) -> None:
    torch.manual_seed(0)
    embeddings, points, labels = torch.randn(2, 32, 8, 8), torch.rand(4, 2, 2) * 64, torch.tensor([[1.0, 0]] * 4)
    model, previous = learner.network, torch.randn(4, 1, 32, 32)
    for several, masks in ((True, None), (False, previous)):
        logits, confidence = learner._decoded(embeddings, points, labels, masks, several)
        for number in range(2):
            part = slice(2 * number, 2 * number + 2)
            prompts = model.prompt_encoder((points[part], labels[part]), None, None if masks is None else masks[part])
            positions = model.prompt_encoder.get_dense_pe()
            wanted = model.mask_decoder(embeddings[number : number + 1], positions, *prompts, several)
            torch.testing.assert_close(logits[part], wanted[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(confidence[part], wanted[1], atol=1e-5, rtol=1e-4)


def test_the_loss_falls_and_reaches_every_weight(learner: SamLearner) -> None:
    dataset = Scenes("train", count=2)
    examples = batch(learner, [dataset.load(one) for one in dataset.sample_ids()])
    optimizer = torch.optim.AdamW(learner.parameter_groups(0.01), lr=2e-3)
    losses = []
    for _ in range(25):
        loss = learner.loss(examples)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.75 * losses[0]
    untaught = {name for name, one in learner.network.named_parameters() if one.requires_grad and one.grad is None}
    assert not untaught


def test_what_is_trained_loads_as_a_method(learner: SamLearner, tmp_path: Path) -> None:
    tensors = {name: tensor.clone().contiguous() for name, tensor in learner.network.state_dict().items()}
    save_file(tensors, tmp_path / "own.safetensors", learner.metadata())
    method = sam(tmp_path / "own.safetensors")
    check(method.predict(IMAGE, CLICK, None), (40, 56))
    learner.network.eval()
    predictor = SamPredictor(learner.network)
    predictor.set_image(IMAGE)
    np.testing.assert_array_equal(
        method.predict(IMAGE, CLICK, None).masks, official(predictor, Prompt((CLICK,)), several=True)[0]
    )


def test_second_clicks_fall_where_the_mask_is_wrong() -> None:
    truth, predicted = torch.zeros(2, 3, 4, 6, dtype=torch.bool).unbind()
    truth[0, 1, 5] = True  # missed
    predicted[1, 3, 2] = True  # too much
    cells, positive = drawn_from_error(predicted, truth)
    assert cells[:2].tolist() == [[5, 1], [2, 3]]
    assert positive.tolist()[:2] == [True, False]
    assert not positive[2]


def test_the_mask_loss_by_hand() -> None:
    logits, target = torch.tensor([[[[20.0, -20.0]]]]), torch.tensor([[[[1.0, 0.0]]]])
    assert mask_loss(logits, target).item() == pytest.approx(0, abs=1e-4)
    # Every probability is 1/2: focal 20 * mean(alpha) / 4 * log 2, dice 1 - (2 * 0.5 + 1) / (1 + 1 + 1).
    flat = mask_loss(torch.zeros(1, 1, 1, 2), target).item()
    assert flat == pytest.approx(20 * 0.5 * 0.25 * np.log(2) + 1 / 3, rel=1e-5)
