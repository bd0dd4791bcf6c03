"""What `doctor` finds: data sets that are whole or not, checkpoints, and the machine."""

from __future__ import annotations

import json
import subprocess
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import real_data
from harness.config.run_config import RunConfig, load_run
from harness.plugins import parameters, registry
from harness.running import doctor, published_counts
from harness.running.doctor import Finding, State, examined, fitness
from toy_files import picture
from toy_runs import STEADY

SCENES = {"name": "scenes", "params": {"count": 4}}
Usage = namedtuple("Usage", "total used free")


def loaded(folder: Path, **changed: Any) -> RunConfig:
    path = folder / "a.yaml"
    known = {"run": "r", "datasets": [SCENES], "methods": [STEADY], "workers": {"executor": "local"}}
    path.write_text(yaml.safe_dump(known | changed))
    return load_run(path)


def found(config: RunConfig, subject: str) -> list[tuple[str, str]]:
    return [(one.state.value, one.text) for one in examined(config) if one.subject == subject]


def whole(monkeypatch: pytest.MonkeyPatch, **line: str) -> None:
    known = {"dataset": "scenes", "params": "split=val", "images": "4", "instances": "", "w": "", "w_within": "0.001"}
    monkeypatch.setattr(published_counts, "lines", lambda: [known | {"source": "a page"} | line])


def scenes_facts() -> tuple[int, float]:
    dataset = parameters.build("datasets", "scenes", {"count": 4})
    seen = [one.seen for sample_id in dataset.sample_ids() for one in dataset.list_instances(sample_id)]
    return len(seen), sum(seen) / len(seen)


@pytest.mark.slow
def test_a_whole_data_set_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count, share = scenes_facts()
    whole(monkeypatch, instances=str(count), w=f"{share:.4f}")
    assert [state for state, _ in found(loaded(tmp_path), "scenes")] == ["fine"] * 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"images": "5"}, "found 4 images; wanted 5 (a page)"),
        ({"instances": "7"}, "instances; wanted 7 (a page)"),
        ({"w": "0.9"}, "the share of seen instances; wanted 0.9 within 0.001 (a page). Correct `seen`"),
    ],
)
def test_what_differs_from_the_published_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: dict[str, str], said: str
) -> None:
    whole(monkeypatch, **line)
    (wrong,) = [text for state, text in found(loaded(tmp_path), "scenes") if state == "wrong"]
    assert said in wrong


def test_without_a_published_count_what_is_there_is_a_note(tmp_path: Path) -> None:
    said = found(loaded(tmp_path), "scenes")
    assert said[0] == ("fine", "decodes (all 4 images)")
    assert [state for state, _ in said[1:]] == ["note"] * 3


@pytest.mark.slow
def test_a_data_set_that_is_not_there_is_wrong_and_the_others_are_looked_at(tmp_path: Path) -> None:
    absent = {"name": "coco", "params": {"root": str(tmp_path)}}
    config = loaded(tmp_path, datasets=[absent, SCENES])
    ((state, said),) = found(config, "coco")
    assert state == "wrong" and "instances_val2017.json" in said and "Download it" in said
    assert len(found(config, "scenes")) == 4


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        ("Counted", "data set 'toys': gives the instance '0' twice; wanted ids that are unique in the data set"),
        ("Bare", "data set 'toys' has no instance in any of its 6 images; wanted one at least"),
        ("Lazy", "data set 'toys': sample_ids() returned generator; wanted a list of texts"),
        ("Classless", "data set 'toys': `classes` is nothing; wanted the names of its categories"),
    ],
)
def test_a_data_set_that_keeps_no_contract_is_wrong(tmp_path: Path, plugin: str, said: str) -> None:
    toys = {"name": f"fakes:{plugin}", "label": "toys"}
    wrong = [text for state, text in found(loaded(tmp_path, datasets=[toys]), "toys") if state == "wrong"]
    assert len(wrong) == 1 and wrong[0].startswith(said)


