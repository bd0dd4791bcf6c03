"""Joins a Ray cluster or starts one on this machine, and chooses the environment of its workers."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import _raylet
from ray._private import utils
from ray.exceptions import AuthenticationError, RuntimeEnvSetupError

from harness import places
from harness.cluster import head, own_folder
from harness.interrupts import EXIT_CODE, interrupted, put_off
from harness.storage.folder import Folder
from harness.structures import UserError

_IN_C: Any = _raylet
_EXCLUDED = ["/.git", "/.venv", "/data", "/weights", "/runs", "/tests", "/docs", "**/__pycache__", "/.mypy_cache"]


@dataclass(frozen=True)
class Node:
    """A machine of the cluster; `id` is Ray's."""

    id: str
    host: str
    ip: str

    def __str__(self) -> str:
        return f"{self.host} ({self.ip})"


def this_node(_: object) -> Node:
    """The node that this process runs on; the argument is the actor, which Ray passes."""
    return Node(ray.get_runtime_context().get_node_id(), socket.gethostname(), ray.util.get_node_ip_address())


def alive(node: Node | None) -> bool:
    """Whether the cluster still has a node; True if the node is not known yet."""
    return node is None or any(one["NodeID"] == node.id and one["Alive"] for one in ray.nodes())


def complaint(said: str, node: Node | None, home: Node) -> UserError:
    """A message as a UserError, with the node's name in front if it is known and not the driver's."""
    return UserError(said if node in (None, home) else f"On node {node}: {said}")


def is_own(address: str | None) -> bool:
    """Whether `connect` starts a cluster on this machine, for this process alone."""
    return _address(address) == "local"


def _address(address: str | None) -> str:
    return address or os.environ.get("RAY_ADDRESS") or "local"


def connect(address: str | None) -> None:
    """Join a cluster or start one on this machine; workers run a copy of this checkout, or the installed harness.

    Without an address RAY_ADDRESS is used, which `ray job submit` sets; without that a cluster of its own is started,
    even if another Ray runs on this machine.

    Raises:
        UserError: Ray cannot be started, or the cluster at the address cannot be joined; the message has the reason.
    """
    if ray.is_initialized():
        return
    # A job's environment may set the same variables. Ours come from its values, which this process has, too; without
    # this Ray refuses to join.
    os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
    where, named = _address(address), f"--address {address}" if address else f"RAY_ADDRESS={_address(address)}"
    # Ray's web page costs a laptop seconds at every start.
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    sent = _runtime_env()
    try:
        if is_own(address):
            own_folder.choose()
        else:
            head.check(where, named)
        with _own_sigterm():
            ray.init(address=where, runtime_env=sent, **quiet)
        if not is_own(address):
            atexit.register(_leave)  # Before Ray's own, for the last that is registered is the first that is called.
    except UserError:
        raise
    except Exception as error:  # Ray raises many types here, few of them its own.
        with suppress(Exception):
            ray.shutdown()  # It may have joined halfway.
        raise _not_joined(error, None if is_own(address) else named) from error


def _not_joined(error: Exception, named: str | None) -> UserError:
    """The message for a cluster that could not be joined or, with `named` None, not be started on this machine."""
    told = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, AuthenticationError):
        at = named or "this machine"
        return UserError(f"cluster: Ray at {at} requires a token; found none ({error.message}). {head.TOKEN}")
    if "Version mismatch" in told:  # Ray's client finds it late, and raises a bare RuntimeError.
        return UserError(
            f"cluster: found another version of Python or Ray at {named}: {told} Wanted the same versions "
            "everywhere, which Ray requires (docs/clusters.md)."
        )
    if isinstance(error, RuntimeEnvSetupError):  # Most often more than the 512 MiB that Ray takes.
        return UserError(
            f"cluster: the checkout cannot be copied to the workers: {told} Move large files of your own out of "
            f"{places.ROOT}, or to its data/, weights/ or runs/, which are left out of the copy; or name them in a "
            ".rayignore there."
        )
    if named:
        return UserError(f"cluster: the Ray cluster at {named} cannot be joined ({told}). {head.remedy(named)}")
    return UserError(
        f"cluster: Ray did not start on this machine ({told}). Its logs are in {own_folder.logs()}. "
        "`--set workers.executor=local` runs without Ray, in one process."
    )


