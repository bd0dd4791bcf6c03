"""open_clip models: their weights' formats, what is refused, the cut vocabulary, the text embeddings."""

from __future__ import annotations

import gzip
import json
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from harness.methods.shared import open_clip_model
from harness.methods.shared.clip_config import model_config, pixel_statistics
from harness.methods.shared.clip_tokens import clip_text_limit, clip_tokenizer
from harness.methods.shared.open_clip_model import ClipModel
from open_clip.tokenizer import default_bpe
from open_clip.transformer import QuickGELU
from safetensors.torch import save_file

from harness.structures import UserError
from small_clips import embedded

pytestmark = pytest.mark.slow

load_clip = partial(open_clip_model.load_clip, device="cpu")
ROOT = Path(__file__).resolve().parents[2]
SCENES = "methods/weights/scenes_clip.json"
PIXELS = torch.linspace(-1, 1, 3 * 128 * 128).reshape(1, 3, 128, 128)


@pytest.fixture(scope="module")
def clip() -> ClipModel:
    torch.manual_seed(0)
    return load_clip(SCENES, allow_random=True)


@pytest.fixture
def quick(tmp_path: Path) -> str:
    """The scenes' config with QuickGELU."""
    path = tmp_path / "quick.json"
    path.write_text(json.dumps({**json.loads((ROOT / SCENES).read_text()), "quick_gelu": True}))
    return str(path)


def weights(clip: ClipModel) -> dict[str, torch.Tensor]:
    return {key: value.detach().clone() for key, value in clip.module.state_dict().items()}


@pytest.fixture
def openai_archive(quick: str, tmp_path: Path) -> Path:
    """A TorchScript archive as OpenAI published theirs: float16, three integers among the weights."""
    clip = load_clip(quick, allow_random=True)
    for key, value in {"input_resolution": 128, "context_length": 24, "vocab_size": 2014}.items():
        if hasattr(clip.module, key):
            delattr(clip.module, key)
        clip.module.register_buffer(key, torch.tensor(value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what tracing fixes to constants does not matter here
        traced = torch.jit.trace(clip.module, (PIXELS, clip.tokenizer(["a car"])), check_trace=False)
    torch.jit.save(traced.half(), str(tmp_path / "tiny.pt"))
    return tmp_path / "tiny.pt"


def answers(clip: ClipModel) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([clip.module.encode_image(PIXELS), clip.module.encode_text(clip.tokenizer(["a red car"]))])


def test_plain_open_clip_loads_the_scenes_config(clip: ClipModel) -> None:
    open_clip.add_model_config(ROOT / SCENES)
    plain = open_clip.create_model("scenes_clip").eval()
    plain.load_state_dict(clip.module.state_dict())
    assert torch.equal(plain.encode_image(PIXELS), clip.module.encode_image(PIXELS))
    assert sum(parameter.numel() for parameter in plain.parameters()) == 1_106_305
    assert clip.image_size == (128, 128)
    assert clip.image_mean == plain.visual.image_mean
    assert not clip.module.training


def test_every_format_gives_the_same_answers(clip: ClipModel, tmp_path: Path) -> None:
    save_file(weights(clip), tmp_path / "a.safetensors")
    torch.save(weights(clip), tmp_path / "b.pt")
    nested = {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in weights(clip).items()}}
    torch.save(nested, tmp_path / "c.pt")
    wrapped = {"model_state_dict": {f"model.{key}": value for key, value in weights(clip).items()}}
    torch.save({**wrapped, "best": np.float64(0.5)}, tmp_path / "d.pt")
    for name in ("a.safetensors", "b.pt", "c.pt", "d.pt"):
        assert torch.equal(answers(load_clip(SCENES, tmp_path / name)), answers(clip)), name


def test_float16_weights_load_as_float32(clip: ClipModel, tmp_path: Path) -> None:
    half = {key: value.half() for key, value in weights(clip).items()}
    save_file(half, tmp_path / "half.safetensors")
    loaded = load_clip(SCENES, tmp_path / "half.safetensors")
    for key, value in loaded.module.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, half[key].float()), key


