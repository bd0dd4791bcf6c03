"""What answers like a Ray cluster's head: the versions that it says and whether it wants a token are a test's choice.

Ray of another Python cannot run in this environment, so its head is made up at the lowest seam, what a head sends over
the wire: gRPC's reply to the one request by which `harness.cluster.head` asks for the versions.
"""

from __future__ import annotations

import json
import platform
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import ray
from ray.core.generated import gcs_service_pb2 as messages
from ray.core.generated import gcs_service_pb2_grpc as stubs

SAME = {"ray_version": ray.__version__, "python_version": platform.python_version()}


class KeyValues(stubs.InternalKVGcsServiceServicer):
    """The head's store of keys and values, which holds nothing but the cluster's versions."""

    def __init__(self, said: dict[str, str], refuses: grpc.StatusCode | None) -> None:
        self.said, self.refuses = said, refuses

    def InternalKVGet(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.refuses:
            context.abort(self.refuses, "no.")
        assert (request.namespace, request.key) == (b"cluster", b"CLUSTER_METADATA")
        return messages.InternalKVGetReply(value=json.dumps(self.said).encode())


@contextmanager
def head(refuses: grpc.StatusCode | None = None, **versions: str) -> Iterator[str]:
    """A head's address; its versions are this process's where none are given."""
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        stubs.add_InternalKVGcsServiceServicer_to_server(KeyValues(SAME | versions, refuses), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


@contextmanager
def no_head() -> Iterator[str]:
    """The address of something that hangs up on whoever comes."""
    with socket.socket() as listening, ThreadPoolExecutor(1) as pool:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def hang_up() -> None:
            while True:
                try:
                    one, _ = listening.accept()
                except OSError:
                    return
                one.close()

        pool.submit(hang_up)
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
