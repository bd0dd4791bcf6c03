"""A server of `try` in a thread of the test's process, and a browser's side of it in plain HTTP."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from harness.config.run_config import RunConfig, load_run
from harness.serving.api import Api
from harness.serving.asking import Here
from harness.serving.gallery import Gallery
from harness.serving.guard import Guard
from harness.serving.server import listening
from harness.trying.desk import desk_of
from toy_runs import written

NESTED = {"name": "tried:Nested", "label": "nested"}


class Browser:
    """Asks a server as the page does."""

    def __init__(self, address: str) -> None:
        self.address, self.host = address, urlsplit(address).netloc

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, Any]:
        connection = http.client.HTTPConnection(self.host, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        return reply.status, content, reply.headers

    def get(self, path: str, **query: Any) -> tuple[int, Any]:
        status, content, _ = self.send("GET", f"/api/{path}?{urlencode(query)}")
        return status, json.loads(content)

    def post(self, path: str, **body: Any) -> tuple[int, Any]:
        status, content, _ = self.send(
            "POST", f"/api/{path}", json.dumps(body).encode(), Content_Type="application/json"
        )
        return status, json.loads(content)

    def upload(self, content: bytes, called: str = "mine.png") -> tuple[int, Any]:
        path = f"/api/upload?{urlencode({'called': called})}"
        status, reply, _ = self.send("POST", path, content, Content_Type="application/octet-stream")
        return status, json.loads(reply)


@contextmanager
def running(api: Api, guard: Guard | None = None, port: int = 0) -> Iterator[str]:
    """A server on this machine; gives its page's address."""
    started, said = threading.Event(), {}

    async def serve() -> None:
        said["loop"], said["end"] = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with listening(api, guard or Guard(), "127.0.0.1", port) as address:
                said["address"] = address
                started.set()
                await said["end"].wait()
        finally:
            started.set()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    started.wait(60)
    try:
        yield said["address"]
    finally:
        if "end" in said:
            said["loop"].call_soon_threadsafe(said["end"].set)
        thread.join(60)


def config_of(folder: Path, methods: Sequence[str], **changed: Any) -> RunConfig:
    """A config that asks toys of `tried` by their names."""
    entries = [{"name": f"tried:{name}", "label": name.lower()} for name in methods]
    return load_run(written(folder / "tried.yaml", **({"methods": entries, "datasets": [NESTED]} | changed)))


def api_of(
    config: RunConfig, folders: Sequence[Path] = (), for_others: bool = False, recordings: Path | None = None
) -> Api:
    return Api(config, Gallery(config, folders), Here(desk_of(config)), for_others, recordings)