def test_an_image_that_does_not_load_is_wrong(tmp_path: Path) -> None:
    toys = {"name": "fakes:Toys", "label": "toys", "params": {"count": 5, "unreadable": [2]}}
    assert ("wrong", "image toy-2: cut off\nafter 7 bytes") in found(loaded(tmp_path, datasets=[toys]), "toys")


def test_a_large_data_set_is_opened_at_three_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OPENED_WHOLE", 3)
    assert found(loaded(tmp_path), "scenes")[0] == ("fine", "decodes (val-00000, val-00002, val-00003)")


def _own(root: Path, annotations: list[dict[str, Any]], images: int = 1) -> dict[str, Any]:
    """A COCO file of somebody's own, as an entry of a config."""
    (root / "val").mkdir()
    (root / "annotations").mkdir()
    for number in range(1, images + 1):
        picture(32, 48, 3).save(root / "val" / f"{number}.png")
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 32, "width": 48} for n in range(1, images + 1)],
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": [{"id": number, "category_id": 1} | one for number, one in enumerate(annotations, 1)],
    }
    (root / "annotations" / "instances_val.json").write_text(json.dumps(content))
    return {"name": "coco", "label": "own", "params": {"root": str(root), "split": "val", "seen": None}}


BOX = [[4, 3, 20, 3, 20, 15]]


def test_each_broken_image_of_a_small_data_set_is_wrong(tmp_path: Path) -> None:
    drawn = [{"image_id": n, "segmentation": [] if n in (3, 6) else BOX} for n in range(1, 9)]
    entry = _own(tmp_path, [*drawn, {"image_id": 6, "segmentation": [[1]]}], images=8)
    (tmp_path / "val" / "2.png").write_bytes(b"")
    wrong = [text for state, text in found(loaded(tmp_path, datasets=[entry]), "own") if state == "wrong"]
    assert [text[:8] for text in wrong] == ["image 2:", "image 3:", "image 6:"]
    assert "will be a failed row: instance 3: found the segmentation []" in wrong[1]
    assert "2 instances will be failed rows, the first instance 6: found" in wrong[2]


def test_what_a_data_set_leaves_out_is_a_note(tmp_path: Path) -> None:
    entry = _own(tmp_path, [{"image_id": 1, "segmentation": BOX, "iscrowd": n} for n in (0, 1, 1)])
    said = "leaves out 2 crowd regions (iscrowd: 1; `crowd: keep` evaluates them)"
    assert ("note", said) in found(loaded(tmp_path, datasets=[entry]), "own")


@pytest.mark.slow
def test_a_mistake_that_only_listing_finds_is_said_once_and_nothing_is_counted(tmp_path: Path) -> None:
    (tmp_path / "val2017").mkdir()
    (tmp_path / "annotations").mkdir()
    box = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [[0, 0, 5, 0, 5, 5]]}
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "height": 32, "width": 48}],
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": [box],
    }
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    entry = {"name": "coco", "params": {"root": str(tmp_path), "seen": ["cap"]}}
    method = STEADY | {"trained_on": {"datasets": [SCENES]}}
    config = loaded(tmp_path, datasets=[entry, SCENES], methods=[method])
    ((state, said),) = found(config, "coco")
    assert state == "wrong" and "no category 'cap'" in said and "Did you mean 'cup'" in said
    assert ("note", "was trained on 4 of the 4 images of scenes; tables say so") in found(config, "steady")


def test_images_that_cannot_be_listed_are_wrong_wherever_they_stand(tmp_path: Path) -> None:
    toys = {"name": "fakes:Toys", "label": "toys", "params": {"count": 6, "unreadable": [1, 4]}}
    said = found(loaded(tmp_path, datasets=[toys]), "toys")
    assert ("wrong", "2 images cannot be listed, the first toy-1: cut off\nafter 7 bytes") in said
    assert ("note", "8 instances; no published count to compare with") in said


