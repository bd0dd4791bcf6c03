"""The catalogue, and fetching and verifying against a real server on this machine."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import re
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest
from harness.methods.sam import sam
from typer.testing import CliRunner

from harness import UserError
from harness.cli.weights import weights_app
from harness.methods import sam2, sam_hq
from harness.weights import catalogue as weights
from harness.weights.catalogue import Checkpoint, State

BODY = bytes(range(256)) * 4000
"""1,024,000 bytes: more than one would read at once from a socket."""


class Server(http.server.ThreadingHTTPServer):
    """Serves BODY in the way that a test asks for, and remembers the requests' Range headers."""

    daemon_threads = True
    ranges = True
    length = True
    breaks_at: int | None = None
    body = BODY

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/model.pth"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.path != "/model.pth":
            self.send_error(404)
            return
        whole = len(self.server.body)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        if start >= whole:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        if self.server.length:
            self.send_header("Content-Length", str(whole - start))
        self.end_headers()
        self.wfile.write(self.server.body[start : self.server.breaks_at])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def published(server: Server, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    """The only one of the catalogue, for the time of a test."""
    checksum = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
    checkpoint = Checkpoint("model", "model.pth", server.url, 1.0, checksum, "MIT", "sam", "its authors")
    monkeypatch.setattr(weights, "catalogue", lambda: {"model": checkpoint})
    return checkpoint


def fetch(checkpoint: Checkpoint, folder: Path) -> list[tuple[int, int | None]]:
    told: list[tuple[int, int | None]] = []
    weights.fetch(checkpoint, lambda done, total: told.append((done, total)), folder)
    return told


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., tuple[int, str, BaseException | None]]:
    def run(*arguments: str) -> tuple[int, str, BaseException | None]:
        done = CliRunner().invoke(weights_app, [*arguments, "--folder", str(tmp_path)])
        return done.exit_code, " ".join(done.output.split()), done.exception

    return run


def test_the_catalogue_is_consistent() -> None:
    known = list(weights.catalogue().values())
    assert len({checkpoint.file for checkpoint in known}) == len(known)
    for checkpoint in known:
        assert checkpoint.url.startswith("https://")
        assert checkpoint.by_hand or checkpoint.url.endswith("/" + checkpoint.file)
        assert re.fullmatch(r"|sha256:([0-9a-f]{64}|[0-9a-f]{8})|md5:[0-9a-f]{32}", checkpoint.checksum)
        assert checkpoint.licence and checkpoint.source and checkpoint.used_by
        assert ("no checksum published" in checkpoint.source) == (not checkpoint.checksum)


def test_openais_checksums_are_those_of_their_urls() -> None:
    clips = [known for known in weights.catalogue().values() if "openaipublic" in known.url]
    assert {known.name for known in clips} == {"clip_rn50", "clip_vit_b_16", "clip_vit_l_14_336"}
    for known in clips:
        assert known.checksum == f"sha256:{known.url.split('/')[-2]}"


def test_first_digits_are_those_of_the_file_s_name() -> None:
    short = [known for known in weights.catalogue().values() if re.fullmatch(r"sha256:[0-9a-f]{8}", known.checksum)]
    assert [known.name for known in short] == ["resnet50_v1c"]
    assert all(known.checksum.removeprefix("sha256:") in known.file for known in short)