def _leave() -> None:
    """Leave a cluster that was joined by ending this process at once, if an interrupt ended its work.

    The interrupt may have left threads within calls to Ray, and beside these Ray's own farewell ends the process by a
    segmentation fault. The cluster notices by itself that this process is gone.
    """
    if interrupted.is_set():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_CODE)


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this process's handler of SIGTERM while Ray starts and afterwards.

    A batch scheduler sends SIGTERM to end a job; our handler then ends the run in order. Ray puts handlers in its place
    at several moments of a start, which takes seconds; they end the process with exit codes of their own.
    """
    before, put, core_worker = signal.getsignal(signal.SIGTERM), utils.set_sigterm_handler, _IN_C.CoreWorker

    joining = ExitStack()

    def joined(*about: Any) -> Any:
        # Ray's part in C++ ends the process by a crash if an exception comes between here and the end of the start.
        joining.enter_context(put_off())
        return core_worker(*about)

    utils.set_sigterm_handler = lambda _handler: None
    if in_main := threading.current_thread() is threading.main_thread():
        _IN_C.CoreWorker = joined
    try:
        with joining:
            yield
            if in_main:  # Ray's part in C++ has put its handler there, too, without Python's knowledge.
                signal.signal(signal.SIGTERM, before)
    finally:
        utils.set_sigterm_handler, _IN_C.CoreWorker = put, core_worker


def _runtime_env() -> dict[str, Any]:
    """The environment of the workers; the checkout is left out where `ray job submit` has sent it already.

    A checkout is copied to every node. An installed harness must be installed on every node; for it, Ray itself lets
    workers import from the driver's current folder.
    """
    # Otherwise a worker that asks for no GPU would see all of its node, and take the first with `device: auto`.
    variables = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
    if "working_dir" in _sent_with_job():
        return {"env_vars": variables}
    # Workers run in another folder than the driver, so relative paths would lead elsewhere: each worker would make its
    # own index of the data, and would not find the entries of PYTHONPATH. So both become absolute here.
    variables["HARNESS_INDEX"] = str(places.index_folder())
    if most := os.environ.get("HARNESS_MAX_MEGAPIXELS"):  # harness/images/opening.py
        variables["HARNESS_MAX_MEGAPIXELS"] = most
    entries = [str(Path(entry).absolute()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    here = Path.cwd()
    if places.CHECKOUT not in (None, here) and {"", str(here)} & set(sys.path):  # `python -m` from another folder.
        entries.append(str(here))
    if entries:
        variables["PYTHONPATH"] = os.pathsep.join(entries)
    copied = {"working_dir": str(places.CHECKOUT), "excludes": _EXCLUDED} if places.CHECKOUT else {}
    return {**copied, "env_vars": variables}


def _sent_with_job() -> dict[str, Any]:
    """The runtime environment of the `ray job submit` job that this process belongs to; empty outside of a job."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return job.get("runtime_env") or {}


def check_kept(folder: Folder) -> None:
    """Refuse to write a run into the copy of the checkout that Ray makes for a job, and deletes after it.

    Raises:
        UserError: The run's folder lies there.
    """
    if folder.local and goes_with_the_job(folder.local):
        raise UserError(
            f"{folder}: lies in Ray's copy of the checkout, which is deleted after the job. Wanted a folder that all "
            "nodes share, or a bucket: ray job submit --runtime-env-json "
            f'\'{{"env_vars": {{"HARNESS_RUNS": "/mnt/runs"}}}}\' ...'
        )


def goes_with_the_job(path: Path) -> bool:
    """Whether a file lies in the copy of the checkout that Ray makes for a job."""
    return path.is_relative_to(places.ROOT) and "working_dir" in _sent_with_job()


def readable(resources: dict[str, float]) -> str:
    """`2 CPU, 1 GPU`, and resources that users named; those that Ray adds by itself are left out."""
    own = {kind for kind in resources if ":" in kind or kind in ("memory", "object_store_memory")}
    kinds = ["CPU", "GPU", *sorted(resources.keys() - own - {"CPU", "GPU"})]
    return ", ".join(f"{resources.get(kind, 0):g} {kind}" for kind in kinds)