def test_a_data_set_that_does_not_list_ends_no_other_check(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    method = STEADY | {"trained_on": {"datasets": [SCENES]}}
    config = loaded(tmp_path, datasets=[{"name": "folder", "params": {"root": str(tmp_path)}}], methods=[method])
    ((state, said),) = found(config, "folder")
    assert state == "wrong" and "no image in" in said
    assert found(config, "steady") == [("fine", "needs no file")]


def test_instances_without_words_are_a_note_for_a_method_that_reads_them(tmp_path: Path) -> None:
    halves = {"name": "fakes:Nameless", "label": "halves", "params": {"count": 3}}
    reads, clicks = STEADY | {"label": "reads", "uses_text": True}, STEADY | {"label": "clicks"}
    config = loaded(tmp_path, datasets=[halves], methods=[reads, clicks])
    said = "3 of 6 instances of halves have no words: they will be failed rows if it needs some"
    assert ("note", said) in found(config, "reads") and ("note", said) not in found(config, "clicks")
    config = loaded(tmp_path, datasets=[halves], methods=[reads], text={"rule": "none"})
    assert ("note", said) not in found(config, "reads")


@pytest.mark.slow
def test_checkpoints(tmp_path: Path) -> None:
    own = tmp_path / "own.pth"
    own.write_bytes(b"weights")
    for name, state, said in [
        (own, "fine", "checkpoint: own.pth, sha256 "),
        (tmp_path / "gone.pth", "wrong", "Correct `checkpoint`, or train it"),
        (tmp_path / "sam_vit_h_4b8939.pth", "wrong", "Fetch it: python -m harness weights fetch sam_vit_h"),
    ]:
        ((was, text),) = found(loaded(tmp_path, methods=[STEADY | {"params": {"checkpoint": str(name)}}]), "steady")
        assert was == state and said in text
    assert found(loaded(tmp_path), "steady") == [("fine", "needs no file")]


def test_a_published_checkpoint_that_is_another_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "sam_vit_b_01ec64.pth"
    path.write_bytes(b"truncated")
    ((state, said),) = found(loaded(tmp_path, methods=[STEADY | {"params": {"checkpoint": str(path)}}]), "steady")
    assert state == "wrong" and "wanted about 375 MB" in said and "weights fetch sam_vit_b --force" in said


@pytest.mark.slow
def test_training_images_are_a_note(tmp_path: Path) -> None:
    method = STEADY | {"trained_on": {"datasets": [{"name": "scenes", "params": {"count": 3}}]}}
    said = found(loaded(tmp_path, methods=[method]), "steady")
    assert ("note", "was trained on 3 of the 4 images of scenes; tables say so") in said
    method["trained_on"]["datasets"][0]["params"] = {"count": 3, "split": "train"}
    said = found(loaded(tmp_path, methods=[method]), "steady")
    assert ("fine", "was trained on 0 of the 4 images of scenes") in said


@pytest.mark.slow
def test_methods_and_the_disk_are_looked_at_for_what_the_run_asks_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = {"name": "scenes", "params": {"count": 3}}
    methods = [STEADY | {"datasets": ["scenes"], "trained_on": {"datasets": [three]}}]
    config = loaded(tmp_path, limit=2, datasets=[SCENES, SCENES | {"label": "others"}], methods=methods)
    assert found(config, "steady") == [
        ("fine", "needs no file"),
        ("note", "was trained on 2 of the 2 images of scenes; tables say so"),
    ]
    dataset = parameters.build("datasets", "scenes", {"count": 4})
    count = sum(len(dataset.list_instances(sample_id)) for sample_id in dataset.sample_ids()[:2])
    disk(monkeypatch, free=2 * 3 * count * doctor.BYTES_A_ROW)
    assert found(config, "disk")[0][0] == "fine"


def own_images(folder: Path, texts: str, *names: str) -> dict[str, Any]:
    """A data set of one's own, with an instance an image."""
    for name in names:
        for kind, mode in {"images": "RGB", "masks": "1"}.items():
            (folder / kind).mkdir(exist_ok=True)
            picture(8, 9, 3).convert(mode).save(folder / kind / f"{name}.png")
    (folder / "texts.csv").write_text(texts)
    return {"name": "folder", "params": {"root": str(folder)}}


@pytest.mark.slow
def test_a_class_that_is_written_in_two_ways_is_a_note(tmp_path: Path) -> None:
    mine = own_images(tmp_path, "image,category\na,left car\nb,Left_car\nc,cart\nd,left car\n", *"abcd")
    said = found(loaded(tmp_path, datasets=[mine]), "folder")
    assert ("note", "'left car' and 'Left_car' count as 2 classes. If they are one, write it in one way.") in said
    mine = own_images(tmp_path, "image,category\na,left car\nb,cart\n", *"abcd")
    assert not [text for _, text in found(loaded(tmp_path, datasets=[mine]), "folder") if "classes" in text]


@pytest.mark.slow
def test_words_are_looked_for_where_the_run_asks(tmp_path: Path) -> None:
    mine = own_images(tmp_path, "image,text\na,cup\n", "a", "b")
    reads = STEADY | {"uses_text": True}
    assert len(found(loaded(tmp_path, datasets=[mine], methods=[reads]), "steady")) == 2
    assert found(loaded(tmp_path, datasets=[mine], methods=[reads], limit=1), "steady") == [("fine", "needs no file")]
    others = {"only": {"folder": ["b"]}}
    assert len(found(loaded(tmp_path, datasets=[mine], methods=[reads], **others), "steady")) == 2


@pytest.mark.slow
def test_a_file_that_is_none_of_keys_is_wrong_and_the_next_method_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text("139\n")
    methods = [STEADY | {"trained_on": {"images": str(tmp_path / "keys.txt")}}, STEADY | {"label": "next"}]
    config = loaded(tmp_path, methods=methods)
    assert found(config, "steady")[-1][0] == "wrong" and "found '139'" in found(config, "steady")[-1][1]
    assert found(config, "next") == [("fine", "needs no file")]


def due(**recipe: Any) -> dict[str, Any]:
    """A method that must be trained first."""
    return {
        "name": "click_only",
        "train": {"learner": {"name": "prompted_deeplab"}, "datasets": [SCENES], "steps": 1} | recipe,
    }


@pytest.mark.slow
def test_what_is_not_trained_yet_is_a_note_and_its_data_are_looked_at(tmp_path: Path) -> None:
    seen = {"name": "scenes", "params": {"count": 4, "seen": ["cup"]}}
    config = loaded(tmp_path, methods=[due(), due(datasets=[seen]) | {"label": "again"}])
    (state, said), _ = found(config, "click_only")
    assert state == "note" and said.endswith("yet: `run` trains it first")
    assert found(config, "scenes, to train on") == [("fine", "4 images")]


@pytest.mark.slow
def test_what_a_training_lacks_is_wrong(tmp_path: Path) -> None:
    absent = {"name": "coco", "params": {"root": str(tmp_path)}}
    params = {"encoder_weights": str(tmp_path / "gone.pth"), "features_folder": str(tmp_path / "made by training")}
    learner = {"name": "prompted_deeplab", "params": params}
    validation = {"datasets": [absent | {"label": "others"}]}
    config = loaded(tmp_path, methods=[due(learner=learner, datasets=[absent, SCENES], validation=validation)])
    _, (state, said) = found(config, "click_only")
    assert state == "wrong" and f"no file at encoder_weights={tmp_path}/gone.pth. Correct `encoder_weights`" in said
    words = {"name": "phraseclick", "params": {"words": str(tmp_path / "words.txt")}}
    listless = found(loaded(tmp_path, methods=[due(learner=words, datasets=[SCENES])]), "click_only")
    assert ("wrong", f"no file at words={tmp_path}/words.txt. Correct `words`.") in listless
    for subject in ("coco, to train on", "others, to train on"):
        ((state, said),) = found(config, subject)
        assert state == "wrong" and "instances_val2017.json" in said
    assert found(config, "scenes, to train on") == [("fine", "4 images")]


@pytest.mark.slow
def test_what_is_trained_already_needs_no_training_data(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    absent = {"name": "coco", "params": {"root": str(tmp_path)}}
    config = loaded(tmp_path, methods=[due(datasets=[absent], checkpoint=str(tmp_path / "w.safetensors"))])
    assert [state for state, _ in found(config, "click_only")] == ["fine"]
    assert not found(config, "coco, to train on")


@real_data.needs("voc")
def test_a_part_of_voc_is_not_taken_for_voc(tmp_path: Path) -> None:
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for name in ("JPEGImages", "SegmentationObject", "SegmentationClass"):
        (tmp_path / name).symlink_to(real_data.VOC / name)
    ids = (real_data.VOC / "ImageSets" / "Segmentation" / "val.txt").read_text().split()[:7]
    (lists / "val.txt").write_text("\n".join(ids))
    said = found(loaded(tmp_path, datasets=[{"name": "voc", "params": {"root": str(tmp_path)}}]), "voc")
    assert any(state == "wrong" and "found 7 images; wanted 1449" in text for state, text in said)


# The machine


def disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: Usage(0, 0, free))


def states(config: RunConfig) -> dict[str, Finding]:
    return {one.subject: one for one in fitness(config)}


@pytest.mark.slow
def test_little_room_where_runs_are_kept_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count, _ = scenes_facts()
    config = loaded(tmp_path, clicks={"max_clicks": 5})
    enough = 2 * 3 * 5 * count * doctor.BYTES_A_ROW
    monkeypatch.setenv("HARNESS_RUNS", str(tmp_path / "not yet" / "made"))
    looked: list[Path] = []
    free = {"bytes": enough}
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: looked.append(path) or Usage(0, 0, free["bytes"]))
    ((state, said),) = found(config, "disk")
    assert (state, looked) == ("fine", [tmp_path]) and f"MiB free for {tmp_path}/not yet/made; the run writes" in said
    free["bytes"] -= 1
    ((state, said),) = found(config, "disk")
    assert state == "wrong" and "wanted twice that" in said and "HARNESS_RUNS" in said