def test_a_file_that_only_a_browser_gets_is_fetched_by_hand(tmp_path: Path) -> None:
    known = weights.find("lavt_refcoco")
    assert known.by_hand and not weights.find("sam_vit_b").by_hand
    with pytest.raises(
        UserError, match=r"only be downloaded with a browser.*drive\.google\.com.* save .*lavt_refcoco\.pth"
    ):
        weights.fetch(known, lambda _done, _total: None, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_what_the_config_names_is_in_the_catalogue() -> None:
    for name in ("sam_vit_b", "sam_vit_l", "sam_vit_h", "ritm_sbd_h18"):
        assert weights.find(name).name == name
    assert weights.find("sam_vit_h_4b8939.pth").name == "sam_vit_h"
    with pytest.raises(UserError, match=r"no checkpoint 'sam_vit_x'. Did you mean 'sam_vit_"):
        weights.find("sam_vit_x")


def test_a_hint_for_a_missing_file() -> None:
    hint = weights.hint(Path("/far/sam_vit_h_4b8939.pth"))
    assert hint == "Fetch it: python -m harness weights fetch sam_vit_h"
    assert weights.hint(Path("weights/mine.pth")) == ""


def test_fetch_and_what_is_remembered(published: Checkpoint, tmp_path: Path) -> None:
    assert weights.remembered(published, tmp_path) is State.MISSING
    told = fetch(published, tmp_path / "new")
    path = tmp_path / "new" / "model.pth"
    assert path.read_bytes() == BODY
    assert (told[0], told[-1]) == ((0, len(BODY)), (len(BODY), len(BODY)))
    assert weights.remembered(published, path.parent) is State.OK
    assert sorted(file.name for file in path.parent.iterdir()) == ["model.pth", "model.pth.sha256"]
    path.write_bytes(BODY[::-1])
    assert weights.remembered(published, path.parent) is State.UNKNOWN
    assert weights.verify(published, path.parent).state is State.WRONG
    assert not (path.parent / "model.pth.sha256").exists()


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum on this machine")
def test_sha256sum_reads_what_is_remembered(published: Checkpoint, tmp_path: Path) -> None:
    fetch(published, tmp_path)
    subprocess.run(["sha256sum", "-c", "--strict", "model.pth.sha256"], cwd=tmp_path, check=True, capture_output=True)


def test_a_transfer_that_breaks_off_goes_on(server: Server, published: Checkpoint, tmp_path: Path) -> None:
    server.breaks_at = 300_000
    with pytest.raises(UserError, match=r"broke off at 300,000 of 1,024,000 bytes.*weights fetch model"):
        fetch(published, tmp_path)
    assert not (tmp_path / "model.pth").exists()
    server.breaks_at = None
    told = fetch(published, tmp_path)
    assert server.asked == [None, "bytes=300000-"]
    assert told[0] == (300_000, len(BODY))
    assert (tmp_path / "model.pth").read_bytes() == BODY


def test_a_server_without_ranges_starts_anew(server: Server, published: Checkpoint, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "model.pth.part").write_bytes(b"x" * 5_000_000)
    assert fetch(published, tmp_path)[0] == (0, len(BODY))
    assert (tmp_path / "model.pth").read_bytes() == BODY


def test_a_part_longer_than_the_file_starts_anew(server: Server, published: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "model.pth.part").write_bytes(BODY + b"more")
    fetch(published, tmp_path)
    assert server.asked == [f"bytes={len(BODY) + 4}-", None]
    assert (tmp_path / "model.pth").read_bytes() == BODY


def test_a_part_that_is_whole_is_not_fetched_again(server: Server, published: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "model.pth.part").write_bytes(BODY)
    fetch(published, tmp_path)
    assert server.asked == []
    assert (tmp_path / "model.pth").read_bytes() == BODY


def test_a_length_that_the_server_keeps_to_itself(server: Server, published: Checkpoint, tmp_path: Path) -> None:
    server.length = False
    assert fetch(published, tmp_path)[-1] == (len(BODY), None)
    assert (tmp_path / "model.pth").read_bytes() == BODY


def test_another_file_is_refused_and_removed(server: Server, published: Checkpoint, tmp_path: Path) -> None:
    server.body = BODY[::-1]
    (tmp_path / "model.pth").write_bytes(b"what was there")
    with pytest.raises(UserError, match=r"not what was published: found 1,024,000 bytes, sha256:.*wanted about 1 MB"):
        fetch(published, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.pth"]
    assert (tmp_path / "model.pth").read_bytes() == b"what was there"


@pytest.mark.parametrize("length", [True, False])
def test_a_file_far_longer_than_stated_is_stopped(
    server: Server, published: Checkpoint, tmp_path: Path, length: bool
) -> None:
    server.body, server.length = BODY * 40, length
    read: list[int] = []
    with pytest.raises(UserError, match=r"sends [\d,]+ bytes or more; wanted about 1 MB.*Stopped, and removed"):
        weights.fetch(published, lambda done, total: read.append(done), tmp_path)
    assert max(read) <= 4 * len(BODY) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("digits", [6, 32])
def test_a_prefix_of_an_md5(server: Server, published: Checkpoint, tmp_path: Path, digits: int) -> None:
    whole = hashlib.md5(BODY).hexdigest()
    right = dataclasses.replace(published, checksum=f"md5:{whole[:digits]}")
    assert weights.fetch(right, lambda done, total: None, tmp_path).state is State.OK
    assert weights.remembered(right, tmp_path) is State.OK
    wrong = dataclasses.replace(published, checksum=f"md5:{whole[1 : digits + 1]}")
    assert weights.verify(wrong, tmp_path).state is State.WRONG


def test_without_a_checksum_the_size_is_all_there_is(server: Server, published: Checkpoint, tmp_path: Path) -> None:
    unsigned = dataclasses.replace(published, checksum="")
    verdict = weights.fetch(unsigned, lambda done, total: None, tmp_path)
    assert verdict == weights.Verdict(State.UNKNOWN, published.checksum)
    assert weights.remembered(unsigned, tmp_path) is State.UNKNOWN
    server.body = b"<html>please log in</html>"
    with pytest.raises(UserError, match="found 26 bytes.*wanted about 1 MB"):
        fetch(unsigned, tmp_path)


def test_a_file_of_another_size_is_wrong_unhashed_and_without_a_checksum(published: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(BODY[:500_000])
    for checkpoint in (published, dataclasses.replace(published, checksum="")):
        assert weights.remembered(checkpoint, tmp_path) is State.WRONG
        assert weights.verify(checkpoint, tmp_path).state is State.WRONG
    unsized = dataclasses.replace(published, checksum="", stated_mb=None)
    assert weights.remembered(unsized, tmp_path) is weights.verify(unsized, tmp_path).state is State.UNKNOWN


def test_a_right_checksum_outweighs_the_stated_size(published: Checkpoint, tmp_path: Path) -> None:
    rounded = dataclasses.replace(published, stated_mb=2.0)
    fetch(rounded, tmp_path)
    assert weights.verify(rounded, tmp_path).state is weights.remembered(rounded, tmp_path) is State.OK


def test_what_the_server_lacks(published: Checkpoint, tmp_path: Path) -> None:
    gone = dataclasses.replace(published, url=published.url.replace("model", "moved"))
    with pytest.raises(UserError, match=r"moved.pth: the server answered 404 Not Found.*by hand \(its authors\)"):
        fetch(gone, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_network(published: Checkpoint, tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        nobody = dataclasses.replace(published, url=f"http://127.0.0.1:{taken.getsockname()[1]}/model.pth")
        with pytest.raises(UserError, match=r"cannot be reached \(.*refused.*Is there a network\?.*/model.pth and"):
            fetch(nobody, tmp_path)


def test_a_folder_that_cannot_be_written(published: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        fetch(published, tmp_path / "file")


def test_the_commands(server: Server, published: Checkpoint, tmp_path: Path, command: Callable[..., tuple]) -> None:
    assert "model.pth" in command("list")[1] and "verified" not in command("list")[1]
    code, said, _ = command("fetch", "model")
    assert code == 0 and f"model.pth: ok (1,024,000 bytes, {published.checksum})" in said
    assert "verified" in command("list")[1]
    assert command("fetch", "model")[0] == 0
    assert len(server.asked) == 1, "what is there and right is not fetched again"
    (tmp_path / "model.pth").write_bytes(b"broken")
    code, said, _ = command("verify")
    assert code == 1 and "model.pth: wrong: wanted about 1 MB, sha256:" in said
    # The recommended command replaces the file of the folder that was named, not one in weights/.
    assert f"weights fetch model --folder {tmp_path} --force (6 bytes, sha256:" in said
    assert "WRONG" in command("list")[1]
    assert f"weights fetch model --folder {tmp_path} --force" in str(command("fetch", "model")[2])
    assert command("fetch", "model", "--force")[0] == 0
    assert command("verify", "model")[:2][0] == 0


def test_nothing_to_verify(published: Checkpoint, command: Callable[..., tuple], tmp_path: Path) -> None:
    error = command("verify")[2]
    assert isinstance(error, UserError) and "nothing to verify" in str(error)
    assert "no model.pth in" in str(command("verify", "model")[2])
    todo = f"Fetch it: python -m harness weights fetch model --folder {tmp_path}"
    assert str(command("verify", "model")[2]).endswith(todo) and todo in command("list", "model")[1]
    assert weights.command(published) == "python -m harness weights fetch model"


def test_without_a_network_there_is_one_message_and_no_bar(
    published: Checkpoint, command: Callable[..., tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    _, said, error = command("fetch", "model")
    assert said == ""
    assert isinstance(error, UserError) and "Is there a network?" in str(error)
    assert "check it: python -m harness weights verify model" in str(error)


def test_the_real_list_shows_every_checkpoint(command: Callable[..., tuple]) -> None:
    said = command("list")[1]
    assert all(name in said for name in weights.catalogue())
    assert "none published" in said


@pytest.mark.slow
def test_the_list_of_one_says_all_that_is_known(command: Callable[..., tuple]) -> None:
    for name, known in weights.catalogue().items():
        said = command("list", name)[1]
        for fact in (known.url, known.checksum, known.licence, known.used_by, known.source):
            assert fact in said
        fetched = f"hf download {known.snapshot}" if known.snapshot else f"python -m harness weights fetch {name}"
        assert f"no. Fetch it: {fetched}" in said
        assert ("Checksum none published" in said) == (not known.checksum)


def test_a_snapshot_of_the_hub_is_a_folder_that_the_hubs_program_fetches(
    command: Callable[..., tuple], tmp_path: Path
) -> None:
    known = weights.find("clipseg_rd64_refined")
    assert (known.snapshot, known.by_hand) == ("CIDAS/clipseg-rd64-refined", True)
    assert weights.find("sam_hq_vit_b").snapshot == ""  # a single file of the hub
    _, _, error = command("fetch", known.name)
    wanted = "hf download CIDAS/clipseg-rd64-refined --local-dir weights/clipseg-rd64-refined --exclude '*.bin'"
    assert isinstance(error, UserError) and wanted.replace("weights/", f"{tmp_path}/") in str(error)
    assert wanted in weights.hint(Path("weights/clipseg-rd64-refined"))
    assert weights.remembered(known, tmp_path) is State.MISSING
    (tmp_path / known.file).mkdir()
    assert weights.remembered(known, tmp_path) is State.UNKNOWN
    assert "there, not verified" in command("list", known.name)[1]


def test_every_model_that_a_method_can_name_is_there() -> None:
    used = {known.file for known in weights.catalogue().values() if known.used_by == "sam2"}
    letters = {"t": "tiny", "s": "small", "b+": "base_plus", "l": "large"}
    for model in get_args(sam2.Model):
        stem, _, letter = model.rpartition("_")
        assert f"{stem}_{letters[letter]}.pt" in used
    for family, backbones in (("sam", get_args(sam.Backbone)), ("sam_hq", get_args(sam_hq.Backbone))):
        assert {f"{family}_{one}" for one in backbones} <= set(weights.catalogue())
