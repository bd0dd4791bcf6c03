"""What a failure says of itself and its place, which exits are failures, and which failures are the machine's."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from harness.clicks import NoClickError
from harness.interrupts import interrupt
from harness.plugins.failures import (
    DeviceLost,
    blamed,
    contained,
    described,
    is_device_lost,
    lacks_memory,
    one_line,
)
from harness.structures import Sample, UserError

PLUGIN = """\
import json
import sys

import numpy as np

from harness import Sample


def key():
    return {}["x"]


def empty():
    assert not key


def library():
    return json.loads("{")


def numpy():
    return np.loadtxt("gone.csv")


def address():
    raise TypeError(f"no {object()} and\\n  no function {key}")


def image():
    return Sample("a", np.zeros((2, 3)), ())


def generated():
    return next(map(len, [3]))


def end():
    sys.exit(3)
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    file = tmp_path_factory.mktemp("elsewhere") / "mine.py"
    file.write_text(PLUGIN)
    spec = importlib.util.spec_from_file_location("mine", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def failure(function: Callable[[], Any]) -> str:
    with pytest.raises(Exception) as found, contained():
        function()
    return described(found.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("key", "KeyError: 'x' (mine.py, line 10)"),
        ("empty", "AssertionError (mine.py, line 14)"),
        ("library", "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1) "),
        ("numpy", "FileNotFoundError: gone.csv not found. (mine.py, line 22)"),
        ("address", "TypeError: no <object object> and no function <function key> (mine.py, line 26)"),
        ("image", "ValueError: image float64 (2, 3); wanted uint8 (h, w, 3), RGB."),
        ("generated", "TypeError: object of type 'int' has no len() (mine.py, line 34)"),
        ("end", "RuntimeError: sys.exit(3) (mine.py, line 38)"),
    ],
)
def test_a_failure_says_where_a_plugin_raised_it(plugin: ModuleType, name: str, said: str) -> None:
    wanted = said if not said.endswith(" ") else f"{said}(mine.py, line 18)"
    assert failure(getattr(plugin, name)) == wanted


def test_places_are_a_file_s_name_and_line() -> None:
    def fail() -> None:
        raise LookupError("here")

    assert failure(fail) == f"LookupError: here (test_failures.py, line {fail.__code__.co_firstlineno + 1})"


def test_what_was_never_raised_has_no_place() -> None:
    assert described(OSError("cut\noff")) == "OSError: cut off"
    assert described(NoClickError()) == "NoClickError"


def test_a_failure_of_a_library_alone_is_placed_there() -> None:
    with pytest.raises(ValueError, match="Expecting") as raised:
        json.loads("{")
    error = raised.value
    assert error.__traceback__ is not None
    in_json = error.with_traceback(error.__traceback__.tb_next)
    assert described(in_json).endswith(f"(decoder.py, line {_last_line(in_json)})")


def _last_line(error: BaseException) -> int:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace is not None
    return trace.tb_lineno


@pytest.fixture
def sigterm() -> Iterator[None]:
    """SIGTERM raises SystemExit, as Ray has it in its workers."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("sigterm")
def test_a_worker_s_end_by_a_signal_is_no_failure() -> None:
    with pytest.raises(SystemExit), contained():
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(RuntimeError, match=r"sys\.exit\('bye'\)"), contained():
        sys.exit("bye")


class SilentError(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise KeyError("no text")


ENDS = {
    "KeyboardInterrupt: mine": KeyboardInterrupt("mine"),
    "GeneratorExit": GeneratorExit(),
    "BaseException: rare": BaseException("rare"),
    "sys.exit(3)": SystemExit(3),
}


@pytest.mark.parametrize("said", ENDS)
def test_what_would_end_the_process_is_a_failure_like_others(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda _: interrupt)  # as where the command line has its own handlers
    with pytest.raises(RuntimeError) as found, contained():
        raise ENDS[said]
    assert str(found.value) == said
    with pytest.raises(UserError) as told, blamed("ours"):
        raise ENDS[said]
    assert str(told.value).startswith(f"ours. RuntimeError: {said} (") and "test_failures.py, line" in str(told.value)


def test_a_lost_gpu_passes() -> None:
    with pytest.raises(DeviceLost), contained():
        raise DeviceLost


@pytest.mark.parametrize("handler", [interrupt, signal.default_int_handler])
def test_ctrl_c_is_the_user_s_and_no_failure(handler: Any) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt), contained():
            signal.raise_signal(signal.SIGINT)
    finally:
        for number, one in before.items():
            signal.signal(number, one)


def test_a_text_that_cannot_be_had_is_said() -> None:
    assert described(SilentError()) == "SilentError: (its text cannot be had: KeyError)"
    assert not is_device_lost(RuntimeError(SilentError())) and not lacks_memory(RuntimeError(SilentError()))
    with pytest.raises(UserError, match=r"^ours\. SilentError: \(its text cannot be had: KeyError\)"), blamed("ours"):
        raise SilentError


class EndlessError(BaseException):
    """Its text ends the process."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


