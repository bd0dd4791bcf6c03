"""The server of `try`, over HTTP: what it answers, what it refuses, and that it goes on."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest

import tried
from harness import UserError
from harness.masks import rle
from harness.serving import gallery as gallery_module
from harness.serving.guard import Guard, is_loopback
from harness.serving.server import _name, serve
from harness.serving.truth import said as said_of
from harness.serving.views import SIDE, map_file, mask_counts, picture_file, view_size

ON_TIE = [[24, 18, True]]
NESTED = {"source": "nested", "name": "nested-0"}


def mask_of(candidate: Any, size: tuple[int, int] = (tried.H, tried.W)) -> np.ndarray:
    return rle.decode(candidate["counts"].encode(), size)


def png(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def test_a_page_is_told_methods_sources_pictures_and_words(served: Any) -> None:
    with served(["Marks", "Names"]) as browser:
        _, about = browser.get("about")
        assert [(one["label"], one["reads"]) for one in about["methods"]] == [("marks", False), ("names", True)]
        assert [(one["label"], one["kind"]) for one in about["sources"]] == [
            ("nested", "data set"),
            ("your own", "uploads"),
        ]
        _, listed = browser.get("pictures", source="nested")
        assert listed["names"] == ["nested-0", "nested-1", "nested-2"] and listed["total"] == 3
        assert listed["vocabulary"] == ["tie", "shirt", "person", "lamp"]
        assert browser.get("pictures", source="nested", search="-2")[1]["names"] == ["nested-2"]
        assert browser.get("pictures", source="nested", search="LAMP")[1]["names"] == ["nested-1"], "by a class"
        assert browser.get("pictures", source="nested", start=2)[1]["names"] == ["nested-2"]
        assert browser.get("pictures", source="nested", around="nested-1")[1]["start"] == 0
        _, picture = browser.get("picture", **NESTED)
        assert picture["size"] == picture["view"] == [tried.H, tried.W] and picture["truth"]
        for what in ("pixels", "thumb"):
            _, content, headers = browser.send("GET", f"/api/{what}?source=nested&name=nested-0")
            shown = np.asarray(PIL.Image.open(io.BytesIO(content)))
            assert headers["Content-Type"].startswith("image/") and abs(int(shown[18, 24, 0]) - 180) < 6


def test_a_mask_has_what_lies_under_the_click_its_iou_and_what_it_hit(served: Any) -> None:
    """The mask is the shirt, 144 pixels: the tie's 32 lie in it, and it lies in the person's 520."""
    with served(["Names"]) as browser:
        _, under = browser.post("truth", **NESTED, clicks=ON_TIE)
        assert under["said"] == "3 objects lie under this click: tie, shirt, person"
        assert [(one["name"], one["words"], one["pixels"]) for one in under["under"]] == [
            ("tie", "tie", 32),
            ("shirt", "shirt", 144),
            ("person", "person", 520),
        ]
        assert (mask_of(under["under"][0]) == tried.filled(tried.TIE)).all()
        _, reply = browser.post("predict", **NESTED, clicks=ON_TIE, text="shirt", method="names")
        assert (mask_of(reply["candidates"][0]) == tried.filled(tried.SHIRT)).all()
        assert reply["taken"] == {"narrow": 0, "wide": 1} and reply["candidates"][1]["scores"]["wide"] == 0.9
        found = reply["candidates"][0]["against"]
        assert found["nested-0/tie"] == {"iou": pytest.approx(32 / 144), "hit": "whole"}
        assert found["nested-0/shirt"] == {"iou": 1.0, "hit": "right"}
        assert found["nested-0/person"] == {"iou": pytest.approx(144 / 520), "hit": "part"}
        _, beside = browser.post("truth", **NESTED, clicks=[[0, 0, True]])
        assert beside["said"] == "No object of the ground truth lies under this click."
        _, taken_away = browser.post("truth", **NESTED, clicks=[[0, 0, False], *ON_TIE])
        assert len(taken_away["under"]) == 3, "the first positive click counts"
    assert said_of(["tie"]) == "1 object lies under this click: tie"


def test_a_further_click_starts_from_the_last_mask_and_encodes_nothing(served: Any) -> None:
    with served(["Marks"]) as browser:
        clicks = [[10, 10, True], [12, 10, False]]
        assert browser.post("predict", **NESTED, clicks=clicks[:1], method="marks")[1]["candidates"][0]["pixels"] == 25
        _, reply = browser.post("predict", **NESTED, clicks=clicks, method="marks")
        assert reply["candidates"][0]["pixels"] == 10, "of 25 pixels 15 are taken away"
        assert browser.api.answering.desk.methods[0].method.encoded == [60]


def test_saliency_is_a_grey_picture_and_some_methods_have_none(served: Any) -> None:
    with served(["Names", "Marks"]) as browser:
        _, reply = browser.post("saliency", **NESTED, clicks=ON_TIE, text="tie", method="names")
        grey = cv2.imdecode(np.frombuffer(base64.b64decode(reply["png"]), np.uint8), cv2.IMREAD_UNCHANGED)
        assert (grey == tried.filled(tried.TIE) * 255).all()
        assert browser.post("saliency", **NESTED, clicks=ON_TIE, method="marks")[1] == {"png": "", "error": ""}
        _, failed = browser.post("saliency", **NESTED, clicks=ON_TIE, method="names")
        assert "Names needs words" in failed["error"]


def test_a_method_that_fails_says_why_and_others_answer(served: Any) -> None:
    with served(["Breaks", "Names", "Marks"]) as browser:
        status, reply = browser.post("predict", **NESTED, clicks=ON_TIE, method="breaks")
        assert status == 200 and "broken on request" in reply["error"] and reply["candidates"] == []
        _, wordless = browser.post("predict", **NESTED, clicks=ON_TIE, method="names")
        assert "Names needs words; found none" in wordless["error"]
        assert browser.post("predict", **NESTED, clicks=ON_TIE, text="tie", method="names")[1]["error"] == ""
        assert browser.post("predict", **NESTED, clicks=ON_TIE, method="marks")[1]["error"] == ""


def test_an_infinite_score_is_sent_as_text_since_json_has_none(served: Any) -> None:
    def refused(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON; a browser refuses the whole answer")

    with served(["Excludes"]) as browser:
        body = json.dumps({**NESTED, "clicks": ON_TIE, "method": "excludes"}).encode()
        _, content, _ = browser.send("POST", "/api/predict", body, Content_Type="application/json")
        reply = json.loads(content, parse_constant=refused)
    assert [one["scores"]["logit"] for one in reply["candidates"]] == ["-inf", 1.5] and reply["taken"] == {"logit": 1}


def test_a_lost_gpu_is_said(served: Any) -> None:
    with served(["Loses", "Marks"]) as browser:
        status, reply = browser.post("predict", **NESTED, clicks=ON_TIE, method="loses")
        assert status == 400 and "'loses': its GPU is lost (" in reply["error"]
        assert browser.post("predict", **NESTED, clicks=ON_TIE, method="marks")[0] == 200


def test_words_alone_ask_a_method_that_needs_no_click(served: Any) -> None:
    with served(["Words", "Marks"]) as browser:
        _, about = browser.get("about")
        assert [one["needs_click"] for one in about["methods"]] == [False, True]
        _, reply = browser.post("predict", **NESTED, text="shirt", method="words")
        assert (mask_of(reply["candidates"][0]) == tried.filled(tried.SHIRT)).all()
        assert "no click" in browser.post("predict", **NESTED, text="shirt", method="marks")[1]["error"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"clicks": [[48, 0, True]]}, 400, "click (48, 0): outside the picture; wanted 0 to 47, 0 to 31"),
        ({"clicks": [[-1, 0, True]]}, 400, "outside the picture"),
        ({"clicks": [["a", 0, True]]}, 400, "clicks"),
        ({"clicks": [[1, 1, True]] * 101}, 400, "clicks"),
        ({"method": "sam"}, 400, "no method 'sam' here; there are: marks"),
        ({"name": "nested-9"}, 404, "no picture 'nested-9'"),
        ({"source": "coco"}, 404, "no data set or folder 'coco' here"),
        ({"file": "/etc/passwd"}, 400, "no such key"),
    ],
)
def test_a_wrong_question_is_one_message(served: Any, body: dict[str, Any], status: int, words: str) -> None:
    with served(["Marks"]) as browser:
        asked = {**NESTED, "clicks": ON_TIE, "method": "marks", **body}
        found, reply = browser.post("predict", **asked)
        assert found == status and words in reply["error"] and reply.get("gone", False) == (status == 404)


def test_what_is_no_json_is_refused(served: Any) -> None:
    with served(["Marks"]) as browser:
        bodies = (b"{", b"[1]", b"[" * 50_000)
        for body, kind in (*((one, "application/json") for one in bodies), (b"{}", "text/plain")):
            status, content, _ = browser.send("POST", "/api/predict", body, Content_Type=kind)
            said = json.loads(content)["error"]
            assert status == 400 and ("JSON" in said or "mapping" in said)
        assert browser.send("GET", "/api/nothing")[0] == 404
        assert browser.get("pictures", source="nested", start="-1")[0] == 400


def test_a_picture_of_one_s_own_is_asked_about(served: Any) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[0, 29] = 255
    turned = PIL.Image.Exif()
    turned[0x0112] = 6  # Shown after a quarter turn clockwise.
    with served(["Marks"]) as browser:
        status, named = browser.upload(png(pixels, exif=turned), "phone.png")
        assert status == 200 and named == browser.upload(png(pixels, exif=turned), "again.png")[1]
        _, picture = browser.get("picture", **named)
        assert picture["size"] == [30, 20] and not picture["truth"] and picture["vocabulary"] == []
        _, reply = browser.post("predict", **named, clicks=[[5, 25, True]], method="marks")
        assert mask_of(reply["candidates"][0], (30, 20))[25, 5] and reply["candidates"][0]["against"] == {}
        assert browser.post("truth", **named, clicks=[[5, 25, True]])[1]["known"] is False


NOISE = np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no picture", "'mine.png': found 10 bytes that do not decode"),
        (b"", "'mine.png': found 0 bytes"),
        (png(NOISE)[:60], "'mine.png': found 60 bytes that do not decode"),
        (EPS, "found a file of the kind EPS; wanted JPEG"),
    ],
    ids=["text", "empty", "cut", "eps"],
)
def test_what_is_no_picture_is_refused_with_its_own_name(served: Any, content: bytes, words: str) -> None:
    with served(["Marks"]) as browser:
        status, reply = browser.upload(content)
        assert status == 400 and words in reply["error"] and "/tmp" not in reply["error"]


def test_uploads_are_bounded(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_module, "UPLOAD_MEGAPIXELS", 0.001)
    with served(["Marks"]) as browser:
        status, reply = browser.upload(png(np.zeros((40, 40, 3), np.uint8)))
        assert status == 400 and "found 40 x 40" in reply["error"] and "megapixels" in reply["error"]
        monkeypatch.setenv("HARNESS_MAX_MEGAPIXELS", "0.0005")
        status, reply = browser.upload(png(np.zeros((40, 40, 3), np.uint8)))
        assert status == 400 and "wanted 0.001 at most" in reply["error"] and "HARNESS" not in reply["error"]
        status, reply = browser.upload(bytes(gallery_module.UPLOAD_MIB * 2**20 + 2))
        assert status == 400 and "MiB" in reply["error"]
        status, reply = browser.upload(bytes(gallery_module.UPLOAD_MIB * 2**20 + 4096))
        assert status == 400 and "MiB" in reply["error"]
        assert browser.get("about")[0] == 200


def test_an_upload_that_was_dropped_is_said_to_be_gone(served: Any) -> None:
    with served(["Marks"]) as browser:
        status, reply = browser.get("picture", source="your own", name="0" * 32)
        assert status == 404 and reply["gone"] and "drop it on the page again" in reply["error"]


def test_a_folder_shows_its_pictures_and_nothing_beside_them(served: Any, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for place in ("a.png", "trip/b.PNG"):
        (folder / place).write_bytes(png(np.full((8, 9, 3), 90, np.uint8)))
    (folder / "notes.txt").write_text("secret")
    (folder / "bad.png").write_text("no picture")
    (tmp_path / "secret.png").write_bytes(png(np.zeros((8, 9, 3), np.uint8)))
    with served(["Marks"], folders=[folder]) as browser:
        _, listed = browser.get("pictures", source="photos")
        assert listed["names"] == ["a.png", "bad.png", "trip/b.PNG"]
        assert browser.get("picture", source="photos", name="trip/b.PNG")[1]["size"] == [8, 9]
        for name in ("../secret.png", str(tmp_path / "secret.png"), "notes.txt", "trip/../a.png", "a.png\0"):
            status, reply = browser.get("picture", source="photos", name=name)
            assert status == 404 and reply["gone"]
        status, reply = browser.get("picture", source="photos", name="bad.png")
        assert status == 400 and "do not decode" in reply["error"]
        (folder / "new.png").write_bytes(png(np.zeros((8, 9, 3), np.uint8)))
        assert browser.get("picture", source="photos", name="new.png")[0] == 200


def test_a_folder_s_names_can_be_asked_for_and_hidden_files_are_left_out(served: Any, tmp_path: Path) -> None:
    folder = tmp_path / "my photos #1"
    (folder / ".trash").mkdir(parents=True)
    content = png(np.full((8, 9, 3), 90, np.uint8))
    for name in ("50% é?.png", "._50% é?.png", ".trash/old.png"):
        (folder / name).write_bytes(content)
    try:
        (folder / os.fsdecode(b"latin-\xe9.png")).write_bytes(content)
    except OSError:
        pytest.skip("this file system takes no names but Unicode")
    with served(["Marks"], folders=[folder]) as browser:
        _, listed = browser.get("pictures", source="my photos #1")
        assert listed["names"] == ["50% é?.png", "latin-\\udce9.png"]
        for name in listed["names"]:
            assert browser.get("picture", source="my photos #1", name=name)[1]["size"] == [8, 9]


def test_a_folder_that_is_not_there_is_one_message(served: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--images .*none: no such folder"), served(["Marks"], [tmp_path / "none"]):
        pass


def test_a_data_set_that_is_not_there_is_said_and_the_others_work(served: Any) -> None:
    both = [{"name": "tried:Absent", "label": "absent"}, {"name": "tried:Nested", "label": "nested"}]
    with served(["Marks"], datasets=both) as browser:
        status, reply = browser.get("pictures", source="absent")
        assert status == 400 and "no pictures under root=/home/ada/absent" in reply["error"]
        assert browser.get("pictures", source="nested")[1]["total"] == 3


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:8007"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_other_sites_pages_are_kept_out(served: Any, headers: dict[str, str]) -> None:
    with served(["Marks"]) as browser:
        status, content, _ = browser.send("GET", "/api/about", **headers)
        assert status == 403 and b"methods" not in content
        own = {"Origin": f"http://{browser.host}", "Sec_Fetch_Site": "same-origin"}
        assert browser.send("GET", "/api/about", **own)[0] == 200
        port = browser.host.rpartition(":")[2]
        assert browser.send("GET", "/api/about", Host=f"localhost:{port}")[0] == 200, "as through a tunnel"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://[lab"}, 403),
        ({"Host": "lab.example:http"}, 401),
        ({"Host": "[lab"}, 401),
        ({"Cookie": "harness_try_80=s3cr\xe9t", "Host": "lab.example"}, 401),
    ],
)
def test_malformed_headers_are_refused_like_others(served: Any, headers: dict[str, str], status: int) -> None:
    with served(["Marks"], guard=Guard("s3cret")) as browser:
        found, content, sent = browser.send("GET", "/api/about", **headers)
        assert found == status and json.loads(content)["error"] and sent["X-Content-Type-Options"] == "nosniff"


def test_the_page_and_its_files_are_its_own_alone(served: Any) -> None:
    with served(["Marks"]) as browser:
        status, html, headers = browser.send("GET", "/")
        assert status == 200 and "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
        for part in html.decode().split('"'):
            if part.startswith("files/"):
                assert browser.send("GET", f"/{part}")[0] == 200, part
        for path in ("/files/server.py", "/files/../server.py", "/files/%2e%2e/gallery.py", "/files//etc/passwd"):
            assert browser.send("GET", path)[0] == 404


def test_whom_others_reach_wants_a_token(served: Any) -> None:
    with served(["Marks", "Breaks"], guard=Guard("s3cret")) as browser:
        status, content, _ = browser.send("GET", "/api/about", Host="lab.example:80")
        assert status == 401 and "open the link" in json.loads(content)["error"]
        assert browser.send("GET", "/", Cookie="harness_try_80=wrong", Host="lab.example")[0] == 401
        assert browser.send("GET", "/?token=s3cre", Host="lab.example")[0] == 401
        status, _, headers = browser.send("GET", "/?token=s3cret", Host="lab.example")
        assert (status, headers["Location"]) == (303, "/")
        cookie = headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        known = {"Host": "lab.example", "Cookie": cookie.partition(";")[0]}
        assert browser.send("GET", "/api/about", **known)[0] == 200
        assert browser.send("GET", "/api/about", **known, Origin="http://evil.example")[0] == 403
        body = json.dumps({**NESTED, "clicks": ON_TIE, "method": "breaks"}).encode()
        _, content, _ = browser.send("POST", "/api/predict", body, **known, Content_Type="application/json")
        assert "broken on request" in content.decode() and "/home/ada" not in content.decode()


def test_only_a_loopback_host_goes_without_a_token() -> None:
    assert [Guard.of(host).token == "" for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8")] == [True] * 4
    tokens = {Guard.of(host).token for host in ("0.0.0.0", "::", "lab.example", "")}
    assert len(tokens) == 4 and all(len(token) > 20 for token in tokens)
    assert not is_loopback("localhost.evil.example")


def test_the_link_for_others_names_this_machine() -> None:
    assert _name("0.0.0.0") == _name("::") == socket.gethostname()
    assert (_name("127.0.0.1"), _name("::1"), _name("lab.example")) == ("127.0.0.1", "[::1]", "lab.example")


def test_two_browsers_at_once_each_get_their_own_answer(served: Any) -> None:
    with served(["Marks"]) as browser:
        found: dict[int, set[int]] = {}

        def clicks(x: int) -> None:
            asked = [browser.post("predict", **NESTED, clicks=[[x, 20, True]], method="marks")[1] for _ in range(8)]
            found[x] = {int(np.flatnonzero(mask_of(one["candidates"][0]).any(0)).mean()) for one in asked}

        threads = [threading.Thread(target=clicks, args=(x,)) for x in (10, 30)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert found == {10: {10}, 30: {30}}
        assert browser.api.answering.desk.methods[0].method.encoded == [60], "and the picture was encoded once"


def test_a_question_that_is_taken_back_costs_nothing(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tried.Waits.go.clear()
    tried.Waits.asked = ()
    futures: list[Any] = []
    with served(["Waits"]) as browser:
        call = browser.api.answering.call
        monkeypatch.setattr(browser.api.answering, "call", lambda *given: futures.append(call(*given)) or futures[-1])
        first = threading.Thread(
            target=browser.post, args=("predict",), kwargs={**NESTED, "clicks": ON_TIE, "method": "waits"}
        )
        first.start()
        until(lambda: bool(tried.Waits.asked))
        body = json.dumps({**NESTED, "clicks": [[1, 1, True]], "method": "waits"})
        connection = http.client.HTTPConnection(browser.host)
        connection.request("POST", "/api/predict", body, {"Content-Type": "application/json"})
        until(lambda: len(futures) == 2)
        connection.close()
        until(futures[1].cancelled)
        tried.Waits.go.set()
        first.join()
        browser.post("predict", **NESTED, clicks=[[2, 2, True]], method="waits")
    assert tried.Waits.asked == ((24, 18), (2, 2))


def until(true: Any) -> None:
    ends = time.monotonic() + 30
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_port_that_is_taken_is_one_message(served: Any) -> None:
    with served(["Marks"]) as browser:
        port = int(browser.host.rpartition(":")[2])
        with pytest.raises(UserError, match=f"--port {port}: cannot listen there"):
            serve(browser.api, "127.0.0.1", port, print)


def test_views_of_large_pictures_are_small_and_scores_are_of_the_full_ones() -> None:
    assert (
        view_size((3000, 4000)) == (900, SIDE) and view_size((20, 30)) == (20, 30) and view_size((1, 9000)) == (1, SIDE)
    )
    mask = np.zeros((1800, 2400), bool)
    mask[600:1200, 800:1600] = True
    small = rle.decode(mask_counts(mask).encode(), (900, 1200))
    assert small.sum() == 300 * 400 and small[300, 400] and not small[299, 399]
    assert rle.decode(mask_counts(mask[:600, :800]).encode(), (600, 800)).sum() == 0
    content, kind = picture_file(np.full((1800, 2400, 3), 77, np.uint8))
    assert kind == "image/jpeg" and PIL.Image.open(io.BytesIO(content)).size == (1200, 900)
    exact, kind = picture_file(np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3))
    assert kind == "image/png" and np.asarray(PIL.Image.open(io.BytesIO(exact)))[2, 1].tolist() == [33, 34, 35]
    assert cv2.imdecode(np.frombuffer(map_file(np.full((3, 4), 0.5, np.float32)), np.uint8), -1).tolist()[0][0] == 128


def test_only_a_prompt_of_an_object_of_the_picture_is_recorded(served: Any, tmp_path: Path) -> None:
    prompt = NESTED | {"id": "a" * 32, "clicks": ON_TIE, "instance": "nested-0/tie", "seconds": 1.5}
    with served(["Marks"]) as browser:
        status, reply = browser.post("record", **prompt)
        assert status == 400 and "this server records nothing; `try --record FOLDER` does." in reply["error"]
        assert not browser.get("about")[1]["records"]
        browser.api.recordings = tmp_path / "kept"
        assert browser.get("about")[1]["records"]
        assert browser.post("record", **prompt) == browser.post("record", **prompt) == (200, {"kept": 1})
        wrong = [{"id": "../x"}, {"clicks": []}, {"clicks": [[99, 1, True]]}, {"instance": "tie"}, {"seconds": -1}]
        assert [browser.post("record", **prompt | one)[0] for one in wrong] == [400] * 5
        (tmp_path / "file").touch()
        browser.api.recordings = tmp_path / "file" / "kept"
        status, reply = browser.post("record", **prompt)
        assert status == 400 and "cannot be written" in reply["error"]
    assert [one.name for one in (tmp_path / "kept").iterdir()] == [f"{'a' * 32}.parquet"]