def test_openai_archive_loads_into_a_quickgelu_model(openai_archive: Path, quick: str) -> None:
    loaded = load_clip(quick, openai_archive)
    stored = torch.jit.load(str(openai_archive)).state_dict()
    assert {"input_resolution", "vocab_size"} < set(stored)
    assert isinstance(loaded.module.transformer.resblocks[0].mlp.gelu, QuickGELU)
    for key, value in loaded.module.state_dict().items():
        assert torch.equal(value, stored[key].float()), key


def test_openai_archive_is_refused_by_a_gelu_model(openai_archive: Path) -> None:
    with pytest.raises(UserError, match="trained with QuickGELU"):
        load_clip(SCENES, openai_archive)


def test_a_file_named_after_openai_is_refused_without_quickgelu(clip: ClipModel, tmp_path: Path) -> None:
    save_file(weights(clip), tmp_path / "tiny.openai.safetensors")
    with pytest.raises(UserError, match="quickgelu"):
        load_clip(SCENES, tmp_path / "tiny.openai.safetensors")


def test_no_checkpoint_names_the_download() -> None:
    with pytest.raises(UserError, match=r"https://\S+RN50\.pt"):
        load_clip("RN50-quickgelu")
    with pytest.raises(UserError, match="no checkpoint for model=methods"):
        load_clip(SCENES)


def test_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file at checkpoint=.*absent\.pt"):
        load_clip(SCENES, tmp_path / "absent.pt")
    with pytest.raises(UserError, match=r"ViT-L-14-336px\.pt.*python -m harness weights fetch clip_vit_l_14_336,"):
        load_clip(SCENES, tmp_path / "ViT-L-14-336px.pt")


def test_wrong_weights_name_the_first_tensor_and_both_shapes(clip: ClipModel, tmp_path: Path) -> None:
    found = weights(clip)
    found["visual.positional_embedding"] = torch.zeros(50, 128)
    del found["ln_final.bias"]
    found["extra"] = torch.zeros(3)
    save_file(found, tmp_path / "wrong.safetensors")
    with pytest.raises(UserError) as error:
        load_clip(SCENES, tmp_path / "wrong.safetensors")
    assert "visual.positional_embedding: found (50, 128), wanted (257, 128)" in str(error.value)
    assert "ln_final.bias: found nothing, wanted (64,)" in str(error.value)
    assert "extra: found (3,), wanted nothing" in str(error.value)


class Bomb:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.trace,)


def test_a_pickle_runs_no_code(tmp_path: Path) -> None:
    torch.save({"a": Bomb(tmp_path / "exploded")}, tmp_path / "bomb.pt")
    with pytest.raises(UserError, match="wanted only tensors"):
        load_clip(SCENES, tmp_path / "bomb.pt")
    assert not (tmp_path / "exploded").exists()


