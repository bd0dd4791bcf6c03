"""Weights and data that were replaced after the run was planned: no row is made of them."""

from __future__ import annotations

import os
import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from harness import UserError
from harness.cluster.actor import Actor
from harness.config.method_entry import MethodEntry
from harness.config.parts import Plugin
from harness.config.run_config import RunConfig
from harness.jobs.plan import planned, remaining
from harness.jobs.sameness import FilesAsOpened, check_dataset, same_weights
from harness.jobs.worker import run_here
from harness.plugins import parameters
from harness.storage.store import Store

IMAGES = 3


def folder(root: Path) -> Path:
    """A data set `folder` of three images with one mask each."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number in range(IMAGES):
        PIL.Image.fromarray(np.full((32, 48, 3), number * 10, np.uint8)).save(root / "images" / f"{number}.png")
        draw(root, number, 5)
    return root


def draw(root: Path, number: int, left: int) -> None:
    mask = np.zeros((32, 48), np.uint8)
    mask[4:20, left : left + 12] = 255
    PIL.Image.fromarray(mask).save(root / "masks" / f"{number}.png")


def config(tmp_path: Path) -> RunConfig:
    (tmp_path / "w.pth").write_bytes(b"trained once")
    dataset = Plugin(name="folder", label="mine", params={"root": str(folder(tmp_path / "data"))})
    method = MethodEntry(name="fakes:Steady", label="steady", params={"checkpoint": str(tmp_path / "w.pth")})
    return RunConfig(run="r", datasets=(dataset,), methods=(method,))


def hashed(content: bytes) -> str:
    return sha256(content).hexdigest()


@pytest.mark.slow
def test_a_checkpoint_that_is_replaced_before_it_is_loaded_ends_the_run(tmp_path: Path) -> None:
    made, store = planned(config(tmp_path)), Store(tmp_path / "run")
    path, before = tmp_path / "w.pth", (tmp_path / "w.pth").stat()
    other = tmp_path / "other.pth"
    other.write_bytes(b"trained anew")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)  # As large, and as old.
    with pytest.raises(UserError) as raised:
        list(run_here(remaining(made, store, 2), store, 1))
    said = str(raised.value)
    assert said.startswith(f"'steady': checkpoint={path} has changed since the run was planned. Its SHA-256 ")
    assert f"was {hashed(b'trained once')}; a worker found {hashed(b'trained anew')}. " in said
    assert "give the run another name" in said
    assert store.done(made[0].facts) == set()


def test_a_checkpoint_that_is_replaced_while_it_is_loaded_ends_the_run(tmp_path: Path) -> None:
    method = config(tmp_path).methods[0]
    wanted = {"checkpoint": hashed(b"trained once")}
    with same_weights(method, wanted):
        pass
    with pytest.raises(UserError, match="a worker found"), same_weights(method, wanted):
        (tmp_path / "w.pth").write_bytes(b"trained anew")
    (tmp_path / "w.pth").unlink()
    with pytest.raises(UserError, match=r"found no file\."), same_weights(method, wanted):
        pass


def test_an_actor_on_a_node_with_other_files_makes_no_row(tmp_path: Path) -> None:
    made, store, actor = planned(config(tmp_path)), Store(tmp_path / "run"), Actor()
    (shard, _) = remaining(made, store, 2)
    actor.load(shard.method, frozenset(), store, 1, shard.weights)
    draw(tmp_path / "data", 1, left=20)
    with pytest.raises(UserError, match=r"'mine': the data at root=\S+ have changed since .*: sha256 was \w{64}, a"):
        actor.open(shard.dataset, frozenset(), shard.data)
    (tmp_path / "w.pth").write_bytes(b"another network")
    with pytest.raises(UserError, match="'steady': checkpoint=.*a worker found " + hashed(b"another network")):
        actor.load(shard.method, frozenset(), store, 1, shard.weights)


def test_a_mask_that_is_deleted_after_planning_is_no_instance_less(tmp_path: Path) -> None:
    made, store = planned(config(tmp_path)), Store(tmp_path / "run")
    (tmp_path / "data" / "masks" / "1.png").unlink()
    (tmp_path / "data" / "images" / "1.png").unlink()
    with pytest.raises(UserError, match=r"'mine': the data .*: samples was 3, a worker found 2, sha256 was"):
        list(run_here(remaining(made, store, 2), store, 1))


@pytest.mark.parametrize(("part", "gone"), [("masks", False), ("masks", True), ("images", False)])
def test_a_file_that_is_changed_while_the_run_works_ends_it(tmp_path: Path, part: str, gone: bool) -> None:
    asked = config(tmp_path)
    made, store, path = planned(asked), Store(tmp_path / "run"), tmp_path / "data" / part / "2.png"
    coming = run_here(remaining(made, store, 1), store, 1)
    next(coming)
    content = path.read_bytes()
    path.unlink()
    if not gone:
        path.write_bytes(content)  # As large as before, but newer.
        os.utime(path, (1, 1))
    with pytest.raises(UserError, match=f"^'mine', image '2': {path} was changed or removed during the run"):
        list(coming)
    assert store.done(made[0].facts) == {"0", "1"}


def test_a_data_set_that_names_no_files_is_not_looked_at() -> None:
    entry = Plugin(name="fakes:Toys", label="toys")
    toys = parameters.build("datasets", entry.name, entry.params)
    FilesAsOpened(entry, toys).check(toys, toys.sample_ids())


def test_a_file_that_the_method_itself_writes_is_not_compared(tmp_path: Path) -> None:
    (entry,) = config(tmp_path).methods
    with same_weights(entry, {}):
        (tmp_path / "w.pth").write_bytes(b"written by the method")


def test_what_nobody_noted_is_not_compared(tmp_path: Path) -> None:
    asked = config(tmp_path)
    with same_weights(asked.methods[0], None):
        pass
    (entry,) = asked.datasets
    dataset = parameters.build("datasets", entry.name, entry.params)
    check_dataset(entry, dataset, None)
    check_dataset(entry, dataset, dict(dataset.fingerprint()))
    with pytest.raises(UserError, match=re.escape("samples was 2, a worker found 3")):
        check_dataset(entry, dataset, dict(dataset.fingerprint()) | {"samples": 2})