@pytest.mark.slow
def test_a_bucket_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_RUNS", "s3://b/team?region=us-east-1")
    assert found(loaded(tmp_path), "disk") == [("note", "the run writes about 1 MiB to s3://b/team/r")]


@pytest.mark.slow
def test_a_data_set_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes, listed = registry.find("datasets", "scenes"), []
    plain = scenes.list_instances
    monkeypatch.setattr(scenes, "list_instances", lambda self, one: listed.append(one) or plain(self, one))
    config = loaded(tmp_path)
    [*examined(config), *fitness(config)]
    assert len(listed) == len(set(listed)) == 4


def test_little_shared_memory_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    disk(monkeypatch, 64 << 20)
    assert doctor._shared_memory(tmp_path).state is State.WRONG
    disk(monkeypatch, 1 << 30)
    assert doctor._shared_memory(tmp_path).state is State.FINE
    assert doctor._shared_memory(tmp_path / "none").state is State.NOTE


@pytest.mark.ray
@pytest.mark.usefixtures("shared_ray")
def test_ray_answers_or_says_what_does_not_fit(tmp_path: Path) -> None:
    config = loaded(tmp_path, workers={"cpus": 1})
    assert states(config)["ray"].state is State.FINE
    greedy = states(loaded(tmp_path, workers={"cpus": 1000}))["ray"]
    assert greedy.state is State.WRONG and "asks for 1000 CPU" in greedy.text


# The command


@pytest.mark.slow
@pytest.mark.parametrize(("root", "code", "last"), [(None, 0, "Nothing is wrong."), ("none", 1, "findings are wrong.")])
def test_the_exit_code_says_whether_anything_is_wrong(
    tmp_path: Path, here: Callable[..., subprocess.CompletedProcess[str]], root: str | None, code: int, last: str
) -> None:
    loaded(
        tmp_path,
        datasets=[SCENES if root is None else {"name": "coco", "params": {"root": root}}],
        methods=[{"name": "click_only", "params": {"checkpoint": "methods/weights/scenes_click_only.safetensors"}}],
    )
    done = here("doctor", tmp_path / "a.yaml")
    assert done.returncode == code and last in done.stdout and not done.stderr