class Unnamed(type):
    """Classes whose name cannot be had."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise ValueError("no name")


class UnnamedError(Exception, metaclass=Unnamed):
    """Its class tells no name."""


def test_a_text_or_name_that_itself_fails_is_a_failure_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda _: interrupt)
    assert described(UnnamedError("x")) == "UnnamedError: x"
    with (
        pytest.raises(RuntimeError, match=r"^EndlessError: \(its text cannot be had: KeyboardInterrupt\)$"),
        contained(),
    ):
        raise EndlessError


def test_a_text_is_bounded_and_of_unicode_and_on_one_line() -> None:
    long = described(ValueError("ab\n" * 20_000_000))
    assert len(long) < 1100 and long.startswith("ValueError: ab ab ab") and long.endswith("... (60,000,000 characters)")
    assert described(ValueError("caf\udce9.jpg\nis cut")) == r"ValueError: caf\udce9.jpg is cut"
    assert one_line("é, 猫 and 🙂") == "é, 猫 and 🙂"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("the worker died. actor_id: 1d7e9f pid: 4321, namespace: f00-ba1 Detail: end", "the worker died. Detail: end"),
        ("lost 172.17.0.2:6379 (pid=12) in process 4321 of 3; ip: 10.0.0.1 end", "lost () in process of 3; end"),
        ("<Net object at 0x7f01> of torch 2.7.1 gave 3 of pid", "<Net object> of torch 2.7.1 gave 3 of pid"),
    ],
)
def test_what_another_start_would_say_otherwise_is_left_out(text: str, kept: str) -> None:
    assert " ".join(one_line(text).split()) == kept


def test_an_image_that_is_none_is_refused_where_it_is_made() -> None:
    with pytest.raises(ValueError, match="image float64"):
        Sample("a", np.zeros((2, 3)), ())


def test_the_file_is_named_without_its_folder(plugin: ModuleType) -> None:
    assert str(Path(str(plugin.__file__)).parent) not in failure(plugin.key)


class OurError(RuntimeError):
    """A plugin's own type."""


ORDINARY = [
    ValueError("the queue is out of memory slots"),
    ValueError("CUDA error: none"),
    RuntimeError("out of memory slots"),
    RuntimeError("no CUDA error"),
    OurError("CUDA error: in our words"),
    OurError("DefaultCPUAllocator: in our words"),
    KeyError("DefaultCPUAllocator: "),
]


@pytest.mark.parametrize("error", ORDINARY, ids=repr)
def test_words_alone_make_no_failure_of_the_machine(error: Exception) -> None:
    assert not is_device_lost(error) and not lacks_memory(error)
    with pytest.raises(UserError, match=r"^ours\. \w+Error: "), blamed("ours"):
        raise error


def accelerator_error(code: int) -> Exception:
    """As torch raises it."""
    error = torch.AcceleratorError("CUDA error: said by CUDA")
    error.error_code = code
    return error


def test_what_torch_and_numpy_raise_for_memory_that_does_not_suffice() -> None:
    found = []
    for allocate in (lambda: torch.empty(1 << 55), lambda: np.empty(1 << 55)):
        with pytest.raises((RuntimeError, MemoryError)) as raised, blamed("ours"):
            allocate()
        found.append(raised.value)
    found += [MemoryError(), torch.OutOfMemoryError("CUDA out of memory."), accelerator_error(2)]
    assert all(lacks_memory(error) for error in found)
    assert not any(is_device_lost(error) for error in found[:4])


@pytest.mark.parametrize(
    "error",
    [accelerator_error(710), RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`")],
    ids=repr,
)
def test_a_lost_gpu_is_no_mistake_of_a_plugin(error: Exception) -> None:
    assert is_device_lost(error) and not lacks_memory(error)
    with pytest.raises(type(error), match="CUDA error"), blamed("ours"):
        raise error


@pytest.mark.slow
def test_torch_is_not_loaded_to_find_out() -> None:
    code = (
        "import sys; from harness.plugins.failures import lacks_memory, is_device_lost\n"
        "assert lacks_memory(MemoryError()) and is_device_lost(RuntimeError('CUDA error: a'))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.slow
@pytest.mark.parametrize("leaving", ["sys.exit(3)", "raise ValueError", "pass"])
def test_a_forked_child_ends_where_it_leaves_the_plugin(leaving: str, tmp_path: Path) -> None:
    source = f"""
import os, sys
from harness.plugins.failures import contained

try:
    with contained():
        if not os.fork():
            {leaving}
        else:
            os.wait()
except BaseException:
    pass
with open({str(tmp_path / "written")!r}, "a") as file:
    file.write("once")
"""
    subprocess.run([sys.executable, "-c", source], check=True)
    assert (tmp_path / "written").read_text() == "once"
