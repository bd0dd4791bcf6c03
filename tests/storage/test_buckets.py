"""A run in a bucket, on real servers: one that speaks Google's storage, and moto's, which speaks S3.

moto needs an environment of its own: python -m venv .moto && .moto/bin/pip install 'moto[server]'; or name its
`moto_server` in MOTO_SERVER.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow.parquet as pq
import pytest
from pyarrow import fs
from rich.console import Console

from harness import UserError
from harness.cluster.ray_training import forget
from harness.config.recipe import KnownRecipe
from harness.config.run_config import load_run
from harness.running import one_training as training
from harness.running.one_run import run
from harness.running.progress import STATUS, Live
from harness.running.watch import news
from harness.storage import lock
from harness.storage.folder import Folder
from harness.storage.lock import Lock, Owner, holder
from harness.storage.merge import merged
from harness.storage.rows import MEASURED
from harness.storage.store import Store, no_run, store_of
from harness.storage.verify import verified
from toy_runs import Quiet, written

ROOT = Path(__file__).resolve().parents[2]
# Not any that is on the path: 5.2.1 answers the end of an upload in a way that Arrow refuses, 5.2.5 is fine.
SERVERS = (os.environ.get("MOTO_SERVER"), ROOT / ".moto" / "bin" / "moto_server")
MOTO = next((str(one) for one in SERVERS if one and Path(one).is_file()), None)


@pytest.fixture(scope="module", params=["gs", "s3"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Its scheme and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if request.param == "s3" and MOTO is None:
        pytest.skip("no S3 server here: python -m venv .moto, and install moto[server]")
    google = [sys.executable, "-m", "gcp_storage_emulator", "start", "--in-memory", "--default-bucket", "lab"]
    command = {"gs": [*google, "--host", "127.0.0.1", "--port", str(port)], "s3": [str(MOTO), "-p", str(port)]}
    with (tmp_path_factory.mktemp("server") / "log").open("w") as log:
        process = subprocess.Popen(command[request.param], stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield request.param, f"127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.fixture
def bucket(server: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A URI with a query, as a user gives it for a server of their own."""
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_EC2_METADATA_DISABLED": "true"}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(lock.SETTLE_S, "bucket", 0.5)
    scheme, address = server
    team = f"lab/{uuid4().hex[:8]}/team"
    if scheme == "gs":
        return f"gs://anonymous@{team}?endpoint_override={address}&scheme=http&retry_limit_seconds=5"
    owner = fs.S3FileSystem(endpoint_override=address, scheme="http", allow_bucket_creation=True, region="us-east-1")
    owner.create_dir("lab")
    return f"s3://{team}?endpoint_override={address}&scheme=http&region=us-east-1"


def config(tmp_path: Path, **changed: Any) -> Any:
    return load_run(written(tmp_path / "r.yaml", **changed))


def rows(store: Store) -> pd.DataFrame:
    with store.folder.opened("results.parquet") as file:
        return pq.read_table(file).to_pandas().drop(columns=["run", *MEASURED])


@pytest.mark.slow
def test_a_folder_in_a_bucket_is_as_one_on_a_disk(bucket: str) -> None:
    folder = Folder.at(bucket) / "x"
    assert re.fullmatch(r"(s3|gs)://lab/\w+/team/x", str(folder)) and folder.local is None
    assert folder.files() == [] and folder.folders() == [] and not folder.exists("a")
    with pytest.raises(FileNotFoundError):
        folder.read("a")
    folder.write("a", b"one")
    folder.write("deep/b.parquet", b"two")
    assert (folder.read("a"), folder.read("deep/b.parquet")) == (b"one", b"two")
    assert (folder.files(), folder.folders(), (folder / "deep").files(".parquet")) == (["a"], ["deep"], ["b.parquet"])
    assert not folder.create("a", b"three") and folder.create("c", b"three")
    assert folder.read("a") == b"one" and 0 <= folder.age_s("a") < 30
    folder.touch("a")
    assert folder.read("a") == b"one"
    folder.remove("a")
    folder.remove("a")
    assert not folder.exists("a") and folder.files() == ["c"]
    assert pickle.loads(pickle.dumps(folder)).read("c") == b"three"


def test_a_bucket_that_is_not_there_is_a_message(bucket: str) -> None:
    folder = Folder.at(bucket.replace("lab/", "another/"))
    with pytest.raises(UserError, match=r"//another/\w+/team/x: cannot be written \(.*(another|404).*\)\. What"):
        folder.write("x", b"one")


