"""Checks an address before Ray joins it: whether a Ray head answers there, accepts the token and has the same versions.

When Ray itself joins, a wrong address takes minutes, another version of Python or Ray ends in a traceback, and a
refused token is reported as "cannot connect". One small request to the head tells these cases apart within seconds, by
its answer or by the error code of gRPC.
"""

from __future__ import annotations

import json
import platform
import socket

import grpc
import ray
from ray._private import grpc_utils, services, utils
from ray.core.generated import gcs_service_pb2 as messages
from ray.core.generated import gcs_service_pb2_grpc as stubs
from ray.core.generated import ray_client_pb2, ray_client_pb2_grpc

from harness.structures import UserError

ANSWERS_S = 10
CLIENT = "ray://"
TOKEN = (
    "On every node, set RAY_AUTH_MODE=token and put the cluster's token into ~/.ray/auth_token or RAY_AUTH_TOKEN "
    "(docs/clusters.md, By hand)."
)


def remedy(named: str) -> str:
    """Advice for a cluster that is not there; `named` is the origin of its address."""
    other = "unset RAY_ADDRESS" if named.startswith("RAY_ADDRESS") else "leave out --address"
    return f"Start one there, or {other}: then Ray is started on this machine."


def check(address: str, named: str) -> None:
    """Refuse a head that Ray could not join.

    Args:
        address: host:port, ray://host:port, or "auto" for the cluster that `ray start` made on this machine.
        named: The origin of the address, for messages: `--address 10.0.0.1:6379`.

    Raises:
        UserError: Nothing answers there; or the server that answers is no head of Ray, refuses the token, or has
            another version of Python or Ray.
    """
    try:
        place = services.canonicalize_bootstrap_address_or_die("auto") if address == "auto" else address
        knock(place)
    except OSError as error:  # Ray's own, where it finds no cluster, is a ConnectionError, too.
        raise UserError(f"cluster: no Ray cluster at {named} ({error}). {remedy(named)}") from error
    host = place.removeprefix(CLIENT)
    if host.rpartition(":")[2].isdecimal():
        found = asked(host, place.startswith(CLIENT), named)
        if found:
            check_versions(*found, named)


def knock(address: str) -> None:
    """Check with a plain socket that something listens at host:port; gRPC would try again and again.

    Raises:
        OSError: Nothing listens there.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_S).close()


def asked(host: str, as_client: bool, named: str) -> tuple[str, str] | None:
    """The head's versions of Ray and of Python; None if its answer lacks them, as on the port for Ray's client.

    Raises:
        UserError: It refuses the token, or is no head of Ray.
    """
    with grpc_utils.init_grpc_channel(host) as channel:
        try:
            if as_client:
                ping = ray_client_pb2.ClusterInfoRequest(type=ray_client_pb2.ClusterInfoType.PING)
                ray_client_pb2_grpc.RayletDriverStub(channel).ClusterInfo(ping, timeout=ANSWERS_S)
                return None
            wanted = messages.InternalKVGetRequest(namespace=b"cluster", key=b"CLUSTER_METADATA")
            reply = stubs.InternalKVGcsServiceStub(channel).InternalKVGet(wanted, timeout=ANSWERS_S)
        except grpc.RpcError as error:
            check_code(error.code(), named, as_client)
            return None
    said = json.loads(reply.value or b"{}")
    return (said["ray_version"], said["python_version"]) if {"ray_version", "python_version"} <= said.keys() else None


def check_code(code: grpc.StatusCode, named: str, as_client: bool) -> None:
    """Turn the gRPC code of a failed request into a message; other codes pass, since the head may still be joined.

    Raises:
        UserError: The token was refused, or what listens there does not speak gRPC.
    """
    if code is grpc.StatusCode.UNAUTHENTICATED:
        raise UserError(f"cluster: the head at {named} requires a token; found none or a wrong one. {TOKEN}")
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNIMPLEMENTED):
        port = "10001 for the client server of `ray start --head`" if as_client else "6379 for `ray start --head`"
        raise UserError(
            f"cluster: what answers at {named} is not the head of a Ray cluster ({code.name}). Wanted the head's "
            f"port, by default {port}."
        )


def check_versions(ray_version: str, python_version: str, named: str) -> None:
    """Refuse a head of other versions, by Ray's own rule, which RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL can loosen.

    Raises:
        UserError: The versions differ; its text names both.
    """
    said = {"ray_version": ray_version, "python_version": python_version}
    try:
        utils.check_version_info(said, "this process")
    except RuntimeError as error:
        raise UserError(
            f"cluster: found Ray {ray_version} and Python {python_version} at {named}; wanted Ray {ray.__version__} "
            f"and Python {platform.python_version()}, as in this process, since Ray requires the same versions "
            "everywhere. Give the command with the cluster's Python and Ray, or start the cluster with these "
            "(docs/clusters.md)."
        ) from error