class Meddler(torch.nn.Module):
    """Writes a file when TorchScript loads it."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path, self.weight = path, torch.nn.Parameter(torch.zeros(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def __getstate__(self):  # type: ignore[no-untyped-def]
        return (self.path, self.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, torch.Tensor, bool]) -> None:
        self.path = state[0]
        self.weight = state[1] + torch.from_file(state[0], True, 2)
        self.training = state[2]


def test_an_archives_programs_do_not_run(tmp_path: Path) -> None:
    torch.jit.script(Meddler(str(tmp_path / "written"))).save(str(tmp_path / "RN50.pt"))
    (tmp_path / "written").unlink(missing_ok=True)
    with pytest.raises(UserError, match="wanted tensors alone"):
        load_clip(SCENES, tmp_path / "RN50.pt")
    assert not (tmp_path / "written").exists()
    torch.jit.load(tmp_path / "RN50.pt")
    assert (tmp_path / "written").exists(), "the archive is harmless, so the test shows nothing"


@pytest.mark.parametrize("content", [{"a": 1}, [torch.zeros(2)], {}])
def test_a_file_without_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(UserError, match="found no state_dict"):
        load_clip(SCENES, tmp_path / "other.pt")


@pytest.mark.parametrize("name", ["broken.pt", "broken.safetensors"])
def test_a_broken_download_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match="Fetch it again"):
        load_clip(SCENES, tmp_path / name)


def test_a_truncated_or_damaged_file_is_refused(openai_archive: Path, clip: ClipModel, tmp_path: Path) -> None:
    torch.save(weights(clip), tmp_path / "a.pt")
    save_file(weights(clip), tmp_path / "a.safetensors")
    rng = np.random.default_rng(0)
    for file in (openai_archive, tmp_path / "a.pt", tmp_path / "a.safetensors"):
        whole = file.read_bytes()
        for kept in (0, 100, len(whole) // 2, len(whole) - 30):
            file.write_bytes(whole[:kept])
            with pytest.raises(UserError, match="Fetch it again"):
                load_clip(SCENES, file)
        file.write_bytes(rng.bytes(5000))
        with pytest.raises(UserError, match="Fetch it again"):
            load_clip(SCENES, file)


def test_unknown_models_are_refused() -> None:
    with pytest.raises(UserError, match="Did you mean 'ViT-B-16'"):
        model_config("ViT-B_16")
    with pytest.raises(UserError, match="wanted a CLIP with CLIP's own text tower"):
        model_config("ViT-B-16-SigLIP")
    with pytest.raises(UserError, match=r"no file at model=.*absent\.json"):
        model_config("absent.json")


def test_cut_vocabulary_is_the_first_merges_of_open_clips() -> None:
    tokenizer = clip_tokenizer({"context_length": 24, "vocab_size": 2014})
    full = open_clip.SimpleTokenizer()
    assert tokenizer.vocab_size == 2014
    assert list(tokenizer.bpe_ranks) == list(full.bpe_ranks)[:1500]
    assert (tokenizer.sot_token_id, tokenizer.eot_token_id) == (2012, 2013)
    assert tokenizer.decode(tokenizer.encode("a photo of the weird xylophone.")) == "a photo of the weird xylophone . "
    tokens = tokenizer(["car", "a long " * 40])
    assert tokens.shape == (2, 24)
    assert tokens.max() == tokens[1, -1] == 2013  # the pooled token is the end, also of a text cut short


def test_full_vocabulary_is_open_clips_own() -> None:
    texts = ["a photo of a teddy bear.", "jpeg corrupted"]
    assert torch.equal(clip_tokenizer({})(texts), open_clip.get_tokenizer("RN50")(texts))
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as file:
        assert len(file.read().split("\n")) > 49408 - 514


def test_a_vocabulary_that_cannot_be_is_refused_before_any_text_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="vocab_size is 50000"):
        clip_tokenizer({"vocab_size": 50000})
    config = {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {"vocab_size": 50000}}
    (tmp_path / "large.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="vocab_size is 50000"):
        clip_text_limit(str(tmp_path / "large.json"), lambda: ("{}",), "{}")


def test_text_embedding_is_the_normalised_mean_of_normalised_templates(clip: ClipModel) -> None:
    templates = ("a photo of a {}.", "there is the {} in the scene.", "{}")
    found = embedded(clip, ["car", "tall house"], templates)
    for row, name in zip(found, ["car", "tall house"], strict=True):
        total = torch.zeros(128, dtype=torch.float64)
        for template in templates:
            vector = clip.module.encode_text(clip.tokenizer([template.replace("{}", name)]))[0].double()
            total += vector / vector.pow(2).sum().sqrt()
        torch.testing.assert_close(row.double(), total / total.pow(2).sum().sqrt(), rtol=0, atol=1e-6)


PIXELS_OF = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.5]}


@pytest.mark.parametrize("form", ["beside the model", "open_clip_config"])
def test_a_configs_own_mean_and_std_are_open_clips(clip: ClipModel, tmp_path: Path, form: str) -> None:
    model = json.loads((ROOT / SCENES).read_text())
    whole = {"model_cfg": model, "preprocess_cfg": PIXELS_OF}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(whole))
    save_file(weights(clip), tmp_path / "open_clip_model.safetensors")
    theirs = open_clip.create_model(f"local-dir:{tmp_path}").eval()
    if form == "beside the model":
        (tmp_path / "open_clip_config.json").write_text(json.dumps({**model, "preprocess_cfg": PIXELS_OF}))
    ours = load_clip(str(tmp_path / "open_clip_config.json"), tmp_path / "open_clip_model.safetensors")
    assert (ours.image_mean, ours.image_std) == ((0.5, 0.4, 0.3), (0.2, 0.25, 0.5))
    assert (ours.image_mean, ours.image_std) == (tuple(theirs.visual.image_mean), tuple(theirs.visual.image_std))
    assert torch.equal(answers(ours), answers(clip))


def test_every_plain_clips_mean_and_std_are_those_of_its_tag_in_open_clip() -> None:
    compared = 0
    for name, tag in open_clip.list_pretrained():
        try:
            model_config(f"{name}:{tag}")
        except UserError:  # It has another text tower.
            continue
        theirs = open_clip.get_pretrained_cfg(name, tag)
        found = pixel_statistics(f"{name}:{tag}", Path("weights.bin"), from_openai=False)
        assert found == (tuple(theirs["mean"]), tuple(theirs["std"])), (name, tag)
        assert found == pixel_statistics(name, Path(f"{name}-{tag}.pt"), from_openai=False), (name, tag)
        compared += 1
    assert compared > 80


def test_where_the_tags_of_a_name_differ_one_must_be_named() -> None:
    half = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    openai = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    statistics = pixel_statistics
    assert statistics("ViT-L-14:laion2b_s32b_b82k", Path("a.bin"), from_openai=False) == half
    assert statistics("ViT-L-14", Path("ViT-L-14-laion2B_s32B_b82K.bin"), from_openai=False) == half
    assert statistics("ViT-L-14", Path("a.pt"), from_openai=True) == openai
    assert statistics("ViT-L-14", None, from_openai=False) == openai
    assert statistics("ViT-L-14-quickgelu", Path("a.pt"), from_openai=False) == openai
    with pytest.raises(UserError, match=r"2 ways.*a\.bin names none.*ViT-L-14:laion2b_s32b_b82k"):
        statistics("ViT-L-14", Path("a.bin"), from_openai=False)
    with pytest.raises(UserError, match="Did you mean 'laion2b_s32b_b82k'"):
        model_config("ViT-L-14:laion2b_s32b_b82")


@pytest.mark.parametrize("wrong", [{"mean": [0.5, 0.5]}, {"std": [0.5, 0, 0.5]}, {"mean": "half"}])
def test_a_configs_mean_and_std_that_cannot_be_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**json.loads((ROOT / SCENES).read_text()), "preprocess_cfg": wrong}))
    with pytest.raises(UserError, match="wanted three numbers each"):
        load_clip(str(path), allow_random=True)


@pytest.mark.parametrize("model", ["hf-hub:timm/ViT-B-16-SigLIP", "local-dir:weights/clip"])
def test_a_model_of_the_hub_is_refused_before_anything_is_asked(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_clip, "get_model_config", lambda _: pytest.fail("the hub was asked"))
    with pytest.raises(UserError, match=r"Download the model's open_clip_config\.json"):
        load_clip(model, allow_random=True)


@pytest.mark.parametrize("content", ["[1]", "{", '{"model_cfg": 3}', '{"preprocess_cfg": 3}'])
def test_a_config_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match="wanted a model config in open_clip's format"):
        model_config(str(tmp_path / "a.json"))


def test_a_text_beyond_the_context_is_refused_and_one_that_fills_it_is_not(clip: ClipModel) -> None:
    context = clip.tokenizer.context_length
    fits = "a " * (context - 3) + "a"
    assert len(clip.tokenizer.encode(fits)) + 2 == context
    assert embedded(clip, [fits[2:], "a car"], ["{}"]).shape == (2, 128)
    for end in ("red", "blue"):
        with pytest.raises(ValueError, match=rf"found a text of \d+ tokens, 'a .* {end}'; wanted at most {context}"):
            embedded(clip, ["a car", f"{fits} {end}"], ["{}"])
    assert embedded(clip, [fits], ["{}"]).shape == (1, 128)