@pytest.mark.slow
def test_a_name_that_no_run_in_the_bucket_has_is_answered_with_those_that_have_one(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_RUNS", bucket)
    assert "There is none yet" in str(no_run(store_of("mnie")))
    for name in ("mine/manifest.json", "yours/manifest.json", "not_a_run/notes.txt"):
        Folder.at(bucket).write(name, b"{}")
    assert str(no_run(store_of("mnie"))).endswith("or its name. Did you mean 'mine'? There are: mine, yours.")


@pytest.mark.slow
def test_a_run_in_a_bucket_resumes_and_equals_one_on_a_disk(bucket: str, tmp_path: Path) -> None:
    first = Quiet()
    run(config(tmp_path, limit=4), first, runs=bucket)
    store = Store(Folder.at(bucket) / "r")
    assert first.images == 4 and store.folder.files() == [
        "manifest.json",
        "report.md",
        "results.parquet",
        "samples.parquet",
    ]
    second = Quiet()
    run(config(tmp_path), second, runs=bucket)
    run(config(tmp_path), Quiet(), runs=str(tmp_path))
    assert second.images == 2
    pd.testing.assert_frame_equal(rows(store), rows(Store(tmp_path / "r")))
    assert verified(Store(store.folder)).lacking == []
    (job,) = store.folder.__truediv__("shards").folders()
    name = store.folder_of(job).files()[0]
    content = bytearray(store.folder.read(f"shards/{job}/{name}"))
    content[50] ^= 1
    store.folder.write(f"shards/{job}/{name}", bytes(content))
    assert "its content is not what its name says" in str(verified(Store(store.folder)).lacking)


@pytest.mark.slow
def test_a_run_in_a_bucket_merges_with_one_on_a_disk(bucket: str, tmp_path: Path) -> None:
    run(config(tmp_path), Quiet(), runs=bucket)
    wide = [{"name": "fakes:Steady", "label": "wide", "params": {"reach": 8}}]
    run(config(tmp_path, methods=wide), Quiet(), runs=str(tmp_path))
    both = Store(Folder.at(bucket) / "both")
    assert merged([Store(Folder.at(bucket) / "r"), Store(tmp_path / "r")], both) == (6, 72)
    assert verified(Store(both.folder)).lacking == []


@pytest.mark.slow
def test_a_run_in_a_bucket_is_watched(bucket: str, tmp_path: Path) -> None:
    run_folder = Folder.at(bucket) / "r"
    with pytest.raises(UserError, match=r"://.*/r/progress\.json: no such file; wanted the folder of a run"):
        next(news(bucket.replace("/team?", "/team/r?")))
    with Live(Console(file=io.StringIO()), run_folder) as live:
        run(config(tmp_path), live, runs=bucket)
        coming = news(bucket.replace("/team?", "/team/r?"))
        first = next(coming)
        assert not first["ended"] and first["jobs"][0]["of"] == 6
    (said,) = coming
    assert said["ended"] and (said["jobs"][0]["images"], said["jobs"][0]["of"]) == (6, 6)
    assert run_folder.exists(STATUS) and "progress.json" in run_folder.files()


def test_a_training_s_states_lie_beside_the_runs(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = training._storage(Path("runs/training/k.pt"), bucket)
    storage.write("k.ray/state", b"one")
    assert Folder.at(bucket).folders() == ["training"]
    for _ in range(2):
        forget(KnownRecipe.model_construct(key="k"), storage)
    assert not storage.exists("k.ray/state")


@pytest.mark.slow
def test_a_bucket_has_one_writer(bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = Folder.at(bucket) / "r"
    with Lock(folder) as mine:
        assert holder(folder) == mine.owner
        with (
            pytest.raises(UserError, match=r"://.*/r/lock\.json: found another process at work on this run: process"),
            Lock(folder),
        ):
            pass
    assert folder.files() == []
    with Lock(folder, stale_s=0), Lock(folder, stale_s=0):
        assert "taken over from process" in caplog.text


@pytest.mark.slow
def test_of_several_writers_at_once_one_goes_on(bucket: str) -> None:
    folder = Folder.at(bucket) / "r"
    ready, done, found = threading.Barrier(4), threading.Event(), []

    def start() -> None:
        ready.wait()
        try:
            with Lock(folder) as mine:
                found.append(mine.owner)
                done.wait(30)
        except UserError as error:
            found.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(found) < 4:
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    assert sum(isinstance(one, Owner) for one in found) == 1
